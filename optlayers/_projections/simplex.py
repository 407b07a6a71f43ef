"""Blocks that are simplices, possibly after reflecting some variables."""

import numpy as np
import torch
from torch import Tensor

from .. import _kernels
from .._kernels.arrays import array, use_kernels
from .._kernels.rounding import of_sum
from .._kernels.threads import run
from .._plan.blocks import Block
from .._plan.maps import Limits, Report
from .._plan.presolve import FAR_ANCHOR
from .derivative import Projection


def simplex_threshold(x: Tensor, total: Tensor | float) -> Tensor:
    r"""Return the $\tau$ with $\sum_i \max(x_i - \tau, 0) = t$, `(..., 1)`, by sorting.

    With the k largest entries positive, $\tau_k = (x_{(1)} + \dots + x_{(k)} - t) / k$; the support
    is the largest k with $x_{(k)} > \tau_k$.

    Args:
        x: `(..., n)`; -inf for what is left out.
        total: `(..., 1)` or a number.
    """
    ordered = x.sort(-1, descending=True).values
    k = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    tau_k = (ordered.cumsum(-1) - total) / k
    support = (ordered > tau_k).sum(-1, keepdim=True).clamp(min=1)
    return tau_k.gather(-1, support - 1)


def _far(block: Block) -> bool:
    """Tell whether variables could be counted only from bounds so far away that digits are lost."""
    _, _, lower, upper = block.static
    assert block.weights is not None  # it has one row
    if max(np.abs(lower).max(), np.abs(upper).max()) <= FAR_ANCHOR:
        return False
    ends = (np.where(sign * block.weights > 0, lower, upper) for sign in (1, -1))
    anchors = [end for end in ends if np.isfinite(end).all()]
    return bool(anchors) and all(bool((np.abs(end) > FAR_ANCHOR).any()) for end in anchors)


