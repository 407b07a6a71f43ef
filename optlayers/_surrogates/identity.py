"""Identity with projection: straight-through on scores without their invariances."""

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .._abstract_set import AbstractFeasibleSet
from .._errors import InputError
from .._feasible_set import as_set
from .._functional import project
from .._plan.compile import compiled_of
from .._polytope.polytope import Polytope
from .._sets import ConvexHull
from .base import AbstractSurrogate, Decision
from .oracles import Oracles

Centre = Literal["equalities", "mean"] | None


class Identity(AbstractSurrogate):
    r"""$\tilde\nabla_s = J_\nu(s)^\top g$ with $\nu(s) = C s / \lVert C s \rVert$, no oracle.

    The argmax does not change when scores are scaled, or moved along a direction in which all
    structures have the same coordinate; along these straight-through pushes without effect, and the
    scores grow. Sahoo, Paulus, Vlastelica, Musil, Kuleshov and Martius (2023) decide on scores that
    were projected first, and differentiate the projection:

    $$ J_\nu^\top g = \frac{C g - \nu\, (\nu \cdot g)}{\lVert C s \rVert} $$

    Args:
        centre: $C$. "equalities": the orthogonal projector that takes out the span of the equality
            rows, which changes no decision on any set: the mean on a simplex, the means of rows and
            columns on an assignment, nothing on a box. "mean": takes out the mean, as the paper;
            where structures differ in size the decision is then another one. None: nothing.
        normalise: Divide by the norm. False and `centre=None`: `StraightThrough`.

    Examples:
        >>> import torch, optlayers as ol
        >>> scores = torch.tensor([3.0, 1.0, -1.0], requires_grad=True)
        >>> z = ol.structured_argmax(ol.simplex(3), scores, Identity(normalise=False))
        >>> z.backward(torch.tensor([1.0, 1.0, -2.0]) + 5)
        >>> scores.grad
        tensor([ 1.,  1., -2.])
    """

    twice_differentiable: ClassVar[bool] = True

    def __init__(self, centre: Centre = "equalities", *, normalise: bool = True):
        if centre not in ("equalities", "mean", None):
            raise InputError(f"`centre` must be 'equalities', 'mean' or None. Got {centre!r}.")
        self.centre, self.normalise = centre, normalise

    def forward(self, oracles: Oracles, scores: Tensor, training: bool = True) -> Decision:
        """Decide; on centred scores where that can change the decision."""
        if self.centre == "mean":
            fixed = scores.detach()
            scores = scores - _mean(fixed, oracles.counted(fixed), oracles.event)
        return super().forward(oracles, scores, training)

    def gradient(self, oracles: Oracles, scores: Tensor, z_hat: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient of the loss without its parts along the invariances."""
        counted = oracles.counted(scores)
        scores = torch.where(counted, scores, 0)
        result = self._without(oracles, grad, counted)
        if not self.normalise:
            return result
        nu = self._without(oracles, scores, counted)
        norm = nu.square().sum(oracles.event, keepdim=True).sqrt()
        norm = torch.where(norm > 0, norm, 1)  # equal scores have no direction to take out
        nu = nu / norm
        return (result - nu * (nu * grad).sum(oracles.event, keepdim=True)) / norm

    def _without(self, oracles: Oracles, x: Tensor, counted: Tensor) -> Tensor:
        if self.centre is None:
            return x
        if self.centre == "mean":
            return torch.where(counted, x - _mean(x, counted, oracles.event), 0)
        onto = _directions(oracles.feasible_set)
        if onto is None:
            return x
        flat = x.flatten(-oracles.event_dim) if oracles.event_dim > 1 else x
        return project(onto, flat, on_nonfinite="propagate").reshape(x.shape)


def _mean(x: Tensor, counted: Tensor, event: tuple[int, ...]) -> Tensor:
    total = torch.where(counted, x, 0).sum(event, keepdim=True)
    return total / counted.sum(event, keepdim=True).clamp(min=1)


def _directions(feasible_set: AbstractFeasibleSet) -> Polytope | None:
    """Return the differences of structures that equality rows and fixed parts allow; None: all."""
    while isinstance(feasible_set, ConvexHull):  # it is known by a decoder; its rows are of the set
        feasible_set = as_set(feasible_set.feasible_set)
    relaxation = feasible_set.relaxation
    derived = compiled_of(relaxation).derived
    if "directions" not in derived:
        derived["directions"] = _make_directions(relaxation)
    return derived["directions"]


def _make_directions(relaxation: Polytope) -> Polytope | None:
    n, rows = relaxation.n, relaxation.A_eq
    if rows.shape[0]:
        rows = rows[np.asarray(abs(rows[:, n:]).sum(1)).ravel() == 0] if rows.shape[1] > n else rows
    fixed = (relaxation.lower == relaxation.upper)[..., :n]
    if not rows.shape[0]:
        return None
    infinite = torch.full(fixed.shape, torch.inf, dtype=torch.float64, device=fixed.device)
    upper = torch.where(fixed, 0, infinite)
    return Polytope(
        A_eq=rows[:, :n], b_eq=np.zeros(rows.shape[0]), lower=-upper, upper=upper, integral=False
    )
