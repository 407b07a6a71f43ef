"""Non-projective dependency trees: the best one, by contracting cycles."""

import numpy as np

from ... import _kernels
from ..._kernels.threads import run


def arborescence(
    scores: np.ndarray, lengths: np.ndarray, allowed: np.ndarray | None, single_root: bool
) -> tuple[np.ndarray, np.ndarray]:
    r"""Decode the best tree of every sentence, crossing or not: Chu-Liu/Edmonds, $O(n^2)$ each.

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
    run(
        _kernels.arborescence.decode,
        count,
        cost,
        scores,
        lengths,
        allowed,
        single_root,
        heads,
        state,
    )
    return heads, state
