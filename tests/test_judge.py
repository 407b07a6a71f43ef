"""The judge from both sides: right points of sets of every kind pass, wrong ones never do."""

from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import optlayers as ol

from .helpers import QP_TOL

COUNT = 100  # points of each random set
SETS = 50
STEP = 1e-3  # by which a wrong point is off


class Known(NamedTuple):
    """Points, their projections by construction, and the set, one instance each."""

    polytope: ol.Polytope
    y: torch.Tensor
    z: torch.Tensor


def known_projections(seed: int) -> Known:
    """A set around chosen points, and points moved away from them along their normal cones.

    Rows are scaled by 1e-9 to 1e9, auxiliary variables by 1e-7 to 1e2; bounds may be infinite,
    equal, and active; a third of the sets has auxiliary variables, a third dependent equality rows.
    """
    rng = np.random.default_rng(seed)
    n, m, m_eq = rng.integers(2, 9), rng.integers(0, 5), rng.integers(0, 2)
    aux = rng.integers(1, 4) if seed % 3 == 0 else 0
    coefficients = [
        lambda k: rng.integers(-2, 3, (k, n + aux)).astype(float),
        lambda k: rng.standard_normal((k, n + aux)) * (rng.random((k, n + aux)) < 0.7),
        lambda k: (rng.random((k, n + aux)) < 0.5).astype(float),
    ][rng.integers(3)]
    A, A_eq = coefficients(m), coefficients(m_eq)
    if seed % 3 == 1:
        A_eq = np.vstack([A_eq, -2 * A_eq])
    x = rng.integers(-4, 5, (COUNT, n + aux)) / 2
    active = rng.random((COUNT, m)) < 0.5
    b = x @ A.T + np.where(active, 0.0, rng.choice([0.5, 2.0, np.inf], (COUNT, m)))
    lam = np.where(active, rng.exponential(size=(COUNT, m)), 0.0)
    nu = rng.standard_normal((COUNT, len(A_eq)))
    # What the rows pull at: an auxiliary variable must stand at the bound it is pulled to.
    pull = lam @ A + nu @ A_eq
    low, high = rng.random((2, COUNT, n + aux)) < 0.3
    low[:, n:], high[:, n:] = pull[:, n:] > 1e-12, pull[:, n:] < -1e-12
    far = rng.choice([0.5, 1.0, np.inf], (2, COUNT, n + aux))
    lower, upper = x - np.where(low, 0.0, far[0]), x + np.where(high, 0.0, far[1])
    push = rng.exponential(size=(COUNT, n + aux)) * (rng.random((COUNT, n + aux)) < 0.7)
    y = x + pull + np.where(high, push, 0.0) - np.where(low, push, 0.0)
    row, row_eq = (10.0 ** rng.integers(-9, 10, (len(rows), 1)) for rows in (A, A_eq))
    unit = np.concatenate([np.ones(n), 10.0 ** rng.integers(-7, 3, aux)])
    P = ol.Polytope(
        A * row * unit,
        torch.from_numpy(b * row.T),
        A_eq=A_eq * row_eq * unit,
        b_eq=torch.from_numpy((x @ A_eq.T) * row_eq.T),
        lower=torch.from_numpy(lower / unit),
        upper=torch.from_numpy(upper / unit),
        num_aux=aux,
        integral=False,
    )
    return Known(P, torch.from_numpy(y[:, :n]), torch.from_numpy(x[:, :n]))


def moved(known: Known, seed: int) -> torch.Tensor:
    """Points that are off by STEP: anywhere, and half of them straight out of the set."""
    d = torch.randn(known.z.shape, generator=torch.Generator().manual_seed(seed)).double()
    d[::2] += 100 * (known.y - known.z)[::2]
    return known.z + STEP * d / d.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("seed", range(SETS))
def test_right_points_are_accepted(seed):
    known = known_projections(seed)
    certificate = ol.certify(known.polytope, known.y, known.z)
    assert bool(certificate.within(QP_TOL).all()), certificate


@pytest.mark.parametrize("seed", range(SETS))
def test_wrong_points_are_rejected(seed):
    known = known_projections(seed)
    certificate = ol.certify(known.polytope, known.y, moved(known, seed))
    assert not bool(certificate.within(QP_TOL).any()), certificate


