"""A syntactic parser: scores of heads, arc by arc."""

from torch import Tensor, nn

from .batches import Batch
from .encoder import Encoder, Sizes
from .layers import PairPerceptron, linear
from .vocabulary import Vocabulary


class SyntaxParser(nn.Module):
    r"""Unlabelled, arc-factored: $s(h \to m) = w \cdot \tanh(W \tanh(U h_h + V h_m + b) + c)$.

    With `syntax_layers=1` without the outer layer.

    Scores are those that `optlayers.DependencyTrees` decodes, `(B, n + 1, n + 1)`, heads by
    modifiers, the root first. The root is a symbol before the first word.

    References:
        Kiperwasser and Goldberg (2016), Section 4.2.
    """

    def __init__(self, vocabulary: Vocabulary, sizes: Sizes):
        super().__init__()
        self.encoder = Encoder(vocabulary, sizes, root=True)
        self.pairs = PairPerceptron(
            self.encoder.width, sizes.mlp, sizes.syntax_layers, sizes.activation
        )
        self.score = linear(sizes.mlp, 1, bias=False)

    def forward(self, batch: Batch) -> Tensor:
        """Scores of all arcs."""
        h = self.encoder(batch)
        return self.score(self.pairs(h, h)).squeeze(-1).float()
