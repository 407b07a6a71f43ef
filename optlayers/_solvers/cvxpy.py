"""Clarabel through cvxpy: independent code, an interior-point method, the second opinion."""

import threading
import warnings
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._plan.blocks import Block
from . import require
from .block import Answer, ProjectionProblem, judged
from .worker import run_aside

_LARGE = 10_000  # coefficients from which a solve is worth being interrupted


class _Limits(NamedTuple):
    """Rows or variables with one kind of limit, and the constraint on all of them."""

    sign: int  # 0: equal, -1: at least, 1: at most
    of_rows: bool
    chosen: np.ndarray  # numbers of the rows, or of the variables
    value: Any  # a parameter
    constraint: Any


class _Model(NamedTuple):
    """The projection for a pattern of equalities and infinite limits."""

    problem: Any
    x: Any
    y: Any  # a parameter
    limits: list[_Limits]


class CvxpySolver:
    """The projection, stated in cvxpy and compiled once; parameters change per instance."""

    name = "cvxpy"

    def __init__(self, block: Block):
        require(self.name)
        self.block = block
        self._compiled: dict[bytes, _Model] = {}

    def _model(self, low: np.ndarray, high: np.ndarray) -> _Model:
        """Return the compiled model for a pattern of equalities and infinite limits."""
        equal = low == high
        sides = {0: equal, -1: ~equal & np.isfinite(low), 1: ~equal & np.isfinite(high)}
        key = b"".join(side.tobytes() for side in sides.values())
        if key not in self._compiled:
            self._compiled[key] = self._compile(sides)
        return self._compiled[key]

    def _compile(self, sides: dict[int, np.ndarray]) -> _Model:
        import cvxpy as cp

        block, m, limits = self.block, self.block.num_rows, []
        x, y = cp.Variable(block.size), cp.Parameter(block.size)
        parts = [
            (sign, of_rows, np.flatnonzero(side[:m] if of_rows else side[m:]))
            for sign, side in sides.items()
            for of_rows in (True, False)
        ]
        for sign, of_rows, chosen in parts:
            if len(chosen):
                left = block.matrix[chosen] @ x if of_rows else x[chosen]
                value = cp.Parameter(len(chosen))
                constraint = left == value if sign == 0 else sign * left <= sign * value
                limits.append(_Limits(sign, of_rows, chosen, value, constraint))
        own = np.flatnonzero(~block.is_aux)
        # Expanded, so that the quadratic reaches the solver as it is, without new variables.
        objective = cp.Minimize(0.5 * cp.sum_squares(x[own]) - y @ x)
        return _Model(cp.Problem(objective, [v.constraint for v in limits]), x, y, limits)

    def solve(self, problem: ProjectionProblem) -> Answer:
        """Solve one instance to about 1e-8; the residual is recomputed."""
        import cvxpy as cp

        block, m = self.block, self.block.num_rows
        low = np.concatenate([problem.row_lower, problem.lower])
        high = np.concatenate([problem.row_upper, problem.upper])
        model = self._model(low, high)
        model.y.value = problem.y
        for at in model.limits:
            values = high if at.sign > 0 else low
            at.value.value = values[at.chosen if at.of_rows else m + at.chosen]
        multipliers = np.zeros(m)
        try:
            with warnings.catch_warnings():  # what an answer is worth, its residual says
                warnings.filterwarnings("ignore", "Solution may be inaccurate")
                warnings.filterwarnings("ignore", "overflow", RuntimeWarning)
                tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)
                call = partial(model.problem.solve, solver=cp.CLARABEL, **tolerances)
                if block.matrix.nnz >= _LARGE:  # Ctrl-C is answered meanwhile
                    run_aside(call, threading.Event())
                else:
                    call()
        except cp.SolverError as error:
            return judged(block, problem, None, multipliers, f"failed ({error})")
        if model.x.value is None:
            return judged(block, problem, None, multipliers, model.problem.status)
        for at in model.limits:
            if at.of_rows:
                dual = np.atleast_1d(at.constraint.dual_value)
                multipliers[at.chosen] += -dual if at.sign < 0 else dual
        return judged(block, problem, model.x.value, multipliers, model.problem.status)
