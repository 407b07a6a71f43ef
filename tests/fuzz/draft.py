"""A polytope in the making: plain arrays, and a point known to satisfy them."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.random import Generator

import optlayers as ol

BATCHABLE = ("b", "b_eq", "lower", "upper")


@dataclass
class Draft:
    """Rows, right-hand sides and bounds, with a point `x` of the set, auxiliary entries last.

    `proof`, if there is one, says that the set is empty instead (see `margin`); `x` then satisfies
    only what was there before. `values` holds what varies in a batch (`x` included), each
    `(count, size)`, and `empty` says which instances have no point; rows may vary as well, as
    `(count, m, width)`. Where `unmasked` is given, some parts are fixed at their lower bound, and
    have these upper bounds in what is asked. `parts` are what a stack is made of.
    """

    x: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    A: np.ndarray
    b: np.ndarray
    A_eq: np.ndarray
    b_eq: np.ndarray
    num_aux: int = 0
    proof: tuple[np.ndarray, np.ndarray] | None = None
    values: dict[str, np.ndarray] = field(default_factory=dict)
    empty: np.ndarray | None = None
    unmasked: np.ndarray | None = None
    parts: tuple["Draft", ...] = ()

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.x)

    def with_rows(self, A, b) -> "Draft":
        """The same with more inequality rows."""
        rows = np.reshape(A, (-1, self.width))
        return replace(self, A=np.vstack([self.A, rows]), b=np.append(self.b, b))

    def with_equalities(self, A_eq) -> "Draft":
        """The same with more equality rows, which `x` satisfies."""
        rows = np.reshape(A_eq, (-1, self.width))
        return replace(
            self, A_eq=np.vstack([self.A_eq, rows]), b_eq=np.append(self.b_eq, rows @ self.x)
        )

    @property
    def own_rows(self) -> bool:
        """Whether every instance has rows of its own."""
        return "A" in self.values or "A_eq" in self.values

    def instance(self, i: int) -> "Draft":
        """One instance of the batch; the set itself where nothing varies."""
        own = {k: v[i] for k, v in self.values.items()}
        return replace(self, **own, values={}, parts=())

    def polytope(self) -> ol.Polytope:
        """The declaration; batched values become tensors."""
        if self.parts:
            return ol.stack([part.polytope() for part in self.parts])
        fields = {k: torch.from_numpy(self.values.get(k, getattr(self, k))) for k in BATCHABLE}
        A, A_eq = (self.values.get(k, getattr(self, k)) for k in ("A", "A_eq"))
        rows = (torch.from_numpy(v) if v.ndim > 2 else v for v in (A, A_eq))
        return ol.Polytope(
            next(rows), A_eq=next(rows), num_aux=self.num_aux, integral=False, **fields
        )


def margin(draft: Draft) -> float:
    """Every point violates some row, of norm one, by at least this much; not positive: no proof.

    Farkas: with multipliers lam >= 0 and nu, g = lam A + nu A_eq, every point within the bounds has
    g.x >= min g.x, and the rows ask for g.x <= lam.b + nu.b_eq. What is missing is shared by the
    rows. Bounds that cross each other need no multipliers.
    """
    crossed = float((draft.lower - draft.upper).max(initial=-np.inf))
    if crossed > 0:
        return crossed / 2
    assert draft.proof is not None
    lam, nu = draft.proof
    used = lam > 0
    g = lam @ draft.A + nu @ draft.A_eq
    g[np.abs(g) <= 1e-12 * (lam @ np.abs(draft.A) + np.abs(nu) @ np.abs(draft.A_eq))] = 0.0
    ends = np.where(g > 0, draft.lower, draft.upper)
    least = float((g[g != 0] * ends[g != 0]).sum())
    asked = float(lam[used] @ draft.b[used] + nu @ draft.b_eq)
    weight = lam @ np.linalg.norm(draft.A, axis=1) + np.abs(nu) @ np.linalg.norm(draft.A_eq, axis=1)
    return (least - asked) / float(weight)


# ---------------------------------------------------------------------- parts


def nothing(width: int, m: int = 0) -> np.ndarray:
    """Rows without coefficients."""
    return np.zeros((m, width))


def coefficients(rng: Generator, m: int, width: int, style: str = "") -> np.ndarray:
    """`(m, width)` rows of a style, each with at least one coefficient."""
    style = style or rng.choice(["normal", "grid", "ones", "positive", "sparse", "signs"])
    if style in ("normal", "sparse"):
        rows = rng.standard_normal((m, width))
    elif style == "grid":
        rows = rng.integers(-3, 4, (m, width)).astype(float)
    elif style == "positive":
        rows = rng.uniform(0.1, 3.0, (m, width))
    else:
        rows = np.ones((m, width))
    if style == "signs":
        rows *= rng.choice([-1.0, 1.0], (m, width))
    if style in ("sparse", "ones", "signs"):
        rows *= rng.random((m, width)) < min(1.0, max(3 / width, 0.05))
    at = rng.integers(0, width, m)
    missing = ~rows.any(1)
    rows[missing, at[missing]] = 1.0
    return rows


def point(rng: Generator, width: int, style: str = "") -> np.ndarray:
    """A point to build a set around."""
    style = style or rng.choice(
        ["grid", "unit", "normal", "binary", "large"], p=[0.3, 0.3, 0.2, 0.15, 0.05]
    )
    if style == "grid":
        return rng.integers(-2, 3, width) / 2
    if style == "unit":
        return rng.random(width)
    if style == "binary":
        return rng.integers(0, 2, width).astype(float)
    return rng.standard_normal(width) * (100.0 if style == "large" else 1.0)


def bounds(rng: Generator, x: np.ndarray, style: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Bounds around a point: at it, near it, far, infinite, or fixing a variable."""
    style = style or rng.choice(["mixed", "unit", "free", "half"], p=[0.5, 0.25, 0.1, 0.15])
    if style == "unit":
        return np.minimum(x, 0.0), np.maximum(x, 1.0)
    if style == "free":
        return np.full(len(x), -np.inf), np.full(len(x), np.inf)
    if style == "half":
        return np.minimum(x, 0.0), np.full(len(x), np.inf)
    kinds = ["at", "near", "half", "infinite"]
    away = {"at": 0.0, "near": 0.25, "half": 1.0, "infinite": np.inf}
    low, high = (
        np.array([away[k] for k in rng.choice(kinds, len(x), p=[0.2, 0.3, 0.3, 0.2])])
        for _ in range(2)
    )
    return x - low, x + high


