"""Components of the variable-row graph of (A, b), equal ones stacked: what the rows alone say.

Right-hand sides and bounds come later: polytopes that share rows share what is found here, and
whatever maps work out of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .._kernels.untraced import ordinary

_MOST_PARTS = 16  # of a stack, by values; the oldest are forgotten


class ByRows:
    """Results that maps worked out of rows, each made once."""

    def __init__(self):
        self._found: dict[Any, Any] = {}

    @ordinary
    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` does, made once for `key`."""
        found = self._found.get(key)
        return self._found.setdefault(key, make()) if found is None else found

    def __getstate__(self) -> dict[str, Any]:
        return {"_found": {}}  # may hold tensors of a device


@dataclass(frozen=True, eq=False)
class Stack:
    """`count` components of equal structure; the attributes are those of a `Block`.

    Attributes:
        by_rows: What maps worked out of these rows.
    """

    index: np.ndarray
    rows: np.ndarray
    weights: np.ndarray | None
    matrix: sp.csr_array
    is_aux: np.ndarray
    whole: np.ndarray
    by_rows: ByRows = field(default_factory=ByRows)
    _parts: dict[bytes, "Stack"] = field(default_factory=dict)

    def part(self, chosen: np.ndarray) -> "Stack":
        """Return some of the components, by their numbers, with one row each."""
        key = chosen.tobytes()
        if key not in self._parts:
            while len(self._parts) >= _MOST_PARTS:
                self._parts.pop(next(iter(self._parts)), None)
            assert self.weights is not None  # they have one row
            weights = self.weights[chosen]
            rows = self.index[chosen], self.rows[chosen], weights, sp.csr_array(weights[:1])
            self._parts[key] = Stack(*rows, self.is_aux, self.whole)
        return self._parts[key]


class _Kinds(NamedTuple):
    """Which variables are auxiliary, and which are integers."""

    is_aux: np.ndarray
    whole: np.ndarray

    @property
    def differ(self) -> bool:
        """Whether variables are of more than one kind."""
        return bool(self.is_aux.any() or self.whole.any() != self.whole.all())

    def of(self, index: np.ndarray) -> bytes:
        """Return a key of the kinds of some variables."""
        return self.is_aux[index].tobytes() + self.whole[index].tobytes()

    def stack(self, index, rows, weights=None, matrix=None) -> Stack:
        """Return components of equal structure."""
        if matrix is None:
            empty = sp.csr_array((0, index.shape[1]), dtype=np.float64)
            matrix = empty if weights is None else sp.csr_array(weights[:1])
        first = index[0]
        return Stack(index, rows, weights, matrix, self.is_aux[first], self.whole[first])


def find_stacks(R: sp.csr_array, n: int, whole: np.ndarray) -> list[Stack]:
    """Find the components of the variable-row graph, and stack the equal ones.

    Args:
        R: Reduced rows.
        n: Number of variables that are not auxiliary: the first ones.
        whole: Which variables are to be integers.
    """
    from scipy.sparse.csgraph import connected_components

    num_rows, num_vars = R.shape
    kinds = _Kinds(np.arange(num_vars) >= n, whole)
    in_row = np.zeros(num_vars, dtype=bool)
    in_row[R.indices] = True
    stacks = []
    if len(free := np.flatnonzero(~in_row)):
        stacks.append(kinds.stack(free[None], np.zeros((1, 0), dtype=np.int64)))
    if num_rows:
        graph = sp.block_array([[None, R], [R.T, None]], format="csr")
        _, label = connected_components(graph, directed=False)
        row_label = label[:num_rows]
        sizes = np.bincount(row_label, minlength=label.max() + 1)
        stacks += _with_one_row(kinds, R, np.flatnonzero(sizes[row_label] == 1))
        stacks += _with_many_rows(kinds, R, label, np.flatnonzero(sizes > 1))
    return stacks


def _with_one_row(kinds: _Kinds, R: sp.csr_array, alone: np.ndarray) -> list[Stack]:
    """Stack components with a single row by size, kinds, and whether all |coefficients| agree."""
    if not len(alone):
        return []
    counts = np.diff(R.indptr)[alone]
    place = np.zeros(R.shape[0], dtype=np.int64)
    if kinds.differ:  # which variables are of which kind must agree within a stack
        masks = {}
        for i in alone:
            key = kinds.of(R.indices[R.indptr[i] : R.indptr[i + 1]])
            place[i] = masks.setdefault(key, len(masks))
    stacks = []
    for size in np.unique(counts):
        rows = alone[counts == size]
        entries = R.indptr[rows][:, None] + np.arange(size)
        index, weights = R.indices[entries].astype(np.int64), R.data[entries]
        length = np.abs(weights)
        kind = 2 * place[rows] + (length == length[:, :1]).all(1)
        for code in np.unique(kind):
            chosen = kind == code
            order = np.argsort(index[chosen][:, 0], kind="stable")
            parts = index[chosen], rows[chosen][:, None], weights[chosen]
            stacks.append(kinds.stack(*(v[order] for v in parts)))
    return stacks


def _with_many_rows(kinds: _Kinds, R: sp.csr_array, label, components) -> list[Stack]:
    """Stack components with several rows that are equal (rows in any order)."""
    num_rows = R.shape[0]
    by_row, by_var = label[:num_rows], label[num_rows:]
    row_order, var_order = np.argsort(by_row, kind="stable"), np.argsort(by_var, kind="stable")
    row_start = np.searchsorted(by_row[row_order], components)
    var_start = np.searchsorted(by_var[var_order], components)
    row_end = np.searchsorted(by_row[row_order], components, side="right")
    var_end = np.searchsorted(by_var[var_order], components, side="right")
    found: dict[bytes, list] = {}
    for i in range(len(components)):
        rows, index = row_order[row_start[i] : row_end[i]], var_order[var_start[i] : var_end[i]]
        local = sp.csr_array(R[rows])
        local = sp.csr_array(
            (local.data, np.searchsorted(index, local.indices), local.indptr),
            (len(rows), len(index)),
        )
        order = _canonical_order(local)
        rows, local = rows[order], sp.csr_array(local[order])
        parts = (local.indptr, local.indices, local.data)
        key = b"|".join([*(part.tobytes() for part in parts), kinds.of(index)])
        found.setdefault(key, []).append((index, rows, local))
    return [
        kinds.stack(
            np.stack([index for index, _, _ in same]),
            np.stack([rows for _, rows, _ in same]),
            matrix=same[0][2],
        )
        for same in found.values()
    ]


def _canonical_order(local: sp.csr_array) -> list[int]:
    """Return an order of rows that does not depend on how the user wrote them."""
    parts = [slice(local.indptr[i], local.indptr[i + 1]) for i in range(local.shape[0])]
    return sorted(
        range(local.shape[0]),
        key=lambda i: (tuple(local.indices[parts[i]]), tuple(local.data[parts[i]])),
    )
