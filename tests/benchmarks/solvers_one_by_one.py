"""Small solvers, called for one instance after the other from Python, as a user would; Moreau."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from .peers import QP, problem_of
from .subject import Subject

FREE = 1e30  # what DAQP and PIQP take for infinity
PROXIMAL = 1e-6  # curvature that DAQP gives to auxiliary variables, with a centre that follows


def _subject(inputs: Any, qp: QP, run: Callable[[], np.ndarray], note: str = "") -> Subject:
    return Subject(run, qp.answer, note, len(inputs["y"]) / len(qp.y))


def _linear(qp: QP) -> np.ndarray:
    return np.concatenate([-qp.y, np.zeros((len(qp.y), qp.aux))], 1)


def daqp(case: str, inputs: Any, threads: int, form: str, instances: str = "0") -> Subject:
    """DAQP: bounds apart from rows.

    `form`: "solve" sets everything up anew for each instance, as its documentation shows first;
    "model" keeps a model, of which `update` is told the linear term alone, from the active set of
    the instance before; "cold" does so from an empty one.
    """
    import daqp as module  # type: ignore[import-not-found]

    qp = problem_of(inputs, "whole", int(instances) or None)
    size = qp.rows.shape[1]
    H, A, g = np.diag((np.arange(size) < qp.y.shape[1]) * 1.0), qp.rows.toarray(), _linear(qp)
    low, high = (
        np.clip(np.concatenate(v), -FREE, FREE) for v in ((qp.lower, qp.low), (qp.upper, qp.high))
    )
    sense = np.where(low == high, 5, 0).astype(np.int32)  # an equality
    more = {"eps_prox": PROXIMAL} if qp.aux else {}
    found = np.empty_like(g)

    def anew() -> np.ndarray:
        for i in range(len(g)):
            found[i] = module.solve(H, g[i], A, high, low, sense, **more)[0]
        return found

    if form == "solve":
        return _subject(inputs, qp, anew, form)
    model = module.Model()
    model.settings = more
    model.setup(H, g[0], A, high, low, sense)
    state = {} if form == "model" else {"sense": sense}

    def kept() -> np.ndarray:
        for i in range(len(g)):
            model.update(f=g[i], **state)
            found[i] = model.solve()[0]
        return found

    return _subject(inputs, qp, kept, form)


def quadprog(case: str, inputs: Any, threads: int, instances: str = "0") -> Subject:
    """quadprog: Goldfarb and Idnani's own code; bounds are rows, H must be definite."""
    import quadprog as module  # type: ignore[import-not-found]

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
    import piqp as module  # type: ignore[import-not-found]

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


def clarabel(case: str, inputs: Any, threads: int, eps: str, instances: str = "0") -> Subject:
    """Clarabel without cvxpy: one solver, its linear term updated before each solve."""
    import clarabel as module  # type: ignore[import-not-found]

    qp = problem_of(inputs, "whole", int(instances) or None)
    size, g = qp.rows.shape[1], _linear(qp)
    H = sp.csc_matrix(sp.diags((np.arange(size) < qp.y.shape[1]) * 1.0))
    G, h, equalities = _cone_rows(qp)
    cones = [module.ZeroConeT(equalities), module.NonnegativeConeT(len(h) - equalities)]
    settings = module.DefaultSettings()
    settings.verbose = settings.presolve_enable = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = float(eps)
    solver = module.DefaultSolver(H, g[0], sp.csc_matrix(G), h, cones, settings)
    found = np.empty_like(g)

    def run() -> np.ndarray:
        for i in range(len(g)):
            solver.update(q=g[i])
            found[i] = solver.solve().x
        return found

    return _subject(inputs, qp, run, f"eps {eps}")


def moreau(case: str, inputs: Any, threads: int, instances: str = "0") -> Subject:
    """Moreau: a compiled solver, all instances of the batch at once; it chooses its method."""
    import moreau as module  # type: ignore[import-not-found]

    qp = problem_of(inputs, "whole", int(instances) or None)
    size, g = qp.rows.shape[1], _linear(qp)
    H = sp.csr_array(sp.diags_array((np.arange(size) < qp.y.shape[1]) * 1.0))
    G, h, equalities = _cone_rows(qp)
    cones = module.Cones(num_zero_cones=equalities, num_nonneg_cones=len(h) - equalities)
    settings = module.Settings(device="cpu", batch_size=len(g))
    solver = module.CompiledSolver(
        size, len(h), H.indptr, H.indices, G.indptr, G.indices, cones, settings
    )
    solver.setup(H.data, G.data)
    sides = np.tile(h, (len(g), 1))
    return _subject(inputs, qp, lambda: np.asarray(solver.solve(g, sides).x))


def _cone_rows(qp: QP) -> tuple[sp.csr_array, np.ndarray, int]:
    """Return G and h of Gx + s = h, and the number of its first rows whose s is zero."""
    equal, eye = qp.low == qp.high, sp.identity(qp.rows.shape[1], format="csr")
    sides = [
        (qp.rows[equal], qp.high[equal]),
        (qp.rows[~equal], qp.high[~equal]),
        (-qp.rows[~equal], -qp.low[~equal]),
        (eye, qp.upper),
        (-eye, -qp.lower),
    ]
    h = np.concatenate([v for _, v in sides])
    said = np.isfinite(h)
    G = sp.csr_array(sp.vstack([rows for rows, _ in sides], format="csr")[said])
    return G, h[said], int(equal.sum())
