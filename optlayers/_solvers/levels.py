r"""Projections of points with entries at minus M, for an M that grows for ever.

Numbers are polynomials in M, or in several such, each beyond all powers of the next: an array with
one column for each level, the highest first, the ordinary one last, compared by the first column in
which they differ. Goldfarb and Idnani's method adds, multiplies by coefficients of rows and
compares; so it runs on them as it does on numbers, and nothing is rounded as if it were large.
"""

import numpy as np

from .extended import AGREED, DEPENDENT, MET, STEPS, WIDE, Active, Constraints

_ZERO = 1e-14  # of a multiplier, relative to the largest one of its level


def nearest_in_levels(
    rows: Constraints, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the nearest point, all multipliers, and which constraints every optimum meets.

    The multipliers of all levels but the last solve the linear programs, one within the optima of
    the other, that say of what there has to be as little as possible; a constraint with such a
    multiplier is met by all their optima.

    Args:
        rows: The set.
        y: `(n, levels)`.

    Returns:
        `(n, levels)`, `(m, levels)` and booleans `(m,)`; None if there is no point, or no end.
    """
    h = np.zeros((len(rows.h), y.shape[1]), dtype=WIDE)
    h[:, -1] = rows.h
    x, active, given_up = y.astype(WIDE), Active(len(y)), np.zeros(len(h), dtype=bool)
    for _ in range(STEPS * (len(h) + len(y))):
        slack, size = rows.G @ x - h, 1 + np.abs(x).max(0, initial=0.0)
        given_up[active.which] = True
        p = _worst(rows, slack / size, given_up)
        given_up[active.which] = False
        if p < 0:
            break
        moved = _activate(rows, h, active, x, p, -_sign(slack[p] / size, MET))
        if moved is None:
            if np.abs(slack[p] / size).max() > AGREED:
                return None
            given_up[p] = True
        else:
            x = moved
    else:
        return None
    u = np.zeros_like(h)
    for at, sign, own in zip(active.which, active.sign, active.u, strict=True):
        u[at] = own * sign
    return x, u, (u[:, :-1] != 0).any(1)


def _sign(v: np.ndarray, zero: float) -> float:
    """Return the sign of a number of several levels."""
    beyond = np.flatnonzero(np.abs(v) > zero)
    return float(np.sign(v[beyond[0]])) if len(beyond) else 0.0


def _worst(rows: Constraints, slack: np.ndarray, left_out: np.ndarray) -> int:
    """Return which constraint is missed by most, equalities first; -1 if none is."""
    large = np.abs(slack) > MET
    missed = large.any(1) & ~left_out
    lead = large.argmax(1)
    value = slack[np.arange(len(slack)), lead]
    missed[rows.equal :] &= value[rows.equal :] < 0
    if missed[: rows.equal].any():
        missed[rows.equal :] = False
    at = np.flatnonzero(missed)
    if not len(at):
        return -1
    at = at[lead[at] == lead[at].min()]
    return int(at[np.abs(value[at]).argmax()])


def _activate(
    rows: Constraints, h: np.ndarray, active: Active, x: np.ndarray, p: int, sign: float
) -> np.ndarray | None:
    """Step until constraint p is active; what would get a multiplier of the wrong sign leaves."""
    row, x, u = sign * rows.G[p], x.copy(), np.zeros(x.shape[1], dtype=WIDE)
    while True:
        on, rest = active.split(row)
        change, left = active.solve(on), rest @ rest
        lengths = {
            j: active.u[j] / change[j]
            for j, number in enumerate(active.which)
            if number >= rows.equal and change[j] > 0
        }
        leaving = min(lengths, key=lambda j: tuple(lengths[j]), default=-1)
        step = lengths.get(leaving)
        if left > DEPENDENT**2:
            miss = sign * (h[p] - rows.G[p] @ x)
            miss[:-1][np.abs(miss[:-1]) <= MET * (1 + np.abs(x[:, :-1]).max(0))] = 0
            full = miss / left
            if step is None or tuple(full) <= tuple(step):
                step, leaving = full, -1
            x += rest[:, None] * step
        if step is None:
            return None
        u = u + step
        own = [before - step * c for before, c in zip(active.u, change, strict=True)]
        *active.u, u = _without_rounding([*own, u])
        if leaving < 0:
            active.add(p, sign, u, on, rest)
            return x
        active.u[leaving] = np.zeros_like(u)
        active.drop(leaving, rows.G)


def _without_rounding(u: list[np.ndarray]) -> list[np.ndarray]:
    """Return multipliers with zeros where only rounding is left."""
    size = np.abs(u).max(0)
    return [np.where(np.abs(v) <= _ZERO * size, 0, v) for v in u]
