"""Compiled Chu-Liu/Edmonds on dense matrices; see `_sets/trees/arborescence.py` for the method."""

from typing import NamedTuple

import numpy as np

from .lean import without_nan
from .parts import kernel, part

UNMET, ON_PATH, HANGS = 0, 1, 2  # not looked at yet; on the path; hangs on the root, or is gone


class Graph(NamedTuple):
    """Arrays of one thread. Rows are nodes; a contracted cycle takes over the row of one member.

    Columns stay words: -inf where the word is a part of the node itself.
    """

    weight: np.ndarray  # [m, h], that of the best arc from word h into node m
    origin: np.ndarray  # [m, h], the word of node m that this arc enters
    row: np.ndarray  # by word: the node that it is a part of
    follower: np.ndarray  # by word: the next one of the same node, in a circle
    entering: np.ndarray  # weight of the arc chosen into a node
    met: np.ndarray
    path: np.ndarray
    name: np.ndarray  # of the node in a row: a word, or n + 1, n + 2, ... for a cycle
    parent: np.ndarray  # by name: the contracted node that a node is part of
    chosen: np.ndarray  # by name: origin of the arc chosen into a node


@part
def take_scores(b, n, scores, allowed, weight, origin):
    """Write the scores in float64, -inf for what must not be chosen; whether all are numbers.

    Short loops over one row each, without branches: they become vector instructions.
    """
    for h in range(n + 1):
        row = scores[b, h]
        for m in range(1, n + 1):
            weight[m, h] = row[m]
        if allowed is not None:
            mask = allowed[b % allowed.shape[0], h]
            for m in range(1, n + 1):
                weight[m, h] = weight[m, h] if mask[m] else -np.inf
    broken, huge = 0, 0
    for m in range(1, n + 1):
        into, arcs = weight[m], origin[m]
        into[m] = -np.inf
        for h in range(n + 1):
            arcs[h] = m
            broken += not into[h] < np.inf
            huge += (abs(into[h]) > 1e300) & (into[h] > -np.inf)
    if huge > 0:  # a power of two changes no digit, and differences no longer overflow
        for m in range(1, n + 1):
            for h in range(n + 1):
                weight[m, h] *= 2.0**-64
    return broken == 0


@without_nan
def largest(into, first, n):
    """Return the largest of a row without NaN, from a head on: in vector instructions."""
    best = -np.inf
    for h in range(first, n + 1):
        best = max(best, into[h])
    return best


@without_nan
def merge(into, origin, other, other_origin, other_entering, n):
    """Let a row have the better arcs of two, less what entering there gives up."""
    for h in range(n + 1):
        value = other[h] - other_entering
        better = value > into[h]
        into[h] = value if better else into[h]
        origin[h] = other_origin[h] if better else origin[h]


@without_nan
def contract(graph, n, top, end):
    """Make row `path[top]` the cycle `path[top:end + 1]`."""
    weight, origin, row, follower, entering, met, path = graph[:7]
    # Entering it at a member gives up the arc chosen into that member.
    u = path[top]
    into = weight[u]
    for h in range(n + 1):
        into[h] -= entering[u]
    for i in range(top + 1, end + 1):
        v = path[i]
        met[v] = HANGS  # gone
        merge(into, origin[u], weight[v], origin[v], entering[v], n)
        follower[u], follower[v] = follower[v], follower[u]
    word = u
    while True:
        row[word], into[word] = u, -np.inf
        word = follower[word]
        if word == u:
            break


@without_nan
def hang(graph, n, side, word, single_root, names, roots):
    """Grow a path backwards from a word until it hangs on the root.

    Returns how many names and arcs from the root there are now; -1 for the second if no tree is
    allowed.
    """
    weight, origin, row, _, entering, met, path, name, parent, chosen = graph
    path[0], top = word, 0
    met[word] = ON_PATH
    while True:
        v = path[top]
        into = weight[v]
        best, h = largest(into, 1 if single_root else 0, n), 0
        if best > -np.inf:
            h = 1 if single_root else 0
            while into[h] != best:
                h += 1
        if h == 0:  # with a single root, only if there is no other arc
            best = into[0]
            roots += 1
            if best == -np.inf or (single_root and roots > 1):
                return names, -1
        u, entering[v] = row[h], best
        chosen[name[v]] = h * side + origin[v, h]
        if met[u] == HANGS:
            for i in range(top + 1):
                met[path[i]] = HANGS
            return names, roots
        if met[u] == UNMET:
            met[u] = ON_PATH
            top += 1
            path[top] = u
            continue
        end = top  # a cycle: from u, earlier on the path, to v, its end
        while path[top] != u:
            top -= 1
        contract(graph, n, top, end)
        for i in range(top, end + 1):
            parent[name[path[i]]] = names
        name[u], parent[names] = names, 0
        names += 1


@without_nan
def open_nodes(graph, n, names, side, heads):
    """Open the contracted nodes, the last one first, and write down the heads.

    The arc into a node replaces the one chosen into the member that it enters.
    """
    chosen, parent = graph.chosen, graph.parent
    for node in range(names - 1, n, -1):
        member = chosen[node] % side
        while parent[member] != node:
            member = parent[member]
        chosen[member] = chosen[node]
    for m in range(1, n + 1):
        heads[m] = chosen[m] // side


@kernel
def decode(start, stop, scores, lengths, allowed, single_root, heads, state):
    """Write the heads of the best trees, and 1 where there is none, 2 where a score is none."""
    side = scores.shape[1]
    graph = Graph(
        np.empty((side, side)),
        np.empty((side, side), dtype=np.int64),
        np.empty(side, dtype=np.int64),
        np.empty(side, dtype=np.int64),
        np.empty(side),
        np.empty(side, dtype=np.int8),
        np.empty(side, dtype=np.int64),
        np.empty(side, dtype=np.int64),
        np.empty(2 * side, dtype=np.int64),
        np.empty(2 * side, dtype=np.int64),
    )
    for b in range(start, stop):
        n = lengths[b]
        if not take_scores(b, n, scores, allowed, graph.weight, graph.origin):
            state[b] = 2
            continue
        for v in range(n + 1):
            graph.met[v], graph.name[v], graph.parent[v] = UNMET, v, 0
            graph.row[v] = graph.follower[v] = v
        graph.met[0] = HANGS
        names, roots, word = n + 1, 0, 1
        while word <= n and roots >= 0:
            if graph.met[word] == UNMET:
                names, roots = hang(graph, n, side, word, single_root, names, roots)
            word += 1
        if roots < 0:
            state[b] = 1
            continue
        open_nodes(graph, n, names, side, heads[b])
