"""Projective dependency trees: the best one, by dynamic programming over spans."""

import numpy as np

from ... import _kernels
from ..._kernels.threads import run


def eisner(
    scores: np.ndarray, lengths: np.ndarray, allowed: np.ndarray | None, single_root: bool
) -> tuple[np.ndarray, np.ndarray]:
    r"""Decode the best projective tree of every sentence, exactly: $O(n^3)$ each, in float64.

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
    run(_kernels.eisner.decode, count, cost, scores, lengths, allowed, single_root, heads, state)
    return heads, state
