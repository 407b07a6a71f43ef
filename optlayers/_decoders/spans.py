"""Blocks that select words in few contiguous spans: a dynamic program."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .. import _kernels
from .._errors import InfeasibleError
from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap, Limits, Report
from .._plan.operators import outside_graphs
from .._polytope.consistency import inward
from .._projections.spans import RowsOfSpans, selects_spans
from .common import NO_INTEGER, back, on_host
from .milp import MILP


class Spans(AbstractBlockMap):
    r"""At most $W$ words in at most $K$ contiguous spans, exactly: $O(n W K)$ per instance.

    $$ f_t(w, k, 1) = s_t + \max(f_{t-1}(w - 1, k, 1),\ f_{t-1}(w - 1, k - 1, 0)), \qquad
       f_t(w, k, 0) = \max(f_{t-1}(w, k, 0),\ f_{t-1}(w, k, 1)) $$

    where the last argument says whether word $t$ is chosen. $W$, $K$, forbidden words (upper bound
    0) and forced words (lower bound 1) per instance. Of equally good selections, the one that
    stops earliest. The relaxation has fractional vertices, so this takes integral blocks only.
    """

    shares_matrix: ClassVar[bool] = True
    wide_limits: ClassVar[bool] = True  # rounded to float32, a limit may become an integer

    def __init__(self, block: Block):
        super().__init__(block)
        self._rows = RowsOfSpans.of(block.matrix)
        self._general = MILP(block)  # for instances whose limits are not those of spans

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse anything whose coefficients are not exactly those of `spans`."""
        if not block.integral:
            return "it decodes integers only"
        return None if selects_spans(block) else "it does not select words in spans"

    @outside_graphs
    def forward(  # type: ignore[override]
        self, x: Tensor, limits: Limits, report: Report
    ) -> Tensor:
        """Run the compiled program over the batch."""
        scores, values = on_host(x, limits, self.block)
        instances, count, size = scores.shape
        shape = (instances, count)
        # Once where the instances share their limits.
        read = _read(self._rows, *values)
        words, starts, plain = (np.broadcast_to(v, shape) for v in read)
        lower, upper = (np.broadcast_to(v, (*shape, v.shape[-1])) for v in values[2:])
        plain = plain & ~np.isnan(scores).any(-1) & ~(scores == np.inf).any(-1)
        z = np.zeros((*shape, size))
        score = np.full(shape, np.nan)
        n = size // 2
        may, must = upper >= 1, lower[..., :n] > 0
        _kernels.spans.decode(scores, words, starts, may, must, plain, z, score)
        missed = ~(score > -np.inf)
        for i, c in np.argwhere(missed & plain):
            report.fail(int(i), NO_INTEGER, InfeasibleError)
            z[i, c] = np.nan
        if (others := missed & ~plain).any():
            self._general.decode_some(np.argwhere(others), scores, values, z, report)
        return back(z, x)


def _read(rows: RowsOfSpans, low, high, lower, upper):
    """Read limits on words and starts, and whether all else is as in `spans`; per component."""
    n, sums = lower.shape[-1] // 2, [rows.words, rows.starts]
    plain = rows.plain(low, high)
    z_low, z_high, s_low, s_high = lower[..., :n], upper[..., :n], lower[..., n:], upper[..., n:]
    plain = plain & ((z_low == 0) | (z_low == 1)).all(-1) & ((z_high == 0) | (z_high == 1)).all(-1)
    plain = plain & (s_low == 0).all(-1) & (s_high >= 0).all(-1)
    most = inward(*[torch.from_numpy(np.ascontiguousarray(high[..., sums]))] * 2)[1].numpy()
    most = most.clip(-1, [n, n // 2 + 1]).astype(np.int64)
    return most[..., 0], most[..., 1], plain
