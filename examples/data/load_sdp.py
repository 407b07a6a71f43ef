"""Graphs of SemEval 2015 and the Penn treebank, from files that you have a licence for."""

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from .conll import read_conllu
from .corpus import Corpus, limited
from .projectivity import NonProjective, make_projective
from .sdp import read_sdp
from .sentence import DataError, Sentence

Paths = str | Path | Sequence[str | Path]
Sections = Mapping[str, Collection[int]]

SECTIONS: Sections = {"train": range(20), "dev": (20,), "test": (21,)}
TREE_SECTIONS: Sections = {"train": (*range(2, 20), 22, 23), "dev": (20,), "test": (21,)}
"""Of the treebank: 20 and 21 are those of the graphs, and the remaining sections train (4.1.2).

The paper's 40,265 training sentences are those of 02-21, 22 and 23 (39,832 + 1,700 + 2,416) without
20 and 21, so that 00, 01 and 24 are left out; 00-19 would be 40,063.
"""

PAPER = {
    "graphs": {"train": 33_961, "dev": 1_692, "test": 1_410, "ood": 1_849},
    "trees": {"train": 40_265, "dev": 2_012, "test": 1_671},
}
"""Sentences of the parts in section 4.1.2 of the paper."""

SDP_ID = re.compile(r"2(\d\d)\d{5}")
FILE_SECTION = re.compile(r"(?<!\d)(\d\d)(?:\d\d)?(?!\d)")


def load_sdp(
    graphs: Paths,
    trees: Paths,
    *,
    ood: str | Path | None = None,
    companions: Paths = (),
    ood_companion: str | Path | None = None,
    more: Mapping[str, Paths] | None = None,
    tree_sections: Sections = TREE_SECTIONS,
    max_words: int | None = None,
    non_projective: NonProjective = "projectivise",
    single_root: bool = True,
    say: Callable[[str], None] | None = None,
) -> Corpus:
    """Graphs of SemEval 2015, and Stanford dependencies, from files that you have a licence for.

    Args:
        graphs: .sdp files of one formalism (`en.dm.sdp`, `en.id.dm.sdp`). Ids are `2SSDDNNN`;
            sections SS 00-19 are the training part, 20 the development part, 21 the test part.
        trees: CoNLL-X or CoNLL-U files, or folders of them. The section of a tree is that of its
            id; without one, it is in the name of its file (`wsj_0201.conll`, `02.conllx`) or of the
            folder of the file (`02/`).
        ood: The .sdp file of the Brown corpus, which becomes the part `ood` of the graphs.
        companions: .cpn files, one for each file of `graphs`, or none.
        ood_companion: The .cpn file of `ood`.
        more: .sdp files of further formalisms, by the names of these: `{"pas": "en.pas.sdp"}`.
        tree_sections: Which sections of the treebank make its parts: by default those of the paper
            (`TREE_SECTIONS`). Others (02-21, 22 and 23 are customary) are refused if they train on
            sections that graphs are tested on.
        max_words: Leaves longer sentences out, of all parts.
        non_projective: What becomes of training trees with crossing arcs, as in `load_ewt`.
        single_root: Refuses trees with several words under the root.
        say: Told how many sentences there are, beside those of the paper; by default stderr is.
    """
    graph_bank = _graph_parts(_listed(graphs), companions)
    corpus = Corpus(_tree_parts(_listed(trees), tree_sections, single_root), graph_bank)
    if ood is not None:
        corpus.graphs["ood"] = read_sdp(ood, ood_companion)
    for name, paths in (more or {}).items():
        corpus.more[name] = _graph_parts(_listed(paths), ())
    for line in beside_the_paper(corpus):
        (say or partial(print, file=sys.stderr))(line)
    corpus.trees["train"] = make_projective(corpus.trees["train"], non_projective)
    return limited(corpus, max_words)


def beside_the_paper(corpus: Corpus) -> Iterator[str]:
    """How many sentences the parts of each bank have, and how many they have in the paper.

    Releases differ by a few: 33,964 training graphs are common in later papers.
    """
    for name, wanted in PAPER.items():
        bank = getattr(corpus, name)
        counts = [
            f"{part} {len(bank[part]):,} ({count:,})"
            for part, count in wanted.items()
            if part in bank
        ]
        yield f"{name}, sentences (of the paper): {', '.join(counts)}"


def _listed(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def _graph_parts(paths: list[Path], companions: Paths) -> dict[str, list[Sentence]]:
    beside = _listed(companions)
    if beside and len(beside) != len(paths):
        raise DataError(f"{len(paths)} files of graphs, but {len(beside)} companions.")
    parts: dict[str, list[Sentence]] = {part: [] for part in SECTIONS}
    for path, companion in zip(paths, beside or [None] * len(paths), strict=True):
        for sentence in read_sdp(path, companion):
            section = _id_section(sentence)
            if section is None:
                raise DataError(f"{path}: ids are of the form 2SSDDNNN. Found {sentence.id!r}.")
            _place(parts, SECTIONS, section, sentence)
    return _filled(parts, SECTIONS, "graphs", paths)


def _tree_parts(
    paths: list[Path], sections: Sections, single_root: bool
) -> dict[str, list[Sentence]]:
    tested = {section for part in ("dev", "test") for section in SECTIONS[part]}
    if leaked := sorted(tested & set(sections["train"])):
        raise DataError(
            f"Training trees of sections {leaked}, on which graphs are developed or tested, would "
            f"show the parser those sentences. Leave these sections out of `tree_sections`."
        )
    parts: dict[str, list[Sentence]] = {part: [] for part in SECTIONS}
    files = [file for path in paths for file in _files(path)]
    for file in files:
        for sentence in read_conllu(file, single_root=single_root):
            section = _id_section(sentence)
            section = _file_section(file) if section is None else section
            if section is None:
                raise DataError(
                    f"{file}: neither ids (2SSDDNNN) nor the file's name (wsj_SSDD, SS) nor that "
                    f"of its folder (SS) tell the section."
                )
            _place(parts, sections, section, sentence)
    return _filled(parts, sections, "trees", paths)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(f for f in path.rglob("*") if f.suffix.startswith(".conll") and f.is_file())


def _id_section(sentence: Sentence) -> int | None:
    match = SDP_ID.fullmatch(sentence.id)
    return int(match[1]) if match else None


def _file_section(path: Path) -> int | None:
    match = FILE_SECTION.search(path.name) or FILE_SECTION.fullmatch(path.parent.name)
    return int(match[1]) if match else None


def _place(
    parts: dict[str, list[Sentence]], sections: Sections, section: int, sentence: Sentence
) -> None:
    """Puts a sentence into its part; sections that no part wants are left out."""
    for part, wanted in sections.items():
        if section in wanted:
            parts[part].append(sentence)


def _filled(
    parts: dict[str, list[Sentence]], sections: Sections, what: str, paths: list[Path]
) -> dict[str, list[Sentence]]:
    for part, sentences in parts.items():
        if not sentences:
            raise DataError(
                f"No {what} for {part}: wanted sections {sorted(sections[part])}, which "
                f"{', '.join(map(str, paths))} do not have."
            )
    return parts
