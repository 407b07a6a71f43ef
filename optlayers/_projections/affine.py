"""Blocks of equality rows without bounds: a linear system."""

import numpy as np
import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import Limits, Report
from .derivative import Projection

_LARGEST = 4000  # a dense pseudo-inverse of more variables than this is not cheap any more


class Affine(Projection):
    r"""Projection onto $\{R z = c\}$: $\Pi(y) = y - R^+ (R y - c)$; $O(nm)$ per instance."""

    def __init__(self, block: Block):
        super().__init__(block)
        self.R = block.matrix.toarray()
        self.pinv = np.linalg.pinv(self.R)

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
        if np.linalg.matrix_rank(block.matrix.toarray()) < block.num_rows:
            return "its rows depend on one another"
        return None

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return the rows and their pseudo-inverse."""
        return tuple(torch.as_tensor(v, dtype=dtype, device=device) for v in (self.R, self.pinv))

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Subtract the shortest correction of the residual."""
        R, pinv = self.constants(x.device, x.dtype)
        for _ in range(2):  # the second round removes the rounding of the first
            x = x - (x @ R.T - limits.row_lower) @ pinv.T
        return x

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Project onto the null space of the rows."""
        R, pinv = self.constants(x.device, x.dtype)
        return grad - (grad @ R.T) @ pinv.T
