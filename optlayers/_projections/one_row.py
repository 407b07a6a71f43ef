"""Blocks with one coupling row and bounds: the workhorse."""

import torch
from torch import Tensor

from .. import _kernels
from .._kernels.arrays import array, use_kernels
from .._kernels.rounding import BESIDE, LARGEST, ROUNDING, of_sum
from .._kernels.threads import run
from .._plan.blocks import Block
from .._plan.maps import Limits, Report
from .derivative import Projection


def _moved(x: Tensor, step: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return `x - step` between its bounds, and on the one it is nearer to than its rounding.

    Unless that is so large that the row would be missed by what is moved.
    """
    z = torch.minimum(torch.maximum(x - step, lower), upper)
    near = ROUNDING * (x.abs() + step.abs())
    near = torch.where(near > LARGEST, -1.0, near)
    z = torch.where((step > 0) & (z - lower <= near), lower, z)
    return torch.where((step < 0) & (upper - z <= near), upper, z)


_SPREADS = 3  # rounds in which far entries take up what a row is missed by
_LOOSE, _FAR_TAU = 8 * 2.0**-52, 1e6  # as in `_kernels/thresholds.py`


class OneRow(Projection):
    r"""Projection onto $\{\underline c \le a \cdot z \le \bar c,\ l \le z \le u\}$; exact.

    $$ z(\tau) = \min(\max(y - \tau a, l), u) $$

    $a \cdot z(\tau)$ falls with $\tau$ and is linear between the breakpoints $(y - u)/a$ and
    $(y - l)/a$. If $z(0)$ meets the row it is the answer; otherwise $\tau$ solves one scalar
    equation for the side that is violated. Any signs and weights, infinite bounds, fixed variables,
    right-hand sides and bounds per instance. Computed in float64, rounded at the end. CPU:
    safeguarded Newton, a few passes. CUDA: breakpoints sorted, then bisected by index,
    $O(n \log n)$, without synchronisation.

    References:
        Brucker (1984), *An O(n) algorithm for quadratic knapsack problems*; Kiwiel (2008),
        *Breakpoint searching algorithms for the continuous quadratic knapsack problem*.
    """

    wide_limits = True  # a total at a corner is out of reach once it is rounded
    cheap = True

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse several rows, and auxiliary variables."""
        if block.num_rows != 1:
            return f"it needs exactly one row, not {block.num_rows}"
        return "it has auxiliary variables" if block.is_aux.any() else None

    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Project; compiled loop on the CPU, sorted breakpoints elsewhere."""
        if not use_kernels(x):
            return self._by_breakpoints(x, limits)
        z = torch.empty_like(x, memory_format=torch.contiguous_format)
        size = self.block.size
        run(
            _kernels.thresholds.one_row,
            x.shape[0] * self.block.count,
            4 * x.numel(),
            array(x).reshape(-1, size),
            z.numpy().reshape(-1, size),
            self.block.weights,
            *(array(v) for v in limits),
        )
        return z

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return the coefficients of the row."""
        return (torch.as_tensor(self.block.weights, dtype=torch.float64, device="cpu"),)

    def constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return the same tensors in float64 for every dtype: made ahead of a traced graph."""
        return super().constants(device, torch.float64)

    def _a(self, x: Tensor) -> Tensor:
        return self.constants(x.device, x.dtype)[0]

    def _goal(self, x: Tensor, limits: Limits) -> tuple[Tensor, Tensor]:
        """Return where the row must end, and whether it has to move at all."""
        inside = torch.minimum(torch.maximum(x, limits.lower), limits.upper)
        act = (self._a(x) * inside).sum(-1, keepdim=True)
        goal = torch.minimum(torch.maximum(act, limits.row_lower), limits.row_upper)
        return goal, goal != act

    def _by_breakpoints(self, x: Tensor, limits: Limits) -> Tensor:
        return self._by_breakpoints_wide(x.double(), limits).to(x.dtype)

    def _by_breakpoints_wide(self, x: Tensor, limits: Limits) -> Tensor:
        a, lower, upper = self._a(x), limits.lower, limits.upper
        goal, moves = self._goal(x, limits)
        one, two = (x - upper) / a, (x - lower) / a
        enter, leave = torch.minimum(one, two), torch.maximum(one, two)
        points = torch.cat([enter, leave], -1).sort(-1).values
        size = points.shape[-1]
        # Bisection for the last breakpoint with a.z >= goal. At an infinite breakpoint a variable
        # without a bound makes a.z infinite, so its side is known without evaluating it.
        low = torch.full_like(goal, -1, dtype=torch.long)
        high = torch.full_like(goal, size, dtype=torch.long)
        for _ in range(size.bit_length()):
            middle = (low + high) // 2
            tau = points.gather(-1, middle.clamp(0, size - 1))
            terms = a * _moved(x, torch.where(tau.isfinite(), tau, 0) * a, lower, upper)
            # A goal missed by rounding is met: a variable is then at its bound.
            reach = terms.sum(-1, keepdim=True) + ROUNDING * terms.abs().sum(-1, keepdim=True)
            above = torch.where(tau.isfinite(), reach >= goal, tau < 0)
            open_ = high - low > 1
            low = torch.where(above & open_, middle, low)
            high = torch.where(~above & open_, middle, high)
        left = torch.where(low >= 0, points.gather(-1, low.clamp(min=0)), -torch.inf)
        right = torch.where(high < size, points.gather(-1, high.clamp(max=size - 1)), torch.inf)
        # On that piece the free set is known, so tau is exact: no iteration is left to stop.
        free = (enter <= left) & (leave >= right)
        at_start = torch.where(a > 0, upper, lower)  # value before a variable enters
        at_end = torch.where(a > 0, lower, upper)
        rest = torch.where(free, x, torch.where(enter >= right, at_start, at_end))
        slope = (torch.where(free, a, 0) ** 2).sum(-1, keepdim=True)
        tau = ((a * rest).sum(-1, keepdim=True) - goal) / torch.where(slope > 0, slope, 1)
        ends = torch.where(left.isfinite(), left, torch.where(right.isfinite(), right, 0))
        # Both ends of a far entry are at one breakpoint: then it is the one on the right.
        terms = a * _moved(x, ends * a, lower, upper)
        off = (terms.sum(-1, keepdim=True) - goal).abs()
        missed = off > of_sum(x.shape[-1]) * terms.abs().sum(-1, keepdim=True)
        ends = torch.where(missed & right.isfinite(), right, ends)
        tau = torch.where(slope > 0, torch.minimum(torch.maximum(tau, left), right), ends)
        tau = torch.where(moves, self._settled(x, limits, goal, tau, slope, (enter, leave)), 0)
        z = _moved(x, tau * a, lower, upper)
        z = torch.where(moves, self._meeting(x, limits, goal, tau * a, z), z)
        return torch.where(x.isnan().any(-1, keepdim=True), torch.nan, z)

    def _meeting(self, x: Tensor, limits: Limits, goal, step: Tensor, z: Tensor) -> Tensor:
        """Return the answer with what rounding of far entries leaves of the row; see `meet`."""
        a, free = self._a(x), (z > limits.lower) & (z < limits.upper)
        terms = a * z
        size = (a.abs() * (z.abs() + x.abs() + step.abs())).sum(-1, keepdim=True)
        miss = goal - terms.sum(-1, keepdim=True)
        slope = torch.where(free, a * a, 0.0).sum(-1, keepdim=True)
        small = (slope > 0) & (miss.abs() <= of_sum(x.shape[-1]) * size)
        rest = torch.where(small, miss / torch.where(slope > 0, slope, 1.0), 0.0)
        met = torch.minimum(torch.maximum(z + a * rest, limits.lower), limits.upper)
        z = torch.where(free, met, z)
        for _ in range(_SPREADS):
            z = self._spread(x, limits, goal, step, z)
        return z

    def _spread(self, x: Tensor, limits: Limits, goal, step: Tensor, z: Tensor) -> Tensor:
        """Return the answer with entries moved whose ends rounding has in one; see `spread`."""
        a, lower, upper = self._a(x), limits.lower, limits.upper
        terms = a * z
        miss = goal - terms.sum(-1, keepdim=True)
        far = miss.abs() > of_sum(x.shape[-1]) * terms.abs().sum(-1, keepdim=True)
        far = far & ((step / a).abs().amax(-1, keepdim=True) > _FAR_TAU)
        rounding = _LOOSE * (x.abs() + step.abs())
        inside = (x - step >= lower - rounding) & (x - step <= upper + rounding)
        loose = far & inside & torch.where(a * miss > 0, z < upper, z > lower)
        slope = torch.where(loose, a * a, 0.0).sum(-1, keepdim=True)
        moved = z + a * torch.where(slope > 0, miss / torch.where(slope > 0, slope, 1.0), 0.0)
        moved = torch.minimum(torch.maximum(moved, lower), upper)
        return torch.where(loose, moved, z)

    def _settled(self, x: Tensor, limits: Limits, goal, tau, slope, ends: tuple) -> Tensor:
        """Return the breakpoint beside tau that is as good, up to rounding; see `settle`."""
        a, n, (enter, leave) = self._a(x), x.shape[-1], ends
        points = torch.cat(ends, -1)
        reach = BESIDE * _moved(x, tau * a, limits.lower, limits.upper).abs().amax(-1, keepdim=True)
        reach = torch.where(slope > 0, reach / slope.clamp(min=1e-300).sqrt(), -1.0)
        after = torch.where(points <= tau + reach, points, -torch.inf).amax(-1, keepdim=True)
        before = torch.where(points >= tau - reach, points, torch.inf).amin(-1, keepdim=True)
        moves = enter < leave
        found, corner = tau, torch.zeros_like(tau, dtype=torch.bool)
        for to, beside, free in (
            (after, after > tau, (enter <= after) & (after < leave)),
            (before, before < tau, (enter < before) & (before <= leave)),
        ):
            terms = a * _moved(x, torch.where(to.isfinite(), to, 0) * a, limits.lower, limits.upper)
            off = (terms.sum(-1, keepdim=True) - goal).abs()
            good = beside & to.isfinite() & (off <= of_sum(n) * terms.abs().sum(-1, keepdim=True))
            held = good & ~(free & moves).any(-1, keepdim=True)
            found = torch.where((held & ~corner) | (good & (found == tau)), to, found)
            corner = corner | held
        return found

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        r"""Return $g_F - a_F (a_F \cdot g_F)/(a_F \cdot a_F)$, $F$ free, if the row is active."""
        a, g = self._a(x), grad.double()
        free = (z > limits.lower.to(z.dtype)) & (z < limits.upper.to(z.dtype))
        _, moves = self._goal(x.double(), limits)
        a_free = torch.where(free, a, 0)
        along = (a_free * g).sum(-1, keepdim=True)
        norm = (a_free * a_free).sum(-1, keepdim=True)
        # A point that is on an equality already does not move, and yet may not leave it.
        active = (moves | (limits.row_lower == limits.row_upper)) & (norm > 0)
        step = torch.where(active, along / torch.where(active, norm, 1), 0)
        return torch.where(free, g - step * a_free, 0).to(grad.dtype)
