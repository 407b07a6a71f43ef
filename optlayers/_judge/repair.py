"""A point of the set near a point that violates it, found and checked without a solver's word."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from .problem import CertifiedProblem, Component

_ROUNDING = 64 * np.finfo(np.float64).eps  # a violation of so much, relative to its terms, is none
_ROUNDS = 24  # corrections tried before a linear program is asked
_INSIDE = 1e-9  # how far inside the rows the program aims, relative to the size of the point
# A set that is empty by less than this, relative to the size of the point, is read with the nearest
# right-hand sides that are not contradictory.
_CONSISTENT = 1e-6
_HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


class Repaired(NamedTuple):
    """Result of `feasible_near`."""

    x: np.ndarray  # (N, num_vars)
    found: np.ndarray  # (N,) whether x satisfies all rows to rounding, and the bounds exactly


def feasible_near(problem: CertifiedProblem, x: np.ndarray, used: np.ndarray) -> Repaired:
    """Find a point near each of x that satisfies rows to rounding and bounds exactly.

    Components with one row in closed form; others by shortest corrections of the rows that are
    violated, else by a linear program that moves the variables z least. It need not be the nearest.

    Args:
        problem: Rows and values.
        x: `(N, num_vars)`.
        used: `(N, m + m_eq)`, the rows with a multiplier: where it costs nothing, they end active.
    """
    x = np.clip(x, problem.lower, problem.upper)
    goal = np.array(np.broadcast_to(problem.right_hand_side(), used.shape))
    late = np.flatnonzero(~_fits(problem, x, goal).all(1))
    if not len(late):
        return Repaired(x, np.ones(len(x), dtype=bool))
    some, m = problem.part(late), problem.A.shape[0]
    low, high = (np.broadcast_to(v, (len(late), x.shape[1])) for v in (some.lower, some.upper))
    goals = goal[late]
    x[late] = _single_rows(some, x[late], goals)
    for part in problem.form.parts.others:
        equality = part.rows >= m
        for k, i in enumerate(late):
            own = _Own(
                part,
                equality,
                goals[k, part.rows],
                low[k, part.columns],
                high[k, part.columns],
                part.columns < x.shape[1] - problem.num_aux,
            )
            point = x[i, part.columns]
            restored = None if own.fits(point) else _restored(own, point, used[i, part.rows])
            if restored is not None:
                x[i, part.columns], goals[k, part.rows] = restored
    goal[late] = goals
    return Repaired(x, np.asarray(_fits(problem, x, goal).all(1)))


def _fits(problem: CertifiedProblem, x: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Tell, `(N, m + m_eq)`, whether a row holds up to the rounding of its own sum."""
    rows, m = problem.form.rows, problem.A.shape[0]
    size, terms = (abs(rows) @ np.abs(x).T).T, np.diff(rows.indptr)
    return _holds((rows @ x.T).T, size, terms, goal, np.arange(rows.shape[0]) >= m)


def _holds(act, size, terms, goal, equality) -> np.ndarray:
    allowed = _ROUNDING * np.maximum(1.0, terms / 32)  # a sum of n terms is off by n eps / 2
    allowed = allowed * (size + np.where(np.isfinite(goal), np.abs(goal), 0.0))
    return (act <= goal + allowed) & (~equality | (act >= goal - allowed))


# ---------------------------------------------------------------------- one row


