"""Compiled loops over paths of graphs without cycles; see `_paths/` for what they compute.

Nodes are numbered so that edges lead upwards. The edges that enter node v are `first[v]` to
`first[v + 1]`; edge e comes from node `tails[e]` and has the score of part `parts[e]`, or none
where that is the number of parts. The nodes of a level are `levels[k]` to `levels[k + 1]`: no edge
joins two of them.

Scores beyond 1e4 are kept apart from the others until they are compared: so the digits of the
others survive where all paths have to pass parts of -1e9 or of the lowest float.
"""

import numpy as np
from numba import njit

from .exponential import exponential
from .scores import FAR, HUGE

_NO_PATH, _BROKEN = 1, 2


@njit(cache=True, nogil=True)
def read(b, scores, allowed, far, near):
    """Write the scores in two parts, -inf for what must not be chosen.

    Returns:
        0 if a score is not a number, else 1; 2 if some scores are far.
    """
    mask = allowed[b % allowed.shape[0]]
    count = scores.shape[1]
    broken, some = 0, 0
    far[count] = near[count] = 0.0
    for p in range(count):
        x = np.float64(scores[b, p])
        ok = mask[p]
        broken += ok and not x < HUGE
        ok = ok and x > -HUGE
        big = ok and (x > FAR or x < -FAR)
        some += big
        far[p] = x if big else 0.0
        near[p] = 0.0 if big else (x if ok else -np.inf)
    if broken > 0:
        return 0
    return 1 if some == 0 else 2


@njit(cache=True, nogil=True)
def exponentiate(x):
    """Replace numbers up to 0 by their exponentials, in vector instructions."""
    for e in range(len(x)):
        x[e] = exponential(x[e])


@njit(cache=True, nogil=True, inline="always")
def best_edge(v, first, tails, parts, best, own):
    """Return the best score of a way to node v, and its last edge."""
    top, at = -np.inf, -1
    for e in range(first[v], first[v + 1]):
        value = best[tails[e]] + own[parts[e]]
        if value > top:
            top, at = value, e
    return top, at


@njit(cache=True, nogil=True)
def decode(start, stop, first, tails, parts, sources, targets, scores, allowed, z, state):
    """Write the best path of every instance; 1 where there is none, 2 where a score is none."""
    nodes, count = len(first) - 1, scores.shape[1]
    best, came = np.empty(nodes), np.empty(nodes, dtype=np.int64)
    own = np.empty(count + 1)
    for b in range(start, stop):
        source, target = sources[b], targets[b]
        mask = allowed[b % allowed.shape[0]]
        broken, huge = 0, 0
        own[count] = 0.0
        for p in range(count):
            x = np.float64(scores[b, p]) if mask[p] else -np.inf
            own[p] = x
            broken += not x < np.inf
            huge += (x < -1e300) & (x > -np.inf) | (x > 1e300)
        if broken > 0:
            state[b] = _BROKEN
            continue
        if huge > 0:  # a power of two changes no digit, and sums no longer overflow
            for p in range(count):
                own[p] *= 2.0**-64
        for v in range(source):
            best[v] = -np.inf
        best[source] = 0.0
        for v in range(source + 1, target + 1):
            best[v], came[v] = best_edge(v, first, tails, parts, best, own)
        if target < source or not best[target] > -np.inf:
            state[b] = _NO_PATH
            continue
        v = target
        while v != source:
            e = came[v]
            if parts[e] < count:
                z[b, parts[e]] = 1.0
            v = tails[e]


@njit(cache=True, nogil=True, inline="always")
def gather(v, graph, near, low, share):
    """Write the scores of the best ways to node v by each edge, less the best; return that."""
    first, tails, parts, _ = graph
    begin, count = np.uint64(first[v]), np.uint64(first[v + 1] - first[v])
    top = -np.inf
    for t in range(count):
        x = low[tails[begin + t]] + near[parts[begin + t]]
        share[begin + t] = x
        top = x if x > top else top
    least = top if top > -np.inf else 0.0
    for t in range(count):
        share[begin + t] -= least
    return top


