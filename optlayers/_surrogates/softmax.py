"""Hard decisions with the derivative of a soft map: straight-through softmax and marginals."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from .._errors import InputError
from .base import AbstractSurrogate, Decision
from .derivatives import carried, pull_back
from .oracles import Oracles
from .steps import check_positive


class SoftmaxStraightThrough(AbstractSurrogate):
    r"""$\tilde\nabla_s = J_\mu(s / T)^\top\, \nabla_{\hat z}L / T$: hard forward, soft backward.

    $\mu$ are the marginals, $\mathbb{E}[z]$ under $p(z) \propto \exp(z \cdot s / T)$: the softmax
    on a simplex, where $J^\top g = p \odot (g - p \cdot g)$, sigmoids on a box, a sum-product on
    trees. This is STE-S of Mihaylova, Niculae and Martins (2020). For sets without marginals, and
    for sparse gradients, `SparseMAP(straight_through=True)`. Cost: one sum and its derivative.

    Args:
        temperature: $T$, which divides the scores.
        jacobian: "full", or "diagonal": $p \odot (1 - p) \odot g$, the variances alone, which is
            what a public implementation computes; it ignores that one part's gain is another's
            loss.
    """

    twice_differentiable: ClassVar[bool] = True

    def __init__(self, temperature: float = 1.0, *, jacobian: Literal["full", "diagonal"] = "full"):
        check_positive("temperature", temperature)
        if jacobian not in ("full", "diagonal"):
            raise InputError(f"`jacobian` must be 'full' or 'diagonal'. Got {jacobian!r}.")
        self.temperature, self.jacobian = temperature, jacobian

    def forward(self, oracles: Oracles, scores: Tensor, training: bool = True) -> Decision:
        """Decide; in a compiled graph the marginals carry the derivative."""
        decision = super().forward(oracles, scores, training)
        if self.jacobian == "diagonal" or not torch.compiler.is_compiling():
            return decision
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return carried(decision, oracles.marginals(wide / self.temperature))

    def gradient(self, oracles: Oracles, scores: Tensor, z_hat: Tensor, grad: Tensor) -> Tensor:
        """Return the derivative of the marginals, applied to the gradient."""
        scores = scores / self.temperature
        if self.jacobian == "full":
            return pull_back(oracles.marginals, scores, grad) / self.temperature
        p = oracles.marginals(scores)
        return p * (1 - p) * grad / self.temperature
