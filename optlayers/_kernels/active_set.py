"""Compiled dual active-set method for blocks with several rows; see `_projections/active_set.py`.

One instance at a time, all its arrays in the cache of a core; instances are spread over threads.
"""

import numpy as np

from .active_arrays import EQUALITIES, EQUALITY_ROWS, FREE, HELD, make_instance, make_work
from .active_arrays import BlockArrays as BlockArrays
from .active_rows import (
    activity,
    along_rows,
    append,
    column,
    let_move,
    load_gradient,
    open_places,
    set_free,
    squares,
    subtract_rows,
    take_out,
    times_inverse,
)
from .active_steps import blocking, direction, drop, make_active, move, size_of, worst
from .lean import called, inlined, lean
from .parts import kernel

NEAR = 1e-13  # violation, relative to 1 + |x|, from which a row or a bound is added
DEPENDENT = 1e-14  # squared share of a gradient that must be free of the active ones
NOTHING = 1e-20  # square of a gradient that has nothing but fixed variables; rows have norm 1
FAR = 100.0  # distance of the point from its bounds, in their size, from which bounds are met first
TOUCHING = 1e-9  # distance, relative to 1 + |z|, at which a hint tells that a limit is active
TRIFLE = 1e-10  # violation, relative to 1 + |x|, of a dependent constraint that may be rounding
STEPS = 8  # times the number of rows and variables: the most steps


# ---------------------------------------------------------------------- starts


@inlined
def forget(work, m):
    """Begin without active rows, and with no variable at a bound."""
    for i in range(m):
        work.out[i], work.place[i] = 1.0, -1
    work.counts[FREE], work.counts[HELD] = 0, 0
    work.counts[EQUALITIES] = work.counts[EQUALITY_ROWS]
    open_places(work, 0)


@inlined
def place_at(own, work, j, s):
    """Count variable j among the free ones, those at a bound, or if it is fixed none."""
    work.free[j], work.held[j] = 0.0, 0.0
    if own.lower[j] < own.upper[j]:
        if s == 0.0:
            let_move(work, j)
        else:
            work.held[j] = s
            work.counts[HELD] += 1


@inlined
def begin(own, work, m, size):
    """Start at the point within its bounds, or where rows are many at the point; 1 + |y|."""
    x, scale, most, far = work.x, 0.0, 1.0, 0.0
    for j in range(size):
        x[j] = min(max(own.y[j], own.lower[j]), own.upper[j])
        scale, most = max(scale, abs(own.y[j])), max(most, abs(x[j]))
        far = max(far, abs(own.y[j] - x[j]))
    clipped = m < size or far > FAR * most
    forget(work, m)
    for j in range(size):
        y = own.y[j]
        if not clipped and own.lower[j] < own.upper[j]:
            x[j] = y
        place_at(own, work, j, 1.0 if y > x[j] else (-1.0 if y < x[j] else 0.0))
        work.nu[j] = y - x[j]
    return scale + 1.0


@called
def start_near(block, own, work, hint, m, size):
    """Start from the limits that are active at a hint, without those of the wrong sign.

    Dropping all of these and solving again ends, since the set shrinks, at a pair from which the
    method may go on, whatever the hint was.
    """
    x, k = work.x, 0
    forget(work, m)
    for j in range(size):
        above, below = hint[j] >= own.upper[j] - TOUCHING, hint[j] <= own.lower[j] + TOUCHING
        place_at(own, work, j, 1.0 if above else (-1.0 if below else 0.0))
        x[j] = hint[j]
    activity(block, work)
    near = TOUCHING * size_of(x)
    for i in range(m):
        above, below = work.act[i] >= own.high[i] - near, work.act[i] <= own.low[i] + near
        if (above or below) and k < len(work.active) - 1:
            load_gradient(block, work, i, True)
            along_rows(block, work, k, work.v)
            whole = squares(work)
            delta = direction(block, work, k, whole)
            if delta > 1e-6 * whole and whole > 1e-6:
                append(block, work, k, i, delta)
                work.sign[k] = 0.0 if work.equal[i] else (1.0 if above else -1.0)
                work.counts[EQUALITIES] -= int(work.equal[i])
                k += 1
    while True:
        for j in range(size):
            at = own.upper[j] if work.held[j] > 0 else own.lower[j]
            x[j] = own.y[j] if work.free[j] else at
        for a in range(k):
            work.mu[a] = 0.0
        activity(block, work)
        refine(block, own, work, k)
        before, some = k, False
        for a in range(before - 1, -1, -1):
            if work.sign[a] * work.mu[a] < 0.0:
                take_out(work, k, a)
                k -= 1
        for j in range(size):
            if work.held[j] * work.nu[j] < 0.0:
                set_free(block, work, k, j)
                some = True
        if k == before and not some:
            return k


