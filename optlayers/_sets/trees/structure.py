"""What is a dependency tree: one head per word, no cycle; one root, no crossing if asked for."""

from functools import cache
from typing import Any

import numpy as np

from ..._kernels.threads import run


def is_tree(
    heads: np.ndarray, lengths: np.ndarray, single_root: bool, projective: bool
) -> np.ndarray:
    """Whether heads are trees: booleans `(N,)`. A sentence without words is one.

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
    run(_kernel(), count, cost, heads, lengths, single_root, projective, answer)
    return answer


@cache
def _kernel() -> Any:
    import numba

    @numba.njit(cache=True, nogil=True)
    def kernel(start, stop, heads, lengths, single_root, projective, answer):
        seen = np.empty(heads.shape[1], dtype=np.int64)
        for b in range(start, stop):
            n = lengths[b]
            fine, roots = True, 0
            for m in range(1, n + 1):
                fine &= 0 <= heads[b, m] <= n
                roots += heads[b, m] == 0
                seen[m] = 0
            if not fine or (single_root and n > 0 and roots != 1):
                continue
            seen[0] = -1  # the root, and whatever leads to it; m: met on the way up from word m
            for m in range(1, n + 1):
                at = m
                while seen[at] == 0:
                    seen[at] = m
                    at = heads[b, at]
                if seen[at] == m:  # back on this very way: a cycle
                    fine = False
                    break
                at = m
                while seen[at] == m:
                    seen[at] = -1
                    at = heads[b, at]
            if fine and projective:
                for m in range(1, n + 1):
                    low, high = min(m, heads[b, m]), max(m, heads[b, m])
                    for k in range(low + 1, high):  # words under the arc have heads under it
                        if heads[b, k] < low or heads[b, k] > high:
                            fine = False
                            break
                    if not fine:
                        break
            answer[b] = fine

    return kernel
