"""Families of random polytopes, each `(rng, n, m) -> Draft`: about n columns and m rows."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from .draft import Draft, bounds, coefficients, draft, nothing, point, shuffled, slacks


def box(rng: Generator, n: int, m: int) -> Draft:
    """Bounds alone."""
    return draft(rng, n, 0)


def one_row(rng: Generator, n: int, m: int) -> Draft:
    """One inequality, one equality, or one row with two sides."""
    kind = rng.integers(3)
    made = draft(rng, n, int(kind != 1), int(kind == 1))
    below = rng.choice([0.0, 0.5])
    return made.with_rows(-made.A[0], below - made.A[0] @ made.x) if kind == 2 else made


def one_row_each(rng: Generator, n: int, m: int) -> Draft:
    """Many rows that share no variable: simplices, budgets, half-spaces."""
    made = draft(rng, n, 0)
    owner = np.sort(rng.integers(0, max(m, 1), n))
    for k in np.unique(owner):
        row = coefficients(rng, 1, n, rng.choice(["normal", "positive", "grid"])) * (owner == k)
        if rng.random() < 0.5:
            row = (owner == k).astype(float)[None]
        if rng.random() < 0.5:
            made = made.with_equalities(row)
        else:
            made = made.with_rows(row, row @ made.x + slacks(rng, 1))
    return shuffled(rng, made)


def dense(rng: Generator, n: int, m: int) -> Draft:
    """Several rows over all variables."""
    return draft(rng, n, m, int(rng.integers(0, max(1, min(n, m) // 2))), style="normal")


def sparse(rng: Generator, n: int, m: int) -> Draft:
    """Several rows over a few variables each, of any style."""
    return draft(rng, n, m, int(rng.integers(0, max(1, min(n, m) // 2))), style="sparse")


def mixed(rng: Generator, n: int, m: int) -> Draft:
    """Rows of different styles together, rows of one coefficient and rows of none among them."""
    made = draft(rng, n, 0)
    for _ in range(max(m, 1)):
        row = coefficients(rng, 1, n) * (rng.random() > 0.05)
        if rng.random() < 0.2:
            row = np.where(np.arange(n) == rng.integers(n), rng.choice([-2.0, 0.5, 1.0]), 0.0)[None]
        if rng.random() < 0.25 and len(made.b_eq) < n - 1:
            made = made.with_equalities(row)
        else:
            limit = np.inf if rng.random() < 0.05 else row @ made.x + slacks(rng, 1)
            made = made.with_rows(row, limit)
    return made


def auxiliary(rng: Generator, n: int, m: int) -> Draft:
    """Variables that take part in the rows and are projected out; some take part in none."""
    aux = int(rng.integers(1, max(2, n)))
    m_eq = int(rng.integers(0, max(1, min(n, m) // 2)))
    made = draft(rng, n + aux, max(m, 1), m_eq, num_aux=aux)
    if rng.random() < 0.2:
        made.A[:, -1], made.A_eq[:, -1] = 0.0, 0.0
        made.b, made.b_eq = made.A @ made.x + slacks(rng, len(made.b)), made.A_eq @ made.x
    return made


def batched(rng: Generator, n: int, m: int) -> Draft:
    """Right-hand sides and bounds of each instance its own; rows switched off, padding."""
    made, count = draft(rng, n, max(m, 1), int(rng.integers(0, max(1, min(n, m) // 2)))), 3
    move = np.where(rng.random((count, n)) < 0.5, rng.integers(-1, 2, (count, n)) / 2, 0.0)
    padded = (rng.random((count, n)) < 0.15) & (rng.random() < 0.5)
    points = np.where(padded, 0.0, made.x + move)
    around = [bounds(rng, x) for x in points]
    lower, upper = (np.where(padded, 0.0, [pair[k] for pair in around]) for k in range(2))
    b = points @ made.A.T + np.array([slacks(rng, len(made.b)) for _ in points])
    b = np.where((rng.random(b.shape) < 0.1) & (rng.random() < 0.5), np.inf, b)
    made.values.update(b=b, b_eq=points @ made.A_eq.T, lower=lower, upper=upper)
    if not len(made.b_eq):
        del made.values["b_eq"]
    # What holds for all instances together need not vary.
    for name, widest in (("lower", np.min), ("upper", np.max), ("b", np.max)):
        if rng.random() < 0.4:
            made = replace(made, **{name: widest(made.values.pop(name), axis=0)})
    made.values["x"] = points
    return made


def ties(rng: Generator, n: int, m: int) -> Draft:
    """Small integers everywhere: equal scores, zeros and rows that meet are the rule."""
    style = rng.choice(["grid", "ones", "signs"])
    m_eq = int(rng.integers(0, max(1, min(n, m) // 2)))
    made = draft(rng, n, m, m_eq, style=style, at="grid", bounded="unit")
    return replace(made, b=made.A @ made.x + rng.integers(0, 2, m))


def degenerate(rng: Generator, n: int, m: int) -> Draft:
    """Far more rows active at one vertex than there are variables."""
    n = min(n, 30)
    return draft(rng, n, 2 * n + m, int(rng.integers(0, 2)), at="binary", active=0.95)


def single_point(rng: Generator, n: int, m: int) -> Draft:
    """Nothing but one point, by equalities, by opposite rows, or by a sum at its end."""
    kind, n = rng.integers(3), min(n, 40)
    if kind == 0:
        return draft(rng, n, m, n, style=rng.choice(["normal", "grid"]))
    if kind == 1:
        made = draft(rng, n, 0, bounded="free")
        rows = coefficients(rng, n, n, rng.choice(["normal", "sparse"])) + np.eye(n)
        return shuffled(rng, made.with_rows(rows, rows @ made.x).with_rows(-rows, -rows @ made.x))
    made = draft(rng, n, 0, bounded="unit")
    made.x = np.where(rng.random(n) < 0.5, made.lower, made.upper)
    sign = np.where(made.x == made.upper, -1.0, 1.0) * rng.integers(1, 4, n)
    made = made.with_rows(sign, sign @ made.x)
    rows = coefficients(rng, m, n)
    return made.with_rows(rows, rows @ made.x + slacks(rng, m))


def flat(rng: Generator, n: int, m: int) -> Draft:
    """Empty interior: rows and their opposites, or nearly so."""
    made = draft(rng, n, max(m, 1), active=0.5)
    chosen = rng.random(len(made.b)) < 0.5
    thickness = rng.choice([0.0, 0.0, 1e-9, 1e-6, 1e-3], chosen.sum())
    lowest = np.minimum(made.b[chosen] - thickness, made.A[chosen] @ made.x)
    return shuffled(rng, made.with_rows(-made.A[chosen], -lowest))


def dependent(rng: Generator, n: int, m: int) -> Draft:
    """Rows twice, scaled, negated, and sums of others; equalities that follow from others."""
    made = draft(rng, n, max(m // 2, 1), int(rng.integers(0, max(1, min(n, m) // 3))))
    for _ in range(max(m // 2, 1)):
        i, factor = rng.integers(len(made.b)), rng.choice([1.0, 1.0, 2.0, 0.1, 1 / 3, 1e3])
        kind = rng.integers(4)
        if kind == 0:
            made = made.with_rows(factor * made.A[i], factor * made.b[i])
        elif kind == 1:
            made = made.with_rows(-factor * made.A[i], -factor * (made.A[i] @ made.x))
        elif kind == 2:
            weights = rng.integers(0, 3, len(made.b)).astype(float)
            made = made.with_rows(weights @ made.A, weights @ made.b)
        elif len(made.b_eq):
            made = made.with_equalities(rng.integers(-2, 3, len(made.b_eq)) @ made.A_eq)
    return shuffled(rng, made)


def thin_cone(rng: Generator, n: int, m: int) -> Draft:
    """Nearly parallel rows that meet in one vertex; cones without width."""
    n, width = max(n, 2), 10.0 ** -rng.integers(1, 7)
    made = draft(rng, n, 0, bounded=rng.choice(["free", "unit", "mixed"]))
    base = coefficients(rng, 1, n, rng.choice(["normal", "sparse"]))
    count = max(2, min(m, 12))
    turned = base + width * rng.standard_normal((count, n)) * (rng.random((count, n)) < 0.5)
    sign = rng.choice([-1.0, 1.0], (count, 1)) if rng.random() < 0.5 else 1.0
    turned = sign * turned
    return made.with_rows(turned, turned @ made.x + slacks(rng, count, 0.9))


def scaled(rng: Generator, n: int, m: int) -> Draft:
    """Rows whose sizes differ by up to twelve powers of ten."""
    made = draft(rng, n, max(m, 1), int(rng.integers(0, max(1, min(n, m) // 2))))
    size, size_eq = (10.0 ** rng.uniform(-6, 6, len(v)) for v in (made.b, made.b_eq))
    return replace(
        made,
        A=size[:, None] * made.A,
        b=size * made.b,
        A_eq=size_eq[:, None] * made.A_eq,
        b_eq=size_eq * made.b_eq,
    )


def scaled_columns(rng: Generator, n: int, m: int) -> Draft:
    """Coefficients of very different size within one row: some variables hardly count."""
    made = draft(rng, n, max(m, 1), int(rng.integers(0, 2)), style="normal", at="unit")
    size = 10.0 ** rng.uniform(-3, 3, n)
    A, A_eq = made.A * size, made.A_eq * size
    b = A @ made.x + size.max() * slacks(rng, len(A))
    return replace(made, A=A, b=b, A_eq=A_eq, b_eq=A_eq @ made.x)


def redundant(rng: Generator, n: int, m: int) -> Draft:
    """Rows that follow from the bounds or from others, by a little or by far."""
    made = draft(rng, n, m, bounded="unit")
    rows = coefficients(rng, max(m, 1), n, "positive")
    spare = rng.choice([0.0, 1e-9, 1.0, 1e6], len(rows))
    made = made.with_rows(rows, rows @ made.upper + spare)
    if len(made.b) > 1:
        weights = rng.random((2, len(made.b)))
        made = made.with_rows(weights @ made.A, weights @ made.b + spare[0])
    return shuffled(rng, made)


def unbounded(rng: Generator, n: int, m: int) -> Draft:
    """Half-spaces, cones and lines: no bounds, or on one side."""
    m_eq = int(rng.integers(0, max(1, min(n - 1, m) // 2)))
    return draft(rng, n, m, m_eq, bounded=rng.choice(["free", "half"]), active=0.8)


def far_away(rng: Generator, n: int, m: int) -> Draft:
    """A set of ordinary size far from the origin, or of enormous or tiny size."""
    size = 10.0 ** rng.integers(-5, 5)
    made, shift = draft(rng, n, m, int(rng.integers(0, 2))), rng.choice([0.0, 10.0, 1e4])
    x = size * made.x + shift
    lower, upper = size * made.lower + shift, size * made.upper + shift
    A, A_eq = made.A, made.A_eq
    b = A @ x + size * (made.b - A @ made.x)
    return replace(made, x=x, lower=lower, upper=upper, b=b, b_eq=A_eq @ x)


def fixed(rng: Generator, n: int, m: int) -> Draft:
    """Most variables fixed: rows lose their variables one after the other."""
    made = draft(rng, n, max(m, 1), int(rng.integers(0, 3)))
    held = rng.random(n) < 0.7
    made.lower, made.upper = np.where(held, made.x, made.lower), np.where(held, made.x, made.upper)
    return made


def knapsacks(rng: Generator, n: int, m: int) -> Draft:
    """A few dense rows of positive weights, in the unit box."""
    m = max(2, min(m, 6))
    A = coefficients(rng, m, n, "positive")
    x = point(rng, n, "unit") * rng.choice([0.0, 0.2, 1.0])
    return Draft(x, np.zeros(n), np.ones(n), A, A @ x + slacks(rng, m), nothing(n), np.zeros(0))


def small_auxiliary(rng: Generator, n: int, m: int) -> Draft:
    """One row with an auxiliary variable whose coefficient is between 1e-7 and 1e7."""
    n = min(n, 12)
    row = np.append(coefficients(rng, 1, n)[0], rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(-7, 7))
    x, lower, upper = np.append(point(rng, n, "unit"), 0.0), np.zeros(n + 1), np.ones(n + 1)
    upper[-1], lower[-1] = rng.choice([1.0, 1e3, 1e9, np.inf]), rng.choice([0.0, -np.inf])
    made = Draft(x, lower, upper, *_no_rows(n + 1), num_aux=1)
    if rng.random() < 0.3:
        return made.with_equalities(row)
    return made.with_rows(row, row @ x + slacks(rng, 1))


def dependent_auxiliaries(rng: Generator, n: int, m: int) -> Draft:
    """Many rows of low rank, equalities for the most part, with auxiliaries of any magnitude."""
    n, aux, rank = min(n, 8), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    style = rng.choice(["grid", "normal"])
    base = coefficients(rng, rank, n + aux, style)
    if rng.random() < 0.5:
        base[:, n:] *= 10.0 ** rng.uniform(-3, 3, aux)
    A = coefficients(rng, max(m, 2), rank, rng.choice(["grid", "normal"])) @ base
    x = rng.choice([0.0, 0.25, 0.5, 1.0], n + aux)
    lower, upper = np.zeros(n + aux), np.ones(n + aux)
    for part in (slice(n, None), slice(0, n)):
        if rng.random() < 0.4:
            lower[part], upper[part] = -np.inf, np.inf
    made = Draft(x, lower, upper, *_no_rows(n + aux), num_aux=aux)
    above = (rng.random(len(A)) < 0.3) & (rng.random() < 0.4)
    made = made.with_rows(A[above], A[above] @ x + slacks(rng, int(above.sum())))
    return made.with_equalities(A[~above])


def scaled_auxiliaries(rng: Generator, n: int, m: int) -> Draft:
    """Several sparse rows with auxiliaries in units from 1e-4 to 1e4, bounded or free."""
    n, aux, m = min(max(n, 2), 12), int(rng.integers(1, 5)), max(1, min(m, 8))
    A = rng.standard_normal((m, n + aux)) * (rng.random((m, n + aux)) < 0.6)
    unit = 10.0 ** rng.uniform(-4, 4, aux)
    A[:, n:] *= unit
    A[~A.any(1), 0] = 1.0
    x = np.concatenate([rng.random(n), rng.random(aux) / unit])
    lower, upper = np.zeros(n + aux), np.append(np.ones(n), 1 / unit)
    free = n + np.flatnonzero(rng.random(aux) < 0.5)
    lower[free], upper[free] = -np.inf, np.inf
    made, equal = Draft(x, lower, upper, *_no_rows(n + aux), num_aux=aux), rng.random(m) < 0.3
    made = made.with_rows(A[~equal], A[~equal] @ x + slacks(rng, int((~equal).sum())))
    return made.with_equalities(A[equal])


def chain(rng: Generator, n: int, m: int) -> Draft:
    """Differences of first to third order, of one sign or zero: convex and monotone sequences."""
    n, order = int(rng.integers(20, 200)), int(rng.integers(1, 4))
    rows = np.diff(np.eye(n), order, axis=0)
    t = np.linspace(0.0, 1.0, n)
    x = np.polynomial.polynomial.polyval(t, rng.standard_normal(order))  # zero differences
    style = rng.choice(["free", "half"])
    lower, upper = bounds(rng, x, style)
    if style == "half":
        lower = lower - 1.0
    made = Draft(x, lower, upper, *_no_rows(n))
    if rng.random() < 0.2:
        return made.with_equalities(rows)
    return made.with_rows(-rows, -rows @ x)


def _no_rows(width: int) -> tuple[np.ndarray, ...]:
    """A, b, A_eq and b_eq of no rows."""
    return nothing(width), np.zeros(0), nothing(width), np.zeros(0)
