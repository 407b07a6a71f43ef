"""Blocks that are transport problems: supplies, demands, and what may go from one to the other."""

from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import _kernels
from .._kernels.threads import run
from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap, Limits, Report
from .._plan.operators import outside_graphs
from .._polytope.consistency import inward
from .bipartite import pairs_of
from .common import back, instance_of, on_host
from .milp import MILP

_MOST_PAIRS = 1_000_000  # of a table most of whose pairs do not exist
_ACCURACY = 1e-12  # of sums that are not integers, relative
_MOST_STEPS = 200_000_000  # that ties of one instance may take, about 0.2 s


class _Sides(NamedTuple):
    """The longer side is the rows of the table."""

    rows: np.ndarray  # of the block: those of the table, then its columns
    row: np.ndarray
    column: np.ndarray


class Transport(AbstractBlockMap):
    r"""$\arg\max \sum_{ij} s_{ij} z_{ij}$ with bounds on every $z_{ij}$, row sum and column sum.

    Every supply is first sent where it is worth most. Where a demand then gets too much, units
    move on along shortest paths in which supplies replace one choice by another, and prices of the
    demands follow (successive shortest paths, on the shorter side alone). One path is $O(n m)$ for
    $n \ge m$; there are as many as units in the wrong place, so few where capacities are loose.
    Limits and bounds may vary in the batch. Exact up to the rounding of sums of scores.

    Of equally good answers, the one with the smallest sum of all $z$; of those, the first in the
    order of the variables: as much as possible at the first, then at the second, and so on. That is
    a vertex also where limits are not integers. (Where ties are so many that this would take more
    than some tenths of a second, it stops: the answer is as good, and the same every time.)

    References:
        Ahuja, Magnanti and Orlin (1993), *Network Flows*, Section 9.7; Jonker and Volgenant (1987),
        *A shortest augmenting path algorithm for dense and sparse linear assignment problems*.
    """

    shares_matrix: ClassVar[bool] = True
    wide_limits: ClassVar[bool] = True  # rounded to float32, a limit may become an integer

    def __init__(self, block: Block):
        super().__init__(block)
        found = _sides(block)
        assert isinstance(found, _Sides)  # why_not has asked already
        self.sides = found
        self._general = MILP(block)  # says what is wrong with an instance that has no point

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse anything whose variables do not each stand in two sums."""
        found = _sides(block)
        return found if isinstance(found, str) else None

    def remark(self) -> str:
        """Say what is sent where."""
        n, m = self.sides.row.max() + 1, self.sides.column.max() + 1
        return f"shortest paths between {n} x {m} sums, compiled"

    @outside_graphs
    def forward(  # type: ignore[override]
        self, x: Tensor, limits: Limits, report: Report
    ) -> Tensor:
        """Decide instance by instance, in compiled code."""
        scores, values = on_host(x, limits, self.block)
        low, high, lower, upper = (
            self._whole(*values[:2]) + self._whole(*values[2:])
            if self.block.integral
            else tuple(values)
        )
        z, state = np.zeros_like(scores), np.zeros(scores.shape[:2], dtype=np.int64)
        rows, row, column = self.sides
        args = (scores, low, high, lower, upper, rows, row, column, z, state)
        accuracy = 0.0 if self.block.integral else _ACCURACY
        cost = scores.size * 50
        run(_kernels.transport.decode, len(scores), cost, *args, accuracy, _MOST_STEPS)
        for i, c in np.argwhere(state):
            z[i, c] = self._general.decode(instance_of(scores, values, i, c), int(i), report)
        return back(z, x)

    @staticmethod
    def _whole(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Integers between limits."""
        found = inward(torch.from_numpy(low), torch.from_numpy(high))
        return found[0].numpy(), found[1].numpy()


def _sides(block: Block) -> _Sides | str:
    """Return where every variable stands in the table, or why there is none."""
    pairs = pairs_of(block)
    if isinstance(pairs, str):
        return pairs
    n, m = pairs.shape
    if n * m > max(4 * block.size, _MOST_PAIRS):
        return f"of its {n} x {m} pairs only {block.size} exist"
    sides = [np.flatnonzero(pairs.side == k) for k in (0, 1)]
    row, column = pairs.row, pairs.column
    if n < m:
        sides, row, column = sides[::-1], column, row
    return _Sides(np.concatenate(sides), row, column)
