"""Compiled semismooth Newton method for blocks with several rows; see `_projections/newton/`.

One instance at a time, all its arrays in the cache of a core; instances are spread over threads.
The method is here; its arrays, its step, its line search and its residual are in the files
`newton_*.py`. Functions stand at the top level so that the disk cache finds them.
"""

import numpy as np

from .lean import called, exact, exact_inlined
from .newton_arrays import (
    BlockArrays as BlockArrays,
)
from .newton_arrays import Instance, activity, make_work, pull_back, worse
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
    SHORT,
    SPARSE_STEPS,
    WITH_AUX,
)
from .newton_residual import residual
from .newton_search import search, step_in_x
from .newton_step import direction
from .parts import kernel, part


@exact
def evaluate(block, own, work, x, stiff):
    """Set x and the gradient of the dual at mu; return its largest entry, active rows, max |x|."""
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


@exact
def take_up(work):
    """Let the point and the slacks have the multipliers, so that only small ones are left.

    What a large multiplier rounds is fixed from here on, as if y had been rounded; the rows are
    then met to the rounding of x and not of y.
    """
    for j in range(len(work.point)):
        work.point[j] = work.moved[j]
    for i in range(len(work.mu)):
        work.hold[i] = work.slack[i]
        work.base[i] += work.mu[i]
        work.mu[i] = 0.0


@exact_inlined
def most_steps(large):
    """Return after how many steps an instance is given up; `large`: rows of a sparse factor."""
    return MAX_STEPS + SPARSE_STEPS * large


@exact_inlined
def idle(large, last, largest, move, tries, size, extent):
    """Tell whether more steps would bring nothing but rounding.

    Rows that are nearly dependent hide a long way behind a small gradient: the last stage ends when
    the steps are short as well; shorter than has to be, if a few more steps do it: each takes some
    digits. The goal of another stage may be below rounding.
    """
    if tries < 3:
        return False
    if not last:
        return move * size <= IDLE * extent
    near = largest <= 1e-11 * size and (move <= 1e-2 * SHORT or (move <= SHORT and tries >= 8))
    return near or tries >= 40 + large


@part
def climb(block, own, work, x, prox, loose, last, scale, most, steps, li, lx):
    """Take Newton's steps of one stage, until the gradient is below `loose`, or rounding.

    `move` is the length of the last step, relative to the size of x, and zero where the gradient is
    nothing but rounding.
    """
    stiff, best, tries, taken, move = 1.0 / prox, np.inf, 0, False, np.inf
    work.base[:] = 0.0
    while True:
        largest, k, size = evaluate(block, own, work, x, stiff)
        goal, extent = max(2e-16 * (1.0 + size), 0.0 if last else loose), 1.0 + size
        size = max(scale, extent)
        tries = 0 if largest < 0.5 * best else tries + 1
        best = min(best, largest)
        if largest <= goal:
            move = 0.0
            break
        if steps >= most_steps(len(work.on)) or not np.isfinite(largest):
            break
        if last and not taken and tries >= 2 and largest <= 1e-6 * size:
            take_up(work)
            taken, best, tries = True, np.inf, 0
            continue
        if idle(len(work.on), last, largest, move, tries, size, extent):
            break
        steps += 1
        most = max(most, largest)
        damping = DAMPING * largest / most * work.ease[0]
        li, lx = direction(block, work, k, damping, stiff, li, lx)
        t = search(block, own, work, x, size, stiff)
        for i in range(len(work.mu)):
            work.mu[i] += t * work.d[i]
        move = step_in_x(block, own, work, x, t) / size
    for i in range(len(work.mu)):
        work.mu[i] += work.base[i]
    return steps, size, most, move, li, lx


# ---------------------------------------------------------------------- stages


