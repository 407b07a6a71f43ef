"""Parts of decoders: integers between bounds, work done once per set of limits, host loops."""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._errors import InfeasibleError
from .._kernels.untraced import ordinary
from .._plan.blocks import Block
from .._plan.failures import FORBIDDEN as FORBIDDEN
from .._plan.maps import AbstractBlockMap, Limits, Report

NOT_FINITE = "its scores are not finite"
UNBOUNDED = "the scores are unbounded over the set"
NO_POINT = "no point satisfies all constraints"
NO_INTEGER = "no integral point satisfies all constraints"


def static_limits(block: Block) -> Limits | None:
    """Return the limits as `(1, count, ...)` tensors if none of them varies in the batch."""
    values = (block.row_lower, block.row_upper, block.lower, block.upper)
    if block.varying:
        return None
    return Limits(*(torch.as_tensor(v, dtype=torch.float64, device="cpu")[None] for v in values))


class _Prepared(NamedTuple):
    """Results that a decoder keeps for some limits."""

    limits: Limits
    found: Any
    failed: list[int]  # instances without a point
    shared: bool  # whether the limits are those of every instance


class PreparedDecoder(AbstractBlockMap):
    """A decoder that works out once per `Limits` object what does not depend on the scores.

    A plan hands over the same object call after call, so instances without an integral point are
    looked for once, not with a device synchronisation in every call.
    """

    def __init__(self, block: Block):
        super().__init__(block)
        self._latest: _Prepared | None = None

    @abstractmethod
    def prepare(self, limits: Limits) -> tuple[Any, Tensor | None]:
        """Return what `forward` needs of the limits; a mask `(N or 1,)` of those with no point."""

    @ordinary
    def prepared(self, limits: Limits, instances: int, report: Report) -> Any:
        """Return `prepare(limits)`, kept for the next call; report instances without a point."""
        if torch.compiler.is_compiling():
            return self.prepare(limits)[0]  # NaN where there is no point, and nobody to tell
        latest = self._latest
        if latest is None or latest.limits is not limits:
            found, bad = self.prepare(limits)
            failed = [] if bad is None else bad.cpu().nonzero()[:, 0].tolist()
            shared = bad is not None and len(bad) == 1
            latest = self._latest = _Prepared(limits, found, failed, shared)
        if latest.failed:
            for i in range(instances) if latest.shared else latest.failed:
                report.fail(i, NO_INTEGER, InfeasibleError)
        return latest.found


class HostInstance(NamedTuple):
    """One component of one instance on the host, float64."""

    scores: np.ndarray
    row_lower: np.ndarray
    row_upper: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def on_host(x: Tensor, limits: Limits, block: Block) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return scores and limits as float64 arrays: one copy per batch.

    A plan hands over the same limits call after call: those of the latest are kept.
    """
    scores = x.detach().to("cpu", torch.float64).numpy()
    latest = block.kept("limits on the host", list)
    found = latest[0] if latest else None
    if found is None or found[0] is not limits:
        values = _copied(limits)
        found = (limits, values)
        if x.device.type != "cpu":
            latest[:] = [found]
    return scores, found[1]


def _copied(limits: Limits) -> list[np.ndarray]:
    """Return limits as float64 arrays: views on the CPU, else all of them by one copy."""
    if limits.lower.device.type == "cpu":
        return [v.detach().double().numpy() for v in limits]
    flat = torch.cat([v.detach().double().reshape(-1) for v in limits]).cpu()
    parts = flat.split([v.numel() for v in limits])
    return [part.reshape(v.shape).numpy() for part, v in zip(parts, limits, strict=True)]


def instance_of(scores: np.ndarray, limits: list[np.ndarray], n: int, c: int) -> HostInstance:
    """Return component `c` of instance `n`."""
    return HostInstance(scores[n, c], *(v[n % len(v), c] for v in limits))


def back(z: np.ndarray, x: Tensor) -> Tensor:
    """Return an answer in the dtype and on the device of the scores."""
    return torch.from_numpy(z).to(x.device, x.dtype, non_blocking=True)
