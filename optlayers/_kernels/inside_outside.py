"""Compiled inside-outside on Eisner's chart.

Items are kept as mantissa times a power of two, the exponent a float64 of its own: sums over
split points are then sums of products, without an exponential, and no score is too large or too
small. Each chart is kept by left and by right ends, so that both factors of a sum are contiguous.
"""

import numpy as np
from numba import njit

from .exponential import LN2_HIGH, LN2_LOW, PER_LN2, power
from .lean import REASSOCIATE
from .scores import HUGE

_EMPTY = -1e70  # the exponent of zero: less than that of any sum of scores
_LARGE = 2.0**900
_MANTISSA, _ONE = (1 << 52) - 1, 1023 << 52


@njit(cache=True, nogil=True)
def split(x):
    """Return the mantissa in [1, 2) and exponent of x >= 0."""
    if x == 0.0:
        return 0.0, _EMPTY
    bits = np.float64(x).view(np.int64)
    exponent = np.float64((bits >> 52) - 1023)
    return np.int64((bits & _MANTISSA) | _ONE).view(np.float64), exponent


@njit(cache=True, nogil=True)
def weights(b, n, scores, allowed, masked, wm, we):
    """Write exp(scores) of the arcs, zero elsewhere; whether all are numbers."""
    fine = True
    mask = allowed[b % allowed.shape[0]]
    for h in range(n + 1):
        for m in range(n + 1):
            x = scores[b, h, m]
            at = h * (n + 1) + m
            wm[at], we[at] = 0.0, _EMPTY
            if m == 0 or h == m or (masked and not mask[h, m]) or x <= -HUGE:
                continue
            if not x < HUGE:
                fine = False
                continue
            e = np.rint(x * PER_LN2)
            rest = (x - e * LN2_HIGH) - e * LN2_LOW
            wm[at], we[at] = np.exp(min(max(rest, -1.0), 1.0)), e
    return fine


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def products(M, E, a, b, count):
    """Return the sum of the products of `count` items from a and b on, relative to 2^top.

    The first term sets the scale. Beyond `_LARGE`, another one was too large for that, and the
    caller asks again: this is fast only as long as it is small enough to be inlined.
    """
    top, total = E[a] + E[b], 0.0
    for t in range(count):
        x = E[a + t] + E[b + t] - top
        total += M[a + t] * M[b + t] * power(x if x < 1000.0 else 1000.0)
    return total, top


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def products_of_any_size(M, E, a, b, count):
    """Return what `products` does, relative to the largest term."""
    top = E[a] + E[b]
    for t in range(count):
        e = E[a + t] + E[b + t]
        top = e if e > top else top
    total = 0.0
    for t in range(count):
        total += M[a + t] * M[b + t] * power(E[a + t] + E[b + t] - top)
    return total, top


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def spread(M, E, G, a, b, count, scale, top):
    """Hand the gradient of such a sum to its factors."""
    for t in range(count):
        share = scale * (M[a + t] * M[b + t] * power(E[a + t] + E[b + t] - top))
        G[a + t] += share
        G[b + t] += share


# Six charts in one array, S = n + 1 positions: at i * S + j or, if mirrored, at j * S + i,
#   0 complete to the right of i    1 the same, mirrored
#   2 complete to the left of j     3 the same, mirrored
#   4 arc i -> j                    5 arc j -> i, mirrored
# A seventh keeps, at i * S + j, the sums that both kinds of arcs begin with.


@njit(cache=True, nogil=True)
def inside(n, low, M, E, wm, we):
    """Fill the charts from short spans to long ones."""
    S = n + 1
    Q = S * S
    for i in range(low, S):
        d = i * S + i
        M[d] = M[Q + d] = M[2 * Q + d] = M[3 * Q + d] = 1.0
        E[d] = E[Q + d] = E[2 * Q + d] = E[3 * Q + d] = 0.0
    for width in range(1, S - low):
        for i in range(low, S - width):
            j = i + width
            ij, ji = i * S + j, j * S + i
            ii, jj = i * S + i, ji
            count = np.uint64(width)
            a, c = np.uint64(ii), np.uint64(3 * Q + jj + 1)
            m, top = products(M, E, a, c, count)
            if m > _LARGE:
                m, top = products_of_any_size(M, E, a, c, count)
            m, e = split(m)
            e += top
            M[6 * Q + ij], E[6 * Q + ij] = m, e
            M[4 * Q + ij], E[4 * Q + ij] = m * wm[ij], max(e + we[ij], _EMPTY)
            M[5 * Q + ji], E[5 * Q + ji] = m * wm[ji], max(e + we[ji], _EMPTY)
            a, c = np.uint64(4 * Q + ii + 1), np.uint64(Q + jj + 1)
            m, top = products(M, E, a, c, count)
            if m > _LARGE:
                m, top = products_of_any_size(M, E, a, c, count)
            m, e = split(m)
            e = max(e + top, _EMPTY)
            M[ij], E[ij] = m, e
            M[Q + ji], E[Q + ji] = m, e
            a, c = np.uint64(2 * Q + ii), np.uint64(5 * Q + jj)
            m, top = products(M, E, a, c, count)
            if m > _LARGE:
                m, top = products_of_any_size(M, E, a, c, count)
            m, e = split(m)
            e = max(e + top, _EMPTY)
            M[2 * Q + ij], E[2 * Q + ij] = m, e
            M[3 * Q + ji], E[3 * Q + ji] = m, e


