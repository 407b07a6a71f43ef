"""The nearest point of a convex hull, by calls to the decoder of its vertices."""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._eager import eager
from .._errors import InputError, SolverFailed
from .._host import run

_ROUNDING = 1e-14  # of a gap, relative to what it is a difference of
_ACCEPTED = 1e-6  # largest distance that is an answer, relative to max(1, |y|)


class HullProjection(NamedTuple):
    """A projection with its proof.

    Attributes:
        z: The nearest point, in the shape of `y`; differentiable.
        weights: `(..., M)`, of the structures it is made of; zeros after the last.
        structures: `(..., M, *event)`; zeros after the last.
        gap: `(...)`, the duality gap: `z` is within `sqrt(gap)` of the projection.
    """

    z: Tensor
    weights: Tensor
    structures: Tensor
    gap: Tensor


def project_hull(
    decode: Callable[[Tensor], Tensor], y: Tensor, *, event_dim: int = 1, max_iter: int = 1000
) -> HullProjection:
    r"""Project onto the convex hull of structures that only a decoder knows: SparseMAP.

    $$ \Pi(y) = \arg\min \{\tfrac12 \|z - y\|^2 : z \in \operatorname{conv}(Z)\}, \qquad
       \text{decode}(s) = \arg\max_{z \in Z} z \cdot s $$

    Wolfe's minimum-norm-point method: the point is the nearest one of the hull of a few structures;
    `decode(y - z)` finds the structure that reaches furthest beyond it, and the duality gap
    $(y - z) \cdot (\hat z - z) \ge \|z - \Pi(y)\|^2$. If it is not zero, the structure joins the
    others, and those that end with weight zero leave. Finite and exact up to rounding. All
    instances that are not finished are decoded in one call; the rest runs on the host, in float64.

    The derivative is the projector onto the span of the differences of the structures (once).

    Args:
        decode: From scores `(N, *event)` to structures of that shape; exact.
        y: `(..., *event)`.
        event_dim: How many trailing dimensions are one structure.
        max_iter: Most calls of `decode`.

    Raises:
        InputError: If an entry of `y` is not finite.
        SolverFailed: If an instance is not within 1e-6 (relative to `y`) after `max_iter` calls.

    References:
        Wolfe (1976), *Finding the nearest point in a polytope*; Niculae, Martins, Blondel and
        Cardie (2018), *SparseMAP: differentiable sparse structured inference*.

    Examples:
        >>> import optlayers as ol
        >>> y = torch.tensor([1.0, 0.5, -1.0])
        >>> found = project_hull(lambda s: ol.decode(ol.simplex(3), s), y)
        >>> found.z
        tensor([0.7500, 0.2500, 0.0000])
        >>> found.weights
        tensor([0.7500, 0.2500])
    """
    found = hull_instances(decode, y, event_dim, max_iter)
    bad = ~is_exact(found, y, event_dim).flatten()
    if bad.any():
        worst = int(found.gap.flatten().nan_to_num(torch.inf).argmax())
        if not bool(y.isfinite().all()):
            raise InputError("`y` must be finite.")
        raise SolverFailed(
            f"{int(bad.sum())} of {bad.numel()} hull projections are not exact yet; the worst, "
            f"instance {worst} of the flattened batch, is within "
            f"{float(found.gap.flatten()[worst].sqrt()):.1e}. Raise `max_iter`, or check that "
            "`decode` returns a best structure."
        )
    return found


def hull_instances(
    decode: Callable[[Tensor], Tensor], y: Tensor, event_dim: int, max_iter: int = 1000
) -> HullProjection:
    """`project_hull` that refuses nothing: see `is_exact`. NaN where `y` is not finite."""
    batch, event = y.shape[: y.ndim - event_dim], y.shape[y.ndim - event_dim :]
    flat = y.reshape(batch.numel(), event.numel())
    z, weights, structures, gap = _Hull.apply(flat, decode, event, max_iter)  # type: ignore[misc]
    most = weights.shape[-1]
    return HullProjection(
        z.reshape(y.shape),
        weights.reshape(*batch, most),
        structures.reshape(*batch, most, *event),
        gap.reshape(batch),
    )


