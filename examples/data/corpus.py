"""The two banks of a corpus, each in three parts."""

from dataclasses import dataclass

from .sentence import Sentence

PARTS = ("train", "dev", "test")


@dataclass
class Corpus:
    """Sentences with heads and sentences with arcs; the parts are `train`, `dev` and `test`.

    A corpus may have more parts than these three (`ood`: out of domain), never fewer.
    """

    trees: dict[str, list[Sentence]]
    graphs: dict[str, list[Sentence]]
