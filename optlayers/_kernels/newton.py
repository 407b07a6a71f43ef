"""Compiled semismooth Newton method for blocks with several rows; see `newton.py`.

One instance at a time, all its arrays in the cache of a core; instances are spread over threads.
Functions stand at the top level so that the disk cache finds them (see `thresholds.py`).
"""

from typing import NamedTuple

import numba
import numpy as np

from . import sparse
from .newton_constants import (
    DAMPING,
    FARTHEST,
    FIRST_STAGE,
    GROWTH,
    IDLE,
    LOOSE,
    MAX_STAGES,
    MAX_STEPS,
    PLAIN,
    ROUNDING,
    SHORT,
    SPARSE_STEPS,
    TRIALS,
    WITH_AUX,
)

_FAST = {"reassoc", "nsz", "contract"}  # sums may be reordered; nan and inf keep their meaning

# Of the diagonal: a pivot below the first is rounding, that is, its row depends on others. The
# factor is then made once more with the second as damping, which rounding does not reach.
RANK, SAFE = 1e-13, 1e-12


class Block(NamedTuple):
    """What all instances share: rows R, normalised; `(start, index, value)` by rows, by columns.

    `dense` is the transpose of R as a matrix, or empty; `pattern` is what `_ordering.pairs` found,
    or empty.
    """

    rows: tuple
    columns: tuple
    dense: np.ndarray
    pattern: tuple
    is_aux: np.ndarray


class Instance(NamedTuple):
    """The point and the limits of one instance."""

    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class Work(NamedTuple):
    """Arrays of one thread; `(size,)`, then `(m,)`, then what the factors need."""

    centre: np.ndarray  # y within its bounds: where the continuation starts
    point: np.ndarray  # what is projected in this stage
    anchor: np.ndarray  # centre of the curvature of auxiliary variables
    moved: np.ndarray  # point - R^T mu / curvature, before clipping
    along: np.ndarray  # R^T d
    inverse: np.ndarray  # 1 / curvature
    free: np.ndarray
    mu: np.ndarray
    base: np.ndarray  # multipliers that `point` and `hold` have taken up already
    act: np.ndarray  # R x
    slack: np.ndarray  # centre of the slack + mu / curvature, before clipping
    hold: np.ndarray  # centre of the curvature of slacks
    gradient: np.ndarray
    d: np.ndarray
    place: np.ndarray  # number among the active rows, or -1
    factor: np.ndarray
    gram: np.ndarray
    weight: np.ndarray
    compact: np.ndarray
    values: np.ndarray
    diagonal: np.ndarray
    on: np.ndarray
    tree: tuple
    ints: tuple
    floats: tuple
    ease: np.ndarray  # `(1,)`: what the damping is multiplied by; small where it held steps back


