"""The perturbed optimizer: the mean decision under noise, and its derivative by samples."""

from typing import ClassVar

import torch
from torch import Tensor

from .._errors import InputError
from .noise import NoisySurrogate
from .oracles import Oracles


def multiplied(scores: Tensor, noise: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    r"""Return $s \odot f$ and $f = \exp(\sigma\epsilon - \sigma^2/2)$, whose mean is 1."""
    factor = torch.exp(sigma * noise - sigma**2 / 2)
    return scores * factor, factor


class Perturbed(NoisySurrogate):
    r"""$z = \frac1m \sum_i \hat z(s + \sigma \epsilon_i)$, normal noise (Berthet et al., 2020).

    The mean decision has a derivative, which the same decisions estimate without bias:

    $$ \tilde\nabla_s = \frac{1}{(m - 1)\, \sigma} \sum_i \epsilon_i\,
       (\hat z_i - \bar z) \cdot \nabla_{\bar z}L $$

    What goes into the network is a mean of structures, and a structure only with one sample and in
    evaluation. Cost: `samples` decodings, none backward.

    Args:
        sigma: $\sigma$, the size of the noise: the temperature of the smoothing.
        samples: $m$.
        multiplicative: $\hat z(s \odot \exp(\sigma \epsilon - \sigma^2 / 2))$ instead, which keeps
            the sign of every score (Dalle et al., 2022), for decoders that need it. A score of zero
            then has no noise and no gradient.
        variance_reduction: Subtract from each sample the mean of the others, which leaves the
            expected gradient as it is and shortens its noise; needs two samples. False: the plain
            estimate $\frac{1}{m\sigma} \sum_i \epsilon_i\, \hat z_i \cdot \nabla L$.
        generator: Where noise comes from; None: torch's own.
    """

    twice_differentiable: ClassVar[bool] = True  # linear in the gradient

    def __init__(
        self,
        sigma: float = 1.0,
        samples: int = 10,
        *,
        multiplicative: bool = False,
        variance_reduction: bool = True,
        generator: torch.Generator | None = None,
    ):
        super().__init__(samples, sigma, "normal", generator)
        if variance_reduction and samples < 2:
            raise InputError(
                "One sample has no others to subtract: use `samples=2` or more, or "
                "`variance_reduction=False`."
            )
        self.multiplicative, self.variance_reduction = multiplicative, variance_reduction

    def settings(self):
        """Return what `repr` shows: the noise is always normal."""
        return {k: v for k, v in super().settings().items() if k != "noise"}

    def noisy(self, scores: Tensor, noise: Tensor) -> Tensor:
        """Return scores with noise added, or multiplied by it."""
        if self.multiplicative:
            return multiplied(scores, noise, self.sigma)[0]
        return super().noisy(scores, noise)

    def of_samples(
        self, oracles: Oracles, scores: Tensor, noise: Tensor, decided: Tensor, grad: Tensor
    ) -> Tensor:
        """Return the noise of the samples, weighted by what each decision costs."""
        count = self.samples
        if self.variance_reduction:
            decided, count = decided - decided.mean(0), count - 1
        cost = (decided * grad).sum(oracles.event, keepdim=True)
        result = (noise * cost).sum(0) / (count * self.sigma)
        if self.multiplicative:  # d/ds = (1 / s) d/dlog|s|
            none = scores == 0
            return torch.where(none, 0, result / torch.where(none, 1, scores))
        return result
