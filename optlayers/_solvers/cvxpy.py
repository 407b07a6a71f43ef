"""Clarabel through cvxpy: independent code, an interior-point method, the second opinion."""

import warnings

import numpy as np

from .._plan.blocks import Block
from . import require
from .block import Answer, Problem, judged

_BIG = 1e20  # stands for an infinite limit in a parameter


class CvxpySolver:
    """The same projection, stated in cvxpy and compiled once; parameters change per instance."""

    name = "cvxpy"

    def __init__(self, block: Block):
        require(self.name)
        self.block = block
        self._compiled: dict = {}

    def _problem(self, problem: Problem):
        """The compiled problem for a pattern of equalities and infinite limits."""
        import cvxpy as cp

        block = self.block
        low = np.concatenate([problem.row_lower, problem.lower])
        high = np.concatenate([problem.row_upper, problem.upper])
        equal = low == high
        sides = (equal, ~equal & np.isfinite(low), ~equal & np.isfinite(high))
        key = b"".join(side.tobytes() for side in sides)
        if key not in self._compiled:
            x, y = cp.Variable(block.size), cp.Parameter(block.size)
            own = np.flatnonzero(~block.is_aux)
            parameters, constraints = [], []
            rows = block.matrix
            for side, sign in zip(sides, (0, -1, 1), strict=True):
                parts = []
                for chosen, value in (
                    (np.flatnonzero(side[: block.num_rows]), lambda i, r=rows: r[i] @ x),
                    (np.flatnonzero(side[block.num_rows :]), lambda i: x[i]),
                ):
                    limit = cp.Parameter(len(chosen)) if len(chosen) else None
                    if limit is not None:
                        left = value(chosen)
                        constraints.append(
                            left == limit if sign == 0 else sign * left <= sign * limit
                        )
                    parts.append((chosen, limit, constraints[-1] if limit is not None else None))
                parameters.append(parts)
            # Expanded, so that the quadratic reaches the solver as it is, without new variables.
            objective = cp.Minimize(0.5 * cp.sum_squares(x[own]) - y[own] @ x[own])
            self._compiled[key] = (cp.Problem(objective, constraints), x, y, parameters)
        return self._compiled[key], low, high

    def solve(self, problem: Problem) -> Answer:
        """Solve one instance to about 1e-8; the residual is recomputed."""
        import cvxpy as cp

        block = self.block
        (model, x, y, parameters), low, high = self._problem(problem)
        y.value = np.where(block.is_aux, 0.0, problem.y)
        for parts, limits in zip(parameters, (low, low, high), strict=True):
            for offset, (chosen, limit, _) in zip((0, block.num_rows), parts, strict=True):
                if limit is not None:
                    limit.value = limits[offset + chosen]
        try:
            with warnings.catch_warnings():  # what an answer is worth, its residual says
                warnings.filterwarnings("ignore", "Solution may be inaccurate")
                warnings.filterwarnings("ignore", "overflow", RuntimeWarning)
                tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)
                model.solve(solver=cp.CLARABEL, **tolerances)
        except cp.SolverError as error:
            return judged(block, problem, None, np.zeros(block.num_rows), f"failed ({error})")
        if x.value is None:
            return judged(block, problem, None, np.zeros(block.num_rows), model.status)
        multipliers = np.zeros(block.num_rows)
        for parts, sign in zip(parameters, (1, -1, 1), strict=True):
            chosen, limit, constraint = parts[0]
            if limit is not None:
                multipliers[chosen] += sign * np.atleast_1d(constraint.dual_value)
        return judged(block, problem, x.value, multipliers, model.status)
