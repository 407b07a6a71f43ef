"""Rows whose factor is large: Clarabel's interior-point method first, then a few exact steps."""

import threading
import time

import numpy as np

from ..._errors import SolverFailed
from ..._kernels.progress import Clock
from ..._plan.failures import ACCURACY, Report
from ..._solvers.block import Answer, ProjectionProblem
from ..._solvers.clarabel import ClarabelSolver
from ..._solvers.polish import polished
from ..._solvers.worker import run_aside
from ..qp import QP

OUT_OF_TIME = "the time limit of {:g} s ran out before its projection was found; give a larger one"

# What Clarabel is asked for: exact steps need the face alone, which seldom takes more.
_ROUGH, _GOOD = 1e-5, 1e-10


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
    solver = ClarabelSolver(exact.units.block)
    with Clock("projecting, by Clarabel", y.shape[0] * y.shape[1]) as clock:
        for done, (n, c) in enumerate(np.ndindex(*y.shape[:2])):
            left, start = _left(n, report), time.monotonic()
            if not left > 0:
                continue
            problem = ProjectionProblem(y[n, c], *(v[n % len(v), c] for v in sides))
            answer = _answer(solver, problem, left)
            if report.limit is not None:
                spent = report.limit.spent.get(n, 0.0) + time.monotonic() - start
                report.limit.spent[n] = spent
            x[n, c], quality[n, c] = answer.x, answer.residual
            if not answer.residual <= ACCURACY and not _left(n, report) > 0:
                x[n] = np.nan
            clock.tick(done + 1)
    return x, quality


def _answer(solver: ClarabelSolver, problem: ProjectionProblem, seconds: float) -> Answer:
    """Return an exact answer, or the best one: from a rough solve, and a good one if need be."""
    stop, found, end = threading.Event(), [], time.monotonic() + seconds

    def solve() -> None:
        for accuracy in (_ROUGH, _GOOD):
            near = solver.solve(problem, accuracy, max(end - time.monotonic(), 0.0), stop)
            found.append(polished(solver.block, problem, near, stop))
            if found[-1].residual <= ACCURACY or stop.is_set() or time.monotonic() >= end:
                break

    run_aside(solve, stop)
    return min(found, key=lambda answer: answer.residual)


def _left(number: int, report: Report) -> float:
    """Return the seconds that an instance still has; one that has none fails."""
    if report.limit is None:
        return np.inf
    left = report.limit.seconds - report.limit.spent.get(number, 0.0)
    if not left > 0:
        reason = OUT_OF_TIME.format(report.limit.seconds)
        report.fail(number, reason, SolverFailed, solver=ClarabelSolver.name)
    return left
