"""Any block, by HiGHS: a linear program, integral where the structure is."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from .._errors import (
    InfeasibleError,
    InputError,
    OptLayersError,
    SolverFailed,
    UnboundedError,
)
from .._kernels.untraced import eager
from .._plan.maps import Limits, Report, SolverMap
from .._solvers.highs import HighsSolver
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


class _Refusal(NamedTuple):
    """Why there is no answer, and the error to raise where that is one."""

    reason: str
    kind: type[OptLayersError]


_NO_POINT, _NO_INTEGER = _Refusal(NO_POINT, InfeasibleError), _Refusal(NO_INTEGER, InfeasibleError)


class MILP(SolverMap):
    r"""$\arg\max\{s \cdot z : \underline c \le Rx \le \bar c,\ l \le x \le u\}$, $x = [z;\psi]$.

    One solve per instance and component, on the host, in float64. The relaxation first: its vertex
    is often integral; then branch and bound with $z$ integral and $\psi$ continuous. Scores are
    divided by the largest of the instance, so their scale is no matter; scores below about
    $10^{-9}$ of the largest count as zero. A score of $-\infty$ keeps a variable at its lower
    bound.

    References:
        Huangfu and Hall (2018), *Parallelizing the dual revised simplex method*.
    """

    @eager
    def forward(  # type: ignore[override]
        self, x: Tensor, limits: Limits, report: Report
    ) -> Tensor:
        """Decode instance by instance."""
        scores, values = on_host(x, limits)
        z = np.empty_like(scores)
        for n, c in np.ndindex(*scores.shape[:2]):
            z[n, c] = self.decode(instance_of(scores, values, n, c), n, report)
        return back(z, x)

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
            found = self._solve(at)
        if found is _NO_POINT and (rounded or forbidden.any()):
            found = _NO_INTEGER if rounded else _Refusal(FORBIDDEN, InfeasibleError)
        if isinstance(found, _Refusal):
            report.fail(number, found.reason, found.kind)
            return np.full(self.block.size, np.nan)
        return found

    def _integers_as_bounds(self, at: HostInstance) -> HostInstance:
        """Round bounds inwards: from fractions HiGHS 1.15 may conclude "infeasible" wrongly."""
        whole = ~self.block.is_aux & self.block.integral
        low, high = np.ceil(at.lower - 1e-9), np.floor(at.upper + 1e-9)
        return at._replace(
            lower=np.where(whole, low, at.lower), upper=np.where(whole, high, at.upper)
        )

    def _solver(self, integral: bool) -> HighsSolver:
        if integral not in self._solvers:
            kinds = np.full(self.block.size, integral) & ~self.block.is_aux
            self._solvers[integral] = HighsSolver(self.block.matrix, kinds)
        return self._solvers[integral]

    def _solve(self, at: HostInstance) -> np.ndarray | _Refusal:
        own = ~self.block.is_aux
        z, reason = self._solver(False).solve(*at)
        if self.block.integral:
            if (z is None and reason == "unbounded") or (z is not None and _fractional(z[own])):
                z, reason = self._solver(True).solve(*at)
            elif reason == "infeasible":
                return _NO_POINT
            z = z if z is None else np.where(own, np.round(z), z)
        if z is None:
            if reason == "infeasible":
                return _NO_INTEGER if self.block.integral else _NO_POINT
            if reason == "unbounded":
                return _Refusal(UNBOUNDED, UnboundedError)
            return _Refusal(f"HiGHS stopped: {reason}", SolverFailed)
        activity = self.block.matrix @ z
        miss = np.maximum(at.row_lower - activity, activity - at.row_upper).max(initial=0.0)
        if miss > 1e-6 * (1 + np.abs(z).max()):
            words = f"the answer of HiGHS violates a row by {miss:.1e}"
            return _Refusal(words, SolverFailed)
        return z + 0.0  # no negative zeros


def _fractional(z: np.ndarray) -> bool:
    return bool((np.abs(z - np.round(z)) > 1e-9).any())
