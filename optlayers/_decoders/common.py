"""What decoders share: integers between bounds, work done once per set of limits, host loops."""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._errors import InfeasibleError
from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap, Limits, Report

NOT_FINITE = "its scores are not finite"
UNBOUNDED = "the scores are unbounded over the set"
NO_POINT = "no point satisfies all constraints"
NO_INTEGER = "no integral point satisfies all constraints"
_SLACK = 1e-9  # what rounding may have taken from a limit that was meant to be an integer


def inward(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest integer between two limits."""
    return torch.ceil(low - _SLACK), torch.floor(high + _SLACK)


def static_limits(block: Block) -> Limits | None:
    """The limits as `(1, count, ...)` tensors if none of them varies in the batch."""
    values = (block.row_lower, block.row_upper, block.lower, block.upper)
    if block.varying:
        return None
    return Limits(*(torch.as_tensor(v, dtype=torch.float64)[None] for v in values))


class PreparedDecoder(AbstractBlockMap):
    """A decoder that works out once per `Limits` object what does not depend on the scores.

    A plan hands over the same object call after call, so instances without an integral point are
    looked for once, not with a device synchronisation in every call.
    """

    def __init__(self, block: Block):
        super().__init__(block)
        self._latest: tuple[Limits, Any, list[int], bool] | None = None

    @abstractmethod
    def prepare(self, limits: Limits) -> tuple[Any, Tensor | None]:
        """What `forward` needs of the limits; a mask `(N or 1,)` of instances without a point."""

    def prepared(self, limits: Limits, instances: int, report: Report) -> Any:
        """`prepare(limits)`, kept for the next call; reports the instances without a point."""
        if torch.compiler.is_compiling():
            return self.prepare(limits)[0]  # NaN where there is no point, and nobody to tell
        latest = self._latest
        if latest is None or latest[0] is not limits:
            found, bad = self.prepare(limits)
            failed = [] if bad is None else bad.nonzero()[:, 0].tolist()
            latest = self._latest = (limits, found, failed, bad is not None and len(bad) == 1)
        if latest[2]:
            for i in range(instances) if latest[3] else latest[2]:
                report.fail(i, NO_INTEGER, InfeasibleError)
        return latest[1]


class Instance(NamedTuple):
    """One component of one instance on the host, float64."""

    scores: np.ndarray
    row_lower: np.ndarray
    row_upper: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def on_host(x: Tensor, limits: Limits) -> tuple[np.ndarray, list[np.ndarray]]:
    """Scores and limits as float64 arrays: one copy per batch."""
    return (
        x.detach().to("cpu", torch.float64).numpy(),
        [v.detach().to("cpu", torch.float64).numpy() for v in limits],
    )


def instance_of(scores: np.ndarray, limits: list[np.ndarray], n: int, c: int) -> Instance:
    """Component `c` of instance `n`."""
    return Instance(scores[n, c], *(v[n % len(v), c] for v in limits))


def back(z: np.ndarray, x: Tensor) -> Tensor:
    """An answer in the dtype and on the device of the scores."""
    return torch.from_numpy(z).to(x.device, x.dtype)
