"""Families of what is nearly so: empty or not by a hair, sums that nearly agree, tiny weights."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from .draft import Draft, coefficients, draft, nothing, shuffled, slacks


def far_bounds(rng: Generator, n: int, m: int) -> Draft:
    """Rows that contradict each other, by much or by a hair, within bounds from 1 to 1e12."""
    made = draft(rng, n, max(m, 1), at="grid", bounded="unit")
    lam = rng.integers(1, 4, len(made.b)) * (rng.random(len(made.b)) < 0.5).astype(float)
    lam[0] = 1.0
    row = -lam @ made.A
    if not row.any():
        row, lam = -made.A[0], np.eye(len(made.b))[0]
    gap = float(10.0 ** rng.integers(-13, 2))
    far = rng.choice([1.0, 1e3, 1e6, 1e9, 1e12, np.inf])
    made = made.with_rows(row, -lam @ made.b - gap * np.linalg.norm(row))
    made.lower, made.upper = np.minimum(made.lower, -far), np.maximum(made.upper, far)
    return replace(made, proof=(np.append(lam, 1.0), np.zeros(0)))


def marginals(rng: Generator, n: int, m: int) -> Draft:
    """A transport plan whose row and column sums were rounded to float32, one by one."""
    rows = int(rng.integers(2, 6))
    columns = max(2, n // rows)
    logits = rng.standard_normal((rows, columns)) * rng.choice([0.3, 1.0, 3.0])
    plan = np.exp(logits) / np.exp(logits).sum() * rng.choice([1.0, 1.0, 30.0])
    A_eq = np.vstack(
        [np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))]
    )
    x, width = plan.ravel(), rows * columns
    b_eq = (A_eq @ x).astype(np.float32).astype(np.float64)
    ends = np.zeros(width), np.full(width, rng.choice([np.inf, 40.0]))
    made = Draft(x, *ends, nothing(width), np.zeros(0), A_eq, b_eq)
    if rng.random() < 0.3:  # some sums as limits, together with a row that is spare
        row = coefficients(rng, 1, width, "positive")
        made = made.with_rows(row, row @ x + slacks(rng, 1, 0.0) + 0.1)
    return shuffled(rng, made)


def nine_decades(rng: Generator, n: int, m: int) -> Draft:
    """Coefficients from 1 to 1e9 within one row, in the unit box."""
    m = max(1, min(m, 6))
    A = 10.0 ** rng.uniform(0, 9, (m, n)) * rng.choice([-1.0, 1.0], (m, n))
    x = rng.integers(0, 2, n) if rng.random() < 0.5 else rng.random(n)
    x = x.astype(float)
    room = np.where(rng.random(m) < 0.5, 0.0, 10.0 ** rng.uniform(0, 9, m))
    return Draft(x, np.zeros(n), np.ones(n), A, A @ x + room, nothing(n), np.zeros(0))
