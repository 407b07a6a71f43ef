"""Compiled decisions of blocks with one row; the tensor programs are beside their callers."""

import numpy as np

from .lean import without_nan
from .parts import kernel, part

_LARGE = 1e150  # scores beyond it are scaled down before they are divided by a weight
_TINY = np.finfo(np.float64).tiny
_SHORT = 64  # entries up to which insertion is the fastest sort


@kernel
def simplex(start, stop, x, z, sign, anchor, far, fixed, order, equality):
    """Decide rows of `(N * count, size)`: the best variable takes all.

    Args:
        start: The first row.
        stop: Behind the last one.
        x: Scores.
        z: Becomes the decisions; NaN where a score is.
        sign: 1, or -1 where a variable drops by being chosen; `(count, size)` as the next four.
        anchor: Value of a variable that is not chosen.
        far: Value of one that is.
        fixed: Variables that cannot be chosen.
        order: In which of equals the first is taken.
        equality: Whether one has to be chosen.
    """
    count, size = sign.shape
    gain = np.empty(size)
    for row in range(start, stop):
        c, broken = row % count, 0
        for j in range(size):
            score = x[row, j]
            broken += score != score
            gain[j] = -np.inf if fixed[c, j] else sign[c, j] * score
            z[row, j] = anchor[c, j]
        if broken:
            z[row, :] = np.nan
            continue
        best, k = largest(gain), 0
        while gain[order[c, k]] != best:
            k += 1
        at = order[c, k]
        if equality or best > 0.0 or (best == 0.0 and sign[c, at] < 0):
            z[row, at] = far[c, at]


@without_nan
def largest(gain):
    """Return the largest entry, several at a time; none may be NaN."""
    best = -np.inf
    for each in gain:
        best = max(best, each)
    return best


@part
def sort_down(key, order):
    """Sort `order` by falling `key`; of equals the lower number comes first."""
    size = len(key)
    if size > _SHORT:
        order[:] = np.argsort(-key, kind="mergesort")
        return
    for i in range(size):
        own, k = key[i], i
        while k > 0 and key[order[k - 1]] < own:
            order[k] = order[k - 1]
            k -= 1
        order[k] = i


@part
def gains(x, positive, weight, gain):
    """Write the gain of each variable per unit of the row; return whether a score is NaN."""
    largest, broken = 0.0, False
    for j in range(len(gain)):
        gain[j] = x[j]
        broken |= gain[j] != gain[j]
        if np.isfinite(gain[j]):
            largest = max(largest, abs(gain[j]))
    shrink = _LARGE if largest > _LARGE else 1.0
    for j in range(len(gain)):
        value = gain[j] / shrink
        gain[j] = (value if positive[j] else -value) / weight[j]
        # At a score of 0 a part is not chosen; for z = u - x that means that x is.
        if gain[j] == 0.0 and not positive[j]:
            gain[j] = _TINY
    return broken


@part
def fill(gain, order, capacity, weight, least, most, slack, part):
    """Write what each variable takes, inf for all it can; return what the row gets, and wants."""
    wanted, filled = 0.0, 0.0
    for i in order:
        filled += capacity[i]
        if gain[i] > 0.0:
            wanted = max(wanted, filled)
    units, filled = max(min(wanted, most), least), 0.0
    for i in order:
        left = units - filled
        filled += capacity[i]
        if filled <= units * (1.0 + slack):
            part[i] = np.inf
        else:
            part[i] = left / weight[i] if left > units * slack else 0.0
    return units, wanted


@part
def place(z, part, positive, anchor, far):
    """Write where each variable ends; NaN if an anchor is, that is, without a point."""
    for j in range(len(part)):
        taken = anchor[j] + part[j] if positive[j] else anchor[j] - part[j]
        z[j] = far[j] if part[j] == np.inf else taken


@part
def place_again(z, part, a, anchor, far, goal):
    """Write the variable between its bounds by what the row leaves it: with the row's digits."""
    others = 0.0
    for j in range(len(part)):
        if not 0.0 < part[j] < np.inf:
            others += a[j] * z[j]
    for j in range(len(part)):
        if 0.0 < part[j] < np.inf:
            low, high = min(anchor[j], far[j]), max(anchor[j], far[j])
            z[j] = min(max((goal - others) / a[j], low), high)


@kernel
def one_row(start, stop, x, z, block, sides, slack):
    """Decide rows of `(N * count, size)`: fill by gain per unit of the row.

    Args:
        start: The first row.
        stop: Behind the last one.
        x: Scores.
        z: Becomes the decisions; NaN where a score is, or where there is no point.
        block: Positive coefficients, their size and they themselves, `(count, size)`.
        sides: Anchors, far ends and capacities, `(N or 1, count, size)`; what must be taken of the
            row and what may, and what the row must end at, `(N or 1, count, 1)`.
        slack: What rounding may leave of a variable that just fits, relative to the row.
    """
    positive, weight, a = block
    anchor, far, capacity, least, most, low, high = sides
    count, size = weight.shape
    gain, part, own = np.empty(size), np.empty(size), np.empty(size)
    order = np.empty(size, dtype=np.int64)
    for row in range(start, stop):
        n, c = row // count, row % count
        from_, to = anchor[n % len(anchor), c], far[n % len(far), c]
        broken = gains(x[row], positive[c], weight[c], gain)
        for j in range(size):
            broken |= from_[j] != from_[j]
        if broken:
            z[row] = np.nan
            continue
        sort_down(gain, order)
        units, wanted = fill(
            gain, order, capacity[n % len(capacity), c], weight[c],
            least[n % len(least), c, 0], most[n % len(most), c, 0], slack, part,
        )  # fmt: skip
        place(own, part, positive[c], from_, to)
        if slack > 0.0 and units != wanted:
            goal = high[n % len(high), c, 0] if units < wanted else low[n % len(low), c, 0]
            place_again(own, part, a[c], from_, to, goal)
        for j in range(size):
            z[row, j] = own[j]
