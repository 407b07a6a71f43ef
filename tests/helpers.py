"""Every tolerance of the test suite, and small polytopes written out by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import scipy.sparse as sp
import torch

import optlayers as ol
from optlayers.maps import PROJECTIONS

# KKT residual of our own kernels, relative to max(1, |y|): a few hundred roundings.
TOL = {torch.float64: 1e-9, torch.float32: 1e-5}
# What OSQP and Clarabel guarantee, not what they achieve.
QP_TOL = 1e-6
# Two exact methods, relative to 1 + |y|: Newton's stops at a residual of 1e-12, and multipliers
# that are large beside y widen that.
SAME_FACE = 1e-9
# The distance bound is a square root of a duality gap, and so of the rounding.
DISTANCE_TOL = {torch.float64: 1e-7, torch.float32: 1e-3}


def raw_simplex(n: int, total: float = 1.0) -> ol.Polytope:
    """sum(z) = total, z >= 0, from matrices."""
    return ol.Polytope(A_eq=np.ones((1, n)), b_eq=[total], upper=np.inf)


def raw_budget(weights, limit: float) -> ol.Polytope:
    """weights . z <= limit in the unit box, from matrices."""
    return ol.Polytope(np.atleast_2d(weights), [limit])


def raw_chain(n: int = 3) -> ol.Polytope:
    """No two neighbours: z_i + z_{i+1} <= 1. No closed form."""
    return ol.Polytope(np.eye(n - 1, n) + np.eye(n - 1, n, k=1), np.ones(n - 1))


def raw_assignment(n: int) -> ol.Polytope:
    """n x n doubly stochastic matrices: every row and column sums to one."""
    rows = np.vstack([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
    return ol.Polytope(A_eq=rows, b_eq=np.ones(2 * n))


def raw_spans(n: int, max_words: float, max_spans: float) -> ol.Polytope:
    """At most max_words ones in at most max_spans runs; n auxiliary variables mark the starts."""
    step = sp.eye_array(n) - sp.eye_array(n, k=-1)
    ones, zeros = np.ones((1, n)), np.zeros((1, n))
    rows = sp.vstack(
        [
            sp.hstack([step, -sp.eye_array(n)]),
            sp.csr_array(np.hstack([ones, zeros])),
            sp.csr_array(np.hstack([zeros, ones])),
        ]
    )
    return ol.Polytope(rows, np.concatenate([np.zeros(n), [max_words, max_spans]]), num_aux=n)


def raw_two_sided(n: int) -> ol.Polytope:
    """1 <= sum(z) <= 2: two rows on the same variables."""
    return ol.Polytope(np.vstack([np.ones(n), -np.ones(n)]), [2.0, -1.0])


# Name -> polytope: boxes, one row of every kind, several rows, auxiliary variables, mixtures.
RAW = {
    "box": ol.Polytope(lower=np.zeros(4), upper=1.0),
    "free": ol.Polytope(lower=[-np.inf, 0.0, -1.0], upper=[np.inf, np.inf, -1.0]),
    "simplex": raw_simplex(5),
    "budget": raw_budget([1.0, 2.0, 0.5, 3.0], 2.0),
    "signs": ol.Polytope(
        [[1.0, -2.0, 0.5, -1.0]], [-0.5], lower=-1.0, upper=[1.0, np.inf, 2.0, 1.0]
    ),
    "half-space": ol.Polytope([[1.0, 1.0, 1.0]], [0.5], lower=-np.inf, upper=np.inf),
    "hyperplane": ol.Polytope(A_eq=[[1.0, 2.0, -2.0]], b_eq=[3.0], lower=-np.inf, upper=np.inf),
    "fixed": raw_simplex(4).fix({1: 0.0, 2: 0.25}),
    "says nothing": ol.Polytope([[1.0, 1.0, 1.0]], [np.inf]),
    "chain": raw_chain(5),
    "assignment": raw_assignment(3),
    "two-sided": raw_two_sided(5),
    "spans": raw_spans(6, 3, 2),
    "several": ol.product(raw_simplex(3), raw_chain(4), raw_budget(np.ones(3), 1.0)),
    "vertex": ol.Polytope(A_eq=[[1.0, 0.0], [1.0, 1.0]], b_eq=[1.0, 1.0]),
}


def simplex_by_bisection(y: torch.Tensor, total: float = 1.0) -> torch.Tensor:
    """The projection onto a simplex by a method that nothing else here uses."""
    low = y.amin(-1, keepdim=True) - total
    high = y.amax(-1, keepdim=True)
    for _ in range(200):
        middle = (low + high) / 2
        too_much = (y - middle).clamp(min=0).sum(-1, keepdim=True) > total
        low, high = torch.where(too_much, middle, low), torch.where(too_much, high, middle)
    return (y - high).clamp(min=0)


def best_by_enumeration(points: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The best of all points `(K, n)` for every row of scores; of equals the first."""
    return points[(scores @ points.T).argmax(-1)]


@contextmanager
def without(*maps: type) -> Iterator[None]:
    """Plans as if some projections were not there, so that those behind them are tested."""
    left = [m for m in PROJECTIONS if m not in maps]
    version = ("without", *sorted(m.__name__ for m in maps))
    with (
        patch.object(PROJECTIONS, "_maps", left),
        patch.object(PROJECTIONS, "version", version),
    ):
        yield
