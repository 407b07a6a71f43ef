"""Compiled loops of the minimum-norm-point method; imported on first use (numba)."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def nearest_affine(gram, reach, k):
    """Weights of the nearest point of the affine hull: gram a - mu 1 = reach, sum(a) = 1.

    Empty where the vertices depend on each other up to rounding.
    """
    system, right = np.ones((k + 1, k + 1)), np.ones(k + 1)
    system[:k, :k], right[:k] = gram[:k, :k], reach[:k]
    system[k, k] = 0.0
    found = np.zeros(0)
    try:
        found = np.linalg.solve(system, right)[:k]
    except Exception:
        return found
    if not np.abs(found).max() < 1e12:
        return np.zeros(0)
    return found


@numba.njit(cache=True, nogil=True)
def leave(vertices, gram, reach, weights, k):
    """Drop the vertices of weight zero; how many are left."""
    left = 0
    for j in range(k):
        if weights[j] <= 1e-15:
            continue
        if left < j:
            vertices[left], weights[left], reach[left] = vertices[j], weights[j], reach[j]
            gram[left, :k] = gram[j, :k]
            gram[:k, left] = gram[:k, j]
        left += 1
    return left


@numba.njit(cache=True, nogil=True)
def nearest(vertices, gram, reach, weights, k):
    """Wolfe's minor cycles: move to the nearest point of the hull; how many vertices it needs."""
    while True:
        found = nearest_affine(gram, reach, k)
        if len(found) == 0:
            return leave(vertices, gram, reach, weights, k), True
        step, gone = 1.0, -1
        for j in range(k):
            if not found[j] > 0:
                fall = weights[j] - found[j]
                share = weights[j] / fall if fall > 0 else 0.0
                if gone < 0 or share < step:
                    step, gone = share, j
        if gone < 0:
            weights[:k] = found
            return k, False
        # Go towards it until a weight is zero, and leave that vertex out.
        for j in range(k):
            weights[j] += step * (found[j] - weights[j])
        weights[gone] = 0.0
        k = leave(vertices, gram, reach, weights, k)


@numba.njit(cache=True, nogil=True)
def insert(start, stop, rows, new, y, vertices, gram, reach, weights, count, x, state):
    """Add a vertex to each instance of `rows`, and move `x` to the nearest point of their hull.

    `gram` holds the products of the vertices, `reach` those with y; `state` becomes 1 where the
    vertex was there already or depends on the others up to rounding.
    """
    for r in range(start, stop):
        i, k = rows[r], count[rows[r]]
        own = np.dot(new[r], new[r])
        for j in range(k):
            gram[i, k, j] = gram[i, j, k] = np.dot(vertices[i, j], new[r])
            if gram[i, j, j] + own - 2 * gram[i, j, k] <= 1e-12 * (1 + own):
                state[i] = 1
        if state[i] == 1:
            continue
        gram[i, k, k], reach[i, k] = own, np.dot(new[r], y[i])
        vertices[i, k], weights[i, k] = new[r], 0.0
        k, dependent = nearest(vertices[i], gram[i], reach[i], weights[i], k + 1)
        state[i] = dependent
        count[i] = k
        x[i] = 0.0
        for j in range(k):
            for d in range(x.shape[1]):
                x[i, d] += weights[i, j] * vertices[i, j, d]