def slacks(rng: Generator, m: int, active: float = -1.0) -> np.ndarray:
    """Zero for about the fraction `active` of the rows."""
    active = rng.random() if active < 0 else active
    return np.where(rng.random(m) < active, 0.0, rng.choice([0.5, 1.0, rng.exponential()], m))


def draft(
    rng: Generator,
    width: int,
    m: int,
    m_eq: int = 0,
    *,
    style: str = "",
    at: str = "",
    bounded: str = "",
    active: float = -1.0,
    num_aux: int = 0,
) -> Draft:
    """A random set around a random point."""
    x = point(rng, width, at)
    lower, upper = bounds(rng, x, bounded)
    A, A_eq = coefficients(rng, m, width, style), coefficients(rng, m_eq, width, style)
    return Draft(x, lower, upper, A, A @ x + slacks(rng, m, active), A_eq, A_eq @ x, num_aux)


def shuffled(rng: Generator, made: Draft) -> Draft:
    """Rows in another order, and variables too (the auxiliary ones stay last)."""
    own = made.width - made.num_aux
    order = np.concatenate([rng.permutation(own), own + rng.permutation(made.num_aux)])
    rows, rows_eq = rng.permutation(len(made.b)), rng.permutation(len(made.b_eq))
    return replace(
        made,
        x=made.x[order],
        lower=made.lower[order],
        upper=made.upper[order],
        A=made.A[rows][:, order],
        b=made.b[rows],
        A_eq=made.A_eq[rows_eq][:, order],
        b_eq=made.b_eq[rows_eq],
    )
