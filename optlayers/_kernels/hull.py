"""Compiled loops of the minimum-norm-point method, whatever the structures are.

An instance keeps a few structures as differences u from its first one, so that neither the place
of the hull nor a constant in y costs digits: their products (reach) with the point to project, and
the Cholesky factor L of M = U U^T + sigma 1 1^T with L^-1 reach and L^-1 1. M has full rank exactly
if the structures are affinely independent, which the last pivot says before anything is divided by
it, so that no solve can fail. The differences themselves are in `hull_sparse` and `hull_trees`:
`slot` says where each has its own, so that nothing is moved when one leaves.
"""

from typing import NamedTuple

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


class Face(NamedTuple):
    """The structures of an instance, by their numbers; room for more of them."""

    factor: np.ndarray
    solved: np.ndarray
    weights: np.ndarray
    slot: np.ndarray


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def face_of(i, sets):
    """Return the structures of instance i."""
    return Face(sets.factor[i], sets.solved[i], sets.weights[i], sets.slot[i])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def back_substitution(factor, right, k):
    """Solve L^T x = right in place, row by row of L."""
    for j in range(k - 1, -1, -1):
        right[j] /= factor[j, j]
        for c in range(j):
            right[c] -= factor[j, c] * right[j]


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def next_row(factor, row, k):
    """Solve L x = row in place: the row that a structure adds to the factor."""
    for j in range(k):
        total = 0.0
        for c in range(j):
            total += factor[j, c] * row[c]
        row[j] = (row[j] - total) / factor[j, j]


@numba.njit(cache=True, nogil=True, error_model="numpy")
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def remove(gone, face, k):
    """Take a structure out; rotations make the factor triangular again, O(k^2)."""
    factor, solved, weights, slot = face
    free = slot[gone]
    for r in range(gone, k - 1):
        weights[r], slot[r] = weights[r + 1], slot[r + 1]
        for c in range(r + 2):
            factor[r, c] = factor[r + 1, c]
    slot[k - 1] = free
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def leave(face, k):
    """Take out the structures of weight zero; return how many are left."""
    for j in range(k - 1, -1, -1):
        if face.weights[j] <= _ZERO:
            remove(j, face, k)
            k -= 1
    return k


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def first_to_go(weights, found, k):
    """Return how far one can go to the weights found, and which is zero first (-1: none)."""
    step, gone = 1.0, -1
    for j in range(k):
        if not found[j] > _ZERO:
            fall = weights[j] - found[j]
            share = weights[j] / fall if fall > 0 else 0.0
            if gone < 0 or share < step:
                step, gone = share, j
    return step, gone


@numba.njit(cache=True, nogil=True, error_model="numpy")
def nearest(face, k):
    """Move to the nearest point of the hull by Wolfe's minor cycles.

    Returns how many structures it needs, and whether the newest (of weight zero) brought it
    nothing, which happens by rounding alone.
    """
    weights = face.weights
    while True:
        found = nearest_affine(face.factor, face.solved, k)
        step, gone = first_to_go(weights, found, k)
        if gone < 0:
            weights[:k] = found
            return k, False
        if step == 0:  # of the newest: all others have weight
            remove(gone, face, k)
            return k - 1, True
        # Go towards it until a weight is zero, and leave that structure out.
        for j in range(k):
            weights[j] += step * (found[j] - weights[j])
        weights[gone] = 0.0
        k = leave(face, k)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def begin(size, face):
    """Make room for the origin, with the product of the first other structure: of its size."""
    face.factor[0, 0] = np.sqrt(size)
    face.solved[0, 0], face.solved[0, 1] = 0.0, 1.0 / face.factor[0, 0]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def append(row, own, reach, least, face, k, sigma):
    """Add a structure as number k, if its pivot is not the `least`; whether it was.

    `row` are its products with the others plus sigma, `own` is that with itself, `reach` that with
    the target.
    """
    factor, solved, weights, _ = face
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
    weights[k] = 0.0
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def polish(change, face, k):
    """Refine the weights once by the products with what is left; how many structures stay."""
    factor, solved, weights, _ = face
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
    return leave(face, k)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def look(new, target, x, away):
    """Return the gap of a decoded difference, and the size of the rounding it may have."""
    gap, scale = 0.0, 0.0
    for d in range(len(new)):
        step = new[d] - x[d]
        gap += away[d] * step
        scale += (abs(target[d]) + abs(x[d])) * abs(step) + abs(away[d]) * (abs(new[d]) + abs(x[d]))
    return gap, scale


@numba.njit(cache=True, nogil=True, error_model="numpy")
def judge(i, new, sets):
    """Set the gap of instance i by a decoded difference, and its state; what its pivot must be."""
    sets.gap[i], scale = look(new, sets.target[i], sets.x[i], sets.away[i])
    if not np.isfinite(scale):
        sets.state[i] = NO_STRUCTURE
    elif sets.gap[i] < -_NOT_BEST * scale:
        sets.state[i] = NOT_BEST
    elif sets.gap[i] <= _ROUNDING * scale:
        sets.state[i] = DONE
    return _DISTINCT if sets.gap[i] > _CLEAR * scale else _DEPENDENT


@numba.njit(cache=True, nogil=True, error_model="numpy")
def stalled(i, sets):
    """Note that a structure brought nothing; whether what remains is taken for rounding."""
    sets.stalls[i] += 1
    if sets.stalls[i] > _POLISHES:
        sets.state[i] = DONE
    return sets.stalls[i] > _POLISHES


@numba.njit(cache=True, nogil=True, error_model="numpy")
def solve_reach(reach, face, k):
    """Move to the nearest point for other products with the target; how many structures stay."""
    next_row(face.factor, reach, k)
    for j in range(k):
        face.solved[j, 0] = reach[j]
    return nearest(face, k)[0]
