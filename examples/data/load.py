"""Corpora by name: `toy`, `ewt` and `sdp`."""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from .conll import read_conllu
from .corpus import Corpus
from .fetch import default_folder, graph_file, tree_file
from .formalisms import check_formalisms, enhanced_graphs, relation_graph
from .projectivity import is_projective, projectivise
from .propbank import document
from .sdp import read_sdp
from .sentence import DataError, Sentence

VARIABLE = "OPTLAYERS_DATA"
NonProjective = Literal["projectivise", "skip"]
Paths = str | Path | Sequence[str | Path]
Sections = Mapping[str, Collection[int]]

SECTIONS: Sections = {"train": range(20), "dev": (20,), "test": (21,)}
HELD_OUT = 10  # one sentence in so many

SDP_ID = re.compile(r"2(\d\d)\d{5}")
FILE_SECTION = re.compile(r"(?<!\d)(\d\d)(?:\d\d)?(?!\d)")


def load_corpus(name: str, **options: Any) -> Corpus:
    """The corpus of that name; options are those of `load_toy`, `load_ewt` and `load_sdp`.

    Raises:
        DataError: If there is no such corpus, or its files are missing or malformed.
    """
    loaders: dict[str, Callable[..., Corpus]] = {
        "toy": load_toy,
        "ewt": load_ewt,
        "sdp": load_sdp,
    }
    if name not in loaders:
        raise DataError(f"There is no corpus {name!r}. Choose one of {', '.join(loaders)}.")
    return loaders[name](**options)


def load_toy(
    seed: int = 0,
    max_words: int | None = None,
    formalisms: Sequence[str] = ("roles", "relations"),
    **options: Any,
) -> Corpus:
    """The generated corpus.

    Args:
        seed: Which corpus.
        max_words: Leaves longer sentences out, of all parts.
        formalisms: Of graphs, the first the one that is reported on: "roles" are the generated
            graphs, "relations" the trees of the treebank as graphs. (Those of the graph bank's
            sentences would give away what its graphs are to teach.)
        **options: Those of `toy.generate`.
    """
    from . import toy

    names = check_formalisms(formalisms, ("roles", "relations"))
    corpus = toy.generate(seed, **options)
    relations = {part: list(map(relation_graph, bank)) for part, bank in corpus.trees.items()}
    banks = {"roles": corpus.graphs, "relations": relations}
    return _limited(_corpus(corpus.trees, banks, names), max_words)


def load_ewt(
    data: str | Path | None = None,
    *,
    max_words: int | None = None,
    non_projective: NonProjective = "projectivise",
    formalisms: Sequence[str] = ("propbank",),
    single_root: bool = True,
) -> Corpus:
    """UD English-EWT trees and PropBank graphs of the same sentences.

    PropBank's release has no test part that is free, so the development part is the one to report
    on: `test` is the official development part, of trees and of graphs. The official training
    part is divided into `train` and `dev`, for tuning, by documents: those whose ids have the
    smallest SHA-256 are held out, until they have a tenth of the sentences. The same documents
    are held out of the trees. So no sentence of `dev` or `test` is in either training set, nor
    any other of its document. UD's official test part is used nowhere.

    Args:
        data: The data folder; else the one that OPTLAYERS_DATA names; else the one that
            `python -m examples.data fetch ewt` fills.
        max_words: Leaves longer sentences out, of all parts. The division does not depend on it.
        non_projective: What becomes of training trees with crossing arcs (2.3 % of them), which a
            projective parser cannot give: "projectivise" lifts arcs until none cross, "skip" leaves
            them out. `dev` and `test` keep them all as they are, and so do the graph banks.
        formalisms: Of graphs, the first the one that is reported on: "propbank", and "enhanced",
            the enhanced dependencies of the trees (see `formalisms.enhanced_graphs`).
        single_root: Refuses trees with several words under the root.
    """
    names = check_formalisms(formalisms, ("propbank", "enhanced"))
    folder = data_folder(data)
    trees = read_conllu(_existing(tree_file(folder, "train")), single_root=single_root)
    graphs = read_sdp(_existing(graph_file(folder, "train")), graph_file(folder, "train", "cpn"))
    held_out = held_out_documents(trees)
    tree_bank = {
        "train": [s for s in trees if document(s) not in held_out],
        "dev": [s for s in trees if document(s) in held_out],
        "test": read_conllu(_existing(tree_file(folder, "dev")), single_root=single_root),
    }
    banks = {
        "propbank": {
            "train": [s for s in graphs if document(s) not in held_out],
            "dev": [s for s in graphs if document(s) in held_out],
            "test": read_sdp(
                _existing(graph_file(folder, "dev")), graph_file(folder, "dev", "cpn")
            ),
        }
    }
    if "enhanced" in names:
        known = {relation for s in tree_bank["train"] for relation in s.relations or ()}
        banks["enhanced"] = {part: enhanced_graphs(bank, known) for part, bank in tree_bank.items()}
    corpus = _corpus(tree_bank, banks, names)
    corpus.trees["train"] = make_projective(corpus.trees["train"], non_projective)
    return _limited(corpus, max_words)


