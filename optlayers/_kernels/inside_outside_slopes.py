"""Compiled second derivatives of `inside_outside`: each step, differentiated once more."""

import numpy as np
from numba import njit

from .exponential import power
from .inside_outside import inside, total, weights
from .lean import REASSOCIATE


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def slope(M, E, T, a, b, count, scale, top):
    """Return the derivative of the logarithm of such a sum from those of its factors."""
    total = 0.0
    for t in range(count):
        share = scale * (M[a + t] * M[b + t] * power(E[a + t] + E[b + t] - top))
        total += share * (T[a + t] + T[b + t])
    return total


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def spread_twice(M, E, T, G, H, a, b, count, scale, top, g, h, u):
    """Hand gradient g and its derivative h to the factors."""
    for t in range(count):
        share = scale * (M[a + t] * M[b + t] * power(E[a + t] + E[b + t] - top))
        change = share * (h + g * (T[a + t] + T[b + t] - u))
        share *= g
        G[a + t] += share
        G[b + t] += share
        H[a + t] += change
        H[b + t] += change


@njit(cache=True, nogil=True)
def inside_slopes(n, low, M, E, T, vector):
    """Write the derivatives of the logarithms of all items along `vector`."""
    S = n + 1
    Q = S * S
    for i in range(low, S):
        d = i * S + i
        T[d] = T[Q + d] = T[2 * Q + d] = T[3 * Q + d] = 0.0
    for width in range(1, S - low):
        for i in range(low, S - width):
            j = i + width
            ij, ji = i * S + j, j * S + i
            ii, jj = i * S + i, ji
            count = np.uint64(width)
            t = 0.0
            if M[6 * Q + ij] > 0.0:
                a, c = np.uint64(ii), np.uint64(3 * Q + jj + 1)
                t = slope(M, E, T, a, c, count, 1.0 / M[6 * Q + ij], E[6 * Q + ij])
            T[6 * Q + ij] = t
            # Where there is no arc there is no derivative, whatever the vector says.
            T[4 * Q + ij] = t + vector[i, j] if M[4 * Q + ij] > 0.0 else 0.0
            T[5 * Q + ji] = t + vector[j, i] if M[5 * Q + ji] > 0.0 else 0.0
            t = 0.0
            if M[ij] > 0.0:
                a, c = np.uint64(4 * Q + ii + 1), np.uint64(Q + jj + 1)
                t = slope(M, E, T, a, c, count, 1.0 / M[ij], E[ij])
            T[ij] = T[Q + ji] = t
            t = 0.0
            if M[2 * Q + ij] > 0.0:
                a, c = np.uint64(2 * Q + ii), np.uint64(5 * Q + jj)
                t = slope(M, E, T, a, c, count, 1.0 / M[2 * Q + ij], E[2 * Q + ij])
            T[2 * Q + ij] = T[3 * Q + ji] = t


@njit(cache=True, nogil=True, inline="always")
def root_slopes(S, Q, T, G, H, root, vector, out):
    """Write the derivatives of the marginals of arcs from the root, and hand them on."""
    u = 0.0
    for m in range(1, S):
        if root[m] > 0.0:
            u += root[m] * (vector[0, m] + T[2 * Q + S + m] + T[m * S + S - 1])
    for m in range(1, S):
        if root[m] > 0.0:
            change = root[m] * (vector[0, m] + T[2 * Q + S + m] + T[m * S + S - 1] - u)
            out[0, m] = change
            G[2 * Q + S + m] += root[m]
            G[m * S + S - 1] += root[m]
            H[2 * Q + S + m] += change
            H[m * S + S - 1] += change


@njit(cache=True, nogil=True)
def outside_slopes(n, low, M, E, T, G, H, root, vector, out):
    """Write the derivatives of all marginals along `vector`."""
    S = n + 1
    Q = S * S
    G[: 6 * Q] = 0.0
    H[: 6 * Q] = 0.0
    if low == 0:
        G[n] = 1.0
    else:
        root_slopes(S, Q, T, G, H, root, vector, out)
    for width in range(n - low, 0, -1):
        for i in range(low, S - width):
            j = i + width
            ij, ji = i * S + j, j * S + i
            ii, jj = i * S + i, ji
            count = np.uint64(width)
            g, h = G[ij] + G[Q + ji], H[ij] + H[Q + ji]
            if g > 0.0:
                a, c = np.uint64(4 * Q + ii + 1), np.uint64(Q + jj + 1)
                at = ij
                spread_twice(M, E, T, G, H, a, c, count, 1.0 / M[at], E[at], g, h, T[at])
            g, h = G[2 * Q + ij] + G[3 * Q + ji], H[2 * Q + ij] + H[3 * Q + ji]
            if g > 0.0:
                a, c = np.uint64(2 * Q + ii), np.uint64(5 * Q + jj)
                at = 2 * Q + ij
                spread_twice(M, E, T, G, H, a, c, count, 1.0 / M[at], E[at], g, h, T[at])
            out[i, j] = H[4 * Q + ij]
            out[j, i] = H[5 * Q + ji]
            g, h = G[4 * Q + ij] + G[5 * Q + ji], H[4 * Q + ij] + H[5 * Q + ji]
            if g > 0.0:
                a, c = np.uint64(ii), np.uint64(3 * Q + jj + 1)
                at = 6 * Q + ij
                spread_twice(M, E, T, G, H, a, c, count, 1.0 / M[at], E[at], g, h, T[at])


@njit(cache=True, nogil=True)
def hessian_product(start, stop, scores, lengths, allowed, masked, single, vector, out):
    """Write the product of the second derivatives of log Z with a vector."""
    S = scores.shape[1]
    M, E, T = np.empty(7 * S * S), np.empty(7 * S * S), np.empty(7 * S * S)
    G, H = np.empty(7 * S * S), np.empty(7 * S * S)
    wm, we, root = np.empty(S * S), np.empty(S * S), np.empty(S)
    low = 1 if single else 0
    for b in range(start, stop):
        n = lengths[b]
        out[b] = 0.0
        if n == 0 or not weights(b, n, scores, allowed, masked, wm, we):
            continue
        inside(n, low, M, E, wm, we)
        if total(n, low, M, E, wm, we, root)[0] > 0.0:
            inside_slopes(n, low, M, E, T, vector[b])
            outside_slopes(n, low, M, E, T, G, H, root, vector[b], out[b])
