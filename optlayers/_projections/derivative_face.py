"""Where an answer lies: the rows and bounds that are active there."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import Limits
from .derivative_aux import free_auxiliaries
from .derivative_rows import activity
from .derivative_systems import Saddle

_ROUNDING = 1e-14  # of a slack, relative to the largest auxiliary variable


class Face(NamedTuple):
    """Where an answer lies, `(N, count, size)` and `(N, count, num_rows)`."""

    lower: Tensor
    upper: Tensor
    low: Tensor
    high: Tensor
    lone: bool  # one row, or none, and no auxiliary variable: closed forms
    system: Saddle | None  # of most instances, where there are auxiliary variables

    @property
    def free(self) -> Tensor:
        return ~(self.lower | self.upper)

    @property
    def active(self) -> Tensor:
        return self.low | self.high


def face_of(block: Block, z: Tensor, r: Tensor, limits: Limits) -> Face:
    """Activity of rows and bounds, by the rounding of closed forms or the accuracy of a solver."""
    points, wide = z.double(), Limits(*(v.double() for v in limits))
    lone = not block.num_rows or (block.weights is not None and not block.is_aux.any())
    eps, system = torch.finfo(z.dtype).eps, None
    if lone:
        near, size = 64 * eps, _one_row_act(block, points.abs(), absolute=True)
        act, slip = _one_row_act(block, points), torch.zeros_like(points)
    else:
        near = 1e-8 if z.dtype == torch.float64 else 1e-5
        if block.is_aux.any():
            points, system = free_auxiliaries(block, points, r, wide, near, 20 * near)
            near = 20 * near
        act = activity(block, points)
        slip = size = _extent(block, points, _ROUNDING / near)
    lower, upper = wide.lower, wide.upper
    if lone:  # the answer of a closed form is a bound to the last digit, in its own precision
        lower, upper = (v.to(z.dtype).double() for v in (lower, upper))
    return Face(
        points <= lower + near * slip,
        points >= upper - near * slip,
        act <= wide.row_lower + near * (size + _finite(wide.row_lower)),
        act >= wide.row_upper - near * (size + _finite(wide.row_upper)),
        lone,
        system,
    )


def _extent(block: Block, points: Tensor, rounding: float) -> Tensor:
    """Return `(N, count, 1)`, what slacks are compared with, times `near`.

    The size of the point: an auxiliary variable that may be huge says no more than its rounding.
    """
    size = points.abs()
    if not block.is_aux.any():
        return 1 + size.amax(-1, keepdim=True)
    aux = block.on("is_aux", points.device)
    own = torch.where(aux, 0.0, size).amax(-1, keepdim=True)
    return 1 + own + rounding * size.amax(-1, keepdim=True)


def _finite(v: Tensor) -> Tensor:
    return torch.where(v.isfinite(), v.abs(), 0.0)


def _one_row_act(block: Block, points: Tensor, absolute: bool = False) -> Tensor:
    if block.weights is None:
        return points.new_zeros(*points.shape[:2], 0)
    weights = block.on("weights", points.device).to(points.dtype)
    weights = weights.abs() if absolute else weights
    return (weights * points).sum(-1, keepdim=True)
