"""Exact QPs by independent solvers, straight from the declaration, to compare projections with.

Written here once more: a reference must not share code with what it is compared with.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import InputError, SolverFailed
from .._polytope.joint import tail_of
from .._polytope.polytope import Polytope
from .._solvers import require
from .problem import CertifiedProblem, problem_of

_EPS = 1e-9  # accuracy asked of first-order solvers
# Tolerances of the interior-point solver, in turn: at the first it may stall far from the answer.
_EPS_INTERIOR = (1e-12, 1e-10, 1e-8)
_INFINITE = 1e20  # stands for an infinite limit that only some instances have


def exact_projection(polytope: Polytope, y: Tensor, solver: str = "cvxpy") -> Tensor:
    """Project by a solver of `validate`, in float64 on the CPU; NaN where it failed."""
    check_installed(solver)
    return solve(solver, polytope, y)[0]


def solve(solver: str, polytope: Polytope, y: Tensor) -> tuple[Tensor, float]:
    """Return projections `(*batch, n)`, NaN where a solver failed, and its milliseconds a point."""
    batch = torch.broadcast_shapes(y.shape[:-1], polytope.batch_shape)
    y = y.detach().cpu().double().expand(*batch, -1)
    if not polytope.rows_batch:
        points = y.reshape(-1, polytope.n).numpy()
        found, ms = REFERENCES[solver](problem_of(polytope, batch), points)
        return torch.from_numpy(found).reshape(*batch, polytope.n), ms
    out, times = torch.empty_like(y), []
    for index in np.ndindex(*tail_of(polytope, batch)):
        at = (..., *index, slice(None))
        out[at], ms = solve(solver, polytope.of_rows(index), y[at])
        times.append(ms)
    return out, float(np.mean(times))


def check_installed(name: str) -> None:
    """Refuse a solver that does not exist or is not installed."""
    if name not in REFERENCES:
        raise InputError(f"`against` takes {', '.join(REFERENCES)}. Got {name!r}.")
    require(name, "leave it out of `against`")


def _instances(problem: CertifiedProblem, y: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Return `b, b_eq, lower, upper, y` of every instance."""
    values = [np.broadcast_to(v, (len(y), v.shape[1])) for v in problem.values]
    return zip(*values, y, strict=True)


def _with_osqp(problem: CertifiedProblem, y: np.ndarray) -> tuple[np.ndarray, float]:
    import osqp

    n, width = y.shape[1], problem.A.shape[1]
    quadratic = sp.diags_array((np.arange(width) < n).astype(float), format="csc")
    rows = sp.vstack([problem.A, problem.A_eq, sp.eye_array(width)], format="csc")
    solver, found, start = osqp.OSQP(), np.full(y.shape, np.nan), time.perf_counter()
    for i, (b, b_eq, lower, upper, point) in enumerate(_instances(problem, y)):
        q = np.zeros(width)
        q[:n] = -point
        low = np.concatenate([np.full(len(b), -np.inf), b_eq, lower])
        high = np.concatenate([b, b_eq, upper])
        if i == 0:
            # A cold start each time; and no polishing, which prints however silent it should be.
            options = {"eps_abs": _EPS, "eps_rel": _EPS, "max_iter": 20_000, "verbose": False}
            options |= {"warm_starting": False, "polishing": False}
            solver.setup(sp.csc_matrix(quadratic), q, sp.csc_matrix(rows), low, high, **options)
            solver.solve(raise_error=False)
            start = time.perf_counter()
        solver.update(q=q, l=low, u=high)
        result = solver.solve(raise_error=False)
        if (
            "infeasible" not in result.info.status
        ):  # "inaccurate" may be fine: the certificate decides
            found[i] = result.x[:n]
    return found, 1e3 * (time.perf_counter() - start) / max(len(y), 1)


