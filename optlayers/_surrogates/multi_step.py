"""SPIGOT with several steps: follow the loss inside the polytope, then take the difference."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from .._errors import InputError
from .._polytope.polytope import Polytope
from .base import AbstractSurrogate, stepped
from .derivatives import gradient_of
from .oracles import Oracles, check_relaxation
from .steps import NormClip, check_positive_step


class MultiStepSPIGOT(AbstractSurrogate):
    r"""$\tilde\nabla_s = m - z^K$ with $z^{k+1} = \Pi_P\bigl(z^k - \eta\nabla L(z^k)\bigr)$.

    Projected gradient descent on the loss itself, started at a decision; the target is where it
    arrives (Mihaylova, Niculae and Martins, 2020). A layer sees one gradient, so the loss is given
    as a function; make the surrogate where the batch is at hand:

        z = ol.structured_argmax(P, scores, ol.MultiStepSPIGOT(lambda z: loss_of(z, batch)))

    With one step from the vertex and a function that is the loss that `backward` is called on, it
    is `SPIGOT(around="vertex")`. Cost: `steps` projections and gradients of the loss.

    Args:
        loss: From structures `(..., n)` to their losses, in any shape; the sum counts. Gradients
            reach neither its parameters nor the scores through it.
        eta: Step size: a number, a tensor with one entry per instance, or `NormClip(T)`.
        steps: $K$.
        start: $z^0$. "vertex": $\hat z$, and $m = \hat z$. "projection": $\Pi_P(s)$, and
            "marginals": $\mu(s)$, with $m = z^0$. "zero": $z^0 = 0$ and $m = \hat z$, which is
            SPIGOT-Zero: the target forgets the decision.
        unconstrained: Do not project: STE with several steps, and STE-Zero.
        relaxation: A polytope to project onto, instead of the feasible set's own relaxation.
    """

    def __init__(
        self,
        loss: Callable[[Tensor], Tensor],
        eta: "float | Tensor | NormClip" = 1.0,
        steps: int = 5,
        *,
        start: Literal["vertex", "zero", "projection", "marginals"] = "vertex",
        unconstrained: bool = False,
        relaxation: Polytope | None = None,
    ):
        if not callable(loss):
            raise InputError(f"`loss` must be a function of structures. Got {loss!r}.")
        check_positive_step("eta", eta)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError(f"`steps` must be a positive integer. Got {steps!r}.")
        if start not in ("vertex", "zero", "projection", "marginals"):
            raise InputError(
                f"`start` must be 'vertex', 'zero', 'projection' or 'marginals'. Got {start!r}."
            )
        self.loss, self.eta, self.steps, self.start = loss, eta, steps, start
        check_relaxation(relaxation)
        self.unconstrained, self.relaxation = unconstrained, relaxation

    def gradient(self, oracles: Oracles, scores: Tensor, z_hat: Tensor, grad: Tensor) -> Tensor:
        """Return the difference of the decision and of where the loss leads."""
        start, dtype = z_hat, oracles.dtype or grad.dtype
        if self.start in ("projection", "marginals"):
            start = oracles.point(self.start, scores)
        z = torch.zeros_like(start) if self.start == "zero" else start
        for _ in range(self.steps):
            step = gradient_of(lambda z: self.loss(z).sum(), z.to(dtype)).to(z)
            _, _, step = oracles.admit(scores, z, step)
            z = z - stepped(self.eta, step, oracles.event_dim)
            z = z if self.unconstrained else oracles.project(z)
        return start - z
