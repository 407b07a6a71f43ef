"""Scores of pairs of words by perceptrons, without a copy of both vectors for each pair."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "leaky_relu": partial(nn.LeakyReLU, 0.1),
    "relu": nn.ReLU,
}


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear map that keeps the scale (Glorot): scores that start near zero stay there."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class Perceptron(nn.Sequential):
    r"""$\tanh(W_k \dots \tanh(W_1 h + b_1) \dots + b_k)$ of single words; or another activation."""

    def __init__(self, inputs: int, size: int, layers: int, activation: str = "tanh"):
        super().__init__()
        for i in range(layers):
            self.append(linear(size if i else inputs, size))
            self.append(ACTIVATIONS[activation]())


class PairPerceptron(nn.Module):
    r"""$\tanh(\dots \tanh(U h_i + V h_j + b) \dots)$ of all pairs, `(B, n, n, size)`.

    The first layer of a pair is a sum, so each word is multiplied once, not once per pair; the
    only tensors with $n^2$ rows have `size` columns. Its activation is always tanh; another one is
    that of the layers above it.
    """

    def __init__(self, inputs: int, size: int, layers: int, activation: str = "tanh"):
        super().__init__()
        both = linear(2 * inputs, size)  # initialised as what it stands for
        self.left, self.right = nn.Linear(inputs, size, bias=False), nn.Linear(inputs, size)
        with torch.no_grad():
            self.left.weight.copy_(both.weight[:, :inputs])
            self.right.weight.copy_(both.weight[:, inputs:])
            self.right.bias.zero_()
        self.first = nn.Tanh()
        self.rest = Perceptron(size, size, layers - 1, activation)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Pairs of the words of two sequences."""
        pairs = self.left(left).unsqueeze(-2) + self.right(right).unsqueeze(-3)
        return self.rest(self.first(pairs))
