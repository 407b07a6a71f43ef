"""A semantic parser: scores of predicates, arcs and labelled arcs, given heads or not."""

import torch
from torch import Tensor, nn

import optlayers as ol

from .batches import Batch
from .encoder import Encoder, Sizes
from .layers import PairPerceptron, Perceptron, linear
from .vocabulary import Vocabulary


class GraphScorer(nn.Module):
    """The perceptrons that score graphs: what the parsers of one formalism or more have in common.

    Two layers each: one perceptron for predicates, one for arcs, one for labelled arcs, each with
    its own parameters; labels share the last and have a vector each.
    """

    def add_perceptrons(self, width: int, sizes: Sizes, labels: int, tops: bool = False) -> None:
        """Makes them. A subclass calls this once it has its encoder.

        Args:
            width: Of the vectors of words.
            sizes: Of the layers.
            labels: How many; 0 for arcs without labels.
            tops: Whether tops are scored too: arcs from the root, whose label is none.
        """
        shape = (width, sizes.mlp, 2, sizes.activation)
        self.predicate = nn.Sequential(Perceptron(*shape), linear(sizes.mlp, 1, bias=False))
        self.arc_pairs = PairPerceptron(*shape)
        self.arc = linear(sizes.mlp, 1, bias=False)
        self.labelled = labels > 0
        if self.labelled:
            self.label_pairs = PairPerceptron(*shape)
            self.label = linear(sizes.mlp, labels)
        self.top = None
        if tops:
            self.top = nn.Sequential(Perceptron(*shape), linear(sizes.mlp, 1))

    def score(self, h: Tensor, graphs: ol.SemanticGraphs) -> tuple[Tensor, Tensor | None]:
        """Scores from vectors of words, `(B, n, width)`.

        Where arcs are pruned (the sparse layout), only the pairs that are kept are scored.

        Returns:
            Those of the parts of `graphs`, `(B, num_parts)`, and those of the tops, `(B, n)`, each
            of which is in the graph or not, whatever the others are.
        """
        dense = graphs.num_slots == graphs.size**2
        pairs = None if dense else graphs.arc_index.clamp(min=0).to(h.device)
        predicates = self.predicate(h).squeeze(-1).float()
        arcs = self.arc(pair_vectors(self.arc_pairs, h, pairs)).squeeze(-1).float()
        labels = None
        if self.labelled:
            labels = self.label(pair_vectors(self.label_pairs, h, pairs)).float()
        tops = None if self.top is None else self.top(h).squeeze(-1).float()
        return graphs.pack(predicates, arcs, labels), tops


def pair_vectors(perceptron: PairPerceptron, h: Tensor, pairs: Tensor | None) -> Tensor:
    """What a perceptron makes of all pairs of words, `(B, n, n, size)`, or of some.

    Args:
        perceptron: The perceptron.
        h: `(B, n, width)`.
        pairs: `(B, K, 2)`, numbers of words; then the result is `(B, K, size)`. The first layer is
            one product per word in any case, so that only the layers above it are saved.
    """
    if pairs is None:
        return perceptron(h, h)
    rows = pairs + torch.arange(len(h), device=h.device)[:, None, None] * h.shape[1]
    left = perceptron.left(h).flatten(0, 1).index_select(0, rows[..., 0].flatten())
    right = perceptron.right(h).flatten(0, 1).index_select(0, rows[..., 1].flatten())
    return perceptron.rest(perceptron.first(left + right)).unflatten(0, pairs.shape[:2])


class SemanticParser(GraphScorer):
    r"""NeurboParser's basic model; first order.

    With a tree $\hat z$, each word's vector has that of its head beside it (Eq. 7 of Peng, Thomson
    and Smith 2018), and the root has a vector of its own:

    $$ \tilde h_j = [h_j ;\; \sum_i \hat z_{i \to j} h_i] $$

    The sum is linear in $\hat z$, so gradients reach it. Scores are those of a `GraphScorer`.

    Args:
        vocabulary: Words, and the labels to score.
        sizes: As of an encoder.
        heads: Whether words get the vectors of their heads.
        tops: Whether tops are scored.

    References:
        Peng, Thomson and Smith (2017), *Deep multitask learning for semantic dependency parsing*,
        Section 3; Peng, Thomson and Smith (2018), Section 4.1.
    """

    def __init__(self, vocabulary: Vocabulary, sizes: Sizes, heads: bool, tops: bool = False):
        super().__init__()
        self.encoder = Encoder(vocabulary, sizes, root=False)
        width = self.encoder.width
        self.root = nn.Parameter(torch.empty(width)) if heads else None
        if self.root is not None:
            nn.init.normal_(self.root, std=0.1)  # about as long as the vectors of words
            width *= 2
        self.add_perceptrons(width, sizes, len(vocabulary.labels), tops)

    def forward(
        self, batch: Batch, graphs: ol.SemanticGraphs, heads: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Scores of the parts of `graphs` and of the tops; see `GraphScorer.score`.

        Args:
            batch: The sentences.
            graphs: The set whose parts are scored.
            heads: `(B, n + 1, n + 1)`, from heads to modifiers: trees or marginals.
        """
        h = self.encoder(batch)
        if self.root is not None:
            if heads is None:
                raise ValueError("This parser reads trees: give `heads`.")
            h = torch.cat([h, self.head_vectors(h, heads)], -1)
        return self.score(h, graphs)

    def head_vectors(self, h: Tensor, heads: Tensor) -> Tensor:
        """The vector of the head of each word, `(B, n, width)`."""
        assert self.root is not None
        root = self.root.expand(len(h), 1, -1)
        return heads[..., 1:].transpose(-1, -2).to(h) @ torch.cat([root.to(h), h], 1)
