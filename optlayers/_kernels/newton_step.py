"""Newton's step for the multipliers of the compiled method: a dense or a sparse factor."""

import numpy as np

from . import sparse
from .lean import called, exact, exact_inlined, inlined
from .parts import part

# Of the diagonal: a pivot below the first is rounding, that is, its row depends on others. The
# factor is then made once more with the second as damping, which rounding does not reach.
RANK, SAFE = 1e-13, 1e-12


@called
def factorise(M, k, least):
    """Replace the leading k x k part by its Cholesky factor, in its lower half.

    Pivots are at least `least` times the diagonal; how many had to be raised is returned.
    """
    raised = 0
    for i in range(k):
        for j in range(i):
            total = M[i, j]
            for f in range(j):
                total -= M[i, f] * M[j, f]
            M[i, j] = total / M[j, j]
        total, floor = M[i, i], least * M[i, i]
        for f in range(i):
            total -= M[i, f] * M[i, f]
        if not total > floor:
            total = floor
            raised += 1
        M[i, i] = np.sqrt(total)
    return raised


@called
def substitute(M, k, d):
    """Solve with the factor, in place."""
    for i in range(k):
        total = d[i]
        for j in range(i):
            total -= M[i, j] * d[j]
        d[i] = total / M[i, i]
    for i in range(k - 1, -1, -1):
        own = d[i] / M[i, i]
        d[i] = own
        for j in range(i):
            d[j] -= M[i, j] * own


@exact_inlined
def add_pairs(begin, entry, row, value, share, place, M):
    """Add an entry of a column of R, times `share`, times the entries from `begin` to itself."""
    p = place[row[entry]]
    if p >= 0:
        scaled = value[entry] * share
        for f in range(begin, entry + 1):
            q = place[row[f]]
            if q >= 0:  # places grow with the row, and rows are sorted: q <= p
                M[p, q] += scaled * value[f]


@exact
def assemble(columns, free, inverse, place, M, k):
    """Set M = R_A diag(free / curvature) R_A^T over the active rows, lower half; R sparse."""
    start, row, value = columns
    M[:k, :k] = 0.0
    for j in range(len(free)):
        if free[j]:
            for e in range(start[j], start[j + 1]):
                add_pairs(start[j], e, row, value, inverse[j], place, M)


@inlined
def add_outer(column, share, gram):
    """Add `share` times the outer product of a column of R to the lower half of `gram`."""
    for p in range(len(column)):
        scaled = share * column[p]
        for q in range(p + 1):
            gram[p, q] += scaled * column[q]


@inlined
def take_active(gram, place, M):
    """Copy what `gram` holds of the active rows to `M`."""
    for i in range(len(place)):
        if place[i] < 0:
            continue
        for f in range(i + 1):
            if place[f] >= 0:
                M[place[i], place[f]] = gram[i, f]


@called
def assemble_dense(columns, free, inverse, gram, weight, place, M):
    """Set M as `assemble` does, for dense rows.

    `gram` is kept for all rows, since few variables change from step to step; `weight` is what each
    variable counts in it, negative before the first time.
    """
    changed, present = 0, 0
    for j in range(len(free)):
        now = inverse[j] if free[j] else 0.0
        changed += weight[j] != now
        present += now != 0.0
    if weight[0] < 0.0 or 2 * changed > present:
        gram[:] = 0.0
        weight[:] = 0.0
    for j in range(len(free)):
        now = inverse[j] if free[j] else 0.0
        if weight[j] == now:
            continue
        share = now - weight[j]
        weight[j] = now
        add_outer(columns[j], share, gram)
    take_active(gram, place, M)


@exact
def direct(block, work, k, damping, stiff):
    """Set d to Newton's step of the k active rows, by a dense factor; of others to a short one.

    A row with a free slack has the curvature `stiff` beside whatever it shares with other rows,
    which is left out: its multiplier is next to zero already.
    """
    start, index, value = block.rows
    place, M, compact, safe = work.place, work.factor, work.compact, 0.0
    while True:
        if len(block.dense):
            assemble_dense(block.dense, work.free, work.inverse, work.gram, work.weight, place, M)
        else:
            assemble(block.columns, work.free, work.inverse, place, M, k)
        for p in range(k):
            M[p, p] = damped(M[p, p], damping, safe)
        if not factorise(M, k, RANK) or safe > 0.0:
            break
        safe = SAFE
    for i in range(len(place)):
        if place[i] >= 0:
            compact[place[i]] = work.gradient[i]
    substitute(M, k, compact)
    for i in range(len(place)):
        if place[i] >= 0:
            work.d[i] = compact[place[i]]
            continue
        own = stiff
        for e in range(start[i], start[i + 1]):
            if work.free[index[e]]:
                own += value[e] * value[e] * work.inverse[index[e]]
        work.d[i] = work.gradient[i] / own


@exact
def damped(own, damping, safe):
    """Return a diagonal entry with its damping, never zero: a row may have no free variable."""
    return max(own + damping + safe * (own if own > 0.0 else 1.0), 1e-300)


@part
def direct_sparse(block, work, damping, stiff, li, lx):
    """Set d as `direct` does, by a sparse factor; return its room, which may have grown."""
    pair_start, pair_slot, pair_value, start, index = block.pattern
    on, diagonal = work.on, work.diagonal
    parent, flag, counts = work.tree
    sparse.gather(pair_start, pair_slot, pair_value, work.free, work.inverse, work.values)
    for i in range(len(on)):
        on[i] = work.place[i] >= 0
        work.d[i] = work.gradient[i]
    total = sparse.count_fill(start, index, on, parent, flag, counts)
    if total > len(li):
        li, lx = np.empty(2 * total, dtype=np.int64), np.empty(2 * total)
    safe = 0.0
    while True:
        for i in range(len(on)):
            own = work.values[len(index) + i]
            diagonal[i] = damped(own, damping, safe) if on[i] else own + stiff
        raised = sparse.factorise(
            start, index, work.values, diagonal, on, parent, flag, counts, work.ints, work.floats,
            li, lx, RANK,
        )  # fmt: skip
        if not raised or safe > 0.0:
            break
        safe = SAFE
    sparse.substitute(work.ints[0], li, lx, work.floats[0], on, work.d)
    return li, lx


@part(forceinline=True)
def direction(block, work, k, damping, stiff, li, lx):
    """Set d to Newton's step; return the room of the sparse factor."""
    if len(block.pattern[3]):
        return direct_sparse(block, work, damping, stiff, li, lx)
    direct(block, work, k, damping, stiff)
    return li, lx
