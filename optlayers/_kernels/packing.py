"""Compiled branch and bound for a few rows without negative entries; see `_decoders/packing.py`."""

from typing import NamedTuple

import numpy as np
from numba import njit

FINE, OTHER = 0, 2  # decided; not of this kind, or the search grew too long
_ROUNDS = 12  # of multipliers
_SAME = 1e-13  # of two sums of scores, relative to the sum of all that could be won


class Search(NamedTuple):
    """Items worth having, by gain per unit, and where the search of one instance stands."""

    item: np.ndarray  # (n,) which variable
    gain: np.ndarray  # (n,) of one unit of it
    span: np.ndarray  # (n,) as many as there are
    weight: np.ndarray  # (n, rows)
    share: np.ndarray  # (n,) of all rows together, by multipliers
    taken: np.ndarray  # (n,) so far
    left: np.ndarray  # (n + 1, rows) of the rows, before each item
    left_share: np.ndarray  # (n + 1,)
    value: np.ndarray  # (n + 1,)
    units: np.ndarray  # (size,) of the variables: the best so far
    other: np.ndarray  # (size,) those of a leaf


@njit(cache=True, nogil=True)
def _read(scores, low, high, lower, upper, rows, slack, search):
    """Find the items that fit and gain; how many, or -1 if the rows are not of this kind."""
    size, count = len(scores), len(rows)
    for r in range(count):
        used, terms = 0.0, 0.0
        for k in range(size):
            if rows[r, k] < 0:
                return -1
            used += rows[r, k] * lower[k]
            terms += rows[r, k] * abs(lower[k])
        room = high[r] - used
        about = slack * (terms + (abs(high[r]) if high[r] < np.inf else 0.0))
        least = slack * (terms + (abs(low[r]) if low[r] > -np.inf else 0.0))
        if not room >= -about or not low[r] <= used + least:
            return -1
        search.left[0, r] = room + about
    m = 0
    for k in range(size):
        s, span = scores[k], upper[k] - lower[k]
        if not s < np.inf or not 0 <= span < 2**31:
            return -1
        if s <= 0 or span < 1:
            continue
        for r in range(count):
            if rows[r, k] * span > search.left[0, r]:
                span = np.floor(search.left[0, r] / rows[r, k])
        if span >= 1:
            search.item[m], search.gain[m], search.span[m] = k, s, span
            for r in range(count):
                search.weight[m, r] = rows[r, k]
            m += 1
    for r in range(count):  # limits may be infinite; twice, because all items have to fit
        every = (search.weight[:m, r] * search.span[:m]).sum()
        search.left[0, r] = min(search.left[0, r], 2 * every)
    return m


@njit(cache=True, nogil=True, inline="always")
def _bound(start, m, left, gain, span, share):
    """Return what items from `start` on can gain in `left` units, if the last may be cut."""
    total = 0.0
    for j in range(start, m):
        all_of_it = share[j] * span[j]
        if all_of_it > left:
            return total + gain[j] * max(left, 0.0) / share[j]
        left -= all_of_it
        total += gain[j] * span[j]
    return total


@njit(cache=True, nogil=True)
def _weigh(multipliers, m, search):
    """Write what each item takes of all rows together; return the order by gain per unit."""
    ratio = np.empty(m)
    for j in range(m):
        total = 0.0
        for r in range(len(multipliers)):
            total += multipliers[r] * search.weight[j, r]
        search.share[j] = total
        ratio[j] = -search.gain[j] / total if total > 0 else -np.inf
    return np.argsort(ratio, kind="mergesort")


@njit(cache=True, nogil=True)
def _ask(order, total, search, used):
    """Return the bound of one row of shares, and what its answer takes of every row."""
    bound, left = 0.0, total
    used[:] = 0.0
    for j in order:
        amount = search.span[j]
        if search.share[j] * amount > left:
            amount = left / search.share[j]
        left -= search.share[j] * amount
        bound += search.gain[j] * amount
        for r in range(len(used)):
            used[r] += amount * search.weight[j, r]
        if left <= 0:
            break
    return bound


@njit(cache=True, nogil=True)
def _multipliers(m, search):
    """Return multipliers of the rows whose sum bounds well (surrogate duality)."""
    room = search.left[0]
    count = len(room)
    best = np.ones(count)
    if count == 1:
        return best
    for r in range(count):
        best[r] = 1 / room[r] if room[r] > 0 else 0.0
    at, used, least = best.copy(), np.empty(count), np.inf
    for turn in range(_ROUNDS):
        bound = _ask(_weigh(at, m, search), (at * room).sum(), search, used)
        if bound < least:
            least = bound
            best[:] = at
        moved = False
        for r in range(count):
            if room[r] > 0:
                over = used[r] / room[r]  # a row that is broken weighs more
                moved |= over > 1
                at[r] *= max(over, 0.05) ** (1.0 / (1 + 0.3 * turn))
        if not moved:
            break
    return best