class Simplex(Projection):
    r"""Projection onto $\{x \ge 0,\ \sum_i x_i = t\}$ (or $\le t$); $O(n)$ expected per row.

    $$ \Pi(y) = \max(y - \tau, 0), \qquad \sum_i \max(y_i - \tau, 0) = t $$

    Reflection about a bound, $z_i = u_i - x_i$ for negative coefficients, is an isometry, so more
    blocks are simplices than look like it: the coupling $\sum_\ell z_\ell = z_{arc}$ of labels and
    arc is the simplex $\sum_\ell z_\ell + (1 - z_{arc}) = 1$.
    Computed in float64, rounded at the end.

    References:
        Held, Wolfe and Crowder (1974), *Validation of subgradient optimization*; Michelot (1986),
        *A finite algorithm for finding the projection of a point onto the canonical simplex*.
    """

    wide_limits = True  # totals are differences of limits
    cheap = True

    def __init__(self, block: Block):
        super().__init__(block)
        self.varies = bool(block.varying)
        if self.varies:
            assert block.weights is not None  # it has one row
            self.flip = float(np.sign(block.form))
            self.sign = self.flip * np.sign(block.weights)
            self.equality, self.plain = abs(block.form) == 1, False
            return
        low, high, lower, upper = block.static
        _, self.total, self.sign = block.simplex
        self.anchor = np.where(self.sign > 0, lower, upper)
        self.fixed = np.equal(lower, upper)
        self.equality = bool(low[0, 0] == high[0, 0])
        self.plain = bool(
            (self.sign > 0).all() and (self.anchor == 0).all() and not self.fixed.any()
        )

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse anything that is not a simplex for every instance of every batch."""
        if block.num_rows != 1:
            return "it has coupling rows" if block.num_rows > 1 else "it has no row"
        if block.is_aux.any():
            return "it has auxiliary variables"
        if block.varying:
            why = "in some instance a bound other than those of a simplex can be active"
            why += f", or one beyond {FAR_ANCHOR:g} would have to be counted from"
            return None if block.form else f"its {block.varying} vary in the batch, and {why}"
        if block.magnitude is None:
            return "the coefficients of its row differ in size"
        if not block.simplex[0].all():
            if _far(block):
                return f"it would be counted from a bound beyond {FAR_ANCHOR:g}, and lose digits"
            return "a bound other than those of a simplex can be active"
        low, high, _, _ = block.static
        if (low == high).any() and not (low == high).all():
            return "it mixes equalities and inequalities"
        return None

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Project; compiled loop on the CPU, sort elsewhere."""
        if not use_kernels(x):
            return self._by_sorting(x, limits)
        z = torch.empty_like(x, memory_format=torch.contiguous_format)
        size = self.block.size
        if self.varies:
            run(
                _kernels.thresholds.varying_simplex,
                x.shape[0] * self.block.count,
                x.numel(),
                array(x).reshape(-1, size),
                z.numpy().reshape(-1, size),
                self.sign,
                self.flip,
                self.equality,
                *(array(v) for v in limits),
            )
            return z
        run(
            _kernels.thresholds.simplex,
            x.shape[0] * self.block.count,
            x.numel(),
            array(x).reshape(-1, size),
            z.numpy().reshape(-1, size),
            self.sign,
            self.anchor,
            self.fixed,
            self.total,
            self.equality,
            self.plain,
        )
        return z

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return signs, anchors, totals and fixed variables; of what varies, only the signs."""

        def numbers(v: np.ndarray) -> Tensor:
            return torch.as_tensor(v, dtype=torch.float64, device="cpu")

        if self.varies:
            return (numbers(self.sign),)
        fixed = torch.as_tensor(self.fixed, device="cpu")
        return (*map(numbers, (self.sign, self.anchor, self.total[:, None])), fixed)

    def constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return the same tensors in float64 for every dtype: made ahead of a traced graph."""
        return super().constants(device, torch.float64)

    def form(self, x: Tensor, limits: Limits) -> tuple[Tensor, ...]:
        """Return signs, anchors, totals and fixed variables, broadcasting against `x`."""
        if not self.varies:
            return self.constants(x.device, x.dtype)
        (sign,) = self.constants(x.device, x.dtype)
        anchor = torch.where(sign > 0, limits.lower, limits.upper)
        top = limits.row_upper if self.flip > 0 else -limits.row_lower
        offset = sign * anchor
        total = top - offset.sum(-1, keepdim=True)
        # At a corner all stay where they are; less has no point, and no answer is expected.
        least = of_sum(self.block.size) * offset.abs().sum(-1, keepdim=True)
        total = torch.where(total > least, total, 0.0)
        return sign, anchor, total, limits.lower >= limits.upper

    def _by_sorting(self, x: Tensor, limits: Limits) -> Tensor:
        return self._by_sorting_wide(x.double(), limits).to(x.dtype)

    def _by_sorting_wide(self, x: Tensor, limits: Limits) -> Tensor:
        sign, anchor, total, fixed = self.form(x, limits)
        broken = x.isnan().any(-1, keepdim=True)
        if not self.plain:
            x = torch.where(fixed, -torch.inf, sign * (x - anchor))
        shifted = x - x.amax(-1, keepdim=True)  # to keep digits
        z = (shifted - simplex_threshold(shifted, total)).clamp(min=0)
        if not self.equality:
            inside = x.clamp(min=0)
            z = torch.where(inside.sum(-1, keepdim=True) > total, z, inside)
        if self.plain:
            return z
        return torch.where(broken, torch.nan, torch.where(fixed, anchor, anchor + sign * z))

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Subtract the mean over the support, in reflected coordinates."""
        sign, anchor, total, fixed = self.form(x, limits)
        free, g = (z != anchor.to(z.dtype)) & ~fixed, grad.double()
        reflected = torch.where(free, g * sign, 0)
        mean = reflected.sum(-1, keepdim=True) / free.sum(-1, keepdim=True).clamp(min=1)
        if not self.equality:  # inside the simplex no row is active
            above = torch.where(fixed, 0, sign * (x.double() - anchor)).clamp(min=0)
            mean = torch.where(above.sum(-1, keepdim=True) > total, mean, 0)
        return torch.where(free, g - sign * mean, 0).to(grad.dtype)