# ---------------------------------------------------------------------- one instance


@called
def refine(block, own, work, k):
    """Take rounding out of the equations of the face, which are linear, by a step of Newton's.

    It moves x by what rows miss, so that x is as exact as its own size allows, not as that of y.
    """
    x, g = work.x, work.g
    for j in range(len(x)):
        g[j] = own.y[j] - x[j]
    subtract_rows(block, work, k, work.mu)
    along_rows(block, work, k, work.v)
    for a in range(k):
        i = work.active[a]
        work.v[a] += work.act[i] - (own.low[i] if work.sign[a] < 0 else own.high[i])
    times_inverse(work, k, work.v, work.r)
    subtract_rows(block, work, k, work.r)
    for a in range(k):
        work.mu[a] += work.r[a]
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
    subtract_rows(block, work, k, work.mu)
    found, size = 0.0, size_of(x)
    for j in range(len(x)):
        off = g[j]
        if (off > 0.0 and x[j] == own.upper[j]) or (off < 0.0 and x[j] == own.lower[j]):
            off = 0.0
        if not abs(off) / scale <= found:
            found = abs(off) / scale
    activity(block, work)
    for i in range(len(work.place)):
        above, below = work.act[i] - own.high[i], own.low[i] - work.act[i]
        far = max(above, below)
        if not far / size <= found:
            found = far / size
        if work.place[i] >= 0:
            mu = work.mu[work.place[i]]
            either = min(abs(mu) / scale, abs(above if mu > 0 else below) / size)
            if not either <= found:
                found = either
    return found


@inlined
def solve(block, own, work, hint, m, size):
    """Project one point; return its residual, or inf where there is no answer.

    The worst violated constraint is made active; on the way there, whatever would get a multiplier
    of the wrong sign is dropped.
    """
    scale, k = begin(own, work, m, size), 0
    if len(hint):
        k = start_near(block, own, work, hint, m, size)
    flat, trifle = False, False
    steps, fresh, near = STEPS * (size + m) + 50, False, NEAR * size_of(work.x)
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


@inlined
def load_limits(own, work, row_low, row_high, lower, upper, norms):
    """Copy the limits of an instance, those of rows divided by their norms; if they are some."""
    fits, some = True, 0
    for p in range(len(norms)):
        own.low[p], own.high[p] = row_low[p] / norms[p], row_high[p] / norms[p]
        same = own.low[p] == own.high[p]
        work.equal[p] = 1.0 if same else 0.0
        some += same
    for j in range(len(lower)):
        own.lower[j], own.upper[j] = lower[j], upper[j]
        fits &= own.lower[j] <= own.upper[j]
    work.counts[EQUALITY_ROWS] = some
    return fits


@lean
def run(begin_at, stop, block, norms, points, limits, hints, answers, quality, own, work):
    """Loop over instances, with arrays of the caller's."""
    row_low, row_high, lower, upper = limits
    m, size, count, fits = len(norms), points.shape[1], row_low.shape[1], False
    all_same = count * max(len(row_low), len(row_high), len(lower), len(upper)) == 1
    for number in range(begin_at, stop):
        i, c = number // count, number % count
        if number == begin_at or not all_same:
            sides = row_low[i % len(row_low), c], row_high[i % len(row_high), c]
            bounds = lower[i % len(lower), c], upper[i % len(upper), c]
            fits = load_limits(own, work, sides[0], sides[1], bounds[0], bounds[1], norms)
        finite = fits
        for j in range(size):
            own.y[j] = points[number, j]
            finite &= np.isfinite(own.y[j])
        hint = hints[number % len(hints)]
        quality[number] = solve(block, own, work, hint, m, size) if finite else np.nan
        for j in range(size):
            answers[number, j] = work.x[j] if finite else np.nan


@kernel
def project(begin_at, stop, block, norms, points, limits, hints, answers, quality):
    """Project `points[begin_at:stop]`, each `(size,)`.

    Args:
        begin_at: The first instance.
        stop: Behind the last one.
        block: A `BlockArrays`.
        norms: Of its rows before they were divided by them.
        points: `(N, size)`.
        limits: Of rows, not divided, and variables, `(N or 1, count, ...)` each.
        hints: `(N, size)`, points whose active limits are tried first, or `(1, 0)`.
        answers: `(N, size)`.
        quality: `(N,)` becomes the residual of each; inf without an answer, nan where y is not
            finite.
    """
    m, size = len(norms), points.shape[1]
    own, work = make_instance(m, size), make_work(m, size, len(block.by_row) > 0)
    run(begin_at, stop, block, norms, points, limits, hints, answers, quality, own, work)
