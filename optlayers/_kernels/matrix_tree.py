"""Compiled sums over all trees: elimination of one word after the other, without subtraction.

As Grassmann, Taksar and Heyman (1985) do for Markov chains, here for weights w(h, m) with one
root: word k hands its place to its heads, in the proportions p(h) = w(h, k) / d(k), where d(k) is
the sum of w(., k) over what is left. Only positive numbers are added, so nothing is lost to
cancellation, however badly conditioned the Laplacian is. With a single root, the root counts in
d(k) for the last word only: what is dropped are the trees with more words under the root.
"""

import numpy as np
from numba import njit

_HUGE = 1e60
# Less than this, and what underflowed on the way might matter: at most n^3 terms below 1e-308
# were lost, each with a factor of at most n; e^-600 = 1e-261 leaves room for 16 digits beside.
_LEAST = -600.0
# Lets sums use vector instructions; inf and NaN keep their meaning.
REASSOCIATE = {"reassoc", "nsz", "contract"}


@njit(cache=True, nogil=True, inline="always")
def take_scores(b, m, n, first, scores, mask, masked, W):
    """Write the scores of the arcs into word m; the largest, from head `first` on, or NaN."""
    top, fine = -np.inf, True
    for h in range(n + 1):
        x = scores[b, h, m]
        if h == m or (masked and not mask[h, m]) or x <= -_HUGE:
            x = -np.inf
        fine &= x < _HUGE
        W[h, m] = x
        if h >= first and x > top:
            top = x
    return top if fine else np.nan


@njit(cache=True, nogil=True, inline="always")
def normalise(m, n, first, top, W):
    """Make the scores of word m weights with the sum 1; the logarithm of what they had."""
    total = 0.0
    for h in range(first, n + 1):
        W[h, m] = np.exp(W[h, m] - top)
        total += W[h, m]
    for h in range(first, n + 1):
        W[h, m] /= total
    return top + np.log(total)


@njit(cache=True, nogil=True, inline="always")
def normalise_root(n, orphan, W):
    """Make the scores of the arcs of the root weights up to 1; the logarithm of what they had.

    A word that no other can be the head of is the only one that may hang on the root.
    """
    top = -np.inf
    for m in range(1, n + 1):
        if orphan == m:
            for h in range(1, n + 1):
                W[h, m] = 0.0
        elif orphan > 0:
            W[0, m] = -np.inf
        top = max(top, W[0, m])
    if top > -np.inf:
        for m in range(1, n + 1):
            W[0, m] = np.exp(W[0, m] - top)
    return top


@njit(cache=True, nogil=True)
def weights(b, n, scores, allowed, masked, single, W):
    """Write the weights of all arcs, scaled to sums of one per word; the logarithm of the scale.

    With a single root the arcs of the root are scaled apart: they are not in d(k). NaN if a score
    is none, and -inf if a word has no head.
    """
    mask = allowed[b % allowed.shape[0]]
    first = 1 if single else 0
    scale, orphan = 0.0, 0
    W[: n + 1, 0] = 0.0
    for m in range(1, n + 1):
        top = take_scores(b, m, n, first, scores, mask, masked, W)
        if np.isnan(top):
            return np.nan
        if top == -np.inf:  # no word can be its head: it hangs on the root, or there is no tree
            if orphan > 0 or not single:
                scale = -np.inf
            orphan = m
            continue
        top = normalise(m, n, first, top, W)
        scale += top
        if single:
            W[0, m] -= top
    if single and scale > -np.inf:
        scale += normalise_root(n, orphan, W)
    return scale


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def eliminate(n, single, W, P, D):
    """Reduce W in place to one word after the other; 0, or the word that was left alone.

    Afterwards row k of W and of P hold the arcs of word k at its turn, D its sum.
    """
    for k in range(n, 0, -1):
        first = 1 if single and k > 1 else 0
        d = 0.0
        for h in range(k):
            P[k, h] = W[h, k]
        for h in range(first, k):
            d += P[k, h]
        if not d > 0.0:
            return k
        D[k] = d
        row = W[k]
        for h in range(k):
            p = P[k, h] / d
            P[k, h] = p
            target = W[h]
            for m in range(1, k):
                target[m] += p * row[m]
    return 0


@njit(cache=True, nogil=True)
def reduce(n, single, W0, order, W, P, D):
    """Eliminate all words; the logarithm of the sum of all trees, -inf where it is too small.

    A word that reaches no other word by its heads has to be the last one.
    """
    for k in range(n + 1):
        order[k] = k
    for attempt in range(2):
        for h in range(n + 1):
            for m in range(n + 1):
                W[h, m] = W0[order[h], order[m]]
        alone = eliminate(n, single, W, P, D)
        if alone == 0:
            break
        if attempt == 1 or alone == 1:
            return -np.inf
        order[1], order[alone] = order[alone], order[1]
    total = 0.0
    for k in range(1, n + 1):
        total += np.log(D[k])
    return total if _LEAST < total < np.inf else -np.inf


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def derivatives(n, single, W, P, D, A):
    """Write A(h, m), the derivative of log Z by the weight of every arc, backwards through it all.

    A(k, m) = sum_h p(h) A(h, m) and, with S = sum_m w(k, m) A(k, m),
    A(h, k) = ([h counts in d(k)] (1 - S) + sum_m w(k, m) A(h, m)) / d(k).
    """
    for k in range(n + 1):
        A[k, k] = 0.0
    for k in range(1, n + 1):
        row, source = A[k], W[k]
        for m in range(1, k):
            row[m] = 0.0
        for h in range(k):
            p, other = P[k, h], A[h]
            for m in range(1, k):
                row[m] += p * other[m]
        spent = 0.0
        for m in range(1, k):
            spent += source[m] * row[m]
        first = 1 if single and k > 1 else 0
        for h in range(k):
            other, through = A[h], 0.0
            for m in range(1, k):
                through += source[m] * other[m]
            A[h, k] = (through + (1.0 - spent if h >= first else 0.0)) / D[k]


