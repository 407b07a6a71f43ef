"""Compiled dynamic program over spans; see `_sets/trees/eisner.py` for its recursion."""

from typing import NamedTuple

import numpy as np
from numba import njit

# Spans in the answer: complete with its left or right end for a head, or inside of an arc.
HEAD_LEFT, HEAD_RIGHT, INNER = 0, 1, 2


class Chart(NamedTuple):
    """Arrays of one thread: row j of a chart holds the spans [i, j] for all i, side by side."""

    arc: np.ndarray  # (n + 1, n + 1), the scores, heads by modifiers
    right: np.ndarray  # complete, with head i
    left: np.ndarray  # complete, with head j
    open_right: np.ndarray  # I from i
    inner: np.ndarray  # a
    best_inner: np.ndarray  # (n + 1,), the best so far of [i, j] for the j at hand
    best_right: np.ndarray
    best_left: np.ndarray


@njit(cache=True, nogil=True, inline="always")
def take_scores(b, n, scores, allowed, arc):
    """Write the scores in float64, -inf for what must not be chosen; whether all are numbers."""
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
    if huge > 0:  # a power of two changes no digit, and sums no longer overflow
        for h in range(n + 1):
            for m in range(n + 1):
                arc[h, m] *= 2.0**-64
    return broken == 0


@njit(cache=True, nogil=True, inline="always")
def fill(first, n, chart):
    """Fill the charts by right end j, then by left end k from j down.

    As soon as the spans [k, j] are known they are offered to all [i, j] with i < k at once: every
    loop runs along rows, and no maximum runs across a vector. Without fast-math: the maxima are
    elementwise, and so become vector instructions as they are, with the meaning of -inf and of
    equality kept.
    """
    arc, right, left, open_right, inner, best_inner, best_right, best_left = chart
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


@njit(cache=True, nogil=True, inline="always")
def push(stack, top, i, j, kind):
    """Put a span of the answer on the stack."""
    stack[top, 0], stack[top, 1], stack[top, 2] = i, j, kind


@njit(cache=True, nogil=True, inline="always")
def choose_root(n, single_root, chart, stack, heads):
    """Push the spans that the best tree is made of; how many, 0 if there is no tree."""
    if not single_root:
        push(stack, 0, 0, n, HEAD_LEFT)
        return 1 if chart.right[n, 0] > -np.inf else 0
    best, child = -np.inf, 0
    for m in range(1, n + 1):
        value = chart.arc[0, m] + (chart.left[m, 1] + chart.right[n, m])
        if value > best:
            best, child = value, m
    if child == 0:
        return 0
    heads[child] = 0
    push(stack, 0, 1, child, HEAD_RIGHT)
    push(stack, 1, child, n, HEAD_LEFT)
    return 2


@njit(cache=True, nogil=True, inline="always")
def trace(top, chart, stack, heads):
    """Take the spans on the stack apart, and write down the arcs that close them.

    No back-pointers are kept: the split of one of the few spans in the answer is the first whose
    sum is exactly the maximum.
    """
    arc, right, left, open_right, inner = chart[:5]
    while top > 0:
        top -= 1
        i, j, kind = stack[top, 0], stack[top, 1], stack[top, 2]
        if i == j:
            continue
        if kind == HEAD_LEFT:
            k = i + 1
            while k < j and open_right[k, i] + right[j, k] != right[j, i]:
                k += 1
            heads[k] = i
            push(stack, top, i, k, INNER)
            push(stack, top + 1, k, j, HEAD_LEFT)
        elif kind == HEAD_RIGHT:
            k = i
            while k < j - 1 and left[k, i] + (arc[j, k] + inner[j, k]) != left[j, i]:
                k += 1
            heads[k] = j
            push(stack, top, k, j, INNER)
            push(stack, top + 1, i, k, HEAD_RIGHT)
        else:
            k = i
            while k < j - 1 and right[k, i] + left[j, k + 1] != inner[j, i]:
                k += 1
            push(stack, top, i, k, HEAD_LEFT)
            push(stack, top + 1, k + 1, j, HEAD_RIGHT)
        top += 2


@njit(cache=True, nogil=True)
def decode(start, stop, scores, lengths, allowed, single_root, heads, state):
    """Write the heads of the best trees, and 1 where there is none, 2 where a score is none."""
    side = scores.shape[1]
    first = 1 if single_root else 0  # the chart covers first..n
    chart = Chart(
        np.empty((side, side)),
        np.empty((side, side)),
        np.empty((side, side)),
        np.empty((side, side)),
        np.empty((side, side)),
        np.empty(side),
        np.empty(side),
        np.empty(side),
    )
    stack = np.empty((2 * side + 2, 3), dtype=np.int64)
    for b in range(start, stop):
        n = lengths[b]
        if n == 0:
            continue
        if not take_scores(b, n, scores, allowed, chart.arc):
            state[b] = 2
            continue
        fill(first, n, chart)
        top = choose_root(n, single_root, chart, stack, heads[b])
        if top == 0:
            state[b] = 1
            continue
        trace(top, chart, stack, heads[b])
