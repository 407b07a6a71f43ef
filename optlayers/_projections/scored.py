r"""Projections whose auxiliary variables are worth something.

$$ \min_{(z, \psi) \in L} \tfrac12 \|z - y\|^2 - c \cdot \psi $$

A point to project carries c behind y. The maps that solve rows read it there; what has no auxiliary
variable goes to the maps of every projection.
"""

import numpy as np
import torch
from torch import Tensor

from .._errors import UnboundedError
from .._plan.blocks import Block
from .._plan.maps import Limits, Report, Table
from .._plan.operators import outside_graphs
from .active_set import ActiveSet
from .affine import Affine
from .box import Box
from .derivative import both_scored, scored_tangent
from .newton.newton import Newton
from .one_row import OneRow
from .qp import QP
from .simplex import Simplex

_ENDLESS = 1e-9  # a gain per step of length one, relative to the largest score, that is rounding


class ScoredBox(Box):
    """Auxiliary variables without rows go to the bound that is worth more; at zero, near zero."""

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Clip points; choose bounds."""
        if not self.block.is_aux.any():
            return super().forward(x, limits, report)
        aux = self.block.on("is_aux", x.device)
        found = super().forward(torch.where(aux, 0, x), limits, report)
        end = torch.where(x > 0, limits.upper, limits.lower)
        found = torch.where(aux & (x != 0), end, found)
        endless = aux & found.isinf()
        for n in endless.flatten(1).any(1).cpu().nonzero()[:, 0].tolist():
            c, j = endless[n].nonzero()[0].tolist()
            report.fail(n, _words(self.block, c, j, bool(found[n, c, j] > 0)), UnboundedError)
        return torch.where(endless, torch.nan, found)

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Pass the gradient where no bound is active; none of what bounds are worth."""
        found = super().vjp(x, z, limits, grad)
        return torch.where(self.block.on("is_aux", x.device), 0, found)


class _Scored:
    """Common parts of maps of rows with auxiliary variables."""

    block: Block

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Return the product in the points, and in what auxiliary variables are worth."""
        if not self.block.is_aux.any():
            return super().vjp(x, z, limits, grad)  # type: ignore[misc]
        if self.block.is_aux.all():
            return torch.zeros_like(grad)
        return scored_tangent(self.block, x, z, limits, grad)

    def vjp_both(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> tuple[Tensor, Limits]:
        """Return `vjp` and `vjp_limits`, looking for the face once."""
        if not self.block.is_aux.any():
            return super().vjp_both(x, z, limits, grad)  # type: ignore[misc]
        if self.block.is_aux.all():
            return torch.zeros_like(grad), self.vjp_limits(x, z, limits, grad)  # type: ignore[attr-defined]
        return both_scored(self.block, x, z, limits, grad)

    def refuse_endless(
        self, chosen: np.ndarray, x: Tensor, z: Tensor, limits: Limits, report: Report
    ) -> np.ndarray:
        """Fail the components of `chosen` that have no end; return the others."""
        kept, points = [], x.detach().cpu().double().numpy()
        sides = [v.cpu().numpy() for v in limits]
        for n, c in chosen.tolist():
            own = tuple(v[n % len(v), c] for v in sides)
            found = endless_direction(self.block, points[n, c], *own)
            if found is None:
                kept.append((n, c))
            else:
                number, up = found
                report.fail(n, _words(self.block, c, number, up), UnboundedError)
                z[n] = torch.nan
        return np.array(kept, dtype=np.int64).reshape(-1, 2)


class ScoredNewton(_Scored, Newton):
    """Newton's method, where auxiliary variables are worth something."""

    def _hand_on(self, chosen, x, z, quality, limits, report) -> None:
        left = self.refuse_endless(chosen, x, z, limits, report)
        if len(left):
            super()._hand_on(left, x, z, quality, limits, report)


class ScoredQP(_Scored, QP):
    """Exact solvers, where auxiliary variables are worth something."""

    @outside_graphs
    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Project what has an end."""
        z = torch.zeros_like(x)
        every = np.array(list(np.ndindex(*x.shape[:2])), dtype=np.int64).reshape(-1, 2)
        self.refuse_endless(every, x, z, limits, report)
        lost = z.isnan()
        found = super().forward(torch.where(lost, 0, x), limits, report)
        return torch.where(lost, torch.nan, found)


def endless_direction(block: Block, y, low, high, lower, upper) -> tuple[int, bool] | None:
    """Return an auxiliary variable, and whether it rises, on a way that is worth more for ever.

    None where there is no such way, which a linear program proves: the set has a point with a
    finite score, so that depends on rows and scores alone.
    """
    aux = np.flatnonzero(block.is_aux)
    c = y[aux]
    if not c.any():
        return None
    from scipy.optimize import linprog

    R = block.matrix[:, aux]
    most = np.where(np.isfinite(high), 0.0, np.inf)
    least = np.where(np.isfinite(low), 0.0, -np.inf)
    ends = np.stack([-1.0 * ~np.isfinite(lower[aux]), 1.0 * ~np.isfinite(upper[aux])], 1)
    if not ends.any():
        return None
    said, asked = np.isfinite(most), np.isfinite(least)
    rows = np.vstack([R.toarray()[said], -R.toarray()[asked]])
    size = np.abs(c).max()
    found = linprog(-c / size, rows, np.zeros(len(rows)), bounds=ends, method="highs")
    if found.x is None or not -found.fun > _ENDLESS:
        return None
    k = int(np.abs(found.x).argmax())
    return int(aux[k]), bool(found.x[k] > 0)


def _words(block: Block, component: int, number: int, up: bool) -> str:
    """Say what has no end; auxiliary variables are counted among themselves."""
    first = int(block.index[component, number])
    way = "grow" if up else "fall"
    return (
        f"`scores_aux` has no end over the set: column {first} of the rows, an auxiliary variable, "
        f"can {way} for ever on a way that scores more and more; bound it, or score it otherwise"
    )


SCORED = Table(
    "scored projection", ScoredBox, Simplex, OneRow, Affine, ActiveSet, ScoredNewton, ScoredQP
)
SCORED.completes = True
