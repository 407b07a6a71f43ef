"""SPIGOT-EG: the step is made in the scores, so the map back is the marginals."""

from typing import ClassVar

from torch import Tensor

from .base import AbstractSurrogate, stepped
from .oracles import Oracles
from .steps import NormClip, check_positive, check_positive_step


class SPIGOTEG(AbstractSurrogate):
    r"""$\tilde\nabla_s = \mu(s / T) - \mu(s / T - \eta\,\nabla_{\hat z}L)$, two sums.

    An exponentiated-gradient step from the marginals: $p_i \propto \mu_i e^{-\eta g_i}$ on a
    simplex (Mihaylova, Niculae and Martins, 2020). Forward stays hard. For small $\eta$ it is
    `SoftmaxStraightThrough`, times $\eta$. For sets that have marginals.

    Args:
        eta: Step size: a number, a tensor with one entry per instance, or `NormClip(T)`.
        temperature: $T$, which divides the scores first.
    """

    twice_differentiable: ClassVar[bool] = True

    def __init__(self, eta: "float | Tensor | NormClip" = 1.0, *, temperature: float = 1.0):
        check_positive_step("eta", eta)
        check_positive("temperature", temperature)
        self.eta, self.temperature = eta, temperature

    def gradient(self, oracles: Oracles, scores: Tensor, z_hat: Tensor, grad: Tensor) -> Tensor:
        """Return the difference of two marginals."""
        scores = scores / self.temperature
        moved = scores - stepped(self.eta, grad, oracles.event_dim)
        return oracles.marginals(scores) - oracles.marginals(moved)
