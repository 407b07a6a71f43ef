"""Blocks without rows: every variable decides for itself."""

from typing import ClassVar

import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import Limits, Report
from .._polytope.consistency import inward
from .common import PreparedDecoder, static_limits


class BoxArgmax(PreparedDecoder):
    r"""$\hat z_i = u_i$ where $s_i > 0$, else $l_i$; $O(n)$.

    Integers: $\lfloor u_i \rfloor$ and $\lceil l_i \rceil$. A score of exactly 0 chooses nothing.
    """

    wide_limits: ClassVar[bool] = True  # rounded to float32, a limit may become an integer
    cheap = True
    takes_mixed = True

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse rows, and bounds that are infinite or have no integer between them."""
        if block.num_rows:
            return "it has coupling rows"
        if not block.finite_bounds:
            return "its bounds are infinite"
        limits = static_limits(block)
        if block.integral and limits and _integral_bounds(block, limits)[2].any():
            return "no integer lies between two of its bounds"
        return None

    def prepare(self, limits: Limits) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
        """Return the two values of every variable; NaN in instances without an integral point."""
        if not self.block.integral:
            return (limits.lower, limits.upper), None
        low, high, bad = _integral_bounds(self.block, limits)
        hole = bad[:, None, None]
        return (torch.where(hole, torch.nan, low), torch.where(hole, torch.nan, high)), bad

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Decide; NaN scores stay NaN."""
        low, high = self.prepared(limits, x.shape[0], report)
        return torch.where(x.isnan(), x, torch.where(x > 0, high, low).to(x.dtype))


def _integral_bounds(block: Block, limits: Limits) -> tuple[Tensor, Tensor, Tensor]:
    """Integers nearest to the bounds, inside; and the instances where there is none."""
    own = block.on("whole", limits.lower.device)
    low, high = inward(limits.lower, limits.upper)
    bad = ((low > high) & own).flatten(1).any(1)
    return torch.where(own, low, limits.lower), torch.where(own, high, limits.upper), bad
