"""Families of batches: partly empty, with rows of their own, stacked; and points to start near."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from . import families as f
from . import structured as s
from .draft import Draft, draft, nothing

_GAPS = (1e-12, 1e-10, 1e-8, 1e-5, 1e-3, 1.0, 100.0)
_ANY = (f.box, f.one_row, f.one_row_each, f.dense, f.sparse, f.auxiliary, f.ties, f.dependent)
_ANY += (s.assignment, s.flow, s.spans, s.conflicts, s.transport, s.labels)
COUNT = 4


def partly_empty(rng: Generator, n: int, m: int) -> Draft:
    """Instances without a point, by a hair or by much, among others that have one.

    One row asks for what the bounds do not allow, or bounds cross. Judged under every policy and by
    every verb (see `policies.py`).
    """
    n = min(n, 20)
    kind = rng.integers(4)
    makers = (s.assignment, s.transport, s.labels, s.conflicts, f.knapsacks)
    if kind == 0:
        made = makers[rng.integers(len(makers))](rng, n, m)
    else:
        made = draft(rng, n, m, int(rng.integers(0, 3)), bounded="unit", at="unit")
    ends = rng.choice([made.upper, np.where(np.isfinite(made.upper), made.upper, 3.0)])
    made = replace(made, upper=ends)
    empty = rng.random(COUNT) < 0.5
    empty[rng.integers(COUNT)] = True
    empty[rng.integers(COUNT)] = False
    gaps = np.where(empty, rng.choice(_GAPS, COUNT), 0.0)
    if rng.random() < 0.2 or not (len(made.b) + len(made.b_eq)):
        return _crossed(rng, made, gaps)
    return _out_of_reach(rng, made, gaps)


def _crossed(rng: Generator, made: Draft, gaps: np.ndarray) -> Draft:
    at = rng.integers(made.width)
    lower = np.tile(made.lower, (COUNT, 1))
    upper = np.tile(made.upper, (COUNT, 1))
    upper[gaps > 0, at] = lower[gaps > 0, at] - gaps[gaps > 0]
    return replace(made, values={"lower": lower, "upper": upper}, empty=gaps > 0)


def _out_of_reach(rng: Generator, made: Draft, gaps: np.ndarray) -> Draft:
    """One right-hand side beyond what the bounds allow, where the gap is positive."""
    k = int(rng.integers(len(made.b) + len(made.b_eq)))
    below = k < len(made.b)
    name, j = ("b", k) if below else ("b_eq", k - len(made.b))
    row = (made.A if below else made.A_eq)[j]
    sign = 1.0 if below else float(rng.choice([1.0, -1.0]))
    used = row != 0
    ends = np.where(sign * row > 0, made.lower, made.upper)
    least = float((sign * row * np.where(used, ends, 0.0))[used].sum())
    if not used.any() or not np.isfinite(least):
        return _crossed(rng, made, gaps)
    limits = np.tile(getattr(made, name), (COUNT, 1))
    missed = least - gaps * np.linalg.norm(row)
    limits[gaps > 0, j] = sign * missed[gaps > 0]
    lam, nu = np.zeros(len(made.b)), np.zeros(len(made.b_eq))
    (lam if below else nu)[j] = sign
    return replace(made, values={name: limits}, empty=gaps > 0, proof=(lam, nu))


def rows_of_a_batch(rng: Generator, n: int, m: int) -> Draft:
    """Rows, limits and bounds of each instance its own; a simplex or one row among them."""
    n, m, count = min(n, 12), min(m, 6), 3
    aux = int(rng.integers(0, 3)) if rng.random() < 0.3 else 0
    kind, m_eq = rng.integers(4), int(rng.integers(0, max(1, min(n, m))))
    if kind == 0:
        m, m_eq, aux = 1, 0, 0
    elif kind == 1:
        m, m_eq, aux = 0, 1, 0
    made = [draft(rng, n + aux, m, m_eq, num_aux=aux) for _ in range(count)]
    names = ["x", "lower", "upper", *["A", "b"] * bool(m), *["A_eq", "b_eq"] * bool(m_eq)]
    if not m + m_eq:
        names = ["x", "lower", "upper"]
    values = {name: np.array([getattr(d, name) for d in made]) for name in names}
    return replace(made[0], values=values)


def stacked(rng: Generator, n: int, m: int) -> Draft:
    """Three other sets of different sizes as one batch, by `stack`."""
    sizes = rng.integers(1, 9, 3)
    parts = [_ANY[rng.integers(len(_ANY))](rng, int(k), int(rng.integers(0, 6))) for k in sizes]
    own = max(d.width - d.num_aux for d in parts)
    aux, m, m_eq = (max(size(d) for d in parts) for size in _SIZES)
    grown = [_grown(d, own, aux, m, m_eq) for d in parts]
    names = ("x", "lower", "upper", "A", "b", "A_eq", "b_eq")
    values = {name: np.array([getattr(d, name) for d in grown]) for name in names}
    if not m:
        del values["A"], values["b"]
    if not m_eq:
        del values["A_eq"], values["b_eq"]
    return replace(grown[0], values=values, parts=tuple(parts))


_SIZES = (lambda d: d.num_aux, lambda d: len(d.b), lambda d: len(d.b_eq))


def _grown(made: Draft, own: int, aux: int, m: int, m_eq: int) -> Draft:
    """The same with variables fixed at zero and rows of nothing, up to these sizes."""
    k, width = made.width - made.num_aux, own + aux
    at = np.append(np.arange(k), own + np.arange(made.num_aux))
    vectors, rows = {}, {}
    for name in ("x", "lower", "upper"):
        vectors[name] = np.zeros(width)
        vectors[name][at] = getattr(made, name)
    for name, side, count in (("A", "b", m), ("A_eq", "b_eq", m_eq)):
        given = getattr(made, name)
        rows[name], rows[side] = nothing(width, count), np.zeros(count)
        rows[name][: len(given), at] = given
        rows[side][: len(given)] = getattr(made, side)
    return Draft(**vectors, **rows, num_aux=aux)


def expected_near(rng: Generator, n: int, m: int) -> Draft:
    """Any other set; asked once more with points to start near (see `judge.py`)."""
    return _ANY[rng.integers(len(_ANY))](rng, n, m)
