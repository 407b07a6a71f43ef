"""Common parts of the exact QP solvers: the problem, an answer, and its residuals."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._plan.blocks import Block
from .._plan.failures import ACCURACY

_EXCHANGES = 5  # of active rows, from an approximate answer on


@dataclass(frozen=True)
class ProjectionProblem:
    """One instance: the point, and limits in the layout of one component, float64.

    At auxiliary variables y is what a unit of each is worth: 1/2 |z - y|^2 - y_psi . psi.
    """

    y: np.ndarray
    row_lower: np.ndarray
    row_upper: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Answer:
    """A point, row multipliers (positive: upper side active), and how good they are together."""

    x: np.ndarray
    multipliers: np.ndarray
    residual: float = np.inf
    status: str = ""


def gradient(block: Block, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the gradient of the objective, linear in auxiliary variables."""
    return np.where(block.is_aux, 0.0, x) - y


def judged(block: Block, problem: ProjectionProblem, x, multipliers, status: str) -> Answer:
    """Return an answer with its KKT residual, whatever the solver said of it.

    The residual is the largest of: row violation; distance of x from its own projected gradient
    step, which covers stationarity and the multipliers of the bounds; the smaller one of multiplier
    and slack of a row. What concerns rows is relative to 1 + |x|, which they constrain, gradients
    to 1 + max(|y|, |x|). With auxiliary variables, rows are measured by `missed_rows` as well.
    """
    if x is None or not (np.isfinite(x).all() and np.isfinite(multipliers).all()):
        return Answer(np.full(block.size, np.nan), np.zeros(block.num_rows), np.inf, status)
    x = np.clip(x, problem.lower, problem.upper)
    R = block.matrix
    activity = R @ x
    slope = gradient(block, x, problem.y) + R.T @ multipliers
    above, below = problem.row_upper - activity, activity - problem.row_lower
    if block.is_aux.any():
        slope = slope / _aux_units(block, np.minimum(above, below) <= 1e-8 * (1 + np.abs(x).max()))
    step = np.clip(x - slope, problem.lower, problem.upper)
    violation = np.maximum(np.maximum(-above, -below), 0)
    slack = np.where(multipliers > 0, above, np.where(multipliers < 0, below, 0.0))
    size = 1 + np.abs(x).max()
    scale = max(1 + np.abs(problem.y).max(), size)
    either = np.minimum(np.abs(multipliers) / scale, np.abs(slack) / size)
    parts = [violation / size, np.abs(x - step) / scale, either]
    if block.is_aux.any():
        parts.append(missed_rows(block, x[None], problem.row_lower[None], problem.row_upper[None]))
    residual = float(np.max([p.max(initial=0.0) for p in parts]))  # NaN, if any of them is
    return Answer(x, multipliers, residual if residual >= 0 else np.inf, status)


def _aux_units(block: Block, active: np.ndarray) -> np.ndarray:
    """Return what the gradient in a variable is divided by: ones, and norms of auxiliary columns.

    Over the rows that may have a multiplier, so that the gradient is measured as one: a small
    coefficient hides nothing, nor does a large one in a row that is not active.
    """
    R = block.matrix
    norms = np.sqrt(R.multiply(R).T @ active.astype(float))
    return np.where(block.is_aux & (norms > 0), norms, 1.0)


