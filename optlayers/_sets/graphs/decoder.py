"""Semantic graphs: the best one, by one assignment of arguments to roles per predicate."""

import numpy as np

from ... import _kernels
from ..._kernels.threads import run


def semantic_graphs(
    scores: np.ndarray,
    lengths: np.ndarray,
    first: np.ndarray,
    allowed: np.ndarray,
    deterministic: np.ndarray,
    predicates: bool,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Decode the best graph of every sentence, exactly; sums in float64.

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
    run(_kernels.graphs.decode, len(scores), scores.size, *args)
    return z, state
