"""What happens to an instance whose numbers are not finite: one rule for every set and map."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._errors import InfeasibleError, InputError, OptLayersError
from ._plan.maps import Report

OnNonfinite = Literal["raise", "propagate"]
FORBIDDEN = "scores of -inf forbid every point"


class Screened(NamedTuple):
    """What a map is asked, and which instances it must not answer for."""

    x: Tensor  # zeros in place of instances with NaN or plus infinity
    bad: Tensor | None  # the batch shape: those instances; None if there is none
    low: Tensor | None  # the shape of x: entries of minus infinity that count; None: there is none


def screen(
    x: Tensor,
    event_dim: int,
    name: str,
    on_nonfinite: str,
    report: Report,
    free: Tensor | None = None,
) -> Screened:
    """Take out the instances with NaN or plus infinity.

    Minus infinity passes: what it asks for, the answer tells, see `settle`. While tracing, and
    with "propagate" on a GPU, nothing is looked at on the host.

    Args:
        x: `(..., *event)`.
        event_dim: How many trailing dimensions are one instance.
        name: What x is called: "scores".
        on_nonfinite: "raise" tells `report`; "propagate" does not.
        report: Of instances of the flattened batch.
        free: Parts that count; the others may hold anything.
    """
    if on_nonfinite not in ("raise", "propagate"):
        raise InputError(f"`on_nonfinite` must be 'raise' or 'propagate'. Got {on_nonfinite!r}.")
    batch, event = x.shape[: x.ndim - event_dim], x.shape[x.ndim - event_dim :]
    if free is not None and (free.ndim < event_dim or free.shape[free.ndim - event_dim :] != event):
        return Screened(x, None, None)  # scores of another shape, of which the set will say so
    tell = tells(on_nonfinite)
    # A look costs one synchronisation, and none on the CPU.
    if tell or (x.device.type == "cpu" and not torch.compiler.is_compiling()):
        if bool(x.detach().sum().isfinite()):  # one pass, nothing allocated; nearly always enough
            return Screened(x, None, None)
        finite = x.isfinite()
        if bool((finite if free is None else finite | ~free).all()):
            return Screened(x, None, None)
    fine, low = x < torch.inf, x == -torch.inf  # both false for NaN
    if free is not None:
        fine, low = fine | ~free, low & free
    bad = ~fine.reshape(*batch, event.numel()).all(-1)
    if tell:
        _tell(x, ~fine, event, name, report)
    return Screened(torch.where(_over(bad, event_dim), 0, x), bad, low)


def settle(
    z: Tensor,
    screened: Screened,
    event_dim: int,
    on_nonfinite: str,
    report: Report,
    least: Tensor | float | None = None,
) -> Tensor:
    """NaN for the instances that `screen` took out, and where minus infinity was not heeded.

    A projection reads minus infinity as a limit, and must end at a finite point. A decision
    leaves such parts at their least value.

    Args:
        z: What the map answered.
        screened: What it was asked.
        event_dim: How many trailing dimensions are one instance.
        on_nonfinite: As for `screen`.
        report: Told of what was not heeded.
        least: Of a decision, the least value of each part; None for a projection.
    """
    bad = screened.bad
    if bad is None or screened.low is None:
        return z
    x, low = screened.x, screened.low
    batch, event = z.shape[: z.ndim - event_dim], z.shape[z.ndim - event_dim :]
    if least is None:
        lost = ~z.isfinite().reshape(*batch, event.numel()).all(-1)
        wrong = low & _over(lost, event_dim)
    else:
        wrong = low & (z > least + 1e-6)
    if tells(on_nonfinite):
        name, kind = ("y", InputError) if least is None else (FORBIDDEN, InfeasibleError)
        _tell(x, wrong, event, name, report, kind)
    bad = bad | wrong.reshape(*batch, event.numel()).any(-1)
    return torch.where(_over(bad, event_dim), torch.nan, z)


def tells(on_nonfinite: str) -> bool:
    """Whether the host may look at numbers."""
    return on_nonfinite == "raise" and not torch.compiler.is_compiling()


def _over(mask: Tensor, event_dim: int) -> Tensor:
    """A mask of instances, broadcasting against them."""
    return mask[(..., *[None] * event_dim)]


def _tell(
    x: Tensor,
    wrong: Tensor,
    event: torch.Size,
    name: str,
    report: Report,
    kind: type[OptLayersError] = InputError,
) -> None:
    """Name the first entry that is wrong of every instance that has one."""
    lost = wrong.reshape(-1, event.numel()).any(-1).nonzero()[:, 0]
    if not len(lost):
        return
    rows = [v.detach().reshape(-1, event.numel())[lost].cpu() for v in (x, wrong)]
    for i, values, where in zip(lost.tolist(), *rows, strict=True):
        first = int(where.nonzero()[0, 0])
        at = ", ".join(str(int(k)) for k in np.unravel_index(first, event))
        if report.kinds.get(i) is InputError:  # a solver that met it does not know the entry
            del report.failures[i], report.kinds[i]
        entry = f"{name}[..., {at}] is {values[first].item():g}"
        subject = "its scores are" if name == "scores" else f"{name} is"
        report.fail(i, name if name == FORBIDDEN else f"{subject} not finite: {entry}", kind)


def forget(report: Report, on_nonfinite: str, x: Tensor, event_dim: int) -> None:
    """With "propagate", minus infinity that a map could not read is NaN and no failure."""
    if on_nonfinite != "propagate" or not report.failures:
        return
    batch, event = x.shape[: x.ndim - event_dim], x.shape[x.ndim - event_dim :]
    flat = x.reshape(batch.numel(), event.numel())
    for i in [i for i, kind in report.kinds.items() if kind is InputError]:
        if not bool(flat[i].isfinite().all()):
            del report.failures[i], report.kinds[i]


def beyond_half(z: Tensor, report: Report) -> Tensor:
    """NaN, and a failure, for instances of `(N, n)` that float16 cannot hold."""
    wrong = z.isfinite() & (z.abs() >= 65520.0)  # what is rounded to infinity
    lost = wrong.any(-1)
    for i in lost.nonzero()[:, 0].tolist():
        k = int(wrong[i].nonzero()[0, 0])
        report.fail(
            i,
            f"its answer is beyond the range of float16: entry {k} is {z[i, k].item():g}; "
            "give float32",
            InputError,
        )
    return torch.where(lost[:, None], torch.nan, z)
