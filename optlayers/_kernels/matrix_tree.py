"""Compiled sums over all trees: elimination of one word after the other, without subtraction.

As Grassmann, Taksar and Heyman (1985) do for Markov chains, here for weights w(h, m) with one
root: word k hands its place to its heads, in the proportions p(h) = w(h, k) / d(k), where d(k) is
the sum of w(., k) over what is left. Only positive numbers are added, so nothing is lost to
cancellation, however badly conditioned the Laplacian is. With a single root, the root counts in
d(k) for the last word only: what is dropped are the trees with more words under the root.
"""

import numpy as np

from .exponential import LN2_HIGH, LN2_LOW, PER_LN2, series
from .lean import in_order, inlined
from .parts import kernel, part
from .scores import HUGE

# Less than this, and what underflowed on the way might matter: at most n^3 terms below 1e-308
# were lost, each with a factor of at most n; e^-600 = 1e-261 leaves room for 16 digits beside.
_LEAST = -600.0


@in_order
def take_scores(b, n, first, scores, mask, masked, W, top):
    """Write the scores of the arcs to W, and the largest of each word to `top`; NaN is refused.

    The largest of heads from `first` on. Loops run along rows, as in what follows: there they
    become vector instructions.
    """
    broken = 0
    for m in range(n + 1):
        top[m] = -np.inf
    for h in range(n + 1):
        row, out = scores[b, h], W[h]
        for m in range(1, n + 1):
            out[m] = -np.inf if row[m] <= -HUGE else row[m]
        if masked:
            for m in range(1, n + 1):
                out[m] = out[m] if mask[h, m] else -np.inf
        out[0] = out[h] = -np.inf
        for m in range(1, n + 1):
            broken += not out[m] < HUGE
        if h >= first:
            for m in range(1, n + 1):
                top[m] = out[m] if out[m] > top[m] else top[m]
    return broken == 0


@in_order
def exponentials(n, row, top, total, scale, bits):
    """Make a row exp(row - top), and add it to `total`: 2^k exp(r), |r| <= log(2) / 2.

    Within about a unit in the last place; zero where it is below 1e-307. `bits` are those of
    `scale`, which becomes 2^k: its integer part is what a large number leaves in the last digits.
    """
    for m in range(1, n + 1):
        x = row[m] - top[m]
        keep = 1.0 if x > -706.0 else 0.0
        x = x if x > -706.0 else -706.0
        shifted = x * PER_LN2 + 6755399441055744.0
        k = shifted - 6755399441055744.0
        scale[m] = shifted
        r = (x - k * LN2_HIGH) - k * LN2_LOW
        row[m] = series(r) * keep
    for m in range(1, n + 1):
        bits[m] = (bits[m] << 52) + (1023 << 52)
    for m in range(1, n + 1):
        row[m] *= scale[m]
        total[m] += row[m]


@in_order
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


@in_order
def weights(b, n, scores, allowed, masked, single, W, work, bits):
    """Write the weights of all arcs, scaled to sums of one per word; the logarithm of the scale.

    With a single root the arcs of the root are scaled apart: they are not in d(k). NaN if a score
    is none, and -inf if a word has no head. `work` has room for three rows, and `bits` are those of
    the last one.
    """
    mask = allowed[b % allowed.shape[0]]
    first = 1 if single else 0
    scale, orphan = 0.0, 0
    top, total, power = work[0], work[1], work[2]
    if not take_scores(b, n, first, scores, mask, masked, W, top):
        return np.nan
    for m in range(1, n + 1):
        if top[m] == -np.inf:  # no word can be its head: it hangs on the root, or there is no tree
            if orphan > 0 or not single:
                scale = -np.inf
            orphan, top[m] = m, 0.0
        total[m] = 0.0
    for h in range(first, n + 1):
        exponentials(n, W[h], top, total, power, bits)
    for m in range(1, n + 1):
        scale += top[m] + np.log(total[m]) if m != orphan and scale > -np.inf else 0.0
        W[0, m] -= top[m] + np.log(total[m]) if single and m != orphan else 0.0
        total[m] = 1.0 / total[m] if total[m] > 0.0 else 0.0
    for h in range(first, n + 1):
        W[h, 0] = 0.0
        row = W[h]
        for m in range(1, n + 1):
            row[m] *= total[m]
    W[0, 0] = 0.0
    if single and scale > -np.inf:
        scale += normalise_root(n, orphan, W)
    return scale


