"""Any block, as an exact QP by one of several solvers, accepted by residual and not by status."""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._errors import InfeasibleError, InputError
from .._kernels.threads import run
from .._plan.blocks import Block
from .._plan.maps import ACCURACY, Limits, Report, SolverMap
from .._plan.operators import outside_graphs, with_operators
from .._polytope.consistency import CONSISTENT, nearest_limits, within
from .._solvers.block import Answer, ProjectionProblem, measured, refined
from .._solvers.cvxpy import CvxpySolver
from .._solvers.extended import ExtendedActiveSet
from .._solvers.osqp import OSQPSolver
from .derivative import ByFace
from .units import units_of

GOOD = ACCURACY  # residual at which the first answer is taken
_COST = 200_000  # of one instance, for `run`: at least as many threads as instances
_SMALL = 100_000  # entries of a block for which extended precision is worth its time
_DENSE = 2000  # variables up to which dense linear algebra is used


class _Turns:
    """One at a time; renewed in a forked child, to which the thread that held it is lost."""

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Turns.renew)


@with_operators
class QP(SolverMap, ByFace):
    r"""Projection onto $\{z : \underline c \le Rx \le \bar c,\ l \le x \le u,\ x = [z; \psi]\}$.

    One quadratic program per instance and component, on the host, in float64, in as many threads
    as torch may use: OSQP, set up once per thread and reused; where its answer misses a KKT
    residual of 1e-9, that answer solved again on its active set; then Clarabel through cvxpy,
    likewise; then, for small blocks, an active set method in extended precision. The best of
    them must reach 1e-9, relative to 1 + max(|y|, |z|), or what the call tolerates; otherwise the
    instance fails, with the residuals in the message. Auxiliary variables have no quadratic term,
    which makes this the projection in z.
    """

    def __init__(self, block: Block):
        super().__init__(block)
        self.units = units_of(block)
        matrix = self.units.block.matrix
        self._R = matrix.toarray() if block.size <= _DENSE else matrix
        self._kinds: list[type] = [OSQPSolver, CvxpySolver]
        if block.size * (block.size + block.num_rows) <= _SMALL:
            self._kinds.append(ExtendedActiveSet)

    def remark(self) -> str:
        """Return which solvers, in which order."""
        return "OSQP, then Clarabel, an instance at a time per thread"

    @contextmanager
    def solver(self, kind: type) -> Iterator[Any]:
        """Lend a solver nobody else uses, in its turn."""
        with self._solver(kind) as solver, self._turn(kind):
            yield solver

    @contextmanager
    def _solver(self, kind: type) -> Iterator[Any]:
        """Return a solver nobody else uses, made if there is none: one per thread that asks."""
        with self._lock:
            free = self._solvers.setdefault(kind.name, [])
            solver = free.pop() if free else None
        solver = kind(self.units.block) if solver is None else solver
        yield solver
        with self._lock:  # not reached after an error: a solver in the middle of something is lost
            self._solvers.setdefault(kind.name, []).append(solver)

    @outside_graphs
    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Project instances side by side; points that satisfy the rows already need no solver."""
        y = self.units.worth(x.detach().double()).cpu().numpy()
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
        self,
        chosen: np.ndarray,
        y,
        sides,
        z: np.ndarray,
        report: Report,
        before: Any = None,
    ) -> None:
        """Project the components `chosen`, pairs of instance and component, into `z`.

        Everything is in the units of `units`.

        Args:
            chosen: `(K, 2)`.
            y: Points `(N, count, size)`.
            sides: Limits, each `(N or 1, count, ...)`.
            z: Where the answers go.
            report: Told which instances have none.
            before: `(N, count)`, the residuals of what Newton put into `z`, to be kept if better;
                the limits are then consistent already.
        """

        def work(start: int, stop: int) -> None:
            for n, c in chosen[start:stop]:
                parts = (v[n % len(v), c] for v in sides)
                found = None
                if before is not None and before[n, c] < np.inf:
                    nothing = np.zeros(self.block.num_rows)
                    found = Answer(z[n, c].copy(), nothing, float(before[n, c]), "not exact")
                problem = ProjectionProblem(y[n, c], *parts)
                z[n, c] = self._project(problem, int(n), report, found, before is not None)

        run(work, len(chosen), len(chosen) * _COST)

    def _turn(self, kind: type) -> AbstractContextManager[Any]:
        """Return what to hold: cvxpy keeps state of its own, and is asked by one at a time."""
        return _Turns.lock if kind is CvxpySolver else nullcontext()

    def _project(
        self,
        problem: ProjectionProblem,
        instance: int,
        report: Report,
        before: Answer | None,
        looked: bool,
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
        kinds = self._kinds
        if not looked:  # else Newton has tried, and looked whether it is the set that is in trouble
            if (x := self._first_good(kinds[:1], problem, answers, instance, report)) is not None:
                return x
            given = problem
            problem, gap = self.consistent(given)
            if not within(gap):
                report.fail(instance, "no point satisfies all constraints", InfeasibleError)
                return nothing
            kinds, answers = (kinds[1:], answers) if problem is given else (kinds, [])
        if (x := self._first_good(kinds, problem, answers, instance, report)) is not None:
            return x
        name, best = min(answers, key=lambda a: a[1].residual)
        if best.residual <= report.tolerance:
            report.answered(instance, name, best.residual)
            return best.x
        tried = ", ".join(f"{n}: {a.status}, KKT residual {a.residual:.1e}" for n, a in answers)
        wanted = max(report.tolerance, GOOD)
        report.fail(
            instance,
            f"no solver reached a KKT residual of {wanted:g} ({tried})",
            residual=best.residual if best.residual < np.inf else None,
            solver=name,
        )
        return nothing

    def consistent(self, problem: ProjectionProblem) -> tuple[ProjectionProblem, float]:
        """Return the problem with the nearest limits that have a point, and their gap; by an LP.

        What decides between an empty set and a solver in trouble, both of which call themselves
        infeasible. The problem is returned as it is where it has a point, or where the gap is too
        wide or unknown (NaN). It is in the units of `units`, the gap in those of the declaration.
        """
        rows, columns = self.units.rows, self.units.columns
        rows, columns = (1.0 if v is None else v for v in (rows, columns))
        declared = (problem.row_lower * rows, problem.row_upper * rows)
        bounds = (problem.lower * columns, problem.upper * columns)
        found = nearest_limits(self.block.matrix, *declared, *bounds)
        if not 0 < found.gap <= CONSISTENT:
            return problem, found.gap
        low, high = found.row_lower / rows, found.row_upper / rows
        return replace(problem, row_lower=low, row_upper=high), found.gap

    def _first_good(
        self,
        kinds: list[type],
        problem: ProjectionProblem,
        answers: list[tuple[str, Answer]],
        instance: int,
        report: Report,
    ) -> np.ndarray | None:
        """Ask solvers in turn until one reaches `GOOD`; all answers are noted."""
        for kind in kinds:
            with self.solver(kind) as solver:
                answer = solver.solve(problem)
            answer = measured(self.units.block, problem, answer)
            if GOOD < answer.residual < np.inf and self.block.size <= _DENSE:
                answer = refined(self.units.block, problem, answer)
            answers.append((kind.name, answer))
            if answer.residual <= GOOD:
                report.answered(instance, kind.name, answer.residual)
                return answer.x
        return None
