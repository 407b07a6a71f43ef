"""Where an answer lies: the rows and bounds that are active there."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import Limits
from .derivative_aux import free_auxiliaries
from .derivative_rows import activity, is_dense, rows_of
from .derivative_systems import Saddle
from .vertices import SMALL, needed_rows

_ROUNDING = 1e-14  # of a slack, relative to the largest auxiliary variable
_EVALUATED = 64  # roundings of a row at a point, relative to their sizes
_UNEQUAL = 1e-3  # smallest coefficient of a row, relative to its norm, that alone makes it near


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
    face = Face(
        points <= lower + near * slip,
        points >= upper - near * slip,
        act <= wide.row_lower + near * (size + _finite(wide.row_lower)),
        act >= wide.row_upper - near * (size + _finite(wide.row_upper)),
        lone,
        system,
    )
    if lone or block.is_aux.any() or not block.kept("unequal", lambda: _is_unequal(block)):
        return face
    return _without_far_rows(block, face, points, r, wide, (near, eps))


def _is_unequal(block: Block) -> bool:
    """Tell whether a part of a row can be too small to be seen beside the others."""
    if block.size > SMALL or not is_dense(block):
        return False
    R = np.abs(block.matrix.toarray())
    least = np.where(R > 0, R, np.inf).min(axis=1, initial=np.inf)
    return bool((least < _UNEQUAL * np.linalg.norm(R, axis=1)).any())


def _without_far_rows(
    block: Block, face: Face, points: Tensor, r: Tensor, limits: Limits, digits: tuple
) -> Face:
    """Drop rows that are near by the size of coefficients that have no say.

    With 1e8 at a variable that its bound holds, and 6 at a free one, a row of which 0.9 is left is
    within 1e-8 of its norm. What counts is the distance in which free variables meet it, unless the
    row has a multiplier.
    """
    (near, eps), R = digits, rows_of(block, points)
    held = torch.where(face.lower, limits.lower, torch.where(face.upper, limits.upper, points))
    act, size = held @ R.T, 1 + points.abs().amax(-1, keepdim=True)
    by_free = (face.free.to(R) @ (R * R).T).sqrt()
    evaluated = _EVALUATED * eps * R.norm(dim=1)
    left = torch.minimum(
        torch.where(face.low, act - limits.row_lower, torch.inf),
        torch.where(face.high, limits.row_upper - act, torch.inf),
    )
    far = (left > near * size * by_free) & (left > evaluated * size) & (by_free > 0)
    far &= face.low != face.high
    low, high = face.low.clone(), face.high.clone()
    for n, c in far.any(-1).nonzero().tolist():
        masks = (v[n, c].cpu().numpy() for v in face[:4])
        needed = torch.from_numpy(needed_rows(block, r[n, c].cpu().numpy(), *masks))
        kept = needed.to(far.device) | ~far[n, c]
        low[n, c] &= kept
        high[n, c] &= kept
    return face._replace(low=low, high=high)


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
