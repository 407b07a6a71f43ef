"""The peers, each given the problem in the form that suits it; nothing of ours is imported.

`form=whole` is the polytope as declared, one QP per sentence; `form=blocks` is what a user does
who knows that it separates: one small QP per modifier or arc, all with the same matrices.
"""

# Peers live in environments of their own.
# pyright: reportMissingImports=false

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from .subject import Subject

ACCURACY = 1e-6  # what OSQP is asked to reach against the reference


@dataclass
class QP:
    """Points `y` (N, n); rows and limits on `n` variables and `aux` further ones."""

    y: np.ndarray
    rows: sp.csr_matrix
    low: np.ndarray
    high: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    shape: tuple[int, ...]

    @property
    def aux(self) -> int:
        """Variables without a quadratic term."""
        return self.rows.shape[1] - self.y.shape[1]

    def answer(self, z: Any) -> dict[str, np.ndarray]:
        """In the layout of the input."""
        return {"z": np.asarray(z, dtype=np.float64)[:, : self.y.shape[1]].reshape(self.shape)}


def problem_of(inputs: dict[str, np.ndarray], form: str, instances: int | None = None) -> QP:
    """The first `instances` instances of a case, whole or cut into blocks."""
    y, lower, upper = inputs["y"][:instances], inputs["lower"], inputs["upper"]
    data = (inputs["data"], inputs["indices"], inputs["indptr"])
    rows = sp.csr_matrix(data, shape=(len(inputs["low"]), len(lower)))
    if form == "whole":
        return QP(y, rows, inputs["low"], inputs["high"], lower, upper, y.shape)
    size = int(inputs["block"])
    points = y.reshape(-1, size).copy()
    # A variable fixed to zero: far enough below the others that a simplex puts it to zero, so
    # that every block has the same bounds.
    fixed = np.tile((upper == lower).reshape(-1, size), (len(y), 1))
    points[fixed] = (points.min(-1, keepdims=True) - 2).repeat(size, -1)[fixed]
    ends = inputs["low"][:1], inputs["high"][:1]
    return QP(points, rows[:1, :size], *ends, np.zeros(size), np.ones(size), y.shape)


def osqp(case: str, inputs: Any, threads: int, form: str, instances: str = "0") -> Subject:
    """One setup; `update(q)` and a warm-started solve per instance, in a Python loop.

    The tolerance is the loosest power of ten that reaches ACCURACY, and rho, with which OSQP is
    slow if it does not fit, the faster of its default and of 1.
    """
    qp = problem_of(inputs, form, int(instances) or None)
    right = np.load(f".cache/benchmarks/{case}_reference.npy")[: qp.shape[0]].reshape(qp.y.shape)
    chosen = []
    for rho in (0.1, 1.0):
        for eps in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10):
            run = osqp_loop(qp, qp.y, rho, eps)
            if np.abs(run() - right).max() < ACCURACY:
                chosen.append((_seconds(run), rho, eps, run))
                break
    _, rho, eps, run = min(chosen, key=lambda c: c[0])
    note = f"eps {eps:.0e}, rho {rho:g}"
    return Subject(run, qp.answer, note, inputs["y"].shape[0] / qp.shape[0])


def osqp_loop(qp: QP, points: np.ndarray, rho: float, eps: float) -> Callable[[], np.ndarray]:
    """Set up once; what it returns solves for all points, each started from the one before."""
    import osqp as library

    size, n = qp.rows.shape[1], qp.y.shape[1]
    quadratic = sp.csc_matrix(sp.diags((np.arange(size) < n).astype(float)))
    matrix = sp.csc_matrix(sp.vstack([qp.rows, sp.identity(size)]))
    low, high = np.concatenate([qp.low, qp.lower]), np.concatenate([qp.high, qp.upper])
    solver, q, found = library.OSQP(), np.zeros(size), np.empty_like(points)
    options = {"eps_abs": eps, "eps_rel": eps, "rho": rho, "max_iter": 100_000}
    solver.setup(quadratic, q, matrix, low, high, verbose=False, warm_starting=True, **options)

    def run() -> np.ndarray:
        for i, point in enumerate(points):
            q[:n] = -point
            solver.update(q=q)
            found[i] = solver.solve(raise_error=False).x[:n]
        return found

    return run


def _seconds(run: Any) -> float:
    import time

    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def cvxpylayers(
    case: str, inputs: Any, threads: int, form: str, instances: str = "0", eps: str = ""
) -> Subject:
    """The layer as its documentation has it, with the solver and, without `eps`, its tolerance."""
    import cvxpy as cp
    import torch
    from cvxpylayers.torch import CvxpyLayer

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    qp = problem_of(inputs, form, int(instances) or None)
    x, y = cp.Variable(qp.rows.shape[1]), cp.Parameter(qp.y.shape[1])
    equal = qp.low == qp.high
    constraints = [x >= qp.lower, x <= qp.upper]
    if equal.any():
        constraints.append(qp.rows[equal] @ x == qp.high[equal])
    if not equal.all():
        constraints.append(qp.rows[~equal] @ x <= qp.high[~equal])
    n = qp.y.shape[1]
    goal = cp.Minimize(0.5 * cp.sum_squares(x[:n]) - y @ x[:n])
    layer = CvxpyLayer(cp.Problem(goal, constraints), parameters=[y], variables=[x])
    points = torch.from_numpy(qp.y)
    scale = inputs["y"].shape[0] / qp.shape[0]
    note = f"default solver, eps {eps}" if eps else "default solver and tolerance"
    options = {"eps": float(eps)} if eps else {}
    return Subject(lambda: layer(points, solver_args=options)[0], qp.answer, note, scale)


