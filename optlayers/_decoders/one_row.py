"""Blocks with one coupling row and bounds: fill by gain per unit of the row."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import _kernels
from .._kernels.arrays import array, use_kernels
from .._kernels.threads import run
from .._plan.blocks import Block
from .._plan.maps import Limits, Report
from .._polytope.consistency import inward
from .common import PreparedDecoder, static_limits

_LARGE = 1e150  # scores beyond it are scaled down before they are divided by a weight


class _Reflected(NamedTuple):
    """The block in coordinates in which every coefficient is positive and every lower bound 0."""

    positive: Tensor  # (count, size) coefficient > 0
    weight: Tensor  # (count, size) |coefficient|
    a: Tensor  # (count, size) coefficient
    anchor: Tensor  # (N or 1, count, size) value of a variable that takes nothing
    far: Tensor  # value of a variable that takes all it can
    capacity: Tensor  # what it then takes of the row
    least: Tensor  # (N or 1, count, 1) what must be taken of the row
    most: Tensor
    low: Tensor  # (N or 1, count, 1) what the row itself must end at, at least
    high: Tensor


class OneRowArgmax(PreparedDecoder):
    r"""Argmax over $\{\underline c \le a \cdot z \le \bar c,\ l \le z \le u\}$; $O(n \log n)$.

    Write $z_i = l_i + x_i$ where $a_i > 0$ and $z_i = u_i - x_i$ where $a_i < 0$. All variables
    with a gain are taken, then the number of units of the row is moved into its limits; the order
    is gain per unit, by one sort. At most one variable ends between its bounds, so this is a
    vertex. If all $|a_i|$ are equal the vertex is integral; otherwise the integral problem is
    NP-hard and this decoder refuses it.

    References:
        Dantzig (1957), *Discrete-variable extremum problems*.
    """

    wide_limits = True
    cheap = True

    def __init__(self, block: Block):
        super().__init__(block)
        self._arrays: tuple[_Reflected, tuple[Any, Any]] | None = None

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse several rows, auxiliary variables, infinite bounds, integral knapsacks."""
        if block.num_rows != 1:
            return f"it needs exactly one row, not {block.num_rows}"
        if block.is_aux.any():
            return "it has auxiliary variables"
        if not block.finite_bounds:
            return "its bounds are infinite"
        if block.integral and block.magnitude is None:
            return "the coefficients of its row differ in size, and decoding must be integral"
        limits = static_limits(block)
        if block.integral and limits and bool(_without_integers(_reflect(block, limits)).any()):
            return "it has no integral point"
        return None

    def prepare(self, limits: Limits) -> tuple[_Reflected, Tensor | None]:
        """Return the reflected block; NaN in instances without an integral point."""
        found = _reflect(self.block, limits)
        if not self.block.integral:
            return found, None
        bad = _without_integers(found)
        anchor = torch.where(bad[:, None, None], torch.nan, found.anchor)
        # Not `_replace`, which `torch.compile` of torch 2.6 cannot trace.
        positive, weight, a, _, *rest = found
        return _Reflected(positive, weight, a, anchor, *rest), bad

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Decide; compiled loop on the CPU, tensors elsewhere. NaN if a score is NaN."""
        at = self.prepared(limits, x.shape[0], report)
        if not use_kernels(x):
            return self._by_sorting(x, at)
        z, size = torch.empty_like(x, memory_format=torch.contiguous_format), self.block.size
        run(
            _kernels.decisions.one_row,
            x.shape[0] * self.block.count,
            8 * x.numel(),
            array(x).reshape(-1, size),
            z.numpy().reshape(-1, size),
            *self._arrays_of(at),
            self._slack,
        )
        return z

    @property
    def _slack(self) -> float:
        """Sums of unequal weights round; without slack a variable that just fits would be split."""
        return 0.0 if self.block.integral else 8 * torch.finfo(torch.float64).eps

    def _arrays_of(self, at: _Reflected) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Return the reflected block as arrays: of the coefficients, and of what may vary."""
        if self._arrays is None or self._arrays[0] is not at:
            found = [array(v) for v in at]
            self._arrays = at, (tuple(found[:3]), tuple(found[3:]))
        return self._arrays[1]

    def _by_sorting(self, x: Tensor, at: _Reflected) -> Tensor:
        """Sort, fill, undo the sort."""
        scores, slack = x.double(), self._slack
        # A gain per unit of the row must not overflow: only the order counts.
        largest = torch.where(scores.isfinite(), scores.abs(), 0).amax(-1, keepdim=True)
        scores = torch.where(largest > _LARGE, scores / _LARGE, scores)
        gain = torch.where(at.positive, scores, -scores) / at.weight
        # At a score of 0 a part is not chosen; for z = u - x that means that x is.
        gain = torch.where((gain == 0) & ~at.positive, torch.finfo(gain.dtype).tiny, gain)
        # Stable, so that of equal gains the lower number comes first.
        gain, order = gain.sort(dim=-1, descending=True, stable=True)
        filled = at.capacity.expand_as(scores).gather(-1, order).cumsum(-1)
        before = torch.nn.functional.pad(filled[..., :-1], (1, 0))
        wanted = torch.where(gain > 0, filled, 0).amax(-1, keepdim=True)
        units = torch.maximum(torch.minimum(wanted, at.most), at.least)
        left = torch.where(units - before > units * slack, units - before, 0)
        part = left / at.weight.expand_as(scores).gather(-1, order)
        part = torch.where(filled <= units * (1 + slack), torch.inf, part)
        part = torch.empty_like(part).scatter(-1, order, part)
        between = torch.where(at.positive, at.anchor + part, at.anchor - part)
        z = torch.where(part == torch.inf, at.far, between)
        if not self.block.integral:
            z = _on_the_row(z, (part > 0) & (part < torch.inf), units, wanted, at)
        return torch.where((x + at.anchor).isnan().any(-1, keepdim=True), torch.nan, z).to(x.dtype)


