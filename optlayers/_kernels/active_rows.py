"""Products with the active rows of a block, and the inverse of their Gram matrix.

With A the active rows and F the free variables, `work.inverse` is $(R_{AF} R_{AF}^T)^{-1}$. Adding
and dropping a row or a bound changes it by one outer product each.
"""

from typing import NamedTuple

import numpy as np

from .lean import inlined


class Block(NamedTuple):
    """What all instances share: rows R, normalised; `(start, index, value)` by rows, by columns.

    `by_row` is R as a matrix and `by_column` its transpose, or both are empty.
    """

    rows: tuple
    columns: tuple
    by_row: np.ndarray
    by_column: np.ndarray


class Work(NamedTuple):
    """Arrays of one thread: `(size,)`, then `(m,)`, then one entry per active row."""

    x: np.ndarray
    nu: np.ndarray  # multipliers of bounds
    g: np.ndarray  # gradient of what is added, less its part along the active rows
    free: np.ndarray  # 1 or 0
    held: np.ndarray  # -1 at the lower bound, 1 at the upper, 0 if free or fixed
    act: np.ndarray  # R x
    mu: np.ndarray  # multipliers of rows
    side: np.ndarray  # OUT, -1, 1 or EQUAL
    place: np.ndarray  # number among the active rows, or -1
    active: np.ndarray  # rows, in the order of `inverse`
    v: np.ndarray  # products of the gradient that is added with the active rows
    r: np.ndarray  # inverse times v
    w: np.ndarray
    u: np.ndarray
    numbers: np.ndarray  # 0, 1, 2, ...
    inverse: np.ndarray
    own: np.ndarray  # R_A^T where R is dense
    which: np.ndarray  # arguments of `combine`
    weight: np.ndarray


OUT, EQUAL = 0, 2  # of rows; -1 and 1 are the side that is active


# ---------------------------------------------------------------------- products


@inlined
def combine(table, which, weight, count, out, length):
    """Add the sum of weight[q] table[which[q]] to `out`, four rows at a time."""
    for q in range(0, count - 3, 4):
        i0, i1, i2, i3 = which[q], which[q + 1], which[q + 2], which[q + 3]
        w0, w1, w2, w3 = weight[q], weight[q + 1], weight[q + 2], weight[q + 3]
        for j in range(length):
            out[j] += (w0 * table[i0, j] + w1 * table[i1, j]) + (
                w2 * table[i2, j] + w3 * table[i3, j]
            )
    for q in range(count - count % 4, count):
        i0, w0 = which[q], weight[q]
        for j in range(length):
            out[j] += w0 * table[i0, j]


@inlined
def activity(block, work):
    """Set `act` to R x."""
    x, act, which, weight = work.x, work.act, work.which, work.weight
    start, index, value = block.rows
    table = block.by_column
    if len(table):
        some = 0
        for j in range(len(x)):
            which[some], weight[some] = j, x[j]
            some += x[j] != 0.0
        for i in range(len(act)):
            act[i] = 0.0
        combine(table, which, weight, some, act, len(act))
    else:
        for i in range(len(act)):
            total = 0.0
            for e in range(start[i], start[i + 1]):
                total += value[e] * x[index[e]]
            act[i] = total


@inlined
def subtract_rows(block, work, k, r):
    """Subtract R_A^T r from `g`."""
    g, active, weight, table = work.g, work.active, work.weight, block.by_row
    start, index, value = block.rows
    if len(table):
        for a in range(k):
            weight[a] = -r[a]
        combine(table, active, weight, k, g, len(g))
    else:
        for a in range(k):
            own, i = r[a], active[a]
            for e in range(start[i], start[i + 1]):
                g[index[e]] -= own * value[e]