@pytest.mark.parametrize("step", [1e-6, STEP, 1.0])
@pytest.mark.parametrize("seed", range(0, SETS, 5))
def test_the_distance_is_never_less_than_it_is(seed, step):
    known = known_projections(seed)
    point = known.z + step / STEP * (moved(known, seed) - known.z)
    bound = ol.certify(known.polytope, known.y, point).distance
    assert bool((bound >= (1 - 1e-6) * step).all()), float(bound.min())


def test_most_distances_are_known():
    finite = 0
    for seed in range(SETS):
        known = known_projections(seed)
        finite += int(
            ol.certify(known.polytope, known.y, moved(known, seed)).distance.isfinite().sum()
        )
    assert finite >= 0.97 * SETS * COUNT


# ---------------------------------------------------------------------- kinds of faults


@pytest.mark.parametrize("scale", [1e-12, 1e-7, 1.0, 1e9])
def test_a_row_of_any_size_judges_alike(scale):
    P, one = ol.Polytope([[scale, scale]], [scale]), torch.ones(2, dtype=torch.float64)
    certificate = ol.certify(P, one, one)
    assert not certificate.holds(0.1)
    assert float(certificate.primal) == pytest.approx(np.sqrt(0.5))
    assert float(certificate.distance) >= np.sqrt(0.5)


@pytest.mark.parametrize("n", [300, 3000])
def test_a_small_violation_of_an_ill_conditioned_set_is_far(n):
    # The projection onto the convex sequences is the least-squares line.
    i = np.arange(n)
    y = np.sin(np.pi * i / (n - 1))
    rows = sp.diags_array([-1.0, 2.0, -1.0], offsets=[0, 1, 2], shape=(n - 2, n))
    P = ol.Polytope(rows, np.zeros(n - 2), lower=-np.inf, upper=np.full(n, np.inf), integral=False)
    line = np.polynomial.Polynomial.fit(i, y, 1)(i)
    certificate = ol.certify(P, y, y)
    assert float(certificate.distance) >= np.linalg.norm(y - line)
    assert not certificate.holds(QP_TOL)


@pytest.mark.parametrize("unit", [1.0, 1e-2, 1e-7])
def test_a_small_coefficient_of_an_auxiliary_variable_hides_nothing(unit):
    P = ol.Polytope([[1.0, 1.0, -unit]], [0.5], lower=0.0, upper=[1.0, 1.0, 10.0 / unit], num_aux=1)
    y = torch.tensor([0.9, 0.8], dtype=torch.float64)
    assert ol.certify(P, y, y).holds(1e-9)
    wrong = torch.tensor([0.72, 0.62], dtype=torch.float64)
    assert not ol.certify(P, y, wrong).holds(1e-2)


@pytest.mark.parametrize("mask", [-1e9, -1e30, float(torch.finfo(torch.float32).min)])
def test_a_mask_does_not_excuse_the_others(mask):
    P = ol.Polytope([[1.0, 1, 0, 1], [0, 1, 1, 1]], [1.0, 1.0])
    y = torch.tensor([1.5, mask, -2.2, 0.6], dtype=torch.float64)
    assert ol.certify(P, y, [0.95, 0.0, 0.0, 0.05]).holds(1e-9)
    assert not ol.certify(P, y, [0.70, 0.0, 0.0, 0.30]).holds(1e-2)


def test_a_set_that_is_empty_has_no_distance():
    P = ol.Polytope([[-1.0, -1.0, 0], [1.0, 0, 1.0], [0, 1.0, 1.0]], [-1.9, 0.5, 0.5])
    certificate = ol.certify(P, np.zeros(3), np.full(3, 0.5))
    assert float(certificate.distance) == np.inf
    assert not certificate.holds(1e9)


def test_a_set_that_is_empty_by_a_hair_is_read_with_the_nearest_right_hand_sides():
    rows = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]])
    P = ol.Polytope(A_eq=rows, b_eq=[0.5, 0.5, 0.5, 0.5 + 1e-8], integral=False)
    certificate = ol.certify(P, np.zeros(4), np.full(4, 0.25))
    assert certificate.holds(QP_TOL)
    assert not certificate.holds(1e-10)


