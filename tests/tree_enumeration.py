"""All dependency trees of a few words, by trying every vector of heads. Shares no code."""

import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

LARGEST = 6


def reaches_root(heads: Sequence[int]) -> bool:
    """Whether the way up from every word ends at the root; word m is `heads[m - 1]`'s child."""
    for word in range(1, len(heads) + 1):
        at = word
        for _ in heads:
            at = at and heads[at - 1]
        if at:
            return False
    return True


def crosses(heads: Sequence[int]) -> bool:
    """Whether two arcs cross, drawn above the words with the root before them."""
    arcs = [sorted(arc) for arc in enumerate(heads, start=1)]
    return any(a < c < b < d for (a, b), (c, d) in itertools.permutations(arcs, 2))


@cache
def tree_heads(n: int, projective: bool, single_root: bool) -> np.ndarray:
    """Heads `(T, n)` of all trees, in lexicographic order; `[t, m - 1]` is the head of word m."""
    assert n <= LARGEST, "too many to enumerate"
    if single_root or projective:
        trees = tree_heads(n, False, False).tolist()
    else:
        trees = itertools.product(range(n + 1), repeat=n)
    kept = [
        heads
        for heads in trees
        if reaches_root(heads)
        and not (single_root and n and heads.count(0) != 1)
        and not (projective and crosses(heads))
    ]
    found = np.array(kept, dtype=np.int64).reshape(len(kept), n)
    found.setflags(write=False)
    return found


@cache
def tree_tensors(n: int, projective: bool, single_root: bool) -> torch.Tensor:
    """0/1 tensors `(T, n + 1, n + 1)` of all trees, `[t, h, m]` for the arc from h to m; float64.

    Cached: not to be written to.
    """
    heads = tree_heads(n, projective, single_root)
    z = np.zeros((len(heads), n + 1, n + 1))
    for t, tree in enumerate(heads):
        for m, h in enumerate(tree, start=1):
            z[t, h, m] = 1.0
    return torch.from_numpy(z)
