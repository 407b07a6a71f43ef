"""From an answer that is nearly right to one that is exact, where rows are many and sparse."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._plan.blocks import Block
from .._plan.failures import ACCURACY
from .block import Answer, ProjectionProblem, judged

_EXACT, _FEW = 1e-12, 3  # residual at which no step is taken; steps for what is an answer already
_STEPS = 12  # semismooth Newton steps; from an interior point, two or three are the rule
_DAMPING, _PASSES = 1e-10, 4  # dependent rows: the proximal point method removes the damping


def polished(
    block: Block,
    problem: ProjectionProblem,
    answer: Answer,
    stop: threading.Event | None = None,
) -> Answer:
    """Return the better of an answer and what semismooth Newton steps from its multipliers find.

    Each step takes the face that the multipliers suggest and solves on it, by a sparse factor with
    dense parts (SuperLU), which large factors want. Blocks without auxiliary variables.
    """
    if not np.isfinite(answer.multipliers).all() or not answer.residual < np.inf:
        return answer
    R, lam, best = sp.csr_array(block.matrix), answer.multipliers.copy(), answer
    low, high = problem.row_lower, problem.row_upper
    sizes = np.asarray(R.multiply(R).sum(1)).ravel()
    for step in range(1, _STEPS + 1):
        if stop is not None and stop.is_set():
            break
        moved = problem.y - R.T @ lam
        x = np.clip(moved, problem.lower, problem.upper)
        free = (moved > problem.lower) & (moved < problem.upper)
        act = R @ x
        at_high = lam + (act - high) / sizes > 0
        at_low = ~at_high & (lam + (act - low) / sizes < 0)
        on = np.flatnonzero(at_high | at_low | (low == high))
        goal = np.where(at_low, low, high)[on]
        rows = sp.csr_array(R[on])
        own = sp.csr_array(rows @ sp.diags_array(free.astype(float)))
        gram = sp.csc_matrix(own @ own.T)
        shift = _DAMPING * np.where(gram.diagonal() > 0, gram.diagonal(), sizes[on])
        factor = _factor(gram + sp.diags(shift, format="csc"))
        aim = own @ problem.y + (act[on] - own @ x) - goal
        nu = lam[on]
        for _ in range(_PASSES):
            nu = nu + factor.solve(aim - gram @ nu)
        if not np.isfinite(nu).all():
            break
        lam = np.zeros_like(lam)
        lam[on] = nu
        found = judged(block, problem, problem.y - R.T @ lam, lam, answer.status)
        best = min(best, found, key=lambda a: a.residual)
        if best.residual <= _EXACT or (best.residual <= ACCURACY and step >= _FEW):
            break
    return replace(best, status=answer.status)


def _factor(gram: Any) -> Any:
    """Return a factor of a symmetric matrix, in an order that leaves few entries."""
    from scipy.sparse.linalg import splu

    ways: Any = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0}
    return splu(gram, options={"SymmetricMode": True}, **ways)
