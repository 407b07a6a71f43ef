"""Compiled dual active-set method for blocks with several rows; see `_projections/active_set.py`.

One instance at a time, all its arrays in the cache of a core; instances are spread over threads.
"""

from typing import NamedTuple

import numba
import numpy as np

from .active_rows import (
    EQUAL,
    OUT,
    Work,
    activity,
    add_outer,
    along_rows,
    append,
    column,
    entry,
    load_gradient,
    set_free,
    squares,
    subtract_rows,
    take_out,
    times_inverse,
)
from .active_rows import (
    Block as Block,
)
from .lean import called, inlined, lean

NEAR = 1e-13  # violation, relative to 1 + |x|, from which a row or a bound is added
# Squared share of a gradient that must be free of the active ones, or it depends on them; below
# the second, the share is computed twice.
DEPENDENT, DOUBTFUL = 1e-14, 1e-3
NOTHING = 1e-20  # square of a gradient that has nothing but fixed variables; rows have norm 1
RATE = 1e-12  # a multiplier that changes more slowly does not block a step
FAR = 100.0  # distance of the point from its bounds, in their size, from which bounds are met first
TOUCHING = 1e-9  # distance, relative to 1 + |z|, at which a hint tells that a limit is active
TRIFLE = 1e-10  # violation, relative to 1 + |x|, of a dependent constraint that may be rounding
STEPS = 8  # times the number of rows and variables: the most steps


class Instance(NamedTuple):
    """The point and the limits of one instance."""

    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@numba.njit(cache=True, nogil=True)
def make_work(m, size, dense):
    """Make room for one thread."""
    most = min(m, size) + 1
    n, k, longest = np.empty((5, size)), np.empty((4, most)), max(m, size) + 1
    return Work(
        n[0], n[1], n[2], n[3], n[4], np.empty(m), np.empty(m), np.empty(m, dtype=np.int8),
        np.empty(m, dtype=np.int64), np.empty(most, dtype=np.int64), k[0], k[1], k[2], k[3],
        np.arange(most), np.empty((most, most)), np.empty((size if dense else 0, most)),
        np.empty(longest, dtype=np.int64), np.empty(longest),
    )  # fmt: skip


# ---------------------------------------------------------------------- starts


@inlined
def begin(own, work):
    """Start at the point within its bounds, or where rows are many at the point; 1 + |y|."""
    x, scale, size, far = work.x, 0.0, 1.0, 0.0
    for j in range(len(x)):
        x[j] = min(max(own.y[j], own.lower[j]), own.upper[j])
        scale, size = max(scale, abs(own.y[j])), max(size, abs(x[j]))
        far = max(far, abs(own.y[j] - x[j]))
    clipped = len(own.low) < len(x) or far > FAR * size
    for j in range(len(x)):
        y, work.free[j], work.held[j] = own.y[j], 0.0, 0.0
        if own.lower[j] < own.upper[j]:
            if not clipped:
                x[j] = y
            work.held[j] = 1.0 if y > x[j] else (-1.0 if y < x[j] else 0.0)
            work.free[j] = 1.0 - abs(work.held[j])
        work.nu[j] = y - x[j]
    for i in range(len(own.low)):
        work.mu[i], work.side[i], work.place[i] = 0.0, OUT, -1
    return scale + 1.0


@called
def start_near(block, own, work, hint):
    """Start from the limits that are active at a hint, without those of the wrong sign.

    Dropping all of these and solving again ends, since the set shrinks, at a pair from which the
    method may go on, whatever the hint was.
    """
    x, k = work.x, 0
    for j in range(len(x)):
        if own.lower[j] < own.upper[j]:
            above, below = hint[j] >= own.upper[j] - TOUCHING, hint[j] <= own.lower[j] + TOUCHING
            work.held[j] = 1.0 if above else (-1.0 if below else 0.0)
            work.free[j] = 1.0 - abs(work.held[j])
        x[j] = hint[j]
    activity(block, work)
    near = TOUCHING * size_of(x)
    for i in range(len(own.low)):
        above, below = work.act[i] >= own.high[i] - near, work.act[i] <= own.low[i] + near
        if (above or below) and k < len(work.active) - 1:
            load_gradient(block, work, i, True)
            along_rows(block, work, k, work.v)
            whole = squares(work)
            delta = direction(block, work, k, whole)
            if delta > 1e-6 * whole and whole > 1e-6:
                append(block, work, k, i, delta)
                work.side[i] = EQUAL if own.low[i] == own.high[i] else (1 if above else -1)
                k += 1
    while True:
        for j in range(len(x)):
            at = own.upper[j] if work.held[j] > 0 else own.lower[j]
            x[j] = own.y[j] if work.free[j] else at
        for a in range(k):
            work.mu[work.active[a]] = 0.0
        activity(block, work)
        refine(block, own, work, k)
        before, some = k, False
        for a in range(before - 1, -1, -1):
            i = work.active[a]
            if work.side[i] != EQUAL and work.side[i] * work.mu[i] < 0.0:
                take_out(work, k, a)
                k -= 1
        for j in range(len(x)):
            if work.held[j] * work.nu[j] < 0.0:
                set_free(block, work, k, j)
                some = True
        if k == before and not some:
            return k


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
def worst(own, work, near):
    """Find what is violated most, equalities first: number (or -1), side, by how much, if a row.

    Variables at a bound are not violated by more than rounding.
    """
    x, act, at, most, equal = work.x, work.act, -1, near, False
    for j in range(len(x)):
        far = max(x[j] - own.upper[j], own.lower[j] - x[j])
        if far > most:
            at, most = j, far
    bound, is_row = at, False
    for i in range(len(act)):
        far = max(act[i] - own.high[i], own.low[i] - act[i])
        if (far > near) & (work.side[i] == OUT):
            first = own.low[i] == own.high[i]
            if (first and not equal) or (far > most and first == equal):
                at, most, equal, is_row = i, far, first, True
    s = 1
    if is_row:
        s = 1 if act[at] - own.high[at] > own.low[at] - act[at] else -1
    elif bound >= 0:
        s = 1 if x[at] - own.upper[at] > own.lower[at] - x[at] else -1
    return at, s, most, is_row


