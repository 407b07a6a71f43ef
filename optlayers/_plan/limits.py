"""Right-hand sides and bounds in the layout of the maps of a plan, and of larger batches."""

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .._kernels.untraced import ordinary
from .maps import Limits, send
from .plan import Plan
from .presolve import Values

_MOST_BYTES = 16 << 20  # of copies for larger batches, kept by one `Ready`


def make_limits(
    values: Values, plan: Plan, device: torch.device, dtype: torch.dtype
) -> list[Limits]:
    """Return the values that each map of a plan reads, on a device."""
    rows = [values.row_lower, values.row_upper]
    bounds = [values.lower, values.upper]
    result = []
    for map_ in plan.maps:
        parts, kind = [], torch.float64 if map_.wide_limits else dtype
        for tensors, at in ((rows, map_.block.rows), (bounds, map_.block.index)):
            for tensor in tensors:
                part = _taken(tensor, at)
                parts.append(send(part if part.dtype == kind else part.to(kind), device))
        result.append(Limits(*parts))
    return result


def _taken(tensor: Tensor, at: np.ndarray) -> Tensor:
    """Return `(N, *at.shape)`, the entries `at` of `(N, size)`."""
    if tensor.device.type == "cpu" and not tensor.requires_grad:
        return torch.from_numpy(tensor.numpy().take(at, 1))
    index = torch.from_numpy(at.ravel()).to(tensor.device)
    return tensor.index_select(1, index).reshape(len(tensor), *at.shape)


def rows_for(own: torch.Size, batch: torch.Size, device: torch.device) -> Tensor | None:
    """Return which instance of a batch each instance of a larger batch is; None: no need to know.

    One instance serves every batch as it is, and a batch that is equal serves itself.
    """
    if own == batch or own.numel() == 1:
        return None
    return torch.arange(own.numel(), device=device).reshape(own).expand(batch).reshape(-1)


def take_rows(values: Tensor, rows: Tensor | None) -> Tensor:
    """Return the instances `rows` of `(N, ...)`; what is the same for all stays one row."""
    return values if rows is None or len(values) == 1 else values.index_select(0, rows)


@dataclass(eq=False)
class Ready:
    """A polytope as one table of maps calls it on one device and in one dtype.

    Attributes:
        plan: Which map takes which block.
        version: Of the table when the plan was made.
        limits: Right-hand sides and bounds, per map.
        bad: `(N or 1,)`, instances without a point; None if there is none.
        lowest: `(N or 1, n)`, the least value that each variable can have; of a decision, that it
            can be decided to have.
        fits_half: Whether float16 holds every point.
        failed: The numbers of the instances without a point, `bad` for the host.
    """

    plan: Plan
    version: int
    limits: list[Limits]
    bad: Tensor | None
    lowest: Tensor
    fits_half: bool
    failed: list[int] = field(default_factory=list)
    _larger: "OrderedDict[torch.Size, Ready]" = field(default_factory=OrderedDict)

    def of_batch(self, own: torch.Size, batch: torch.Size) -> "Ready":
        """Return the same for a larger batch.

        Copies are kept for the next call up to `_MOST_BYTES`, the oldest forgotten first.

        Args:
            own: Batch shape of the polytope.
            batch: A batch shape that it is broadcast to.
        """
        if own == batch or own.numel() == 1:
            return self
        if torch.compiler.is_compiling():
            return self._expanded(own, batch)
        found = self._larger.get(batch)
        if found is None:
            found = self._larger[batch] = self._expanded(own, batch)
            self._forget()
        return found

    @ordinary
    def _expanded(self, own: torch.Size, batch: torch.Size) -> "Ready":
        rows = rows_for(own, batch, self.limits[0].lower.device)
        limits = [Limits(*(take_rows(v, rows) for v in limit)) for limit in self.limits]
        bad = None if self.bad is None else take_rows(self.bad, rows)
        lowest = take_rows(self.lowest, rows)
        failed = self.failed
        if failed and bad is not None and len(bad) > 1:
            of = rows_for(own, batch, torch.device("cpu"))
            assert of is not None  # the batch is larger
            failed = torch.isin(of, torch.tensor(failed)).nonzero()[:, 0].tolist()
        return Ready(self.plan, self.version, limits, bad, lowest, self.fits_half, failed)

    def _forget(self) -> None:
        for batch in list(self._larger)[:-1]:  # the latest stays, however large
            if self.kept_bytes() <= _MOST_BYTES:
                return
            self._larger.pop(batch, None)

    def kept_bytes(self) -> int:
        """Return the memory of what is kept for larger batches."""
        return sum(found.nbytes() for found in list(self._larger.values()))

    def nbytes(self) -> int:
        """Return the memory of its own tensors."""
        tensors = [v for limit in self.limits for v in limit]
        tensors += [self.lowest] if self.bad is None else [self.bad, self.lowest]
        return sum(v.numel() * v.element_size() for v in tensors)