@exact
def begin(block, own, work):
    """Start at the point within its bounds; return width, scale, distance, what is to do."""
    unit, scale, reach, aux, bounded = 0.0, 0.0, 0.0, False, True
    for j in range(len(own.y)):
        y = 0.0 if block.is_aux[j] else own.y[j]
        work.centre[j] = min(max(y, own.lower[j]), own.upper[j])
        work.anchor[j] = work.centre[j]
        scale = max(scale, abs(own.y[j]))
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


@exact
def follow(block, own, work, x):
    """Move the centres of the added curvature."""
    for j in range(len(x)):
        if block.is_aux[j]:
            work.anchor[j] = x[j]
    for i in range(len(work.mu)):
        work.hold[i] = min(max(work.slack[i], own.low[i]), own.high[i])


@exact_inlined
def aim(block, own, work, share, prox):
    """Set the point of a stage, that far on the way to y, and the curvature of variables.

    An auxiliary variable has no point: its entry of y is what a unit of it is worth.
    """
    for j in range(len(own.y)):
        if block.is_aux[j]:
            work.inverse[j] = 1.0 / prox
            work.point[j] = work.anchor[j] + share * own.y[j] * work.inverse[j]
        else:
            work.inverse[j] = 1.0
            work.point[j] = work.centre[j] + share * (own.y[j] - work.centre[j])


@exact_inlined
def go_farther(work, share, end):
    """Return the share of the way of the next stage, and let the multipliers grow with it."""
    grown = min(end, share * GROWTH)
    for i in range(len(work.mu)):
        work.mu[i] *= grown / share
    return grown


@part
def solve(block, own, work, x, tol):
    """Project one point, in stages; return its residual."""
    unit, scale, reach, end, (prox, least, shrink), inside = begin(block, own, work)
    if inside:
        for j in range(len(x)):
            x[j] = work.centre[j]
        return 0.0
    share = min(end, FIRST_STAGE * unit / reach) if reach > 0.0 else end
    steps, result, before, most = np.int64(0), np.inf, np.inf, 0.0  # no literal: it is a type
    li, lx = np.empty(0, dtype=np.int64), np.empty(0)
    for _ in range(MAX_STAGES):
        aim(block, own, work, share, prox)
        last = share == end and prox <= least
        loose = LOOSE * unit * (prox if share == end else 1.0)
        steps, size, most, move, li, lx = climb(
            block, own, work, x, prox, loose, last, scale, most, steps, li, lx
        )
        result = residual(block, own, work, x, size, share)
        if last and move > SHORT:
            result = worse(result, move)
        follow(block, own, work, x)
        stuck = last and result > 0.5 * before
        if share == end and (result <= tol or (stuck and result <= 1e-9)):
            break
        if steps >= most_steps(len(work.on)) or not np.isfinite(result):
            break
        if stuck:
            # Rounding, divided by the curvature, is all that moves: more of it, more rounds.
            least, before = 10.0 * least, np.inf
            prox = least
        elif last:
            before = result
        if share < end:
            share = go_farther(work, share, end)
        else:
            prox = max(prox * shrink, least)
    return result


@called
def are_finite(y):
    """Return whether all entries are finite."""
    finite = True
    for j in range(len(y)):
        finite &= np.isfinite(y[j])
    return finite


@kernel
def newton(start, stop, block, norms, y, row_low, row_high, lower, upper, x, quality, tol):
    """Project `y[start:stop]`, each `(size,)`; `quality` becomes the residual of each, or nan."""
    m, size, count = len(norms), y.shape[1], row_low.shape[1]
    work = make_work(block, m, size)
    low, high = np.empty(m), np.empty(m)
    for n in range(start, stop):
        i, c = n // count, n % count
        for k in range(m):
            low[k] = row_low[i % len(row_low), c, k] / norms[k]
            high[k] = row_high[i % len(row_high), c, k] / norms[k]
        own = Instance(y[n], low, high, lower[i % len(lower), c], upper[i % len(upper), c])
        quality[n] = solve(block, own, work, x[n], tol) if are_finite(y[n]) else np.nan
