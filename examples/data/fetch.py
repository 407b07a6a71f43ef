"""UD English-EWT and PropBank's graphs on it, from the original releases.

| what | whence | checked by |
| --- | --- | --- |
| trees | UniversalDependencies/UD_English-EWT at its release 2.16 | SHA-256 of each file |
| skeletons | propbank/propbank-release at one commit | sentences and tokens after conversion |

Both are CC BY-SA 4.0. An archive that GitHub makes anew for each download has no SHA-256 of its
own, so the skeletons are judged by what becomes of them: the number of sentences and tokens, and
which sentences drop out, must be right, or nothing is written. The SHA-256 of the graphs
that the results of this repository are computed with are known too; where fetched graphs have
others, that is reported, and nothing is wrong with using them.
"""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from gzip import BadGzipFile
from pathlib import Path
from tempfile import TemporaryDirectory

from .conll import read_conllu
from .download import download, sha256
from .propbank import SUFFIX, Conversion, Skeleton, convert, document, document_id, read_skeletons
from .sdp import write_companion, write_sdp
from .sentence import DataError
from .text import output

UD = "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/r2.16"
PROPBANK_COMMIT = "64af823057ba94204e0e588146a1baacfacd9abc"
PROPBANK = "https://codeload.github.com/propbank/propbank-release/tar.gz"
SKELETONS = "data/google/ewt/"
NOTICE = "English-EWT and PropBank are under CC BY-SA 4.0: keep their names with what you share."


@dataclass(frozen=True)
class Part:
    """What the graphs of a part must be; sizes are sentences and tokens."""

    size: tuple[int, int]
    sdp: str
    companion: str
    dropped: str


@dataclass(frozen=True)
class Release:
    """Where the originals are, and how to know them."""

    trees: dict[str, str] = field(
        default_factory=lambda: {
            "train": "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
            "dev": "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
            "test": "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
        }
    )
    graphs: dict[str, Part] = field(
        default_factory=lambda: {
            "train": Part(
                (12_524, 204_207),
                sdp="ad9622b462cf8fc2abba88f854d98640cb2fccb752a2a008d3a651629e0154bd",
                companion="131f1bf6c09b287da54c6e95773a4d7e84186e853d39d3acc607d8e325a0f806",
                dropped="3dc3eb693da06415de5e6241a4ce5f28081e3a92d253eeefdbb8c98216eada44",
            ),
            "dev": Part(
                (1_968, 24_892),
                sdp="c69c4ebd027e42a05a10e7b2f71647a0d37ef664364030562941bd6f85db765f",
                companion="b2f632cd21ba148c99797202019e32e04c54182f8efcecf60075228f928b1569",
                dropped="f0a59da3cc153efd75d218ca2982a45fb087a2bbc4abcf8eb80f6b0b862b76cb",
            ),
        }
    )
    tree_url: str = UD + "/en_ewt-ud-{part}.conllu"
    skeleton_url: str = f"{PROPBANK}/{PROPBANK_COMMIT}"


EWT = Release()


def tree_file(folder: str | Path, part: str) -> Path:
    """Where the trees of a part lie in a data folder."""
    return Path(folder, "ud_ewt", f"en_ewt-ud-{part}.conllu")


def graph_file(folder: str | Path, part: str, suffix: str = "sdp") -> Path:
    """Where the graphs of a part (or their companion) lie in a data folder."""
    return Path(folder, "up_ewt", f"en_ewt-up-{part}.{suffix}")


