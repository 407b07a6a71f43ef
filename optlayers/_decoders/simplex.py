"""Blocks that are simplices, possibly after reflecting some variables: a plain argmax."""

import numpy as np
import torch
from torch import Tensor

from .. import _kernels
from .._kernels.arrays import array, use_kernels
from .._kernels.threads import run
from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap, Limits, Report
from .._polytope.consistency import ROUNDING
from .._projections.simplex import Simplex


class SimplexArgmax(AbstractBlockMap):
    r"""$\hat x = t\, e_i$ with $i = \arg\max_i g_i$ over $\{x \ge 0, \sum_i x_i = t\}$; $O(n)$.

    $g$ are the scores in reflected coordinates ($z_i = l_i + x_i$ or $u_i - x_i$). With
    $\sum_i x_i \le t$, nothing is chosen unless some $g_i > 0$. Of equals the lower number has
    the larger $z$, whichever way it is reflected; at a score of 0, $z$ stays low.
    """

    cheap = True
    takes_mixed = True

    def __init__(self, block: Block):
        super().__init__(block)
        low, high, lower, upper = block.static
        _, total, sign = block.simplex
        self.sign, self.anchor, self.far = sign, *_ends(block, total, sign)
        self.fixed = np.equal(lower, upper)
        self._some_fixed = bool(self.fixed.any())
        self.equality = bool(low[0, 0] == high[0, 0])
        # First the variables that drop by being chosen, the last of them first; then the others.
        number = np.broadcast_to(np.arange(block.size), sign.shape)
        order = np.argsort(np.where(sign < 0, -1 - number, number), axis=1, kind="stable")
        self.order = None if (order == number).all() else order
        self._arrays = self.sign, self.anchor, self.far, self.fixed, order

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse what is no simplex, or one whose vertices should be integral but are not."""
        if reason := Simplex.why_not(block):
            return reason
        if block.varying:
            return f"its {block.varying} vary in the batch"
        _, total, sign = block.simplex
        anchor, far = _ends(block, total, sign)
        ends = (anchor == np.round(anchor)) & (far == np.round(far))
        if not ends[:, block.whole].all():
            return "its total or its bounds are not integers"
        return None

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor | None, ...]:
        """Signs, both values of every variable, fixed variables, order of ties."""
        values = (self.sign, self.anchor, self.far)
        numbers = (torch.as_tensor(v, dtype=dtype, device="cpu") for v in values)
        fixed = torch.as_tensor(self.fixed, device="cpu") if self._some_fixed else None
        order = None if self.order is None else torch.as_tensor(self.order, device="cpu")
        return (*numbers, fixed, order)

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Decide; compiled loop on the CPU, tensors elsewhere. NaN if a score is NaN."""
        if not use_kernels(x):
            return self._by_argmax(x)
        z, size = torch.empty_like(x, memory_format=torch.contiguous_format), self.block.size
        run(
            _kernels.decisions.simplex,
            x.shape[0] * self.block.count,
            x.numel(),
            array(x).reshape(-1, size),
            z.numpy().reshape(-1, size),
            *self._arrays,
            self.equality,
        )
        return z

    def _by_argmax(self, x: Tensor) -> Tensor:
        """Find the best variable of each component, and where it ends."""
        sign, anchor, far, fixed, order = self.constants(x.device, x.dtype)
        gain = sign * x
        if fixed is not None:
            gain = torch.where(fixed, torch.where(x.isnan(), torch.nan, -torch.inf), gain)
        if order is not None:
            order = order.expand_as(x)
            gain = gain.gather(-1, order)
        at = gain.argmax(-1, keepdim=True)  # the first of equals, which `max` does not promise
        best = gain.gather(-1, at)
        at = at if order is None else order.gather(-1, at)
        value = far.expand_as(x).gather(-1, at)
        if not self.equality:
            drops = sign.expand_as(x).gather(-1, at) < 0
            chosen = (best > 0) | ((best == 0) & drops)
            value = torch.where(chosen, value, anchor.expand_as(x).gather(-1, at))
        z = anchor.expand_as(x).scatter(-1, at, value)
        return torch.where(best.isnan(), torch.nan, z)


def _ends(block: Block, total: np.ndarray, sign: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value of every variable when it is not chosen, and when it is."""
    lower, upper, total = np.array(block.lower), np.array(block.upper), total[:, None]
    anchor = np.where(sign > 0, lower, upper)
    far = np.where(sign > 0, np.minimum(lower + total, upper), np.maximum(upper - total, lower))
    if block.integral:  # (f * t) / f is t up to rounding
        whole = np.round(far)
        near = np.abs(far - whole) <= ROUNDING * (1 + np.abs(far))
        far = np.where(near & block.whole, whole, far)
    return anchor, far
