"""Gumbel straight-through: decide on noisy scores, differentiate the soft map there."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from .._errors import InputError
from .base import Decision
from .derivatives import carried, pull_back
from .noise import Noise, NoisySurrogate
from .oracles import Oracles
from .steps import check_positive


class GumbelStraightThrough(NoisySurrogate):
    r"""$\hat z(s + \epsilon)$ forward, $J_\mu\bigl((s + \epsilon)/T\bigr)^\top g / T$ backward.

    On a simplex $\hat z(s + \epsilon)$ with Gumbel noise is a sample of the softmax, and this is
    Gumbel-softmax, straight-through (Jang, Gu and Poole, 2017; Maddison, Mnih and Teh, 2017). On
    other sets it is perturb-and-MAP with the derivative of the marginals, or of the projection. For
    parts that are free to be 0 or 1 "logistic" noise is the difference of two Gumbels. In
    evaluation there is no noise.

    Args:
        temperature: $T$ of the soft map.
        soft: "marginals", or "projection" for sets that have none.
        samples: Decisions whose mean goes into the network; one is a structure.
        sigma: Size of the noise.
        noise: "gumbel", "logistic", "normal", `SumOfGamma(k)` or a function.
        generator: Where noise comes from; None: torch's own.
    """

    twice_differentiable: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        soft: Literal["marginals", "projection"] = "marginals",
        samples: int = 1,
        sigma: float = 1.0,
        noise: Noise = "gumbel",
        generator: torch.Generator | None = None,
    ):
        super().__init__(samples, sigma, noise, generator)
        check_positive("temperature", temperature)
        if soft not in ("marginals", "projection"):
            raise InputError(f"`soft` must be 'marginals' or 'projection'. Got {soft!r}.")
        self.temperature, self.soft = temperature, soft

    def forward(self, oracles: Oracles, scores: Tensor, training: bool = True) -> Decision:
        """Decide on noisy scores; in a compiled graph the soft map carries the derivative."""
        decision = super().forward(oracles, scores, training)
        if not torch.compiler.is_compiling():
            return decision
        wide = oracles.expand(scores.to(torch.promote_types(scores.dtype, torch.float32)))
        noise = decision.saved[0] if decision.saved else self.draw(wide)
        soft = oracles.point(self.soft, self.noisy(wide, noise) / self.temperature)
        return carried(decision, soft.mean(0))

    def of_samples(
        self, oracles: Oracles, scores: Tensor, noise: Tensor, decided: Tensor, grad: Tensor
    ) -> Tensor:
        """Return the mean of the derivatives at the noisy scores."""

        def soft(y: Tensor) -> Tensor:
            return oracles.point(self.soft, y)

        at = self.noisy(scores, noise) / self.temperature
        result = pull_back(soft, at, grad.expand_as(at))
        return result.mean(0) / self.temperature
