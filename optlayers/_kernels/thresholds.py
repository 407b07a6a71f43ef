"""Compiled loops for the CPU: one pass over memory per row, sums in float64 whatever the input.

The tensor programs beside their callers (`simplex.py`, `one_row.py`, `head_selection.py`) do the
same for CUDA and under `torch.compile`; the tests hold one to the other.
"""

import numba
import numpy as np

from . import rounding
from .rounding import BESIDE, LARGEST, ROUNDING

# Reassociation lets sums and maxima use vector instructions; nan and inf keep their meaning. What
# is inlined is compiled with the flags of its caller.
_FAST = {"reassoc", "nsz", "contract"}

of_sum = numba.njit(inline="always")(rounding.of_sum)


LOOSE = 8 * 2.0**-52  # rounding of a far entry less its step
FAR_TAU = 1e6  # from which on rounding is looked for


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def threshold(kept, many, goal):
    """Return the threshold of the `many` entries that can still be positive (Michelot, 1986)."""
    total = 0.0
    for i in range(many):
        total += kept[i]
    while True:
        tau = (total - goal) / many
        left, total = 0, 0.0
        for i in range(many):
            value = kept[i]
            kept[left] = value
            total += value if value > tau else 0.0
            left += value > tau
        if left == many or left == 0:  # 0 at the goal 0, and where tau is rounded up
            return tau
        many = left


@numba.njit(cache=True, nogil=True, inline="always")
def simplex_threshold(point, kept, count, largest, goal):
    """Return tau with sum max((point - largest) - tau, 0) = goal.

    The largest entry ends at most at `goal`, so tau >= largest - goal: whatever is not above that
    is zero, and few entries are left for the search. Entries are always written and then counted,
    which spares the processor a guess.
    """
    bar, many = largest - goal, 0
    for j in range(count):
        kept[many] = point[j] - largest
        many += (point[j] > bar) | (point[j] == largest)
    return threshold(kept, many, goal)


# One function, and rows by number: every array that is handed to another one, inlined or not, and
# every view of one is counted by the runtime, which costs as much as half of a short row.
#
# z = max((point - shift) - tau, 0) in two steps, because tau + shift would be rounded to the digits
# of a large point. With the maximum between the two, the compiler, which may reassociate, cannot
# make one of them.
@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def simplex(start, stop, x, z, sign, anchor, fixed, total, equality, plain):
    """Project rows onto simplices: a pass for what can be positive, the threshold, one to cut."""
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
                point[j] = -np.inf if fixed[block, j] else point[j]
        largest = point[0]
        for j in range(size):
            checksum += point[j]
            largest = max(largest, point[j])
        if not np.isfinite(checksum):
            for j in range(size):
                broken |= np.isnan(x[row, j])
        if broken or not np.isfinite(largest):
            z[row] = np.nan
            continue
        above = 0.0
        if not equality:
            for j in range(size):
                above += max(point[j], 0.0)
        shift, tau = 0.0, 0.0  # inside the simplex nothing is subtracted
        if equality or above > goal:
            shift = largest
            tau = simplex_threshold(point, kept, size, largest, goal)
        if plain:
            for j in range(size):
                z[row, j] = max(point[j] - shift, tau) - tau
        else:
            for j in range(size):
                value = max(point[j] - shift, tau) - tau
                z[row, j] = anchor[block, j] + sign[block, j] * value


@numba.njit(cache=True, nogil=True, inline="always")
def read_free(x, sign, lower, upper, at, point, z):
    """Write the variables that can move, and their place; z becomes where each stands at zero.

    Returns how many can move, what the row has without them and the rounding of that, their largest
    entry (NaN if an entry of `x` is), and the sum of those above zero.
    """
    free, offset, size, largest, above, broken = 0, 0.0, 0.0, -np.inf, 0.0, False
    for j in range(len(sign)):
        low, high = np.float64(lower[j]), np.float64(upper[j])
        s = sign[j]
        anchor = low if s > 0 else high
        value = s * (x[j] - anchor)
        offset += s * anchor
        size += abs(anchor)
        broken |= value != value
        z[j] = anchor
        at[free], point[free] = j, value
        if low < high:
            free += 1
            largest = max(largest, value)
            above += max(value, 0.0)
    return free, offset, of_sum(len(sign)) * size, np.nan if broken else largest, above


