"""Semantic graphs: the best one, by one assignment of arguments to roles per predicate."""

from functools import cache
from typing import Any

import numpy as np

from ..._kernels.threads import run


def semantic_graphs(
    scores: np.ndarray,
    lengths: np.ndarray,
    first: np.ndarray,
    allowed: np.ndarray,
    deterministic: np.ndarray,
    predicates: bool,
) -> tuple[np.ndarray, np.ndarray]:
    r"""The best graph of every sentence, exactly; sums in float64.

    The score of a graph is a sum over its predicates. One predicate takes, for each argument $j$,
    no arc, or an arc with a free label, worth

    $$ f_j = \max\big(0,\ s_j + \max_{\ell \notin D} s_{j \ell}\big), $$

    or an arc with a deterministic label, which gains $g_{j \ell} = s_j + s_{j \ell} - f_j$ over
    that; no two arguments have the same one. Gains that are not positive are left out. What
    remains is an assignment of arguments to labels in which every argument may also stay alone.
    All arguments first take their best label; only those that lost it to another one are inserted
    by shortest augmenting paths. A predicate is on if its score and the value of its arcs exceed
    0. With $K$ slots, $O(K L)$, and $O(n L)$ for every row that a path visits.

    Args:
        scores: `(N, parts)`, float32 or float64: predicates if there are any, then slots of
            `[arc, label_1 ... label_L]`. -inf forbids a part. What stands at slots that are not
            allowed does not matter.
        lengths: `(N or 1,)` int64, words per sentence.
        first: `(N or 1, n + 1)` int64: the slots of predicate i are `first[i]:first[i + 1]`.
        allowed: `(N or 1, K)` booleans: slots that may be chosen.
        deterministic: `(L,)` booleans.
        predicates: Whether there are parts for predicates; if not, all are on for nothing.

    Returns:
        z: 0/1 in the shape and dtype of the scores; NaN where there is no answer.
        state: `(N,)` int8; 0: fine, 2: a part in use has a score of NaN or +inf.

    References:
        Jonker and Volgenant (1987), *A shortest augmenting path algorithm for dense and sparse
        linear assignment problems*; decoding by parts and determinism: Flanigan, Thomson,
        Carbonell, Dyer and Smith (2014); Peng, Thomson and Smith (2017).
    """
    z = np.zeros_like(scores)
    state = np.zeros(len(scores), dtype=np.int8)
    labels = np.flatnonzero(~deterministic), np.flatnonzero(deterministic)
    args = (scores, lengths, first, allowed, *labels, predicates, z, state)
    run(_kernel(), len(scores), scores.size, *args)
    return z, state


