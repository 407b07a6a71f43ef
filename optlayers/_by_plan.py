"""A polytope asked by its plan; instances with rows of their own by one over all of them."""

import torch
from torch import Tensor

from . import _autograd
from ._autograd_rows import with_rows
from ._decoders import DECODERS
from ._errors import InputError
from ._plan.compile import ready
from ._plan.failures import Report, TimeLimit, index_of
from ._plan.limits import Ready
from ._plan.maps import Table
from ._polytope.joint import instance_of_variable, joint_of, lead_of
from ._polytope.polytope import Polytope


def by_plan(polytope: Polytope, table: Table, x: Tensor, report: Report) -> Tensor:
    """Return the answers for `(..., n)`, in its batch; NaN where `report` is told of a failure.

    Args:
        polytope: Its batch is a part of that of `x`.
        table: Of projections, or of decoders.
        x: Points or scores.
        report: Told who failed, who answered, and what decisions are held to.
    """
    if 0 in x.shape[:-1]:
        return x.clone()
    if not polytope.rows_batch:
        z = _shared(polytope, table, x, report)
    elif report.limit is None:
        z = _side_by_side(polytope, table, x, report)
    else:  # time is counted by instance
        z = _one_by_one(polytope, table, x, report, range(x.shape[:-1].numel()))
    if table is not DECODERS and polytope.rows_require_grad and torch.is_grad_enabled():
        z = with_rows(polytope, x, z)
    return z


def admitted(polytope: Polytope, x: Tensor, name: str) -> Tensor:
    """Return points or scores with the batch of the polytope, in the dtype that plans compute in.

    Args:
        polytope: Whose they are.
        x: `(..., n)`.
        name: What messages call it.

    Raises:
        InputError: If it holds no floats, or does not fit.
    """
    if not x.dtype.is_floating_point:
        raise InputError(f"`{name}` must be a tensor of floats. Got {x.dtype}.")
    if x.ndim == 0 or x.shape[-1] != polytope.n:
        sizes = ", ".join(map(str, polytope.shape))
        or_arrays = f", or (..., {sizes})" if len(polytope.shape) > 1 else ""
        raise InputError(
            f"`{name}` must have shape (..., {polytope.n}), one entry per variable of the "
            f"polytope{or_arrays}. Got {tuple(x.shape)}."
        )
    if polytope.batch_shape:
        x = x.expand(*_batch(polytope, x, name), polytope.n)
    return x if x.dtype in (torch.float32, torch.float64) else x.to(torch.float32)


def _batch(polytope: Polytope, x: Tensor, name: str) -> torch.Size:
    try:
        return torch.broadcast_shapes(x.shape[:-1], polytope.batch_shape)
    except torch.OutOfMemoryError:  # it is a RuntimeError too
        raise
    except RuntimeError:
        raise InputError(
            f"The leading dimensions of `{name}`, {tuple(x.shape[:-1])}, do not broadcast "
            f"against the batch of the polytope, {tuple(polytope.batch_shape)}."
        ) from None


def ready_for(polytope: Polytope, table: Table, like: Tensor) -> Ready:
    """Return what a call on points or scores like those needs; of the joint polytope, if any."""
    batch = like.shape[:-1]
    if polytope.rows_batch:
        polytope, batch = joint_of(polytope, batch), lead_of(polytope, batch)
    return ready(polytope, table, like.device, like.dtype).of_batch(polytope.batch_shape, batch)


def lowest(polytope: Polytope, table: Table, like: Tensor) -> Tensor:
    """Return the least value of each part, as a decision or a point; broadcasts against `like`."""
    least = ready_for(polytope, table, like).lowest
    if len(least) == 1 and not polytope.rows_batch:
        return least[0]
    if not polytope.rows_batch:
        return least.reshape(like.shape)
    return least.expand(lead_of(polytope, like.shape[:-1]).numel(), -1).reshape(like.shape)


def _shared(polytope: Polytope, table: Table, x: Tensor, report: Report) -> Tensor:
    batch = x.shape[:-1]
    found = ready_for(polytope, table, x)
    report.polytope = polytope
    report.lowest = found.lowest if table is DECODERS else None
    report.fits_half = found.fits_half
    flat = x.reshape(-1, polytope.n)
    if table is DECODERS:
        return _autograd.decide(found, flat, report).reshape(x.shape)
    return _autograd.project(found, polytope, batch, flat, report).reshape(x.shape)


# ---------------------------------------------------------------------- rows of their own


def _side_by_side(polytope: Polytope, table: Table, x: Tensor, report: Report) -> Tensor:
    """Ask the joint polytope; what fails there, or went on to other solvers, is asked alone."""
    batch = x.shape[:-1]
    joint, lead = joint_of(polytope, batch), lead_of(polytope, batch)
    inner, width = report.another(), joint.n // polytope.n
    z = _shared(joint, table, x.reshape(*lead, joint.n), inner).reshape(x.shape)
    report.polytope, report.fits_half = polytope, inner.fits_half
    if isinstance(inner.lowest, Tensor):
        report.lowest = inner.lowest.expand(lead.numel(), -1).reshape(-1, polytope.n)
    if torch.compiler.is_compiling():
        return z
    for (name, residual), block in zip(inner.residuals, inner.blocks, strict=True):
        at = instance_of_variable(polytope, width, block.index[:, 0])
        of = torch.from_numpy(at).to(residual.device).expand(len(residual), -1)
        none = residual.new_full((len(residual), width), -1.0)
        worst = none.scatter_reduce(1, of, residual, "amax")
        report.residuals.append((name, worst.reshape(-1, 1)))
        report.blocks.append(block)
    late = sorted({*inner.failures, *inner.answers})
    if late:
        again = [e * width + i for e in late for i in range(width)]
        z = _one_by_one(polytope, table, x, report, again, z)
    return z


def _one_by_one(
    polytope: Polytope, table: Table, x: Tensor, report: Report, numbers, z: Tensor | None = None
) -> Tensor:
    """Ask the instances `numbers` of the flattened batch, each alone; the rest is in `z`."""
    batch = x.shape[:-1]
    flat, report.polytope = x.reshape(-1, polytope.n), polytope
    answers = list((torch.zeros_like(x) if z is None else z).reshape(-1, polytope.n).unbind(0))
    least: list[Tensor] = []
    for i in numbers:
        alone = polytope.instance(index_of(i, batch), graph=True)
        single = report.another()
        single.limit = _limit_of(report.limit, i)
        answers[i] = _shared(alone, table, flat[i : i + 1], single)[0]
        least += [single.lowest] if isinstance(single.lowest, Tensor) else []
        if single.limit is not None and report.limit is not None:
            report.limit.spent[i] = single.limit.spent.get(0, 0.0)
        for failure in single.failures.values():
            report.add(i, failure)
        if (worst := single.worst(0)) is not None:
            report.answers[i] = worst
        if single.gaps:
            report.gaps[i] = single.gaps[0]
    if z is None and least:
        report.lowest = torch.cat(least)
    return torch.stack(answers).reshape(x.shape)


def _limit_of(limit: TimeLimit | None, number: int) -> TimeLimit | None:
    """Return what is left of the time of one instance, for a call that asks it alone."""
    if limit is None:
        return None
    return TimeLimit(limit.seconds, limit.best, {0: limit.spent.get(number, 0.0)})
