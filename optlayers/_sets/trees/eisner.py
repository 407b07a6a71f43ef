"""Projective dependency trees: the best one, by dynamic programming over spans."""

from functools import cache
from typing import Any

import numpy as np

from ..._kernels.threads import run


def eisner(
    scores: np.ndarray, lengths: np.ndarray, allowed: np.ndarray | None, single_root: bool
) -> tuple[np.ndarray, np.ndarray]:
    r"""The best projective tree of every sentence, exactly: $O(n^3)$ each, sums in float64.

    Spans are headed at one of their ends. $C$ are complete, $I$ still lack the inner dependents
    of their modifier; an arrow points from the head:

    $$ I^{\to}_{ij} = s_{ij} + a_{ij}, \quad I^{\gets}_{ij} = s_{ji} + a_{ij}, \qquad
       a_{ij} = \max_{i \le k < j} C^{\to}_{ik} + C^{\gets}_{k+1,j} $$
    $$ C^{\to}_{ij} = \max_{i < k \le j} I^{\to}_{ik} + C^{\to}_{kj}, \qquad
       C^{\gets}_{ij} = \max_{i \le k < j} C^{\gets}_{ik} + I^{\gets}_{kj} $$

    With any number of words under the root, the answer is $C^{\to}_{0n}$. With a single one, the
    chart covers the words alone and the answer is $\max_m s_{0m} + C^{\gets}_{1m} + C^{\to}_{mn}$,
    at no further cost. Of equally good trees, always the same one.

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
        Eisner (1996), *Three new probabilistic models for dependency parsing: an exploration*;
        Eisner (2000), *Bilexical grammars and their cubic-time parsing algorithms*.
    """
    count, side = scores.shape[:2]
    heads = np.full((count, side), -1, dtype=np.int64)
    state = np.zeros(count, dtype=np.int8)
    cost = int(((lengths + 1) ** 3).sum()) // 4  # in vector instructions
    run(_kernel(), count, cost, scores, lengths, allowed, single_root, heads, state)
    return heads, state


@cache
def _kernel() -> Any:  # noqa: PLR0915 (calls cost; see below)
    import numba

    # One function: a compiled function that calls another local one is never found in the cache.
    # Without fast-math: the maxima below are elementwise, and so become vector instructions as
    # they are, with the meaning of -inf and of equality kept.
    @numba.njit(cache=True, nogil=True)
    def kernel(start, stop, scores, lengths, allowed, single_root, heads, state):  # noqa: PLR0915
        side = scores.shape[1]
        first = 1 if single_root else 0  # the chart covers first..n
        # Row j of a chart holds the spans [i, j] for all i, side by side.
        arc = np.empty((side, side))
        right, left = np.empty((side, side)), np.empty((side, side))  # complete, head i; head j
        open_right, inner = np.empty((side, side)), np.empty((side, side))  # I from i; a
        best_inner, best_right, best_left = np.empty(side), np.empty(side), np.empty(side)
        stack = np.empty((2 * side + 2, 3), dtype=np.int64)
        for b in range(start, stop):
            n = lengths[b]
            if n == 0:
                continue
            # ---- scores in float64, -inf for what must not be chosen
            broken, huge = 0, 0
            for h in range(n + 1):
                arc[h, 0] = -np.inf
                for m in range(1, n + 1):
                    ok = h != m
                    if allowed is not None:
                        ok &= allowed[b % allowed.shape[0], h, m]
                    value = np.float64(scores[b, h, m])
                    value = value if ok else -np.inf
                    arc[h, m] = value
                    broken += not value < np.inf
                    huge += (value < -1e300) & (value > -np.inf) | (value > 1e300)
            if broken > 0:
                state[b] = 2
                continue
            if huge > 0:  # a power of two changes no digit, and sums no longer overflow
                for h in range(n + 1):
                    for m in range(n + 1):
                        arc[h, m] *= 2.0**-64
            # ---- the charts, by right end j, then by left end k from j down. As soon as the
            # spans [k, j] are known they are offered to all [i, j] with i < k at once: every loop
            # runs along rows, and no maximum runs across a vector.
            for i in range(first, n + 1):
                right[i, i] = left[i, i] = 0.0
            for j in range(first + 1, n + 1):
                right_j, left_j, open_j, inner_j = right[j], left[j], open_right[j], inner[j]
                before = right[j - 1]
                for i in range(first, j):
                    best_inner[i] = before[i]  # k = j - 1, and left[j, j] = 0
                    best_right[i] = best_left[i] = -np.inf
                for k in range(j - 1, first - 1, -1):
                    a = best_inner[k]
                    inner_j[k] = a
                    rightwards, leftwards = arc[k, j] + a, arc[j, k] + a
                    open_j[k] = rightwards
                    r, c = best_right[k], best_left[k]
                    r = rightwards if rightwards > r else r
                    c = leftwards if leftwards > c else c
                    right_j[k], left_j[k] = r, c
                    if k == first:
                        break
                    before, open_k, left_k = right[k - 1], open_right[k], left[k]
                    for i in range(first, k):
                        value = before[i] + c
                        best_inner[i] = value if value > best_inner[i] else best_inner[i]
                        value = open_k[i] + r
                        best_right[i] = value if value > best_right[i] else best_right[i]
                        value = left_k[i] + leftwards
                        best_left[i] = value if value > best_left[i] else best_left[i]
            # ---- the answer, and the spans it is made of: (i, j, kind), kind 0 complete with
            # head i, 1 complete with head j, 2 what is inside an arc between i and j
            top = 0
            if single_root:
                best, child = -np.inf, 0
                for m in range(1, n + 1):
                    value = arc[0, m] + (left[m, 1] + right[n, m])
                    if value > best:
                        best, child = value, m
                if child > 0:
                    heads[b, child] = 0
                    stack[0, 0], stack[0, 1], stack[0, 2] = 1, child, 1
                    stack[1, 0], stack[1, 1], stack[1, 2] = child, n, 0
                    top = 2
            else:
                best = right[n, 0]
                stack[0, 0], stack[0, 1], stack[0, 2] = 0, n, 0
                top = 1
            if best == -np.inf:
                state[b] = 1
                continue
            # No back-pointers are kept: the split of one of the few spans in the answer is the
            # first whose sum is exactly the maximum.
            while top > 0:
                top -= 1
                i, j, kind = stack[top, 0], stack[top, 1], stack[top, 2]
                if i == j:
                    continue
                if kind == 0:
                    k = i + 1
                    while k < j and open_right[k, i] + right[j, k] != right[j, i]:
                        k += 1
                    heads[b, k] = i
                    stack[top, 0], stack[top, 1], stack[top, 2] = i, k, 2
                    stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = k, j, 0
                elif kind == 1:
                    k = i
                    while k < j - 1 and left[k, i] + (arc[j, k] + inner[j, k]) != left[j, i]:
                        k += 1
                    heads[b, k] = j
                    stack[top, 0], stack[top, 1], stack[top, 2] = k, j, 2
                    stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = i, k, 1
                else:
                    k = i
                    while k < j - 1 and right[k, i] + left[j, k + 1] != inner[j, i]:
                        k += 1
                    stack[top, 0], stack[top, 1], stack[top, 2] = i, k, 0
                    stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = k + 1, j, 1
                top += 2

    return kernel
