"""Compiled looks at right-hand sides and bounds: what a set made anew for every batch waits for."""

import numba
import numpy as np

_NEAR = 1e-6  # of an integer, relative: `CONSISTENT` of `_polytope/consistency.py`
_PLAIN = 2.0**40  # integers up to here are rounded inwards to themselves

ODD, PLAIN, NEAR_INTEGERS = 0, 1, 2  # what `looks_plain` says
FITS_HALF, WHOLE = 1, 2  # what `facts_of_bounds` says


@numba.njit(cache=True, nogil=True)
def read_simplex(weights, low, high, lower, upper, flip, rounding, far):
    """Return whether a row is a simplex as `simplex_form` reads it from one side, and its total."""
    size, offset, reach = abs(weights[0]), 0.0, 0.0
    fits, some = True, False
    for j in range(len(weights)):
        anchor = lower[j] if flip * weights[j] > 0 else upper[j]
        offset += flip * weights[j] * anchor
        reach += abs(anchor)
        fits &= (abs(weights[j]) == size) & (abs(anchor) <= far)
    total = ((high if flip > 0 else -low) - offset) / size
    least = ((low if flip > 0 else -high) - offset) / size
    fits &= (abs(total) < np.inf) & (total > rounding * reach) & ((low == high) | (least <= 0))
    for j in range(len(weights)):
        span = upper[j] - lower[j]
        fits &= (span >= total * (1 - 1e-12)) | (span == 0)
        some |= span > 0
    return fits & some, total


@numba.njit(cache=True, nogil=True)
def simplex_form(weights, low, high, lower, upper, rounding, far, fits, totals, signs):
    """Write for each component whether it is a simplex, its total and its signs.

    `rounding` is that of a sum of so many terms, `far` the farthest bound that may be an anchor.
    """
    for c in range(len(weights)):
        flip = 1.0
        args = (weights[c], low[c], high[c], lower[c], upper[c])
        fits[c], totals[c] = read_simplex(*args, flip, rounding, far)
        if not fits[c]:
            flip = -1.0
            fits[c], totals[c] = read_simplex(*args, flip, rounding, far)
        for j in range(weights.shape[1]):
            signs[c, j] = flip * np.sign(weights[c, j]) if fits[c] else 0.0


@numba.njit(cache=True, nogil=True)
def fold(i, b, b_eq, target, factor, chosen, low, high):
    """Fold the rows `chosen` of instance i into the two-sided limits of their targets."""
    cut = b.shape[1]
    for r in range(len(target)):
        if not chosen[r]:
            continue
        if r < cut:
            most = b[i % len(b), r] / factor[r]
            least = -np.inf if factor[r] > 0 else np.inf
        else:
            most = b_eq[i % len(b_eq), r - cut] / factor[r]
            least = most
        if factor[r] < 0:
            least, most = most, least
        at = target[r]
        low[at] = max(low[at], least)
        high[at] = min(high[at], most)


@numba.njit(cache=True, nogil=True)
def reduce_limits(b, b_eq, rows, coupled, bound, row_low, row_high, low, high):
    """Write the limits of reduced rows, and tighten bounds by rows of one coefficient.

    `rows` are the target and the factor of every row; `coupled` and `bound` say which are rows, and
    which are bounds, of the reduced form.
    """
    target, factor = rows
    for i in range(len(row_low)):
        row_low[i], row_high[i] = -np.inf, np.inf
        fold(i, b, b_eq, target, factor, coupled, row_low[i], row_high[i])
    if bound.any():
        for i in range(len(low)):
            fold(i, b, b_eq, target, factor, bound, low[i], high[i])


@numba.njit(cache=True, nogil=True)
def in_reach(start, stop, indices, data, row_low, row_high, low, high):
    """Return whether the variables of a row reach its limits, with nothing left to rounding."""
    least, most, below, above = 0.0, 0.0, True, True
    for e in range(start, stop):
        a, one, two = data[e], low[indices[e]], high[indices[e]]
        if a < 0:
            one, two = two, one
        below &= abs(one) < np.inf
        above &= abs(two) < np.inf
        least += a * one if below else 0.0
        most += a * two if above else 0.0
    return (not below or least <= row_high) and (not above or most >= row_low)


@numba.njit(cache=True, nogil=True)
def looks_plain(indptr, indices, data, row_low, row_high, low, high):
    """Return whether limits can stay as they are; `NEAR_INTEGERS`: an equality is one by a hair."""
    found = PLAIN
    for i in range(max(len(row_low), len(low), len(high))):
        rl, rh = row_low[i % len(row_low)], row_high[i % len(row_high)]
        lo, hi = low[i % len(low)], high[i % len(high)]
        for j in range(len(lo)):
            if not lo[j] <= hi[j]:
                return ODD
        for r in range(len(rl)):
            a, c = rl[r], rh[r]
            if not a <= c:
                return ODD
            if not in_reach(indptr[r], indptr[r + 1], indices, data, a, c, lo, hi):
                return ODD
            if a == c and a != np.rint(a) and abs(a - np.rint(a)) <= _NEAR * (1 + abs(a)):
                found = NEAR_INTEGERS
    return found


@numba.njit(cache=True, nogil=True)
def facts_of_bounds(lower, upper, n, largest):
    """Return whether bounds of the first n variables are below a number, and lower ones whole."""
    fits, whole = True, True
    for i in range(len(lower)):
        for j in range(n):
            fits &= abs(lower[i, j]) < largest
            whole &= (lower[i, j] == np.rint(lower[i, j])) & (abs(lower[i, j]) < _PLAIN)
    for i in range(len(upper)):
        for j in range(n):
            fits &= abs(upper[i, j]) < largest
    return FITS_HALF * fits + WHOLE * whole
