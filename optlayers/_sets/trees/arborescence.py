"""Non-projective dependency trees: the best one, by contracting cycles."""

from functools import cache
from typing import Any

import numpy as np

from ..._kernels.threads import run


def arborescence(
    scores: np.ndarray, lengths: np.ndarray, allowed: np.ndarray | None, single_root: bool
) -> tuple[np.ndarray, np.ndarray]:
    r"""The best tree of every sentence, crossing arcs or not: Chu-Liu/Edmonds, $O(n^2)$ each.

    A path is grown backwards along best arcs until it meets the root or words that hang on it
    already; a cycle is contracted into one node of a dense matrix, at a cost of $|C| n$ for
    $|C|$ members. Every contraction removes $|C| - 1 \ge |C| / 2$ nodes, so all of them together
    cost at most $2 n^2$; the best arcs into the at most $2 n$ nodes cost $2 n^2$ again.

    A single root takes the same one run. Edmonds' algorithm only adds, subtracts and compares
    weights, so it is right over any ordered group, in particular over pairs
    $(-[h = 0],\ s_{hm})$ in lexicographic order: its answer has the fewest arcs from the root and
    the best score among the trees with that many. Arcs from the root are the only ones that leave
    it and none enters it, so they never lie on a cycle, nothing is ever subtracted from the first
    entry, and the order says: a node takes the best arc from other words if one is allowed, and
    its arc from the root only if none is. If the answer has one arc from the root it is the best
    tree with a single root, and if it has more, there is none.

    Contraction subtracts scores, in float64: each cycle around an arc rounds its weight by about
    $2^{-52} \max |s|$, and arcs closer than that may be taken for one another. That is far below
    1e-3 where scores reach 1e6, and the reason to forbid arcs by `allowed` or -inf, not by a
    large finite number. Of equally good trees, always the same one.

    Args:
        scores: `(N, n + 1, n + 1)`, float32 or float64; `[b, h, m]` for the arc from h to m.
            -inf forbids an arc. What stands at padding, at self-loops and at arcs into the root
            does not matter.
        lengths: `(N,)` int64, words per sentence.
        allowed: `(N or 1, n + 1, n + 1)` booleans, or None for all arcs.
        single_root: Whether exactly one word hangs on the root.

    Returns:
        heads: `(N, n + 1)` int64; -1 at index 0, at padding, and where there is no answer.
        state: `(N,)` int8; 0: fine, 1: no tree is allowed, 2: an allowed arc has a score of NaN
            or +inf.

    References:
        Chu and Liu (1965), *On the shortest arborescence of a directed graph*; Edmonds (1967),
        *Optimum branchings*; Tarjan (1977), *Finding optimum branchings*; Gabow and Tarjan
        (1984), *Efficient algorithms for a family of matroid intersection problems*; Zmigrod,
        Vieira and Cotterell (2020), *Please mind the root: decoding arborescences for dependency
        parsing*; Stanojević and Cohen (2021), *A root of a problem: optimizing single-root
        dependency parsing*.
    """
    count, side = scores.shape[:2]
    heads = np.full((count, side), -1, dtype=np.int64)
    state = np.zeros(count, dtype=np.int8)
    cost = 8 * int(((lengths + 1) ** 2).sum())
    run(_kernel(), count, cost, scores, lengths, allowed, single_root, heads, state)
    return heads, state


