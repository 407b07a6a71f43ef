"""Is an answer in the set, and if it is not: which row keeps it out, and what would cut it off."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .._polytope.consistency import units_of_rows

_EPS = 2.0**-52
_LP = 1e-7  # what a linear program may miss, relative to the terms of a row; it is solved to 1e-9
_FEW = 1 << 13  # points that are looked at one by one


@dataclass(frozen=True)
class Miss:
    """A row that a point violates.

    Attributes:
        row: Its number.
        by: How much; the row is divided by its largest coefficient.
        above: Whether the upper limit is violated, else the lower one.
    """

    row: int
    by: float
    above: bool


class ExactRows:
    """Rows `low <= R x <= high` of a block as they were declared, up to one division each.

    Args:
        R: The rows.
        whole: `(size,)`, which variables are integers.
    """

    def __init__(self, R: sp.csr_array, whole: np.ndarray):
        self.R, self.whole, self._size = R, whole, abs(R)
        counts = np.diff(R.indptr)
        if len(counts):
            all_whole = np.minimum.reduceat(whole[R.indices].astype(int), R.indptr[:-1]) > 0
            smallest = np.minimum.reduceat(np.abs(R.data), R.indptr[:-1])
        else:
            all_whole, smallest = np.zeros(0, dtype=bool), np.zeros(0)
        # Where all variables of a row are integers nothing but rounding may be missed.
        self._share = np.where(all_whole, (8 + counts) * _EPS, _LP)
        self._least = np.where(all_whole, 0.0, smallest)
        self._wide = all_whole & (units_of_rows(R) > 1)
        # Solvers decide by rounding there, so they are asked more than once.
        self.wide = bool(self._wide.any())

    def worst(self, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> Miss | None:
        """Return the row that `x` violates most, relative to what it may; None if none."""
        if not self.R.shape[0]:
            return None
        activity, terms = self.R @ x, self._size @ np.abs(x)
        below, above = low - activity, activity - high
        miss = np.maximum(below, above)
        limit = np.where(above >= below, high, low)
        limit = np.where(np.isfinite(limit), np.abs(limit), 0.0)
        allowed = self._share * np.maximum(terms + limit, self._least)
        if (miss <= allowed).all():
            return None
        ratio = np.where(miss <= allowed, 0.0, miss / np.maximum(allowed, 1e-300))
        row = int(np.argmax(ratio))
        return Miss(row, float(miss[row]), bool(above[row] >= below[row]))

    def best_of_few(
        self, scores: np.ndarray, low: np.ndarray, high: np.ndarray, lower, upper
    ) -> np.ndarray | None:
        """Return the best of all integral points by looking at each; NaN if none is in the set.

        None if there are more than some thousands of them, or variables that are not integers.
        """
        counts = np.maximum(upper - lower + 1, 0)
        if not self.whole.all() or not np.prod(counts) <= _FEW:
            return None
        points = np.indices(counts.astype(int)).reshape(len(counts), -1).T + lower
        activity, terms = (self.R @ points.T).T, (self._size @ np.abs(points).T).T
        limits = [np.where(np.isfinite(v), np.abs(v), 0.0) for v in (low, high)]
        inside = low - activity <= self._share * (terms + limits[0])
        inside &= activity - high <= self._share * (terms + limits[1])
        points = points[inside.all(1)]
        if not len(points):
            return np.full(len(counts), np.nan)
        return points[np.argmax(points @ scores)] + 0.0

    def with_room(
        self, low: np.ndarray, high: np.ndarray, lower: np.ndarray, upper: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return limits wide enough for the rounding of a solver, where coefficients differ much.

        It divides what is left of a row by a small coefficient: rounding then decides about a
        variable. What the room lets in is seen by `worst`.
        """
        if not self.wide:
            return low, high
        far = np.maximum(np.abs(lower), np.abs(upper))
        room = self._share * (self._size @ np.where(np.isfinite(far), far, 0.0))
        room = np.where(self._wide, room, 0.0)
        return low - room, high + room

    def cut(
        self, x: np.ndarray, miss: Miss, limit: float, lower: np.ndarray, upper: np.ndarray
    ) -> tuple[np.ndarray, float] | None:
        """Return a row `a x >= c` of coefficients 1 and -1 that cuts off the integers `x`.

        A cover: variables that violate the row together, whatever the others are, so that one of
        them has to change; none at all (0 >= 1) if the row cannot be met. None where one of them
        could change in the wrong direction as well. A row with variables that are not integers cuts
        off this point alone.
        """
        at = slice(self.R.indptr[miss.row], self.R.indptr[miss.row + 1])
        index, a = self.R.indices[at], self.R.data[at] * (1.0 if miss.above else -1.0)
        limit = limit if miss.above else -limit
        if self.whole[index].all():
            now, ends = a * x[index], np.where(a > 0, lower[index], upper[index])
            least = a * ends
            gain = now - least
            order = np.argsort(-gain, kind="stable")
            # Activity if the first k keep their values and all others help as much as they can.
            rest = np.append(np.cumsum(least[order][::-1])[::-1][1:], 0.0)
            reach = np.append(least.sum(), np.cumsum(now[order]) + rest)
            noise = (8 + len(a)) * _EPS * (np.abs(now).sum() + np.abs(least).sum() + abs(limit))
            enough = np.flatnonzero(reach > limit + (noise if np.isfinite(noise) else 0.0))
            count = enough[0] if len(enough) else len(a)
            chosen = order[:count][gain[order[:count]] > 0]
            index, rising = index[chosen], a[chosen] < 0
        else:
            index = np.flatnonzero(self.whole)
            rising = x[index] == lower[index]
        bound = np.where(rising, lower[index], upper[index])
        if (x[index] != bound).any():
            return None
        row = np.zeros(self.R.shape[1])
        row[index] = np.where(rising, 1.0, -1.0)
        return row, float(1.0 + row[index] @ bound)
