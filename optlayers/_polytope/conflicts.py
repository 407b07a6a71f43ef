"""Which constraints are in conflict: multipliers of a linear program, then a deletion filter."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from .consistency import CONSISTENT, crossing, gap_of_empty, nearest_limits, within

_NONE = 1e-9  # a multiplier that is none


class Conflict(NamedTuple):
    """Constraints that have no point in common.

    Attributes:
        names: An irreducible set of them.
        miss: By how much they miss each other, rows divided by their largest coefficient.
    """

    names: list[str]
    miss: float

    def __str__(self) -> str:
        verb = "they miss each other" if len(self.names) > 1 else "it is missed"
        return f"{', '.join(self.names)}; {verb} by {self.miss:.3g}"


@dataclass(frozen=True)
class _Constraints:
    """Rows `low <= R x <= high`, the largest coefficient of each being 1 (or none), and bounds."""

    R: sp.csr_array
    low: np.ndarray
    high: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def without(self, dropped: np.ndarray) -> "_Constraints":
        """Drop some of the constraints, numbered: rows, lower bounds, upper bounds."""
        m, n = self.R.shape
        rows, lower, upper = np.split(dropped, [m, m + n])
        return _Constraints(
            self.R,
            np.where(rows, -np.inf, self.low),
            np.where(rows, np.inf, self.high),
            np.where(lower, -np.inf, self.lower),
            np.where(upper, np.inf, self.upper),
        )

    def folded(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Bounds with the rows of one coefficient in them, and the number of who says each."""
        m, n = self.R.shape
        lower, upper = self.lower.copy(), self.upper.copy()
        low_by, high_by = m + np.arange(n), m + n + np.arange(n)
        for i in np.flatnonzero(np.diff(self.R.indptr) == 1):
            j, a = self.R.indices[self.R.indptr[i]], self.R.data[self.R.indptr[i]]
            low, high = (self.low[i], self.high[i]) if a > 0 else (-self.high[i], -self.low[i])
            if low > lower[j]:
                lower[j], low_by[j] = low, i
            if high < upper[j]:
                upper[j], high_by[j] = high, i
        return lower, upper, low_by, high_by

    def conflict(self) -> tuple[np.ndarray, float] | None:
        """Return numbers of constraints that contain a conflict, and its gap; None if none does."""
        empty = np.diff(self.R.indptr) == 0
        gap = np.maximum(_miss(self.low, True), _miss(self.high, False))
        if len(wrong := np.flatnonzero(empty & (gap > CONSISTENT))):
            return wrong[:1], float(gap[wrong[0]])
        lower, upper, low_by, high_by = self.folded()
        with np.errstate(invalid="ignore"):
            apart, middle = crossing(lower, upper), (lower + upper) / 2
        crossed = np.flatnonzero(apart > CONSISTENT)
        if len(crossed):
            return np.unique([low_by[crossed], high_by[crossed]]), float(apart[crossed].max())
        lower, upper = np.where(apart > 0, middle, lower), np.where(apart > 0, middle, upper)
        rows = np.flatnonzero(
            (np.diff(self.R.indptr) > 1) & (np.isfinite(self.low) | np.isfinite(self.high))
        )
        if not len(rows):
            return None
        R = sp.csr_array(self.R[rows])
        found = nearest_limits(R, self.low[rows], self.high[rows], lower, upper)
        if within(found.gap):
            return None
        suspects = [rows[found.rows > _NONE], low_by[found.bounds < -_NONE]]
        suspects.append(high_by[found.bounds > _NONE])
        return np.unique(np.concatenate(suspects)), found.gap


def _miss(limit: np.ndarray, below: bool) -> np.ndarray:
    said = np.isfinite(limit)
    return np.where(said, gap_of_empty(np.where(said, -limit if below else limit, 0.0), False), 0.0)


def find_conflict(
    A: sp.csr_array,
    A_eq: sp.csr_array,
    b: np.ndarray,
    b_eq: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> Conflict | None:
    """Return an irreducible infeasible set of rows and bounds; None where a point exists.

    The rule is that of `consistency`. Chinneck, *Feasibility and Infeasibility in Optimization*
    (2008), chapters 6 and 7: the rows and bounds with a multiplier in the elastic program contain
    an irreducible set; the deletion filter drops, one after the other, what the conflict does not
    need.
    """
    given = _scaled(A, A_eq, b, b_eq, lower, upper)
    found = given.conflict()
    if found is None:
        return None
    m, n = given.R.shape
    suspects, kept = found[0], np.zeros(m + 2 * n, dtype=bool)
    kept[suspects] = True
    if given.without(~kept).conflict() is None:  # multipliers near zero were rounded away
        kept[:] = True
        suspects = np.arange(len(kept))
    for candidate in suspects:
        kept[candidate] = False
        kept[candidate] = given.without(~kept).conflict() is None
    names = [f"A[{i}]" for i in range(A.shape[0])] + [f"A_eq[{i}]" for i in range(A_eq.shape[0])]
    names += [f"lower[{i}] = {v:g}" for i, v in enumerate(lower)]
    names += [f"upper[{i}] = {v:g}" for i, v in enumerate(upper)]
    own = given.without(~kept)
    return Conflict([names[i] for i in np.flatnonzero(kept)], _missing(own))


def _scaled(A, A_eq, b, b_eq, lower, upper) -> _Constraints:
    """Divide every row by its largest coefficient."""
    R = sp.csr_array(sp.vstack([A, A_eq], format="csr"))
    largest = np.abs(R).max(axis=1).toarray().ravel() if R.nnz else np.zeros(R.shape[0])
    largest[largest == 0] = 1.0
    low = np.concatenate([np.full(len(b), -np.inf), b_eq]) / largest
    high = np.concatenate([b, b_eq]) / largest
    return _Constraints(sp.csr_array(sp.diags_array(1 / largest) @ R), low, high, lower, upper)


def _missing(own: _Constraints) -> float:
    """Return by how much the constraints of a conflict miss each other, in its units."""
    from scipy.optimize import linprog

    lower, upper, _, _ = own.folded()
    if (lower > upper).any():
        return float((lower - upper).max())
    m, n = own.R.shape
    said_low, said_high = np.isfinite(own.low), np.isfinite(own.high)
    eye = sp.eye_array(m, format="csr")
    rows = sp.vstack(
        [
            sp.hstack([-own.R[said_low], -eye[said_low]]),
            sp.hstack([own.R[said_high], -eye[said_high]]),
        ]
    )
    limits = np.concatenate([-own.low[said_low], own.high[said_high]])
    bounds = np.column_stack(
        [np.append(own.lower, np.zeros(m)), np.append(own.upper, np.full(m, np.inf))]
    )
    cost = np.append(np.zeros(n), np.ones(m))
    found = linprog(cost, A_ub=rows, b_ub=limits, bounds=bounds, method="highs")
    return np.nan if found.fun is None else float(found.fun)
