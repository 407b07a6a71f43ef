"""Compiled dynamic programs over rows of integers; see `_decoders/knapsack.py`."""

from typing import NamedTuple

import numpy as np
from numba import njit

FINE, EMPTY, OTHER = range(3)  # decided; no integral point; the table would be too large


class Items(NamedTuple):
    """Variables of one instance, `(n,)`, as steps $x$ from an end: $z = anchor + sign x$."""

    anchor: np.ndarray
    span: np.ndarray  # the largest step
    sign: np.ndarray
    gain: np.ndarray  # of one step


@njit(cache=True, nogil=True, inline="always")
def _best_steps(w, a, k, items, best, units, width):
    """Return the best score with w units used before variable k, in how many, and its steps."""
    top, fewest, taken = best[w], units[w], 0
    gain, one = items.gain[k], items.sign[k]
    for x in range(1, min(items.span[k], (width - 1 - w) // a) + 1):
        value, of = best[w + a * x] + gain * x, units[w + a * x] + one * x
        # Of equals the one in fewer units, then the larger z.
        fewer = of < fewest or (of == fewest and one > 0)
        if value > top or (value == top and fewer):
            top, fewest, taken = value, of, x
    return top, fewest, taken


@njit(cache=True, nogil=True)
def _one_row(weight, items, low, high, width, choice):
    """Fill the table of one row of positive weights, from the last variable to the first.

    `best[w]` is the most that the variables from the present one on can score if those before use w
    units, and `units[w]` the fewest in which they do. Returns the best score.
    """
    best, units = np.empty(width), np.zeros(width, dtype=np.int64)
    for w in range(width):
        best[w] = 0.0 if low <= w <= high else -np.inf
    for k in range(len(weight) - 1, -1, -1):
        a, gain, one = weight[k], items.gain[k], items.sign[k]
        for w in range(width if items.span[k] > 1 else 0):
            best[w], units[w], choice[k, w] = _best_steps(w, a, k, items, best, units, width)
        if items.span[k] <= 1:
            choice[k] = 0
        # The same for one step, without divisions. Further up is still of the variable before.
        for w in range(width - a if items.span[k] == 1 else 0):
            value, of = best[w + a] + gain, units[w + a] + one
            fewer = of < units[w] or (of == units[w] and one > 0)
            if value > best[w] or (value == best[w] and fewer):
                best[w], units[w], choice[k, w] = value, of, 1
    return best[0]


@njit(cache=True, nogil=True)
def _take(k, step, rows, items, width, stride, behind, best, units, choice):
    """Decide variable k in every state, by what the variables behind it can score from there."""
    before, units_before = behind
    span, gain, weight = items.span[k], items.gain[k], rows[:, k].copy()
    digit = np.empty(len(rows), dtype=np.int64)
    for w in range(len(best)):
        for r in range(len(rows)):
            digit[r] = (w // stride[r]) % width[r]
        top, fewest, taken = before[w], units_before[w], 0
        for x in range(1, span + 1):
            inside = True
            for r in range(len(rows)):
                inside &= 0 <= digit[r] + weight[r] * x < width[r]
            if not inside:
                break
            value, of = before[w + step * x] + gain * x, units_before[w + step * x] + x
            if value > top or (value == top and of <= fewest):
                top, fewest, taken = value, of, x
        best[w], units[w], choice[k, w] = top, fewest, taken


@njit(cache=True, nogil=True)
def _several_rows(rows, items, base, low, high, width, stride, states, choice):
    """Fill the table of several rows of integers; a state is the activity of every row so far."""
    count, n = rows.shape
    best, units = np.empty(states), np.zeros(states, dtype=np.int64)
    digit = np.zeros(count, dtype=np.int64)
    for w in range(states):
        fine = True
        for r in range(count):
            digit[r] = (w // stride[r]) % width[r]
            fine &= low[r] <= digit[r] + base[r] <= high[r]
        best[w] = 0.0 if fine else -np.inf
    before, units_before = np.empty(states), np.empty(states, dtype=np.int64)
    for k in range(n - 1, -1, -1):
        before[:], units_before[:] = best, units
        step = (rows[:, k] * stride).sum()
        _take(k, step, rows, items, width, stride, (before, units_before), best, units, choice)
    return best


@njit(cache=True, nogil=True)
def _by_one_row(row, items, low, high, most, z):
    """Decide by a table over the units of the row, or of what it leaves."""
    n = len(row)
    weight, total, offset = np.abs(row), 0, 0
    for k in range(n):
        if row[k] < 0:  # from the other end, so that steps add to the row
            items.anchor[k] += items.span[k]
            items.sign[k] = -1
            items.gain[k] = -items.gain[k]
        total += weight[k] * items.span[k]
        offset += row[k] * items.anchor[k]
    low, high = max(low - offset, 0.0), min(high - offset, float(total))
    if low > high:
        return EMPTY
    if total - low < high:  # count what is left out instead
        for k in range(n):
            items.anchor[k] += items.sign[k] * items.span[k]
            items.sign[k] = -items.sign[k]
            items.gain[k] = -items.gain[k]
        low, high = total - high, total - low
    if (high + 1) * n > most or (high + 1) * items.span.sum() > 4 * most:
        return OTHER
    width = int(high) + 1
    choice = np.empty((n, width), dtype=np.int32)
    if not _one_row(weight, items, low, high, width, choice) > -np.inf:
        return EMPTY
    w = 0
    for k in range(n):
        x = choice[k, w]
        z[k] = items.anchor[k] + items.sign[k] * x + 0.0
        w += weight[k] * x
    return FINE


@njit(cache=True, nogil=True)
def _by_several_rows(rows, items, row_low, row_high, most, z):
    """Decide by a table over the activities of all rows."""
    count, n = rows.shape
    low, high = np.empty(count), np.empty(count)
    base, width = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    stride, states = np.empty(count, dtype=np.int64), 1.0
    for r in range(count):
        least, most_of, offset = 0, 0, 0
        for k in range(n):
            reach = rows[r, k] * items.span[k]
            least, most_of = least + min(reach, 0), most_of + max(reach, 0)
            offset += rows[r, k] * items.anchor[k]
        low[r] = max(row_low[r] - offset, float(least))
        high[r] = min(row_high[r] - offset, float(most_of))
        if low[r] > high[r]:
            return EMPTY
        # Activities that the variables so far may have, and still end between the limits.
        base[r] = max(least, int(low[r]) - most_of)
        width[r] = min(most_of, int(high[r]) - least) - base[r] + 1
        states *= width[r]
    if states * n * count > most or states * items.span.sum() * count > 4 * most:
        return OTHER
    stride[0] = 1
    for r in range(1, count):
        stride[r] = stride[r - 1] * width[r - 1]
    size = int(states)
    choice = np.empty((n, size), dtype=np.int32)
    best = _several_rows(rows, items, base, low, high, width, stride, size, choice)
    w = (-base * stride).sum()
    if not best[w] > -np.inf:
        return EMPTY
    for k in range(n):
        x = choice[k, w]
        z[k] = items.anchor[k] + x + 0.0
        w += (rows[:, k] * stride).sum() * x
    return FINE


@njit(cache=True, nogil=True)
def _read(items, scores, lower, upper):
    """Write the steps and gains of one instance; whether they are numbers, in bounds that meet."""
    fine = True
    for k in range(len(scores)):
        s, low, high = scores[k], lower[k], upper[k]
        forbidden = s == -np.inf
        fine &= s < np.inf and low <= high
        items.anchor[k], items.sign[k] = int(low), 1
        items.span[k] = 0 if forbidden else int(high - low)
        items.gain[k] = 0.0 if forbidden else s
    return fine


@njit(cache=True, nogil=True)
def decode(start, stop, scores, row_low, row_high, lower, upper, rows, most, z, state):
    """Decide instances `start` to `stop` of `(N, count, n)`; limits and bounds are integers.

    Args:
        start: First instance.
        stop: Behind the last.
        scores: `(N, count, n)`; minus infinity keeps a variable at its lower bound.
        row_low: `(N or 1, count, rows)`, in the units of `rows`.
        row_high: Likewise.
        lower: `(N or 1, count, n)`.
        upper: Likewise.
        rows: `(rows, n)`, integers.
        most: Entries of the largest table.
        z: Written.
        state: `(N, count)`, written; where it is 0 the decision is there already.
    """
    _, components, n = scores.shape
    items = Items(
        np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64), np.empty(n),
    )  # fmt: skip
    for i in range(start, stop):
        for c in range(components):
            if state[i, c] == FINE:
                continue
            own_low, own_high = lower[i % len(lower), c], upper[i % len(upper), c]
            if not _read(items, scores[i, c], own_low, own_high):
                state[i, c] = OTHER
                continue
            below, above = row_low[i % len(row_low), c], row_high[i % len(row_high), c]
            if len(rows) == 1:
                state[i, c] = _by_one_row(rows[0], items, below[0], above[0], most, z[i, c])
            else:
                state[i, c] = _by_several_rows(rows, items, below, above, most, z[i, c])