def entmax(case: str, inputs: Any, threads: int, dtype: str = "float64") -> Subject:
    """`sparsemax`: sort and cumulated sums, batched; label_sum reflected by hand beforehand."""
    import torch
    from entmax import sparsemax

    torch.set_num_threads(threads)
    points, back, note = _simplices(case, inputs)
    tensor = torch.from_numpy(points).to(getattr(torch, dtype))
    return Subject(lambda: sparsemax(tensor, dim=-1), lambda z: back(z.double().numpy()), note)


def jaxopt_simplex(case: str, inputs: Any, threads: int, dtype: str = "float64") -> Subject:
    """`projection_simplex` under `vmap` and `jit`; label_sum reflected by hand beforehand."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import jaxopt

    points, back, note = _simplices(case, inputs)
    project = jax.jit(jax.vmap(jaxopt.projection.projection_simplex))
    tensor = jnp.asarray(points.reshape(-1, points.shape[-1]), dtype=dtype)
    return Subject(lambda: project(tensor).block_until_ready(), back, note)


def _simplices(case: str, inputs: Any) -> tuple[np.ndarray, Any, str]:
    """Points on simplices, how to read the answer, and what was done by hand."""
    qp = problem_of(inputs, "blocks")
    reflect = case == "label_sum"
    points = qp.y.copy()
    if reflect:
        points[:, 0] = 1 - points[:, 0]

    def back(z: Any) -> dict[str, np.ndarray]:
        z = np.array(z, dtype=np.float64).reshape(qp.y.shape)
        if reflect:
            z[:, 0] = 1 - z[:, 0]
        return qp.answer(z)

    return points, back, "reflected by hand, not timed" if reflect else "self-loops masked by hand"


def jaxopt_osqp(
    case: str, inputs: Any, threads: int, form: str, instances: str = "0", eps: str = "1e-8"
) -> Subject:
    """`BoxOSQP` under `vmap` and `jit`."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import jaxopt

    qp = problem_of(inputs, form, int(instances) or None)
    size, n = qp.rows.shape[1], qp.y.shape[1]
    solver = jaxopt.BoxOSQP(tol=float(eps), maxiter=10_000)
    Q = jnp.diag((jnp.arange(size) < n).astype("float64"))
    A = jnp.concatenate([jnp.asarray(qp.rows.toarray()), jnp.eye(size)])
    ends = tuple(
        jnp.concatenate([jnp.asarray(a), jnp.asarray(b)])
        for a, b in ((qp.low, qp.lower), (qp.high, qp.upper))
    )

    def solve(q: Any) -> Any:
        return solver.run(params_obj=(Q, q), params_eq=A, params_ineq=ends).params.primal[0]

    solve_all = jax.jit(jax.vmap(solve))
    q = jnp.zeros((len(qp.y), size)).at[:, :n].set(-qp.y)
    scale = inputs["y"].shape[0] / qp.shape[0]
    return Subject(lambda: solve_all(q).block_until_ready(), qp.answer, f"tol {eps}", scale)


def qpth(
    case: str, inputs: Any, threads: int, form: str, instances: str = "0", device: str = "cpu"
) -> Subject:
    """Batched dense interior point, made for GPUs."""
    import torch
    from qpth.qp import QPFunction

    torch.set_num_threads(threads)
    qp = problem_of(inputs, form, int(instances) or None)
    size, n = qp.rows.shape[1], qp.y.shape[1]
    equal, rows = qp.low == qp.high, qp.rows.toarray()
    eye = np.eye(size)
    G, h = np.vstack([eye, -eye, rows[~equal]]), [qp.upper, -qp.lower, qp.high[~equal]]
    # It refuses a singular Q: a trace of curvature where there is none.
    Q = np.diag(np.where(np.arange(size) < n, 1.0, 1e-7))
    q = np.concatenate([-qp.y, np.zeros((len(qp.y), qp.aux))], 1)
    constants = (G, np.concatenate(h), rows[equal], qp.high[equal])
    G, h, A, b, Q, q = (torch.from_numpy(v).to(device) for v in (*constants, Q, q))
    if not equal.any():
        A = b = torch.empty(0, dtype=torch.float64, device=device)
    note = "dense, batched" + ("; curvature 1e-7 on auxiliary variables" if qp.aux else "")
    solve = QPFunction(verbose=-1, check_Q_spd=False)
    scale = inputs["y"].shape[0] / qp.shape[0]
    # To the CPU: a device is waited for.
    return Subject(lambda: solve(Q, q, G, h, A, b).cpu(), qp.answer, note, scale)
