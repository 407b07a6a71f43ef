"""Products with the active rows of a block, and the inverse of their Gram matrix.

With A the active rows and F the free variables, `work.inverse` is $(R_{AF} R_{AF}^T)^{-1}$. Adding
and dropping a row or a bound changes it by one outer product each.
"""

from .active_arrays import FREE, HELD, ROUNDED
from .lanes import WIDTH, load, load_row, muladd, splat, store, store_row, total
from .lean import called, inlined

# ---------------------------------------------------------------------- products


@called
def combine(table, which, weight, count, out, length):
    """Set the first `length` entries of `out` to the sum of weight[q] table[which[q]]."""
    zero = splat(0.0)
    wide = length - length % (4 * WIDTH)
    for b in range(0, wide, 4 * WIDTH):
        s0, s1, s2, s3 = zero, zero, zero, zero
        for q in range(count):
            i, one = which[q], splat(weight[q])
            s0 = muladd(one, load_row(table, i, b), s0)
            s1 = muladd(one, load_row(table, i, b + WIDTH), s1)
            s2 = muladd(one, load_row(table, i, b + 2 * WIDTH), s2)
            s3 = muladd(one, load_row(table, i, b + 3 * WIDTH), s3)
        store(out, b, s0)
        store(out, b + WIDTH, s1)
        store(out, b + 2 * WIDTH, s2)
        store(out, b + 3 * WIDTH, s3)
    for b in range(wide, length, WIDTH):
        s0, s1, s2, s3 = zero, zero, zero, zero
        for q in range(0, count - 3, 4):
            s0 = muladd(splat(weight[q]), load_row(table, which[q], b), s0)
            s1 = muladd(splat(weight[q + 1]), load_row(table, which[q + 1], b), s1)
            s2 = muladd(splat(weight[q + 2]), load_row(table, which[q + 2], b), s2)
            s3 = muladd(splat(weight[q + 3]), load_row(table, which[q + 3], b), s3)
        for q in range(count - count % 4, count):
            s0 = muladd(splat(weight[q]), load_row(table, which[q], b), s0)
        store(out, b, (s0 + s1) + (s2 + s3))


@inlined
def activity(block, work):
    """Set `act` to R x."""
    x, act = work.x, work.act
    start, index, value = block.rows
    table = block.by_column
    if len(table):
        combine(table, work.numbers, x, len(table), act, len(act))
    else:
        for i in range(len(start) - 1):
            total_ = 0.0
            for e in range(start[i], start[i + 1]):
                total_ += value[e] * x[index[e]]
            act[i] = total_


@inlined
def subtract_rows(block, work, k, r):
    """Subtract R_A^T r from `g`; the square of `g` where it is free."""
    g, active, sums, free = work.g, work.active, work.sums, work.free
    start, index, value = block.rows
    squares_ = splat(0.0)
    if len(block.by_row):
        combine(block.by_row, active, r, k, sums, len(g))
        for j in range(0, len(g), WIDTH):
            rest = load(g, j) - load(sums, j)
            store(g, j, rest)
            squares_ = muladd(rest * rest, load(free, j), squares_)
        return total(squares_)
    for a in range(k):
        own, i = r[a], active[a]
        for e in range(start[i], start[i + 1]):
            g[index[e]] -= own * value[e]
    return squares(work)


@inlined
def along_rows(block, work, k, out):
    """Write R_AF g_F to `out`."""
    g, free, active, weight = work.g, work.free, work.active, work.weight
    start, index, value = block.rows
    if len(block.by_row):
        some = work.counts[FREE]
        for q in range(some):
            weight[q] = g[work.moving[q]]
        combine(work.own, work.moving, weight, some, out, ROUNDED(k + 1))
    else:
        for a in range(k):
            i, total_ = active[a], 0.0
            for e in range(start[i], start[i + 1]):
                j = index[e]
                total_ += value[e] * (g[j] * free[j])
            out[a] = total_
        for a in range(k, ROUNDED(k + 1)):
            out[a] = 0.0


@inlined
def column(block, work, k, j, out):
    """Write column j of R_A to `out`."""
    start, row, value = block.columns
    if len(block.by_row):
        for a in range(0, k + 1, WIDTH):
            store(out, a, load_row(work.own, j, a))
    else:
        for a in range(ROUNDED(k + 1)):
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
    total_ = 0.0
    for e in range(start[p], start[p + 1]):
        total_ += value[e] if index[e] == j else 0.0
    return total_


