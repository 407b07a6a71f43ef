"""Peers that `peers.py` does not have, or not at a given tolerance; nothing of ours is imported."""

# Peers live in environments of their own.
# pyright: reportMissingImports=false

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse as sp

from .peers import QP, osqp_loop, problem_of
from .subject import Subject

NO_LIMIT = 1e20  # what proxsuite takes for infinity


def osqp(case: str, inputs: Any, threads: int, rho: str, eps: str, instances: str = "0") -> Subject:
    """A warm loop per thread, each over its part of the points; OSQP releases the lock."""
    qp = problem_of(inputs, "whole", int(instances) or None)
    parts = [slice(k, None, threads) for k in range(threads)]
    loops = [osqp_loop(qp, qp.y[part], float(rho), float(eps)) for part in parts]
    note, scale = f"eps {eps}, rho {rho}", len(inputs["y"]) / len(qp.y)
    if threads == 1:
        return Subject(loops[0], qp.answer, note, scale)
    pool, found = ThreadPoolExecutor(threads), np.empty_like(qp.y)

    def run() -> np.ndarray:
        for part, z in zip(parts, pool.map(lambda loop: loop(), loops), strict=True):
            found[part] = z
        return found

    return Subject(run, qp.answer, note, scale)


def proxsuite(
    case: str,
    inputs: Any,
    threads: int,
    backend: str,
    eps: str,
    guess: str = "cold",
    instances: str = "0",
) -> Subject:
    """One object per problem, its linear term updated before each solve.

    `backend`: "box" is dense with bounds apart from rows, "sparse" has bounds as rows; both solve
    in a loop, from the answer before if `guess` is "warm". "dense-batch" and "sparse-batch" are
    `BatchQP` and `solve_in_parallel`; a batch cannot have bounds apart from rows.
    """
    from proxsuite import proxqp

    qp = problem_of(inputs, "whole", int(instances) or None)
    g = np.concatenate([-qp.y, np.zeros((len(qp.y), qp.aux))], 1)
    module = proxqp.sparse if backend.startswith("sparse") else proxqp.dense
    constants = _constants(qp, backend)
    sizes = constants[0].shape[0], constants[1].shape[0], constants[3].shape[0]

    def set_up(solver: Any) -> Any:
        solver.init(constants[0], g[0], *constants[1:])
        solver.settings.eps_abs, solver.settings.eps_rel = float(eps), 0.0
        return solver

    note = f"eps {eps}"
    if backend.endswith("batch"):
        solvers = module.BatchQP(len(g))
        run = _in_parallel(module, solvers, set_up, sizes, g, threads)
    else:
        flags = (True,) if backend == "box" else ()
        solver = set_up(module.QP(*sizes, *flags))
        if guess == "warm":
            solver.solve()  # a warm start before the first solve ends the process
            solver.settings.initial_guess = proxqp.WARM_START_WITH_PREVIOUS_RESULT
        note += f", {guess} start"
        run = _loop(solver, g)
    return Subject(run, qp.answer, note, len(inputs["y"]) / len(qp.y))


def _constants(qp: QP, backend: str) -> tuple[Any, ...]:
    """H, then A, b, C, l, u and, for "box", the bounds."""
    size, equal = qp.rows.shape[1], qp.low == qp.high
    H = sp.diags((np.arange(size) < qp.y.shape[1]).astype(float))
    A, C = qp.rows[equal], qp.rows[~equal]
    low, high, lower, upper = (
        np.clip(v, -NO_LIMIT, NO_LIMIT)
        for v in (qp.low[~equal], qp.high[~equal], qp.lower, qp.upper)
    )
    bounds = (lower, upper)
    if backend != "box":
        C, bounds = sp.vstack([C, sp.identity(size)]), ()
        low, high = np.concatenate([low, lower]), np.concatenate([high, upper])
    if backend.startswith("sparse"):
        H, A, C = (sp.csc_matrix(v) for v in (H, A, C))
    else:
        H, A, C = (v.toarray() for v in (H, A, C))
    return (H, A, qp.high[equal], C, low, high, *bounds)


def _loop(solver: Any, g: np.ndarray) -> Callable[[], np.ndarray]:
    found = np.empty_like(g)

    def run() -> np.ndarray:
        for i, linear in enumerate(g):
            solver.update(g=linear)
            solver.solve()
            found[i] = solver.results.x
        return found

    return run


def _in_parallel(
    module: Any, solvers: Any, set_up: Callable, sizes: tuple, g: np.ndarray, threads: int
) -> Callable[[], np.ndarray]:
    own = [set_up(solvers.init_qp_in_place(*sizes)) for _ in g]

    def run() -> np.ndarray:
        for solver, linear in zip(own, g, strict=True):
            solver.update(g=linear)
        module.solve_in_parallel(solvers, threads)
        return np.array([solver.results.x for solver in own])

    return run
