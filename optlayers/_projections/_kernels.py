"""Compiled loops for the CPU: one pass over memory per row, sums in float64 whatever the input.

The tensor programs beside them (`simplex.py`, `one_row.py`) do the same for CUDA and under
`torch.compile`; the tests hold one to the other. numba is imported, and a kernel compiled, on
first use.
"""

from functools import cache
from typing import Any

import numpy as np


@cache
def simplex_kernel() -> Any:
    """Threshold search of Michelot (1986) on the entries that can still be positive."""
    import numba

    # Reassociation lets sums and maxima use vector instructions; nan and inf keep their meaning.
    @numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
    def simplex(start, stop, x, z, sign, anchor, fixed, total, equality, plain):
        count, size = sign.shape
        point, kept = np.empty(size, dtype=np.float64), np.empty(size, dtype=np.float64)
        some_fixed = fixed.any()
        for row in range(start, stop):
            block = row % count
            goal, checksum, broken = total[block], 0.0, False
            if plain:
                for j in range(size):
                    point[j] = x[row, j]
            else:
                for j in range(size):
                    point[j] = sign[block, j] * (x[row, j] - anchor[block, j])
            if some_fixed:
                for j in range(size):
                    if fixed[block, j]:
                        point[j] = -np.inf
            largest = point[0]
            for j in range(size):
                checksum += point[j]
                largest = max(largest, point[j])
            if not np.isfinite(checksum):
                for j in range(size):
                    broken |= np.isnan(x[row, j])
            if broken or not np.isfinite(largest):
                for j in range(size):
                    z[row, j] = np.nan
                continue
            above = 0.0
            if not equality:
                for j in range(size):
                    above += max(point[j], 0.0)
            # z = max((point - shift) - tau, 0): in two steps, because tau + shift would be rounded
            # to the digits of a large point. Inside the simplex nothing is subtracted.
            shift, tau = 0.0, 0.0
            if equality or above > goal:
                shift = largest
                # The largest entry ends at most at `goal`, so tau >= largest - goal: whatever is
                # not above that is zero, and few entries are left for the search. Entries are
                # always written and then counted, which spares the processor a guess.
                bar, many, total_kept = largest - goal, 0, 0.0
                for j in range(size):
                    kept[many] = point[j] - largest
                    many += (point[j] > bar) | (point[j] == largest)
                for i in range(many):
                    total_kept += kept[i]
                while True:
                    tau = (total_kept - goal) / many
                    left, total_kept = 0, 0.0
                    for i in range(many):
                        value = kept[i]
                        kept[left] = value
                        total_kept += value if value > tau else 0.0
                        left += value > tau
                    if left == many:
                        break
                    many = left
            if plain:
                for j in range(size):
                    z[row, j] = max((point[j] - shift) - tau, 0.0)
            else:
                for j in range(size):
                    value = max((point[j] - shift) - tau, 0.0)
                    z[row, j] = anchor[block, j] + sign[block, j] * value

    return simplex


@cache
def one_row_kernel() -> Any:
    """Safeguarded Newton on the piecewise linear equation of one row; exact on the last piece."""
    import numba

    @numba.njit(cache=True, nogil=True, inline="always")
    def clip(value, low, high):
        return low if value < low else (high if value > high else value)

    @numba.njit(cache=True, nogil=True)
    def evaluate(x, a, low, high, flip, tau):
        """Activity at tau, its slopes to both sides, the next breakpoints, and its size."""
        act, right, left, size = 0.0, 0.0, 0.0, 0.0
        after, before = np.inf, -np.inf
        for j in range(x.shape[0]):
            weight = flip * a[j]
            value = clip(x[j] - tau * weight, low[j], high[j])
            act += weight * value
            size += abs(weight * value)
            if weight == 0.0 or low[j] == high[j]:
                continue
            t1, t2 = (x[j] - high[j]) / weight, (x[j] - low[j]) / weight
            enter, leave = min(t1, t2), max(t1, t2)
            if enter <= tau < leave:
                right += weight * weight
            if enter < tau <= leave:
                left += weight * weight
            for t in (enter, leave):
                if tau < t < after:
                    after = t
                if before < t < tau:
                    before = t
        return act, right, left, after, before, size

    @numba.njit(cache=True, nogil=True)
    def solve(x, a, low, high, flip, goal):
        """The tau >= 0 with activity(tau) = goal, given activity(0) > goal; nan if none."""
        tau, lo, hi = 0.0, 0.0, np.inf
        for step in range(3000):
            act, right, left, after, before, size = evaluate(x, a, low, high, flip, tau)
            miss = act - goal
            if miss == 0.0 or abs(miss) <= 2.3e-16 * size:
                return tau
            if miss > 0:
                lo = tau
                if right > 0:
                    new = tau + miss / right
                elif after < np.inf:
                    new = after
                else:  # nothing can move any more: out of reach, unless by rounding
                    return tau if miss <= 1e-9 * (1.0 + size) else np.nan
            else:
                hi = tau
                new = tau + miss / left if left > 0 else before
            if step > 20 and hi == np.inf:  # slopes that keep falling make short steps: leap
                new = max(new, 2.0 * tau)
            if not lo < new < hi or (step > 20 and step % 2 == 0 and hi < np.inf):
                new = lo + (hi - lo) / 2
                if not lo < new < hi:
                    return tau
            tau = new
        return np.nan  # never an unconverged answer

    @numba.njit(cache=True, nogil=True)
    def one_row(start, stop, x, z, a, row_lower, row_upper, lower, upper):
        count, size = a.shape
        point, low, high = np.empty(size), np.empty(size), np.empty(size)
        for row in range(start, stop):
            n, block = row // count, row % count
            nl, nu = n % lower.shape[0], n % upper.shape[0]
            act, broken = 0.0, False
            for j in range(size):
                point[j], low[j], high[j] = x[row, j], lower[nl, block, j], upper[nu, block, j]
                act += a[block, j] * clip(point[j], low[j], high[j])
                broken |= point[j] != point[j]
            goal_low = np.float64(row_lower[n % row_lower.shape[0], block, 0])
            goal_high = np.float64(row_upper[n % row_upper.shape[0], block, 0])
            flip, tau = 1.0, 0.0
            if act > goal_high:
                tau = solve(point, a[block], low, high, 1.0, goal_high)
            elif act < goal_low:
                flip = -1.0
                tau = solve(point, a[block], low, high, -1.0, -goal_low)
            for j in range(size):
                value = clip(point[j] - tau * flip * a[block, j], low[j], high[j])
                z[row, j] = np.nan if broken or tau != tau else value

    return one_row
