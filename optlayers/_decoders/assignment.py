"""Blocks that are bipartite matchings: the Hungarian method."""

from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from .._errors import InfeasibleError, InputError
from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap, Limits, Report
from .._plan.operators import outside_graphs
from .bipartite import pairs_of
from .common import NO_POINT, NOT_FINITE, back, instance_of, on_host
from .milp import MILP


class _Sides(NamedTuple):
    """Where every variable stands in the score matrix, and which sides must be matched."""

    row: np.ndarray
    column: np.ndarray
    shape: tuple[int, int]
    equal: tuple[bool, bool]


class Assignment(AbstractBlockMap):
    r"""$\arg\max \sum_{ij} s_{ij} z_{ij}$, every row and column of $z$ with sum 1 (or at most 1).

    One linear assignment per instance on the host, $O(n^2 m)$. Pairs may be missing, or forbidden
    by an upper bound of 0. Where no side must be matched, only pairs with a
    positive score are chosen.

    References:
        Crouse (2016), *On implementing 2D rectangular assignment algorithms*.
    """

    takes_mixed: ClassVar[bool] = True  # its answers are integers in any case
    shares_matrix: ClassVar[bool] = True
    wide_limits: ClassVar[bool] = True  # rounded to float32, a bound may become 1
    prompt: ClassVar[bool] = True

    def __init__(self, block: Block):
        super().__init__(block)
        found = _sides(block)
        assert isinstance(found, _Sides)  # why_not has asked already
        self.sides = found
        self._general = MILP(block)  # for instances whose bounds are not those of a matching

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse anything but a matching."""
        found = _sides(block)
        return found if isinstance(found, str) else None

    @outside_graphs
    def forward(  # type: ignore[override]
        self, x: Tensor, limits: Limits, report: Report
    ) -> Tensor:
        """Match instance by instance."""
        scores, values = on_host(x, limits, self.block)
        z = np.empty_like(scores)
        plain = (values[2] == 0) & ((values[3] >= 1) | (values[3] == 0))
        plain = plain.all(-1)
        for n, c in np.ndindex(*scores.shape[:2]):
            if plain[n % len(plain), c]:
                z[n, c] = self._match(scores[n, c], values[3][n % len(values[3]), c], n, report)
            else:
                z[n, c] = self._general.decode(instance_of(scores, values, n, c), n, report)
        return back(z, x)

    def _match(self, scores, upper, number: int, report: Report) -> np.ndarray:
        from scipy.optimize import linear_sum_assignment

        row, column, shape, equal = self.sides
        failed = np.full(len(scores), np.nan)
        if np.isnan(scores).any() or (scores == np.inf).any():
            report.fail(number, NOT_FINITE, InputError)
            return failed
        partial = not any(equal)
        gains = np.full(shape, 0.0 if partial else -np.inf)
        allowed = np.where(upper > 0, scores, -np.inf)
        gains[row, column] = np.maximum(allowed, 0.0) if partial else allowed
        try:
            match = linear_sum_assignment(gains, maximize=True)
        except ValueError:  # no complete matching avoids the forbidden pairs
            report.fail(number, NO_POINT, InfeasibleError)
            return failed
        chosen = np.zeros(shape, dtype=bool)
        chosen[match] = gains[match] > 0 if partial else True
        return chosen[row, column].astype(np.float64)


def _sides(block: Block) -> _Sides | str:
    """Return the two sides of a matching, or why the block is none."""
    pairs = pairs_of(block)
    if isinstance(pairs, str):
        return pairs
    if block.row_lower is None or block.row_upper is None:
        return "its right-hand sides vary in the batch"
    shape = pairs.shape
    equal = tuple(_must_be_matched(block, pairs.side == colour) for colour in (0, 1))
    if reason := _why_no_matching(block, shape, equal):
        return reason
    return _Sides(pairs.row, pairs.column, shape, (bool(equal[0]), bool(equal[1])))


def _must_be_matched(block: Block, rows: np.ndarray) -> bool | None:
    """Return whether all rows of a side ask for 1, or all for at most 1; None if neither."""
    low, high = np.asarray(block.row_lower)[:, rows], np.asarray(block.row_upper)[:, rows]
    if not ((high == 1).all() and ((low == 1).all() or (low <= 0).all())):
        return None
    return bool((low == 1).all())


def _why_no_matching(
    block: Block, shape: tuple[int, int], equal: tuple[bool | None, ...]
) -> str | None:
    """Say why sides of that shape cannot be matched, or which bounds are not those of pairs."""
    if None in equal:
        return "its rows do not all ask for 1, or all for at most 1, on each side"
    if all(equal) and shape[0] != shape[1]:
        return "two sides of different size cannot both be matched"
    if (equal[0] and shape[0] > shape[1]) or (equal[1] and shape[1] > shape[0]):
        return "one side is too large to be matched"
    if block.lower is not None and (block.lower != 0).any():
        return "a lower bound is not 0"
    if block.upper is not None and ((block.upper > 0) & (block.upper < 1)).any():
        return "an upper bound lies between 0 and 1"
    return None