@njit(cache=True, nogil=True, inline="always")
def gather_far(v, graph, far, near, high, low, share):
    """Write the same of scores in two parts; return those of the best."""
    first, tails, parts, _ = graph
    top_high, top = 0.0, -np.inf
    for e in range(first[v], first[v + 1]):
        h, x = high[tails[e]] + far[parts[e]], low[tails[e]] + near[parts[e]]
        if x > -np.inf and (top == -np.inf or (h - top_high) + (x - top) > 0.0):
            top_high, top = h, x
    least = top if top > -np.inf else 0.0
    for e in range(first[v], first[v + 1]):
        h, x = high[tails[e]] + far[parts[e]], low[tails[e]] + near[parts[e]]
        share[e] = (h - top_high) + (x - least)
    return top_high, top


@njit(cache=True, nogil=True, inline="always")
def normalise(v, first, low, share, keep):
    """Add the logarithm of the sum of what enters node v; divide by the sum if that is kept.

    Four sums side by side do not wait for each other.
    """
    begin, count = np.uint64(first[v]), np.uint64(first[v + 1] - first[v])
    four, one = np.uint64(4), np.uint64(1)
    a = b = c = d = 0.0
    t = np.uint64(0)
    while t + four <= count:
        at = begin + t
        a += share[at]
        b += share[at + one]
        c += share[at + one + one]
        d += share[at + one + one + one]
        t += four
    while t < count:
        a += share[begin + t]
        t += one
    total = (a + b) + (c + d)
    if total > 0.0 and total != 1.0:
        low[v] += np.log(total)
        if keep:
            scale = 1.0 / total
            for t in range(count):
                share[begin + t] *= scale


@njit(cache=True, nogil=True)
def inside(source, target, graph, some_far, far, near, high, low, share, keep):
    """Sum over the paths from the source; shares of the edges among those that enter a node.

    Level by level: no edge joins two nodes of one, so that all their edges are exponentiated at
    once.
    """
    first, _, _, levels = graph
    for v in range(source):
        high[v], low[v] = 0.0, -np.inf
    high[source], low[source] = 0.0, 0.0
    for level in range(len(levels) - 1):
        begin, end = max(levels[level], source + 1), min(levels[level + 1], target + 1)
        if begin >= end:
            continue
        for v in range(begin, end):
            high[v] = 0.0
            if some_far:
                high[v], low[v] = gather_far(v, graph, far, near, high, low, share)
            else:
                low[v] = gather(v, graph, near, low, share)
        exponentiate(share[first[begin] : first[end]])
        for v in range(begin, end):
            normalise(v, first, low, share, keep)
    return target >= source and low[target] > -np.inf


@njit(cache=True, nogil=True)
def values(start, stop, first, tails, parts, levels, sources, targets, scores, allowed, log_z):
    """Write the log of the sum over the paths of every instance."""
    nodes, count, graph = len(first) - 1, scores.shape[1], (first, tails, parts, levels)
    far, near = np.empty(count + 1), np.empty(count + 1)
    high, low, share = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
    for b in range(start, stop):
        kind = read(b, scores, allowed, far, near)
        if kind == 0:
            log_z[b] = np.nan
            continue
        s, t = sources[b], targets[b]
        fine = inside(s, t, graph, kind == 2, far, near, high, low, share, False)
        log_z[b] = high[t] + low[t] if fine else -np.inf


@njit(cache=True, nogil=True)
def pass_back(s, t, first, tails, parts, share, through, own):
    """Write the probability of every part; of edges without one, behind them all."""
    own[:] = 0.0
    through[: t + 1] = 0.0
    through[t] = 1.0
    for v in range(t, s, -1):
        if through[v] == 0.0:
            continue
        for e in range(first[v], first[v + 1]):
            x = through[v] * share[e]
            through[tails[e]] += x
            own[parts[e]] += x


