"""Blocks that are simplices, possibly after reflecting some variables: a plain argmax."""

import numpy as np
import torch
from torch import Tensor

from .._plan import AbstractBlockMap, Limits, Report
from .._structure import Block, simplex_form


class SimplexArgmax(AbstractBlockMap):
    r"""$\hat x = t\, e_i$ with $i = \arg\max_i g_i$ over $\{x \ge 0, \sum_i x_i = t\}$; $O(n)$.

    $g$ are the scores in reflected coordinates ($z_i = l_i + x_i$ or $u_i - x_i$). With
    $\sum_i x_i \le t$, nothing is chosen unless some $g_i > 0$. Ties go to the lower number.
    """

    def __init__(self, block: Block):
        super().__init__(block)
        values = (block.row_lower[:, 0], block.row_upper[:, 0], block.lower, block.upper)  # type: ignore[index]
        _, total, sign = simplex_form(block.weights, *values)
        self.sign, self.anchor, self.far = sign, *_ends(block, total, sign)
        self.fixed = block.lower == block.upper
        self.equality = bool(block.row_lower[0, 0] == block.row_upper[0, 0])  # type: ignore[index]

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse anything that is not a simplex for every instance of every batch."""
        if block.num_rows != 1:
            return "it has coupling rows" if block.num_rows > 1 else "it has no row"
        if block.is_aux.any():
            return "it has auxiliary variables"
        if block.varying:
            return f"its {block.varying} vary in the batch"
        if block.magnitude is None:
            return "the coefficients of its row differ in size"
        low, high = block.row_lower[:, 0], block.row_upper[:, 0]  # type: ignore[index]
        fits, total, sign = simplex_form(block.weights, low, high, block.lower, block.upper)
        if not fits.all():
            return "a bound other than those of a simplex can be active"
        if (low == high).any() and not (low == high).all():
            return "it mixes equalities and inequalities"
        anchor, far = _ends(block, total, sign)
        if block.integral and not ((anchor == np.round(anchor)) & (far == np.round(far))).all():
            return "its total or its bounds are not integers"
        return None

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor | None, ...]:
        """Signs, both values of every variable, and fixed variables if there are any."""
        values = (self.sign, self.anchor, self.far)
        numbers = (torch.as_tensor(v, dtype=dtype, device=device) for v in values)
        return (*numbers, torch.as_tensor(self.fixed, device=device) if self.fixed.any() else None)

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """One argmax per component; NaN if a score is NaN."""
        sign, anchor, far, fixed = self.constants(x.device, x.dtype)
        gain = sign * x
        if fixed is not None:
            gain = torch.where(fixed, torch.where(x.isnan(), torch.nan, -torch.inf), gain)
        best, at = gain.max(-1, keepdim=True)
        at = gain.argmax(-1, keepdim=True)  # the first of equals, which `max` does not promise
        value = far.expand_as(x).gather(-1, at)
        if not self.equality:
            value = torch.where(best > 0, value, anchor.expand_as(x).gather(-1, at))
        z = anchor.expand_as(x).scatter(-1, at, value)
        return torch.where(best.isnan(), torch.nan, z)


def _ends(block: Block, total: np.ndarray, sign: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value of every variable when it is not chosen, and when it is."""
    lower, upper, total = block.lower, block.upper, total[:, None]
    anchor = np.where(sign > 0, lower, upper)
    far = np.where(sign > 0, np.minimum(lower + total, upper), np.maximum(upper - total, lower))  # type: ignore[operator]
    if block.integral:  # (f * t) / f is t up to rounding
        whole = np.round(far)
        far = np.where(np.abs(far - whole) <= 1e-9, whole, far)
    return anchor, far
