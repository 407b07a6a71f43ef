"""The rows of a block as the compiled Newton method wants them, dense or sparse."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ... import _kernels

_DENSE_ROWS = 0.25  # share of nonzeros from which rows are multiplied as dense ones
_SPARSE_FACTOR = 0.35  # share of nonzeros of the factor below which it is kept sparse
_LARGEST_WHOLE = 1000  # rows up to which the factor itself is made to count its entries
_LARGEST_DENSE = 400  # rows; above, the factor is sparse whatever its share of nonzeros


class Pattern(NamedTuple):
    """How R D R^T is summed up from the columns of R; see `pairs`. Empty for a dense factor."""

    pair_start: np.ndarray
    pair_slot: np.ndarray
    pair_value: np.ndarray
    upper_start: np.ndarray
    upper_index: np.ndarray


class Arrays(NamedTuple):
    """R for compiled loops: the first fields of `BlockArrays` in `_kernels/newton_arrays.py`."""

    rows: tuple[np.ndarray, np.ndarray, np.ndarray]
    columns: tuple[np.ndarray, np.ndarray, np.ndarray]
    dense: np.ndarray
    pattern: Pattern


class OrderedRows(NamedTuple):
    """Normalised rows in elimination order: `R = diag(norms)^-1 matrix[order]`.

    Attributes:
        matrix: R.
        order: Of the rows as they were declared.
        norms: Theirs, in this order.
        arrays: For the compiled loops.
        entries: Of the factor of R R^T, the most that a step can meet.
        operations: Multiplications of such a factor, at most.
    """

    matrix: sp.csr_array
    order: np.ndarray
    norms: np.ndarray
    arrays: Arrays
    entries: int
    operations: float

    @property
    def is_sparse(self) -> bool:
        """Whether the factor is kept sparse."""
        return len(self.arrays.pattern.upper_start) > 0

    def ordered(self, values: np.ndarray) -> np.ndarray:
        """Return the limits of the rows, in their order."""
        return np.ascontiguousarray(values[..., self.order])


def rows_of(matrix: sp.csr_array) -> OrderedRows:
    """Choose the kind of factor by how much of it would be zero."""
    m, size = matrix.shape
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    R = sp.csr_array(sp.diags_array(1 / norms) @ matrix)
    order, dense, sparse = np.arange(m), R.nnz > _DENSE_ROWS * m * size, False
    counts = np.arange(1, m + 1)
    if not (dense and m <= _LARGEST_DENSE):
        best, counts = elimination_order(R)
        entries = int(counts.sum())
        if m > _LARGEST_DENSE or entries < _SPARSE_FACTOR * m * (m + 1) / 2:
            order, dense, sparse = best, False, True
        else:
            counts = np.arange(1, m + 1)
    R = sp.csr_array(R[order])
    R.sort_indices()
    columns = sp.csc_array(R)
    columns.sort_indices()
    arrays = Arrays(
        _as_arrays(R),
        _as_arrays(columns),
        np.ascontiguousarray(R.toarray().T) if dense else np.zeros((0, 0)),
        pairs(columns) if sparse else _NO_PATTERN,
    )
    total = float((counts.astype(float) ** 2).sum())
    return OrderedRows(R, order, norms[order], arrays, int(counts.sum()), total)


_EMPTY = np.zeros(0, dtype=np.int64)
_NO_PATTERN = Pattern(_EMPTY, _EMPTY, np.zeros(0), _EMPTY, _EMPTY)


def _as_arrays(matrix: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data


def elimination_order(R: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Order the rows by minimum degree on R R^T; count the entries of each column of the factor.

    Of many rows nothing is factorised: an incomplete factor that drops everything has the order of
    a complete one, and the elimination tree has the counts. So it is known in a fraction of a
    second what would take minutes.
    """
    from scipy.sparse.linalg import spilu, splu

    pattern = sp.csr_array((np.ones(R.nnz), R.indices, R.indptr), R.shape)
    gram = sp.csc_matrix(pattern @ pattern.T)
    # Diagonally dominant, so that no pivoting disturbs the order.
    gram = gram + sp.diags(2.0 * np.asarray(gram.sum(axis=0)).ravel(), format="csc")
    ways: Any = {
        "permc_spec": "MMD_AT_PLUS_A",
        "diag_pivot_thresh": 0.0,
        "options": {"SymmetricMode": True},
    }
    if len(gram.indptr) <= _LARGEST_WHOLE:
        factor = splu(gram, **ways)
        return np.argsort(factor.perm_c), np.diff(factor.L.indptr)
    factor = spilu(gram, drop_tol=1.0, fill_factor=1.0, **ways)
    order = np.argsort(factor.perm_c)
    upper = sp.csc_array(sp.triu(gram[order][:, order], 1, format="csc"))
    upper.sort_indices()
    m = len(order)
    parent, flag, counts = np.empty((3, m), dtype=np.int64)
    pattern = upper.indptr.astype(np.int64), upper.indices.astype(np.int64)
    on = np.ones(m, dtype=bool)
    _kernels.sparse.count_fill(*pattern, on, parent, flag, counts)
    return order, counts + 1


def pairs(columns: sp.csc_array) -> Pattern:
    """Return how R D R^T is summed up from the columns of R, whose entries are sorted by row.

    Returns:
        The start of each column's pairs of entries; for each pair its slot in the strictly upper
        half by columns (the diagonal comes after it) and the product of its entries; the starts and
        row numbers of that half.
    """
    m = columns.shape[0]
    counts = np.diff(columns.indptr)
    start = np.concatenate([[0], np.cumsum(counts * (counts + 1) // 2)]).astype(np.int64)
    first, second = np.empty(start[-1], dtype=np.int64), np.empty(start[-1], dtype=np.int64)
    for count in np.unique(counts[counts > 0]):
        chosen = np.flatnonzero(counts == count)
        low, high = np.tril_indices(count)[::-1]
        at = start[chosen][:, None] + np.arange(len(low))
        entry = columns.indptr[chosen].astype(np.int64)[:, None]
        first[at], second[at] = entry + low, entry + high
    i, k = (columns.indices[v].astype(np.int64) for v in (first, second))
    key = np.where(i < k, k * m + i, m * m + i)
    upper = np.unique(key[i < k])
    slot = np.where(i < k, np.searchsorted(upper, key), len(upper) + i)
    upper_start = np.searchsorted(upper // m, np.arange(m + 1)).astype(np.int64)
    value = columns.data[first] * columns.data[second]
    return Pattern(start, slot.astype(np.int64), value, upper_start, upper % m)