def _model(
    problem: CertifiedProblem,
) -> tuple[Any, list[Any], Any, Callable[..., list[np.ndarray]]]:
    """Write the QP in cvxpy; its parameters: y, and what varies in the batch; how to fill them."""
    import cvxpy as cp

    width = problem.A.shape[1]
    x, y = cp.Variable(width), cp.Parameter(width - problem.num_aux)
    parameters, varying, constraints = [y], [], []
    sides = ((problem.A, 1), (problem.A_eq, 0), (None, -1), (None, 1))
    for k, (values, (rows, sign)) in enumerate(zip(problem.values, sides, strict=True)):
        chosen = np.flatnonzero(np.isfinite(values).any(0))
        if not len(chosen):
            continue
        limit = values[0, chosen]
        if len(values) > 1:
            limit = cp.Parameter(len(chosen))
            parameters.append(limit)
            varying.append((k, chosen))
        left = x[chosen] if rows is None else rows[chosen] @ x  # not all cvxpy take no rows
        constraints.append(left == limit if sign == 0 else sign * left <= sign * limit)

    def fill(values: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        limits = [np.clip(values[k][chosen], -_INFINITE, _INFINITE) for k, chosen in varying]
        return [values[4], *limits]

    # Written out: with sum_squares(x - y), Clarabel ends ten times further from the answer.
    goal = cp.Minimize(0.5 * cp.sum_squares(x[: y.size]) - y @ x[: y.size])
    return cp.Problem(goal, constraints), parameters, x, fill


def _with_cvxpy(problem: CertifiedProblem, y: np.ndarray) -> tuple[np.ndarray, float]:
    model, parameters, x, fill = _model(problem)
    found, start = np.full(y.shape, np.nan), time.perf_counter()
    for i, values in enumerate(_instances(problem, y)):
        for parameter, value in zip(parameters, fill(values), strict=True):
            parameter.value = value
        if i == 0:
            _solve_accurately(model)  # compiles
            start = time.perf_counter()
        if _solve_accurately(model):
            found[i] = x.value[: y.shape[1]]
    return found, 1e3 * (time.perf_counter() - start) / max(len(y), 1)


def _solve_accurately(model: Any) -> bool:
    """Solve to the first tolerance that can be reached; whether there is a point."""
    import cvxpy as cp

    for eps in _EPS_INTERIOR:
        keys = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), eps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "may be inaccurate": then the next tolerance
            try:
                model.solve(solver=cp.CLARABEL, **keys)
            except cp.SolverError:
                continue
        if model.status == cp.OPTIMAL:
            return True
    return model.status == cp.OPTIMAL_INACCURATE  # the certificate decides what it is worth


def _with_cvxpylayers(problem: CertifiedProblem, y: np.ndarray) -> tuple[np.ndarray, float]:
    from cvxpylayers.torch import CvxpyLayer

    model, parameters, x, fill = _model(problem)
    layer = CvxpyLayer(model, parameters=parameters, variables=[x])
    columns = zip(*(fill(values) for values in _instances(problem, y)), strict=True)
    inputs = [torch.from_numpy(np.stack(column)) for column in columns]
    options = {"eps": _EPS, "max_iters": 100_000}  # its default tolerance is off by 1e-2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            layer(*(v[:1] for v in inputs), solver_args=options)
            start = time.perf_counter()
            (found,) = layer(*inputs, solver_args=options)
        except Exception as error:  # one instance that fails costs the whole batch there
            raise SolverFailed(f"cvxpylayers failed on the batch: {error}") from error
    return found[:, : y.shape[1]].numpy(), 1e3 * (time.perf_counter() - start) / max(len(y), 1)


# The names are those of the table of solvers; what is done with them is written here once more.
Reference = Callable[[CertifiedProblem, np.ndarray], tuple[np.ndarray, float]]
REFERENCES: dict[str, Reference] = {
    "osqp": _with_osqp,
    "cvxpy": _with_cvxpy,
    "cvxpylayers": _with_cvxpylayers,
}
