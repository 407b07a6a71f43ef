"""Units of auxiliary variables: what is projected out may be measured as one likes.

The coefficients of an auxiliary variable depend on its unit, and so do the gradient in it and the
curvature that methods give to it. With coefficients near one, a residual means the same whatever
unit the polytope was declared in.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from .._plan.blocks import Block
from .._plan.maps import Limits

_PASSES = 12  # of geometric scaling; it converges in a few


class Units(NamedTuple):
    """A block in other units: `R' = diag(rows)^-1 R diag(columns)`, `x = columns * x'`.

    Both are None, and the block is as it was, where there are no auxiliary variables.
    """

    block: Block
    rows: np.ndarray | None = None
    columns: np.ndarray | None = None

    def limits(self, limits: Limits) -> Limits:
        """Convert limits to these units."""
        if self.rows is None:
            return limits
        rows, columns = (self._like(k, limits.lower) for k in ("rows", "columns"))
        low, high, lower, upper = limits
        return Limits(low / rows, high / rows, lower / columns, upper / columns)

    def worth(self, y: Any) -> Any:
        """Convert a point whose entries at auxiliary variables say what a unit of each is worth."""
        return y if self.columns is None else y * self._like("columns", y)

    def of(self, x: Any) -> Any:
        """Convert a point to these units."""
        return x if self.columns is None else x / self._like("columns", x)

    def declared(self, x: Any) -> Any:
        """Convert a point back to the units of the declaration."""
        return x if self.columns is None else x * self._like("columns", x)

    def _like(self, name: str, x: Any) -> Any:
        """Return factors as what they meet: an array, or a tensor somewhere."""
        values = getattr(self, name)
        if isinstance(x, np.ndarray):
            return values
        key = (f"{name} of units", x.device, x.dtype)
        return self.block.kept(
            key, lambda: torch.from_numpy(values).to(x.device, x.dtype, non_blocking=True)
        )


def units_of(block: Block) -> Units:
    """Scale rows and columns of auxiliary variables by geometric means, to powers of two.

    The other variables keep their unit, in which distances are measured.
    """
    if not block.is_aux.any() or not block.num_rows:
        return Units(block)
    R, aux = sp.csr_array(block.matrix), block.is_aux
    R.eliminate_zeros()
    row, column = np.repeat(np.arange(R.shape[0]), np.diff(R.indptr)), R.indices
    size, own = np.log2(np.abs(R.data)), ~aux[column]
    largest = np.full(R.shape[0], -np.inf)  # of the others a row's largest counts: it is its norm
    np.maximum.at(largest, row[own], size[own])
    size = np.where(own, largest[row], size)
    rows, columns = np.zeros(R.shape[0]), np.zeros(R.shape[1])
    for _ in range(_PASSES):
        rows = _middle(size + columns[column], row, len(rows))
        middle = _middle(size - rows[row], column, len(columns))
        columns = np.where(aux, -middle, 0.0)
    rows, columns = (np.exp2(np.round(v)) for v in (rows, columns))
    scaled = sp.csr_array(sp.diags_array(1 / rows) @ R @ sp.diags_array(columns))
    scaled.sort_indices()
    return Units(replace(block, matrix=scaled, weights=None), rows, columns)


def _middle(size: np.ndarray, at: np.ndarray, count: int) -> np.ndarray:
    """Return the middle of the least and the largest of each group; zero where a group is empty."""
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, at, size)
    np.maximum.at(high, at, size)
    return np.where(low <= high, (low + high) / 2, 0.0)
