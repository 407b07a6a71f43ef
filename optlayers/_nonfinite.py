"""Numbers that are not finite, and their instances: one rule for every set and map."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._errors import InfeasibleError, InputError, OptLayersError
from ._masks import calm
from ._plan.failures import FORBIDDEN, Report

OnNonfinite = Literal["raise", "propagate"]
# Whether the compiler may meet a question that is answered by a boolean: that of 2.6 gives up.
_TRACES_QUESTIONS = tuple(int(k) for k in torch.__version__.split(".")[:2]) >= (2, 13)


class Masked(NamedTuple):
    """Numbers that a map is asked about, and instances that it must not answer for."""

    x: Tensor  # zeros in place of instances with NaN or plus infinity
    bad: Tensor | None  # the batch shape: those instances; None if there is none
    neg_inf: (
        Tensor | None
    )  # the shape of x: entries of minus infinity that count; None: there is none
    calm: bool = False  # whether it is known that no entry is low


def refuse_vmap(x: Tensor, name: str) -> None:
    """Refuse a tensor that `torch.vmap` has taken a dimension from, in words.

    Raises:
        InputError: Whatever is in it.
    """
    if torch.compiler.is_compiling() and not _TRACES_QUESTIONS:
        return
    functorch: Any = torch._C._functorch  # type: ignore[attr-defined]
    hidden = functorch.is_batchedtensor(x)
    if not torch.compiler.is_compiling():  # the compiler cannot ask this, and meets none
        hidden = hidden or functorch.is_legacy_batchedtensor(x)
    if hidden:
        raise InputError(
            f"`{name}` comes from torch.vmap (or from is_grads_batched), which hides a dimension, "
            "and decisions look at numbers. Leading dimensions are instances already: give all of "
            "them in one call, without vmap."
        )


def mask_nonfinite(
    x: Tensor,
    event_dim: int,
    name: str,
    on_nonfinite: str,
    report: Report,
    free: Tensor | None = None,
) -> Masked:
    """Take out the instances with NaN or plus infinity.

    Minus infinity passes: what it asks for, the answer tells, see `restore_nonfinite`. While
    tracing, and with "propagate" on a GPU, nothing is looked at on the host.

    Args:
        x: `(..., *event)`.
        event_dim: How many trailing dimensions are one instance.
        name: What x is called: "scores".
        on_nonfinite: "raise" tells `report`; "propagate" does not.
        report: Of instances of the flattened batch.
        free: Parts that count; the others may hold anything.
    """
    batch, event = x.shape[: x.ndim - event_dim], x.shape[x.ndim - event_dim :]
    if free is not None and (free.ndim < event_dim or free.shape[free.ndim - event_dim :] != event):
        return Masked(x, None, None, True)  # of another shape, of which the set will say so
    tell = may_synchronise(on_nonfinite)
    # A look costs one synchronisation, and none on the CPU.
    if tell or (x.device.type == "cpu" and not torch.compiler.is_compiling()):
        if calm(x):  # one pass, nothing allocated; nearly always enough
            return Masked(x, None, None, True)
        finite = x.isfinite()
        if bool((finite if free is None else finite | ~free).all()):
            return Masked(x, None, None)
    fine, low = x < torch.inf, x == -torch.inf  # both false for NaN
    if free is not None:
        fine, low = fine | ~free, low & free
    bad = ~fine.reshape(*batch, event.numel()).all(-1)
    if tell:
        report_entries(x, ~fine, event, name, report)
    return Masked(torch.where(_over(bad, event_dim), 0, x), bad, low)


def restore_nonfinite(
    z: Tensor,
    masked: Masked,
    event_dim: int,
    on_nonfinite: str,
    report: Report,
    lowest: Tensor | float | None = None,
) -> Tensor:
    """Put NaN where `mask_nonfinite` took an instance out, or minus infinity was not heeded.

    A projection reads minus infinity as a limit, and must end at a finite point. A decision
    leaves such parts at their least value.

    Args:
        z: What the map answered.
        masked: What it was asked.
        event_dim: How many trailing dimensions are one instance.
        on_nonfinite: As for `mask_nonfinite`.
        report: Told of what was not heeded.
        lowest: Of a decision, the least value of each part, `(N or 1, size)` or a number; None for
            a projection.
    """
    bad = masked.bad
    if bad is None or masked.neg_inf is None:
        return z
    x, low = masked.x, masked.neg_inf
    batch, event = z.shape[: z.ndim - event_dim], z.shape[z.ndim - event_dim :]
    if lowest is None:
        lost = ~z.isfinite().reshape(*batch, event.numel()).all(-1)
        wrong = low & _over(lost, event_dim)
    else:
        if isinstance(lowest, Tensor):
            lowest = lowest.expand(batch.numel(), event.numel()).reshape(z.shape)
        wrong = low & (z > lowest + 1e-6)
    if may_synchronise(on_nonfinite):
        name, kind = ("y", InputError) if lowest is None else (FORBIDDEN, InfeasibleError)
        report_entries(x, wrong, event, name, report, kind)
    bad = bad | wrong.reshape(*batch, event.numel()).any(-1)
    return torch.where(_over(bad, event_dim), torch.nan, z)


def may_synchronise(on_nonfinite: str) -> bool:
    """Tell whether the host may look at numbers."""
    return on_nonfinite == "raise" and not torch.compiler.is_compiling()


def _over(mask: Tensor, event_dim: int) -> Tensor:
    """Return a mask of instances, broadcasting against them."""
    return mask[(..., *[None] * event_dim)]


def report_entries(
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
        if (met := report.failures.get(i)) is not None and met.kind is InputError:
            del report.failures[i]  # a solver that met it does not know the entry
        entry = f"{name}[..., {at}] is {values[first].item():g}"
        subject = "its scores are" if name == "scores" else f"{name} is"
        report.fail(i, name if name == FORBIDDEN else f"{subject} not finite: {entry}", kind)


def drop_input_failures(report: Report, on_nonfinite: str, x: Tensor, event_dim: int) -> None:
    """Forget failures that, with "propagate", are NaN: minus infinity that a map could not read."""
    if on_nonfinite != "propagate" or not report.failures:
        return
    batch, event = x.shape[: x.ndim - event_dim], x.shape[x.ndim - event_dim :]
    flat = x.reshape(batch.numel(), event.numel())
    for i in [i for i, failure in report.failures.items() if failure.kind is InputError]:
        if not bool(flat[i].isfinite().all()):
            del report.failures[i]


def check_half_range(z: Tensor, event_dim: int, report: Report) -> Tensor:
    """Return `z` with NaN, and a failure, for instances that float16 cannot hold."""
    batch, event = z.shape[: z.ndim - event_dim], z.shape[z.ndim - event_dim :]
    flat = z.detach().reshape(batch.numel(), event.numel())
    wrong = flat.isfinite() & (flat.abs() >= 65520.0)  # what is rounded to infinity
    lost = wrong.any(-1)
    for i in lost.nonzero()[:, 0].tolist():
        k = int(wrong[i].nonzero()[0, 0])
        report.fail(
            i,
            f"its answer is beyond the range of float16: entry {k} is {flat[i, k].item():g}; "
            "give float32",
            InputError,
        )
    return torch.where(_over(lost.reshape(batch), event_dim), torch.nan, z)
