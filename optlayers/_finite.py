"""What happens to an instance whose numbers are not finite: one rule for every set and map."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ._errors import InputError
from ._plan import Report

OnNonfinite = Literal["raise", "propagate"]


def screen(
    x: Tensor,
    event_dim: int,
    name: str,
    on_nonfinite: str,
    report: Report,
    free: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Zeros in place of instances with NaN or inf, and which those are; None if none was found.

    Minus infinity passes: it marks what must not be chosen, where the map allows it. While tracing,
    and with "propagate", nothing is looked at on the host.

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
        return x, None  # scores of another shape, of which the set will say so
    fine = x < torch.inf  # false for NaN
    fine = fine if free is None else fine | ~free
    tell = on_nonfinite == "raise" and not torch.compiler.is_compiling()
    if tell and bool(fine.all()):
        return x, None
    bad = ~fine.reshape(*batch, event.numel()).all(-1)
    if tell:
        _tell(x, fine, batch, name, report)
    return torch.where(bad[(..., *[None] * event_dim)], 0, x), bad


def _tell(x: Tensor, fine: Tensor, batch: torch.Size, name: str, report: Report) -> None:
    event = x.shape[len(batch) :]
    shape = (batch.numel(), event.numel())
    flat, fine = (v.detach().reshape(shape).cpu() for v in (x, fine.expand(x.shape)))
    for i in (~fine.all(-1)).nonzero()[:, 0].tolist():
        first = int((~fine[i]).nonzero()[0, 0])
        at = ", ".join(str(int(k)) for k in np.unravel_index(first, event))
        what = f"{name}[..., {at}] is {flat[i, first].item():g}"
        report.fail(
            i,
            f"its {name} are not finite: {what}"
            if name == "scores"
            else f"{name} is not finite: {what}",
            InputError,
        )


def spread(z: Tensor, bad: Tensor | None, event_dim: int) -> Tensor:
    """NaN where `screen` put zeros."""
    return z if bad is None else torch.where(bad[(..., *[None] * event_dim)], torch.nan, z)


def forget(report: Report, on_nonfinite: str, x: Tensor, event_dim: int) -> None:
    """With "propagate", minus infinity that a map could not read is NaN and no failure."""
    if on_nonfinite != "propagate" or not report.failures:
        return
    batch, event = x.shape[: x.ndim - event_dim], x.shape[x.ndim - event_dim :]
    flat = x.reshape(batch.numel(), event.numel())
    for i in [i for i, kind in report.kinds.items() if kind is InputError]:
        if not bool(flat[i].isfinite().all()):
            del report.failures[i], report.kinds[i]