@inlined
def take_turn(k, top, first, W, P):
    """Bring the arcs of word k up to date with the words of its block; its sum d."""
    row, into = W[k], P[k]
    for h in range(k):
        into[h] = W[h, k]
    for q in range(top, k, -1):
        other, share, w, p = W[q], P[q], W[q, k], P[q, k]
        for h in range(k):
            into[h] += share[h] * w
        for m in range(1, k):
            row[m] += p * other[m]
    d = 0.0
    for h in range(first, k):
        d += into[h]
    return d


@inlined
def eliminate(n, single, W, P, D):
    """Reduce W in place to one word after the other; 0, or the word that was left alone.

    Afterwards row k of W and of P hold the arcs of word k at its turn, D its sum. Four words hand
    their places over at once, so that what is left is read and written a quarter as often.
    """
    for top in range(n, 0, -4):
        low = max(top - 4, 0)
        for k in range(top, low, -1):
            d = take_turn(k, top, 1 if single and k > 1 else 0, W, P)
            if not d > 0.0:
                return k
            D[k] = d
            for h in range(k):
                P[k, h] /= d
        if low == 0:
            break
        row0, row1, row2, row3 = W[top], W[top - 1], W[top - 2], W[top - 3]
        for h in range(low + 1):
            p0, p1, p2, p3 = P[top, h], P[top - 1, h], P[top - 2, h], P[top - 3, h]
            target = W[h]
            for m in range(1, low + 1):
                target[m] += (p0 * row0[m] + p1 * row1[m]) + (p2 * row2[m] + p3 * row3[m])
    return 0


@in_order
def reorder(n, order, given, out):
    """Copy with words in an order that swaps two of them at most: word 1 and another."""
    swapped = order[1]
    for h in range(n + 1):
        target, source = out[h], given[order[h]]
        for m in range(n + 1):
            target[m] = source[m]
        target[1], target[swapped] = source[swapped], source[1]


@part
def reduce(n, single, W0, order, W, P, D):
    """Eliminate all words; the logarithm of the sum of all trees, -inf where it is too small.

    A word that reaches no other word by its heads has to be the last one.
    """
    for k in range(n + 1):
        order[k] = k
    for attempt in range(2):
        reorder(n, order, W0, W)
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


@inlined
def look_back(k, source, p, A):
    """Write sum_h p(h) A(h, m) to A(k, m), and sum_m w(k, m) A(h, m) to A(h, k)."""
    row = A[k]
    for m in range(1, k):
        row[m] = 0.0
    for h in range(0, k - 3, 4):
        a0, a1, a2, a3 = A[h], A[h + 1], A[h + 2], A[h + 3]
        p0, p1, p2, p3 = p[h], p[h + 1], p[h + 2], p[h + 3]
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for m in range(1, k):
            w = source[m]
            row[m] += (p0 * a0[m] + p1 * a1[m]) + (p2 * a2[m] + p3 * a3[m])
            t0 += w * a0[m]
            t1 += w * a1[m]
            t2 += w * a2[m]
            t3 += w * a3[m]
        a0[k], a1[k], a2[k], a3[k] = t0, t1, t2, t3
    for h in range(k - k % 4, k):
        own, share, total = A[h], p[h], 0.0
        for m in range(1, k):
            row[m] += share * own[m]
            total += source[m] * own[m]
        own[k] = total


@inlined
def derivatives(n, single, W, P, D, A):
    """Write A(h, m), the derivative of log Z by the weight of every arc, backwards through it all.

    A(k, m) = sum_h p(h) A(h, m) and, with S = sum_m w(k, m) A(k, m),
    A(h, k) = ([h counts in d(k)] (1 - S) + sum_m w(k, m) A(h, m)) / d(k).
    """
    for k in range(n + 1):
        A[k, k] = 0.0
    for k in range(1, n + 1):
        look_back(k, W[k], P[k], A)
        spent = 0.0
        for m in range(1, k):
            spent += W[k, m] * A[k, m]
        first = 1 if single and k > 1 else 0
        for h in range(k):
            A[h, k] = (A[h, k] + (1.0 - spent if h >= first else 0.0)) / D[k]