def _single_rows(problem: CertifiedProblem, x: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Move points along their rows, `clip(x - t a)`, until every row that is alone holds.

    The activity falls with t, ever more slowly, as x starts inside the bounds: Newton's method
    comes from the left and ends after as many steps as variables stop. What stops short of a goal
    has reached its nearest value, which then replaces the goal, if it is near.
    """
    single, rows = problem.form.parts.single, problem.form.parts.entries
    if not len(single):
        return x
    column, start, counts = rows.indices, rows.indptr[:-1], np.diff(rows.indptr)
    aim, point = goal[:, single], x[:, column]
    bounds = [v[:, column] for v in (problem.lower, problem.upper)]
    act = np.add.reduceat(rows.data * point, start, axis=1)
    size = np.add.reduceat(np.abs(rows.data * point), start, axis=1)
    allowed = _ROUNDING / 4 * (size + np.where(np.isfinite(aim), np.abs(aim), 0.0))
    sign = np.where(act > aim, 1.0, np.where(single >= problem.A.shape[0], -1.0, 0.0))
    a = rows.data * np.repeat(sign, counts, 1)
    t, slope, now = np.zeros_like(act), np.zeros_like(act), point
    for _ in range(2 + int(counts.max())):
        miss = np.add.reduceat(a * now, start, axis=1) - sign * np.where(sign != 0, aim, 0.0)
        moves = (now - bounds[0] > 0) & (a > 0) | (bounds[1] - now > 0) & (a < 0)
        slope = np.add.reduceat(np.where(moves, a * a, 0.0), start, axis=1)
        on = (miss > allowed) & (slope > 0)
        if not on.any():
            break
        t = np.where(on, t + np.where(on, miss, 0.0) / np.where(on, slope, 1.0), t)
        now = _stopped(point, np.repeat(t, counts, 1) * a, *bounds)
    act = np.add.reduceat(rows.data * now, start, axis=1)
    near = np.abs(act - aim) <= _CONSISTENT * (1 + np.abs(act))
    goal[:, single] = np.where((sign != 0) & (slope <= 0) & near, act, aim)
    x[:, column] = now
    return x


def _stopped(point: np.ndarray, step: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return `point - step` within the bounds, and on the one it is nearer to than its rounding."""
    now = np.clip(point - step, low, high)
    near = 4 * np.finfo(np.float64).eps * (np.abs(point) + np.abs(step))
    now = np.where((step > 0) & (now - low <= near), low, now)
    return np.where((step < 0) & (high - now <= near), high, now)


# ---------------------------------------------------------------------- several rows


class _Own(NamedTuple):
    """One component of one instance."""

    part: Component
    equality: np.ndarray
    goal: np.ndarray
    low: np.ndarray
    high: np.ndarray
    visible: np.ndarray  # which columns are no auxiliary variables

    def violations(self, x: np.ndarray) -> np.ndarray:
        slack = (self.goal - self.part.matrix @ x) / self.part.norms
        return np.where(self.equality, np.abs(slack), np.maximum(-slack, 0.0))

    def fits(self, x: np.ndarray) -> bool:
        matrix = self.part.matrix
        size, terms = abs(matrix) @ np.abs(x), np.asarray((matrix != 0).sum(1)).ravel()
        return bool(
            _holds(matrix @ x, size, terms, self.goal, self.equality).all()
            and (x >= self.low).all()
            and (x <= self.high).all()
        )


def _restored(own: _Own, x: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a point and the right-hand sides it satisfies: the given ones if they agree."""
    found = _corrected(own, x, used)
    if found is None:
        found = _corrected_somehow(own, x)
    if found is not None:
        return found, own.goal
    size = 1 + np.abs(x).max(initial=0.0)
    for inside in (_INSIDE * size, 0.0):
        found = _moved_least(own, x, inside)
        if found is not None and not own.fits(found):
            found = _corrected_somehow(own, found)
        if found is not None:
            return found, own.goal
    return _nearly(own, x, size)


def _corrected_somehow(own: _Own, x: np.ndarray) -> np.ndarray | None:
    """Correct by the rows that are violated, or on the face of x but for its violations."""
    none = np.zeros(len(own.goal), dtype=bool)
    found = _corrected(own, x, none)
    if found is not None:
        return found
    reach = 100 * own.violations(x).max(initial=0.0)
    face = np.where(x - own.low <= reach, own.low, np.where(own.high - x <= reach, own.high, x))
    return _corrected(own, face, ~none)


def _corrected(own: _Own, x: np.ndarray, used: np.ndarray) -> np.ndarray | None:
    """Correct the active rows by shortest steps; None if they do not hold after a few."""
    matrix, goal = own.part.matrix, own.goal
    slack, worst = (goal - matrix @ x) / own.part.norms, own.violations(x).max(initial=0.0)
    active = own.equality | (used & (np.abs(slack) <= 10 * worst)) | (slack < 0)
    for turn in range(_ROUNDS):
        free = (x > own.low) & (x < own.high) if turn % 2 == 0 else own.low < own.high
        slack = goal - matrix @ x
        active |= slack < 0
        step = _shortest(matrix[active][:, free], slack[active])
        if not np.isfinite(step).all():
            return None
        x = x.copy()
        x[free] += step
        x = np.clip(x, own.low, own.high)
        if own.fits(x):
            return x
    return None


def _shortest(matrix, miss: np.ndarray) -> np.ndarray:
    """Return the shortest step with `matrix @ step = miss`, in the sense of least squares."""
    if not matrix.shape[0] or not matrix.shape[1]:
        return np.zeros(matrix.shape[1])
    if not sp.issparse(matrix):
        return np.linalg.lstsq(matrix, miss, rcond=1e-13)[0]
    from scipy.sparse.linalg import splu

    gram = sp.csc_array(matrix @ matrix.T)
    factor = splu(sp.csc_matrix(gram + 1e-13 * sp.eye_array(len(miss), format="csc")))
    nu = np.zeros(len(miss))
    for _ in range(4):
        nu += factor.solve(miss - gram @ nu)
    return matrix.T @ nu


def _moved_least(own: _Own, x: np.ndarray, inside: float) -> np.ndarray | None:
    """Move z least, in the sum of absolute values, with inequalities `inside` deeper."""
    matrix, norms = sp.csr_array(own.part.matrix), own.part.norms
    said, size, eye = np.isfinite(own.goal), len(x), sp.eye_array(len(x), format="csr")[own.visible]
    less, none = said & ~own.equality, sp.csr_array((len(own.goal), int(own.visible.sum())))
    own_eye = sp.eye_array(int(own.visible.sum()))
    found = _program(
        np.concatenate([np.zeros(size), np.ones(own_eye.shape[0])]),
        sp.vstack(
            [
                sp.hstack([matrix, none]).tocsr()[less],
                sp.hstack([eye, -own_eye]),
                sp.hstack([-eye, -own_eye]),
            ]
        ),
        np.concatenate(
            [(own.goal - inside * norms)[less], x[own.visible], -x[own.visible]],
        ),
        sp.hstack([matrix, none]).tocsr()[own.equality],
        own.goal[own.equality],
        np.concatenate([own.low, np.zeros(own_eye.shape[0])]),
        np.concatenate([own.high, np.full(own_eye.shape[0], np.inf)]),
    )
    return None if found is None else np.clip(found[:size], own.low, own.high)


def _nearly(own: _Own, x: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Find a point of a set that is empty by a hair, and right-hand sides that it satisfies."""
    matrix, norms = sp.csr_array(own.part.matrix), own.part.norms
    said = np.isfinite(own.goal)
    less, equal, width = said & ~own.equality, own.equality, sp.csr_array(norms[:, None])
    both = np.concatenate([own.goal[less], own.goal[equal], -own.goal[equal]])
    found = _program(
        np.append(np.zeros(len(x)), 1.0),
        sp.vstack(
            [
                sp.hstack([matrix[less], -width[less]]),
                sp.hstack([matrix[equal], -width[equal]]),
                sp.hstack([-matrix[equal], -width[equal]]),
            ]
        ),
        both,
        None,
        None,
        np.append(own.low, 0.0),
        np.append(own.high, np.inf),
    )
    if found is None or not 1e-11 * size < found[-1] <= _CONSISTENT * size:
        return None
    act = matrix @ np.clip(found[:-1], own.low, own.high)
    moved = own._replace(goal=np.where(equal, act, np.maximum(own.goal, act)))
    near = _corrected(moved, x, np.zeros(len(norms), dtype=bool))
    near = _moved_least(moved, x, 0.0) if near is None else near
    return None if near is None else (near, moved.goal)


def _program(cost, rows, goal, equal, equal_goal, low, high) -> np.ndarray | None:
    from scipy.optimize import linprog

    some = equal is not None and equal.shape[0] > 0
    result = linprog(
        cost,
        A_ub=rows,
        b_ub=goal,
        A_eq=equal if some else None,
        b_eq=equal_goal if some else None,
        bounds=np.column_stack([low, high]),
        method="highs",
        options=_HIGHS,
    )
    return result.x