@njit(cache=True, nogil=True)
def _arrange(m, search):
    """Sort the items by gain per unit of all rows."""
    multipliers = _multipliers(m, search)
    order = _weigh(multipliers, m, search)
    for array in (search.gain, search.span, search.share):
        array[:m] = array[:m][order]
    search.item[:m] = search.item[:m][order]
    search.weight[:m] = search.weight[:m][order]
    search.left_share[0] = (multipliers * search.left[0]).sum()


@njit(cache=True, nogil=True)
def _comes_first(z, other):
    """Tell whether z is before `other` of equals: fewer units, then more at the first."""
    less = z.sum() - other.sum()
    if less != 0:
        return less < 0
    for k in range(len(z)):
        if z[k] != other[k]:
            return z[k] > other[k]
    return False


@njit(cache=True, nogil=True)
def _leaf(m, search, scores, best):
    """Keep the answer of a leaf if it is better, or as good and first by the rule for ties."""
    search.other[:] = 0.0
    for j in range(m):
        search.other[search.item[j]] = search.taken[j]
    value = 0.0
    for k in range(len(scores) - 1, -1, -1):
        if search.other[k] > 0:
            value += scores[k] * search.other[k]
    if value > best or (value == best and _comes_first(search.other, search.units)):
        search.units[:] = search.other
        return value
    return best


@njit(cache=True, nogil=True, inline="always")
def _fitting(p, search):
    """Return how many of item p fit."""
    amount = search.span[p]
    for r in range(search.weight.shape[1]):
        if amount * search.weight[p, r] > search.left[p, r]:
            amount = np.floor(search.left[p, r] / search.weight[p, r])
    return amount


@njit(cache=True, nogil=True, inline="always")
def _step(p, amount, search):
    """Take `amount` of item p."""
    search.taken[p] = amount
    for r in range(search.weight.shape[1]):
        search.left[p + 1, r] = search.left[p, r] - amount * search.weight[p, r]
    search.left_share[p + 1] = search.left_share[p] - amount * search.share[p]
    search.value[p + 1] = search.value[p] + amount * search.gain[p]


@njit(cache=True, nogil=True)
def _descend(m, search, scores, most):
    """Search depth first, as much of every item as fits at first; False if it took too long."""
    about = _SAME * (search.gain[:m] * search.span[:m]).sum()
    best, p, steps = 0.0, 0, 0
    search.units[:] = 0.0
    while True:
        if p < m:
            reach = search.value[p] + _bound(
                p, m, search.left_share[p], search.gain, search.span, search.share
            )
            if reach >= best - about:
                _step(p, _fitting(p, search), search)
                p, steps = p + 1, steps + 1
                continue
        elif search.value[p] >= best - about:
            best = _leaf(m, search, scores, best)
        if steps > most:
            return False
        p -= 1
        while p >= 0 and not search.taken[p] > 0:
            p -= 1
        if p < 0:
            return True
        _step(p, search.taken[p] - 1, search)
        p, steps = p + 1, steps + 1


@njit(cache=True, nogil=True)
def decode(start, stop, scores, row_low, row_high, lower, upper, rows, slack, most, z, state):
    """Decide instances `start` to `stop` of `(N, count, n)`; bounds are integers.

    Args:
        start: First instance.
        stop: Behind the last.
        scores: `(N, count, n)`; minus infinity keeps a variable at its lower bound.
        row_low: `(N or 1, count, rows)`.
        row_high: Likewise.
        lower: `(N or 1, count, n)`.
        upper: Likewise.
        rows: `(rows, n)`.
        slack: What an activity may be above its limit, relative to the limit: its rounding.
        most: Steps of a search.
        z: Written.
        state: `(N, count)`, written.
    """
    _, components, n = scores.shape
    count = len(rows)
    search = Search(
        np.empty(n, dtype=np.int64), np.empty(n), np.empty(n), np.empty((n, count)), np.empty(n),
        np.empty(n), np.empty((n + 1, count)), np.empty(n + 1), np.zeros(n + 1), np.empty(n),
        np.empty(n),
    )  # fmt: skip
    for i in range(start, stop):
        for c in range(components):
            below, above = lower[i % len(lower), c], upper[i % len(upper), c]
            m = _read(
                scores[i, c], row_low[i % len(row_low), c], row_high[i % len(row_high), c],
                below, above, rows, slack, search,
            )  # fmt: skip
            if m < 0:
                state[i, c] = OTHER
                continue
            _arrange(m, search)
            if not _descend(m, search, scores[i, c], most):
                state[i, c] = OTHER
                continue
            state[i, c] = FINE
            for k in range(n):
                z[i, c, k] = below[k] + search.units[k] + 0.0
