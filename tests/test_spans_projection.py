"""The projection onto spans: against Newton's method, Clarabel and the certificate."""

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._judge.references import exact_projection
from optlayers._plan.compile import compile_plan, limits_of
from optlayers._plan.failures import Report
from optlayers._plan.maps import Table
from optlayers._projections import QP, Newton, Spans

from .helpers import QP_TOL, SAME_FACE, raw_spans

NEWTON = Table("newton", Newton, QP)


def by_newton(P, y):
    plan = compile_plan(P, NEWTON)
    return plan.forward(y, limits_of(P, plan, y.device, y.dtype), Report())


def cases():
    """Sizes, limits that are whole or not, that bind or not, and masks."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 20))
        words = float(rng.choice([0, 1, 2, 3, 5, 2.5, n]))
        starts = float(rng.choice([0, 1, 2, 3, 0.5, 1.5]))
        mask = torch.from_numpy(rng.random(n) < rng.choice([1.0, 0.8]))
        y = rng.standard_normal((8, n)) * rng.choice([0.3, 1, 5, 1e3]) + rng.choice([0, 0.5, 3])
        y = np.round(2 * y) / 2 if rng.random() < 0.4 else y
        yield pytest.param(ol.spans(n, words, starts, mask), torch.from_numpy(y), id=str(seed))


EVERY = pytest.mark.parametrize(("P", "y"), list(cases()))


@EVERY
def test_agrees_with_newton(P, y):
    z = ol.project(P, y)
    assert (z - by_newton(P, y)).abs().max() <= SAME_FACE * (1 + y.abs().amax())


@EVERY
def test_answers_are_certified(P, y):
    assert ol.certify(P, y[:3], ol.project(P, y[:3])).residual.max() <= QP_TOL


@EVERY
def test_nothing_is_handed_on(P, y, monkeypatch):
    monkeypatch.setattr(Spans, "_hand_on", None)
    ol.project(P, y)


def test_agrees_with_clarabel():
    P, y = ol.spans(12, 4, 2), torch.randn(4, 12, dtype=torch.float64)
    expected = exact_projection(P, y, "cvxpy")
    torch.testing.assert_close(ol.project(P, y), expected, rtol=QP_TOL, atol=2 * QP_TOL)


def test_points_far_away_are_met_to_the_rounding_of_the_answer():
    P, y = ol.spans(12, 4, 2), 1e9 * torch.randn(20, 12, dtype=torch.float64)
    z = ol.project(P, y)
    starts = (z - torch.nn.functional.pad(z[:, :-1], (1, 0))).clamp(min=0).sum(-1)
    assert z.min() >= 0
    assert z.max() <= 1
    assert z.sum(-1).max() <= 4 + 1e-12
    assert starts.max() <= 2 + 1e-12


def test_bounds_between_0_and_1_and_forced_words():
    rng = np.random.default_rng(0)
    lower, upper = np.zeros(20), np.ones(20)
    lower[:10], upper[:10] = rng.uniform(0, 0.3, 10), rng.uniform(0.4, 1, 10)
    P = ol.spans(10, 5, 2).with_(lower=lower, upper=upper)
    y = torch.from_numpy(rng.standard_normal((30, 10)))
    torch.testing.assert_close(ol.project(P, y), by_newton(P, y), rtol=0, atol=SAME_FACE)


def test_limits_of_each_instance():
    words, starts = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 0.5, 2.0])
    y = torch.randn(3, 8, dtype=torch.float64)
    z = ol.project(ol.spans(8, words, starts), y)
    for i in range(3):
        one = ol.project(ol.spans(8, float(words[i]), float(starts[i])), y[i])
        torch.testing.assert_close(z[i], one, rtol=0, atol=1e-13)


def test_limits_that_are_not_those_of_spans_go_to_newton():
    """A start that may not be: word 3 is chosen as a successor only."""
    P = ol.spans(6, 3, 2)
    upper = P.upper.expand(12).clone()
    upper[6 + 3] = 0.0
    P, y = P.with_(upper=upper), torch.randn(9, 6, dtype=torch.float64)
    assert type(ol.plan(P).maps[0]) is Spans
    torch.testing.assert_close(ol.project(P, y), by_newton(P, y), rtol=0, atol=1e-12)


def test_instances_without_a_point_are_named():
    lower = torch.tensor([1.0, 0, 1, 0, 0, 0, 0, 0])
    P = ol.spans(4, 2, 1).with_(lower=lower)
    z = ol.project(P, torch.randn(4, dtype=torch.float64), on_failure="nan")
    assert z.isnan().all()
    with pytest.raises(ol.InfeasibleError, match="In conflict"):
        ol.project(P, torch.randn(4))


def test_rows_are_recognised_in_any_order():
    assert type(ol.plan(raw_spans(6, 3, 2)).maps[0]) is Spans
    P = raw_spans(6, 3, 2)
    order = np.random.default_rng(0).permutation(P.A.shape[0])
    mixed = ol.Polytope(P.A[order], P.b[order], num_aux=6)
    assert type(ol.plan(mixed).maps[0]) is Spans
    y = torch.randn(5, 6, dtype=torch.float64)
    assert torch.equal(ol.project(mixed, y), ol.project(P, y))


def test_other_rows_are_not_taken_for_spans():
    P = raw_spans(6, 3, 2)
    A = P.A.toarray()
    A[1, 0] = -0.5
    other = ol.Polytope(A, P.b, num_aux=6)
    assert "not Spans: it does not select words in spans" in ol.plan(other).explain()
