"""Compiled loops over paths of graphs without cycles; see `_paths/` for what they compute.

Nodes are numbered so that edges lead upwards. The edges that enter node v are `first[v]` to
`first[v + 1]`; edge e comes from node `tails[e]` and has the score of part `parts[e]`, or none
where that is the number of parts.

Scores beyond 1e4 are kept apart from the others until they are compared: so the digits of the
others survive where all paths have to pass parts of -1e9 or of the lowest float.
"""

import numpy as np
from numba import njit

_HUGE = 1e60  # beyond this a score counts as infinite
_FAR = 1e4
_FINE, _NO_PATH, _BROKEN = 0, 1, 2


@njit(cache=True, nogil=True)
def read(b, scores, allowed, far, near):
    """Write the scores in two parts, -inf for what must not be chosen; whether all are numbers."""
    mask = allowed[b % allowed.shape[0]]
    count = scores.shape[1]
    broken = 0
    far[count] = near[count] = 0.0
    for p in range(count):
        x = np.float64(scores[b, p])
        ok = mask[p]
        broken += ok and not x < _HUGE
        ok = ok and x > -_HUGE
        big = ok and (x > _FAR or x < -_FAR)
        far[p] = x if big else 0.0
        near[p] = 0.0 if big else (x if ok else -np.inf)
    return broken == 0


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
            top, at = -np.inf, -1
            for e in range(first[v], first[v + 1]):
                value = best[tails[e]] + own[parts[e]]
                if value > top:
                    top, at = value, e
            best[v], came[v] = top, at
        if target < source or not best[target] > -np.inf:
            state[b] = _NO_PATH
            continue
        v = target
        while v != source:
            e = came[v]
            if parts[e] < count:
                z[b, parts[e]] = 1.0
            v = tails[e]


@njit(cache=True, nogil=True)
def inside(source, target, first, tails, parts, far, near, high, low, share):
    """Sum over the paths from the source; shares of the edges among those that enter a node."""
    for v in range(source):
        high[v], low[v] = 0.0, -np.inf
    high[source], low[source] = 0.0, 0.0
    for v in range(source + 1, target + 1):
        top_high, top_low = 0.0, -np.inf
        for e in range(first[v], first[v + 1]):
            h, x = high[tails[e]] + far[parts[e]], low[tails[e]] + near[parts[e]]
            share[e] = x
            if x > -np.inf and (top_low == -np.inf or (h - top_high) + (x - top_low) > 0.0):
                top_high, top_low = h, x
        high[v], low[v] = top_high, top_low
        if top_low == -np.inf:
            for e in range(first[v], first[v + 1]):
                share[e] = 0.0
            continue
        total = 0.0
        for e in range(first[v], first[v + 1]):
            h = high[tails[e]] + far[parts[e]]
            share[e] = np.exp((h - top_high) + (share[e] - top_low))
            total += share[e]
        low[v] += np.log(total)
        for e in range(first[v], first[v + 1]):
            share[e] /= total
    return target >= source and low[target] > -np.inf


@njit(cache=True, nogil=True)
def values(start, stop, first, tails, parts, sources, targets, scores, allowed, log_z):
    """Write the log of the sum over the paths of every instance."""
    nodes, count = len(first) - 1, scores.shape[1]
    far, near = np.empty(count + 1), np.empty(count + 1)
    high, low, share = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
    for b in range(start, stop):
        if not read(b, scores, allowed, far, near):
            log_z[b] = np.nan
            continue
        s, t = sources[b], targets[b]
        fine = inside(s, t, first, tails, parts, far, near, high, low, share)
        log_z[b] = high[t] + low[t] if fine else -np.inf


@njit(cache=True, nogil=True)
def marginals(start, stop, first, tails, parts, sources, targets, scores, allowed, mu):
    """Write the probability of every part."""
    nodes, count = len(first) - 1, scores.shape[1]
    far, near = np.empty(count + 1), np.empty(count + 1)
    high, low, share = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
    through = np.empty(nodes)
    for b in range(start, stop):
        s, t = sources[b], targets[b]
        fine = read(b, scores, allowed, far, near)
        if not (fine and inside(s, t, first, tails, parts, far, near, high, low, share)):
            mu[b] = np.nan
            continue
        mu[b] = 0.0
        through[: t + 1] = 0.0
        through[t] = 1.0
        for v in range(t, s, -1):
            if through[v] == 0.0:
                continue
            for e in range(first[v], first[v + 1]):
                x = through[v] * share[e]
                through[tails[e]] += x
                if parts[e] < count:
                    mu[b, parts[e]] += x


@njit(cache=True, nogil=True)
def hessian_product(
    start, stop, first, tails, parts, sources, targets, scores, allowed, vector, out
):
    """Write the product of the second derivatives of log Z with a vector."""
    nodes, count = len(first) - 1, scores.shape[1]
    far, near, way = np.empty(count + 1), np.empty(count + 1), np.empty(count + 1)
    high, low, share = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
    slope, through, change = np.empty(nodes), np.empty(nodes), np.empty(nodes)
    for b in range(start, stop):
        s, t = sources[b], targets[b]
        out[b] = 0.0
        fine = read(b, scores, allowed, far, near)
        if not (fine and inside(s, t, first, tails, parts, far, near, high, low, share)):
            continue
        way[count] = 0.0
        for p in range(count):  # where there is no part there is no derivative
            way[p] = vector[b, p] if near[p] > -np.inf else 0.0
        slope[: t + 1] = 0.0
        for v in range(s + 1, t + 1):
            total = 0.0
            for e in range(first[v], first[v + 1]):
                if share[e] > 0.0:
                    total += share[e] * (slope[tails[e]] + way[parts[e]])
            slope[v] = total
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
                    if parts[e] < count:
                        out[b, parts[e]] += x


@njit(cache=True, nogil=True)
def sample(start, stop, first, tails, parts, sources, targets, scores, allowed, draws, z, state):
    """Write a path drawn from its distribution, by one number in [0, 1) for every node."""
    nodes, count = len(first) - 1, scores.shape[1]
    far, near = np.empty(count + 1), np.empty(count + 1)
    high, low, share = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
    for b in range(start, stop):
        s, t = sources[b], targets[b]
        fine = read(b, scores, allowed, far, near)
        if not (fine and inside(s, t, first, tails, parts, far, near, high, low, share)):
            state[b] = _NO_PATH
            continue
        v = t
        while v != s:
            chosen, below = -1, 0.0
            for e in range(first[v], first[v + 1]):
                if share[e] > 0.0:
                    chosen = e
                    below += share[e]
                    if below > draws[b, v]:
                        break
            if parts[chosen] < count:
                z[b, parts[chosen]] = 1.0
            v = tails[chosen]
