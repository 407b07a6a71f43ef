"""A dual active-set method in extended precision: slow, for small blocks that are hard."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .._plan.blocks import Block
from .block import Answer, ProjectionProblem, judged

WIDE = np.longdouble  # 64 bits of mantissa on x86, 113 elsewhere; 53 where there is nothing wider
DEPENDENT = 1e-13  # what is left of a unit row beside active ones, below which it depends on them
CURVATURE = 1e-6  # given to auxiliary variables, about a centre that follows them
_ROUNDS, _FINE = 40, 1e-13  # of the proximal point method, and the residual at which it ends
STEPS = 10  # steps allowed, times the number of constraints
# Violations, relative to the size of the point, that are no reason to step: rows were rounded to
# float64 when they were declared, and limits that were made to agree do so to that of a program.
MET, AGREED = 1e-15, 1e-10


class Constraints(NamedTuple):
    """Rows `G x >= h` of norm one, equalities first."""

    G: np.ndarray
    h: np.ndarray
    norms: np.ndarray
    equal: int
    number: np.ndarray  # of the general row, or -1 - j for a bound of variable j
    sign: np.ndarray  # of its multiplier: positive where the upper side is active


def constraints(R: np.ndarray, unit, row_lower, row_upper, lower, upper) -> Constraints:
    """Return what limits say, in units of the variables.

    Args:
        R: Rows, in these units; none without coefficients.
        unit: `(n,)`, by what variables are multiplied.
        row_lower: Limits of the rows.
        row_upper: Likewise.
        lower: Bounds, before they are multiplied.
        upper: Likewise.
    """
    m, eye = len(R), np.diag(1 / unit)
    G, low = np.vstack([R, eye]), np.concatenate([row_lower, lower])
    high = np.concatenate([row_upper, upper])
    number = np.concatenate([np.arange(m), -1 - np.arange(len(eye))])
    equal, above, below = low == high, np.isfinite(low), np.isfinite(high)
    parts = [(equal, -1), (above & ~equal, -1), (below & ~equal, 1)]
    rows = np.vstack([-sign * G[chosen] for chosen, sign in parts])
    limits = [(-sign * (high if sign > 0 else low))[chosen] for chosen, sign in parts]
    norms = np.sqrt((rows * rows).sum(1))
    return Constraints(
        rows / norms[:, None],
        np.concatenate(limits).astype(WIDE) / norms,
        norms,
        int(equal.sum()),
        np.concatenate([number[chosen] for chosen, _ in parts]),
        np.concatenate([np.full(int(chosen.sum()), sign) for chosen, sign in parts]),
    )


class ExtendedActiveSet:
    r"""min 1/2 |z - y|^2 by Goldfarb and Idnani's method, with orthogonal factors of active rows.

    Neither rows nor their products are inverted: an orthonormal basis of the active rows is kept,
    made by Gram and Schmidt's method twice, and everything is computed with as many digits as the
    machine has, eleven bits more than float64 on most. Rows that are parallel to eight digits, or
    multipliers of 1e8 times the point, then cost nothing that is seen in the answer.

    Auxiliary variables get a small curvature about a centre that follows them until it rests (the
    proximal point method), with which every problem is strictly convex. They come in units in which
    their coefficients are near one; with small ones that method takes more rounds than there are.

    References:
        Goldfarb and Idnani (1983), *A numerically stable dual method for solving strictly convex
        quadratic programs*.
    """

    name = "extended precision"

    def __init__(self, block: Block):
        self.block = block
        curvature = np.where(block.is_aux, CURVATURE, 1.0)
        self._unit = np.sqrt(curvature.astype(WIDE))  # x = variable / unit has curvature one
        self._R = block.matrix.toarray().astype(WIDE) / self._unit

    def solve(self, problem: ProjectionProblem) -> Answer:
        """Solve one instance; the residual is recomputed."""
        sides = (problem.row_lower, problem.row_upper, problem.lower, problem.upper)
        rows, aux = constraints(self._R, self._unit, *sides), self.block.is_aux
        y = problem.y.astype(WIDE)
        worth = y / WIDE(CURVATURE)  # how far an auxiliary variable would go for what it is worth
        centre = np.where(aux, np.clip(0.0, problem.lower, problem.upper) + worth, y)
        best = judged(self.block, problem, None, np.zeros(self.block.num_rows), "infeasible")
        for _ in range(_ROUNDS):
            found = _nearest(rows, centre * self._unit)
            if found is None:
                break
            x, u = found
            x = x / self._unit
            answer = self._answer(problem, rows, x, u)
            if answer.residual < best.residual:
                best = answer
            if not aux.any() or answer.residual <= _FINE:
                break
            centre = np.where(aux, x + worth, y)
        return best

    def _answer(self, problem: ProjectionProblem, rows: Constraints, x, u) -> Answer:
        """Judge a point, rounded once, and the multipliers of its constraints.

        Of multipliers of 1e7 times the point, rounding alone can leave a residual of 1e-9: those
        with all digits judge it as well, and the better ones count.
        """
        multipliers, general = np.zeros(self.block.num_rows, dtype=WIDE), rows.number >= 0
        np.add.at(multipliers, rows.number[general], (rows.sign * u / rows.norms)[general])
        point, rounded = x.astype(np.float64), multipliers.astype(np.float64)
        found = judged(self.block, problem, point, rounded, "solved")
        wide = judged(self.block, problem, point, multipliers, "solved").residual
        return replace(found, residual=min(wide, found.residual))


class Active:
    """Active constraints, their multipliers, and Q R, the factors of their rows as columns."""

    def __init__(self, width: int):
        self.which: list[int] = []
        self.u: list = []
        self.sign: list[float] = []
        self.Q = np.zeros((width, 0), dtype=WIDE)
        self.R = np.zeros((0, 0), dtype=WIDE)

    def split(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the coefficients of a row on Q, and what is left of it; orthogonal twice."""
        first = self.Q.T @ row
        rest = row - self.Q @ first
        second = self.Q.T @ rest
        return first + second, rest - self.Q @ second

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Return R^-1 times a vector."""
        out = right.copy()
        for i in range(len(out) - 1, -1, -1):
            out[i] = (out[i] - self.R[i, i + 1 :] @ out[i + 1 :]) / self.R[i, i]
        return out

    def add(self, number: int, sign: float, u, on: np.ndarray, rest: np.ndarray) -> None:
        """Add a constraint that was split."""
        size, count = np.sqrt(rest @ rest), len(on)
        grown = np.zeros((count + 1, count + 1), dtype=WIDE)
        grown[:count, :count], grown[:count, count], grown[count, count] = self.R, on, size
        self.R, self.Q = grown, np.column_stack([self.Q, rest / size])
        self.which.append(number)
        self.sign.append(sign)
        self.u.append(u)

    def drop(self, at: int, G: np.ndarray) -> None:
        """Drop a constraint; those after it are added again."""
        later = list(zip(self.which, self.sign, self.u, strict=True))[at + 1 :]
        for kept in (self.which, self.sign, self.u):
            del kept[at:]
        self.R, self.Q = self.R[:at, :at].copy(), self.Q[:, :at].copy()
        for number, sign, u in later:
            self.add(number, sign, u, *self.split(sign * G[number]))


def _nearest(rows: Constraints, y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the nearest point and all multipliers, or None if there is no point, or no end."""
    G, h, x, active = rows.G, rows.h, y.copy(), Active(len(y))
    given_up = np.zeros(len(h), dtype=bool)
    for _ in range(STEPS * (len(h) + len(y))):
        slack, size = G @ x - h, 1 + float(np.abs(x).max(initial=0.0))
        miss = np.where(np.arange(len(h)) < rows.equal, np.abs(slack), -slack)
        miss[given_up] = -np.inf
        miss[active.which] = -np.inf
        if not len(miss):
            break
        equalities = miss[: rows.equal]
        first = equalities if (equalities > MET * size).any() else miss
        p = int(np.argmax(first))
        if not miss[p] > MET * size:
            break
        sign = -1.0 if slack[p] > 0 else 1.0  # an equality may be missed from both sides
        moved = _activate(rows, active, x, p, sign)
        if moved is None:
            if miss[p] > AGREED * size:
                return None
            given_up[p] = True
        else:
            x = moved
    else:
        return None
    u = np.zeros(len(h), dtype=WIDE)
    u[active.which] = np.array(active.u, dtype=WIDE) * np.array(active.sign)
    return x, u


def _activate(rows: Constraints, active: Active, x, p: int, sign: float) -> np.ndarray | None:
    """Step until constraint p is active; what would get a multiplier of the wrong sign leaves."""
    row, u = sign * rows.G[p], WIDE(0)
    x = x.copy()
    while True:
        on, rest = active.split(row)
        change = active.solve(on)
        left, length, leaving = rest @ rest, np.inf, -1
        for j, number in enumerate(active.which):
            if number >= rows.equal and change[j] > 0 and active.u[j] < length * change[j]:
                length, leaving = active.u[j] / change[j], j
        miss = sign * (rows.h[p] - rows.G[p] @ x)
        full = miss / left if left > DEPENDENT**2 else np.inf
        step = min(length, full)
        if not np.isfinite(step):
            return None
        if np.isfinite(full):
            x += step * rest
        active.u = [own - step * c for own, c in zip(active.u, change, strict=True)]
        u += step
        if step == full:
            active.add(p, sign, u, on, rest)
            return x
        active.u[leaving] = WIDE(0)
        active.drop(leaving, rows.G)
