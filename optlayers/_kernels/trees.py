"""Compiled test of what is a dependency tree."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, inline="always")
def one_head_each(heads, n, single_root, seen):
    """Return whether heads are numbers of nodes, one of them the root if asked for."""
    fine, roots = True, 0
    for m in range(1, n + 1):
        fine &= 0 <= heads[m] <= n
        roots += heads[m] == 0
        seen[m] = 0
    return fine and not (single_root and n > 0 and roots != 1)


@njit(cache=True, nogil=True, inline="always")
def all_reach_the_root(heads, n, seen):
    """Return whether the way up from every word ends at the root."""
    seen[0] = -1  # the root, and whatever leads to it; m: met on the way up from word m
    for m in range(1, n + 1):
        at = m
        while seen[at] == 0:
            seen[at] = m
            at = heads[at]
        if seen[at] == m:  # back on this very way: a cycle
            return False
        at = m
        while seen[at] == m:
            seen[at] = -1
            at = heads[at]
    return True


@njit(cache=True, nogil=True, inline="always")
def no_arcs_cross(heads, n):
    """Return whether all words under an arc have heads under it."""
    for m in range(1, n + 1):
        low, high = min(m, heads[m]), max(m, heads[m])
        for k in range(low + 1, high):
            if heads[k] < low or heads[k] > high:
                return False
    return True


@njit(cache=True, nogil=True)
def check(start, stop, heads, lengths, single_root, projective, answer):
    """Write whether the heads of each sentence are a tree."""
    seen = np.empty(heads.shape[1], dtype=np.int64)
    for b in range(start, stop):
        n, own = lengths[b], heads[b]
        if one_head_each(own, n, single_root, seen) and all_reach_the_root(own, n, seen):
            answer[b] = not projective or no_arcs_cross(own, n)
