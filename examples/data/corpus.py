"""The banks of a corpus, each in three parts."""

from dataclasses import dataclass, field

from .sentence import Sentence

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


def limited(corpus: Corpus, max_words: int | None) -> Corpus:
    """The corpus without sentences of more words."""
    if max_words is None:
        return corpus
    for bank in (corpus.trees, corpus.graphs, *corpus.more.values()):
        for part, sentences in bank.items():
            bank[part] = [sentence for sentence in sentences if len(sentence) <= max_words]
    return corpus