@called
def once_more(block, work, k):
    """Take what rounding left along the rows out of the direction; the square of what is free."""
    along_rows(block, work, k, work.w)
    times_inverse(work, k, work.w, work.u)
    for a in range(k):
        work.r[a] += work.u[a]
    subtract_rows(block, work, k, work.u)
    return squares(work)


@inlined
def direction(block, work, k, whole):
    """Set r to inverse v and subtract R_A^T r from g; the square of g where it is free."""
    times_inverse(work, k, work.v, work.r)
    subtract_rows(block, work, k, work.r)
    delta = squares(work)
    if (delta < DOUBTFUL * whole) & (k > 0):
        delta = once_more(block, work, k)
    return delta


@inlined
def blocking(work, k, s):
    """Find the largest step that keeps all multipliers' signs; what stops it: row, else variable.

    The least fraction is found without a division, and with one branch that is hardly ever taken.
    """
    over, under, at, is_row = np.inf, 1.0, -1, False
    for a in range(k):
        i = work.active[a]
        rate, left = work.side[i] * s * work.r[a], work.side[i] * work.mu[i]
        if (work.side[i] != EQUAL) & (rate > RATE) & (left * under < over * rate):
            over, under, at, is_row = left, rate, a, True
    for j in range(len(work.g)):
        rate, left = work.held[j] * s * work.g[j], work.held[j] * work.nu[j]
        if (rate > RATE) & (left * under < over * rate):
            over, under, at, is_row = left, rate, j, False
    return max(over, 0.0) / under, at, is_row


@inlined
def move(work, k, step, flat):
    """Move multipliers by a step, and the point where it can move."""
    for a in range(k):
        work.mu[work.active[a]] -= step * work.r[a]
    for j in range(len(work.x)):
        work.nu[j] -= step * work.g[j] * (1.0 - work.free[j])
    if not flat:
        for j in range(len(work.x)):
            work.x[j] -= step * work.g[j] * work.free[j]


@inlined
def drop(block, work, k, at, at_row, p, is_row, whole):
    """Drop what blocked the step; k and the square of the free gradient of what is added."""
    if at_row:
        work.v[at] = work.v[k - 1]
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
        work.side[p] = EQUAL if own.low[p] == own.high[p] else s
        work.mu[p] = mine
        return k + 1
    add_outer(work, k, 1.0 / delta, work.r)
    work.held[p], work.free[p], work.nu[p] = s, 0.0, mine
    work.x[p] = own.upper[p] if s > 0 else own.lower[p]
    return k


# ---------------------------------------------------------------------- one instance


@called
def refine(block, own, work, k):
    """Take rounding out of the equations of the face, which are linear, by a step of Newton's.

    It moves x by what rows miss, so that x is as exact as its own size allows, not as that of y.
    """
    x, g = work.x, work.g
    for a in range(k):
        work.w[a] = work.mu[work.active[a]]
    for j in range(len(x)):
        g[j] = own.y[j] - x[j]
    subtract_rows(block, work, k, work.w)
    along_rows(block, work, k, work.v)
    for a in range(k):
        i = work.active[a]
        work.v[a] += work.act[i] - (own.low[i] if work.side[i] < 0 else own.high[i])
    times_inverse(work, k, work.v, work.r)
    subtract_rows(block, work, k, work.r)
    for a in range(k):
        work.mu[work.active[a]] += work.r[a]
    for j in range(len(x)):
        x[j] += g[j] * work.free[j]
        work.nu[j] = g[j] * (1.0 - work.free[j])