@numba.njit(cache=True, nogil=True)
def make_work(block, m, size):
    """Room for one thread."""
    large = m if len(block.pattern[3]) else 0
    small, wide = m - large, m if len(block.dense) else 0
    v, r, s = np.empty((6, size)), np.empty((7, m)), np.empty((7, large), dtype=np.int64)
    return Work(
        v[0], v[1], v[2], v[3], v[4], v[5], np.empty(size, dtype=np.bool_),
        r[0], r[1], r[2], r[3], r[4], r[5], r[6], np.empty(m, dtype=np.int64),
        np.empty((small, small)), np.empty((wide, wide)), np.empty(size), np.empty(m),
        np.empty(len(block.pattern[4]) + large), np.empty(large), np.empty(large, dtype=np.bool_),
        (s[0], s[1], s[2]), (np.empty(large + 1, dtype=np.int64), s[3], s[4], s[5]),
        (np.empty(large), np.empty(large)), np.ones(1),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def activity(block, x, out):
    """Write R x to `out`."""
    start, index, value = block.rows
    if len(block.dense):
        out[:] = 0.0
        for j in range(len(x)):
            if x[j] != 0.0:
                column, own = block.dense[j], x[j]
                for i in range(len(out)):
                    out[i] += own * column[i]
        return
    for i in range(len(out)):
        total = 0.0
        for e in range(start[i], start[i + 1]):
            total += value[e] * x[index[e]]
        out[i] = total


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def pull_back(block, mu, out):
    """Write R^T mu to `out`."""
    start, index, value = block.columns
    for j in range(len(out)):
        total = 0.0
        if len(block.dense):
            column = block.dense[j]
            for i in range(len(mu)):
                total += column[i] * mu[i]
        else:
            for e in range(start[j], start[j + 1]):
                total += value[e] * mu[index[e]]
        out[j] = total


# ---------------------------------------------------------------------- Newton's step


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def factorise(M, k, least):
    """The Cholesky factor of the leading k x k part, in its lower half.

    Pivots are at least `least` times the diagonal; how many had to be raised is returned.
    """
    raised = 0
    for i in range(k):
        for j in range(i):
            total = M[i, j]
            for f in range(j):
                total -= M[i, f] * M[j, f]
            M[i, j] = total / M[j, j]
        total, floor = M[i, i], least * M[i, i]
        for f in range(i):
            total -= M[i, f] * M[i, f]
        if not total > floor:
            total = floor
            raised += 1
        M[i, i] = np.sqrt(total)
    return raised


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def substitute(M, k, d):
    """Solve with the factor, in place."""
    for i in range(k):
        total = d[i]
        for j in range(i):
            total -= M[i, j] * d[j]
        d[i] = total / M[i, i]
    for i in range(k - 1, -1, -1):
        own = d[i] / M[i, i]
        d[i] = own
        for j in range(i):
            d[j] -= M[i, j] * own


@numba.njit(cache=True, nogil=True)
def assemble(columns, free, inverse, place, M, k):
    """M = R_A diag(free / curvature) R_A^T over the active rows, lower half; R sparse."""
    start, row, value = columns
    M[:k, :k] = 0.0
    for j in range(len(free)):
        if not free[j]:
            continue
        for e in range(start[j], start[j + 1]):
            p = place[row[e]]
            if p < 0:
                continue
            scaled = value[e] * inverse[j]
            for f in range(start[j], e + 1):
                q = place[row[f]]
                if q >= 0:  # places grow with the row, and rows are sorted: q <= p
                    M[p, q] += scaled * value[f]


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def assemble_dense(columns, free, inverse, gram, weight, place, M):
    """The same for dense rows. `gram` is kept for all rows: few variables change from step to step.

    `weight` is what each variable counts in it, negative before the first time.
    """
    m = len(place)
    changed, present = 0, 0
    for j in range(len(free)):
        now = inverse[j] if free[j] else 0.0
        changed += weight[j] != now
        present += now != 0.0
    if weight[0] < 0.0 or 2 * changed > present:
        gram[:] = 0.0
        weight[:] = 0.0
    for j in range(len(free)):
        now = inverse[j] if free[j] else 0.0
        if weight[j] == now:
            continue
        column, share = columns[j], now - weight[j]
        weight[j] = now
        for p in range(m):
            scaled = share * column[p]
            for q in range(p + 1):
                gram[p, q] += scaled * column[q]
    for i in range(m):
        p = place[i]
        if p >= 0:
            for f in range(i + 1):
                if place[f] >= 0:
                    M[p, place[f]] = gram[i, f]


@numba.njit(cache=True, nogil=True)
def direct(block, work, k, damping, stiff):
    """Newton's step for the k active rows by a dense factor; a short step for the others.

    A row with a free slack has the curvature `stiff` beside whatever it shares with other rows,
    which is left out: its multiplier is next to zero already.
    """
    start, index, value = block.rows
    place, M, compact, safe = work.place, work.factor, work.compact, 0.0
    while True:
        if len(block.dense):
            assemble_dense(block.dense, work.free, work.inverse, work.gram, work.weight, place, M)
        else:
            assemble(block.columns, work.free, work.inverse, place, M, k)
        for p in range(k):
            M[p, p] = damped(M[p, p], damping, safe)
        if not factorise(M, k, RANK) or safe > 0.0:
            break
        safe = SAFE
    for i in range(len(place)):
        if place[i] >= 0:
            compact[place[i]] = work.gradient[i]
    substitute(M, k, compact)
    for i in range(len(place)):
        if place[i] >= 0:
            work.d[i] = compact[place[i]]
            continue
        own = stiff
        for e in range(start[i], start[i + 1]):
            if work.free[index[e]]:
                own += value[e] * value[e] * work.inverse[index[e]]
        work.d[i] = work.gradient[i] / own


@numba.njit(cache=True, nogil=True)
def damped(own, damping, safe):
    """A diagonal entry with its damping, never zero: a row may have no free variable."""
    return max(own + damping + safe * (own if own > 0.0 else 1.0), 1e-300)


@numba.njit(cache=True, nogil=True)
def direct_sparse(block, work, damping, stiff, li, lx):
    """The same by a sparse factor, whose room is returned: it may have grown."""
    pair_start, pair_slot, pair_value, start, index = block.pattern
    on, diagonal = work.on, work.diagonal
    parent, flag, counts = work.tree
    sparse.gather(pair_start, pair_slot, pair_value, work.free, work.inverse, work.values)
    for i in range(len(on)):
        on[i] = work.place[i] >= 0
        work.d[i] = work.gradient[i]
    total = sparse.count_fill(start, index, on, parent, flag, counts)
    if total > len(li):
        li, lx = np.empty(2 * total, dtype=np.int64), np.empty(2 * total)
    safe = 0.0
    while True:
        for i in range(len(on)):
            own = work.values[len(index) + i]
            diagonal[i] = damped(own, damping, safe) if on[i] else own + stiff
        raised = sparse.factorise(
            start, index, work.values, diagonal, on, parent, flag, counts, work.ints, work.floats,
            li, lx, RANK,
        )  # fmt: skip
        if not raised or safe > 0.0:
            break
        safe = SAFE
    sparse.substitute(work.ints[0], li, lx, work.floats[0], on, work.d)
    return li, lx


# ---------------------------------------------------------------------- line search


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def slope(t, first, own, work, x, stiff):
    """Derivative of the dual function at the distance t along `work.d`; `first` where t = 0.

    Only what changes on the way is summed up: where multipliers are large, the rest of the sum is
    far larger than the result.
    """
    total = first
    for j in range(len(own.y)):
        to = work.moved[j] - t * work.along[j] * work.inverse[j]
        total += work.along[j] * (min(max(to, own.lower[j]), own.upper[j]) - x[j])
    for i in range(len(own.low)):
        here = min(max(work.slack[i], own.low[i]), own.high[i])
        to = work.slack[i] + t * work.d[i] * stiff
        total -= work.d[i] * (min(max(to, own.low[i]), own.high[i]) - here)
    return total


@numba.njit(cache=True, nogil=True)
def step_length(first, noise, own, work, x, stiff):
    """Where the dual function is nearly highest along `work.d`: 1 if that will do.

    A slope below `noise` is rounding: rows that depend on others seem to contradict them a little.
    """
    here = slope(1.0, first, own, work, x, stiff)
    if -0.1 * first <= here <= 0.5 * first or abs(here) <= noise or not first > 0.0:
        return 1.0
    left, right, at_left, at_right = 0.0, 1.0, first, here
    while at_right > noise:
        left, at_left = right, at_right
        right *= 4.0
        at_right = slope(right, first, own, work, x, stiff)
        if right > 1e9:
            return right
    for trial in range(TRIALS):
        if trial % 3 == 2 and right > 4.0 * left:  # by size: the answer may be at 1e-9
            t = np.sqrt(left * right) if left > 0.0 else 0.01 * right
        elif trial % 3 == 2 or not at_left > at_right:
            t = 0.5 * (left + right)
        else:
            t = (left * -at_right + right * at_left) / (at_left - at_right)
        here = slope(t, first, own, work, x, stiff)
        if abs(here) <= 0.05 * first:
            return t
        if here > 0.0:
            left, at_left = t, here
        else:
            right, at_right = t, here
    return left if left > 0.0 else right


# ---------------------------------------------------------------------- one instance


@numba.njit(cache=True, nogil=True)
def worse(worst, value):
    """The larger one, and NaN if either is."""
    return worst if value <= worst or worst != worst else value


@numba.njit(cache=True, nogil=True)
def evaluate(block, own, work, x, stiff):
    """Set x and the gradient of the dual at mu; its largest entry, active rows, largest |x|."""
    pull_back(block, work.mu, work.along)
    size = 0.0
    for j in range(len(x)):
        work.moved[j] = work.point[j] - work.along[j] * work.inverse[j]
        x[j] = min(max(work.moved[j], own.lower[j]), own.upper[j])
        work.free[j] = own.lower[j] < work.moved[j] < own.upper[j]
        size = max(size, abs(x[j]))
    activity(block, x, work.act)
    largest, k = 0.0, 0
    for i in range(len(work.mu)):
        slack = work.hold[i] + work.mu[i] * stiff
        work.slack[i] = slack
        work.gradient[i] = work.act[i] - min(max(slack, own.low[i]), own.high[i])
        largest = worse(largest, abs(work.gradient[i]))
        work.place[i] = -1
        if not own.low[i] < slack < own.high[i]:
            work.place[i] = k
            k += 1
    return largest, k, size


@numba.njit(cache=True, nogil=True)
def take_up(work):
    """Let the point and the slacks have the multipliers, so that only small ones are left.

    What a large multiplier rounds is fixed from here on, as if y had been rounded; the rows are
    then met to the rounding of x and not of y.
    """
    work.point[:] = work.moved
    work.hold[:] = work.slack
    work.base[:] += work.mu
    work.mu[:] = 0.0


@numba.njit(cache=True, nogil=True)
def climb(block, own, work, x, prox, loose, last, scale, most, steps, li, lx):
    """Newton's steps of one stage, until the gradient is below `loose`, or rounding in the last.

    Rows that are nearly dependent hide a long way behind a small gradient: the last stage ends when
    the steps are short as well. `move` is the length of the last one, relative to the size of x,
    and zero where the gradient is nothing but rounding.
    """
    stiff, best, tries, taken, move = 1.0 / prox, np.inf, 0, False, np.inf
    work.base[:] = 0.0
    while True:
        largest, k, size = evaluate(block, own, work, x, stiff)
        goal = max(2e-16 * (1.0 + size), 0.0 if last else loose)
        extent = 1.0 + size
        size = max(scale, extent)
        tries = 0 if largest < 0.5 * best else tries + 1
        best = min(best, largest)
        if largest <= goal:
            move = 0.0
            break
        if steps >= MAX_STEPS + SPARSE_STEPS * len(work.on) or not np.isfinite(largest):
            break
        if last and not taken and tries >= 2 and largest <= 1e-6 * size:
            take_up(work)
            taken, best, tries = True, np.inf, 0
            continue
        # Shorter than has to be, if a few more steps do it: each takes some digits.
        near = largest <= 1e-11 * size and (move <= 1e-2 * SHORT or (move <= SHORT and tries >= 8))
        if last and tries >= 3 and (near or tries >= 40 + len(work.on)):
            break
        if not last and tries >= 3 and move * size <= IDLE * extent:  # goal below rounding
            break
        steps += 1
        most = max(most, largest)
        damping = DAMPING * largest / most * work.ease[0]
        if len(block.pattern[3]):
            li, lx = direct_sparse(block, work, damping, stiff, li, lx)
        else:
            direct(block, work, k, damping, stiff)
        rise, noise = 0.0, 0.0
        for i in range(len(work.mu)):
            rise += work.gradient[i] * work.d[i]
            noise += ROUNDING * size * abs(work.d[i])
        pull_back(block, work.d, work.along)
        t = step_length(rise, noise, own, work, x, stiff)
        if t > 2.0:  # it could go on: nearly dependent rows have eigenvalues below the damping
            work.ease[0] = max(work.ease[0] / (t * t), 1e-16)
        elif t < 0.5:
            work.ease[0] = min(10.0 * work.ease[0], 1.0)
        for i in range(len(work.mu)):
            work.mu[i] += t * work.d[i]
        move = step_in_x(block, own, work, x, t) / size
    work.mu[:] += work.base
    return steps, size, most, move, li, lx


@numba.njit(cache=True, nogil=True)
def step_in_x(block, own, work, x, t):
    """How far the step t along `work.d` moves x; auxiliary variables are nobody's concern."""
    far = 0.0
    for j in range(len(x)):
        if not block.is_aux[j]:
            to = work.moved[j] - t * work.along[j] * work.inverse[j]
            far = worse(far, abs(min(max(to, own.lower[j]), own.upper[j]) - x[j]))
    return far


@numba.njit(cache=True, nogil=True)
def residual(block, own, work, x, scale):
    """Row violation, multiplier or slack, and gradient of auxiliary variables; NaN if any is.

    Rows are compared with x, which they constrain, and gradients with y as well.
    """
    size = 1.0
    for j in range(len(x)):
        size = worse(size, 1.0 + abs(x[j]))
    worst = 0.0
    for i in range(len(work.mu)):
        mu, above, below = work.mu[i], work.act[i] - own.high[i], own.low[i] - work.act[i]
        worst = worse(worst, above / size)
        worst = worse(worst, below / size)
        if mu != 0.0:
            off = abs(above if mu > 0 else below) / size
            worst = worse(worst, min(abs(mu) / scale, off) if off == off else off)
    for j in range(len(x)):
        if block.is_aux[j]:
            worst = worse(worst, aux_gradient(block, own, work, x[j], j, size) / scale)
    return worst


@numba.njit(cache=True, nogil=True)
def aux_gradient(block, own, work, x, j, size):
    """By how much the multipliers miss what an auxiliary variable asks of them: R_j . mu = 0.

    In units of multipliers: divided by the coefficients of the rows that may have one. A small
    coefficient hides nothing, and neither does a large one in a row that is not active.
    """
    start, row, value = block.columns
    total, norm, largest = 0.0, 0.0, 0.0
    for e in range(start[j], start[j + 1]):
        i = row[e]
        total += value[e] * work.mu[i]
        largest = max(largest, abs(value[e] * work.mu[i]))
        slack = min(own.high[i] - work.act[i], work.act[i] - own.low[i])
        if not slack > 1e-8 * size:
            norm += value[e] * value[e]
    at_end = (total > 0.0 and x <= own.lower[j]) or (total < 0.0 and x >= own.upper[j])
    if at_end or abs(total) <= 1e-15 * largest:
        return 0.0
    return abs(total) / np.sqrt(norm) if norm > 0.0 else abs(total)


@numba.njit(cache=True, nogil=True)
def begin(block, own, work):
    """Start at the point within its bounds: width, scale, distance, and what is to be done."""
    unit, scale, reach, aux, bounded = 0.0, 0.0, 0.0, False, True
    for j in range(len(own.y)):
        y = 0.0 if block.is_aux[j] else own.y[j]
        work.centre[j] = min(max(y, own.lower[j]), own.upper[j])
        work.anchor[j] = work.centre[j]
        scale = max(scale, abs(y))
        reach = max(reach, abs(y - work.centre[j]))
        width = own.upper[j] - own.lower[j]
        bounded &= np.isfinite(width)
        unit = max(unit, width if np.isfinite(width) else 0.0)
        aux |= block.is_aux[j]
    work.weight[:], work.ease[:] = -1.0, 1.0
    activity(block, work.centre, work.act)
    inside, soft, missed = not aux, aux, 0.0
    for i in range(len(own.low)):
        work.mu[i] = 0.0
        work.hold[i] = min(max(work.act[i], own.low[i]), own.high[i])
        inside &= work.hold[i] == work.act[i]
        missed = max(missed, abs(work.hold[i] - work.act[i]))
        soft |= own.low[i] < own.high[i]
    unit = unit if bounded else max(unit, reach, missed)
    unit = unit if unit > 0.0 else max(scale, 1e-300)
    # Along a ray the answer does not move any more: the gradient of the point, relative to its
    # size, changes by 1 / FARTHEST.
    end = min(1.0, FARTHEST * unit / reach) if reach > 0.0 else 1.0
    first, least, shrink = WITH_AUX if aux else PLAIN
    prox = (first if soft else least, least, shrink)
    return unit, scale + 1.0, reach, end, prox, inside


@numba.njit(cache=True, nogil=True)
def follow(block, own, work, x):
    """Move the centres of the added curvature."""
    for j in range(len(x)):
        if block.is_aux[j]:
            work.anchor[j] = x[j]
    for i in range(len(work.mu)):
        work.hold[i] = min(max(work.slack[i], own.low[i]), own.high[i])


@numba.njit(cache=True, nogil=True)
def solve(block, own, work, x, tol):
    """One projection, in stages; its residual."""
    unit, scale, reach, end, (prox, least, shrink), inside = begin(block, own, work)
    if inside:
        x[:] = work.centre
        return 0.0
    share = min(end, FIRST_STAGE * unit / reach) if reach > 0.0 else end
    steps, result, before, most = np.int64(0), np.inf, np.inf, 0.0  # no literal: it is a type
    li, lx = np.empty(0, dtype=np.int64), np.empty(0)
    for _ in range(MAX_STAGES):
        for j in range(len(x)):
            aux, step = block.is_aux[j], share * (own.y[j] - work.centre[j])
            work.inverse[j] = 1.0 / prox if aux else 1.0
            work.point[j] = work.anchor[j] if aux else work.centre[j] + step
        last = share == end and prox <= least
        loose = LOOSE * unit * (prox if share == end else 1.0)
        steps, size, most, move, li, lx = climb(
            block, own, work, x, prox, loose, last, scale, most, steps, li, lx
        )
        result = residual(block, own, work, x, size)
        if last and move > SHORT:
            result = worse(result, move)
        follow(block, own, work, x)
        if share == end and (result <= tol or (last and result > 0.5 * before and result <= 1e-9)):
            break
        if steps >= MAX_STEPS + SPARSE_STEPS * len(work.on) or not np.isfinite(result):
            break
        if last and result > 0.5 * before:
            # Rounding, divided by the curvature, is all that moves: more of it, more rounds.
            least, before = 10.0 * least, np.inf
            prox = least
        elif last:
            before = result
        if share < end:
            grown = min(end, share * GROWTH)
            for i in range(len(work.mu)):
                work.mu[i] *= grown / share
            share = grown
        else:
            prox = max(prox * shrink, least)
    return result


@numba.njit(cache=True, nogil=True)
def newton(start, stop, block, norms, y, row_low, row_high, lower, upper, x, quality, tol):
    """Project `y[start:stop]`, each `(size,)`; `quality` becomes the residual of each, or nan."""
    m, size, count = len(norms), y.shape[1], row_low.shape[1]
    work = make_work(block, m, size)
    low, high = np.empty(m), np.empty(m)
    for n in range(start, stop):
        i, c = n // count, n % count
        low[:] = row_low[i % len(row_low), c] / norms
        high[:] = row_high[i % len(row_high), c] / norms
        own = Instance(y[n], low, high, lower[i % len(lower), c], upper[i % len(upper), c])
        quality[n] = solve(block, own, work, x[n], tol) if np.isfinite(y[n]).all() else np.nan
