"""Multipliers that explain a point, and auxiliary variables that complete it; solves no QP."""

import numpy as np
import scipy.sparse as sp

from .problem import DENSE_LIMIT, CertifiedProblem, Component

# Activity is tested at these powers of the machine epsilon, and the best multipliers are kept: a
# point from a closed form sits on its bounds to rounding, one from a QP solver to 1e-9 ... 1e-5.
_POWERS = (0.75, 0.5, 1 / 3, 1 / 4)
_MISSED = (2.0, 20.0)  # likewise, times the largest violation of the point itself
_GOOD_ENOUGH = 1e-12  # residual at which no other activity tolerance is tried
_HALVINGS = 40  # of the residual of a row that is alone
_NOTHING = 1e-11  # a multiplier of this size, relative to the point, is the rounding of none
_CHUNK = 2_000_000  # entries of a vectorised pass: it bounds the memory, not the result
_HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


# ---------------------------------------------------------------------- auxiliary variables


def find_auxiliary(problem: CertifiedProblem, z: np.ndarray) -> np.ndarray:
    """Return `(N, num_aux)` values that violate the rows least: a linear program per instance."""
    if not problem.num_aux:
        return np.zeros((len(z), 0))
    rows = problem.form.rows
    n = rows.shape[1] - problem.num_aux
    chosen = np.flatnonzero(np.diff(sp.csr_array(rows[:, n:]).indptr))
    equality = chosen >= problem.A.shape[0]
    rows = sp.csr_array(rows[chosen])
    rest = problem.right_hand_side()[:, chosen] - (rows[:, :n] @ z.T).T
    bounds = [
        np.broadcast_to(v[:, n:], (len(z), problem.num_aux)) for v in (problem.lower, problem.upper)
    ]
    free = sp.csr_array(rows[:, n:])
    found = [
        _least_violation(free, *values, equality=equality)
        for values in zip(rest, *bounds, strict=True)
    ]
    return np.array(found).reshape(len(z), problem.num_aux)


def _least_violation(rows, rest, lower, upper, equality) -> np.ndarray:
    """Minimise s over rows @ psi - rest <= s, from both sides for equalities, and the bounds."""
    from scipy.optimize import linprog

    said = np.isfinite(rest)
    rows, rest, equality = rows[said], rest[said], equality[said]
    width = sp.csr_array(np.ones((len(rest), 1)))
    result = linprog(
        np.append(np.zeros(len(lower)), 1.0),
        A_ub=sp.vstack([sp.hstack([rows, -width]), sp.hstack([-rows[equality], -width[equality]])]),
        b_ub=np.concatenate([rest, -rest[equality]]),
        bounds=np.column_stack([np.append(lower, 0.0), np.append(upper, np.inf)]),
        method="highs",
        options=_HIGHS,
    )
    # The program always has a solution; should the solver give up, any value is judged like others.
    psi = np.zeros(len(lower)) if result.x is None else result.x[:-1]
    return np.clip(psi, lower, upper)


# ---------------------------------------------------------------------- multipliers


