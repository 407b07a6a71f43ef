"""Steps of the dual active-set method: what is added, how far, and what is dropped on the way."""

import numpy as np

from .active_arrays import EQUALITIES, HELD
from .active_rows import (
    add_outer,
    along_rows,
    append,
    entry,
    hold,
    set_free,
    subtract_rows,
    take_out,
    times_inverse,
)
from .lanes import WIDTH, count_up, larger, largest, load, splat, store, where_greater
from .lean import called, inlined

# Squared share of a gradient that must be free of the active ones to be computed once; else twice.
DOUBTFUL = 1e-3
RATE = 1e-12  # a multiplier that changes more slowly does not block a step

# ---------------------------------------------------------------------- what is added


@inlined
def size_of(x):
    """Return 1 + the largest entry, nan included."""
    size = 0.0
    for j in range(len(x)):
        if not abs(x[j]) <= size:
            size = abs(x[j])
    return 1.0 + size


@inlined
def first_of(best, at):
    """Return the least number `at` of the lanes with the largest `best`, and that."""
    most = largest(best)
    far = splat(-np.inf)
    return -largest(where_greater(splat(most), best, far, splat(0.0) - at)), most


@inlined
def worst_row(own, work, near, mask):
    """Find the row that is violated most where the masks are 1: number (or -1), by how much."""
    best, at, number, step = splat(near), splat(-1.0), count_up(), splat(float(WIDTH))
    for i in range(0, len(work.act), WIDTH):
        act = load(work.act, i)
        far = larger(act - load(own.high, i), load(own.low, i) - act) * load(work.out, i)
        far = far * load(mask, i)
        at = where_greater(far, best, number, at)
        best = larger(far, best)
        number = number + step
    return first_of(best, at)


@inlined
def worst_bound(own, work, near):
    """Find the bound that is violated most: number of the variable (or -1), by how much."""
    best, at, number, step = splat(near), splat(-1.0), count_up(), splat(float(WIDTH))
    for j in range(0, len(work.x), WIDTH):
        x = load(work.x, j)
        far = larger(x - load(own.upper, j), load(own.lower, j) - x)
        at = where_greater(far, best, number, at)
        best = larger(far, best)
        number = number + step
    return first_of(best, at)


@inlined
def worst(own, work, near):
    """Find what is violated most, equalities first: number (or -1), side, by how much, if a row.

    Variables at a bound are not violated by more than rounding.
    """
    if work.counts[EQUALITIES]:
        first, far = worst_row(own, work, near, work.equal)
        if first >= 0.0:
            i = int(first)
            s = 1.0 if work.act[i] - own.high[i] > own.low[i] - work.act[i] else -1.0
            return i, s, far, True
    bound, beyond = worst_bound(own, work, near)
    row, far = worst_row(own, work, near, work.out)
    if row >= 0.0 and (bound < 0.0 or far > beyond):
        i = int(row)
        s = 1.0 if work.act[i] - own.high[i] > own.low[i] - work.act[i] else -1.0
        return i, s, far, True
    j = int(bound)
    s = 1.0
    if j >= 0:
        s = 1.0 if work.x[j] - own.upper[j] > own.lower[j] - work.x[j] else -1.0
    return j, s, beyond, False


@called
def once_more(block, work, k):
    """Take what rounding left along the rows out of the direction; the square of what is free."""
    along_rows(block, work, k, work.w)
    times_inverse(work, k, work.w, work.u)
    for a in range(k):
        work.r[a] += work.u[a]
    return subtract_rows(block, work, k, work.u)


@inlined
def direction(block, work, k, whole):
    """Set r to inverse v and subtract R_A^T r from g; the square of g where it is free."""
    times_inverse(work, k, work.v, work.r)
    delta = subtract_rows(block, work, k, work.r)
    if (delta < DOUBTFUL * whole) & (k > 0):
        delta = once_more(block, work, k)
    return delta


@inlined
def first_to_vanish(sign, rates, left, s, count):
    """Find the least step at which an entry of `left`, times its sign, vanishes: number, step."""
    least, at, number, step = splat(-np.inf), splat(-1.0), count_up(), splat(float(WIDTH))
    slow, side, never = splat(RATE), splat(s), splat(-np.inf)
    for a in range(0, count, WIDTH):
        own = load(sign, a)
        rate = own * side * load(rates, a)
        t = where_greater(rate, slow, splat(0.0) - own * load(left, a) / rate, never)
        at = where_greater(t, least, number, at)
        least = larger(t, least)
        number = number + step
    at, t = first_of(least, at)
    return int(at), -t


@inlined
def blocking(work, k, s):
    """Find the largest step that keeps the signs of multipliers; what stops it: row or variable."""
    at, t = first_to_vanish(work.sign, work.r, work.mu, s, k)
    is_row = at >= 0
    if work.counts[HELD]:
        j, sooner = first_to_vanish(work.held, work.g, work.nu, s, len(work.g))
        if sooner < t:
            at, t, is_row = j, sooner, False
    return max(t, 0.0), at, is_row


@inlined
def move(work, k, step, flat):
    """Move multipliers by a step, and the point where it can move."""
    back, one = splat(-step), splat(1.0)
    for a in range(0, k, WIDTH):
        store(work.mu, a, load(work.mu, a) + back * load(work.r, a))
    for j in range(0, len(work.x), WIDTH):
        far, free = back * load(work.g, j), load(work.free, j)
        store(work.nu, j, load(work.nu, j) + far * (one - free))
        if not flat:
            store(work.x, j, load(work.x, j) + far * free)


@inlined
def drop(block, work, k, at, at_row, p, is_row, whole):
    """Drop what blocked the step; k and the square of the free gradient of what is added."""
    if at_row:
        work.v[at] = work.v[k - 1]
        work.v[k - 1] = 0.0
        take_out(work, k, at)
        k -= 1
    else:
        set_free(block, work, k, at)
        if is_row:
            share = entry(block, p, at)
            whole += share * share
            for a in range(k):
                work.v[a] += share * work.w[a]
    return k, whole


@inlined
def make_active(block, own, work, k, p, s, mine, delta, is_row):
    """Let row or bound p join the active ones, with the multiplier `mine`."""
    if is_row:
        append(block, work, k, p, delta)
        work.counts[EQUALITIES] -= int(work.equal[p])
        work.sign[k] = 0.0 if work.equal[p] else s
        work.mu[k] = mine
        return k + 1
    add_outer(work, k, 1.0 / delta, work.r)
    hold(work, p, s)
    work.nu[p] = mine
    work.x[p] = own.upper[p] if s > 0 else own.lower[p]
    return k
