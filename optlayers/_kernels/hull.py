"""Compiled loops of the minimum-norm-point method; imported on first use (numba).

An instance keeps a few structures as differences u from its first one, so that neither the place
of the hull nor a constant in y costs digits: their nonzeros, their products (reach) with the point
to project, and the Cholesky factor L of M = U U^T + sigma 1 1^T with L^-1 reach and L^-1 1. M has
full rank exactly if the structures are affinely independent, which the last pivot says before
anything is divided by it, so that no solve can fail.
"""

import numba
import numpy as np

OPEN, DONE, NO_STRUCTURE, NOT_BEST = 0, 1, 2, 3
_ROUNDING = 2e-15  # of a gap, relative to the sizes it is a difference of
_NOT_BEST = 1e-9  # of a gap that is negative: far from rounding
_CLEAR = 1e-10  # of a gap: the structure lies outside of what there is, however near
_DEPENDENT = 1e-12  # smallest pivot, relative to its diagonal entry,
_DISTINCT = 1e-14  # and where the gap is clear
_ZERO = 1e-15  # weight of a structure that leaves
_POLISHES = 3  # of the weights of an instance, before rounding is accepted


@numba.njit(cache=True, nogil=True)
def back_substitution(factor, right, k):
    """Solve L^T x = right in place, row by row of L."""
    for j in range(k - 1, -1, -1):
        right[j] /= factor[j, j]
        for c in range(j):
            right[c] -= factor[j, c] * right[j]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def next_row(factor, row, k):
    """Solve L x = row in place: the row that a structure adds to the factor."""
    for j in range(k):
        total = 0.0
        for c in range(j):
            total += factor[j, c] * row[c]
        row[j] = (row[j] - total) / factor[j, j]


@numba.njit(cache=True, nogil=True)
def nearest_affine(factor, solved, k):
    """Solve for the nearest point of the affine hull: U U^T a - mu 1 = reach, sum(a) = 1.

    With sum(a) = 1, U U^T a = M a - sigma 1, so that a = M^-1 (reach + c 1) for the c that makes
    the sum 1. L^-1 of both is in `solved`, so one half of the substitution is left.
    """
    ones, both, a = 0.0, 0.0, np.empty(k)
    for j in range(k):
        both += solved[j, 0] * solved[j, 1]
        ones += solved[j, 1] * solved[j, 1]
    c = (1.0 - both) / ones
    for j in range(k):
        a[j] = solved[j, 0] + c * solved[j, 1]
    back_substitution(factor, a, k)
    return a


@numba.njit(cache=True, nogil=True)
def remove(gone, factor, solved, index, value, width, weights, k):
    """Take a structure out; rotations make the factor triangular again, O(k^2)."""
    for r in range(gone, k - 1):
        weights[r], width[r] = weights[r + 1], width[r + 1]
        for c in range(width[r]):
            index[r, c], value[r, c] = index[r + 1, c], value[r + 1, c]
        for c in range(r + 2):
            factor[r, c] = factor[r + 1, c]
    for r in range(gone, k - 1):
        # Entry (r, r + 1) of the rows moved up is nonzero; turn it into the column before.
        size = np.hypot(factor[r, r], factor[r, r + 1])
        cos, sin = factor[r, r] / size, factor[r, r + 1] / size
        for below in range(r, k - 1):
            left, right = factor[below, r], factor[below, r + 1]
            factor[below, r] = cos * left + sin * right
            factor[below, r + 1] = cos * right - sin * left
        for side in range(2):
            left, right = solved[r, side], solved[r + 1, side]
            solved[r, side] = cos * left + sin * right
            solved[r + 1, side] = cos * right - sin * left


@numba.njit(cache=True, nogil=True)
def leave(factor, solved, index, value, width, weights, k):
    """Take out the structures of weight zero; return how many are left."""
    for j in range(k - 1, -1, -1):
        if weights[j] <= _ZERO:
            remove(j, factor, solved, index, value, width, weights, k)
            k -= 1
    return k


@numba.njit(cache=True, nogil=True)
def nearest(factor, solved, index, value, width, weights, k):
    """Move to the nearest point of the hull by Wolfe's minor cycles.

    Returns how many structures it needs, and whether the newest (of weight zero) brought it
    nothing, which happens by rounding alone.
    """
    while True:
        found = nearest_affine(factor, solved, k)
        step, gone = 1.0, -1
        for j in range(k):
            if not found[j] > _ZERO:
                fall = weights[j] - found[j]
                share = weights[j] / fall if fall > 0 else 0.0
                if gone < 0 or share < step:
                    step, gone = share, j
        if gone < 0:
            weights[:k] = found
            return k, False
        if step == 0:  # of the newest: all others have weight
            remove(gone, factor, solved, index, value, width, weights, k)
            return k - 1, True
        # Go towards it until a weight is zero, and leave that structure out.
        for j in range(k):
            weights[j] += step * (found[j] - weights[j])
        weights[gone] = 0.0
        k = leave(factor, solved, index, value, width, weights, k)


