"""A semantic parser: scores of predicates, arcs and labelled arcs, given heads or not."""

import torch
from torch import Tensor, nn

import optlayers as ol

from .batches import Batch
from .encoder import Encoder, Sizes
from .layers import PairPerceptron, Perceptron, linear
from .vocabulary import Vocabulary


class SemanticParser(nn.Module):
    r"""NeurboParser's basic model; first order.

    With a tree $\hat z$, each word's vector has that of its head beside it (Eq. 7 of Peng, Thomson
    and Smith 2018), and the root has a vector of its own:

    $$ \tilde h_j = [h_j ;\; \sum_i \hat z_{i \to j} h_i] $$

    The sum is linear in $\hat z$, so gradients reach it. Scores are from two-layer perceptrons:
    one for predicates, one for arcs, one for labelled arcs, each with its own parameters; labels
    share the last and have a vector each.

    Args:
        vocabulary: Words, and the labels to score.
        sizes: As of an encoder.
        heads: Whether words get the vectors of their heads.

    References:
        Peng, Thomson and Smith (2017), *Deep multitask learning for semantic dependency parsing*,
        Section 3; Peng, Thomson and Smith (2018), Section 4.1.
    """

    def __init__(self, vocabulary: Vocabulary, sizes: Sizes, heads: bool):
        super().__init__()
        self.encoder = Encoder(vocabulary, sizes, root=False)
        width = self.encoder.width
        self.root = nn.Parameter(torch.empty(width)) if heads else None
        if self.root is not None:
            nn.init.normal_(self.root, std=0.1)  # about as long as the vectors of words
            width *= 2
        mlp = sizes.mlp
        self.predicate = nn.Sequential(Perceptron(width, mlp, 2), linear(mlp, 1, bias=False))
        self.arc_pairs = PairPerceptron(width, mlp, 2)
        self.arc = linear(mlp, 1, bias=False)
        self.label_pairs = PairPerceptron(width, mlp, 2)
        self.label = linear(mlp, len(vocabulary.labels))

    def forward(
        self, batch: Batch, graphs: ol.SemanticGraphs, heads: Tensor | None = None
    ) -> Tensor:
        """Scores of the parts of `graphs`, `(B, num_parts)`.

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
        return graphs.pack(
            self.predicate(h).squeeze(-1).float(),
            self.arc(self.arc_pairs(h, h)).squeeze(-1).float(),
            self.label(self.label_pairs(h, h)).float(),
        )

    def head_vectors(self, h: Tensor, heads: Tensor) -> Tensor:
        """The vector of the head of each word, `(B, n, width)`."""
        assert self.root is not None
        root = self.root.expand(len(h), 1, -1)
        return heads[..., 1:].transpose(-1, -2).to(h) @ torch.cat([root.to(h), h], 1)
