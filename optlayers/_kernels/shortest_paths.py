"""Compiled search for the best path of a graph with cycles; scores are gains.

Edges that leave node v are `leaving[first[v]]` to `leaving[first[v + 1]]`, numbers of edges.
"""

import numpy as np
from numba import njit

_NO_PATH, _BROKEN, _CYCLE = 1, 2, 3


@njit(cache=True, nogil=True, inline="always")
def _let_wait(u, heap, size, place):
    """Put node u to the end of the heap unless it waits there; return how many wait."""
    if place[u] != -1:
        return size
    heap[size] = u
    place[u] = size
    return size + 1


@njit(cache=True, nogil=True)
def dijkstra(source, target, first, leaving, heads, s, best, came, heap, place):
    """Find the best paths from the source for scores that are at most zero.

    Nodes wait in a heap, and one that improves while it waits is sifted up.
    """
    best[:] = -np.inf
    place[:] = -1  # where in the heap; -1: not met, -2: settled
    best[source], heap[0], size = 0.0, source, 1
    place[source] = 0
    while size > 0:
        v = heap[0]
        place[v] = -2
        if v == target:
            return
        size -= 1
        if size > 0:
            heap[0] = heap[size]
            _sift_down(heap, size, best, place)
        for k in range(first[v], first[v + 1]):
            e = leaving[k]
            u, value = heads[e], best[v] + s[e]
            if value > best[u] and place[u] != -2:
                best[u], came[u] = value, e
                size = _let_wait(u, heap, size, place)
                _sift_up(heap, best, place[u], place)


@njit(cache=True, nogil=True)
def _sift_up(heap, key, k, place):
    node = heap[k]
    while k > 0:
        above = (k - 1) // 2
        if key[heap[above]] >= key[node]:
            break
        heap[k] = heap[above]
        place[heap[k]] = k
        k = above
    heap[k] = node
    place[node] = k


@njit(cache=True, nogil=True)
def _sift_down(heap, size, key, place):
    node, k = heap[0], 0
    while 2 * k + 1 < size:
        child = 2 * k + 1
        if child + 1 < size and key[heap[child + 1]] > key[heap[child]]:
            child += 1
        if key[heap[child]] <= key[node]:
            break
        heap[k] = heap[child]
        place[heap[k]] = k
        k = child
    heap[k] = node
    place[node] = k


@njit(cache=True, nogil=True)
def bellman_ford(source, tails, heads, s, slack, best, came):
    """Find the best paths from the source; whether there are any, not ever better walks."""
    best[:] = -np.inf
    came[:] = -1
    best[source] = 0.0
    for _ in range(len(best) + 1):
        changed = False
        for e in range(len(tails)):
            value = best[tails[e]] + s[e]
            if value > best[heads[e]] + slack:
                best[heads[e]], came[heads[e]] = value, e
                changed = True
        if not changed:
            return True
    return False


@njit(cache=True, nogil=True)
def cycle_gain(tails, s, came, path):
    """Return what a cycle among the edges in `came` gains, and how many nodes it has.

    Its edges are written to `path`, the last one first.
    """
    count = len(came)
    for start in range(count):
        v = start
        for _ in range(count):
            if came[v] < 0:
                break
            v = tails[came[v]]
        if came[v] < 0:
            continue
        gain, first, length = 0.0, v, 0
        while True:
            e = came[v]
            path[length] = e
            gain += s[e]
            length += 1
            v = tails[e]
            if v == first or length == count:
                break
        return gain, length
    return 0.0, 0


@njit(cache=True, nogil=True)
def decode(start, stop, first, leaving, tails, heads, sources, targets, scores, allowed, z, state):
    """Write the best path of every instance; 1: there is none, 2: a bad score, 3: a cycle gains."""
    nodes, count = len(first) - 1, len(tails)
    best, came = np.empty(nodes), np.empty(nodes, dtype=np.int64)
    heap, place = np.empty(nodes, dtype=np.int64), np.empty(nodes, dtype=np.int64)
    path, own = np.empty(nodes, dtype=np.int64), np.empty(count)
    for b in range(start, stop):
        source, target = sources[b], targets[b]
        mask = allowed[b % allowed.shape[0]]
        broken, huge, largest, top = 0, 0, 0.0, -np.inf
        for e in range(count):
            x = np.float64(scores[b, e]) if mask[e] else -np.inf
            own[e] = x
            broken += not x < np.inf
            huge += (x < -1e300) & (x > -np.inf) | (x > 1e300)
            top = max(top, x)
            if x > -np.inf:
                largest = max(largest, abs(x))
        if broken > 0:
            state[b] = _BROKEN
            continue
        if huge > 0:  # a power of two changes no digit, and sums no longer overflow
            own *= 2.0**-64
            largest *= 2.0**-64
        if top <= 0.0:
            dijkstra(source, target, first, leaving, heads, own, best, came, heap, place)
        elif not bellman_ford(source, tails, heads, own, 0.0, best, came):
            gain, _ = cycle_gain(tails, own, came, path)
            tiny = 4.0 * nodes * 2.0**-52 * largest
            if gain > tiny or not bellman_ford(source, tails, heads, own, tiny, best, came):
                state[b] = _CYCLE
                continue
        if not best[target] > -np.inf:
            state[b] = _NO_PATH
            continue
        v = target
        while v != source:
            e = came[v]
            z[b, e] = 1.0
            v = tails[e]


@njit(cache=True, nogil=True)
def gaining_cycle(source, tails, heads, s, nodes):
    """Return the edges of a cycle that gains, in order, and its gain."""
    best, came = np.empty(nodes), np.empty(nodes, dtype=np.int64)
    path = np.empty(nodes, dtype=np.int64)
    bellman_ford(source, tails, heads, s, 0.0, best, came)
    gain, length = cycle_gain(tails, s, came, path)
    return path[:length][::-1].copy(), gain


@njit(cache=True, nogil=True)
def contains(start, stop, tails, sources, targets, heads, z, answer):
    """Write whether the chosen edges are one path from the source to the target."""
    nodes = 1 + max(tails.max(), heads.max())
    leaves, count = np.empty(nodes, dtype=np.int64), len(tails)
    for b in range(start, stop):
        leaves[:] = -1
        chosen, fine = 0, True
        for e in range(count):
            if z[b, e]:
                chosen += 1
                fine &= leaves[tails[e]] == -1
                leaves[tails[e]] = e
        v, steps = sources[b], 0
        while v != targets[b] and leaves[v] >= 0 and steps <= chosen:
            v = heads[leaves[v]]
            steps += 1
        answer[b] = fine and v == targets[b] and steps == chosen
