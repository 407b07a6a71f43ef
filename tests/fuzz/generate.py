"""`named_case("family:seed")`: a hostile set and what to ask of it, from a name.

A name must mean the same set for ever, whatever families are added: nothing is drawn from the list
of families, and a run asks for the same seeds of each (`names`). Do not change what a family draws;
the digests in `seeds.txt` tell when that happened.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.random import Generator, default_rng
from torch import Tensor

import optlayers as ol

from . import batches as b
from . import corners as c
from . import families as f
from . import hairs as h
from . import structured as s
from .draft import Draft, margin
from .sets import polytopes as p
from .sets import structures as t
from .sets.known import Known, SetCase, set_case

POINTS = 3  # per polytope
_PARTS = (f.box, f.one_row, f.dense, f.sparse, f.ties, f.degenerate, s.assignment, s.flow, s.spans)
_PARTS += (s.conflicts, f.auxiliary, f.dependent, f.flat)


def product(rng: Generator, n: int, m: int) -> Draft:
    """Two other sets side by side."""
    return s.two_sets(rng, n, m, _PARTS)


def masked(rng: Generator, n: int, m: int) -> Draft:
    """Masks of three kinds, one per point."""
    return s.masked(rng, n, m, _PARTS)


_MASKS = (-np.inf, -1e9, float(np.finfo(np.float64).min))
_MAKERS = (
    f.box, f.one_row, f.one_row_each, f.dense, f.sparse, f.mixed, f.auxiliary, f.batched, f.ties,
    f.degenerate, f.single_point, f.flat, f.dependent, f.thin_cone, f.scaled, f.scaled_columns,
    f.redundant, f.unbounded, f.far_away, f.fixed, f.knapsacks,
    s.assignment, s.flow, s.spans, s.conflicts, s.transport, s.labels, product, s.infeasible,
    f.small_auxiliary, f.dependent_auxiliaries, f.scaled_auxiliaries, f.chain,
    masked,
    h.far_bounds, h.marginals, h.nine_decades,
    c.vertices, c.corners, c.anchors,
    b.partly_empty, b.rows_of_a_batch, b.stacked, b.expected_near,
)  # fmt: skip
_SET_MAKERS = (
    p.set_box, p.set_simplex, p.set_cardinality, p.set_budget, p.set_assignment, p.set_transport,
    p.set_spans, p.set_dag_path, p.set_grid_path, p.set_label_sum, p.set_conflicts, p.set_knapsacks,
    p.set_programs, p.set_rows_of_a_batch, p.set_stack, p.set_product, p.set_hull, p.set_lazy_rows,
    t.set_head_selection, t.set_trees, t.set_graphs, t.set_linear_chain, t.set_segmentation,
    t.set_spanning_trees, t.set_graph_paths, t.set_rankings, t.set_hull_of_structures,
)  # fmt: skip
ROWS: dict[str, Callable[[Generator, int, int], Draft]] = {m.__name__: m for m in _MAKERS}
SETS: dict[str, Callable[[Generator, int, int], Known]] = {m.__name__: m for m in _SET_MAKERS}
FAMILIES = (*ROWS, *SETS)


@dataclass(frozen=True)
class Case:
    """What to project, and what is known of the answer.

    Attributes:
        name: How to make it again, `family:seed` or `family:seed:n:m`.
        draft: The arrays it was made from.
        y: Points `(count, n)`; in a batch, one per instance.
        known: The projections where the construction says them, `(count, n)`; NaN elsewhere.
    """

    name: str
    draft: Draft
    y: Tensor
    known: np.ndarray

    @cached_property
    def polytope(self) -> ol.Polytope:
        """The set, declared."""
        return self.draft.polytope()

    @cached_property
    def asked(self) -> tuple[ol.Polytope, Tensor]:
        """The set and the points that are asked for: masks instead of fixed parts, if there are."""
        d = self.draft
        if d.unmasked is None:
            return self.polytope, self.y
        own = d.width - d.num_aux
        at = torch.from_numpy((d.upper != d.unmasked)[:own])
        low = torch.tensor(_MASKS, dtype=self.y.dtype)[torch.arange(len(self.y)) % 3, None]
        return replace(d, upper=d.unmasked).polytope(), torch.where(at, low, self.y)

    @property
    def family(self) -> str:
        """The first part of the name."""
        return self.name.split(":")[0]

    def empty(self) -> np.ndarray:
        """`(count,)`: which instances have no point, by proof."""
        if self.draft.empty is not None:
            return self.draft.empty
        return np.full(len(self.y), self.draft.proof is not None)

    def instance(self, i: int) -> Draft:
        """The set of the i-th point."""
        return self.draft.instance(i)

    def single(self, i: int) -> "Case":
        """The i-th instance alone."""
        at = slice(i, i + 1)
        return Case(self.name, self.instance(i), self.y[at], self.known[at])

    def margin(self, i: int) -> float:
        """By how much the i-th instance is empty (see `draft.margin`)."""
        return margin(self.instance(i))

    def __str__(self) -> str:
        return str(self.polytope)

    def digest(self) -> str:
        """A short hash of all numbers to six digits: roundings of another machine do not count."""
        hashed = hashlib.blake2b(digest_size=4)
        d = self.draft
        arrays = [d.A, d.b, d.A_eq, d.b_eq, d.lower, d.upper, self.y.numpy(), *d.values.values()]
        for array in arrays:
            hashed.update(f"{array.shape}".encode())
            tidy = np.where(np.abs(array) < 1e-11, 0.0, array)
            hashed.update(",".join(f"{v:.5e}" for v in tidy.ravel()).encode())
        return hashed.hexdigest()


def names(cases: int, seed: int, family: str = "") -> list[str]:
    """The cases of a run: the families in turn, all with one seed, then with the next."""
    families = [family] if family else FAMILIES
    return [f"{families[k % len(families)]}:{seed + k // len(families)}" for k in range(cases)]


def named_case(name: str) -> "Case | SetCase":
    """The case of a name: `family:seed` or `family:seed:n:m`."""
    family, *numbers = name.split(":")
    given = [int(number) for number in numbers]
    seed, n, m = (given[0], *_size(given[0])) if len(given) == 1 else given
    if family not in SETS:
        return _case(name, family, n, m, seed)
    rng = default_rng([seed, 0])
    return set_case(name, SETS[family](rng, n, m), rng, seed)


def case(seed: int, family: str) -> Case:
    """The case of a family of rows."""
    return _case(f"{family}:{seed}", family, *_size(seed), seed)


def sized_case(family: str, n: int, m: int, seed: int) -> Case:
    """The same with sizes given, as hypothesis draws them."""
    return _case(f"{family}:{seed}:{n}:{m}", family, n, m, seed)


def cases(families: Sequence[str] = tuple(ROWS)) -> st.SearchStrategy[Case]:
    """Shrinks towards the first families, few variables, few rows."""
    return st.builds(
        sized_case,
        st.sampled_from(families),
        st.integers(1, 20),
        st.integers(0, 12),
        st.integers(0, 2**16),
    )


def _size(seed: int) -> tuple[int, int]:
    """About how many columns and rows."""
    rng = default_rng([seed, 1])
    sizes = [rng.integers(1, 7), rng.integers(7, 21), rng.integers(21, 61)]
    n = int(rng.choice(sizes, p=[0.5, 0.35, 0.15]))
    return n, int(rng.integers(0, min(2 * n, 40) + 1))


def _case(name: str, family: str, n: int, m: int, seed: int) -> Case:
    rng = default_rng([seed, 0])
    with np.errstate(invalid="ignore"):  # 0 * inf in sums that are then not used
        made = ROWS[family](rng, n, m)
    count = len(next(iter(made.values.values()))) if made.values else POINTS
    drawn = [_point(rng, made.instance(i)) for i in range(count)]
    y, known = (np.array(v) for v in zip(*drawn, strict=True))
    return Case(name, made, torch.from_numpy(y), known)


# ---------------------------------------------------------------------- points to project


def _point(rng: Generator, made: Draft) -> tuple[np.ndarray, np.ndarray]:
    """A point, and its projection where the construction says it (else NaN)."""
    own = made.width - made.num_aux
    z, unknown = made.x[:own], np.full(own, np.nan)
    kind = rng.choice(["far", "vertex", "normal", "near", "tiny", "ties", "around", "constant"])
    if kind == "vertex":
        y = z.copy()
    elif kind == "normal":
        y = z + (10.0 ** rng.integers(-3, 4)) * _normal(rng, made)
    elif kind == "far":
        y = z + (10.0 ** rng.integers(1, 7)) * rng.standard_normal(own)
    elif kind == "near":
        y = z + (10.0 ** rng.integers(-8, -1)) * rng.standard_normal(own)
    elif kind == "tiny":
        y = 1e-8 * rng.standard_normal(own)
    elif kind == "ties":
        y = rng.integers(-3, 4, own) / 2
    elif kind == "around":
        y = z + rng.choice([0.3, 1.0, 3.0]) * rng.standard_normal(own)
    else:
        y = np.full(own, rng.choice([0.0, 0.5, 1.0, 10.0]))
    says = made.proof is None and kind in ("vertex", "normal")
    return y, z if says and not (kind == "normal" and made.num_aux) else unknown


def _normal(rng: Generator, made: Draft) -> np.ndarray:
    """A direction of the normal cone at a point of the set: moved along it, it projects back."""
    own, x = made.width - made.num_aux, made.x
    if made.num_aux:
        return rng.standard_normal(own)
    size = 1.0 + np.abs(made.A) @ np.abs(x)
    with np.errstate(invalid="ignore"):
        active = made.A[np.abs(made.b - made.A @ x) <= 1e-13 * size]
    rows = [
        active,
        made.A_eq,
        -made.A_eq,
        np.eye(own)[x == made.upper],
        -np.eye(own)[x == made.lower],
    ]
    cone = np.vstack(rows)
    norms = np.linalg.norm(cone, axis=1)
    cone = cone[norms > 0] / norms[norms > 0, None]
    weights = rng.exponential(size=len(cone)) * (rng.random(len(cone)) < rng.choice([0.3, 1.0]))
    return weights @ cone if len(cone) else np.zeros(own)
