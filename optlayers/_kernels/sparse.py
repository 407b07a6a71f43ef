"""Compiled sparse Cholesky factorisation (L D L^T) of matrices that share one pattern.

The pattern, in an order that keeps the factor sparse, is found once per block; each factorisation
looks only at the rows that are on, because the others would fill the factor for nothing.
Up-looking, along the elimination tree (Davis, 2006, *Direct methods for sparse linear systems*,
chapter 4).
"""

from .lean import exact


@exact
def gather(pair_start, pair_slot, pair_value, free, inverse, values):
    """Fill the pattern with R diag(free * inverse) R^T: every pair of entries of a column."""
    values[:] = 0.0
    for j in range(len(free)):
        if free[j]:
            for e in range(pair_start[j], pair_start[j + 1]):
                values[pair_slot[e]] += pair_value[e] * inverse[j]


@exact
def count_fill(start, index, on, parent, flag, counts):
    """Find the elimination tree of the rows that are on; count the factor's entries below them."""
    total = 0
    for k in range(len(on)):
        parent[k], flag[k], counts[k] = -1, k, 0
        if not on[k]:
            continue
        for e in range(start[k], start[k + 1]):
            i = index[e]
            while i < k and on[i] and flag[i] != k:
                parent[i] = k if parent[i] < 0 else parent[i]
                counts[i] += 1
                total += 1
                flag[i] = k
                i = parent[i]
    return total


@exact
def factorise(
    start, index, values, diagonal, on, parent, flag, counts, ints, floats, li, lx, least
):
    """Compute L (without its diagonal) and D of the rows that are on; D of others is `diagonal`.

    `start, index, values`: the strictly upper half by columns. `ints` holds the starts of L's
    columns, how far each is filled, and two stacks; `floats` holds D and a work row. Pivots are at
    least `least` times the diagonal; how many had to be raised is returned.
    """
    m, raised = len(on), 0
    column, filled, stack, path = ints
    D, y = floats
    column[0] = 0
    for k in range(m):
        column[k + 1] = column[k] + counts[k]
        filled[k], y[k], flag[k] = column[k], 0.0, -1
    for k in range(m):
        D[k] = diagonal[k]
        if not on[k]:
            continue
        top, flag[k] = m, k
        for e in range(start[k], start[k + 1]):
            i = index[e]
            if not on[i]:
                continue
            y[i] += values[e]
            length = 0
            while flag[i] != k:
                path[length] = i
                length += 1
                flag[i] = k
                i = parent[i]
            while length > 0:
                length -= 1
                top -= 1
                stack[top] = path[length]
        for s in range(top, m):
            i = stack[s]
            own, y[i] = y[i], 0.0
            scaled = own / D[i]
            for e in range(column[i], filled[i]):
                y[li[e]] -= lx[e] * own
            li[filled[i]], lx[filled[i]] = k, scaled
            filled[i] += 1
            D[k] -= scaled * own
        if not D[k] > least * diagonal[k]:
            D[k] = least * diagonal[k]
            raised += 1
    return raised


@exact
def substitute(column, li, lx, D, on, d):
    """Solve with the factor, in place; rows that are off are divided by their diagonal."""
    m = len(on)
    for k in range(m):
        if on[k]:
            own = d[k]
            for e in range(column[k], column[k + 1]):
                d[li[e]] -= lx[e] * own
    for k in range(m - 1, -1, -1):
        total = d[k] / D[k]
        if on[k]:
            for e in range(column[k], column[k + 1]):
                total -= lx[e] * d[li[e]]
        d[k] = total