@njit(cache=True, nogil=True)
def prepare(b, scores, lengths, allowed, masked, single, W0, order, W, P, D):
    """Eliminate the words of one sentence; its log Z and its state."""
    n = lengths[b]
    if n == 0:
        return 0.0, 0
    scale = weights(b, n, scores, allowed, masked, single, W0)
    if np.isnan(scale):
        return np.nan, 2
    value = -np.inf if scale == -np.inf else reduce(n, single, W0, order, W, P, D)
    return scale + value, 0 if value > -np.inf else 3


@njit(cache=True, nogil=True)
def values(start, stop, scores, lengths, allowed, masked, single, state, log_z):
    """Write log Z of every sentence, and its state; 3: out of the range of floats."""
    S = scores.shape[1]
    W0, W, P, D = np.empty((S, S)), np.empty((S, S)), np.empty((S, S)), np.empty(S)
    order = np.empty(S, dtype=np.int64)
    for b in range(start, stop):
        log_z[b], state[b] = prepare(
            b, scores, lengths, allowed, masked, single, W0, order, W, P, D
        )


@njit(cache=True, nogil=True)
def marginals(start, stop, scores, lengths, allowed, masked, single, state, mu):
    """Write the probability of every arc, and the state of every sentence."""
    S = scores.shape[1]
    W0, W, P, D = np.empty((S, S)), np.empty((S, S)), np.empty((S, S)), np.empty(S)
    A, order = np.empty((S, S)), np.empty(S, dtype=np.int64)
    for b in range(start, stop):
        mu[b] = 0.0
        n = lengths[b]
        _, state[b] = prepare(b, scores, lengths, allowed, masked, single, W0, order, W, P, D)
        if n == 0 or state[b] != 0:
            continue
        derivatives(n, single, W, P, D, A)
        for h in range(n + 1):
            for m in range(1, n + 1):
                at, to = order[h], order[m]
                if W0[at, to] > 0.0:
                    mu[b, at, to] = max(W0[at, to] * A[h, m], 0.0)


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def eliminate_slopes(n, single, W, P, D, dW, dP, dD):
    """Do as `eliminate`, with the derivatives of everything along those of W."""
    for k in range(n, 0, -1):
        first = 1 if single and k > 1 else 0
        d, change = 0.0, 0.0
        for h in range(first, k):
            d += W[h, k]
            change += dW[h, k]
        D[k], dD[k] = d, change
        row, slope = W[k], dW[k]
        for h in range(k):
            p = W[h, k] / d
            dp = (dW[h, k] - p * change) / d
            P[k, h], dP[k, h] = p, dp
            target, moved = W[h], dW[h]
            for m in range(1, k):
                target[m] += p * row[m]
                moved[m] += p * slope[m] + dp * row[m]


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def derivatives_slopes(n, single, W, P, D, A, dW, dP, dD, dA):
    """Do as `derivatives`, with the derivatives of everything."""
    for k in range(n + 1):
        A[k, k] = dA[k, k] = 0.0
    for k in range(1, n + 1):
        row, moved, source, slope = A[k], dA[k], W[k], dW[k]
        for m in range(1, k):
            row[m] = moved[m] = 0.0
        for h in range(k):
            p, dp, other, change = P[k, h], dP[k, h], A[h], dA[h]
            for m in range(1, k):
                row[m] += p * other[m]
                moved[m] += p * change[m] + dp * other[m]
        spent, spending = 0.0, 0.0
        for m in range(1, k):
            spent += source[m] * row[m]
            spending += source[m] * moved[m] + slope[m] * row[m]
        first = 1 if single and k > 1 else 0
        for h in range(k):
            other, change, through, turn = A[h], dA[h], 0.0, 0.0
            for m in range(1, k):
                through += source[m] * other[m]
                turn += source[m] * change[m] + slope[m] * other[m]
            if h >= first:
                through += 1.0 - spent
                turn -= spending
            A[h, k] = through / D[k]
            dA[h, k] = (turn - A[h, k] * dD[k]) / D[k]


@njit(cache=True, nogil=True)
def hessian_product(start, stop, scores, lengths, allowed, masked, single, state, vector, out):
    """Write the product of the second derivatives with a vector, and the states."""
    S = scores.shape[1]
    W0, W, P, D = np.empty((S, S)), np.empty((S, S)), np.empty((S, S)), np.empty(S)
    dW, dP, dD = np.empty((S, S)), np.empty((S, S)), np.empty(S)
    A, dA, order = np.empty((S, S)), np.empty((S, S)), np.empty(S, dtype=np.int64)
    for b in range(start, stop):
        out[b] = 0.0
        n = lengths[b]
        _, state[b] = prepare(b, scores, lengths, allowed, masked, single, W0, order, W, P, D)
        if n == 0 or state[b] != 0:
            continue
        for h in range(n + 1):
            for m in range(n + 1):
                at, to = order[h], order[m]
                w = W0[at, to]
                W[h, m] = w
                dW[h, m] = w * vector[b, at, to] if w > 0.0 else 0.0
        eliminate_slopes(n, single, W, P, D, dW, dP, dD)
        derivatives_slopes(n, single, W, P, D, A, dW, dP, dD, dA)
        for h in range(n + 1):
            for m in range(1, n + 1):
                at, to = order[h], order[m]
                w = W0[at, to]
                if w > 0.0:
                    out[b, at, to] = w * (dA[h, m] + vector[b, at, to] * A[h, m])
