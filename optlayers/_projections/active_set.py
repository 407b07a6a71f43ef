"""Blocks with several rows: a dual active-set method, an instance at a time over threads."""

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .. import _kernels
from .._kernels.arrays import array
from .._kernels.threads import run
from .._plan.blocks import Block
from .._plan.maps import Limits
from .before_newton import BeforeNewton
from .newton.newton import GOOD

# Measured: docs/results/solvers. Newton's steps cost more and are fewer.
_MOST_ROWS, _MOST_VARIABLES = 600, 600
_DENSE = 0.25  # share of nonzeros from which rows are multiplied as dense ones
_FEW = 120  # variables up to which few sparse rows are no reason for Newton's method
_ROWS = 0.7  # rows for each variable, below which most active constraints are bounds


class ActiveSet(BeforeNewton):
    r"""Projection onto $\{\underline c \le Rx \le \bar c,\ l \le x \le u\}$ by its dual.

    From the point within its bounds, the constraint that is violated most is made active, equality
    rows first, and what would get a multiplier of the wrong sign on the way there is dropped. Each
    step raises the dual function, so no set of active constraints is met twice:

    $$ x_F = y_F - R_{AF}^\top \mu, \qquad
       \mu = (R_{AF} R_{AF}^\top)^{-1} (R_{AF}\, y_F + R_{A \bar F}\, x_{\bar F} - c_A) $$

    A variable at a bound leaves the free ones F, so that the inverse, updated by one outer product
    a step, has a row for each active general row A alone. A row that depends on the active ones
    makes one of them leave, or shows that there is no point. The last face is solved once more,
    which leaves nothing but rounding.

    CPU: compiled, an instance at a time over threads, in float64; $O(|A|^2 + n |A| + n m)$ a step,
    about as many steps as constraints that become active. Accepted by KKT residual as Newton's
    method is, which gets the instances that miss it, and all of them on other devices.

    References:
        Goldfarb and Idnani (1983), *A numerically stable dual method for solving strictly convex
        quadratic programs*; Arnström, Bemporad and Axehill (2022), *A dual active-set solver for
        embedded quadratic programming using recursive LDL^T updates* (DAQP).
    """

    uses_near: ClassVar[bool] = True

    def __init__(self, block: Block):
        super().__init__(block)
        matrix = sp.csr_array(block.matrix)
        self._norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        self._sides: tuple[Limits, tuple[np.ndarray, ...]] | None = None  # of the latest call

    @cached_property
    def _rows(self) -> tuple[Any, ...]:
        """Return the rows, divided by their norms, as the compiled loop wants them."""
        R = sp.csr_array(sp.diags_array(1 / self._norms) @ sp.csr_array(self.block.matrix))
        R.sort_indices()
        columns = sp.csc_array(R)
        columns.sort_indices()
        filled = (np.zeros((0, 0)),) * 2
        if _is_dense(self.block):
            filled = tuple(_kernels.lanes.filled_up(v) for v in (R.toarray(), columns.T.toarray()))
        return _as_arrays(R), _as_arrays(columns), *filled

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse what Newton's method was measured to be faster at."""
        if not block.num_rows:
            return "it has no rows"
        if block.is_aux.any():
            return "auxiliary variables have no curvature"
        if block.num_rows > _MOST_ROWS or block.size > _MOST_VARIABLES:
            return "it is large, and steps add one constraint each"
        few = block.num_rows < _ROWS * block.size
        if few and block.size > _FEW and not _is_dense(block):
            return "few sparse rows over many variables: most active constraints will be bounds"
        return None

    def remark(self) -> str:
        """Say how rows are read, and who is asked next."""
        kind = "dense" if _is_dense(self.block) else "sparse"
        return f"dual active-set method, {kind} rows; what misses {GOOD:g} goes to Newton's method"

    def on_host(self, y: Tensor, limits: Limits, near: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run the compiled loop; see `BeforeNewton`."""
        size = self.block.size
        points = array(y).reshape(-1, size)
        hints = np.zeros((1, 0)) if near is None else array(near).reshape(-1, size)
        x, quality = np.empty_like(points), np.empty(len(points))
        block = _kernels.active_set.BlockArrays(*self._rows)
        if self._sides is None or self._sides[0] is not limits:
            self._sides = limits, tuple(array(v) for v in limits)
        sides = self._sides[1]
        cost = len(points) * (200 * size + 20 * self.block.matrix.nnz)
        args = (block, self._norms, points, sides, hints, x, quality)
        run(_kernels.active_set.project, len(points), cost, *args)
        return torch.from_numpy(x).reshape(y.shape), torch.from_numpy(quality).reshape(y.shape[:2])


def _is_dense(block: Block) -> bool:
    return block.matrix.nnz > _DENSE * block.num_rows * block.size


def _as_arrays(matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data