@numba.njit(cache=True, nogil=True)
def varying_simplex(start, stop, x, z, sign, flip, equality, row_lower, row_upper, lower, upper):
    """Project rows onto simplices whose bounds and totals differ from instance to instance.

    Only variables that can move are looked at, so padding costs next to nothing.
    """
    count, size = sign.shape
    at = np.empty(size, dtype=np.int64)
    point, kept = np.empty(size, dtype=np.float64), np.empty(size, dtype=np.float64)
    for row in range(start, stop):
        n, block = row // count, row % count
        nl, nu = n % lower.shape[0], n % upper.shape[0]
        free, offset, least, largest, above = read_free(
            x[row], sign[block], lower[nl, block], upper[nu, block], at, point, z[row]
        )
        if np.isnan(largest) or (free > 0 and not np.isfinite(largest)):
            for j in range(size):
                z[row, j] = np.nan
            continue
        if free == 0:
            continue
        if flip > 0:
            goal = row_upper[n % row_upper.shape[0], block, 0] - offset
        else:
            goal = -row_lower[n % row_lower.shape[0], block, 0] - offset
        # At a corner all stay where they are; less has no point, and no answer is expected.
        goal = goal if goal > least else 0.0
        shift, tau = 0.0, 0.0
        if equality or above > goal:
            shift = largest
            tau = simplex_threshold(point, kept, free, largest, goal)
        for i in range(free):
            value = max(point[i] - shift, tau) - tau
            z[row, at[i]] += sign[block, at[i]] * value


@numba.njit(cache=True, nogil=True, inline="always")
def read_heads(y, n, m, mask, at, point):
    """Write the allowed heads of modifier m, and their scores.

    Returns how many there are and the largest score, NaN if one is NaN.
    """
    free, largest, broken = 0, -np.inf, False
    for h in range(len(at)):
        value = np.float64(y[n, h, m])
        at[free], point[free] = h, value
        if mask[h, m]:
            free += 1
            largest = max(largest, value)
            broken |= value != value
    return free, np.nan if broken else largest


@numba.njit(cache=True, nogil=True)
def heads(start, stop, y, allowed, z):
    """Project onto one simplex per modifier, over the heads that are allowed."""
    side = y.shape[1]
    at = np.empty(side, dtype=np.int64)
    point, kept = np.empty(side, dtype=np.float64), np.empty(side, dtype=np.float64)
    for n in range(start, stop):
        mask = allowed[n % allowed.shape[0]]
        for m in range(side):
            free, largest = read_heads(y, n, m, mask, at, point)
            tau = np.nan
            if np.isfinite(largest):
                tau = simplex_threshold(point, kept, free, largest, 1.0)
            for i in range(free):
                z[n, at[i], m] = max(point[i] - largest, tau) - tau


@numba.njit(cache=True, nogil=True, inline="always")
def clip(value, low, high):
    """Return the value between its bounds."""
    return low if value < low else (high if value > high else value)


@numba.njit(cache=True, nogil=True)
def moved(x, step, low, high):
    """Return `x - step` between its bounds, and on the one it is nearer to than its rounding.

    Unless that is so large that the row would be missed by what is moved.
    """
    value = clip(x - step, low, high)
    near = ROUNDING * (abs(x) + abs(step))
    if near > LARGEST:
        return value
    if step > 0.0 and value - low <= near:
        return low
    return high if step < 0.0 and high - value <= near else value


@numba.njit(cache=True, nogil=True)
def evaluate(x, a, low, high, flip, tau, final):
    """Return the activity at tau, its slopes to both sides, the next breakpoints, and its size.

    With `final`, of the entries as they will be answered, and the size of the largest as well.
    """
    act, right, left, size, extent = 0.0, 0.0, 0.0, 0.0, 0.0
    after, before = np.inf, -np.inf
    for j in range(x.shape[0]):
        weight = flip * a[j]
        if final:
            value = moved(x[j], tau * weight, low[j], high[j])
            extent = max(extent, abs(value))
        else:
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
    return act, right, left, after, before, size, extent


@numba.njit(cache=True, nogil=True)
def settle(x, a, low, high, flip, goal, tau):
    """Return the breakpoint beside tau that is as good, up to rounding; tau if there is none.

    Where the row has its limit at a corner of the bounds, rounding leaves some variables beside
    their bounds, as if they were free. A breakpoint is as good if the row is missed there by its
    rounding, and the answer moves by less than anything that is meant.
    """
    start, best = tau, tau
    for side in (1.0, -1.0):
        tau, corner = start, False
        for _ in range(len(x)):
            _, right, left, after, before, size, extent = evaluate(x, a, low, high, flip, tau, True)
            slope, to = (right, after) if side > 0 else (left, before)
            corner = slope == 0.0
            if not (slope > 0.0 and 0.0 <= to < np.inf):
                break
            if np.sqrt(slope) * abs(to - tau) > BESIDE * extent:
                break
            act = evaluate(x, a, low, high, flip, to, True)[0]
            if abs(act - goal) > of_sum(len(x)) * size:
                break
            tau = to
        if corner:
            return tau
        best = tau if best == start else best
    return best


