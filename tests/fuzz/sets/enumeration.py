"""All structures of small sets, by trying everything; none of the library's code decides here."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

import optlayers as ol

Edge = tuple[int, int]


def integral_points(polytope: ol.Polytope) -> np.ndarray:
    """All integral points `(K, n)` of bounded rows without auxiliary variables.

    Rows are integers, and sums of integers below 2^53 are exact.
    """
    ends = zip(polytope.lower.tolist(), polytope.upper.tolist(), strict=True)
    z = np.array(list(itertools.product(*(np.arange(np.ceil(low), up + 1) for low, up in ends))))
    A, A_eq = polytope.A.toarray(), polytope.A_eq.toarray()
    fine = (z @ A.T <= polytope.b.numpy()).all(1) & (z @ A_eq.T == polytope.b_eq.numpy()).all(1)
    return z[fine].astype(float)


def compositions(n: int, total: int) -> np.ndarray:
    """All ways of writing `total` as a sum of n integers that are not negative."""
    if n == 1:
        return np.array([[float(total)]])
    first = [(k, compositions(n - 1, total - k)) for k in range(total + 1)]
    return np.vstack([np.column_stack([np.full(len(rest), k), rest]) for k, rest in first])


def runs(n: int, words: int, most: int) -> np.ndarray:
    """At most so many ones in at most so many runs."""
    z = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    starts = (np.diff(z, prepend=0.0) > 0).sum(1)
    return z[(z.sum(1) <= words) & (starts <= most)]


def paths(edges: Sequence[Edge], source: int, target: int) -> np.ndarray:
    """All paths that pass no node twice, `(K, edges)`."""
    found: list[list[int]] = []

    def walk(node: int, seen: set[int], taken: list[int]) -> None:
        if node == target:
            found.append(taken)
            return
        for k, (tail, head) in enumerate(edges):
            if tail == node and head not in seen:
                walk(head, seen | {head}, [*taken, k])

    walk(source, {source}, [])
    return _chosen(found, len(edges))


def spanning_trees(nodes: int, edges: Sequence[Edge]) -> np.ndarray:
    """All sets of nodes - 1 edges that connect every node."""
    fine = [c for c in itertools.combinations(range(len(edges)), nodes - 1)
            if len(_reached(nodes, [edges[k] for k in c])) == nodes]  # fmt: skip
    return _chosen(fine, len(edges))


def _reached(nodes: int, edges: Sequence[Edge]) -> set[int]:
    """Nodes that hang together with the first."""
    seen = {0}
    for _ in range(nodes):
        seen |= {w for u, v in edges if seen & {u, v} for w in (u, v)}
    return seen


def _chosen(numbers: Sequence[Sequence[int]], size: int) -> np.ndarray:
    z = np.zeros((len(numbers), size))
    for row, ones in zip(z, numbers, strict=True):
        row[list(ones)] = 1.0
    return z


def segmentations(n: int, longest: int, labels: int, transitions: bool, size: int) -> np.ndarray:
    """All labelled segmentations of n positions, `(K, size, longest + labels, labels)`."""
    found = []
    for segments in _segments(n, 0, longest, labels):
        z = np.zeros((size, longest + labels * transitions, labels))
        before = None
        for begin, length, label in segments:
            z[begin, length - 1, label] = 1.0
            if transitions and before is not None:
                z[begin, longest + before, label] = 1.0
            before = label
        found.append(z)
    return np.array(found)


def _segments(n: int, begin: int, longest: int, labels: int) -> Iterator[list]:
    if begin == n:
        yield []
        return
    for length in range(1, min(longest, n - begin) + 1):
        for label in range(labels):
            for rest in _segments(n, begin + length, longest, labels):
                yield [(begin, length, label), *rest]


def permutations(weights: Sequence[float]) -> np.ndarray:
    """All orders of the weights, each once."""
    return np.array(sorted(set(itertools.permutations(weights))))


def head_choices(n: int, single_root: bool, size: int) -> np.ndarray:
    """One head for every word, cycles or not; with one word under the root if that is asked."""
    found = []
    for heads in itertools.product(range(n + 1), repeat=n):
        if any(h == m for m, h in enumerate(heads, 1)) or (single_root and heads.count(0) != 1):
            continue
        z = np.zeros((size + 1, size + 1))
        for m, h in enumerate(heads, 1):
            z[h, m] = 1.0
        found.append(z)
    return np.array(found).reshape(len(found), size + 1, size + 1)


def padded(structures: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Structures with zeros behind, up to a shape."""
    grown = np.zeros((len(structures), *shape))
    grown[(slice(None), *(slice(0, k) for k in structures.shape[1:]))] = structures
    return grown
