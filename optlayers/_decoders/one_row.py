"""Blocks with one coupling row and bounds: fill by gain per unit of the row."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import Limits, Report
from .common import PreparedDecoder, inward, static_limits


class _Reflected(NamedTuple):
    """The block in coordinates in which every coefficient is positive and every lower bound 0."""

    positive: Tensor  # (count, size) coefficient > 0
    weight: Tensor  # (count, size) |coefficient|
    anchor: Tensor  # (N or 1, count, size) value of a variable that takes nothing
    far: Tensor  # value of a variable that takes all it can
    capacity: Tensor  # what it then takes of the row
    least: Tensor  # (N or 1, count, 1) what must be taken of the row
    most: Tensor


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
        """The reflected block; NaN in instances without an integral point."""
        found = _reflect(self.block, limits)
        if not self.block.integral:
            return found, None
        bad = _without_integers(found)
        anchor = torch.where(bad[:, None, None], torch.nan, found.anchor)
        # Not `_replace`, which `torch.compile` of torch 2.6 cannot trace.
        positive, weight, _, far, capacity, least, most = found
        return _Reflected(positive, weight, anchor, far, capacity, least, most), bad

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Sort, fill, undo the sort; NaN if a score is NaN."""
        at = self.prepared(limits, x.shape[0], report)
        gain = torch.where(at.positive, x, -x) / at.weight
        # At a score of 0 a part is not chosen; for z = u - x that means that x is.
        gain = torch.where((gain == 0) & ~at.positive, torch.finfo(x.dtype).tiny, gain)
        # Stable, so that of equal gains the lower number comes first.
        gain, order = gain.sort(dim=-1, descending=True, stable=True)
        filled = at.capacity.expand_as(x).gather(-1, order).cumsum(-1)
        before = torch.nn.functional.pad(filled[..., :-1], (1, 0))
        wanted = torch.where(gain > 0, filled, 0).amax(-1, keepdim=True)
        units = torch.maximum(torch.minimum(wanted, at.most), at.least)
        # Sums of unequal weights round; without slack a variable that just fits would be split.
        slack = 0.0 if self.block.integral else 8 * torch.finfo(x.dtype).eps
        left = torch.where(units - before > units * slack, units - before, 0)
        part = left / at.weight.expand_as(x).gather(-1, order)
        part = torch.where(filled <= units * (1 + slack), torch.inf, part)
        part = torch.empty_like(part).scatter(-1, order, part)
        between = torch.where(at.positive, at.anchor + part, at.anchor - part)
        z = torch.where(part == torch.inf, at.far, between)
        return torch.where((x + at.anchor).isnan().any(-1, keepdim=True), torch.nan, z)


def _reflect(block: Block, limits: Limits) -> _Reflected:
    lower, upper = limits.lower, limits.upper
    a = torch.as_tensor(block.weights, dtype=lower.dtype, device=lower.device)
    if block.integral:
        lower, upper = inward(lower, upper)
    anchor, far = torch.where(a > 0, lower, upper), torch.where(a > 0, upper, lower)
    offset = (a * anchor).sum(-1, keepdim=True)
    least, most = limits.row_lower - offset, limits.row_upper - offset
    if block.integral:  # rows are divided by their largest coefficient, so here all |a| are 1
        least, most = inward(least, most)
    return _Reflected(a > 0, a.abs(), anchor, far, a.abs() * (upper - lower), least, most)


def _without_integers(at: _Reflected) -> Tensor:
    """`(N or 1,)` instances whose limits or bounds leave no integral point."""
    reach = at.capacity.sum(-1, keepdim=True)
    bad = (at.least > at.most) | (at.most < 0) | (at.least > reach)
    return (bad | (at.capacity < 0).any(-1, keepdim=True)).flatten(1).any(1)