@numba.njit(cache=True, nogil=True)
def append(new, target, factor, solved, index, value, width, k, sigma, least):
    """Add the difference `new` as number k, if its pivot is not the `least`; whether it was."""
    own, reach, row = 0.0, 0.0, np.empty(k)
    for d in range(len(new)):
        own += new[d] * new[d]
        reach += new[d] * target[d]
    for j in range(k):
        total = sigma
        for c in range(width[j]):
            total += value[j, c] * new[index[j, c]]
        row[j] = total
    next_row(factor, row, k)
    pivot, one = own + sigma, 1.0
    for j in range(k):
        pivot -= row[j] * row[j]
        reach -= row[j] * solved[j, 0]
        one -= row[j] * solved[j, 1]
    if not pivot > least * (own + sigma):
        return False
    for j in range(k):
        factor[k, j] = row[j]
    factor[k, k] = np.sqrt(pivot)
    solved[k, 0], solved[k, 1] = reach / factor[k, k], one / factor[k, k]
    width[k] = 0
    for d in range(len(new)):
        if new[d] != 0:
            index[k, width[k]], value[k, width[k]] = d, new[d]
            width[k] += 1
    return True


@numba.njit(cache=True, nogil=True)
def polish(away, factor, solved, index, value, width, weights, k):
    """Refine the weights once by what is left to the target; return how many structures stay."""
    change = np.empty(k)
    for j in range(k):
        change[j] = 0.0
        for c in range(width[j]):
            change[j] += value[j, c] * away[index[j, c]]
    next_row(factor, change, k)
    ones, both = 0.0, 0.0
    for j in range(k):
        both += change[j] * solved[j, 1]
        ones += solved[j, 1] * solved[j, 1]
        solved[j, 0] += change[j]
    for j in range(k):
        change[j] -= both / ones * solved[j, 1]
    back_substitution(factor, change, k)
    step, gone = 1.0, -1
    for j in range(k):
        if weights[j] + step * change[j] <= _ZERO:
            step, gone = -weights[j] / change[j], j
    for j in range(k):
        weights[j] += step * change[j]
    if gone >= 0:
        weights[gone] = 0.0
    return leave(factor, solved, index, value, width, weights, k)


@numba.njit(cache=True, nogil=True)
def place(target, x, away, index, value, width, weights, k):
    """Compute the point of the weights, and what is left to the target."""
    x[:] = 0.0
    for j in range(k):
        for c in range(width[j]):
            x[index[j, c]] += weights[j] * value[j, c]
    for d in range(len(x)):
        away[d] = target[d] - x[d]


@numba.njit(cache=True, nogil=True)
def look(new, target, x, away):
    """Return the gap of a decoded difference, and the size of the rounding it may have."""
    gap, scale = 0.0, 0.0
    for d in range(len(new)):
        step = new[d] - x[d]
        gap += away[d] * step
        scale += (abs(target[d]) + abs(x[d])) * abs(step) + abs(away[d]) * (abs(new[d]) + abs(x[d]))
    return gap, scale


@numba.njit(cache=True, nogil=True)
def advance(start, stop, rows, decoded, sets, last):
    """Go one round for each instance of `rows`: judge the structure it decoded, and take it in.

    `sets` is an `Arrays`. The last round only judges, so that the gap is that of the
    point.
    """
    for r in range(start, stop):
        i = rows[r]
        k, new = sets.number[i], decoded[r] - sets.origin[i]
        target, x, away, weights = sets.target[i], sets.x[i], sets.away[i], sets.weights[i]
        sets.gap[i], scale = look(new, target, x, away)
        if not np.isfinite(scale):
            sets.state[i] = NO_STRUCTURE
        elif sets.gap[i] < -_NOT_BEST * scale:
            sets.state[i] = NOT_BEST
        elif sets.gap[i] <= _ROUNDING * scale:
            sets.state[i] = DONE
        if last or sets.state[i] != OPEN:
            continue
        own = (sets.factor[i], sets.solved[i], sets.where[i], sets.value[i], sets.width[i])
        if sets.sigma[i] == 0:
            sets.sigma[i] = np.dot(new, new)  # of the size of the other products
            sets.factor[i, 0, 0] = np.sqrt(sets.sigma[i])
            sets.solved[i, 0, 1] = 1.0 / sets.factor[i, 0, 0]
        least = _DISTINCT if sets.gap[i] > _CLEAR * scale else _DEPENDENT
        stuck = not append(new, target, *own, k, sets.sigma[i], least)
        if not stuck:
            weights[k] = 0.0
            sets.number[i], stuck = nearest(*own, weights, k + 1)
        if stuck:  # what remains is rounding, of the weights at first
            sets.stalls[i] += 1
            if sets.stalls[i] > _POLISHES:
                sets.state[i] = DONE
                continue
            sets.number[i] = polish(away, *own, weights, k)
        place(target, x, away, *own[2:], weights, sets.number[i])


@numba.njit(cache=True, nogil=True)
def retarget(start, stop, rows, sets):
    """Move to the nearest point of the structures at hand, after the targets have changed."""
    for r in range(start, stop):
        i = rows[r]
        factor, solved, target = sets.factor[i], sets.solved[i], sets.target[i]
        own = (factor, solved, sets.where[i], sets.value[i], sets.width[i])
        if sets.sigma[i] > 0:  # else the origin alone, whose products are zero
            for j in range(sets.number[i]):
                reach = 0.0
                for c in range(sets.width[i, j]):
                    reach += sets.value[i, j, c] * target[sets.where[i, j, c]]
                for c in range(j):
                    reach -= factor[j, c] * solved[c, 0]
                solved[j, 0] = reach / factor[j, j]
            sets.number[i], _ = nearest(*own, sets.weights[i], sets.number[i])
        place(target, sets.x[i], sets.away[i], *own[2:], sets.weights[i], sets.number[i])
