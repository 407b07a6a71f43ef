"""Small dense solvers, called for one instance after the other from Python, as a user would."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .peers import QP, problem_of
from .subject import Subject

FREE = 1e30  # what DAQP and PIQP take for infinity
PROXIMAL = 1e-6  # curvature that DAQP gives to auxiliary variables, with a centre that follows


def _subject(inputs: Any, qp: QP, run: Callable[[], np.ndarray], note: str = "") -> Subject:
    return Subject(run, qp.answer, note, len(inputs["y"]) / len(qp.y))


def _linear(qp: QP) -> np.ndarray:
    return np.concatenate([-qp.y, np.zeros((len(qp.y), qp.aux))], 1)


def daqp(case: str, inputs: Any, threads: int, instances: str = "0") -> Subject:
    """DAQP: bounds apart from rows, everything set up anew for each instance."""
    import daqp as module

    qp = problem_of(inputs, "whole", int(instances) or None)
    size = qp.rows.shape[1]
    H, A, g = np.diag((np.arange(size) < qp.y.shape[1]) * 1.0), qp.rows.toarray(), _linear(qp)
    low, high = (
        np.clip(np.concatenate(v), -FREE, FREE) for v in ((qp.lower, qp.low), (qp.upper, qp.high))
    )
    sense = np.where(low == high, 5, 0).astype(np.int32)  # an equality
    more = {"eps_prox": PROXIMAL} if qp.aux else {}
    found = np.empty_like(g)

    def run() -> np.ndarray:
        for i in range(len(g)):
            found[i] = module.solve(H, g[i], A, high, low, sense, **more)[0]
        return found

    return _subject(inputs, qp, run)


def quadprog(case: str, inputs: Any, threads: int, instances: str = "0") -> Subject:
    """quadprog: Goldfarb and Idnani's own code; bounds are rows, H must be definite."""
    import quadprog as module

    qp = problem_of(inputs, "whole", int(instances) or None)
    if qp.aux:
        raise ValueError("quadprog wants a definite matrix, without auxiliary variables")
    A, eye, equal = qp.rows.toarray(), np.eye(qp.rows.shape[1]), qp.low == qp.high
    sides = [
        (A[equal], qp.high[equal]),
        (A[~equal], qp.low[~equal]),
        (-A[~equal], -qp.high[~equal]),
        (eye, qp.lower),
        (-eye, -qp.upper),
    ]
    C, b = np.vstack([rows for rows, _ in sides]), np.concatenate([v for _, v in sides])
    said = np.isfinite(b)
    C, b, found = np.ascontiguousarray(C[said].T), b[said], np.empty_like(qp.y)

    def run() -> np.ndarray:
        for i in range(len(qp.y)):
            found[i] = module.solve_qp(eye, qp.y[i], C, b, int(equal.sum()))[0]
        return found

    return _subject(inputs, qp, run)


def piqp(case: str, inputs: Any, threads: int, eps: str, instances: str = "0") -> Subject:
    """PIQP: one dense solver, its linear term updated before each solve."""
    import piqp as module

    qp = problem_of(inputs, "whole", int(instances) or None)
    size, g, equal = qp.rows.shape[1], _linear(qp), qp.low == qp.high
    H, A = np.diag((np.arange(size) < qp.y.shape[1]) * 1.0), qp.rows.toarray()
    low, high, lower, upper = (
        np.clip(v, -FREE, FREE) for v in (qp.low[~equal], qp.high[~equal], qp.lower, qp.upper)
    )
    solver, found = module.DenseSolver(), np.empty_like(g)
    solver.settings.eps_abs = solver.settings.eps_rel = float(eps)
    solver.setup(H, g[0], A[equal], qp.high[equal], A[~equal], low, high, lower, upper)

    def run() -> np.ndarray:
        for i in range(len(g)):
            solver.update(c=g[i])
            solver.solve()
            found[i] = solver.result.x
        return found

    return _subject(inputs, qp, run, f"eps {eps}")
