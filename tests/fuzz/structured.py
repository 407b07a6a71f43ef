"""Families with the structure of linear programs, products of families, and sets without points."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from .draft import Draft, coefficients, draft, nothing, shuffled, slacks


def _unit(x: np.ndarray, A=None, b=None, A_eq=None, num_aux: int = 0) -> Draft:
    """In the unit box; the equalities as `x` has them."""
    x, width = x.astype(float), len(x)
    A, A_eq = (nothing(width) if rows is None else np.asarray(rows, float) for rows in (A, A_eq))
    b = np.zeros(0) if b is None else np.asarray(b, float)
    return Draft(x, np.zeros(width), np.ones(width), A, b, A_eq, A_eq @ x, num_aux)


def assignment(rng: Generator, n: int, m: int) -> Draft:
    """Doubly stochastic matrices, with pruned pairs; sums at most one, or exactly."""
    k = max(1, min(7, int(n**0.5)))
    x = np.eye(k)[rng.permutation(k)]
    rows = np.vstack([np.kron(np.eye(k), np.ones(k)), np.kron(np.ones(k), np.eye(k))])
    made = _unit(x.ravel(), A_eq=rows)
    if rng.random() < 0.4:
        made = _unit(x.ravel() * rng.choice([0.0, 0.5, 1.0]), A=rows, b=np.ones(2 * k))
    pruned = (rng.random(k * k) < rng.choice([0.0, 0.3, 0.7])) & (x.ravel() == 0)
    made.upper = np.where(pruned, 0.0, 1.0)
    return made


def flow(rng: Generator, n: int, m: int) -> Draft:
    """Paths and flows through a graph without cycles; one row too many, as the sums are zero."""
    nodes = max(2, min(12, m))
    pairs = np.sort(rng.integers(0, nodes, (n, 2)), axis=1)
    pairs[:, 1] = np.where(pairs[:, 0] == pairs[:, 1], nodes, pairs[:, 1])
    path = np.unique(np.concatenate([[0, nodes], rng.integers(1, nodes, rng.integers(0, 3))]))
    pairs = np.vstack([pairs, np.stack([path[:-1], path[1:]], 1)])
    rows = np.zeros((nodes + 1, len(pairs)))
    rows[pairs[:, 0], np.arange(len(pairs))] = 1.0
    rows[pairs[:, 1], np.arange(len(pairs))] = -1.0
    x = np.zeros(len(pairs))
    x[n:] = rng.choice([0.5, 1.0])
    made = _unit(x, A_eq=rows)
    made.upper = np.maximum(x, rng.choice([0.25, 0.5, 1.0, np.inf], len(x)))
    return made


def spans(rng: Generator, n: int, m: int) -> Draft:
    """At most so many words in at most so many runs; auxiliary variables mark the starts."""
    n = min(n, 30)
    chosen = (rng.random(n) < 0.3).astype(float)
    starts = np.maximum(np.diff(chosen, prepend=0.0), 0.0)
    step, zero, one = np.eye(n) - np.eye(n, k=-1), np.zeros(n), np.ones(n)
    rows = [np.hstack([step, -np.eye(n)]), np.append(one, zero), np.append(zero, one)]
    limits = [zero, chosen.sum() + rng.integers(0, 3), starts.sum() + rng.integers(0, 2)]
    return _unit(np.append(chosen, starts), np.vstack(rows), np.hstack(limits), num_aux=n)


def conflicts(rng: Generator, n: int, m: int) -> Draft:
    """A budget, pairs that exclude each other, odd cycles among them."""
    n = max(n, 2)
    pairs = np.array([rng.choice(n, 2, replace=False) for _ in range(max(m, 1))])
    if rng.random() < 0.5:
        cycle = np.arange(min(n, 2 * m + 1) // 2 * 2 - 1) if n > 2 else np.arange(2)
        pairs = np.vstack([pairs, np.stack([cycle, np.roll(cycle, 1)], 1)])
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    rows = np.zeros((len(pairs), n))
    rows[np.arange(len(pairs))[:, None], pairs] = 1.0
    weights = rng.choice([np.ones(n), rng.uniform(0.2, 2.0, n)])
    x = np.full(n, rng.choice([0.0, 0.5]))
    limit = max(weights @ x, rng.choice([1.0, 2.0, n / 4]))
    return _unit(x, np.vstack([rows, weights]), np.append(np.ones(len(pairs)), limit))


def transport(rng: Generator, n: int, m: int) -> Draft:
    """Supplies and demands in integers, with capacities."""
    rows = int(rng.integers(1, max(2, min(8, n))))
    columns = max(1, min(n // rows, 8))
    x = rng.integers(0, 3, rows * columns).astype(float)
    supply = np.kron(np.eye(rows), np.ones(columns))
    demand = np.kron(np.ones(rows), np.eye(columns))
    made = _unit(x, A=supply, b=supply @ x + rng.integers(0, 2, rows), A_eq=demand)
    made.upper = np.where(rng.random(len(x)) < 0.5, np.inf, x + rng.integers(0, 2, len(x)))
    return made


def labels(rng: Generator, n: int, m: int) -> Draft:
    """Labelled arcs sum to their arc; an arc needs its predicate; some labels at most once."""
    kinds, arcs = int(rng.integers(1, 4)), max(1, min(n // 3, 12))
    heads = max(1, arcs // 3)
    width = heads + arcs * (1 + kinds)
    x, rows, rows_eq = np.zeros(width), [], []
    for a in range(arcs):
        own = heads + a * (1 + kinds)
        needs, sums = np.zeros(width), np.zeros(width)
        needs[own], needs[a % heads] = 1.0, -1.0
        sums[own], sums[own + 1 : own + 1 + kinds] = -1.0, 1.0
        rows.append(needs)
        rows_eq.append(sums)
    once = np.zeros(width)
    once[heads + 1 :: 1 + kinds] = 1.0
    b = np.append(np.zeros(arcs), 1.0)
    return shuffled(rng, _unit(x, np.vstack([*rows, once]), b, rows_eq))


def two_sets(rng: Generator, n: int, m: int, makers) -> Draft:
    """Two sets side by side, their rows and variables mixed up."""
    chosen = [makers[rng.integers(len(makers))] for _ in range(2)]
    first, second = (make(rng, max(1, n // 2), m // 2) for make in chosen)
    own = [d.width - d.num_aux for d in (first, second)]
    order = [np.arange(own[0]), first.width + np.arange(own[1])]
    order += [np.arange(own[0], first.width), first.width + np.arange(own[1], second.width)]
    order = np.concatenate(order)

    def side_by_side(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        blocks = [
            [one, np.zeros((len(one), two.shape[1]))],
            [np.zeros((len(two), one.shape[1])), two],
        ]
        return np.block(blocks)[:, order]

    x, lower, upper = (np.append(u, v)[order] for u, v in _pairs(first, second, "x lower upper"))
    b, b_eq = (np.append(u, v) for u, v in _pairs(first, second, "b b_eq"))
    A, A_eq = (side_by_side(u, v) for u, v in _pairs(first, second, "A A_eq"))
    return shuffled(rng, Draft(x, lower, upper, A, b, A_eq, b_eq, first.num_aux + second.num_aux))


def _pairs(first: Draft, second: Draft, names: str) -> list:
    return [(getattr(first, name), getattr(second, name)) for name in names.split()]


def masked(rng: Generator, n: int, m: int, makers) -> Draft:
    """Another set, of which some parts that may be at their lower bound are masked by their points.

    The draft has them fixed there, which is what every kind of mask asks for.
    """
    made = makers[rng.integers(len(makers))](rng, n, m)
    own = np.arange(made.width) < made.width - made.num_aux
    at = own & (made.x == made.lower) & (rng.random(made.width) < rng.choice([0.2, 0.6, 1.0]))
    return replace(made, upper=np.where(at, made.lower, made.upper), unmasked=made.upper)


# ---------------------------------------------------------------------- sets without points


def infeasible(rng: Generator, n: int, m: int) -> Draft:
    """A set without points, with the multipliers that prove it."""
    makers = (_contradiction, _out_of_reach, _two_equalities, _nobody_left, _too_little, _crossed)
    makers += (_in_batch,)
    return makers[rng.integers(len(makers))](rng, n, m)


def _gap(rng: Generator) -> float:
    return float(10.0 ** rng.integers(-5, 2))


def _contradiction(rng: Generator, n: int, m: int) -> Draft:
    """One row asks for what a positive combination of the others excludes."""
    made = draft(rng, n, max(m, 1), num_aux=int(rng.integers(0, 2)) if n > 1 else 0)
    lam = rng.integers(1, 4, len(made.b)) * (rng.random(len(made.b)) < 0.5).astype(float)
    lam[0] = 1.0
    row = -lam @ made.A
    if not row.any():
        return _out_of_reach(rng, n, m)
    made = made.with_rows(row, -lam @ made.b - _gap(rng) * np.linalg.norm(row))
    return replace(made, proof=(np.append(lam, 1.0), np.zeros(0)))


def _out_of_reach(rng: Generator, n: int, m: int) -> Draft:
    """A row beyond what the bounds allow, as an inequality or as an equality."""
    made = draft(rng, n, m, bounded="unit")
    row = coefficients(rng, 1, n)[0]
    end = np.where(row > 0, made.lower, made.upper) @ row - _gap(rng) * np.linalg.norm(row)
    lam = np.zeros(m)
    if rng.random() < 0.5:
        made = made.with_rows(row, end)
        return replace(made, proof=(np.append(lam, 1.0), np.zeros(0)))
    return replace(made, A_eq=row[None], b_eq=np.array([end]), proof=(lam, np.ones(1)))


def _two_equalities(rng: Generator, n: int, m: int) -> Draft:
    """Equalities of which one is a sum of others with another right-hand side."""
    made = draft(rng, n, m, int(rng.integers(1, max(2, n // 2))))
    weights = rng.integers(1, 3, len(made.b_eq)).astype(float)
    row = weights @ made.A_eq
    if not row.any():
        return _out_of_reach(rng, n, m)
    made = made.with_equalities(row)
    made.b_eq[-1] -= _gap(rng) * np.linalg.norm(row)
    # weights A_eq x - row x = 0 <= ... : the sum asks for more than the last row grants.
    return replace(made, proof=(np.zeros(len(made.b)), np.append(-weights, 1.0)))


def _nobody_left(rng: Generator, n: int, m: int) -> Draft:
    """An assignment in which somebody has no partner left."""
    made = assignment(rng, n, m)
    k = round(made.width**0.5)
    rows = np.vstack([np.kron(np.eye(k), np.ones(k)), np.kron(np.ones(k), np.eye(k))])
    made = replace(_unit(made.x, A_eq=rows), b_eq=np.ones(2 * k), upper=made.upper)
    lonely = int(rng.integers(2 * k))
    made.upper[rows[lonely] > 0] = rng.choice([0.0, 0.5 / k])
    nu = np.zeros(2 * k)
    nu[lonely] = -1.0
    return replace(made, proof=(np.zeros(0), nu))


def _too_little(rng: Generator, n: int, m: int) -> Draft:
    """A chain of rows with too little room: 1 + gap <= x0 <= x1 <= ... <= xn <= 1."""
    n = max(n, 2)
    rows = np.eye(n - 1, n) - np.eye(n - 1, n, k=1)
    last = np.eye(n)[[n - 1, 0]] * np.array([[1.0], [-1.0]])
    b = np.append(np.zeros(n - 1), [1.0, -1.0 - n * _gap(rng)])
    made = _unit(np.ones(n), np.vstack([rows, last]), b)
    made.lower, made.upper = np.full(n, -np.inf), np.full(n, np.inf)
    return replace(made, proof=(np.ones(n + 1), np.zeros(0)))


def _crossed(rng: Generator, n: int, m: int) -> Draft:
    """Rows of one coefficient that are bounds, and cross."""
    made, i = draft(rng, n, m), rng.integers(n)
    rows = np.eye(n)[[i, i]] * np.array([[0.5], [-2.0]])
    made = made.with_rows(rows, rows @ made.x - [0.0, 2.0 * _gap(rng)])
    return replace(made, proof=(np.append(np.zeros(m), [4.0, 1.0]), np.zeros(0)))


def _in_batch(rng: Generator, n: int, m: int) -> Draft:
    """Instances without a point among others that have one."""
    bad = _contradiction(rng, n, m) if rng.random() < 0.5 else _out_of_reach(rng, n, m)
    if len(bad.b_eq) or bad.proof is None or not len(bad.b):
        return bad
    fine = bad.b.copy()
    fine[-1] = max(fine[-1], bad.A[-1] @ bad.x) + slacks(rng, 1)[0]
    empty = np.array([True, False, rng.random() < 0.5])
    return replace(bad, values={"b": np.where(empty[:, None], bad.b, fine)}, empty=empty)
