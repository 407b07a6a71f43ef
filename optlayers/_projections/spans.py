"""Blocks that select words in few contiguous spans: a chain inside a search for two multipliers."""

from functools import cache
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .. import _kernels
from .._kernels.arrays import array
from .._kernels.threads import run
from .._plan.blocks import Block, canonical_block
from .._plan.maps import Limits
from .._polytope.constructors import spans
from .before_newton import BeforeNewton
from .newton.newton import GOOD


class Spans(BeforeNewton):
    r"""Projection onto at most $W$ words in at most $K$ contiguous spans, relaxed.

    $$ \min_z \tfrac12 \|z - y\|^2 \quad \text{s.t.} \quad \sum_t z_t \le W, \quad
       \sum_t \max(z_t - z_{t-1}, 0) \le K, \quad l \le z \le u, \quad z_0 = 0 $$

    The auxiliary starts are gone: there are such starts if and only if the positive differences
    fit. With multipliers $\alpha, \lambda$ of the two sums the rest is one-sided total variation,
    which a dynamic program over piecewise linear derivatives solves in $O(n)$. The dual function of
    the two is concave and piecewise quadratic: $\lambda$ by safeguarded Newton steps, $\alpha$
    likewise within each of them. CPU: compiled, over threads, in float64. Accepted by the KKT
    residual of the whole program, 1e-9 relative to 1 + max(|y|, |z|); what misses it, limits that
    are not those of spans, and other devices go to Newton's method.

    References:
        Johnson (2013), *A dynamic programming algorithm for the fused lasso and L0-segmentation*.
    """

    def __init__(self, block: Block):
        super().__init__(block)
        self._rows = RowsOfSpans.of(block.matrix)

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse anything whose coefficients are not exactly those of `spans`."""
        return None if selects_spans(block) else "it does not select words in spans"

    def remark(self) -> str:
        """Say what is done, and who is asked next."""
        return f"a chain for each guess of two multipliers; what misses {GOOD:g} goes to Newton"

    def on_host(self, y: Tensor, limits: Limits, near: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run the compiled search; see `BeforeNewton`. A hint would not shorten it."""
        n = self.block.size // 2
        words, starts, plain = self._read(limits)
        points = np.ascontiguousarray(array(y)[..., :n]).reshape(-1, n)
        lower, upper = (np.ascontiguousarray(array(v)[..., :n]) for v in limits[2:])
        z, quality = np.empty_like(points), np.empty(len(points))
        args = (points, words, starts, lower, upper, z, quality)
        run(_kernels.chain.project, len(points), 3000 * len(points) * n, *args)
        z = torch.from_numpy(z).reshape(*y.shape[:2], n)
        step = (z - torch.nn.functional.pad(z[..., :-1], (1, 0))).clamp(min=0.0)
        quality = torch.from_numpy(quality).reshape(y.shape[:2])
        quality = torch.where(torch.from_numpy(plain), quality, torch.inf)
        return torch.cat([z, step], -1), quality

    def _read(self, limits: Limits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read limits on words and on starts, and where nothing else differs from `spans`."""
        low, high, lower, upper = (array(v) for v in limits)
        n = lower.shape[-1] // 2
        # No start needs to be there, and each may be as large as its words allow.
        before = np.concatenate([np.zeros_like(lower[..., :1]), lower[..., : n - 1]], -1)
        plain = (lower[..., :n] >= 0).all(-1) & (lower[..., n:] == 0).all(-1)
        plain = plain & (upper[..., n:] >= upper[..., :n] - before).all(-1)
        plain = plain & self._rows.plain(low, high)
        return high[..., self._rows.words].copy(), high[..., self._rows.starts].copy(), plain


# ---------------------------------------------------------------------- reading the matrices


def selects_spans(block: Block) -> bool:
    """Tell whether the coefficients are exactly those of `spans`."""
    n = block.size // 2
    shape = n >= 2 and block.size == 2 * n and block.num_rows == n + 2
    if not shape or not (block.is_aux == (np.arange(2 * n) >= n)).all():
        return False
    rows = _rows_of_spans(n)
    return all(
        np.array_equal(getattr(rows, k), getattr(block.matrix, k))
        for k in ("indptr", "indices", "data")
    )


@cache
def _rows_of_spans(n: int) -> sp.csr_array:
    """Return the rows of `spans(n)` in the order in which blocks hold theirs."""
    return canonical_block(spans(n, 1, 1)).matrix


class RowsOfSpans(NamedTuple):
    """Numbers of the rows: the two sums, and steps by the sign of their first coefficient."""

    words: int
    starts: int
    kept: np.ndarray
    negated: np.ndarray

    @classmethod
    def of(cls, matrix: sp.csr_array) -> "RowsOfSpans":
        """Name the rows of a matrix that `selects_spans` has recognised."""
        n = matrix.shape[1] // 2
        first, counts = matrix.indices[matrix.indptr[:-1]], np.diff(matrix.indptr)
        # A step has z_t, s_t and maybe z_{t-1}, of both signs; the two sums have n equal signs.
        signs = np.add.reduceat(np.sign(matrix.data), matrix.indptr[:-1])
        total = np.abs(signs) == counts
        return cls(
            int(np.flatnonzero(total & (first == 0))[0]),
            int(np.flatnonzero(total & (first == n))[0]),
            # z_1 - s_1 <= 0 keeps its sign; z_t - z_{t-1} - s_t <= 0 begins with -z_{t-1}.
            np.flatnonzero(~total & (counts == 2)),
            np.flatnonzero(~total & (counts == 3)),
        )

    def plain(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Mark where the limits of the rows are those of `spans`, whatever the two sums may be."""
        return (
            (low[..., [self.words, self.starts]] == -np.inf).all(-1)
            & ((low[..., self.negated] == 0) & (high[..., self.negated] == np.inf)).all(-1)
            & ((high[..., self.kept] == 0) & (low[..., self.kept] == -np.inf)).all(-1)
        )