@cache
def _kernel() -> Any:  # noqa: PLR0915 (a compiled function that calls another is never cached)
    import numba

    @numba.njit(cache=True, nogil=True)
    def kernel(  # noqa: PLR0915
        start, stop, scores, lengths, first, allowed, free, roles, predicates, z, state
    ):
        size = first.shape[1] - 1
        offset = size if predicates else 0
        width = 1 + len(free) + len(roles)
        value, choice = np.empty(size), np.empty(size, dtype=np.int64)  # per slot of a predicate
        # Arguments that gain by a role: slot, s_j - f_j, dual, favourite, role; roles by position.
        slot, favourite = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
        role = np.empty(size, dtype=np.int64)
        base, dual = np.empty(size), np.empty(size)
        owner, came = np.empty(len(roles), dtype=np.int64), np.empty(len(roles), dtype=np.int64)
        price, distance = np.empty(len(roles)), np.empty(len(roles))
        todo, done = np.empty(len(roles), dtype=np.int64), np.empty(len(roles), dtype=np.int64)
        for b in range(start, stop):
            row, ends, may = scores[b], first[b % len(first)], allowed[b % len(allowed)]
            broken = False
            for i in range(lengths[b % len(lengths)]):
                begin, end = ends[i], ends[i + 1]
                own = np.float64(row[i]) if predicates else 0.0
                broken |= not own < np.inf
                bound, rows = own, 0
                for k in range(begin, end):
                    here = k - begin
                    value[here], choice[here] = 0.0, -1
                    if not may[k]:
                        continue
                    at = offset + k * width
                    arc = np.float64(row[at])
                    broken |= not arc < np.inf
                    if arc == -np.inf:
                        continue
                    best, which = -np.inf, -1
                    for position in range(len(free)):
                        s = row[at + 1 + free[position]]
                        broken |= not s < np.inf
                        if s > best:
                            best, which = np.float64(s), free[position]
                    if arc + best > 0:
                        value[here], choice[here] = arc + best, which
                        bound += arc + best
                    best, which = -np.inf, -1
                    for position in range(len(roles)):
                        s = row[at + 1 + roles[position]]
                        broken |= not s < np.inf
                        if s > best:
                            best, which = np.float64(s), position
                    gain = (arc - value[here]) + best
                    if gain > 0:
                        slot[rows], base[rows] = k, arc - value[here]
                        dual[rows], favourite[rows] = gain, which
                        rows += 1
                        bound += gain
                broken |= not bound < np.inf  # sums that overflow are of no use either
                if broken:
                    break
                if predicates and not bound > 0:
                    continue
                if rows > 0:
                    owner[:] = -1
                    price[:] = 0.0
                for r in range(rows):
                    role[r] = -1
                    if owner[favourite[r]] < 0:
                        owner[favourite[r]], role[r] = r, favourite[r]
                # Duals: dual_r + price_l >= gain_rl, dual >= 0, price >= 0, equal where assigned;
                # roles without an owner have price 0, so dual_r is how far r is from staying alone.
                for root in range(rows):
                    if role[root] >= 0:
                        continue
                    open_roles, closed = len(roles), 0
                    for position in range(open_roles):
                        todo[position], distance[position] = position, np.inf
                    r, length = root, 0.0
                    alone, leaves = np.inf, root
                    target = -1
                    while True:
                        if length + dual[r] < alone:
                            alone, leaves = length + dual[r], r
                        at = offset + slot[r] * width + 1
                        shift = length + dual[r] - base[r]
                        nearest, where = np.inf, -1
                        for position in range(open_roles):
                            l = todo[position]  # noqa: E741 (a label, as in the formula)
                            d = shift + price[l] - row[at + roles[l]]
                            if d < distance[l]:
                                distance[l], came[l] = d, r
                            if distance[l] < nearest:
                                nearest, where = distance[l], position
                        if alone <= nearest:
                            length = alone
                            break
                        length = max(nearest, length)
                        l = todo[where]  # noqa: E741
                        if owner[l] < 0:
                            target = l
                            break
                        open_roles -= 1
                        todo[where] = todo[open_roles]
                        done[closed] = l
                        closed += 1
                        r = owner[l]
                    dual[root] -= length
                    for position in range(closed):
                        l = done[position]  # noqa: E741
                        dual[owner[l]] -= length - distance[l]
                        price[l] += length - distance[l]
                    if target < 0:  # `leaves` stays alone, and its role becomes free
                        target = role[leaves]
                        role[leaves] = -1
                    while target >= 0:  # every argument on the path moves on to the next role
                        r = came[target]
                        owner[target] = r
                        target, role[r] = role[r], target
                        if r == root:
                            break
                total = own
                for r in range(rows):
                    if role[r] >= 0:
                        label = roles[role[r]]
                        here = slot[r] - begin
                        s = np.float64(row[offset + slot[r] * width + 1 + label])
                        value[here] += base[r] + s
                        choice[here] = label
                for k in range(end - begin):
                    total += value[k]
                if predicates:
                    if not total > 0:
                        continue
                    z[b, i] = 1.0
                for k in range(end - begin):
                    if choice[k] >= 0:
                        at = offset + (begin + k) * width
                        z[b, at] = z[b, at + 1 + choice[k]] = 1.0
            if broken:
                state[b] = 2
                z[b] = np.nan

    return kernel
