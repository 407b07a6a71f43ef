"""Corpora by name: `toy`, `ewt` and `sdp`."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .conll import read_conllu
from .corpus import Corpus, limited
from .fetch import default_folder, graph_file, tree_file
from .formalisms import check_formalisms, enhanced_graphs, relation_graph
from .load_sdp import load_sdp
from .projectivity import NonProjective, make_projective
from .propbank import document
from .sdp import read_sdp
from .sentence import DataError, Sentence

VARIABLE = "OPTLAYERS_DATA"

HELD_OUT = 10  # one sentence in so many


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
    return limited(_corpus(corpus.trees, banks, names), max_words)


def load_ewt(
    data: str | Path | None = None,
    *,
    max_words: int | None = None,
    non_projective: NonProjective = "projectivise",
    formalisms: Sequence[str] = ("propbank",),
    single_root: bool = True,
    disjoint: bool = False,
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
        disjoint: Trains on the trees of one half of the documents and on the graphs of the other,
            so that no training graph is of a sentence, or a document, of the treebank. The halves
            have about as many sentences; the enhanced dependencies are those of the trees.
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
    if disjoint:
        _divide(tree_bank, banks["propbank"])
    if "enhanced" in names:
        known = {relation for s in tree_bank["train"] for relation in s.relations or ()}
        banks["enhanced"] = {part: enhanced_graphs(bank, known) for part, bank in tree_bank.items()}
    corpus = _corpus(tree_bank, banks, names)
    corpus.trees["train"] = make_projective(corpus.trees["train"], non_projective)
    return limited(corpus, max_words)


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


def _divide(trees: dict[str, list[Sentence]], graphs: dict[str, list[Sentence]]) -> None:
    """Leaves the training trees of one half of their documents, the graphs of the other half."""
    half = held_out_documents(trees["train"], one_in=2)
    trees["train"] = [s for s in trees["train"] if document(s) in half]
    graphs["train"] = [s for s in graphs["train"] if document(s) not in half]


def _corpus(
    trees: dict[str, list[Sentence]], banks: dict[str, dict[str, list[Sentence]]], names: list[str]
) -> Corpus:
    """The corpus with the graph banks of those names, the first as its own."""
    return Corpus(trees, banks[names[0]], {name: banks[name] for name in names[1:]})