@inlined
def load_gradient(block, work, p, is_row):
    """Write the gradient of row p, or of the bound of variable p, to g."""
    g = work.g
    start, index, value = block.rows
    if is_row and len(block.by_row):
        for j in range(0, len(g), WIDTH):
            store(g, j, load_row(block.by_row, p, j))
    else:
        for j in range(0, len(g), WIDTH):
            store(g, j, splat(0.0))
        if is_row:
            for e in range(start[p], start[p + 1]):
                g[index[e]] = value[e]
        else:
            g[p] = 1.0


@inlined
def squares(work):
    """Sum of squares of g over the free variables."""
    g, free, sum_ = work.g, work.free, splat(0.0)
    for j in range(0, len(g), WIDTH):
        one = load(g, j)
        sum_ = muladd(one * one, load(free, j), sum_)
    return total(sum_)


# ---------------------------------------------------------------------- the inverse


@inlined
def times_inverse(work, k, v, out):
    """Write inverse v to `out`; the inverse is symmetric."""
    combine(work.inverse, work.numbers, v, k, out, ROUNDED(k + 1))


@inlined
def add_outer(work, k, factor, w):
    """Add factor w w^T to the inverse."""
    M = work.inverse
    for a in range(k):
        own = splat(factor * w[a])
        for b in range(0, k, WIDTH):
            store_row(M, a, b, muladd(own, load(w, b), load_row(M, a, b)))


@inlined
def open_places(work, k):
    """Put zeros into the eight places from k on, a multiple of eight."""
    M, own, zero = work.inverse, work.own, splat(0.0)
    for a in range(k + WIDTH):
        store_row(M, a, k, zero)
    for a in range(k, k + WIDTH):
        for b in range(0, k, WIDTH):
            store_row(M, a, b, zero)
    for j in range(len(own)):
        store_row(own, j, k, zero)
    for some in (work.mu, work.sign):
        store(some, k, zero)


@inlined
def append(block, work, k, p, delta):
    """Border the inverse by row p, of whose gradient `delta` is the square of what is free.

    Its number among the active rows is k, and that of the next one is k + 1.
    """
    own = work.own
    work.r[k] = -1.0
    add_outer(work, k + 1, 1.0 / delta, work.r)
    work.active[k], work.place[p], work.out[p] = p, k, 0.0
    for j in range(len(own)):
        own[j, k] = block.by_row[p, j]
    if (k + 1) % WIDTH == 0:
        open_places(work, k + 1)


@inlined
def take_out(work, k, a):
    """Take active row number a out of the inverse; the last one takes its place."""
    M, w, own, active, place, last = (
        work.inverse, work.w, work.own, work.active, work.place, k - 1,
    )  # fmt: skip
    i = active[a]
    place[i], work.out[i] = -1, 1.0
    for b in range(0, k, WIDTH):
        store(w, b, load_row(M, a, b))
    pivot, zero = w[a], splat(0.0)
    if a != last:
        moved = active[last]
        active[a], place[moved] = moved, a
        work.mu[a], work.sign[a] = work.mu[last], work.sign[last]
        for b in range(0, k, WIDTH):
            store_row(M, a, b, load_row(M, last, b))
        for b in range(k):
            M[b, a] = M[b, last]
        M[a, a] = M[last, last]
        w[a] = w[last]
        for j in range(len(own)):
            own[j, a] = own[j, last]
    work.mu[last], work.sign[last], w[last] = 0.0, 0.0, 0.0
    for b in range(0, k, WIDTH):
        store_row(M, last, b, zero)
    for b in range(k):
        M[b, last] = 0.0
    for j in range(len(own)):
        own[j, last] = 0.0
    add_outer(work, last, -1.0 / pivot, w)


# ---------------------------------------------------------------------- bounds


@inlined
def let_move(work, j):
    """Count variable j among the free ones."""
    some = work.counts[FREE]
    work.moving[some], work.where[j], work.counts[FREE] = j, some, some + 1
    work.free[j], work.held[j] = 1.0, 0.0


@inlined
def hold(work, j, s):
    """Count variable j among those at a bound, no longer among the free ones."""
    last, at = work.counts[FREE] - 1, work.where[j]
    moved = work.moving[last]
    work.moving[at], work.where[moved] = moved, at
    work.counts[FREE] = last
    work.counts[HELD] += 1
    work.free[j], work.held[j] = 0.0, s


@inlined
def set_free(block, work, k, j):
    """Take variable j off its bound; `w` becomes its column of R_A."""
    column(block, work, k, j, work.w)
    times_inverse(work, k, work.w, work.r)
    product = splat(0.0)
    for a in range(0, k, WIDTH):
        product = muladd(load(work.w, a), load(work.r, a), product)
    add_outer(work, k, -1.0 / (1.0 + total(product)), work.r)
    work.nu[j] = 0.0
    work.counts[HELD] -= 1
    let_move(work, j)
