"""Blocks of equality rows without bounds: a linear system."""

import numpy as np
import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import Limits, Report
from .derivative import Projection

_LARGEST = 4000  # a dense pseudo-inverse of more variables than this is not cheap any more
_LARGE, _THIN = (
    500_000,
    0.05,
)  # entries from which rows so thin are better solved by a sparse factor


class Affine(Projection):
    r"""Projection onto $\{R z = c\}$: $\Pi(y) = y - R^+ (R y - c)$; $O(nm)$ per instance.

    Computed in float64, rounded at the end. Large systems are left to Newton's method, whose one
    step is the same with a sparse factor.
    """

    wide_limits = True

    def __init__(self, block: Block):
        super().__init__(block)
        self.R = block.matrix.toarray()
        u, values, vt = _svd(block)
        self.pinv = (vt.T / values) @ u.T

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse bounds, inequalities, and rows that depend on one another."""
        if block.varying:
            return f"its {block.varying} vary in the batch"
        if block.is_aux.any():
            return "it has auxiliary variables"
        if not (block.row_lower == block.row_upper).all():
            return "it has inequality rows"
        if np.isfinite(block.lower).any() or np.isfinite(block.upper).any():  # type: ignore[arg-type]
            return "it has bounds"
        if block.size > _LARGEST:
            return f"it has more than {_LARGEST} variables"
        entries = block.num_rows * block.size
        if entries > _LARGE and block.matrix.nnz < _THIN * entries:
            return "its rows are large and sparse, and their pseudo-inverse is dense"
        values, size = _svd(block)[1], max(block.num_rows, block.size)
        least = size * np.finfo(float).eps * values.max(initial=0.0)
        if block.num_rows > block.size or not (values > least).all():
            return "its rows depend on one another"
        return None

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return the rows and their pseudo-inverse."""
        values = (self.R, self.pinv)
        return tuple(torch.as_tensor(v, dtype=torch.float64, device="cpu") for v in values)

    def constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return the same tensors in float64 for every dtype: made ahead of a traced graph."""
        return super().constants(device, torch.float64)

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Subtract the shortest correction of the residual."""
        (R, pinv), z = self.constants(x.device, x.dtype), x.double()
        for _ in range(2):  # the second round removes the rounding of the first
            z = z - (z @ R.T - limits.row_lower) @ pinv.T
        return z.to(x.dtype)

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Project onto the null space of the rows."""
        (R, pinv), g = self.constants(x.device, x.dtype), grad.double()
        return (g - (g @ R.T) @ pinv.T).to(grad.dtype)


def _svd(block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the singular value decomposition of the rows, made once."""
    return block.kept("svd", lambda: np.linalg.svd(block.matrix.toarray(), full_matrices=False))
