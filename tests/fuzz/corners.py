"""Families of closed forms where they are hard: at vertices, at corners, and far from a bound."""

import numpy as np
from numpy.random import Generator
from scipy.linalg import block_diag

from . import structured as s
from .draft import Draft, nothing, shuffled, slacks

_INF = np.inf


def vertices(rng: Generator, n: int, m: int) -> Draft:
    """Decisions: integer rows through a 0/1 point, more of them active there than are independent.

    Judged by derivatives in right-hand sides and bounds as well (see `derivative.py`).
    """
    n, m = min(max(n, 2), 10), int(rng.integers(1, 4))
    kind = rng.integers(4)
    if kind == 0:
        makers = (s.assignment, s.flow, s.conflicts, s.labels, s.spans)
        return makers[rng.integers(len(makers))](rng, n, min(n, 6))
    style = rng.choice([[0, 1, 1], [-1, 0, 1], [0, 1, 2], [1, 1, 1]])
    A = rng.choice(style, (m if kind == 1 else 1, n)).astype(float)
    A[~A.any(1), 0] = 1.0
    x = rng.integers(0, 2, n).astype(float)
    held = rng.random(n) < rng.choice([0.0, 0.2])
    made = Draft(x, np.where(held, x, 0.0), np.where(held, x, 1.0), *_no_rows(n))
    if rng.random() < 0.4:
        return made.with_equalities(A)
    made = made.with_rows(A, A @ x + np.where(rng.random(len(A)) < 0.2, 1.0, 0.0))
    if rng.random() < 0.2:  # one row with two sides
        made = made.with_rows(-A[0], 1.0 - A[0] @ x)
    return made


def corners(rng: Generator, n: int, m: int) -> Draft:
    """One row each, whose right-hand side is what it has where bounds meet, or near there."""
    made = _one_corner(rng, n)
    for _ in range(int(rng.integers(0, 3))):
        made = _beside(made, _one_corner(rng, n))
    return _in_batch(rng, made) if rng.random() < 0.3 else made


def _one_corner(rng: Generator, n: int) -> Draft:
    styles = [np.ones(n), rng.choice([1.0, -1.0], n), rng.choice([1.0, 1e-3, -1e-2], n)]
    styles += [rng.uniform(0.1, 3.0, n), rng.choice([1.0, 2.0, -3.0], n)]
    a = styles[rng.integers(len(styles))]
    lower = [np.zeros(n), np.round(rng.uniform(0, 0.5, n), 1), -np.round(rng.random(n), 1)]
    lower = lower[rng.integers(3)]
    upper = lower + [np.ones(n), rng.choice([0.0, 0.1, 0.3, _INF], n)][rng.integers(2)]
    ends = np.where(a > 0, lower, upper), np.where(a > 0, upper, lower)
    ends += (np.where(rng.random(n) < 0.5, lower, upper),)
    x = ends[rng.integers(3)]
    x = np.where(np.isfinite(x), x, lower + 0.3)
    made = Draft(x, lower, upper, *_no_rows(n))
    kind = rng.integers(4)
    if kind == 0:
        return made.with_rows(a, a @ x)
    if kind == 1:
        return made.with_rows(np.stack([a, -a]), [a @ x, rng.choice([0.0, 0.5]) - a @ x])
    return made.with_equalities(a)


def _beside(first: Draft, second: Draft) -> Draft:
    return Draft(
        np.append(first.x, second.x),
        np.append(first.lower, second.lower),
        np.append(first.upper, second.upper),
        block_diag(first.A, second.A),
        np.append(first.b, second.b),
        block_diag(first.A_eq, second.A_eq),
        np.append(first.b_eq, second.b_eq),
    )


def _in_batch(rng: Generator, made: Draft) -> Draft:
    """Other corners of the same rows, an instance each."""
    ends = [made.lower, made.upper]
    points = [np.where(rng.random(made.width) < 0.5, *ends) for _ in range(3)]
    points = np.array([np.where(np.isfinite(p), p, made.x) for p in points])
    pad = (rng.random(points.shape) < 0.2) & (rng.random() < 0.5)
    made.values.update(
        x=points,
        lower=np.where(pad, points, made.lower),
        upper=np.where(pad, points, made.upper),
        b=points @ made.A.T,
        b_eq=points @ made.A_eq.T,
    )
    for name in ("b", "b_eq"):
        if not made.values[name].shape[1]:
            del made.values[name]
    return made


def anchors(rng: Generator, n: int, m: int) -> Draft:
    """One row with bounds of -1e8 or 1e10, or weights of very different size, and a near point."""
    sizes = [np.ones(n), rng.choice([1.0, -1.0], n), rng.uniform(0.5, 2.0, n)]
    sizes += [10.0 ** rng.integers(-3, 4, n), rng.choice([1.0, 1e6], n), np.full(n, 1e9)]
    a, x = sizes[rng.integers(len(sizes))], rng.choice([0.0, 0.1, 0.5, 1.0], n)
    far = rng.choice([1e3, 1e4, 1e8, 1e10, 1e12])
    lower = [np.full(n, -far), rng.choice([-far, 0.0], n), np.zeros(n)][rng.integers(3)]
    upper = [np.full(n, far), rng.choice([far, 1.0], n), np.full(n, _INF)][rng.integers(3)]
    made = Draft(x, lower, upper, *_no_rows(n))
    if rng.random() < 0.4:
        made = made.with_equalities(a)
    else:
        made = made.with_rows(a, a @ x + np.linalg.norm(a) * slacks(rng, 1))
    return shuffled(rng, made)


def _no_rows(width: int) -> tuple[np.ndarray, ...]:
    """A, b, A_eq and b_eq of no rows."""
    return nothing(width), np.zeros(0), nothing(width), np.zeros(0)
