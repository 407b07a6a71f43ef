"""The active set method in extended precision, on blocks that other solvers find hard."""

import itertools

import numpy as np
import pytest

import optlayers as ol
from optlayers._plan.blocks import canonical_block
from optlayers._solvers.block import Answer, ProjectionProblem
from optlayers._solvers.extended import ExtendedActiveSet

ROUNDED = 1e-13  # residual of what was computed with more digits and rounded once


def solved(P: ol.Polytope, y) -> tuple[Answer, np.ndarray]:
    """The answer for a polytope of one component, and the point in the order of its variables."""
    block = canonical_block(P)
    order = block.index[0]
    limits = [np.array(v[0]) for v in block.static]
    point = np.zeros(block.size)
    point[order < P.n] = np.asarray(y, dtype=float)[order[order < P.n]]
    answer = ExtendedActiveSet(block).solve(ProjectionProblem(point, *limits))
    x = np.empty(block.size)
    x[order] = answer.x
    return answer, x[: P.n]


@pytest.mark.parametrize("width", [1e-2, 1e-5, 1e-8])
def test_rows_that_are_nearly_parallel(width):
    """Two half-spaces that open by a little: the nearest point is where they meet."""
    A = np.array([[1.0, width, 0.5], [-1.0, width, -0.5]])
    P = ol.Polytope(A, [0.0, 0.0], lower=-np.inf, upper=np.inf, integral=False)
    answer, z = solved(P, [0.0, 1.0, 0.0])
    np.testing.assert_allclose(z, 0.0, rtol=0, atol=1e-15)
    assert answer.residual <= ROUNDED


@pytest.mark.parametrize("seed", range(8))
def test_against_the_best_of_all_active_sets(seed):
    """Every choice of active rows gives a point; the nearest of those in the set is the answer."""
    rng = np.random.default_rng(seed)
    n, m = 3, 6
    A, x = rng.integers(-2, 3, (m, n)).astype(float), rng.integers(0, 2, n).astype(float)
    A[~A.any(1), 0] = 1.0
    P = ol.Polytope(A, A @ x + rng.integers(0, 2, m), lower=-np.inf, upper=np.inf, integral=False)
    if len(canonical_components(A)) > 1:
        A[0] = 1.0
        P = ol.Polytope(A, A @ x, lower=-np.inf, upper=np.inf, integral=False)
    y, b = rng.standard_normal(n) * 3, P.b.numpy()
    points = [y]
    for k in range(1, n + 1):
        for chosen in itertools.combinations(range(m), k):
            own = A[list(chosen)]
            points.append(y - np.linalg.pinv(own) @ (own @ y - b[list(chosen)]))
    inside = [p for p in points if (A @ p <= b + 1e-9).all()]
    nearest = min(inside, key=lambda p: np.linalg.norm(p - y))
    answer, z = solved(P, y)
    np.testing.assert_allclose(z, nearest, rtol=0, atol=1e-9)
    assert answer.residual <= ROUNDED


def canonical_components(A: np.ndarray) -> np.ndarray:
    """Numbers of the components of the graph of rows and variables."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    graph = sp.block_array([[None, sp.csr_array(A)], [sp.csr_array(A.T), None]])
    return np.unique(connected_components(graph, directed=False)[1])


@pytest.mark.parametrize("coefficient", [0.3, 1.0, 4.0])  # in the units of `units_of`
def test_what_an_auxiliary_variable_can_give(coefficient):
    P = ol.Polytope(
        [[1, 1, -coefficient]], [0.5], lower=0.0, upper=[1, 1, 0.6 / coefficient], num_aux=1
    )
    answer, z = solved(P, [0.9, 0.8])
    np.testing.assert_allclose(z, [0.6, 0.5], rtol=0, atol=1e-12)
    assert answer.residual <= 1e-12


def test_rows_that_depend_on_one_another():
    rows = np.array([[1.0, 1, 1], [2, 2, 2], [1, -1, 0], [2, 0, 1]])
    b = rows @ [0.2, 0.1, 0.4]
    P = ol.Polytope(A_eq=rows, b_eq=b, lower=-np.inf, upper=np.inf, integral=False)
    answer, z = solved(P, [1.0, 2.0, -1.0])
    expected = np.array([1.0, 2.0, -1.0])
    expected = expected - np.linalg.pinv(rows) @ (rows @ expected - b)
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-14)
    assert answer.residual <= ROUNDED


def test_an_empty_set_has_no_answer():
    P = ol.Polytope([[1.0, 1], [-1, -1]], [1.0, -1.5], lower=-np.inf, upper=np.inf)
    answer, _ = solved(P, [0.0, 0.0])
    assert not np.isfinite(answer.residual)
    assert answer.status == "infeasible"
