"""Tests of dependency trees: one head per word, no cycle; one root, no crossing if asked for."""

import numpy as np

from ... import _kernels
from ..._kernels.threads import run


def is_tree(
    heads: np.ndarray, lengths: np.ndarray, single_root: bool, projective: bool
) -> np.ndarray:
    """Return whether heads are trees: booleans `(N,)`. A sentence without words is one.

    Every word has its head in 0 to its length, and from every word the root is reached; with
    `single_root` exactly one word hangs on it; with `projective` no two arcs cross, the root
    standing before all words. $O(n)$ per sentence, projectivity $O(n^2)$ at worst.

    Args:
        heads: `(N, n + 1)` int64, `[b, m]` the head of word m; index 0 and padding do not matter.
        lengths: `(N,)` int64, words per sentence.
        single_root: Whether exactly one word hangs on the root.
        projective: Whether arcs may not cross.
    """
    count, side = heads.shape
    answer = np.zeros(count, dtype=np.bool_)
    cost = count * side * (side if projective else 4)
    run(_kernels.trees.check, count, cost, heads, lengths, single_root, projective, answer)
    return answer