def _on_the_row(z: Tensor, split: Tensor, units: Tensor, wanted: Tensor, at: _Reflected) -> Tensor:
    """Return the variable between its bounds once more, by what the row leaves it.

    Counted from a bound it has the digits of the bound, which may be 1e10.
    """
    others = torch.where(split, 0, at.a * z).sum(-1, keepdim=True)
    goal = torch.where(units < wanted, at.high, at.low)
    again = torch.where(units == wanted, z, (goal - others) / at.a)
    low, high = torch.minimum(at.anchor, at.far), torch.maximum(at.anchor, at.far)
    again = torch.minimum(torch.maximum(again, low), high)
    return torch.where(split, again, z)


def _reflect(block: Block, limits: Limits) -> _Reflected:
    lower, upper = limits.lower, limits.upper
    a = block.on("weights", lower.device).to(lower.dtype)
    if block.integral:
        lower, upper = inward(lower, upper)
    anchor, far = torch.where(a > 0, lower, upper), torch.where(a > 0, upper, lower)
    offset = (a * anchor).sum(-1, keepdim=True)
    low, high = limits.row_lower, limits.row_upper
    least, most = low, high
    if block.integral:  # rows are divided by their largest coefficient, so here all |a| are 1
        least, most = inward(low, high)
    least, most = least - offset, most - offset
    capacity = a.abs() * (upper - lower)
    return _Reflected(a > 0, a.abs(), a, anchor, far, capacity, least, most, low, high)


def _without_integers(at: _Reflected) -> Tensor:
    """Return `(N or 1,)` instances whose limits or bounds leave no integral point."""
    reach = at.capacity.sum(-1, keepdim=True)
    bad = (at.least > at.most) | (at.most < 0) | (at.least > reach)
    return (bad | (at.capacity < 0).any(-1, keepdim=True)).flatten(1).any(1)
