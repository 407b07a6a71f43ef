"""Any block, by HiGHS: a linear program, integral where the structure is."""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import (
    InfeasibleError,
    InputError,
    SolverFailed,
    UnboundedError,
)
from .._kernels.progress import Clock
from .._plan.blocks import Block
from .._plan.maps import Limits, Report, SolverMap
from .._plan.operators import outside_graphs
from .._polytope.consistency import inward, nearest_limits, within
from .._solvers.highs import TIME, HighsSolver
from .branches import branched, is_fractional
from .common import (
    FORBIDDEN,
    NO_INTEGER,
    NO_POINT,
    NOT_FINITE,
    UNBOUNDED,
    HostInstance,
    back,
    instance_of,
    on_host,
)
from .exact import ExactRows, Miss
from .search import Refusal, Search

_MOST_CUTS = 200  # of one instance, before it is refused
_NO_POINT, _NO_INTEGER = Refusal(NO_POINT, InfeasibleError), Refusal(NO_INTEGER, InfeasibleError)


class MILP(SolverMap):
    r"""$\arg\max\{s \cdot z : \underline c \le Rx \le \bar c,\ l \le x \le u\}$, $x = [z;\psi]$.

    One solve per instance and component, on the host, in float64. The relaxation first: its vertex
    is often integral; then branch and bound with $z$, or what of it is declared so, integral and
    $\psi$ continuous. Scores are divided by the largest of the instance, so their scale is no
    matter; scores below about $10^{-9}$ of the largest count as zero. A score of $-\infty$ keeps a
    variable at its lower bound.

    HiGHS takes a row as met that is missed by $10^{-9}$, and a coefficient below that as zero, so
    every answer is judged by the rows as declared: with integers alone in a row, up to rounding,
    otherwise to $10^{-7}$ of its terms. What violates one is solved again, with the row in finer
    units, then with covers that cut it off; what remains is refused.

    References:
        Huangfu and Hall (2018), *Parallelizing the dual revised simplex method*.
    """

    takes_mixed: ClassVar[bool] = True

    def __init__(self, block: Block):
        super().__init__(block)
        self._rows = ExactRows(block.matrix, block.whole)

    @outside_graphs
    def forward(  # type: ignore[override]
        self, x: Tensor, limits: Limits, report: Report
    ) -> Tensor:
        """Decode instance by instance."""
        scores, values = on_host(x, limits, self.block)
        z = np.empty_like(scores)
        self.decode_some(np.argwhere(np.ones(z.shape[:2])), scores, values, z, report)
        return back(z, x)

    def decode_some(
        self,
        chosen: np.ndarray,
        scores: np.ndarray,
        values: list[np.ndarray],
        z: np.ndarray,
        report: Report,
    ) -> None:
        """Decode the components `chosen`, pairs of instance and component, into `z`.

        Args:
            chosen: `(K, 2)`.
            scores: `(N, count, size)`.
            values: Limits, each `(N or 1, count, ...)`.
            z: Where the decisions go.
            report: Told which instances have none.
        """
        with Clock("deciding, by HiGHS", len(chosen)) as clock:
            for done, (n, c) in enumerate(chosen):
                z[n, c] = self.decode(instance_of(scores, values, n, c), int(n), report)
                clock.tick(done + 1)

    def decode(self, at: HostInstance, number: int, report: Report) -> np.ndarray:
        """Decode one component of one instance; NaN, and a reason in the report, if it fails."""
        forbidden = at.scores == -np.inf
        endless = forbidden & (at.lower == -np.inf)
        if np.isnan(at.scores).any() or (at.scores == np.inf).any() or endless.any():
            report.fail(number, NOT_FINITE, InputError)
            return np.full(self.block.size, np.nan)
        costs = np.where(forbidden, 0.0, at.scores)
        # Tolerances of the solver are absolute.
        largest = np.abs(costs).max()
        costs = costs / largest if largest > 0 else costs
        given = at
        at = self._integers_as_bounds(at._replace(scores=costs))
        rounded = (at.lower != given.lower).any() or (at.upper != given.upper).any()
        at = at._replace(upper=np.where(forbidden, at.lower, at.upper))
        with self._lock:
            search = Search.of(report.limit, number)
            found = self._solve(at, search)
        found = search.settle(found, at.scores, largest, number, report)
        if found is _NO_POINT and (rounded or forbidden.any()):
            found = _NO_INTEGER if rounded else Refusal(FORBIDDEN, InfeasibleError)
        if isinstance(found, Refusal):
            report.fail(number, found.reason, found.kind)
            return np.full(self.block.size, np.nan)
        return found

    def _integers_as_bounds(self, at: HostInstance) -> HostInstance:
        """Round bounds inwards: from fractions HiGHS 1.15 may conclude "infeasible" wrongly."""
        whole = self._rows.whole
        if all((v[whole] == np.round(v[whole])).all() for v in (at.lower, at.upper)):
            return at
        low, high = inward(torch.from_numpy(at.lower), torch.from_numpy(at.upper))
        return at._replace(
            lower=np.where(whole, low.numpy(), at.lower),
            upper=np.where(whole, high.numpy(), at.upper),
        )

    def _solver(self, integral: bool, units: str) -> HighsSolver:
        if (integral, units) not in self._solvers:
            kinds = self._rows.whole & integral
            self._solvers[integral, units] = HighsSolver(self.block.matrix, kinds, units)
        return self._solvers[integral, units]

    def _solve(self, at: HostInstance, search: Search) -> np.ndarray | Refusal:
        """Solve; what is not in the set is cut off, or solved again with rows in other units."""
        if self._rows.wide:
            z = self._rows.best_of_few(*at)
            if z is not None:
                return _NO_INTEGER if np.isnan(z).any() else z
        best: np.ndarray | Refusal = Refusal("HiGHS has no answer", SolverFailed)
        for units in HighsSolver.UNITS:
            found = self._attempt(at, units, search)
            if isinstance(found, np.ndarray) and self._wrong(found, at) is not None:
                found = self._cut_off(found, at, search)
            best = _better(found, best, at.scores)
            solved = not isinstance(best, Refusal) or best.kind is not SolverFailed
            if search.stopped or (solved and not self._rows.wide):
                break
        return best

    def _attempt(self, at: HostInstance, units: str, search: Search) -> np.ndarray | Refusal:
        """Solve the relaxation, and with integers if its answer is fractional; not yet judged."""
        if self.block.integral:
            low, high = self._rows.with_room(*at[1:])
            at = at._replace(row_lower=low, row_upper=high)
        z, reason = search.ask(self._solver(False, units), at)
        if reason == "infeasible":
            moved = self._moved(at)
            if isinstance(moved, Refusal):
                return moved
            at = moved
            z, reason = search.ask(self._solver(False, units), at)
        if not self.block.integral:
            return self._read(z, reason, Refusal("HiGHS finds no point", SolverFailed), search)
        own = self._rows.whole
        fractional = z is not None and is_fractional(z[own])
        if z is not None and fractional and not self._rows.wide:
            found = branched(self._solver(False, units), at, own, z, search)
            if found is not None:
                (z, reason), fractional = found, False
        if reason == "unbounded" or fractional:
            z, reason = search.ask(self._solver(True, units), at)
        return self._read(self._exact(z, at, units, search), reason, _NO_INTEGER, search)

    def _exact(self, z, at: HostInstance, units: str, search: Search) -> np.ndarray | None:
        """Return the best point with the integers that were found, where some are none.

        A solver leaves integers off by its tolerance, and large coefficients carry that to others.
        """
        if z is None or not self.block.mixed:
            return z
        own, near = self._rows.whole, np.round(z)
        if (z[own] == near[own]).all():
            return z
        lower, upper = np.where(own, near, at.lower), np.where(own, near, at.upper)
        fixed = at._replace(lower=lower, upper=upper)
        found = search.ask(self._solver(False, units), fixed)[0]
        return z if found is None else found

    def _read(self, z, reason: str, nothing: Refusal, search: Search) -> np.ndarray | Refusal:
        if z is not None:
            return np.where(self._rows.whole, np.round(z), z) + 0.0  # no negative zeros
        if reason == "infeasible":
            return nothing
        if reason == "unbounded":
            return Refusal(UNBOUNDED, UnboundedError)
        if reason == TIME:
            return search.refusal(None, np.zeros(0))
        return Refusal(f"HiGHS stopped: {reason}", SolverFailed)

    def _moved(self, at: HostInstance) -> HostInstance | Refusal:
        """Return the nearest limits with a point, where HiGHS finds none."""
        if (at.lower > at.upper).any() or (at.row_lower > at.row_upper).any():
            return _NO_POINT
        found = nearest_limits(self.block.matrix, *at[1:])
        if not within(found.gap):
            return _NO_POINT
        return at._replace(row_lower=found.row_lower, row_upper=found.row_upper)

    def _wrong(self, z: np.ndarray, at: HostInstance) -> Miss | None:
        """Return a row that a point violates, by the nearest limits that have a point.

        Integers are held to the limits as they are.
        """
        miss = self._rows.worst(z, at.row_lower, at.row_upper)
        if miss is None or self.block.integral:
            return miss
        moved = self._moved(at)
        return miss if isinstance(moved, Refusal) else self._rows.worst(z, *moved[1:3])

    def _cut_off(self, z: np.ndarray, at: HostInstance, search: Search) -> np.ndarray | Refusal:
        """Cut off integral points that violate a row, one cover after the other."""
        rows, least = [], []
        while (miss := self._wrong(z, at)) is not None:
            limit = (at.row_upper if miss.above else at.row_lower)[miss.row]
            cut = None
            if self.block.integral and len(rows) < _MOST_CUTS:
                cut = self._rows.cut(z, miss, limit, at.lower, at.upper)
            if cut is None:
                return self._too_far(miss)
            if not cut[0].any():
                return _NO_INTEGER
            rows.append(cut[0])
            least.append(cut[1])
            R = sp.csr_array(sp.vstack([self.block.matrix, sp.csr_array(np.array(rows))]))
            low, high = self._rows.with_room(*at[1:])
            low, high = np.append(low, least), np.append(high, np.full(len(rows), np.inf))
            solver = HighsSolver(R, self._rows.whole)
            asked = at._replace(row_lower=low, row_upper=high)
            found = self._read(*search.ask(solver, asked), _NO_INTEGER, search)
            if isinstance(found, Refusal):
                return found
            z = found
        return z

    def _too_far(self, miss: Miss) -> Refusal:
        """Say which row is violated, and by how much."""
        at = slice(self.block.matrix.indptr[miss.row], self.block.matrix.indptr[miss.row + 1])
        index, a = self.block.matrix.indices[at], self.block.matrix.data[at]
        largest = int(self.block.index[0, index[np.argmax(np.abs(a))]])
        words = (
            f"the answer of HiGHS violates a row of {len(a)} coefficients, the largest of them "
            f"that of variable {largest}, by {miss.by:.1e} of this coefficient"
        )
        return Refusal(words, SolverFailed)


def _better(
    one: np.ndarray | Refusal, two: np.ndarray | Refusal, scores: np.ndarray
) -> np.ndarray | Refusal:
    """Return the better of two outcomes: a point, a proof that there is none, neither."""
    if isinstance(one, Refusal) or isinstance(two, Refusal):
        for found in (one, two):
            if not isinstance(found, Refusal):
                return found
        return one if two.kind is SolverFailed else two  # type: ignore[union-attr]
    return two if scores @ two >= scores @ one else one