def is_exact(found: HullProjection, y: Tensor, event_dim: int) -> Tensor:
    """Which instances are within 1e-6, relative to the largest entry of `y`."""
    size = y.detach().abs().flatten(y.ndim - event_dim).amax(-1) if y.numel() else found.gap
    return found.gap.sqrt() <= _ACCEPTED * size.clamp(min=1)


class _Hull(torch.autograd.Function):
    @staticmethod
    def forward(flat, decode, event, max_iter):
        found = _solve(decode, flat.detach(), event, max_iter)
        return tuple(torch.from_numpy(v).to(flat) for v in found)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, weights, structures, gap = output
        ctx.mark_non_differentiable(weights, structures, gap)
        ctx.save_for_backward(weights, structures)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):  # type: ignore[override]
        weights, structures = ctx.saved_tensors
        used = (weights > 0)[..., None]
        spread = torch.where(used, structures - structures[:, :1], 0).double()
        # Onto the span of the rows: s^T (s s^T)^+ s grad.
        inverse = torch.linalg.pinv(spread @ spread.mT, hermitian=True)
        along = inverse @ (spread @ grad.double()[..., None])
        return (spread.mT @ along)[..., 0].to(grad.dtype), None, None, None


@cache
def _kernels() -> ModuleType:
    from . import _kernels as found

    return found


@eager
def _solve(decode, flat: Tensor, event: torch.Size, max_iter: int) -> tuple[np.ndarray, ...]:
    y = flat.to("cpu", torch.float64, copy=True).contiguous().numpy()
    count, size = y.shape
    bad = ~np.isfinite(y).all(-1)
    y[bad] = 0.0

    def best(rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        asked = np.zeros((count, size))
        asked[rows] = scores  # the decoder of a set wants its whole batch
        z = decode(torch.from_numpy(asked).to(flat).reshape(count, *event))
        found = z.detach().reshape(count, size)[torch.from_numpy(rows)]
        return np.ascontiguousarray(found.to("cpu", torch.float64).numpy())

    room = 8
    state, number = np.zeros(count, dtype=np.int8), np.ones(count, dtype=np.int64)
    vertices, gram = np.zeros((count, room, size)), np.zeros((count, room, room))
    reach, weights = np.zeros((count, room)), np.zeros((count, room))
    rows = np.arange(count)
    x = best(rows, y) if count else y.copy()
    vertices[:, 0], weights[:, 0] = x, 1.0
    gram[:, 0, 0], reach[:, 0] = (x * x).sum(-1), (x * y).sum(-1)
    gap = np.zeros(count)
    for _ in range(max_iter):
        if not len(rows):
            break
        away = y[rows] - x[rows]
        new = best(rows, away)
        gap[rows] = (away * (new - x[rows])).sum(-1)
        scale = (np.abs(away) * (np.abs(new) + np.abs(x[rows]))).sum(-1)
        open_rows = gap[rows] > _ROUNDING * scale
        rows, new = rows[open_rows], new[open_rows]
        if len(rows) and number[rows].max() + 1 >= room:
            room *= 2
            vertices, reach, weights = (_grown(v, room) for v in (vertices, reach, weights))
            gram = np.ascontiguousarray(_grown(_grown(gram, room).swapaxes(1, 2), room))
        args = (rows, new, y, vertices, gram, reach, weights, number, x, state)
        run(_kernels().insert, len(rows), 40 * len(rows) * size, *args)
        rows = rows[state[rows] == 0]
    gap = np.maximum(gap, 0.0)
    x[bad] = gap[bad] = np.nan
    most = int(number.max()) if count else 1
    weights = np.where(np.arange(most) < number[:, None], weights[:, :most], 0.0)
    structures = np.where(weights[..., None] > 0, vertices[:, :most], 0.0)
    return x, weights, structures, gap


def _grown(x: np.ndarray, room: int) -> np.ndarray:
    """More room along the second dimension."""
    more = np.zeros((x.shape[0], room, *x.shape[2:]))
    more[:, : x.shape[1]] = x
    return more