@cache
def _kernel() -> Any:  # noqa: PLR0915 (calls cost; see below)
    import numba

    # One function: a compiled function that calls another local one is never found in the cache.
    @numba.njit(cache=True, nogil=True)
    def kernel(start, stop, scores, lengths, allowed, single_root, heads, state):  # noqa: PLR0915
        side = scores.shape[1]
        # Rows are nodes, weight[m, h] that of the best arc from node h into node m, and
        # origin[m, h] = h' (n + 1) + m' the words it connects. A contracted cycle takes over the
        # row and column of one member; -inf in the columns of the others makes them vanish.
        weight = np.empty((side, side))
        origin = np.empty((side, side), dtype=np.int64)
        entering = np.empty(side)  # weight of the arc chosen into a node
        met = np.empty(side, dtype=np.int8)  # 0: not yet, 1: on the path, 2: hangs on the root
        path = np.empty(side, dtype=np.int64)
        name = np.empty(side, dtype=np.int64)  # of the node in a row: a word, or n + 1, n + 2, ...
        parent = np.empty(2 * side, dtype=np.int64)  # the contracted node that a node is part of
        chosen = np.empty(2 * side, dtype=np.int64)  # origin of the arc chosen into a node
        for b in range(start, stop):
            n = lengths[b]
            # ---- weights in float64, -inf for what must not be chosen
            broken, huge = 0, 0
            for h in range(n + 1):
                for m in range(1, n + 1):
                    ok = h != m
                    if allowed is not None:
                        ok &= allowed[b % allowed.shape[0], h, m]
                    value = np.float64(scores[b, h, m])
                    value = value if ok else -np.inf
                    weight[m, h] = value
                    origin[m, h] = h * side + m
                    broken += not value < np.inf
                    huge += (value < -1e300) & (value > -np.inf) | (value > 1e300)
            if broken > 0:
                state[b] = 2
                continue
            if huge > 0:  # a power of two changes no digit, and differences no longer overflow
                for m in range(1, n + 1):
                    for h in range(n + 1):
                        weight[m, h] *= 2.0**-64
            for v in range(n + 1):
                met[v], name[v], parent[v] = 0, v, 0
            met[0] = 2
            names, roots, fine = n + 1, 0, True
            for word in range(1, n + 1):
                if met[word] != 0:
                    continue
                path[0], top = word, 0
                met[word] = 1
                while True:
                    # ---- the best arc into the node at the end of the path
                    v = path[top]
                    into = weight[v]
                    u, best = 0, -np.inf if single_root else into[0]
                    for h in range(1, n + 1):
                        if into[h] > best:
                            u, best = h, into[h]
                    if u == 0:
                        best = into[0]
                        roots += 1
                        if best == -np.inf or (single_root and roots > 1):
                            fine = False
                            break
                    entering[v] = best
                    chosen[name[v]] = origin[v, u]
                    if met[u] == 2:
                        for i in range(top + 1):
                            met[path[i]] = 2
                        break
                    if met[u] == 0:
                        met[u] = 1
                        top += 1
                        path[top] = u
                        continue
                    # ---- a cycle: from u, earlier on the path, to v, its end; it becomes row u
                    end = top
                    while path[top] != u:
                        top -= 1
                    # Entering it at a member gives up the arc chosen into that member.
                    into = weight[u]
                    for h in range(n + 1):
                        into[h] -= entering[u]
                    for i in range(top + 1, end + 1):
                        v = path[i]
                        met[v] = 2  # gone: its column is emptied below
                        for h in range(n + 1):
                            value = weight[v, h] - entering[v]
                            better = value > into[h]
                            into[h] = value if better else into[h]
                            origin[u, h] = origin[v, h] if better else origin[u, h]
                    for i in range(top, end + 1):
                        into[path[i]] = -np.inf
                    for m in range(1, n + 1):
                        if m == u:
                            continue
                        for i in range(top + 1, end + 1):
                            v = path[i]
                            if weight[m, v] > weight[m, u]:
                                weight[m, u] = weight[m, v]
                                origin[m, u] = origin[m, v]
                            weight[m, v] = -np.inf
                    for i in range(top, end + 1):
                        parent[name[path[i]]] = names
                    name[u], parent[names] = names, 0
                    names += 1
                if not fine:
                    break
            if not fine:
                state[b] = 1
                continue
            # ---- open the contracted nodes, the last one first: the arc into a node replaces the
            # one chosen into the member that it enters
            for node in range(names - 1, n, -1):
                member = chosen[node] % side
                while parent[member] != node:
                    member = parent[member]
                chosen[member] = chosen[node]
            for m in range(1, n + 1):
                heads[b, m] = chosen[m] // side

    return kernel
