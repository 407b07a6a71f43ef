"""SparseMAP: the projection of the scores, relaxed forward or straight-through."""

from typing import ClassVar

import torch
from torch import Tensor

from .._polytope.polytope import Polytope
from .base import AbstractSurrogate, Decision
from .derivatives import carried, pull_back
from .oracles import Oracles, check_relaxation
from .steps import check_positive


class SparseMAP(AbstractSurrogate):
    r"""$z = \Pi_P(s / T)$ with its true derivative $J_\Pi\, g / T$ (Niculae et al., 2018).

    A relaxed decision: few structures, mixed; nothing is made up. $J_\Pi$ is the orthogonal
    projector onto the face that the point lies on; at a kink that of the smallest face. Parts at a
    bound get no gradient. Cost: one projection and its derivative; no decoding.

    Args:
        temperature: $T$; the smaller, the closer to a decision.
        straight_through: Decide hard and keep the derivative: $\hat z$ forward, $J_\Pi\, g / T$
            backward.
        relaxation: A polytope to project onto, instead of the feasible set's own relaxation. With
            `ConvexHull` as the feasible set it is SparseMAP proper; with a looser polytope
            LP-SparseMAP (Niculae and Martins, 2020).

    Examples:
        >>> import torch, optlayers as ol
        >>> ol.structured_argmax(ol.simplex(3), torch.tensor([1.0, 0.8, -1.0]), ol.SparseMAP())
        tensor([0.6000, 0.4000, 0.0000])
    """

    twice_differentiable: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        straight_through: bool = False,
        relaxation: Polytope | None = None,
    ):
        check_positive("temperature", temperature)
        self.temperature, self.straight_through = temperature, straight_through
        check_relaxation(relaxation)
        self.relaxation = relaxation

    def forward(self, oracles: Oracles, scores: Tensor, training: bool = True) -> Decision:
        """Project, or decode; the same in training and in evaluation."""
        decision = None
        if self.straight_through:
            decision = super().forward(oracles, scores, training)
            if not torch.compiler.is_compiling():
                return decision
        oracles.relaxation = self.relaxation
        if decision is not None:
            return carried(decision, oracles.project(scores / self.temperature))
        z, status = oracles.decision(oracles.project(scores / self.temperature), scores)
        return Decision(z, status, differentiable=True)

    def gradient(self, oracles: Oracles, scores: Tensor, z_hat: Tensor, grad: Tensor) -> Tensor:
        """Return the derivative of the projection, applied to the gradient."""
        return pull_back(oracles.project, scores / self.temperature, grad) / self.temperature
