"""The banks of a corpus, each in three parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .sentence import DataError, Sentence

PARTS = ("train", "dev", "test")


@dataclass
class Corpus:
    """Sentences with heads and sentences with arcs; the parts are `train`, `dev` and `test`.

    A corpus may have more parts than these three (`ood`: out of domain), never fewer.

    Args:
        trees: The treebank.
        graphs: The graph bank, of the formalism that is reported on.
        more: Graph banks of further formalisms, by their names.
        reviews: Sentences with a sentiment.
    """

    trees: dict[str, list[Sentence]]
    graphs: dict[str, list[Sentence]]
    more: dict[str, dict[str, list[Sentence]]] = field(default_factory=dict)
    reviews: dict[str, list[Sentence]] = field(default_factory=dict)


def check_sizes(name: str, sizes: Any) -> None:
    """Checks numbers of sentences, one for each of the three parts.

    Raises:
        DataError: If they are none.
    """
    fits = (
        isinstance(sizes, Sequence)
        and len(sizes) == len(PARTS)
        and all(isinstance(k, int) and k >= 0 for k in sizes)
    )
    if not fits:
        parts = ", ".join(PARTS)
        raise DataError(f"`{name}` must be three numbers of sentences: {parts}. Got {sizes}.")


def check_part(part: str, *banks: dict[str, list[Sentence]]) -> None:
    """Checks that some of the banks have a part.

    Raises:
        DataError: Naming those that there are.
    """
    known = list(dict.fromkeys(name for bank in banks for name in bank))
    if part not in known:
        raise DataError(f"There is no part {part!r}. Wanted one of {', '.join(known)}.")


def limited(corpus: Corpus, max_words: int | None) -> Corpus:
    """The corpus without sentences of more words."""
    if max_words is None:
        return corpus
    for bank in (corpus.trees, corpus.graphs, *corpus.more.values()):
        for part, sentences in bank.items():
            bank[part] = [sentence for sentence in sentences if len(sentence) <= max_words]
    return corpus
