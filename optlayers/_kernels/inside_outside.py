"""Compiled inside-outside on Eisner's chart.

Items are kept as mantissa times a power of two, the exponent a float64 of its own: sums over
split points are then sums of products, without an exponential, and no score is too large or too
small. Each chart is kept by left and by right ends, so that both factors of a sum are contiguous.
"""

import numpy as np
from numba import njit

_HUGE = 1e60
_EMPTY = -1e70  # the exponent of zero: less than that of any sum of scores
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LARGE = 2.0**900
_MAGIC = 1.5 * 2.0**52 + 1023  # adding it leaves an integer + 1023 in the lowest bits
_MANTISSA, _ONE = (1 << 52) - 1, 1023 << 52
# Lets sums use vector instructions; inf and NaN keep their meaning.
REASSOCIATE = {"reassoc", "nsz", "contract"}


@njit(cache=True, nogil=True)
def power(x):
    """Return 2^x for integers up to 1000; below the range of floats, too little to matter."""
    x = x if x > -1022.0 else -1022.0
    return np.int64(np.float64(x + _MAGIC).view(np.int64) << 52).view(np.float64)


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
            if m == 0 or h == m or (masked and not mask[h, m]) or x <= -_HUGE:
                continue
            if not x < _HUGE:
                fine = False
                continue
            e = np.rint(x * 1.4426950408889634)
            rest = (x - e * _LN2_HIGH) - e * _LN2_LOW
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
    return e * _LN2_HIGH + (e * _LN2_LOW + np.log(m))


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
