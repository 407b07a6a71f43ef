"""The nearest point of a convex hull, by calls to the decoder of its vertices."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ... import _kernels
from ..._checks import floats, function
from ..._errors import InputError, SolverFailed
from ..._kernels.untraced import eager
from ..._plan.failures import Report
from .active_sets import ActiveSets, SparseSets

_ACCEPTED = 1e-6  # largest distance that is an answer, relative to the lengths in `_judge`, or 1
_LARGEST = 1e100  # entry of a point whose products with others are finite
_NUDGE = 1e-7  # where the derivative is taken, relative to the size of y and of the structures

# From scores `(M, *event)` and the numbers of their instances in the flattened batch to structures.
Ask = Callable[[Tensor, Tensor], Tensor]
# From points `(N, d)` and a structure for each to what will project them.
Begin = Callable[[np.ndarray, np.ndarray], ActiveSets]


class HullProjection(NamedTuple):
    """A projection with its proof.

    Attributes:
        z: The nearest point, in the shape of `y`; differentiable.
        weights: `(..., M)`, of the structures it is made of; zeros after the last.
        structures: `(..., M, *event)`; zeros after the last. At most one more than their
            differences have dimensions.
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
    instances are decoded in one call per round, also those that are finished (with scores of
    zero), so that a decoder may depend on the batch; `ConvexHull` asks for the open ones alone.
    The rest, $O(k^2 + d)$ per round with k structures, runs on the host in float64, and so do the
    scores that `decode` is asked with.

    Differentiable, also twice: the derivative is the projector onto the span of the differences
    of the structures. It is taken a hair's breadth from `y` in a fixed direction, because a point
    such as the middle of a square is made of fewer structures than its face has dimensions; at a
    kink, that selects a limit of derivatives nearby. This costs a round where `y` requires grad.

    Args:
        decode: From scores `(N, *event)`, in float64, to structures of that shape; exact.
        y: `(..., *event)`.
        event_dim: How many trailing dimensions are one structure.
        max_iter: Most calls of `decode`.

    Raises:
        InputError: If an entry of `y` is not finite, or `decode` returns another shape.
        SolverFailed: If an instance is not within 1e-6 (relative to the length of `y` and of the
            way from there to a structure, if they exceed 1) after `max_iter` calls, or if
            `decode` returns NaN, or a structure that is proved not to be the best.

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

        The hull of points that are listed:

        >>> corners = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        >>> project_hull(lambda s: corners[(s @ corners.T).argmax(-1)], torch.tensor([2.0, 2.0])).z
        tensor([1.2000, 0.4000])
    """
    function(decode, "decode", "from scores to structures")
    floats(y, "y")
    if not 0 <= event_dim <= y.ndim:
        raise InputError(
            f"`event_dim` must be from 0 to the {y.ndim} dimensions of `y`. Got {event_dim}."
        )
    count = y.shape[: y.ndim - event_dim].numel()
    report = Report()
    found = hull_instances(_whole(decode, count), y, event_dim, report, max_iter)
    if report.failures:
        raise _refusal(report, found.gap.flatten())
    return found


def hull_instances(
    ask: Ask,
    y: Tensor,
    event_dim: int,
    report: Report,
    max_iter: int = 1000,
    begin: Begin = SparseSets,
    parts: bool = True,
) -> HullProjection:
    """Run `project_hull`, telling `report` which instances have no answer; NaN there.

    An instance that stopped short keeps its point, which `gap` judges.

    Args:
        ask: Decodes the open instances; told apart by their numbers in the flattened batch.
        y: `(..., *event)`.
        event_dim: As for `project_hull`.
        report: Of instances of the flattened batch.
        max_iter: Most calls of `ask`.
        begin: Who searches, from a first structure on.
        parts: Whether weights and structures are wanted; there are none of them otherwise.
    """
    batch, event = y.shape[: y.ndim - event_dim], y.shape[y.ndim - event_dim :]
    flat = y.reshape(batch.numel(), event.numel())
    grad = torch.is_grad_enabled() and y.requires_grad
    z, weights, structures, gap, *_ = _Hull.apply(  # type: ignore[misc]
        flat, (ask, begin), event, max_iter, report, grad, parts
    )
    most = weights.shape[-1]
    return HullProjection(
        z.reshape(y.shape),
        weights.reshape(*batch, most),
        structures.reshape(*batch, most, *event),
        gap.reshape(batch),
    )


class _Hull(torch.autograd.Function):
    @staticmethod
    def forward(flat, asks, event, max_iter, report, grad, parts):
        ask, begin = asks
        *found, spread = _solve(ask, begin, flat.detach(), event, max_iter, report, grad, parts)
        found = [torch.from_numpy(v).to(flat) for v in found]
        return *found, torch.from_numpy(spread).to(flat.device)  # in float64

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[4:])

    @staticmethod
    def backward(ctx, grad, *_):  # type: ignore[override]
        (spread,) = ctx.saved_tensors
        # Onto the span of the rows: s^T (s s^T)^+ s grad; linear in grad, and constant nearby.
        inverse = torch.linalg.pinv(spread @ spread.mT, hermitian=True)
        along = inverse @ (spread @ grad.double()[..., None])
        return (spread.mT @ along)[..., 0].to(grad.dtype), *[None] * 6


@eager
def _solve(ask: Ask, begin: Begin, flat: Tensor, event, max_iter: int, report: Report, grad, parts):
    """Point, weights, structures and gap; and differences that span the face, for `grad`."""
    y = flat.to("cpu", torch.float64, copy=True).contiguous().numpy()
    bad = ~np.isfinite(y).all(-1)
    for i in np.flatnonzero(bad).tolist():
        report.fail(i, "`y` must be finite", InputError)
    far = ~bad & (np.abs(y) > _LARGEST).any(-1)
    for i in np.flatnonzero(far).tolist():
        report.fail(i, f"`y` has entries beyond {_LARGEST:g}, whose squares are no numbers")
    bad = bad | far

    def best(rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        shape = (len(rows), *event)
        asked = torch.from_numpy(scores).to(flat.device).reshape(shape)
        z = ask(asked, torch.from_numpy(rows))
        if not isinstance(z, Tensor) or z.shape != shape:
            got = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise InputError(f"`decode` must return the shape of its scores, {shape}. Got {got}.")
        z = z.detach().to("cpu", torch.float64).reshape(len(rows), -1)
        return np.ascontiguousarray(z.numpy())

    rows, first = np.flatnonzero(~bad), np.full_like(y, np.nan)
    if len(rows):
        first[rows] = best(rows, y[rows])
    sets = begin(y, first)
    sets.search(best, max_iter - 1)
    x, gap = sets.point(), np.maximum(sets.arrays.gap, 0.0)
    _judge(sets, gap, y, report)
    weights, structures = np.zeros((len(y), 0)), np.zeros((len(y), 0, y.shape[1]))
    if parts:
        weights, structures = sets.structures()
    for v in (x, gap, weights, structures):
        v[~np.isfinite(first).all(-1)] = np.nan
    spread = np.zeros((len(y), 0, y.shape[1]))
    if grad and len(y):
        spread = _face(sets, best, max_iter)
    return x, weights, structures, gap, spread


def _face(sets: ActiveSets, best: Callable, most: int) -> np.ndarray:
    """Differences `(N, M, d)` that span the face of a point near `y` that is no corner case."""
    rows = np.flatnonzero(np.isin(sets.arrays.state, (_kernels.hull.OPEN, _kernels.hull.DONE)))
    if len(rows):
        way = np.random.default_rng(0).standard_normal(sets.arrays.x.shape[1])
        size = np.maximum(np.abs(sets.arrays.target[rows]), np.abs(sets.arrays.origin[rows]))
        size = size.max(-1, initial=0.0, keepdims=True)
        sets.shift(rows, _NUDGE * np.where(size > 0, size, 1.0) * way)
        sets.search(best, most)
    weights, structures = sets.structures()
    spread = np.where(weights[:, 1:, None] > 0, structures[:, 1:] - structures[:, :1], 0.0)
    return np.nan_to_num(spread)


def _judge(sets: ActiveSets, gap: np.ndarray, y: np.ndarray, report: Report) -> None:
    """Tell which instances have no answer, or one that is not exact."""
    k = _kernels.hull
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.linalg.norm([y, sets.arrays.target], axis=-1).max(0, initial=1.0)
        far = ~(np.sqrt(gap) <= max(_ACCEPTED, report.tolerance) * size)
    report.residuals.append(("hull", torch.from_numpy(np.sqrt(gap) / size)))
    found = (sets.arrays.state == k.NO_STRUCTURE, sets.arrays.state == k.NOT_BEST, far)
    for reason, instances in zip(_REASONS, found, strict=True):
        for i in np.flatnonzero(instances).tolist():
            report.fail(i, reason, SolverFailed)


_REASONS = (
    "the decoder returned NaN or infinity for it",
    "the decoder returned a structure that is not the best: the point made of those before scores "
    "more",
    "the projection onto the hull did not converge",
)


def _whole(decode: Callable[[Tensor], Tensor], count: int) -> Ask:
    """Return a decoder of whole batches: finished instances are asked with scores of zero."""

    def ask(scores: Tensor, rows: Tensor) -> Tensor:
        if len(rows) == count:
            return decode(scores)
        rows = rows.to(scores.device)
        asked = scores.new_zeros(count, *scores.shape[1:])
        asked[rows] = scores
        found = decode(asked)
        return found[rows] if isinstance(found, Tensor) and found.shape == asked.shape else found

    return ask


def _refusal(report: Report, gap: Tensor) -> Exception:
    """Return the error of `project_hull` for the first instance that failed."""
    first = min(report.failures)
    reason = report.failures[first]
    kind = reason.kind
    more = f" (instance {first} of the flattened batch)"
    if kind is InputError:
        return InputError(f"{reason}{more}.")
    if reason != _REASONS[2]:
        return kind(f"Instance {first} of the flattened batch: {reason}. `decode` must be exact.")
    bad = [i for i, why in report.failures.items() if why == reason]
    worst = max(bad, key=lambda i: float(gap[i]))
    return kind(
        f"{len(bad)} of {len(gap)} hull projections are not exact yet; the worst, instance {worst} "
        f"of the flattened batch, is within {float(gap[worst].sqrt()):.1e}. Raise `max_iter`, or "
        "check that `decode` returns a best structure."
    )