@njit(cache=True, nogil=True)
def total(n, low, M, E, wm, we, root):
    """Return mantissa and exponent of Z; the terms of its sum over the word under the root."""
    S = n + 1
    Q = S * S
    if low == 0:
        return M[n], E[n]
    top = 3 * _EMPTY
    for m in range(1, S):
        top = max(top, we[m] + E[2 * Q + S + m] + E[m * S + n])
    z = 0.0
    for m in range(1, S):
        x = max(we[m] + E[2 * Q + S + m] + E[m * S + n] - top, -1022.0)
        root[m] = wm[m] * M[2 * Q + S + m] * M[m * S + n] * power(x)
        z += root[m]
    for m in range(1, S):
        root[m] /= max(z, 1e-300)
    return z, top


@njit(cache=True, nogil=True)
def logarithm(m, e):
    """Return log(m 2^e)."""
    return e * LN2_HIGH + (e * LN2_LOW + np.log(m))


@njit(cache=True, nogil=True)
def values(start, stop, scores, lengths, allowed, masked, single, log_z):
    """Write log Z of every sentence."""
    S = scores.shape[1]
    M, E = np.empty(7 * S * S), np.empty(7 * S * S)
    wm, we, root = np.empty(S * S), np.empty(S * S), np.empty(S)
    low = 1 if single else 0
    for b in range(start, stop):
        n = lengths[b]
        if n == 0:
            log_z[b] = 0.0
        elif not weights(b, n, scores, allowed, masked, wm, we):
            log_z[b] = np.nan
        else:
            inside(n, low, M, E, wm, we)
            m, e = total(n, low, M, E, wm, we, root)
            log_z[b] = logarithm(m, e) if m > 0.0 else -np.inf


@njit(cache=True, nogil=True)
def outside(n, low, M, E, G, root, mu):
    """Hand the gradient of log Z from long spans to short ones, and write that of the arcs."""
    S = n + 1
    Q = S * S
    G[: 6 * Q] = 0.0
    if low == 0:
        G[n] = 1.0
    else:
        for m in range(1, S):
            mu[0, m] = root[m]
            G[2 * Q + S + m] += root[m]
            G[m * S + n] += root[m]
    for width in range(n - low, 0, -1):
        for i in range(low, S - width):
            j = i + width
            ij, ji = i * S + j, j * S + i
            ii, jj = i * S + i, ji
            count = np.uint64(width)
            g = G[ij] + G[Q + ji]
            if g > 0.0:
                a, c = np.uint64(4 * Q + ii + 1), np.uint64(Q + jj + 1)
                spread(M, E, G, a, c, count, g / M[ij], E[ij])
            g = G[2 * Q + ij] + G[3 * Q + ji]
            if g > 0.0:
                a, c = np.uint64(2 * Q + ii), np.uint64(5 * Q + jj)
                spread(M, E, G, a, c, count, g / M[2 * Q + ij], E[2 * Q + ij])
            mu[i, j] = G[4 * Q + ij]
            mu[j, i] = G[5 * Q + ji]
            g = G[4 * Q + ij] + G[5 * Q + ji]
            if g > 0.0:
                a, c = np.uint64(ii), np.uint64(3 * Q + jj + 1)
                spread(M, E, G, a, c, count, g / M[6 * Q + ij], E[6 * Q + ij])


@njit(cache=True, nogil=True)
def marginals(start, stop, scores, lengths, allowed, masked, single, mu):
    """Write the probability of every arc."""
    S = scores.shape[1]
    M, E, G = np.empty(7 * S * S), np.empty(7 * S * S), np.empty(7 * S * S)
    wm, we, root = np.empty(S * S), np.empty(S * S), np.empty(S)
    low = 1 if single else 0
    for b in range(start, stop):
        n = lengths[b]
        mu[b] = 0.0
        fine = weights(b, n, scores, allowed, masked, wm, we)
        if fine and n > 0:
            inside(n, low, M, E, wm, we)
            fine = total(n, low, M, E, wm, we, root)[0] > 0.0
            if fine:
                outside(n, low, M, E, G, root, mu[b])
        if not fine:
            mu[b] = np.nan
