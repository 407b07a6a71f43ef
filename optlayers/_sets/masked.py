"""Masks of parts, for sets that do not know of them: scores of minus infinity."""

from typing import Any

import torch
from torch import Tensor

from .._errors import InfeasibleError, InputError
from .._plan.failures import FORBIDDEN, Report
from .._polytope.arguments import as_host_tensor

_FAR = 1e3  # how far below the others, in units of the largest
_SLACK = 1e-6  # what rounding may leave at a part that is forbidden


class PartMask:
    """Booleans `(..., *event)`, true at parts that may be chosen.

    Args:
        mask: What a user gives.
        event: Shape of one structure.

    Raises:
        InputError: If they are no booleans, or of another shape.
    """

    def __init__(self, mask: Any, event: tuple[int, ...]):
        found = as_host_tensor(mask)
        if found.dtype != torch.bool or found.shape[found.ndim - len(event) :] != event:
            wanted = ", ".join(map(str, event))
            raise InputError(
                f"`mask` must be booleans of shape (..., {wanted}), true at parts that may be "
                f"chosen. Got {found.dtype}, {tuple(found.shape)}."
            )
        self.mask, self.batch_shape = found, found.shape[: found.ndim - len(event)]

    def joined(self, batch: torch.Size) -> torch.Size:
        """Return the batch of a set and its mask."""
        try:
            return torch.broadcast_shapes(batch, self.batch_shape)
        except RuntimeError:
            raise InputError(
                f"The batch of `mask`, {tuple(self.batch_shape)}, does not broadcast against that "
                f"of the set, {tuple(batch)}."
            ) from None

    def on(self, x: Tensor) -> Tensor:
        """Return scores or points with minus infinity at the other parts."""
        return torch.where(self.mask.to(x.device), x, -torch.inf)

    def below(self, y: Tensor) -> Tensor:
        """Return points with finite numbers far below the others at the other parts."""
        dims = tuple(range(-(self.mask.ndim - len(self.batch_shape)), 0))
        allowed = self.mask.to(y.device)
        size = torch.where(allowed, y, 0).abs().amax(dims, keepdim=True)
        return torch.where(allowed, y, -_FAR * (1 + size.detach()))

    def refuse(self, z: Tensor, report: Report) -> None:
        """Tell `report` of instances whose point needs a part that is forbidden."""
        event = self.mask.ndim - len(self.batch_shape)
        used = ~self.mask.to(z.device) & (z.detach() > _SLACK)
        for i in used.flatten(used.ndim - event).any(-1).flatten().nonzero()[:, 0].tolist():
            report.fail(i, FORBIDDEN, InfeasibleError)

    def among(self, parts: Tensor) -> Tensor:
        """Return which of some parts it allows."""
        return parts & self.mask.to(parts.device)
