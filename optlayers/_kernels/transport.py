"""Compiled transport on a dense table of pairs; see `_decoders/transport.py` for the method.

Supplies are rows of the table and are always sent, in the best way at the present prices of the
demands, which are columns. What a demand gets too much goes to others along shortest paths.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

_FEW = 12  # choices that are looked for one by one, before all are sorted
FINE, EMPTY, NUMBERS, OTHER = range(4)  # decided; no point; scores are not finite; not for us


class Table(NamedTuple):
    """One instance, `(N, M)`; the last row and the last column take what is not sent at all."""

    s: np.ndarray  # scores
    low: np.ndarray
    high: np.ndarray
    z: np.ndarray
    supply: np.ndarray  # (N,)
    demand: np.ndarray  # (M,)
    price: np.ndarray  # (M,)
    excess: np.ndarray  # (M,) what a column gets too much


class Search(NamedTuple):
    """Shortest paths over columns."""

    distance: np.ndarray  # (M,)
    came_row: np.ndarray  # (M,) the row by which a path came here
    came: np.ndarray  # (M,) and the column before
    done: np.ndarray  # (M,)
    nearest: np.ndarray  # (N,) the shortest way to a row


@njit(cache=True, nogil=True)
def _limit(table, least, most, row_side):
    """Tighten the sums of one side by the bounds, and the bounds by the sums that are finite.

    Returns whether there is something left.
    """
    _, low, high = table.s, table.low, table.high
    total = table.supply if row_side else table.demand
    count = len(total) - 1
    others = (low.shape[1] if row_side else low.shape[0]) - 1
    for i in range(count):
        below, above = 0.0, 0.0
        for j in range(others):
            a, b = (i, j) if row_side else (j, i)
            below += low[a, b]
        room = most[i] - below
        if not room >= 0:
            return False
        for j in range(others):
            a, b = (i, j) if row_side else (j, i)
            high[a, b] = min(high[a, b], low[a, b] + room)
            above += high[a, b]
        total[i] = min(most[i], above)
        least[i] = max(least[i], below)
        if not least[i] <= total[i]:
            return False
    return True


@njit(cache=True, nogil=True)
def _read(table, scores, lower, upper, row, column):
    """Write scores and bounds of one instance into the table; whether they are numbers.

    Minus infinity keeps a pair at its lower bound.
    """
    table.s[:], table.low[:], table.high[:] = 0.0, 0.0, 0.0
    fine = True
    for e in range(len(scores)):
        forbidden = scores[e] == -np.inf
        fine &= scores[e] < np.inf and lower[e] > -np.inf
        table.s[row[e], column[e]] = 0.0 if forbidden else scores[e]
        table.low[row[e], column[e]] = lower[e]
        table.high[row[e], column[e]] = lower[e] if forbidden else upper[e]
    return fine


@njit(cache=True, nogil=True)
def _close(table, least, most):
    """Add the row and the column of what is not sent; whether there can be a point."""
    s, low, high, _, supply, demand, _, _ = table
    n, m = len(supply) - 1, len(demand) - 1
    rows_least, columns_least = least
    rows_most, columns_most = most
    # Twice: a sum without a limit gets one by what the other side can take.
    for _ in range(2):
        if not _limit(table, rows_least, rows_most, True):
            return EMPTY
        rows_most[:] = supply[:n]
        if not _limit(table, columns_least, columns_most, False):
            return EMPTY
        columns_most[:] = demand[:m]
    supply[n] = demand[:m].sum()
    demand[m] = supply[:n].sum()
    if not np.isfinite(supply[n] + demand[m]):
        return OTHER
    for i in range(n):
        s[i, m], low[i, m], high[i, m] = 0.0, 0.0, supply[i] - rows_least[i]
    for j in range(m):
        s[n, j], low[n, j], high[n, j] = 0.0, 0.0, demand[j] - columns_least[j]
    # All that is sent, which is below zero where bounds are.
    s[n, m], low[n, m], high[n, m] = 0.0, -np.inf, np.inf
    return FINE


@njit(cache=True, nogil=True)
def _best(scores, taken):
    """Return the best column that is not taken; of equals nothing, then the lower number."""
    m = len(scores) - 1
    best = -1 if taken[m] else m
    for j in range(m):
        if not taken[j] and (best < 0 or scores[j] > scores[best]):
            best = j
    return best


@njit(cache=True, nogil=True)
def _rank(scores, order):
    """Write all columns from the best to the worst, equals as `_best` has them."""
    m = len(scores) - 1
    key = np.empty(m + 1)
    key[0], key[1:] = -scores[m], -scores[:m]
    order[:] = (np.argsort(key, kind="mergesort") + m) % (m + 1)


@njit(cache=True, nogil=True)
def _start(table, slack):
    """Send every supply where it is worth most; price 0. False if a supply cannot be sent."""
    s, low, high, z, supply, demand, price, excess = table
    n, m = len(supply) - 1, len(demand) - 1
    price[:] = 0.0
    z[:] = low
    order, taken = np.empty(m + 1, dtype=np.int64), np.empty(m + 1, dtype=np.bool_)
    for i in range(n):
        rest, picked = supply[i] - low[i].sum(), 0
        taken[:] = False
        while rest > 0 and picked <= m:
            if picked < _FEW:
                order[picked] = _best(s[i], taken)
            elif picked == _FEW:
                _rank(s[i], order)
            column = order[picked]
            taken[column] = True
            picked += 1
            take = min(rest, high[i, column] - low[i, column])
            z[i, column] = high[i, column] if take < rest else z[i, column] + take
            rest -= take
        if rest > slack:
            return False
    for j in range(m):
        got = z[:n, j].sum()
        z[n, j] = min(max(demand[j] - got, 0.0), high[n, j])
        excess[j] = got + z[n, j] - demand[j]
    z[n, m] = supply[n] - z[n, :m].sum()
    excess[m] = z[:, m].sum() - demand[m]
    return True


@njit(cache=True, nogil=True)
def _shortest(table, search, slack):
    """Find the nearest column that lacks something from those that have too much; -1: none."""
    s, low, high, z, _, _, price, excess = table
    distance, came_row, came, done, nearest = search
    n, m = z.shape
    for j in range(m):
        distance[j] = 0.0 if excess[j] > slack else np.inf
        came[j], done[j] = -1, False
    nearest[:] = np.inf
    while True:
        at = -1
        for j in range(m):
            if not done[j] and distance[j] < np.inf and (at < 0 or distance[j] < distance[at]):
                at = j
        if at < 0:
            return -1
        done[at] = True
        if excess[at] < -slack:
            return at
        # Written out: handing the arrays on would take as long as a small table.
        for i in range(n):
            here = distance[at] + (s[i, at] - price[at])
            if not z[i, at] - low[i, at] > slack or not here < nearest[i]:
                continue
            nearest[i] = here
            for k in range(m):
                if done[k] or not high[i, k] - z[i, k] > slack:
                    continue
                there = max(here - (s[i, k] - price[k]), distance[at])
                if there < distance[k]:
                    distance[k], came_row[k], came[k] = there, i, at


@njit(cache=True, nogil=True)
def _push(table, search, target):
    """Move along the path as much as fits; new prices keep every supply well sent."""
    _, low, high, z, _, _, price, excess = table
    distance, came_row, came, done, _ = search
    far = distance[target]
    for j in range(len(price)):
        if done[j]:
            price[j] += far - distance[j]
    amount, k = -excess[target], target
    while came[k] >= 0:
        i, j = came_row[k], came[k]
        amount = min(amount, high[i, k] - z[i, k], z[i, j] - low[i, j])
        k = j
    amount = min(amount, excess[k])
    excess[k] -= amount
    excess[target] += amount
    k = target
    while came[k] >= 0:
        i, j = came_row[k], came[k]
        # A full pair is exactly full: rounding must leave nothing to be moved again.
        z[i, k] = high[i, k] if amount == high[i, k] - z[i, k] else z[i, k] + amount
        z[i, j] = low[i, j] if amount == z[i, j] - low[i, j] else z[i, j] - amount
        k = j


@njit(cache=True, nogil=True)
def _tight(table, tolerance, tight, slack):
    """Mark pairs that may change without a loss, in rows in which two can."""
    s, low, high, z, _, _, price, _ = table
    n, m = z.shape
    for i in range(n):
        sent, open_ = np.inf, -np.inf
        for j in range(m):
            worth = s[i, j] - price[j]
            if z[i, j] - low[i, j] > slack:
                sent = min(sent, worth)
            if high[i, j] - z[i, j] > slack:
                open_ = max(open_, worth)
        both = open_ >= sent - tolerance
        for j in range(m):
            worth = s[i, j] - price[j]
            tight[i, j] = both and sent + tolerance >= worth >= open_ - tolerance


@njit(cache=True, nogil=True)
def _raise_one(table, search, tight, free, i0, j0, slack):
    """Raise one pair by a cycle of tight pairs that are still free.

    Returns the amount moved (0: there is no cycle) and the number of pairs looked at.
    """
    _, low, high, z, _, _, _, _ = table
    _, came_row, came, done, nearest = search
    n, m = z.shape
    other = False
    for j in range(m):
        other = other or (
            j != j0 and tight[i0, j] and free[i0, j] and z[i0, j] - low[i0, j] > slack
        )
    if not other:
        return 0.0, m
    done[:] = False
    nearest[:] = 0.0
    queue = np.empty(m, dtype=np.int64)
    queue[0], first, last, steps, end = j0, 0, 1, m, -1
    done[j0], came[j0] = True, -1
    # Written out, as in `_shortest`.
    while first < last and end < 0:
        c = queue[first]
        first += 1
        steps += n
        for i in range(n):
            if nearest[i] > 0 or not (tight[i, c] and free[i, c] and z[i, c] - low[i, c] > slack):
                continue
            if i == i0 and c != j0:
                end = c
                break
            if i == i0:
                continue
            nearest[i] = 1.0
            steps += m
            for k in range(m):
                if not done[k] and tight[i, k] and free[i, k] and high[i, k] - z[i, k] > slack:
                    done[k], came[k], came_row[k] = True, c, i
                    queue[last] = k
                    last += 1
    if end < 0:
        return 0.0, steps
    amount = min(high[i0, j0] - z[i0, j0], z[i0, end] - low[i0, end])
    k = end
    while came[k] >= 0:
        i, j = came_row[k], came[k]
        amount = min(amount, high[i, k] - z[i, k], z[i, j] - low[i, j])
        k = j
    z[i0, j0] += amount
    z[i0, end] -= amount
    k = end
    while came[k] >= 0:
        i, j = came_row[k], came[k]
        z[i, k] += amount
        z[i, j] -= amount
        k = j
    return amount, steps


@njit(cache=True, nogil=True)
def _raise(table, search, tight, free, i, j, slack, most_steps):
    """Raise one pair as far as tight pairs that are still free allow; the steps that this took."""
    steps, moved = 0, 1.0
    while tight[i, j] and moved > 0 and table.high[i, j] - table.z[i, j] > slack:
        if steps >= most_steps:
            break
        moved, took = _raise_one(table, search, tight, free, i, j, slack)
        steps += took
    return steps


@njit(cache=True, nogil=True)
def _settle_ties(table, search, row, column, slack, most_steps):
    """Choose, of equals, the answer that sends least, and then most at the first numbers."""
    s, _, _, z, _, _, _, _ = table
    n, m = z.shape
    largest = 0.0
    for value in s.ravel():
        largest = max(largest, abs(value))
    tight = np.zeros((n, m), dtype=np.bool_)
    free = np.ones((n, m), dtype=np.bool_)
    _tight(table, 64 * 2.0**-52 * largest, tight, slack)
    steps = 0
    # What the last row sends to the last column is all that is sent: as little as can be.
    free[n - 1, : m - 1] = False
    for j in range(m - 1):
        steps += _raise(table, search, tight, free, n - 1, j, slack, most_steps - steps)
    free[n - 1, : m - 1], free[n - 1, m - 1] = True, False
    for e in range(len(row)):
        steps += _raise(table, search, tight, free, row[e], column[e], slack, most_steps - steps)
        free[row[e], column[e]] = False


@njit(cache=True, nogil=True)
def _solve(table, search, row, column, slack, most_steps):
    """Decide one instance."""
    if not _start(table, slack):
        return EMPTY
    n, m = table.z.shape
    for _ in range(64 * (n + m) + 16 * n * m):
        target = _shortest(table, search, slack)
        if target < 0:
            if np.max(np.abs(table.excess)) > slack:
                return EMPTY
            _settle_ties(table, search, row, column, slack, most_steps)
            return FINE
        _push(table, search, target)
    return OTHER


@njit(cache=True, nogil=True)
def decode(
    start, stop, scores, rows_low, rows_high, lower, upper, first, row, column, z, state,
    accuracy, most_steps,
):  # fmt: skip
    """Decide instances `start` to `stop` of `(N, count, size)`.

    Args:
        start: First instance.
        stop: Behind the last.
        scores: `(N, count, size)`.
        rows_low: `(N or 1, count, rows)`.
        rows_high: Likewise.
        lower: `(N or 1, count, size)`.
        upper: Likewise.
        first: Rows of the block that are rows of the table, then those that are its columns.
        row: `(size,)`, in the table.
        column: Likewise.
        z: Written.
        state: `(N, count)`, written.
        accuracy: Of sums; 0 for integers.
        most_steps: That ties may take.
    """
    n, m = row.max() + 1, column.max() + 1
    _, count, size = scores.shape
    shape = (n + 1, m + 1)
    table = Table(
        np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape),
        np.empty(n + 1), np.empty(m + 1), np.empty(m + 1), np.empty(m + 1),
    )  # fmt: skip
    search = Search(
        np.empty(m + 1), np.empty(m + 1, dtype=np.int64), np.empty(m + 1, dtype=np.int64),
        np.empty(m + 1, dtype=np.bool_), np.empty(n + 1),
    )  # fmt: skip
    for number in range(start * count, stop * count):
        i, c = number // count, number % count
        own_low, own_high = lower[i % len(lower), c], upper[i % len(upper), c]
        if not _read(table, scores[i, c], own_low, own_high, row, column):
            state[i, c] = NUMBERS
            continue
        low, high = rows_low[i % len(rows_low), c], rows_high[i % len(rows_high), c]
        least = (low[first[:n]].copy(), low[first[n:]].copy())
        most = (high[first[:n]].copy(), high[first[n:]].copy())
        state[i, c] = _close(table, least, most)
        if state[i, c] == FINE:
            size_of = 0.0
            for j in range(m):
                size_of = max(size_of, table.demand[j])
            slack = accuracy * (1 + size_of)
            state[i, c] = _solve(table, search, row, column, slack, most_steps)
        if state[i, c] == FINE:
            for e in range(size):
                z[i, c, e] = table.z[row[e], column[e]] + 0.0  # no negative zeros
