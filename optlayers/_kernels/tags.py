"""Compiled sums over sequences of tags: what `paths` computes, with the layout known ahead.

Tag k of position t has score `[t, 0, k]`, and `[t, 1 + j, k]` stands for tag j before it, all in
one row. Scores of one tag after another are side by side: loops over k are vector instructions.
"""

import numpy as np
from numba import njit

from .exponential import exponential
from .paths import inside, pass_back, read
from .scores import FAR


@njit(cache=True, nogil=True, inline="always")
def _read(b, scores, allowed, far, near):
    """Do as `paths.read` does, sooner where no score is far or infinite."""
    mask = allowed[b % allowed.shape[0]]
    other = 0
    for p in range(scores.shape[1]):
        x, ok = np.float64(scores[b, p]), mask[p]
        y = abs(x) if ok else 0.0
        other += 0 if y <= FAR else 1
        near[p] = x if ok else -np.inf
    return read(b, scores, allowed, far, near) if other > 0 else 1


@njit(cache=True, nogil=True, inline="always")
def _add(near, at, before, tags, way, top):
    """Write the scores of pairs of tags, with the ways before them, and the best of each tag."""
    for k in range(tags):
        top[k] = -np.inf
    for j in range(tags):
        a = before[j]
        for k in range(tags):
            x = a + near[at + (1 + j) * tags + k]
            way[j * tags + k] = x
            top[k] = x if x > top[k] else top[k]


@njit(cache=True, nogil=True, inline="always")
def _exponentiate(tags, way, top, total):
    """Replace scores of pairs by their exponentials, relative to the best; sum them by tag."""
    for k in range(tags):
        total[k] = 0.0
        top[k] = top[k] if top[k] > -np.inf else 0.0
    for j in range(tags):
        for k in range(tags):
            x = exponential(way[j * tags + k] - top[k])
            way[j * tags + k] = x
            total[k] += x


@njit(cache=True, nogil=True, inline="always")
def _share(tags, way, total):
    """Divide by the sums, so that what stands before a tag adds up to 1."""
    for k in range(tags):
        total[k] = 1.0 / total[k] if total[k] > 0.0 else 0.0
    for j in range(tags):
        for k in range(tags):
            way[j * tags + k] *= total[k]


@njit(cache=True, nogil=True)
def _forth(near, length, tags, low, share, top, total, keep):
    """Sum over the ways to every tag; shares of the tags before each, if kept. Return log Z."""
    for k in range(tags):
        low[0, k] = near[k]
    for t in range(1, length):
        at, way = t * (1 + tags) * tags, share[t if keep else 0]
        _add(near, at, low[t - 1], tags, way, top)
        _exponentiate(tags, way, top, total)
        for k in range(tags):
            low[t, k] = (top[k] + np.log(total[k]) if total[k] > 0.0 else -np.inf) + near[at + k]
        if keep:
            _share(tags, way, total)
    best, added = -np.inf, 0.0
    for k in range(tags):
        best = max(best, low[length - 1, k])
    if best == -np.inf:
        return best
    for k in range(tags):
        added += np.exp(low[length - 1, k] - best)
    return best + np.log(added)


@njit(cache=True, nogil=True)
def _back(length, tags, log_z, low, share, through, before, mu):
    """Write the probability of every part of one sequence."""
    mu[:] = 0.0
    for k in range(tags):
        through[k] = np.exp(low[length - 1, k] - log_z)
    for t in range(length - 1, -1, -1):
        at = t * (1 + tags) * tags
        for k in range(tags):
            mu[at + k] = through[k]
        if t == 0:
            break
        way = share[t]
        for j in range(tags):
            added = 0.0
            for k in range(tags):
                x = through[k] * way[j * tags + k]
                mu[at + (1 + j) * tags + k] = x
                added += x
            before[j] = added
        for j in range(tags):
            through[j] = before[j]


@njit(cache=True, nogil=True)
def values(
    start,
    stop,
    first,
    tails,
    parts,
    levels,
    sources,
    targets,
    scores,
    allowed,
    lengths,
    tags,
    out,
):
    """Write log Z of every sequence; as `paths.values`, with `lengths` by the last node."""
    nodes, count, graph = len(first) - 1, scores.shape[1], (first, tails, parts, levels)
    far, near, low = np.empty(count + 1), np.empty(count + 1), np.empty((lengths.max(), tags))
    share, top, total = np.empty((1, tags * tags)), np.empty(tags), np.empty(tags)
    for b in range(start, stop):
        kind, length = _read(b, scores, allowed, far, near), lengths[targets[b]]
        if kind == 0:
            out[b] = np.nan
        elif length == 0:
            out[b] = 0.0
        elif kind == 1:
            out[b] = _forth(near, length, tags, low, share, top, total, False)
        else:
            high, sums, ways = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
            fine = inside(sources[b], targets[b], graph, True, far, near, high, sums, ways, False)
            out[b] = high[targets[b]] + sums[targets[b]] if fine else -np.inf


@njit(cache=True, nogil=True)
def marginals(
    start, stop, first, tails, parts, levels, sources, targets, scores, allowed, lengths, tags, mu
):
    """Write the probability of every part; what `paths.marginals` is given."""
    nodes, count, graph = len(first) - 1, scores.shape[1], (first, tails, parts, levels)
    most = lengths.max()
    far, near, low = np.empty(count + 1), np.empty(count + 1), np.empty((most, tags))
    share, top, total = np.empty((most, tags * tags)), np.empty(tags), np.empty(tags)
    before, own = np.empty(tags), np.empty(count + 1)
    for b in range(start, stop):
        kind, length = _read(b, scores, allowed, far, near), lengths[targets[b]]
        if kind == 1 and length > 0:
            log_z = _forth(near, length, tags, low, share, top, total, True)
            if log_z > -np.inf:
                _back(length, tags, log_z, low, share, top, before, mu[b])
            else:
                mu[b] = np.nan
            continue
        s, t = sources[b], targets[b]
        high, sums, ways = np.empty(nodes), np.empty(nodes), np.empty(len(tails))
        if not (kind and inside(s, t, graph, kind == 2, far, near, high, sums, ways, True)):
            mu[b] = np.nan
            continue
        pass_back(s, t, first, tails, parts, ways, high, own)
        mu[b] = own[:count]
