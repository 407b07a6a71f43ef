"""The Stanford Sentiment Treebank, from the authors' archive of trees.

The archive has a known SHA-256, and so has each of the three files in it. That of the archive is
the one that other software published for it; those of the files are of copies. Neither could be
compared with a fresh download when they were written down here.
"""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .download import download, sha256
from .sentence import DataError
from .sst import sst_file
from .text import replacement

NOTICE = (
    "The Stanford Sentiment Treebank comes without a licence text; its authors ask to be cited: "
    "Socher et al. (2013), Recursive Deep Models for Semantic Compositionality Over a Sentiment "
    "Treebank, EMNLP."
)


@dataclass(frozen=True)
class Treebank:
    """Where the archive is, and the SHA-256 of it and of the files in it."""

    url: str = "https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip"
    archive: str = "5c613a4f673fc74097d523a2c83f38e0cc462984d847b82c7aaf36b01cbbbfcc"
    files: dict[str, str] = field(
        default_factory=lambda: {
            "train": "e2f3f41b0b1e6d4dddc0effe3bfc2d27ed8928079aa9a03d652311614fc5feb7",
            "dev": "0e9336aed6e4730e19f58d00a77b3f0297efdb755f7b5e598c98a05e3f97ea40",
            "test": "6e54806dee95cf80cd918e7dfb3f6770f6df24bf826f289a4d1f709e1c8f6761",
        }
    )


SST = Treebank()


def fetch_sst(
    folder: str | Path,
    treebank: Treebank = SST,
    say: Callable[[str], None] = print,
) -> None:
    """Downloads what is not in `folder` yet.

    Args:
        folder: The data folder; the files go into sst/.
        treebank: Where from.
        say: Told what is done, a line at a time.

    Raises:
        DataError: If the download fails, or what arrives is not what it should be.
    """
    missing = [part for part in treebank.files if not _is_there(folder, part, treebank)]
    if missing:
        archive = Path(folder, "sst.zip")
        download(treebank.url, archive, treebank.archive)
        with zipfile.ZipFile(archive) as held:
            for part in missing:
                with replacement(sst_file(folder, part)) as file:
                    file.write_bytes(held.read(f"trees/{part}.txt"))
                    if sha256(file) != treebank.files[part]:
                        raise DataError(f"{archive}: its trees/{part}.txt is not the known one.")
        archive.unlink()
    for part in treebank.files:
        said = "fetched" if part in missing else "there already"
        say(f"{sst_file(folder, part)}: {said}")


def _is_there(folder: str | Path, part: str, treebank: Treebank) -> bool:
    path = sst_file(folder, part)
    return path.is_file() and sha256(path) == treebank.files[part]
