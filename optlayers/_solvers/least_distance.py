"""Least distance programming by nonnegative least squares: slow, dense, and hard to mislead."""

import numpy as np

from .._plan.blocks import Block
from .block import Answer, ProjectionProblem, judged


class LeastDistance:
    r"""min |z - y| s.t. G z >= h, as min |[G^T; h^T] u - e| over u >= 0 (Lawson and Hanson, 1974).

    With r the residual of the second problem, z = y - r_{1..n} / r_{n+1}; the constraints have no
    point if and only if r = 0. The active set method behind it factorises active rows and never
    their products, so nearly parallel rows cost it half of the digits that they cost others.
    Auxiliary variables have no place in it.
    """

    name = "least distance"

    def __init__(self, block: Block):
        self.block = block
        self._R = block.matrix.toarray()

    def solve(self, problem: ProjectionProblem) -> Answer:
        """Solve one instance; the residual is recomputed."""
        from scipy.optimize import nnls

        m, n = self._R.shape
        sides = (problem.row_lower, -problem.row_upper, problem.lower, -problem.upper)
        said = [np.isfinite(side) for side in sides]
        eye = np.eye(n)
        rows = np.vstack([r[k] for r, k in zip((self._R, -self._R, eye, -eye), said, strict=True)])
        h = np.concatenate([side[k] for side, k in zip(sides, said, strict=True)])
        norms = np.linalg.norm(rows, axis=1)
        rows, h = rows / norms[:, None], (h - rows @ problem.y) / norms
        unit = max(float(np.abs(h).max(initial=0.0)), 1e-300)
        system, goal = np.vstack([rows.T, h[None] / unit]), np.append(np.zeros(n), 1.0)
        nothing = np.zeros(m)
        try:
            u, _ = nnls(system, goal, maxiter=50 * system.shape[1])
        except RuntimeError as error:
            return judged(self.block, problem, None, nothing, str(error))
        residual = system @ u - goal
        if not residual[-1] < -1e-15:
            return judged(self.block, problem, None, nothing, "infeasible")
        lam = unit * u / -residual[-1]
        first = self._answer(problem, problem.y + rows.T @ lam, lam / norms, said)
        # Once more on the active rows alone: the shortest way onto all of them.
        on = np.flatnonzero(u)
        way = np.linalg.lstsq(rows[on], h[on], rcond=1e-14)[0]
        lam = np.zeros(len(u))
        lam[on] = np.linalg.lstsq(rows[on].T, way, rcond=1e-14)[0]
        second = self._answer(problem, problem.y + way, np.maximum(lam, 0.0) / norms, said)
        return min(first, second, key=lambda answer: answer.residual)

    def _answer(
        self, problem: ProjectionProblem, z: np.ndarray, lam: np.ndarray, said: list
    ) -> Answer:
        """Judge a point with a multiplier per side that is said."""
        each, cut = np.zeros((2, len(self._R))), int(said[0].sum())
        each[0, said[0]], each[1, said[1]] = lam[:cut], lam[cut : cut + int(said[1].sum())]
        return judged(self.block, problem, z, each[1] - each[0], "solved")