def default_folder() -> Path:
    """Where fetched data goes: optlayers/data in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "optlayers", "data")


def fetch_ewt(
    folder: str | Path,
    release: Release = EWT,
    say: Callable[[str], None] = print,
) -> None:
    """Downloads and converts what is not in `folder` yet.

    Args:
        folder: The data folder; trees go into ud_ewt/, graphs into up_ewt/.
        release: Where from.
        say: Told what is done, a line at a time.

    Raises:
        DataError: If a download fails or the converted graphs are not as they should be.
    """
    folder = Path(folder)
    for part, digest in release.trees.items():
        path = tree_file(folder, part)
        url = release.tree_url.format(part=part)
        fetched = download(url, path, digest)
        say(f"{path}: {'fetched' if fetched else 'there already'}")
    missing = [part for part in release.graphs if not _has_graphs(folder, part)]
    if missing:
        commit = release.skeleton_url.rpartition("/")[2][:12]
        archive = folder / f"propbank-{commit}.tar.gz"
        download(release.skeleton_url, archive)
        trees = {part: read_conllu(tree_file(folder, part)) for part in missing}
        documents = {document(sentence) for part in missing for sentence in trees[part]}
        skeletons = _read_archive(archive, documents)
        for part in missing:
            graphs = convert(trees[part], skeletons)
            _check_size(part, graphs, release.graphs[part])
            write_graphs(folder, part, graphs)
            say(_note(folder, part, release.graphs[part]))
        archive.unlink()
    for part in release.graphs:
        if part not in missing:
            say(f"{graph_file(folder, part)}: there already")


def _has_graphs(folder: Path, part: str) -> bool:
    return all(graph_file(folder, part, suffix).is_file() for suffix in ("cpn", "sdp"))


def _read_archive(path: Path, documents: Collection[str]) -> dict[str, Skeleton]:
    """The skeletons of these documents in a .tar.gz; nothing else of it touches the disk."""
    result: dict[str, Skeleton] = {}
    try:
        with tarfile.open(path, "r:gz") as archive, TemporaryDirectory() as scratch:
            for name, content in _members(archive):
                if document_id(name) in documents:
                    file = Path(scratch, Path(name).name)
                    file.write_bytes(content)
                    result.update(read_skeletons(file, document_id(name)))
    except (tarfile.TarError, EOFError, BadGzipFile, zlib.error) as error:
        path.unlink()  # for nothing else, such as a full disk: then the archive is good
        raise DataError(
            f"{path}: not a complete .tar.gz ({error}). It was removed; run the command again."
        ) from None
    if not result:
        raise DataError(f"{path} holds no {SKELETONS}*/*{SUFFIX} of the documents of the trees.")
    return result


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        # The first folder is named after the commit.
        name = member.name.partition("/")[2]
        file = archive.extractfile(member) if member.isfile() else None
        if file is not None and name.startswith(SKELETONS) and name.endswith(SUFFIX):
            yield name.removeprefix(SKELETONS), file.read()


def _check_size(part: str, graphs: Conversion, wanted: Part) -> None:
    size = (len(graphs.sentences), sum(map(len, graphs.sentences)))
    dropped = hashlib.sha256(_dropped(graphs).encode()).hexdigest()
    if size != wanted.size or dropped != wanted.dropped:
        raise DataError(
            f"The {part} graphs made from PropBank's skeletons: wanted {wanted.size[0]:,} "
            f"sentences of {wanted.size[1]:,} tokens together, found {size[0]:,} of {size[1]:,}, "
            f"and {len(graphs.dropped)} sentences left out"
            f"{', not the right ones' if dropped != wanted.dropped else ''}. "
            f"Nothing was written. The skeletons have changed, or are not of these trees."
        )


def _note(folder: Path, part: str, wanted: Part) -> str:
    known = {"sdp": wanted.sdp, "cpn": wanted.companion}
    same = all(sha256(graph_file(folder, part, name)) == digest for name, digest in known.items())
    what = "as in" if same else "but NOT byte for byte those that are behind"
    return f"{graph_file(folder, part)}: {wanted.size[0]:,} sentences, {what} the results in docs/"


def write_graphs(folder: str | Path, part: str, graphs: Conversion) -> None:
    """Writes the graphs of a part, their companion, and the list of sentences left out."""
    with output(Path(folder, "up_ewt", f"dropped-{part}.txt")) as file:
        file.write(_dropped(graphs))
    write_companion(graph_file(folder, part, "cpn"), graphs.sentences)
    write_sdp(graph_file(folder, part), graphs.sentences)


def _dropped(graphs: Conversion) -> str:
    return "".join(f"{name}\t{why}\n" for name, why in graphs.dropped)