def data_folder(data: str | Path | None = None) -> Path:
    """The folder given, or that of OPTLAYERS_DATA, or that of the fetched data."""
    if data is not None:
        return Path(data)
    return Path(os.environ.get(VARIABLE) or default_folder())


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist. Fetch the corpus (python -m examples.data fetch ewt), or name "
            f"the folder that has ud_ewt/ and up_ewt/ by `data` or by {VARIABLE}."
        )
    return path


def held_out_documents(sentences: Iterable[Sentence], one_in: int = HELD_OUT) -> set[str]:
    """Documents with at least one in so many of the sentences, chosen by SHA-256 of their ids."""
    sizes: dict[str, int] = {}
    for sentence in sentences:
        sizes[document(sentence)] = sizes.get(document(sentence), 0) + 1
    chosen: set[str] = set()
    missing = sum(sizes.values()) / one_in
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if missing <= 0:
            break
        chosen.add(name)
        missing -= sizes[name]
    return chosen


def make_projective(trees: Iterable[Sentence], how: NonProjective) -> list[Sentence]:
    """The trees without crossing arcs: those with some lifted, or left out."""
    if how not in get_args(NonProjective):
        raise DataError(
            f"`non_projective` is one of {', '.join(get_args(NonProjective))}. Got {how!r}."
        )
    if how == "projectivise":
        return [projectivise(sentence) for sentence in trees]
    return [s for s in trees if s.heads is not None and is_projective(s.heads)]


def _corpus(
    trees: dict[str, list[Sentence]], banks: dict[str, dict[str, list[Sentence]]], names: list[str]
) -> Corpus:
    """The corpus with the graph banks of those names, the first as its own."""
    return Corpus(trees, banks[names[0]], {name: banks[name] for name in names[1:]})


def _limited(corpus: Corpus, max_words: int | None) -> Corpus:
    if max_words is None:
        return corpus
    for bank in (corpus.trees, corpus.graphs, *corpus.more.values()):
        for part, sentences in bank.items():
            bank[part] = [sentence for sentence in sentences if len(sentence) <= max_words]
    return corpus


def load_sdp(
    graphs: Paths,
    trees: Paths,
    *,
    ood: str | Path | None = None,
    companions: Paths = (),
    ood_companion: str | Path | None = None,
    more: Mapping[str, Paths] | None = None,
    tree_sections: Sections = SECTIONS,
    max_words: int | None = None,
    non_projective: NonProjective = "projectivise",
    single_root: bool = True,
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
        tree_sections: Which sections of the treebank make its parts: by default the same as those
            of the graphs, so that no tree of a test sentence is trained on. Others (02-21, 22 and
            23 are customary) are refused if they train on sections that graphs are tested on.
        max_words: Leaves longer sentences out, of all parts.
        non_projective: What becomes of training trees with crossing arcs, as in `load_ewt`.
        single_root: Refuses trees with several words under the root.
    """
    graph_bank = _graph_parts(_listed(graphs), companions)
    corpus = Corpus(_tree_parts(_listed(trees), tree_sections, single_root), graph_bank)
    if ood is not None:
        corpus.graphs["ood"] = read_sdp(ood, ood_companion)
    for name, paths in (more or {}).items():
        corpus.more[name] = _graph_parts(_listed(paths), ())
    corpus.trees["train"] = make_projective(corpus.trees["train"], non_projective)
    return _limited(corpus, max_words)


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