def recompute(
    problem: CertifiedProblem, y: np.ndarray, x: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the multipliers `lam, nu` that come closest to explaining x = [z; psi]."""
    m, m_eq = problem.A.shape[0], problem.A_eq.shape[0]
    both = np.zeros((len(x), m + m_eq))
    target = np.concatenate([y, x[:, y.shape[1] :]], 1) - x  # what rows and bounds must explain
    scale = np.maximum(1.0, np.abs(y).max(1, initial=0.0))
    parts = problem.form.parts
    if len(parts.single):
        step = max(1, _CHUNK // parts.entries.nnz)
        for start in range(0, len(x), step):
            chosen = slice(start, start + step)
            arguments = (problem.part(chosen), target[chosen], x[chosen], scale[chosen, None], eps)
            both[chosen, parts.single] = _one_row(*arguments)
    rhs = problem.right_hand_side()
    for part in parts.others:
        low = x[:, part.columns] - problem.lower[:, part.columns]
        high = problem.upper[:, part.columns] - x[:, part.columns]
        slack = rhs[:, part.rows] - (part.matrix @ x[:, part.columns].T).T
        aim = target[:, part.columns]
        for i in range(len(x)):
            values = (slack[i], aim[i], low[i], high[i])
            tolerances = _tolerances(eps, scale[i], 1 + np.abs(x[i]).max(initial=0.0))
            found = _explain(part, part.rows >= m, *values, scale[i], tolerances)
            endless = (part.columns >= y.shape[1]) & np.isinf(low[i] + high[i])
            if endless.any():
                found = np.where(np.abs(found) <= _NOTHING * scale[i], 0.0, found)
                found = _balanced(part, part.rows >= m, found, low[i], high[i], endless)
            both[i, part.rows] = found
    return both[:, :m], both[:, m:]


def _tolerances(eps: float, scale, size):
    """Return what was rounded once, at the end, and what has an error of about eps * |y|.

    The wider ones would take for active what is free and yet small beside a far point.
    """
    finest = [4 * eps * size, eps ** _POWERS[0] * size]
    return [*finest, *(eps**power + 16 * eps * scale for power in _POWERS)]


def _one_row(problem: CertifiedProblem, target, x, scale, eps: float) -> np.ndarray:
    """Return `(N, rows)` multipliers of rows that share no variable with others, all at once."""
    single, rows = problem.form.parts.single, problem.form.parts.entries
    column, a, start, counts = rows.indices, rows.data, rows.indptr[:-1], np.diff(rows.indptr)
    equality = single >= problem.A.shape[0]
    slack = (problem.right_hand_side()[:, single] - (rows @ x.T).T) / problem.form.norms[single]
    t, x, size = target[:, column], x[:, column], 1 + np.abs(x).max(1, initial=0.0)[:, None]
    low, high = x - problem.lower[:, column], problem.upper[:, column] - x
    best = np.zeros_like(slack)
    best_residual = np.full_like(slack, np.inf)
    endless = (column >= problem.A.shape[1] - problem.num_aux) & np.isinf(low + high)
    endless = np.logical_or.reduceat(endless, start, axis=1)
    if endless.any():  # no multiplier at all, to the last digit, wherever that explains the point
        nothing = np.maximum.reduceat(np.abs(np.clip(t, -low, high)), start, axis=1)
        best_residual = np.where(endless & (nothing <= _NOTHING * scale), 0.0, best_residual)
    good = _GOOD_ENOUGH * scale
    for tol in _tolerances(eps, scale, size):
        tau = _threshold(a, t, low <= tol, high <= tol, start)
        tau = np.where(equality, tau, np.where(slack <= tol, np.maximum(tau, 0.0), 0.0))
        # How far the multiplier would move every entry: zero at the projection.
        step = np.clip(t - np.repeat(tau, counts, 1) * a, -low, high)
        residual = np.maximum.reduceat(np.abs(step), start, axis=1)
        # What is good enough stays, or the multipliers of an instance would depend on the batch.
        better = (residual < best_residual) & (best_residual > good)
        best = np.where(better, tau, best)
        best_residual = np.where(better, residual, best_residual)
        if (best_residual <= good).all():
            return best
    limits = (low, high, np.where(equality, -np.inf, 0.0), np.where(equality, -np.inf, slack))
    found = _narrowed(a, t, limits, start, problem.form.norms[single], best, best_residual)
    return np.where((best_residual <= good) | endless, best, found)


def _narrowed(a, t, limits, start, norms, tau, residual) -> np.ndarray:
    """Return the multipliers that leave the least residual, `(N, rows)`, without a tolerance.

    An entry with the residual r allows an interval of multipliers, which grows with r; the least r
    for which those of all entries of a row meet is found by bisection, below the one known. Where a
    point was rounded, no tolerance tells what is active beside weights of very different size: the
    multiplier is then that of the entries which it moves most.
    """
    low, high, least, slack = limits
    below, above = np.zeros_like(residual), residual

    def interval(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        each = np.repeat(r, np.diff(np.append(start, len(a))), 1)
        ends = np.where(high > each, t - each, -np.inf), np.where(low > each, t + each, np.inf)
        first, last = (np.where(a > 0, ends[k], ends[1 - k]) / a for k in (0, 1))
        first, last = np.maximum.reduceat(first, start, 1), np.minimum.reduceat(last, start, 1)
        most = np.where(np.isposinf(slack), 0.0, r / norms)  # a row without an end has none
        last = np.where(slack > r, np.minimum(last, most), last)
        return np.maximum(first, least), last

    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        first, last = interval(middle)
        meets = first <= last
        below, above = np.where(meets, below, middle), np.where(meets, middle, above)
        first, last = (np.where(np.isfinite(v), v, w) for v, w in ((first, last), (last, first)))
        inside = np.isfinite(first) & np.isfinite(last) & meets
        tau = np.where(inside, np.where(inside, first, 0) / 2 + np.where(inside, last, 0) / 2, tau)
    return tau


def _threshold(a, t, at_low, at_high, start) -> np.ndarray:
    """Fit the free entries by least squares; without any, take the one nearest zero."""
    free = ~(at_low | at_high)
    square = np.add.reduceat(np.where(free, a * a, 0.0), start, axis=1)
    product = np.add.reduceat(np.where(free, a * t, 0.0), start, axis=1)
    tau = product / np.where(square > 0, square, 1.0)
    if (square > 0).all():
        return tau
    # At a lower bound a * tau >= t, at an upper bound a * tau <= t; a fixed variable asks nothing.
    fixed, positive, ratio = at_low & at_high, a > 0, t / a
    least = np.where(np.where(positive, at_low, at_high) & ~fixed, ratio, -np.inf)
    most = np.where(np.where(positive, at_high, at_low) & ~fixed, ratio, np.inf)
    least = np.maximum.reduceat(least, start, axis=1)
    most = np.minimum.reduceat(most, start, axis=1)
    empty = least > most
    middle = np.where(empty, least, 0.0) / 2 + np.where(empty, most, 0.0) / 2
    nearest = np.where(empty, middle, np.minimum(np.maximum(0.0, least), most))
    return np.where(square > 0, tau, nearest)


def _explain(part: Component, equality, slack, target, low, high, scale, tolerances):
    """Explain one component of one instance, by the activity tolerance that fits best."""
    best, best_residual = np.zeros(len(slack)), np.inf
    # What misses some rows by as much is no nearer to the others.
    missed = float((np.where(equality, np.abs(slack), -slack) / part.norms).max(initial=0.0))
    for tol in [*tolerances, *(k * missed for k in _MISSED if missed > 0)]:
        active = np.flatnonzero(equality | (slack <= tol * part.norms))
        multipliers = np.zeros(len(slack))
        at_low, at_high = low <= tol, high <= tol
        used = ~(at_low & at_high)  # a fixed variable takes any multiplier
        if len(active) and used.any():
            multipliers[active] = _fit(
                part.matrix[active][:, used].T,
                equality[active],
                target[used],
                at_low[used],
                at_high[used],
            )
        step = np.clip(target - part.matrix.T @ multipliers, -low, high)
        # A row with a slack explains much, and is not allowed to.
        either = np.minimum(multipliers * part.norms, slack / part.norms)[~equality]
        residual = max(np.abs(step).max(initial=0.0), either.max(initial=0.0))
        if residual < best_residual:
            best, best_residual = multipliers, residual
        if residual <= _GOOD_ENOUGH * scale:
            break
    return best


def _balanced(part: Component, equality, multipliers, low, high, endless) -> np.ndarray:
    """Correct multipliers: sums in auxiliary variables without a bound are zero to rounding.

    Only then does the Lagrangian have a minimum; the correction is as large as the rounding of the
    least squares that found them.
    """
    used = equality | (multipliers > 0)
    if not used.any():
        return multipliers
    rows, found = part.matrix[used], multipliers[used]
    rows = rows if isinstance(rows, np.ndarray) else rows.toarray()
    for _ in range(3):
        sums = rows.T @ found
        wrong = endless & (np.isinf(low) & (sums > 0) | np.isinf(high) & (sums < 0))
        if not wrong.any():
            break
        found = found - np.linalg.lstsq(rows[:, wrong].T, sums[wrong], rcond=1e-12)[0]
        found = np.where(equality[used], found, np.maximum(found, 0.0))
    result = multipliers.copy()
    result[used] = found
    return result


def _fit(columns, equality, target, at_low, at_high) -> np.ndarray:
    """Fit columns @ lam + (upper bounds) - (lower bounds) to target, lam and bounds nonnegative."""
    from scipy.optimize import nnls

    low, high = np.flatnonzero(at_low), np.flatnonzero(at_high)
    size, m = columns.shape
    if sp.issparse(columns) or size * (m + len(low) + len(high)) > DENSE_LIMIT:
        return _least_deviation(columns, equality, target, at_low, at_high)
    ends = np.zeros((size, len(low) + len(high)))
    ends[low, np.arange(len(low))] = -1.0
    ends[high, len(low) + np.arange(len(high))] = 1.0
    system = np.hstack([columns, -columns[:, equality], ends])
    try:
        found, rest = nnls(system, target)
    except RuntimeError:  # too many iterations; the program below takes longer and always ends
        return _least_deviation(columns, equality, target, at_low, at_high)
    on = np.flatnonzero(found)
    if len(on):  # once more on what it uses, without squaring the condition number
        again = np.maximum(np.linalg.lstsq(system[:, on], target, rcond=1e-15)[0], 0.0)
        if np.linalg.norm(system[:, on] @ again - target) < rest:
            found[on] = again
    multipliers = found[:m]
    multipliers[equality] -= found[m : m + int(equality.sum())]
    return multipliers


def _least_deviation(columns, equality, target, at_low, at_high) -> np.ndarray:
    """Minimise the largest |columns @ lam - target|, one-sided at bounds: for large components."""
    from scipy.optimize import linprog

    columns = sp.csr_array(columns)
    width = sp.csr_array(np.ones((columns.shape[0], 1)))
    above, below = ~at_low, ~at_high  # at a lower bound more is fine, at an upper bound less
    result = linprog(
        np.append(np.zeros(len(equality)), 1.0),
        A_ub=sp.vstack(
            [
                sp.hstack([columns[above], -width[above]]),
                sp.hstack([-columns[below], -width[below]]),
            ]
        ),
        b_ub=np.concatenate([target[above], -target[below]]),
        bounds=[(None if e else 0.0, None) for e in equality] + [(0.0, None)],
        method="highs",
        options=_HIGHS,
    )
    return np.zeros(len(equality)) if result.x is None else result.x[:-1]
