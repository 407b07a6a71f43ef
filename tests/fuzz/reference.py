"""The same projection by Clarabel, stated in cvxpy from the arrays; none of the library's code."""

import warnings

import numpy as np

from .draft import Draft

_TOLERANCES = (1e-12, 1e-10, 1e-8)  # in turn: at the first an interior-point method may stall


def by_clarabel(draft: Draft, y: np.ndarray) -> np.ndarray | None:
    """The point nearest to y, or None if Clarabel finds none.

    Everything is divided by max(1, |y|) and every row by its norm, so that the tolerances mean the
    same for all sets.
    """
    import cvxpy as cp

    own, scale = draft.width - draft.num_aux, max(1.0, float(np.abs(y).max(initial=0.0)))
    x = cp.Variable(draft.width)
    constraints = []
    for rows, values, equality in ((draft.A, draft.b, False), (draft.A_eq, draft.b_eq, True)):
        norms = np.linalg.norm(rows, axis=1)
        said = np.isfinite(values) & (norms > 0)
        if said.any():
            left = (rows[said] / norms[said, None]) @ x
            right = values[said] / norms[said] / scale
            constraints.append(left == right if equality else left <= right)
    for limit, sign in ((draft.lower, -1.0), (draft.upper, 1.0)):
        said = np.flatnonzero(np.isfinite(limit))
        if len(said):
            constraints.append(sign * x[said] <= sign * limit[said] / scale)
    goal = 0.5 * cp.sum_squares(x[:own]) - (y / scale) @ x[:own]
    model = cp.Problem(cp.Minimize(goal), constraints)
    for eps in _TOLERANCES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what an answer is worth, the certificate says
            keys = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), eps)
            try:
                model.solve(solver=cp.CLARABEL, **keys)
            except cp.SolverError:
                continue
        if model.status == cp.OPTIMAL:
            break
    return None if x.value is None else scale * np.asarray(x.value)[:own]
