"""Compiled second derivatives of sums over all trees: `matrix_tree`, step by step."""

import numpy as np

from .lean import in_order, inlined
from .matrix_tree import look_back, prepare, reorder, take_turn
from .parts import kernel


@inlined
def add_four(k, top, share, table, out):
    """Add share[q] table[q] of the four words q up to `top` to the first k entries, but for 0."""
    row0, row1, row2, row3 = table[top], table[top - 1], table[top - 2], table[top - 3]
    p0, p1, p2, p3 = share[0], share[1], share[2], share[3]
    for m in range(1, k):
        out[m] += (p0 * row0[m] + p1 * row1[m]) + (p2 * row2[m] + p3 * row3[m])


@inlined
def turn_of_slopes(k, top, first, W, P, dW, dP):
    """Do as `take_turn`, for the derivatives alone."""
    row, into = dW[k], dP[k]
    for h in range(k):
        into[h] = dW[h, k]
    for q in range(top, k, -1):
        other, share, slope, change = W[q], P[q], dW[q], dP[q]
        w, dw, p, dp = W[q, k], dW[q, k], P[q, k], dP[q, k]
        for h in range(k):
            into[h] += share[h] * dw + change[h] * w
        for m in range(1, k):
            row[m] += p * slope[m] + dp * other[m]
    d = 0.0
    for h in range(first, k):
        d += into[h]
    return d


@inlined
def eliminate_slopes(n, single, W, P, D, dW, dP, dD, share):
    """Do as `eliminate`, with the derivatives of everything along those of W."""
    for top in range(n, 0, -4):
        low = max(top - 4, 0)
        for k in range(top, low, -1):
            first = 1 if single and k > 1 else 0
            dD[k] = turn_of_slopes(k, top, first, W, P, dW, dP)
            D[k] = take_turn(k, top, first, W, P)
            for h in range(k):
                P[k, h] /= D[k]
                dP[k, h] = (dP[k, h] - P[k, h] * dD[k]) / D[k]
        if low == 0:
            break
        for h in range(low + 1):
            for q in range(4):
                share[q] = P[top - q, h]
            add_four(low + 1, top, share, W, W[h])
            add_four(low + 1, top, share, dW, dW[h])
            for q in range(4):
                share[q] = dP[top - q, h]
            add_four(low + 1, top, share, W, dW[h])


@inlined
def look_back_along(k, source, p, table, row, out):
    """Add sum_h p(h) table(h, m) to the row, and sum_m w(k, m) table(h, m) to out(h, k)."""
    for h in range(0, k - 1, 2):
        a0, a1, p0, p1, t0, t1 = table[h], table[h + 1], p[h], p[h + 1], 0.0, 0.0
        for m in range(1, k):
            w = source[m]
            row[m] += p0 * a0[m] + p1 * a1[m]
            t0 += w * a0[m]
            t1 += w * a1[m]
        out[h, k] += t0
        out[h + 1, k] += t1
    if k % 2 == 1:
        own, share, total = table[k - 1], p[k - 1], 0.0
        for m in range(1, k):
            row[m] += share * own[m]
            total += source[m] * own[m]
        out[k - 1, k] += total


@inlined
def derivatives_slopes(n, single, W, P, D, A, dW, dP, dD, dA):
    """Do as `derivatives`, with the derivatives of everything."""
    for k in range(n + 1):
        A[k, k] = dA[k, k] = 0.0
    for k in range(1, n + 1):
        row, moved, source, slope = A[k], dA[k], W[k], dW[k]
        for m in range(k):
            moved[m] = dA[m, k] = 0.0
        look_back(k, source, P[k], A)
        look_back_along(k, source, P[k], dA, moved, dA)
        look_back_along(k, slope, dP[k], A, moved, dA)
        spent, spending = 0.0, 0.0
        for m in range(1, k):
            spent += source[m] * row[m]
            spending += source[m] * moved[m] + slope[m] * row[m]
        first = 1 if single and k > 1 else 0
        for h in range(k):
            through, turn = A[h, k], dA[h, k]
            if h >= first:
                through += 1.0 - spent
                turn -= spending
            A[h, k] = through / D[k]
            dA[h, k] = (turn - A[h, k] * dD[k]) / D[k]


@in_order
def write_slopes(n, order, W0, vector, A, dA, out):
    """Write w(h, m) (dA(h, m) + v(h, m) A(h, m)), words back in their own order."""
    swapped = order[1] if order[1] != 1 else 0
    for h in range(n + 1):
        at = order[h]
        weight, v, slope, change, row = W0[at], vector[at], A[h], dA[h], out[at]
        for m in range(1, n + 1):
            row[m] = weight[m] * (change[m] + v[m] * slope[m]) if weight[m] > 0.0 else 0.0
        if swapped > 0:
            for m, to in ((1, swapped), (swapped, 1)):
                w = weight[to]
                row[to] = w * (change[m] + v[to] * slope[m]) if w > 0.0 else 0.0


@kernel
def hessian_product(start, stop, scores, lengths, allowed, masked, single, state, vector, out):
    """Write the product of the second derivatives with a vector, and the states."""
    S = scores.shape[1]
    W0, W, P, D = np.empty((S, S)), np.empty((S, S)), np.empty((S, S)), np.empty(S)
    work = np.empty((3, S))
    bits = work[2].view(np.int64)
    dW, dP, dD = np.empty((S, S)), np.empty((S, S)), np.empty(S)
    A, dA, order = np.empty((S, S)), np.empty((S, S)), np.empty(S, dtype=np.int64)
    for b in range(start, stop):
        out[b] = 0.0
        n = lengths[b]
        _, state[b] = prepare(
            b, scores, lengths, allowed, masked, single, work, bits, W0, order, W, P, D
        )
        if n == 0 or state[b] != 0:
            continue
        reorder(n, order, W0, W)
        reorder(n, order, vector[b], dW)
        for h in range(n + 1):
            weight, slope = W[h], dW[h]
            for m in range(n + 1):
                slope[m] = weight[m] * slope[m] if weight[m] > 0.0 else 0.0
        eliminate_slopes(n, single, W, P, D, dW, dP, dD, work[0])
        derivatives_slopes(n, single, W, P, D, A, dW, dP, dD, dA)
        write_slopes(n, order, W0, vector[b], A, dA, out[b])
