r"""When limits that contradict each other by a hair are meant to agree: one rule for every verb.

Numbers that a user computes carry rounding: the marginals of a transport plan that come from a
float32 softmax do not add up to the same total twice. Rows are divided by their largest coefficient
here. A limit $c$ of a row, or of a variable, may be moved by

$$ \epsilon\,(1 + \max(|c|, \max_j |a_j| \min_{l_j \le x_j \le u_j} |x_j|)), \quad
   \epsilon = 10^{-6} $$

with the right-hand side and what the variables of the row cannot but contribute in it, so the slack
does not grow with bounds that no point comes near. If that is enough for a point to exist, the
nearest limits with a point are used, otherwise the set is empty. Nearest: the largest move,
relative to the bracket, is as small as possible, rows alone being moved once no two limits of one
row or one variable cross.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

# float32 knows a number to 6e-8, and sums and quotients of such numbers to some times that.
CONSISTENT = 1e-6
_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
ROUNDING = 16 * 2.0**-52  # of a limit that was meant to be an integer, relative
_WIDE = 1e4  # quotient of coefficients from which a row gets another unit


class Nearest(NamedTuple):
    """Limits that have to give for a point to exist.

    Attributes:
        gap: By how much limits have to be moved, in units of the bracket above; NaN if unknown.
        row_lower: Limits that have a point, if `gap` is at most `CONSISTENT`.
        row_upper: Likewise.
        rows: Multipliers of the rows; those that are not zero contradict each other.
        bounds: Multipliers of the bounds, positive where an upper one is in the way.
    """

    gap: float
    row_lower: np.ndarray
    row_upper: np.ndarray
    rows: np.ndarray
    bounds: np.ndarray


def within(gap: float) -> bool:
    """Tell whether limits with that gap are meant to agree; an unknown one is not too wide."""
    return not gap > CONSISTENT


def units_of_rows(R: sp.csr_array) -> np.ndarray:
    """Return a factor per row of largest coefficient 1, for solvers with absolute tolerances.

    They drop coefficients below 1e-9. Where the sizes in a row differ much, the geometric mean of
    the largest and the smallest becomes 1.
    """
    if not R.shape[0]:
        return np.ones(0)
    smallest = np.minimum.reduceat(np.abs(R.data), R.indptr[:-1])
    return np.where(smallest * _WIDE < 1, 1 / np.sqrt(smallest), 1.0)


def side_scales(
    R: sp.csr_array, row_lower: np.ndarray, row_upper: np.ndarray, lower, upper
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bracket of the rule for both sides of every row; 1 at sides that say nothing."""
    least = np.maximum(np.maximum(lower, -upper), 0.0)
    least = np.where(np.isfinite(least), least, 0.0)
    terms = np.zeros(R.shape[0])
    np.maximum.at(terms, np.repeat(np.arange(len(terms)), np.diff(R.indptr)), _terms(R, least))
    sides = (np.where(np.isfinite(v), np.abs(v), 0.0) for v in (row_lower, row_upper))
    low, high = (1 + np.maximum(side, terms) for side in sides)
    return low, high


def _terms(R: sp.csr_array, x: np.ndarray) -> np.ndarray:
    return np.abs(R.data * x[R.indices])


def nearest_limits(
    R: sp.csr_array, row_lower: np.ndarray, row_upper: np.ndarray, lower, upper
) -> Nearest:
    """Return the nearest limits with a point, of one instance, by a linear program in [x; t].

        min t  s.t.  row_lower - t s_lower <= R x <= row_upper + t s_upper,  lower <= x <= upper

    Args:
        R: Rows whose largest coefficient is 1.
        row_lower: Limits of the rows.
        row_upper: Likewise.
        lower: Bounds that do not cross.
        upper: Likewise.
    """
    from scipy.optimize import linprog

    m, n = R.shape
    s_low, s_high = side_scales(R, row_lower, row_upper, lower, upper)
    is_low, is_high = np.isfinite(row_lower), np.isfinite(row_upper)
    unit = units_of_rows(R)
    rows, given = sp.csr_array(sp.diags_array(unit) @ R), (row_lower, row_upper)
    sides = sp.vstack(
        [
            sp.hstack([-rows[is_low], -sp.csr_array((unit * s_low)[is_low, None])]),
            sp.hstack([rows[is_high], -sp.csr_array((unit * s_high)[is_high, None])]),
        ],
        format="csr",
    )
    found = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=sides,
        b_ub=np.concatenate([-(unit * row_lower)[is_low], (unit * row_upper)[is_high]]),
        bounds=np.column_stack([np.append(lower, 0.0), np.append(upper, np.inf)]),
        method="highs",
        options=_OPTIONS,
    )
    if found.x is None:
        return Nearest(np.nan, *given, np.zeros(m), np.zeros(n))
    multipliers = np.zeros(m)
    multipliers[is_low] += np.abs(found.ineqlin.marginals[: is_low.sum()])
    multipliers[is_high] += np.abs(found.ineqlin.marginals[is_low.sum() :])
    bounds = -(found.lower.marginals + found.upper.marginals)[:n]
    activity = R @ np.clip(found.x[:n], lower, upper)
    low, high = np.minimum(row_lower, activity), np.maximum(row_upper, activity)
    moved = [
        (row_lower[is_low] - low[is_low]) / s_low[is_low],
        (high[is_high] - row_upper[is_high]) / s_high[is_high],
    ]
    reached = max(float(v.max(initial=0.0)) for v in moved)
    if within(reached) or not within(found.x[n]):
        gap = reached if within(reached) else float(found.x[n])
        return Nearest(gap, low, high, multipliers * unit, bounds)
    return Nearest(np.nan, *given, multipliers * unit, bounds)  # the program missed its tolerance


def crossing(low, high):
    """Return by how much two limits cross, in units of the bracket; not positive where they do not.

    NaN, which no comparison finds too wide, where both are infinite; works on tensors and arrays.
    """
    return (low - high) / (2 + abs(low) + abs(high))


def gap_of_empty(b, equality: bool):
    """Return by how much 0 <= b, or 0 == b, misses, in the same units; for tensors and arrays."""
    miss = abs(b) if equality else -b
    return miss / (1 + abs(b))


def inward(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest integer between two limits.

    A limit that misses an integer by no more than the rounding of a few operations is that integer.
    """
    low_slack, high_slack = (ROUNDING * (1 + v.abs()) for v in (low, high))
    low_slack, high_slack = (torch.where(v.isfinite(), v, 0) for v in (low_slack, high_slack))
    return torch.ceil(low - low_slack) + 0.0, torch.floor(high + high_slack)  # no negative zero
