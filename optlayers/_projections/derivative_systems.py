"""Linear systems of the faces of blocks with auxiliary variables, a whole batch in one factor."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .._plan.blocks import Block

_DAMPING, _PASSES = 1e-9, 3  # proximal point steps, which remove the damping
_RANK = 1e-9  # a smaller singular value is zero
_FULL = 1e-8  # pivots of a Gram matrix of unit rows, below which its rank is in doubt


class Blocks(NamedTuple):
    """The entries of one matrix `(m, size)`, to be chosen from for every instance of a batch."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, matrix: sp.csr_array) -> "Blocks":
        """Read a matrix."""
        row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        return cls(row, matrix.indices.astype(np.int64), matrix.data, matrix.shape)

    def chosen(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return instance, row, column and value where both are chosen, `(K, m)`, `(K, size)`."""
        k, e = np.nonzero(rows[:, self.row] & columns[:, self.column])
        return k, self.row[e], self.column[e], self.value[e]


class Saddle:
    r"""$\begin{pmatrix} D & R_{AF}^\top \\ R_{AF} & -S \end{pmatrix}$ of every instance.

    Quasi-definite with a little damping where D or S is zero, so that it has a factor in any order;
    a few proximal point steps remove the damping from the solution.

    Args:
        blocks: R.
        active: `(K, m)`, the rows A; the others stand alone.
        free: `(K, size)`, the columns F.
        weight: `(size,)`, D: 1 where variables have a curvature, 0 where they have none.
        soft: `(K, m)`, S: 1 for rows that are met in least squares only; None: 0.
    """

    def __init__(self, blocks: Blocks, active, free, weight, soft=None):
        count, (m, size) = len(active), blocks.shape
        self.shape, self.active, self.free = (count, size + m), active, free
        used = np.concatenate([free, active], 1).ravel()
        self.used = np.flatnonzero(used)  # what stands alone is not in the system
        place = np.cumsum(used) - 1
        k, row, column, value = blocks.chosen(active, free)
        across, down = place[k * (size + m) + column], place[k * (size + m) + size + row]
        low = np.zeros(active.shape) if soft is None else soft
        top = np.broadcast_to(weight, free.shape)
        exact = np.concatenate([top, -low], 1).ravel()[self.used]
        damped = np.concatenate([np.maximum(top, _DAMPING), -np.maximum(low, _DAMPING)], 1)
        total, at = len(exact), np.arange(len(exact))
        both = (np.concatenate([across, down]), np.concatenate([down, across]))
        coupled = sp.csc_matrix((np.concatenate([value, value]), both), shape=(total, total))
        self.matrix = sp.csr_array(coupled + sp.csc_matrix((exact, (at, at)), shape=(total, total)))
        damping = sp.csc_matrix((damped.ravel()[self.used], (at, at)), shape=(total, total))
        self.factor: Any = _factor(coupled + damping) if total else None
        self.alone: list[Saddle] = []
        if total and self.factor is None and count > 1:  # the others shall not lose theirs
            softs = [None] * count if soft is None else [soft[i : i + 1] for i in range(count)]
            self.alone = [
                Saddle(blocks, active[i : i + 1], free[i : i + 1], weight, own)
                for i, own in enumerate(softs)
            ]

    def same(self, active: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Return `(K,)`, the instances that have those rows and columns."""
        return (self.active == active).all(1) & (self.free == free).all(1)

    def solve(self, top: np.ndarray, bottom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the two parts of the solution, `(K, size)` and `(K, m)`; NaN without a factor.

        Zero at rows that are not active and at columns that are not free.
        """
        if self.alone:
            parts = [
                one.solve(top[i : i + 1], bottom[i : i + 1]) for i, one in enumerate(self.alone)
            ]
            return np.concatenate([x for x, _ in parts]), np.concatenate([nu for _, nu in parts])
        whole = np.zeros(self.shape)
        if len(self.used) and self.factor is None:
            whole.fill(np.nan)
        elif len(self.used):
            right = np.concatenate([top, bottom], 1).ravel()[self.used]
            x = self.factor.solve(right)
            for _ in range(_PASSES):
                x += self.factor.solve(right - self.matrix @ x)
            whole.ravel()[self.used] = x
        return whole[:, : top.shape[1]], whole[:, top.shape[1] :]


def _factor(matrix: sp.csc_matrix) -> Any:
    """Return a factor without pivoting; None where a pivot is zero, as coefficients of 1e8 make it.

    The damping is then lost in rounding, and the caller goes another way.
    """
    from scipy.sparse.linalg import splu

    symmetric = {"SymmetricMode": True}
    try:
        return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=symmetric)
    except RuntimeError:  # "Factor is exactly singular"
        return None


def independent(blocks: Blocks, active: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return `(K,)`, where the active rows are surely independent on the free columns."""
    count, (m, size) = len(active), blocks.shape
    k, row, column, value = blocks.chosen(active, free)
    whole = sp.csr_matrix(
        (value, (k * m + row, k * size + column)), shape=(count * m, count * size)
    )
    norms = np.sqrt(np.asarray(whole.multiply(whole).sum(1)).ravel())
    empty = active.ravel() & (norms == 0)
    unit = sp.diags_array(1 / np.where(norms > 0, norms, 1.0)) @ whole
    gram = sp.csc_matrix(unit @ unit.T) + sp.diags_array(np.where(norms > 0, 1e-14, 1.0))
    factor = _factor(sp.csc_matrix(gram))
    if factor is None:
        return np.zeros(count, dtype=bool)
    # Column j of the factor is that of column j of the matrix, reordered.
    pivots = np.empty(count * m)
    pivots[:] = factor.U.diagonal()[factor.perm_c]
    return ((pivots > _FULL) & ~empty).reshape(count, m).all(1)


def beside(block: Block, active: np.ndarray, free: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return `(K, size)`, the shortest moves of auxiliary variables that keep rows as they are.

    Args:
        block: With auxiliary variables.
        active: `(K, m)`, the rows that stay.
        free: `(K, size)`, the variables that may move.
        v: `(K, size)`, the moves of the others; zero where they may not.
    """
    R, aux, out = block.matrix.toarray(), block.is_aux, np.zeros_like(v)
    for k, (rows, may) in enumerate(zip(active, free & aux, strict=True)):
        if may.any() and rows.any():
            change = R[np.ix_(rows, ~aux)] @ v[k, ~aux]
            out[k, may] = np.linalg.lstsq(R[np.ix_(rows, may)], -change, rcond=_RANK)[0]
    return out