@njit(cache=True, nogil=True)
def marginals(start, stop, first, tails, parts, levels, sources, targets, scores, allowed, mu):
    """Write the probability of every part."""
    nodes, count, graph = len(first) - 1, scores.shape[1], (first, tails, parts, levels)
    far, near = np.empty(count + 1), np.empty(count + 1)
    high, low, share = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
    through, own = np.empty(nodes), np.empty(count + 1)
    for b in range(start, stop):
        s, t = sources[b], targets[b]
        kind = read(b, scores, allowed, far, near)
        if not (kind and inside(s, t, graph, kind == 2, far, near, high, low, share, True)):
            mu[b] = np.nan
            continue
        pass_back(s, t, first, tails, parts, share, through, own)
        for p in range(count):
            mu[b, p] = own[p]


@njit(cache=True, nogil=True)
def change_forth(s, t, first, tails, parts, share, way, slope):
    """Write the derivative along `way` of the log of the sum of the ways to every node."""
    slope[: t + 1] = 0.0
    for v in range(s + 1, t + 1):
        total = 0.0
        for e in range(first[v], first[v + 1]):
            if share[e] > 0.0:
                total += share[e] * (slope[tails[e]] + way[parts[e]])
        slope[v] = total


@njit(cache=True, nogil=True)
def change_back(s, t, first, tails, parts, share, way, slope, through, change, own):
    """Write the derivative along `way` of the probability of every part, as `pass_back` does."""
    own[:] = 0.0
    through[: t + 1] = 0.0
    change[: t + 1] = 0.0
    through[t] = 1.0
    for v in range(t, s, -1):
        g, h = through[v], change[v]
        if g == 0.0:
            continue
        for e in range(first[v], first[v + 1]):
            if share[e] > 0.0:
                x = share[e] * (h + g * (slope[tails[e]] + way[parts[e]] - slope[v]))
                through[tails[e]] += g * share[e]
                change[tails[e]] += x
                own[parts[e]] += x


@njit(cache=True, nogil=True)
def hessian_product(
    start, stop, first, tails, parts, levels, sources, targets, scores, allowed, vector, out
):
    """Write the product of the second derivatives of log Z with a vector."""
    nodes, count, graph = len(first) - 1, scores.shape[1], (first, tails, parts, levels)
    far, near, way = np.empty(count + 1), np.empty(count + 1), np.empty(count + 1)
    high, low, share = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
    slope, through, change = np.empty(nodes), np.empty(nodes), np.empty(nodes)
    own = np.empty(count + 1)
    for b in range(start, stop):
        s, t = sources[b], targets[b]
        out[b] = 0.0
        kind = read(b, scores, allowed, far, near)
        if not (kind and inside(s, t, graph, kind == 2, far, near, high, low, share, True)):
            continue
        way[count] = 0.0
        for p in range(count):  # where there is no part there is no derivative
            way[p] = vector[b, p] if near[p] > -np.inf else 0.0
        change_forth(s, t, first, tails, parts, share, way, slope)
        change_back(s, t, first, tails, parts, share, way, slope, through, change, own)
        for p in range(count):
            out[b, p] = own[p]


@njit(cache=True, nogil=True, inline="always")
def drawn_edge(v, draw, first, share):
    """Return the edge into node v that a number in [0, 1) draws."""
    chosen, below = -1, 0.0
    for e in range(first[v], first[v + 1]):
        if share[e] > 0.0:
            chosen = e
            below += share[e]
            if below > draw:
                break
    return chosen


@njit(cache=True, nogil=True)
def sample(
    start, stop, first, tails, parts, levels, sources, targets, scores, allowed, draws, z, state
):
    """Write a path drawn from its distribution, by one number in [0, 1) for every node."""
    nodes, count, graph = len(first) - 1, scores.shape[1], (first, tails, parts, levels)
    far, near = np.empty(count + 1), np.empty(count + 1)
    high, low, share = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
    for b in range(start, stop):
        s, t = sources[b], targets[b]
        kind = read(b, scores, allowed, far, near)
        if not (kind and inside(s, t, graph, kind == 2, far, near, high, low, share, True)):
            state[b] = _NO_PATH
            continue
        v = t
        while v != s:
            chosen = drawn_edge(v, draws[b, v], first, share)
            if parts[chosen] < count:
                z[b, parts[chosen]] = 1.0
            v = tails[chosen]
