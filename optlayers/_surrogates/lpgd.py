"""Lagrangian proximal gradient descent: step in the scores and stay near the decision."""

from typing import ClassVar

from torch import Tensor

from .._checks import number
from .._polytope.polytope import Polytope
from .base import AbstractSurrogate
from .blackbox import Side, check_side
from .oracles import Oracles, check_relaxation
from .steps import check_positive


class LPGD(AbstractSurrogate):
    r"""$\tilde\nabla_s = (\hat z - y_+) / \tau$, one projection (Paulus et al., 2024).

    For a linear objective, augmented:

    $$ y_\pm = \arg\max_{z \in P}\; (\kappa s \mp \tau g) \cdot z
       - \tfrac\rho2 \lVert z - \hat z \rVert^2
       = \Pi_P \bigl( \hat z + (\kappa s \mp \tau g) / \rho \bigr) $$

    Its ends: $\kappa = 0$ is SPIGOT at the vertex with $\eta = \tau / \rho$, over $\tau$;
    $\rho \to 0$ is `Blackbox(lam=tau)` on a set whose polytope is tight.

    Args:
        tau: $\tau$, the weight of the loss.
        rho: $\rho$, the weight of the proximal term.
        kappa: $\kappa$, the weight of the scores; 1 is LPGD.
        side: "right": $(\hat z - y_+) / \tau$; "left": $(y_- - \hat z) / \tau$; "average": the mean
            of both, two projections.
        relaxation: A polytope to project onto, instead of the feasible set's own relaxation.
    """

    twice_differentiable: ClassVar[bool] = True

    def __init__(
        self,
        tau: float = 1.0,
        rho: float = 1.0,
        *,
        kappa: float = 1.0,
        side: Side = "right",
        relaxation: Polytope | None = None,
    ):
        check_positive("tau", tau)
        check_positive("rho", rho)
        number(kappa, "kappa", 0)
        check_side(side)
        self.tau, self.rho, self.kappa, self.side = tau, rho, kappa, side
        check_relaxation(relaxation)
        self.relaxation = relaxation

    def gradient(self, oracles: Oracles, scores: Tensor, z_hat: Tensor, grad: Tensor) -> Tensor:
        """Return the difference of the decision and a projection, over the step."""
        # Nothing times minus infinity is NaN: without the scores, masks stay out of it.
        base = z_hat + self.kappa / self.rho * scores if self.kappa else z_hat
        step = self.tau / self.rho * grad
        if self.side == "right":
            result = z_hat - oracles.project(base - step)
        elif self.side == "left":
            result = oracles.project(base + step) - z_hat
        else:
            result = (oracles.project(base + step) - oracles.project(base - step)) / 2
        return result / self.tau
