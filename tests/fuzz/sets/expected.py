"""What is right for one instance with masks: by listing structures, and by optimality conditions.

A mask leaves a part at its least value where the set allows it. Where it does not, minus infinity
leaves no answer, and any finite mask asks for as little of masked parts as there can be, and of
what is left for the best.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog, nnls

import optlayers as ol

from ..draft import Draft, nothing
from ..reference import by_clarabel

_SLACK = 1e-9  # what a linear program may leave of an excess that is zero


def excess(points: np.ndarray, masked: np.ndarray, least: np.ndarray) -> np.ndarray:
    """How much of masked parts each point has beyond the least, `(K,)`; all arrays flat."""
    return ((points - least) * masked).sum(1)


def with_least_excess(points: np.ndarray, masked: np.ndarray, least: np.ndarray):
    """Those points that have as little of masked parts as there can be, and how much that is."""
    found = excess(points, masked, least)
    lowest = float(found.min(initial=np.inf))
    return points[found <= lowest + _SLACK], lowest


@dataclass(frozen=True)
class Nearest:
    """The set that a point is projected onto under masks, as points or as rows.

    Attributes:
        lowest: How much of masked parts is needed; infinite where there is no point at all.
        points: Its corners, `(K, n)`; None: by rows.
        rows: The rows.
        y: The point that is projected, zero at masked parts.
    """

    lowest: float
    points: np.ndarray | None
    rows: ol.Polytope | None
    y: np.ndarray

    def residual(self, z: np.ndarray) -> float:
        """How far z is from optimal, relative to the size of both; a distance, near the optimum.

        By corners: z is a mean of them, and none lies ahead of it: (y - z).(v - z) <= 0.
        """
        if not np.isfinite(z).all():
            return np.inf
        if self.rows is not None:
            return float(ol.certify(self.rows, self.y, z).residual)
        assert self.points is not None
        scale = max(1.0, np.abs(self.y).max(initial=0.0), np.abs(z).max(initial=0.0))
        ahead, outside = self._ahead_and_outside(z)
        reach = max(1.0, float(np.linalg.norm(self.points - z, axis=1).max()))
        return max(outside, ahead / reach) / scale

    def reach(self, z: np.ndarray) -> float:
        """How far at most z is from the projection; infinite where nothing is known.

        By corners: f(z) - f(z*) <= (y - z).(v - z) for the corner v farthest ahead, and f grows by
        half the squared distance; z itself may miss the hull by what no mean of corners makes up.
        """
        if not np.isfinite(z).all():
            return np.inf
        if self.rows is not None:
            return float(ol.certify(self.rows, self.y, z).distance)
        ahead, outside = self._ahead_and_outside(z)
        far = float(np.linalg.norm(self.y - z)) + float(np.linalg.norm(z))
        return float(np.sqrt(2 * ahead)) + outside + float(np.sqrt(2 * outside * (1 + far)))

    def _ahead_and_outside(self, z: np.ndarray) -> tuple[float, float]:
        """The most of (y - z).(v - z) over the corners v, and how far z is from their hull."""
        assert self.points is not None
        wide = 1.0 + np.abs(self.points).max(initial=0.0)
        system = np.vstack([self.points.T, np.full((1, len(self.points)), wide)])
        _, outside = nnls(system, np.append(z, wide), maxiter=50 * system.shape[1] + 100)
        return max(float(((self.points - z) @ (self.y - z)).max()), 0.0), float(outside)

    def by_clarabel(self) -> np.ndarray | None:
        """The projection by an interior-point method."""
        n = len(self.y)
        if self.rows is not None:
            return by_clarabel(draft_of(self.rows), self.y)
        assert self.points is not None
        k = len(self.points)  # z and the weights of the corners
        A_eq = np.zeros((n + 1, n + k))
        A_eq[:n, :n], A_eq[:n, n:], A_eq[n, n:] = np.eye(n), -self.points.T, 1.0
        lower = np.append(np.full(n, -np.inf), np.zeros(k))
        ends = lower, np.full(n + k, np.inf)
        made = Draft(np.zeros(n + k), *ends, nothing(n + k), np.zeros(0), A_eq,
                     np.append(np.zeros(n), 1.0), num_aux=k)  # fmt: skip
        return by_clarabel(made, self.y)


def nearest(
    points: np.ndarray | None,
    rows: ol.Polytope | None,
    y: np.ndarray,
    masked: np.ndarray,
    least: np.ndarray,
) -> Nearest:
    """What the projection of y is onto, under masks."""
    y = np.where(masked, 0.0, y)
    if points is not None:
        kept, lowest = with_least_excess(points, masked, least)
        return Nearest(lowest, kept, None, y)
    assert rows is not None
    if not masked.any():
        return Nearest(0.0, None, rows, y)
    weights = np.append(masked.astype(float), np.zeros(rows.num_aux))
    lowest = _least_sum(rows, weights) - float(least[masked].sum())
    if lowest <= _SLACK:
        at = torch.from_numpy(np.append(masked, np.zeros(rows.num_aux, bool)))
        return Nearest(0.0, None, rows.with_(upper=torch.where(at, rows.lower, rows.upper)), y)
    if not np.isfinite(lowest):
        return Nearest(lowest, None, rows, y)
    A = np.vstack([rows.A.toarray(), weights])
    b = np.append(rows.b.numpy(), lowest + float(least[masked].sum()))
    more = {"A_eq": rows.A_eq, "b_eq": rows.b_eq, "lower": rows.lower, "upper": rows.upper}
    return Nearest(lowest, None, ol.Polytope(A, b, num_aux=rows.num_aux, **more), y)


def _least_sum(rows: ol.Polytope, weights: np.ndarray) -> float:
    """The least of a sum over the rows, by HiGHS; infinite where there is no point."""
    found = best_value(rows, -weights)
    return np.inf if found is None else -found


def best_value(rows: ol.Polytope, scores: np.ndarray) -> float | None:
    """The best value of a linear program, by HiGHS through scipy; None where there is none."""
    draft, size = draft_of(rows), float(np.abs(scores).max(initial=0.0)) or 1.0
    said = np.isfinite(draft.b)
    answer = linprog(
        -scores / size,  # tolerances are absolute
        draft.A[said] if said.any() else None,
        draft.b[said] if said.any() else None,
        draft.A_eq if len(draft.A_eq) else None,
        draft.b_eq if len(draft.A_eq) else None,
        np.column_stack([draft.lower, draft.upper]),
    )
    return -size * float(answer.fun) if answer.status == 0 else None


def draft_of(rows: ol.Polytope) -> Draft:
    """The arrays of a polytope without batch dimensions."""
    fields = {k: getattr(rows, k).numpy() for k in ("b", "b_eq", "lower", "upper")}
    A, A_eq = rows.A.toarray(), rows.A_eq.toarray()
    return Draft(np.zeros(len(fields["lower"])), A=A, A_eq=A_eq, num_aux=rows.num_aux, **fields)