@part
def prepare(b, scores, lengths, allowed, masked, single, work, bits, W0, order, W, P, D):
    """Eliminate the words of one sentence; its log Z and its state."""
    n = lengths[b]
    if n == 0:
        return 0.0, 0
    scale = weights(b, n, scores, allowed, masked, single, W0, work, bits)
    if np.isnan(scale):
        return np.nan, 2
    value = -np.inf if scale == -np.inf else reduce(n, single, W0, order, W, P, D)
    return scale + value, 0 if value > -np.inf else 3


@kernel
def values(start, stop, scores, lengths, allowed, masked, single, state, log_z):
    """Write log Z of every sentence, and its state; 3: out of the range of floats."""
    S = scores.shape[1]
    W0, W, P, D = np.empty((S, S)), np.empty((S, S)), np.empty((S, S)), np.empty(S)
    work = np.empty((3, S))
    bits = work[2].view(np.int64)
    order = np.empty(S, dtype=np.int64)
    for b in range(start, stop):
        log_z[b], state[b] = prepare(
            b, scores, lengths, allowed, masked, single, work, bits, W0, order, W, P, D
        )


@in_order
def write_marginals(n, order, W0, A, mu):
    """Write w(h, m) A(h, m), words back in their own order."""
    swapped = order[1] if n > 0 and order[1] != 1 else 0
    for h in range(n + 1):
        weight, slope, out = W0[order[h]], A[h], mu[order[h]]
        for m in range(1, n + 1):
            out[m] = weight[m] * slope[m] if weight[m] * slope[m] > 0.0 else 0.0
        if swapped > 0:
            for at, to in ((1, swapped), (swapped, 1)):
                out[to] = max(weight[to] * slope[at], 0.0)
        out[order[h]] = 0.0


@kernel
def marginals(start, stop, scores, lengths, allowed, masked, single, state, mu):
    """Write the probability of every arc, and the state of every sentence; NaN in state 2."""
    S = scores.shape[1]
    W0, W, P, D = np.empty((S, S)), np.empty((S, S)), np.empty((S, S)), np.empty(S)
    work = np.empty((3, S))
    bits = work[2].view(np.int64)
    A, order = np.empty((S, S)), np.empty(S, dtype=np.int64)
    for b in range(start, stop):
        n = lengths[b]
        _, state[b] = prepare(
            b, scores, lengths, allowed, masked, single, work, bits, W0, order, W, P, D
        )
        mu[b] = np.nan if state[b] == 2 else 0.0
        if n > 0 and state[b] == 0:
            derivatives(n, single, W, P, D, A)
            write_marginals(n, order, W0, A, mu[b])


@in_order
def write_slopes(n, order, W0, A, weight, slope):
    """Write w(h, m) and A(h, m), words back in their own order."""
    for h in range(n + 1):
        for m in range(1, n + 1):
            weight[h, m] = W0[h, m]
            slope[order[h], order[m]] = A[h, m]


@kernel
def slopes(start, stop, scores, lengths, allowed, masked, single, state, weight, slope):
    """Write the scaled weights of all arcs, the derivatives of log Z by them, and the states.

    Zero at padding, and where the state is not.
    """
    S = scores.shape[1]
    W0, W, P, D = np.empty((S, S)), np.empty((S, S)), np.empty((S, S)), np.empty(S)
    work = np.empty((3, S))
    bits = work[2].view(np.int64)
    A, order = np.empty((S, S)), np.empty(S, dtype=np.int64)
    for b in range(start, stop):
        n = lengths[b]
        _, state[b] = prepare(
            b, scores, lengths, allowed, masked, single, work, bits, W0, order, W, P, D
        )
        weight[b] = slope[b] = 0.0
        if n > 0 and state[b] == 0:
            derivatives(n, single, W, P, D, A)
            write_slopes(n, order, W0, A, weight[b], slope[b])
