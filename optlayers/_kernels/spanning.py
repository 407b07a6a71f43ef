"""Compiled union-find over the edges of an undirected graph: spanning trees."""

import numpy as np
from numba import njit

_NO_TREE, _BROKEN = 1, 2


@njit(cache=True, nogil=True)
def _root(above, v):
    """Return the node that stands for the tree of v; the way there becomes shorter."""
    while above[v] != v:
        above[v] = above[above[v]]
        v = above[v]
    return v


@njit(cache=True, nogil=True)
def kruskal(start, stop, nodes, edges, scores, order, allowed, z, state):
    """Write the spanning trees of best score; 1 where there is none, 2 where a score is none.

    Args:
        start: First instance.
        stop: After the last one.
        nodes: Number of nodes.
        edges: `(edges, 2)`.
        scores: `(N, edges)`.
        order: `(N, edges)`, edges by falling score.
        allowed: `(N or 1, edges)`.
        z: `(N, edges)`, zeros.
        state: `(N,)`, zeros.
    """
    above = np.empty(nodes, dtype=np.int64)
    for b in range(start, stop):
        mask = allowed[b % allowed.shape[0]]
        broken = 0
        for e in range(len(edges)):
            broken += mask[e] and not scores[b, e] < np.inf
        if broken > 0:
            state[b] = _BROKEN
            continue
        for v in range(nodes):
            above[v] = v
        left = nodes - 1
        for e in order[b]:
            if left == 0:
                break
            if not mask[e] or scores[b, e] == -np.inf:
                continue
            u, v = _root(above, edges[e, 0]), _root(above, edges[e, 1])
            if u != v:
                above[u] = v
                z[b, e] = 1.0
                left -= 1
        if left > 0:
            state[b] = _NO_TREE


@njit(cache=True, nogil=True)
def check(start, stop, nodes, edges, chosen, answer):
    """Write whether the chosen edges are a spanning tree."""
    above = np.empty(nodes, dtype=np.int64)
    for b in range(start, stop):
        for v in range(nodes):
            above[v] = v
        left, fine = nodes - 1, True
        for e in range(len(edges)):
            if chosen[b, e]:
                u, v = _root(above, edges[e, 0]), _root(above, edges[e, 1])
                fine &= u != v
                above[u] = v
                left -= 1
        answer[b] = fine and left == 0
