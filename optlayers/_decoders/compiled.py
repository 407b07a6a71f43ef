"""Decoders in compiled code that know what they cannot decide: HiGHS does that."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap, Limits, Report
from .._plan.operators import outside_graphs
from .._polytope.consistency import inward
from .common import back, instance_of, on_host
from .milp import MILP


class CompiledDecoder(AbstractBlockMap):
    """Decides instance by instance on the host, exactly, and leaves the others to HiGHS.

    Those are too large, or wrong in themselves: HiGHS says what is wrong with them.
    """

    shares_matrix: ClassVar[bool] = True
    wide_limits: ClassVar[bool] = True  # rounded to float32, a limit may become an integer
    prompt: ClassVar[bool] = True

    def __init__(self, block: Block):
        super().__init__(block)
        self._general = MILP(block)

    @abstractmethod
    def decide(
        self, scores: np.ndarray, values: list[np.ndarray], z: np.ndarray, state: np.ndarray
    ) -> None:
        """Write decisions to `z`, and to `state` what is left to HiGHS: not zero.

        Args:
            scores: `(N, count, size)`.
            values: Limits of rows and bounds, low and high, `(N or 1, count, ...)`.
            z: `(N, count, size)`, zeros.
            state: `(N, count)`, zeros.
        """

    @outside_graphs
    def forward(  # type: ignore[override]
        self, x: Tensor, limits: Limits, report: Report
    ) -> Tensor:
        """Decide instance by instance, in compiled code."""
        scores, values = on_host(x, limits, self.block)
        z, state = np.zeros_like(scores), np.zeros(scores.shape[:2], dtype=np.int64)
        self.decide(scores, values, z, state)
        for i, c in np.argwhere(state):
            z[i, c] = self._general.decode(instance_of(scores, values, i, c), int(i), report)
        return back(z, x)


def whole(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return integers between limits; a limit that misses one by rounding is that integer."""
    found = inward(torch.from_numpy(low), torch.from_numpy(high))
    return found[0].numpy(), found[1].numpy()