@numba.njit(cache=True, nogil=True)
def solve(x, a, low, high, flip, goal):
    """Return the tau >= 0 with activity(tau) = goal, given activity(0) > goal; else the nearest."""
    tau, lo, hi = 0.0, 0.0, np.inf
    for step in range(3000):
        act, right, left, after, before, size, _ = evaluate(x, a, low, high, flip, tau, False)
        miss = act - goal
        if abs(miss) <= ROUNDING * size:
            near = 2.0 * of_sum(len(x)) * size
            beside = 0.0 < right * (after - tau) <= near or 0.0 < left * (tau - before) <= near
            return settle(x, a, low, high, flip, goal, tau) if beside else tau
        if miss > 0:
            lo = tau
            if right > 0:
                new = tau + miss / right
            elif after < np.inf:
                new = after
            else:  # nothing can move any more: the nearest there is, should the goal be farther
                return tau
        else:
            hi = tau
            new = tau + miss / left if left > 0 else before
        if step > 20 and hi == np.inf:  # slopes that keep falling make short steps: leap
            new = max(new, 2.0 * tau)
        if not lo < new < hi or (step > 20 and step % 2 == 0 and hi < np.inf):
            new = lo + (hi - lo) / 2
            if not lo < new < hi:
                return settle(x, a, low, high, flip, goal, tau)
        tau = new
    return np.nan  # never an unconverged answer


@numba.njit(cache=True, nogil=True)
def meet(x, a, low, high, tau, goal):
    """Set x to the answer at tau, and let what is free take up what rounding of x leaves of a row.

    A far entry loses the digits of its size; those of the row are known.
    """
    miss, slope, size = goal, 0.0, 0.0
    for j in range(len(x)):
        step = tau * a[j]
        value = moved(x[j], step, low[j], high[j])
        miss -= a[j] * value
        size += abs(a[j]) * (abs(value) + abs(x[j]) + abs(step))
        slope += a[j] * a[j] if low[j] < value < high[j] else 0.0
        x[j] = value
    if slope > 0.0 and abs(miss) <= of_sum(len(x)) * size:
        for j in range(len(x)):
            if low[j] < x[j] < high[j]:
                x[j] = clip(x[j] + a[j] * (miss / slope), low[j], high[j])


@numba.njit(cache=True, nogil=True)
def spread(y, x, a, low, high, tau, goal):
    """Let what rounding of y leaves anywhere between its bounds take up what a row is missed by.

    Beside entries of 1e17 both ends of a variable are at one tau, and the row is met in between.
    """
    for _ in range(len(x)):
        miss, size, slope = goal, 0.0, 0.0
        for j in range(len(x)):
            miss -= a[j] * x[j]
            size += abs(a[j] * x[j])
        if abs(miss) <= of_sum(len(x)) * size:
            return
        for j in range(len(x)):
            if loose(y[j], x[j], tau * a[j], low[j], high[j], a[j] * miss):
                slope += a[j] * a[j]
        if slope == 0.0:
            return
        for j in range(len(x)):
            if loose(y[j], x[j], tau * a[j], low[j], high[j], a[j] * miss):
                x[j] = clip(x[j] + a[j] * (miss / slope), low[j], high[j])


@numba.njit(cache=True, nogil=True)
def loose(y, x, step, low, high, way):
    """Tell whether x may move that way: there is room, and y - step is in it but for rounding."""
    room = x < high if way > 0.0 else x > low
    rounding = LOOSE * (abs(y) + abs(step))
    return room and low - rounding <= y - step <= high + rounding


@numba.njit(cache=True, nogil=True)
def one_row(start, stop, x, z, a, row_lower, row_upper, lower, upper):
    """Project by Newton, safeguarded, on the piecewise linear equation of one row."""
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
        if tau > 0.0:
            goal = goal_high if flip > 0.0 else goal_low
            meet(point, a[block], low, high, flip * tau, goal)
            if tau > FAR_TAU:
                spread(x[row], point, a[block], low, high, flip * tau, goal)
        for j in range(size):
            value = point[j] if tau > 0.0 else moved(point[j], 0.0, low[j], high[j])
            z[row, j] = np.nan if broken or tau != tau else value
