"""Rows whose factor is large: Clarabel's interior-point method first, then a few exact steps."""

import time

import numpy as np

from ..._errors import SolverFailed
from ..._kernels.progress import Clock
from ..._plan.failures import ACCURACY, Report
from ..._solvers.block import ProjectionProblem
from ..._solvers.cvxpy import CvxpySolver
from ..._solvers.polish import polished
from ..qp import QP

OUT_OF_TIME = "the time limit of {:g} s ran out before its projection was found; give a larger one"


def project_large(
    exact: QP, y: np.ndarray, sides: list[np.ndarray], report: Report
) -> tuple[np.ndarray, np.ndarray]:
    """Project `(N, count, size)` one component after the other; the answers and residuals.

    Ctrl-C is answered while a solver works, and a time limit is kept to. What ran out of time has
    NaN, and `report` is told.

    Args:
        exact: The solvers of the block.
        y: Points, in float64.
        sides: Limits, each `(N or 1, count, ...)`.
        report: Has the limit of the call.
    """
    x, quality = np.full_like(y, np.nan), np.full(y.shape[:2], np.inf)
    clock = Clock("projecting, by Clarabel", y.shape[0] * y.shape[1])
    for done, (n, c) in enumerate(np.ndindex(*y.shape[:2])):
        left, start = _left(n, report), time.monotonic()
        if not left > 0:
            continue
        problem = ProjectionProblem(y[n, c], *(v[n % len(v), c] for v in sides))
        with exact.solver(CvxpySolver) as solver:
            answer = solver.solve(problem, seconds=left, aside=True)
        answer = polished(exact.units.block, problem, answer)
        if report.limit is not None:
            spent = report.limit.spent.get(n, 0.0) + time.monotonic() - start
            report.limit.spent[n] = spent
        x[n, c], quality[n, c] = answer.x, answer.residual
        if not answer.residual <= ACCURACY and not _left(n, report) > 0:
            x[n] = np.nan
        clock.tick(done + 1)
    return x, quality


def _left(number: int, report: Report) -> float:
    """Return the seconds that an instance still has; one that has none fails."""
    if report.limit is None:
        return np.inf
    left = report.limit.seconds - report.limit.spent.get(number, 0.0)
    if not left > 0:
        reason = OUT_OF_TIME.format(report.limit.seconds)
        report.fail(number, reason, SolverFailed, solver=CvxpySolver.name)
    return left