@pytest.mark.parametrize("field", ["primal", "dual", "complementarity", "distance", "scale"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_never_hold(field, bad):
    from dataclasses import replace

    certificate = ol.certify(ol.simplex(2), [2.0, 0.0], [1.0, 0.0])
    assert certificate.holds(1e-9)
    broken = replace(certificate, **{field: torch.tensor(bad, dtype=torch.float64)})
    assert not broken.holds(1e-9) or (field == "scale" and bad == torch.inf)


SINGLE = {
    "long simplex": ol.simplex(1000),
    "budget": ol.budget([float(k) for k in range(1, 21)], 30.0),
    "assignment": ol.assignment(5),
    "spans": ol.spans(8, 4, 2),
    "trees": ol.DependencyTrees(3, relaxation="arborescence").relaxation,
    "nearly parallel rows": ol.Polytope([[1.0, 1, 0], [1, 1.0001, 0], [1, 1, 1e-4]], [1.0] * 3),
    "rows of any size": ol.Polytope([[1e6, 1e6, 0], [0, 1e-6, 1e-6]], [1e6, 1e-6]),
    "columns of any size": ol.Polytope([[1.0, 1e-3, 1e3], [1e3, 1, 1e-3]], [1.0, 1.0]),
    "far bounds": ol.Polytope([[1.0, 1, 1]], [1.0], lower=-1e8, upper=np.inf),
}


@pytest.mark.parametrize("size", [0.1, 1.0, 1e3, 1e5])
@pytest.mark.parametrize("P", SINGLE.values(), ids=SINGLE)
def test_what_was_rounded_to_single_precision_is_accepted(P, size):
    y = (size * torch.randn(10, P.n)).float()
    z = ol.project(P, y)
    certificate = ol.certify(P, y, z)
    assert certificate.holds(1e-5), certificate
    wrong = z + STEP * y.abs().amax(-1, keepdim=True).clamp(min=1.0)
    assert not ol.certify(P, y, wrong).within(1e-5).any()


def test_validate_agrees_with_the_certificate():
    P = ol.Polytope([[1e-7, 1e-7]], [1e-7])
    found = ol.validate(P, samples=10, against=("cvxpy",), projection=lambda y: y.clamp(0, 1))
    assert not found.ok
    assert found.problems[0].startswith("residual")
    assert ol.validate(P, samples=10, against=("cvxpy",)).ok


@pytest.mark.parametrize("weight", [1e3, 1e6, 1e9])
def test_a_rounded_point_of_one_row_is_explained_by_its_heaviest_entry(weight):
    """Rounding in the others, times the weight, would be far more than that entry has left."""
    P = ol.Polytope(A_eq=[[1.0, 1, 1, weight, 1]], b_eq=[weight / 2], lower=0.0, upper=np.inf)
    y = torch.tensor([-99503.0, 158763.9, -55660.0, 0.3 * weight, 269496.8])
    z = ol.project(P, y)
    certificate = ol.certify(P, y, z)
    assert certificate.holds(1e-6), certificate
    z[1] += 1e-4 * y.abs().max()
    assert not ol.certify(P, y, z).holds(1e-6)


def test_a_rounded_point_beside_a_corner_is_near():
    """Multipliers of 1e6 times a rounding are a wide gap from there, and none from the corner."""
    P = ol.Polytope(
        A_eq=[[2.35212898, 0.53952171, 2.81418805]], b_eq=[-3.9979988], lower=[-0.6, -0.1, -0.9]
    )
    P = P.with_(b_eq=[float(P.A_eq.toarray()[0] @ P.lower.numpy())])
    y = torch.tensor([179167.9, -1690980.0, -656636.4])
    certificate = ol.certify(P, y, ol.project(P, y))
    assert float(certificate.distance) <= 1e-6
    assert certificate.holds(1e-6)


def test_a_point_is_no_nearer_to_rows_it_ends_on_than_to_rows_it_misses():
    """Far away, a residual of 1e-10 is a violation by 1e-4, and the slack of an active row too."""
    A = np.array([[1.0, 1e-5], [-1.0, 1e-5]])
    P = ol.Polytope(A, [1e6, -1e6], lower=-np.inf, upper=np.inf, integral=False)
    y = torch.tensor([1e6, 2e6], dtype=torch.float64)
    z = torch.tensor([1e6 + 2e-4, 0.0], dtype=torch.float64)
    assert float(ol.certify(P, y, z).residual) <= 1e-9
    z = torch.tensor([1e6, 1e5], dtype=torch.float64)
    assert float(ol.certify(P, y, z).residual) > 1e-7
