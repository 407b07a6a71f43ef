"""The polytopes and points of the comparison of solvers, the same for every method."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.sparse as sp
import torch

import optlayers as ol

from .cases import FOLDER
from .solvers_worker import SMALL


@dataclass(frozen=True)
class Case:
    """A polytope, how many points, and how much of it is judged."""

    text: str
    make: Callable[[], ol.Polytope]
    batch: int
    scale: float = 1.0  # standard deviation of the points
    judged: int = 64  # instances whose certificate is computed, evenly spread
    gpu: bool = False  # meant for a GPU
    start: int = 0  # instances that every method begins with; 0 leaves it to the method
    dense: bool = True  # small enough for solvers that want dense matrices
    declared: tuple[int, int] | None = None  # variables and rows of what a user declares


WORDS = 12  # of the sentences whose trees are relaxed


def _conflicts() -> ol.Polytope:
    """One budget with positive weights, and 109 pairs of which at most one is chosen."""
    rng, n = np.random.default_rng(11), 100
    pairs = [(i, j) for i in range(n) for j in range(i)]
    chosen = np.array(pairs)[rng.choice(len(pairs), 109, replace=False)]
    A = np.zeros((110, n))
    A[0] = rng.uniform(0.5, 1.5, n)
    A[np.arange(1, 110)[:, None], chosen] = 1
    return ol.Polytope(A, np.r_[0.15 * A[0].sum(), np.ones(109)], lower=0, upper=1)


def _random() -> ol.Polytope:
    """45 inequalities and 5 equations with normal coefficients, satisfied by an inner point."""
    rng, n = np.random.default_rng(12), 100
    rows, inner = rng.standard_normal((50, n)), rng.uniform(0.2, 0.8, n)
    A, A_eq = rows[:45], rows[45:]
    b = A @ inner + rng.uniform(0, 0.5, 45)
    return ol.Polytope(A, b, A_eq=A_eq, b_eq=A_eq @ inner, lower=0, upper=1)


def _sparse(n: int, m: int) -> ol.Polytope:
    """Inequalities with 3 normal coefficients each, satisfied by an inner point."""
    rng = np.random.default_rng(13)
    columns = np.concatenate([rng.choice(n, 3, replace=False) for _ in range(m)])
    A = sp.csr_array((rng.standard_normal(3 * m), columns, 3 * np.arange(m + 1)), (m, n))
    inner = rng.uniform(0.2, 0.8, n)
    return ol.Polytope(A, A @ inner + rng.uniform(0, 0.1, m), lower=0, upper=1)


def trees(batch: int, relaxation: str = "arborescence") -> ol.DependencyTrees:
    """Sentences of 12 words."""
    return ol.DependencyTrees([WORDS] * batch, projective=False, relaxation=relaxation)


def _birkhoff(n: int) -> Callable[[], ol.Polytope]:
    return lambda: ol.assignment(n)


# What a user declares: variables, inequalities, points.
DECLARED = [
    (2, 2, 512),
    (5, 3, 512),
    (10, 5, 512),
    (20, 10, 512),
    (5, 10, 512),
    (20, 40, 256),
    (50, 20, 256),
    (50, 100, 128),
    (100, 50, 128),
    (200, 100, 32),
    (500, 250, 8),
    (100, 200, 32),
    (200, 400, 8),
]


def _declared(n: int, m: int) -> Callable[[], ol.Polytope]:
    """Dense inequalities with normal coefficients in the unit box, around an inner point."""

    def make() -> ol.Polytope:
        rng = np.random.default_rng([14, n, m])
        A = rng.standard_normal((m, n))
        b = A @ rng.uniform(0.2, 0.8, n) + rng.uniform(0, 0.5, m)
        return ol.Polytope(A, b, lower=0, upper=1)

    return make


CASES = {
    "birkhoff15": Case("Birkhoff, 15 x 15: 225 variables, 30 equations", _birkhoff(15), 64),
    "birkhoff20": Case(
        "Birkhoff, 20 x 20: 400 variables, 40 equations", _birkhoff(20), 256, judged=32
    ),
    "conflicts": Case("a budget and 109 conflicts over 100 variables", _conflicts, 256),
    "spans40": Case(
        "at most 8 of 40 words in 3 spans: 40 variables and 40 auxiliary ones, 42 rows",
        lambda: ol.spans(40, 8, 3),
        64,
    ),
    "random": Case("45 inequalities and 5 equations, dense, over 100 variables", _random, 128),
    "arborescence12": Case(
        "all trees over 12 words: 169 arcs, a flow per word as auxiliary variables",
        lambda: trees(1).relaxation,
        32,
        judged=8,
        start=1,
        dense=False,
    ),
    "sparse10k": Case(
        "10,000 variables, 5,000 inequalities of 3 coefficients",
        lambda: _sparse(10_000, 5_000),
        4,
        start=1,
        dense=False,
    ),
    "birkhoff15-1024": Case(
        "birkhoff15 again, a larger batch", _birkhoff(15), 1024, judged=32, gpu=True
    ),
    "conflicts-1024": Case("conflicts again, a larger batch", _conflicts, 1024, gpu=True),
}
CASES |= {
    f"declared-{n}x{m}": Case(
        f"what a user declares: {m} dense inequalities, {n} variables",
        _declared(n, m),
        batch,
        declared=(n, m),
    )
    for n, m, batch in sorted(DECLARED)
}
HIDDEN = {SMALL: Case("loads the code of a method", lambda: _sparse(300, 150), 4)}


@cache
def polytope_of(name: str) -> ol.Polytope:
    """The polytope of a case, made once."""
    return (CASES | HIDDEN)[name].make()


def points_of(name: str) -> np.ndarray:
    """Normal points of a case, `(batch, n)`."""
    case = (CASES | HIDDEN)[name]
    rng = np.random.default_rng([sum(map(ord, name)), case.batch])
    return case.scale * rng.standard_normal((case.batch, polytope_of(name).n))


def write_inputs(names: list[str]) -> None:
    """Save points, rows and limits, for processes that do not know this library."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in [*names, *HIDDEN]:
        polytope = polytope_of(name)
        rows = sp.csr_matrix(sp.vstack([polytope.A, polytope.A_eq]))
        b, b_eq = (v.numpy().ravel() for v in (polytope.b, polytope.b_eq))
        np.savez(
            FOLDER / f"{name}.npz",
            y=points_of(name),
            data=rows.data,
            indices=rows.indices,
            indptr=rows.indptr,
            low=np.concatenate([np.full(len(b), -np.inf), b_eq]),
            high=np.concatenate([b, b_eq]),
            lower=polytope.lower.numpy().ravel(),
            upper=polytope.upper.numpy().ravel(),
        )


def residual_of(name: str, z: np.ndarray, enough: float) -> float:
    """The largest certificate residual among the judged; of a few, if these miss `enough`."""
    y, residual = points_of(name)[: len(z)], 0.0
    for count in (4, CASES[name].judged):
        chosen = np.linspace(0, len(z) - 1, min(len(z), count)).astype(int)
        points, answers = (torch.from_numpy(v[chosen]) for v in (y, z))
        residual = float(ol.certify(polytope_of(name), points, answers).residual.max())
        if not residual <= enough:
            break
    return residual