def missed_rows(block: Block, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the largest violation of a row in the units of what is not auxiliary, `(count,)`.

    A row is divided by the norm of its part on those variables, which says how far a point has to
    move to meet it, and compared with their size and with its own terms in auxiliary variables: one
    of 1e8 somewhere leaves the rows without it their digits. NaN if anything is.

    Args:
        block: With auxiliary variables, in any units.
        x: `(count, size)`.
        low: Lower sides of its rows, `(count or 1, num_rows)`.
        high: Upper sides.
    """
    R, norms = block.kept("rows in own units", lambda: _in_own_units(block))
    aux = block.is_aux
    own = np.abs(x[:, ~aux]).max(1, initial=0.0)[:, None]
    terms = np.abs(np.where(aux, x, 0.0)) @ abs(R).T
    act = x @ R.T
    miss = np.maximum(np.maximum(act - high / norms, low / norms - act), 0.0)
    return (miss / (1.0 + own + terms)).max(1, initial=0.0)


def _in_own_units(block: Block) -> tuple[sp.csr_array, np.ndarray]:
    """Return rows divided by the norms of their parts that are not auxiliary, and these norms."""
    squares = block.matrix.multiply(block.matrix)
    own, every = (squares @ v.astype(float) for v in (~block.is_aux, np.ones(block.size)))
    norms = np.sqrt(np.where(own > 0, own, np.where(every > 0, every, 1.0)))
    return sp.csr_array(sp.diags_array(1 / norms) @ block.matrix), norms


def measured(block: Block, problem: ProjectionProblem, answer: Answer) -> Answer:
    """Return the answer, its residual at least the way that is left to its own active rows.

    Where rows are nearly dependent, points far from all solutions miss every row by very little.
    The way is the shortest one onto the rows that are violated or have a multiplier, in x, relative
    to 1 + max(|y|, |x|).
    """
    from scipy.sparse.linalg import splu

    if not answer.residual < np.inf:
        return answer
    R, x, lam = block.matrix, answer.x, answer.multipliers
    act = R @ x
    high = (act > problem.row_upper) | ((lam > 0) & np.isfinite(problem.row_upper))
    low = ~high & ((act < problem.row_lower) | ((lam < 0) & np.isfinite(problem.row_lower)))
    free = (x > problem.lower) & (x < problem.upper)
    miss = np.where(high, problem.row_upper - act, problem.row_lower - act)
    small = np.abs(lam) <= np.abs(miss)  # inactive: what is left of its multiplier is small
    chosen = np.flatnonzero(
        (high | low) & ~(small & (act <= problem.row_upper) & (act >= problem.row_lower))
    )
    rows = sp.csr_array(R[chosen][:, np.flatnonzero(free)])
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
    kept = norms > 0
    if not kept.any():
        return answer
    rows = sp.csr_array(sp.diags_array(1 / norms[kept]) @ rows[kept])
    gram = sp.csc_matrix(rows @ rows.T) + 1e-14 * sp.eye(int(kept.sum()), format="csc")
    # In that order and without pivots a large factor stays as sparse as it can.
    ways: Any = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0}
    factor = splu(gram, options={"SymmetricMode": True}, **ways)
    way = rows.T @ factor.solve(miss[chosen][kept] / norms[kept])
    own = ~block.is_aux[free]
    size = 1 + max(np.abs(np.where(block.is_aux, 0.0, problem.y)).max(), np.abs(x).max())
    far = float(np.abs(way[own]).max(initial=0.0)) / size
    return replace(answer, residual=max(answer.residual, far) if far >= 0 else np.inf)


def refined(block: Block, problem: ProjectionProblem, answer: Answer) -> Answer:
    """Solve on the active set that an approximate answer suggests; the best of what is tried.

    An interior point tells by which is larger, a multiplier or its slack; the face found tells in
    the same way what to change in it, a few times. A first-order method tells by what is small: in
    long chains everything is.
    """
    best, R = answer, block.matrix.toarray()
    for _ in range(_EXCHANGES):
        above, below = problem.row_upper - R @ best.x, R @ best.x - problem.row_lower
        lam = best.multipliers
        found = _on_face(block, problem, best, R, (lam > above, -lam > below), 0.0)
        if not found.residual < best.residual:
            break
        best = found
        if best.residual <= ACCURACY:
            return best
    for near in (1e-6, 1e-4):
        lam, act = answer.multipliers, R @ answer.x
        at_high = (lam > near) | (act >= problem.row_upper - near)
        at_low = (lam < -near) | (act <= problem.row_lower + near)
        found = _on_face(block, problem, answer, R, (at_high, at_low), near)
        best = min(best, found, key=lambda a: a.residual)
        if best.residual <= ACCURACY:
            break
    return best


def _on_face(
    block: Block,
    problem: ProjectionProblem,
    answer: Answer,
    R: np.ndarray,
    sides: tuple[np.ndarray, np.ndarray],
    near: float,
) -> Answer:
    """Solve with the rows of `sides` (upper, lower) as equalities, and what is at bounds fixed.

    The optimality conditions are linear then; the shortest correction to the answer solves them to
    rounding, also where rows depend on one another.
    """
    x, lam, (at_high, at_low) = answer.x, answer.multipliers, sides
    active = np.flatnonzero(at_high | at_low)
    goal = np.where(at_high, problem.row_upper, problem.row_lower)[active]
    step = x - gradient(block, x, problem.y) - R.T @ lam
    fixed = (step <= problem.lower + near) | (step >= problem.upper - near)
    x = np.where(fixed, np.where(step <= problem.lower + near, problem.lower, problem.upper), x)
    free, rows = np.flatnonzero(~fixed), R[np.ix_(active, ~fixed)]
    curved = np.where(block.is_aux, 0.0, 1.0)[free]
    system = np.block([[np.diag(curved), rows.T], [rows, np.zeros((len(active), len(active)))]])
    own = -gradient(block, x, problem.y)[free]
    miss = np.concatenate([own - rows.T @ lam[active], goal - R[active] @ x])
    change = np.linalg.lstsq(system, miss, rcond=1e-12)[0]
    x[free] += change[: len(free)]
    multipliers = np.zeros_like(lam)
    multipliers[active] = lam[active] + change[len(free) :]
    tried = (multipliers, _signed(block, problem, x, at_high, at_low))
    found = [judged(block, problem, x, each, answer.status) for each in tried]
    return min(found, key=lambda a: a.residual)


def _signed(
    block: Block, problem: ProjectionProblem, x: np.ndarray, at_high: np.ndarray, at_low: np.ndarray
) -> np.ndarray:
    """Multipliers of a point, each of the sign of its side, by nonnegative least squares.

    Where more rows and bounds are active than fix the point, the shortest multipliers need not have
    their sign, and others have.
    """
    from scipy.optimize import nnls

    R, eye = block.matrix.toarray(), np.eye(block.size)
    upper, lower = x >= problem.upper, x <= problem.lower
    system = np.hstack([R[at_high].T, -R[at_low].T, eye[:, upper], -eye[:, lower]])
    multipliers = np.full(len(R), np.nan)
    if not system.size:
        return np.zeros(len(R))
    try:
        found, _ = nnls(system, -gradient(block, x, problem.y))
    except RuntimeError:  # too many steps
        return multipliers
    multipliers[:] = 0.0
    count = int(at_high.sum())
    multipliers[at_high] += found[:count]
    multipliers[at_low] -= found[count : count + int(at_low.sum())]
    return multipliers


def stacked_rows(block: Block) -> sp.csc_array:
    """Rows and bounds as one matrix [R; I], as first-order solvers want it."""
    return sp.csc_array(sp.vstack([block.matrix, sp.eye_array(block.size)], format="csc"))
