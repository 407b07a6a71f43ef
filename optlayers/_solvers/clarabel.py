"""Clarabel itself: an interior-point method for blocks whose factor is large."""

import threading
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from .._plan.blocks import Block
from . import require
from .block import Answer, ProjectionProblem, judged


class _Side(NamedTuple):
    """Limits of one kind."""

    chosen: np.ndarray  # numbers in the rows, followed by the bounds
    sign: float  # -1 of lower limits
    rows: Any
    limits: np.ndarray


class ClarabelSolver:
    """The projection by Clarabel, without a model in between (Goulart and Chen, 2024).

    It can be told to stop between two steps, and to stop early: what `polished` finishes needs no
    eight digits.
    """

    name = "clarabel"

    def __init__(self, block: Block):
        require(self.name)
        self.block = block

    def solve(
        self,
        problem: ProjectionProblem,
        accuracy: float,
        seconds: float = np.inf,
        stop: threading.Event | None = None,
    ) -> Answer:
        """Solve one instance; the residual is recomputed.

        Args:
            problem: The instance.
            accuracy: Residual aimed at, relative, as Clarabel defines it. Systems are refined from
                1e-8 down.
            seconds: When to give up.
            stop: Asked between two steps; nothing is found once it is set.
        """
        import clarabel

        m, size = self.block.num_rows, self.block.size
        sides = self._sides(problem)
        rows = sp.vstack([side.rows for side in sides], format="csc")
        count = len(sides[0].chosen)
        settings: Any = clarabel.DefaultSettings()
        settings.verbose, settings.presolve_enable = False, False
        settings.max_threads = torch.get_num_threads()
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = accuracy
        settings.iterative_refinement_enable = accuracy <= 1e-8
        settings.time_limit = seconds
        cones: list[Any] = [
            clarabel.ZeroConeT(count),
            clarabel.NonnegativeConeT(rows.shape[0] - count),
        ]
        solver: Any = clarabel.DefaultSolver(
            sp.csc_matrix(sp.diags_array(np.where(self.block.is_aux, 0.0, 1.0))),
            -problem.y,
            sp.csc_matrix(rows),
            np.concatenate([side.limits for side in sides]),
            cones,
            settings,
        )
        if stop is not None:
            solver.set_termination_callback(lambda _: stop.is_set())
        found = solver.solve()
        dual, multipliers = np.array(found.z), np.zeros(m + size)
        start = 0
        for side in sides:
            multipliers[side.chosen] += side.sign * dual[start : start + len(side.chosen)]
            start += len(side.chosen)
        status = str(found.status)
        x = None if "Infeasible" in status else np.array(found.x)
        return judged(self.block, problem, x, multipliers[:m], status)

    def _sides(self, problem: ProjectionProblem) -> list[_Side]:
        """Return equalities, upper and lower limits, each of rows and then of bounds."""
        both = sp.csr_array(sp.vstack([self.block.matrix, sp.eye_array(self.block.size)]))
        low = np.concatenate([problem.row_lower, problem.lower])
        high = np.concatenate([problem.row_upper, problem.upper])
        equal = low == high
        kinds = [
            (equal, 1.0, high),
            (~equal & np.isfinite(high), 1.0, high),
            (~equal & np.isfinite(low), -1.0, low),
        ]
        return [
            _Side(np.flatnonzero(on), sign, sign * both[np.flatnonzero(on)], sign * limits[on])
            for on, sign, limits in kinds
        ]