@called
def residual(block, own, work, k, scale):
    """Return the KKT residual: rows relative to 1 + |x|, gradients and multipliers to 1 + |y|.

    x is put within its bounds first.
    """
    x, g = work.x, work.g
    for j in range(len(x)):
        x[j] = min(max(x[j], own.lower[j]), own.upper[j])
        g[j] = own.y[j] - x[j]
    for a in range(k):
        work.w[a] = work.mu[work.active[a]]
    subtract_rows(block, work, k, work.w)
    found, size = 0.0, size_of(x)
    for j in range(len(x)):
        off = g[j]
        if (off > 0.0 and x[j] == own.upper[j]) or (off < 0.0 and x[j] == own.lower[j]):
            off = 0.0
        if not abs(off) / scale <= found:
            found = abs(off) / scale
    activity(block, work)
    for i in range(len(own.low)):
        above, below = work.act[i] - own.high[i], own.low[i] - work.act[i]
        far = max(above, below)
        if not far / size <= found:
            found = far / size
        if work.side[i] != OUT:
            mu = work.mu[i]
            either = min(abs(mu) / scale, abs(above if mu > 0 else below) / size)
            if not either <= found:
                found = either
    return found


@inlined
def solve(block, own, work, hint):
    """Project one point; return its residual, or inf where there is no answer.

    The worst violated constraint is made active; on the way there, whatever would get a multiplier
    of the wrong sign is dropped.
    """
    scale, k = begin(own, work), 0
    if len(hint):
        k = start_near(block, own, work, hint)
    flat, trifle = False, False
    steps, fresh, near = STEPS * (len(own.y) + len(own.low)) + 50, False, NEAR * size_of(work.x)
    result = np.inf
    while steps >= 0:
        activity(block, work)
        p, s, beyond, is_row = worst(own, work, near)
        if p < 0 and fresh:
            result = residual(block, own, work, k, scale)
            break
        if p < 0:
            refine(block, own, work, k)
            fresh, near = True, NEAR * size_of(work.x)
            continue
        mine, delta, trifle = 0.0, 0.0, beyond <= TRIFLE * size_of(work.x)
        load_gradient(block, work, p, is_row)
        if is_row:
            along_rows(block, work, k, work.v)
        else:
            column(block, work, k, p, work.v)
        whole = squares(work)
        while True:
            delta = direction(block, work, k, whole)
            flat = not (delta > DEPENDENT * whole and whole > NOTHING)
            t, at, at_row = blocking(work, k, s)
            enough = np.inf if flat else beyond / delta
            if flat and trifle and mine == 0.0:
                break  # rounding of a constraint that depends on the active ones
            full = enough <= t
            t, steps = min(t, enough), steps - 1
            if t == np.inf:
                steps = -1
            if steps < 0:
                break
            move(work, k, s * t, flat)
            mine += s * t
            if full:
                break
            if not flat:
                beyond -= t * delta
            k, whole = drop(block, work, k, at, at_row, p, is_row, whole)
            load_gradient(block, work, p, is_row)
        if flat and trifle and mine == 0.0:
            near = 2.0 * beyond
            continue
        fresh = False
        if is_row and k >= len(work.active) - 1:
            steps = -1  # as many rows as can be independent: what rounding made of dependent ones
        if steps >= 0:
            k = make_active(block, own, work, k, p, s, mine, delta, is_row)
    return result


@lean
def run(begin_at, stop, block, norms, points, limits, hints, answers, quality, own, work):
    """Loop over instances, with arrays of the caller's."""
    row_low, row_high, lower, upper = limits
    m, size, count = len(norms), points.shape[1], row_low.shape[1]
    for number in range(begin_at, stop):
        i, c, finite = number // count, number % count, True
        for p in range(m):
            own.low[p] = row_low[i % len(row_low), c, p] / norms[p]
            own.high[p] = row_high[i % len(row_high), c, p] / norms[p]
        for j in range(size):
            own.y[j] = points[number, j]
            own.lower[j] = lower[i % len(lower), c, j]
            own.upper[j] = upper[i % len(upper), c, j]
            finite &= np.isfinite(own.y[j]) and own.lower[j] <= own.upper[j]
        hint = hints[number % len(hints)]
        quality[number] = solve(block, own, work, hint) if finite else np.nan
        for j in range(size):
            answers[number, j] = work.x[j] if finite else np.nan


@numba.njit(cache=True, nogil=True)
def project(begin_at, stop, block, norms, points, limits, hints, answers, quality):
    """Project `points[begin_at:stop]`, each `(size,)`.

    Args:
        begin_at: The first instance.
        stop: Behind the last one.
        block: A `Block`.
        norms: Of its rows before they were divided by them.
        points: `(N, size)`.
        limits: Of rows, not divided, and variables, `(N or 1, count, ...)` each.
        hints: `(N, size)`, points whose active limits are tried first, or `(1, 0)`.
        answers: `(N, size)`.
        quality: `(N,)` becomes the residual of each; inf without an answer, nan where y is not
            finite.
    """
    m, size = len(norms), points.shape[1]
    own = Instance(np.empty(size), np.empty(m), np.empty(m), np.empty(size), np.empty(size))
    work = make_work(m, size, len(block.by_row) > 0)
    run(begin_at, stop, block, norms, points, limits, hints, answers, quality, own, work)
