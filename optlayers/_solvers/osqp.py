"""OSQP: set up once per block, only linear term and limits change."""

import math

import numpy as np
import scipy.sparse as sp

from .._plan.blocks import Block
from . import require
from .block import Answer, ProjectionProblem, judged, stacked_rows

_ACCURATE = {
    "eps_abs": 1e-9,
    "eps_rel": 1e-9,
    "eps_prim_inf": 1e-9,
    "eps_dual_inf": 1e-9,
    "max_iter": 10_000,
    # The step size is chosen per instance, below. Left to adapt it, OSQP is no faster here, and an
    # answer would depend on what was solved before.
    "adaptive_rho": False,
    # A cold start each time, for the same reason. No polishing: its guess of the active set fails
    # at degenerate vertices, and it prints when nothing is active.
    "warm_starting": False,
    "polishing": False,
    "verbose": False,
}

_INTERRUPTED = "interrupted"  # what OSQP calls it


def step_size(y: np.ndarray) -> float:
    """Return OSQP's rho for a point: a power of 4 near 0.3 max |y|, as multipliers grow with y.

    The Hessian is the identity and the rows are scaled, so the size of y is all that matters; in
    powers, so that the matrix is seldom factorised anew.
    """
    largest = min(max(float(np.abs(y).max(initial=0.0)), 1.0), 1e6)
    return 4.0 ** round(math.log(0.3 * largest, 4))


class OSQPSolver:
    """min 1/2 |z - y|^2 over one component, nothing quadratic in psi (Stellato et al., 2020)."""

    name = "osqp"

    def __init__(self, block: Block):
        require(self.name)
        import osqp

        self.block = block
        size = block.size
        quadratic = sp.csc_matrix(sp.diags_array(np.where(block.is_aux, 0.0, 1.0)))
        rows = sp.csc_matrix(stacked_rows(block))
        limits = np.full(rows.shape[0], np.inf)
        self._solver, self._rho = osqp.OSQP(), 0.0
        self._solver.setup(P=quadratic, q=np.zeros(size), A=rows, l=-limits, u=limits, **_ACCURATE)

    def solve(self, problem: ProjectionProblem) -> Answer:
        """Solve one instance; the residual in the answer is recomputed, not OSQP's word."""
        block = self.block
        linear = -problem.y
        rho = step_size(linear)
        if rho != self._rho:
            self._solver.update_settings(rho=rho)
            self._rho = rho
        self._solver.update(
            q=linear,
            l=np.concatenate([problem.row_lower, problem.lower]),
            u=np.concatenate([problem.row_upper, problem.upper]),
        )
        result = self._solver.solve(raise_error=False)
        if result.info.status == _INTERRUPTED:  # OSQP takes Ctrl-C for itself
            raise KeyboardInterrupt
        multipliers = np.zeros(0) if result.y is None else result.y[: block.num_rows]
        # An answer that ran out of iterations may still be one that the next step can finish.
        found = "infeasible" not in result.info.status
        return judged(block, problem, result.x if found else None, multipliers, result.info.status)