@inlined
def along_rows(block, work, k, out):
    """Write R_AF g_F to `out`."""
    g, free, active, which, weight = work.g, work.free, work.active, work.which, work.weight
    start, index, value = block.rows
    if len(block.by_row):
        some = 0
        for j in range(len(g)):
            own = g[j] * free[j]
            which[some], weight[some] = j, own
            some += own != 0.0
        for a in range(k):
            out[a] = 0.0
        combine(work.own, which, weight, some, out, k)
    else:
        for a in range(k):
            i, total = active[a], 0.0
            for e in range(start[i], start[i + 1]):
                j = index[e]
                total += value[e] * (g[j] * free[j])
            out[a] = total


@inlined
def column(block, work, k, j, out):
    """Write column j of R_A to `out`."""
    start, row, value = block.columns
    if len(block.by_row):
        for a in range(k):
            out[a] = work.own[j, a]
    else:
        for a in range(k):
            out[a] = 0.0
        for e in range(start[j], start[j + 1]):
            a = work.place[row[e]]
            if a >= 0:
                out[a] = value[e]


@inlined
def entry(block, p, j):
    """Return entry (p, j) of R."""
    start, index, value = block.rows
    if len(block.by_row):
        return block.by_row[p, j]
    total = 0.0
    for e in range(start[p], start[p + 1]):
        total += value[e] if index[e] == j else 0.0
    return total


@inlined
def load_gradient(block, work, p, is_row):
    """Write the gradient of row p, or of the bound of variable p, to g."""
    g = work.g
    start, index, value = block.rows
    if is_row and len(block.by_row):
        for j in range(len(g)):
            g[j] = block.by_row[p, j]
    else:
        for j in range(len(g)):
            g[j] = 0.0
        if is_row:
            for e in range(start[p], start[p + 1]):
                g[index[e]] = value[e]
        else:
            g[p] = 1.0


@inlined
def squares(work):
    """Sum of squares of g over the free variables."""
    g, free, total = work.g, work.free, 0.0
    for j in range(len(g)):
        total += g[j] * g[j] * free[j]
    return total


# ---------------------------------------------------------------------- the inverse


@inlined
def times_inverse(work, k, v, out):
    """Write inverse v to `out`; the inverse is symmetric."""
    for a in range(k):
        out[a] = 0.0
    combine(work.inverse, work.numbers, v, k, out, k)


@inlined
def add_outer(work, k, factor, w):
    """Add factor w w^T to the inverse."""
    M = work.inverse
    for a in range(k):
        own = factor * w[a]
        for b in range(k):
            M[a, b] += own * w[b]


@inlined
def append(block, work, k, p, delta):
    """Border the inverse by row p, of whose gradient `delta` is the square of what is free."""
    M, r, own = work.inverse, work.r, work.own
    add_outer(work, k, 1.0 / delta, r)
    for a in range(k):
        M[a, k] = M[k, a] = -r[a] / delta
    M[k, k] = 1.0 / delta
    work.active[k], work.place[p] = p, k
    for j in range(len(own)):
        own[j, k] = block.by_row[p, j]


@inlined
def take_out(work, k, a):
    """Take active row number a out of the inverse; the last one takes its place."""
    M, w, own, active, place, last = (
        work.inverse, work.w, work.own, work.active, work.place, k - 1,
    )  # fmt: skip
    i = active[a]
    work.side[i], work.mu[i], place[i] = OUT, 0.0, -1
    for b in range(k):
        w[b] = M[a, b]
    pivot = w[a]
    if a != last:
        moved = active[last]
        active[a], place[moved] = moved, a
        for b in range(k):
            M[a, b] = M[last, b]
        for b in range(k):
            M[b, a] = M[b, last]
        M[a, a] = M[last, last]
        w[a] = w[last]
        for j in range(len(own)):
            own[j, a] = own[j, last]
    add_outer(work, last, -1.0 / pivot, w)


@inlined
def set_free(block, work, k, j):
    """Take variable j off its bound; `w` becomes its column of R_A."""
    column(block, work, k, j, work.w)
    times_inverse(work, k, work.w, work.r)
    total = 1.0
    for a in range(k):
        total += work.w[a] * work.r[a]
    add_outer(work, k, -1.0 / total, work.r)
    work.nu[j], work.free[j], work.held[j] = 0.0, 1.0, 0.0
