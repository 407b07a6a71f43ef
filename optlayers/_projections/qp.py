"""Any block, as an exact QP: OSQP, else Clarabel, accepted by residual and not by status."""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._errors import InfeasibleError, InputError
from .._kernels.threads import run
from .._kernels.untraced import eager
from .._plan.blocks import Block
from .._plan.maps import ACCURACY, Limits, Report, SolverMap
from .._solvers.block import Answer, ProjectionProblem, least_violation, measured, refined
from .._solvers.cvxpy import CvxpySolver
from .._solvers.least_distance import LeastDistance
from .._solvers.osqp import OSQPSolver
from .derivative import Projection, tangent
from .units import units_of

GOOD = ACCURACY  # residual at which the first answer is taken
# Violation of the best of all points from which there is none; the LP is solved to 1e-10.
_EMPTY = 1e-8
_COST = 200_000  # of one instance, for `run`: at least as many threads as instances
_SMALL = 200_000  # entries of a least-distance program that is still worth a try
_DENSE = 2000  # variables up to which dense linear algebra is used


class _Turns:
    """One at a time; renewed in a forked child, to which the thread that held it is lost."""

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Turns.renew)


class QP(SolverMap, Projection):
    r"""Projection onto $\{z : \underline c \le Rx \le \bar c,\ l \le x \le u,\ x = [z; \psi]\}$.

    One quadratic program per instance and component, on the host, in float64, in as many threads
    as torch may use: OSQP, set up once per thread and reused; where its answer misses a KKT
    residual of 1e-9, that answer solved again on its active set; then Clarabel through cvxpy,
    likewise; then, for small blocks without auxiliary variables, nonnegative least squares. The
    best of them must reach 1e-9, relative to 1 + max(|y|, |z|), or what the call tolerates;
    otherwise the instance fails, with the residuals in the message. Auxiliary variables have no
    quadratic term, which makes this the projection in z.
    """

    def __init__(self, block: Block):
        super().__init__(block)
        self.units = units_of(block)
        matrix = self.units.block.matrix
        self._R = matrix.toarray() if block.size <= _DENSE else matrix
        self._kinds: list[type] = [OSQPSolver, CvxpySolver]
        if not block.is_aux.any() and block.size * (2 * block.size + block.num_rows) <= _SMALL:
            self._kinds.append(LeastDistance)

    def remark(self) -> str:
        """Which solvers, in which order."""
        return "OSQP, then Clarabel, an instance at a time per thread"

    @contextmanager
    def _solver(self, kind: type) -> Iterator[Any]:
        """A solver nobody else uses, made if there is none: one per thread that asks."""
        with self._lock:
            free = self._solvers.setdefault(kind.name, [])
            solver = free.pop() if free else None
        solver = kind(self.units.block) if solver is None else solver
        yield solver
        with self._lock:  # not reached after an error: a solver in the middle of something is lost
            self._solvers.setdefault(kind.name, []).append(solver)

    @eager
    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Project instances side by side; points that satisfy the rows already need no solver."""
        y = x.detach().double().cpu().numpy()
        wide = self.units.limits(Limits(*(v.double() for v in limits)))
        sides = [v.cpu().numpy() for v in wide]
        rows_low, rows_high, low, high = sides
        z = np.clip(y, low, high)
        inside = np.zeros(z.shape[:2], dtype=bool)
        if not self.block.is_aux.any():
            activity = (z.reshape(-1, self.block.size) @ self._R.T).reshape(*z.shape[:2], -1)
            inside = ((activity <= rows_high) & (activity >= rows_low)).all(-1)
        self.project_some(np.argwhere(~inside), y, sides, z, report)
        return torch.from_numpy(self.units.declared(z)).to(x.device, x.dtype)

    def project_some(
        self, chosen: np.ndarray, y, sides, z: np.ndarray, report: Report, before: Any = None
    ) -> None:
        """Project the components `chosen`, pairs of instance and component, into `z`.

        Everything is in the units of `units`.

        Args:
            chosen: `(K, 2)`.
            y: Points `(N, count, size)`.
            sides: Limits, each `(N or 1, count, ...)`.
            z: Where the answers go.
            report: Told which instances have none.
            before: `(N, count)`, the residuals of what is in `z` already, to be kept if better.
        """

        def work(start: int, stop: int) -> None:
            for n, c in chosen[start:stop]:
                parts = (v[n % len(v), c] for v in sides)
                found = None
                if before is not None and before[n, c] < np.inf:
                    nothing = np.zeros(self.block.num_rows)
                    found = Answer(z[n, c].copy(), nothing, float(before[n, c]), "not exact")
                z[n, c] = self._project(ProjectionProblem(y[n, c], *parts), int(n), report, found)

        run(work, len(chosen), len(chosen) * _COST)

    def _turn(self, kind: type) -> AbstractContextManager[Any]:
        """OSQP runs in several threads at once; cvxpy keeps state of its own, one at a time."""
        return nullcontext() if kind is OSQPSolver else _Turns.lock

    def _project(
        self, problem: ProjectionProblem, instance: int, report: Report, before: Answer | None
    ) -> np.ndarray:
        nothing = np.full(self.block.size, np.nan)
        if not np.isfinite(problem.y).all():
            report.fail(
                instance, "the point to project has entries that are not finite", InputError
            )
            return nothing
        if (problem.row_lower > problem.row_upper).any() or (problem.lower > problem.upper).any():
            report.fail(instance, "no point satisfies all constraints", InfeasibleError)
            return nothing
        answers = [] if before is None else [("newton", before)]
        for kind in self._kinds:
            with self._solver(kind) as solver, self._turn(kind):
                answer = solver.solve(problem)
            answer = measured(self.units.block, problem, answer)
            if GOOD < answer.residual < np.inf and self.block.size <= _DENSE:
                answer = refined(self.units.block, problem, answer)
            answers.append((kind.name, answer))
            if answer.residual <= GOOD:
                report.answered(instance, kind.name, answer.residual)
                return answer.x
        name, best = min(answers, key=lambda a: a[1].residual)
        empty = least_violation(self.units.block, problem) > _EMPTY
        if best.residual <= report.tolerance and not empty:
            report.answered(instance, name, best.residual)
            return best.x
        if empty:
            report.fail(instance, "no point satisfies all constraints", InfeasibleError)
            return nothing
        tried = ", ".join(f"{n}: {a.status}, KKT residual {a.residual:.1e}" for n, a in answers)
        wanted = max(report.tolerance, GOOD)
        report.fail(
            instance,
            f"no solver reached a KKT residual of {wanted:g} ({tried})",
            residual=best.residual if best.residual < np.inf else None,
            solver=name,
        )
        return nothing

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Project the gradient onto the directions in which the active face is free."""
        return tangent(self.block, z, limits, grad)
