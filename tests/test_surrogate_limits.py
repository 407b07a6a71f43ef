"""Limits of the surrogates and invariants of SPIGOT, on sets with ties and without."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import optlayers as ol
from optlayers.testing import vertices

from .helpers import TOL, best_by_enumeration, raw_chain

SETS = {
    "simplex": ol.simplex(5),
    "cardinality": ol.cardinality(5, at_most=2),
    "assignment": ol.assignment(3),
    "labels": ol.label_sum(2, 2),
    "chain": raw_chain(5),
    "heads": ol.head_selection(2),
}
POINTS = {name: vertices(P).double() for name, P in SETS.items()}
EVERYTHING = {name: ol.box(P.n, -torch.inf, torch.inf) for name, P in SETS.items()}
NAMES = pytest.mark.parametrize("name", SETS)
NEAR = {"rtol": 0, "atol": 1e-7}


def problem(name, batch=12):
    s, g = torch.randn(2, batch, SETS[name].n, dtype=torch.float64)
    return SETS[name], s, g, ol.decode(SETS[name], s)


def spigot(P, z, g, eta, **options):
    return ol.SPIGOT(eta, around="vertex", warn=False, **options).backward(P, z, z, g)[0]


def of(surrogate, P, s, g):
    return surrogate.backward(P, s, ol.decode(P, s), g)[0]


# ---------------------------------------------------------------------- limits of LPGD


@NAMES
def test_lpgd_without_the_scores_is_spigot(name):
    P, s, g, z = problem(name)
    found = of(ol.LPGD(0.5, 2.0, kappa=0.0), P, s, g)
    torch.testing.assert_close(found, spigot(P, z, g, 0.5 / 2.0) / 0.5, **NEAR)


@NAMES
def test_lpgd_without_the_decision_is_blackbox(name):
    P, s, g, _ = problem(name)
    for side in ("right", "left", "average"):
        found = of(ol.LPGD(0.5, 1e-4, side=side), P, s, g)
        torch.testing.assert_close(found, of(ol.Blackbox(0.5, side), P, s, g), rtol=0, atol=1e-6)


@NAMES
def test_lpgd_without_constraints_or_scores_is_straight_through(name):
    P, s, g, _ = problem(name)
    unconstrained = ol.LPGD(0.5, 2.0, kappa=0.0, relaxation=EVERYTHING[name])
    torch.testing.assert_close(of(unconstrained, P, s, g), g / 2.0)


@NAMES
def test_lpgd_with_a_small_step_is_the_true_derivative_which_is_zero(name):
    P, s, g, _ = problem(name)
    assert of(ol.LPGD(1e-4, 1.0), P, s, g).abs().max() < 1e-5


@NAMES
def test_spigot_without_constraints_is_straight_through(name):
    P, _, g, z = problem(name)
    torch.testing.assert_close(spigot(P, z, g, 0.7, relaxation=EVERYTHING[name]), 0.7 * g)


def test_small_steps_in_the_scores_are_derivatives():
    P = ol.simplex(5)
    s, g = torch.randn(2, 8, 5, dtype=torch.float64)
    eg = of(ol.SPIGOTEG(1e-6), P, s, g) / 1e-6
    torch.testing.assert_close(eg, of(ol.SoftmaxStraightThrough(), P, s, g), rtol=0, atol=1e-5)
    step = ol.PulledBack(ol.ScoreStep(1e-6), "sparsemap")
    sparsemap = of(ol.SparseMAP(straight_through=True), P, s, g)
    torch.testing.assert_close(of(step, P, s, g) / 1e-6, sparsemap, rtol=0, atol=1e-6)


# ---------------------------------------------------------------------- invariants of SPIGOT

grid = st.integers(-4, 4).map(lambda k: k / 2)  # ties, and steps that end exactly on a face


def vectors(n):
    return arrays("float64", (n,), elements=grid).map(torch.from_numpy)


@st.composite
def steps(draw):
    name = draw(st.sampled_from(sorted(SETS)))
    n = SETS[name].n
    return name, draw(vectors(n)), draw(vectors(n)), draw(st.sampled_from([0.25, 1.0, 4.0]))


@given(steps())
@settings(max_examples=60, deadline=None)
def test_the_target_is_in_the_polytope_and_the_step_no_longer_than_the_gradient(case):
    name, s, g, eta = case
    P = SETS[name]
    z = ol.decode(P, s)
    r = spigot(P, z, g, eta)
    assert ol.certify(P, z - r, z - r).primal <= 1e-7
    assert g @ r >= (r @ r) / eta - 1e-7
    diameter = torch.cdist(POINTS[name], POINTS[name]).max()
    assert r.norm() <= min(eta * float(g.norm()), float(diameter)) + 1e-7
    if P.A_eq.shape[0]:
        assert torch.from_numpy(P.A_eq @ r.numpy()).abs().max() <= 1e-7


@given(steps())
@settings(max_examples=60, deadline=None)
def test_multiples_of_equality_rows_change_nothing(case):
    name, s, g, eta = case
    P = SETS[name]
    if not P.A_eq.shape[0]:
        return
    z, rows = ol.decode(P, s), torch.from_numpy(P.A_eq.toarray())
    shift = torch.linspace(-1, 2, len(rows)).double() @ rows
    torch.testing.assert_close(spigot(P, z, g + shift, eta), spigot(P, z, g, eta), **NEAR)


@NAMES
def test_a_step_that_stays_inside_is_the_gradient(name):
    points = POINTS[name]
    p = points.mean(0)
    g = torch.randn(8, len(points), dtype=torch.float64) @ (points - p)  # along the polytope
    g = 0.01 * g / g.norm(dim=-1, keepdim=True)
    assert all(ol.certify(SETS[name], p - v, p - v).primal <= 1e-12 for v in g)
    torch.testing.assert_close(spigot(SETS[name], p.expand_as(g), g, 1.0), g, **NEAR)


@NAMES
def test_a_small_step_is_positively_homogeneous(name):
    P, _, g, z = problem(name)
    torch.testing.assert_close(spigot(P, z, g, 1e-3) * 2, spigot(P, z, g, 2e-3), **NEAR)
    cone = spigot(P, z, g, 1e-3) / 1e-3  # -proj_T(-g): idempotent, no longer than g
    torch.testing.assert_close(spigot(P, z, cone, 1e-3) / 1e-3, cone, rtol=0, atol=1e-6)
    assert (cone.norm(dim=-1) <= g.norm(dim=-1) + 1e-7).all()


@NAMES
def test_a_large_step_arrives_at_the_best_vertex(name):
    P, _, g, z = problem(name)
    best = best_by_enumeration(POINTS[name], -g)
    torch.testing.assert_close(spigot(P, z, g, 1e5), z - best, rtol=0, atol=1e-6)


def test_a_large_step_in_a_tie_arrives_at_the_nearest_of_the_best_points():
    g = torch.tensor([1.0, 0.0, 0.0, 5.0], dtype=torch.float64)  # parts 1 and 2 tie
    z = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    target = z - spigot(ol.simplex(4), z, g, 1e5)
    torch.testing.assert_close(target, torch.tensor([0, 0.5, 0.5, 0]).double(), rtol=0, atol=1e-6)


@given(vectors(5), vectors(5), st.sampled_from([0.25, 1.0, 4.0]))
@settings(deadline=None)
def test_on_a_simplex_the_chosen_is_lowered_and_the_others_raised(s, g, eta):
    z = ol.decode(ol.simplex(5), s)
    r = spigot(ol.simplex(5), z, g, eta)
    assert (r[z == 1] >= 0).all()
    assert (r[z == 0] <= 0).all()


@NAMES
@pytest.mark.parametrize("around", ["vertex", "projection"])
def test_the_derivative_in_the_gradient_is_a_projector(name, around):
    P, s, g, z = problem(name, 1)
    surrogate = ol.SPIGOT(0.6, around=around, warn=False)
    J = torch.autograd.functional.jacobian(lambda v: surrogate.backward(P, s[0], z[0], v)[0], g[0])
    assert (J - J.T).abs().max() < 1e-7
    values = torch.linalg.eigvalsh(J) / 0.6
    assert ((values.abs() < 1e-6) | ((values - 1).abs() < 1e-6)).all()


# ---------------------------------------------------------------------- arcs and labels


def arc_and_labels(a, labels):
    """Projection onto {0 <= t <= 1, l >= 0, sum l = t} by its one scalar equation, bisected."""
    low, high = -labels.abs().max() - a.abs() - 2, labels.abs().max() + a.abs() + 2
    for _ in range(200):
        mu = (low + high) / 2
        left, right = (labels - mu).clamp(min=0).sum(), (a + mu).clamp(0, 1)
        low, high = (mu, high) if left > right else (low, mu)
    return torch.cat([(a + high).clamp(0, 1)[None], (labels - high).clamp(min=0)])


@pytest.mark.parametrize("labels", [1, 2, 5, 11])
def test_arcs_and_labels_meet_half_way(labels):
    P = ol.label_sum(20, labels)
    y = torch.randn(20, 1 + labels, dtype=torch.float64)
    found = ol.project(P, y.flatten()).reshape(y.shape)
    wanted = torch.stack([arc_and_labels(row[0], row[1:]) for row in y])
    torch.testing.assert_close(found, wanted, rtol=0, atol=TOL[torch.float64])
