"""Any block, by HiGHS: a linear program, integral where the structure is."""

import threading
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .._plan import AbstractBlockMap, Limits, Report
from .._solvers.highs import HighsSolver
from .._structure import Block
from ._common import NO_INTEGER, NO_POINT, Instance, back, instance_of, on_host


class MILP(AbstractBlockMap):
    r"""$\arg\max\{s \cdot z : \underline c \le Rx \le \bar c,\ l \le x \le u\}$, $x = [z;\psi]$.

    One solve per instance and component, on the host, in float64. The relaxation first: its vertex
    is often integral; then branch and bound with $z$ integral and $\psi$ continuous. Scores are
    divided by the largest of the instance, so their scale is no matter; scores below about
    $10^{-9}$ of the largest count as zero. A score of $-\infty$ keeps a variable at its lower bound.

    References:
        Huangfu and Hall (2018), *Parallelizing the dual revised simplex method*.
    """

    shares_matrix: ClassVar[bool] = True

    def __init__(self, block: Block):
        super().__init__(block)
        self._lock = threading.Lock()
        self._solvers: dict[bool, Any] = {}

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse nothing."""
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_solvers")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _solvers={})

    @torch.compiler.disable  # type: ignore[override]
    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Decode instance by instance."""
        scores, values = on_host(x, limits)
        z = np.empty_like(scores)
        for n, c in np.ndindex(*scores.shape[:2]):
            z[n, c] = self.decode(instance_of(scores, values, n, c), n, report)
        return back(z, x)

    def decode(self, at: Instance, number: int, report: Report) -> np.ndarray:
        """One component of one instance; NaN, and a reason in the report, if it has no answer."""
        forbidden = at.scores == -np.inf
        endless = forbidden & (at.lower == -np.inf)
        if np.isnan(at.scores).any() or (at.scores == np.inf).any() or endless.any():
            report.fail(number, "its scores are not finite")
            return np.full(self.block.size, np.nan)
        costs = np.where(forbidden, 0.0, at.scores)
        # Tolerances of the solver are absolute.
        largest = np.abs(costs).max()
        costs = costs / largest if largest > 0 else costs
        at = at._replace(scores=costs, upper=np.where(forbidden, at.lower, at.upper))
        with self._lock:
            z, reason = self._solve(at)
        if z is None:
            report.fail(number, reason)
            return np.full(self.block.size, np.nan)
        return z

    def _solver(self, integral: bool) -> HighsSolver:
        if integral not in self._solvers:
            kinds = np.full(self.block.size, integral) & ~self.block.is_aux
            self._solvers[integral] = HighsSolver(self.block.matrix, kinds)
        return self._solvers[integral]

    def _solve(self, at: Instance) -> tuple[np.ndarray | None, str]:
        z, reason = self._solver(False).solve(*at)
        if z is None and reason != "unbounded":
            return None, NO_POINT if reason == "infeasible" else f"HiGHS stopped: {reason}"
        own = ~self.block.is_aux
        if not self.block.integral:
            return (z, "") if z is not None else (None, "the scores are unbounded over the set")
        if z is None or np.abs(z - np.round(z))[own].max() > 1e-9:
            z, reason = self._solver(True).solve(*at)
        if z is None:
            words = {"infeasible": NO_INTEGER, "unbounded": "the scores are unbounded over the set"}
            return None, words.get(reason, f"HiGHS stopped: {reason}")
        return np.where(own, np.round(z), z) + 0.0, ""
