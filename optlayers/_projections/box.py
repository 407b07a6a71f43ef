"""Blocks without rows: clip."""

import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import Limits, Report
from .derivative import Projection


class Box(Projection):
    r"""Projection onto bounds, $\Pi(y) = \min(\max(y, l), u)$; $O(n)$."""

    cheap = True

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse rows."""
        return "it has coupling rows" if block.num_rows else None

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Clip `x` to its bounds."""
        return torch.minimum(torch.maximum(x, limits.lower), limits.upper)

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Pass the gradient where no bound is active."""
        return torch.where((x > limits.lower) & (x < limits.upper), grad, 0)
