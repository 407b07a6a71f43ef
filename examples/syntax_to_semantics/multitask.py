"""One parser for several graph formalisms, whose encoder learns from all of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import optlayers as ol
from examples.data import Corpus, Sentence
from examples.parsing.batches import Batch
from examples.parsing.encoder import Encoder, Sizes
from examples.parsing.semantics import GraphScorer
from examples.parsing.vocabulary import Vocabulary

from .methods import Method

GRAPHS = "graphs"


def kind_of(formalism: str = "") -> str:
    """The kind of the batches of a formalism: "graphs" for the main one, else "graphs:NAME"."""
    return f"{GRAPHS}:{formalism}" if formalism else GRAPHS


def formalism_of(kind: str) -> str:
    """The formalism of batches of a kind; empty for the main one, and for trees."""
    return kind.partition(":")[2]


def banks(method: Method, corpus: Corpus, part: str) -> dict[str, Sequence[Sentence]]:
    """What a method is trained on or scored on, by kind of the batches.

    Args:
        method: Its frozen parser, if it has one, is not trained on trees.
        corpus: The corpus.
        part: "train", or a part to score.
    """
    found: dict[str, Sequence[Sentence]] = {}
    if method.syntax and not (method.pretrained and part == "train"):
        found["trees"] = corpus.trees[part]
    if method.semantics:
        found[GRAPHS] = corpus.graphs[part]
    if method.multitask:
        found |= {kind_of(name): bank[part] for name, bank in corpus.more.items() if part in bank}
    return found


class Task(GraphScorer):
    """What one formalism has for itself: perceptrons, and an encoder or none."""

    def __init__(
        self, vocabulary: Vocabulary, sizes: Sizes, labels: int, encoder: bool, tops: bool
    ):
        super().__init__()
        self.encoder = Encoder(vocabulary, sizes, root=False) if encoder else None
        width = 2 * sizes.hidden * (2 if encoder else 1)
        self.add_perceptrons(width, sizes, labels, tops)


class MultitaskParser(nn.Module):
    r"""A semantic parser of several formalisms; first order, without syntax.

    A word of a sentence that is parsed in formalism t has the vector of an encoder that all
    formalisms share, and with `own`, beside it, that of an encoder of t alone (FREDA1; without:
    SHARED1). The perceptrons are those of t. Each encoder has its own embeddings.

    $$ h^{(t)}_i = [h^{\text{shared}}_i ;\; h^{\text{own}, t}_i] $$

    Args:
        vocabulary: Words, and the labels of all formalisms.
        sizes: Of every encoder.
        own: Whether each formalism has an encoder of its own beside the shared one.
        tops: Whether tops are scored.

    References:
        Peng, Thomson and Smith (2017), *Deep multitask learning for semantic dependency parsing*,
        Section 4; Daumé III (2007), *Frustratingly easy domain adaptation*.
    """

    def __init__(self, vocabulary: Vocabulary, sizes: Sizes, own: bool, tops: bool = False):
        super().__init__()
        self.encoder = Encoder(vocabulary, sizes, root=False)
        self.numbers = {name: i for i, name in enumerate(["", *vocabulary.more])}
        counts = [len(vocabulary.of_formalism(name).names) for name in self.numbers]
        self.tasks = nn.ModuleList(Task(vocabulary, sizes, count, own, tops) for count in counts)

    def forward(
        self, batch: Batch, graphs: ol.SemanticGraphs, heads: None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Scores of the parts of `graphs` and of the tops, in the formalism of the batch."""
        task = self.tasks[self.numbers[formalism_of(batch.kind)]]
        assert isinstance(task, Task)
        h = self.encoder(batch)
        if task.encoder is not None:
            h = torch.cat([h, task.encoder(batch)], -1)
        return task.score(h, graphs)
