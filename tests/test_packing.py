"""A few rows without negative entries: against enumeration, the rule for ties, and HiGHS."""

import itertools

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers import Polytope
from optlayers._decoders import MILP, Packing, packing

from .test_decoders import names, run_map
from .test_knapsack import all_points
from .test_transport import agree_with_highs, by_the_rule

inf = torch.inf
ROOT = 2.0**0.5
SMALL = {
    "one row": ol.budget([3.1, 1.0, ROOT, 2.0, 0.5], 4.0),
    "two rows": Polytope([[3.1, 1.0, ROOT, 2.0], [1.0, ROOT, 0.0, 1.0]], [4.0, 2.0]),
    "eight rows": Polytope(np.arange(24.0).reshape(8, 3) % 5 + ROOT, np.arange(3.0, 11.0)),
    "several of each": Polytope([[ROOT, 1.0, 2.0]], [7.0], lower=-1.0, upper=[2.0, 1.0, 3.0]),
    "a part that takes nothing": Polytope([[ROOT, 1.0, 0.0], [1.0, ROOT, 0.0]], [1.5, 1.5]),
    "a row that does not bind": Polytope([[ROOT, 1.0, 1.0], [1.0, 1.0, 1.0]], [2.0, 9.0]),
    "no room": Polytope([[ROOT, 1.0, 0.0]], [0.0]),
    "fixed": ol.budget([3.1, 1.0, ROOT, 2.0, 0.5], 4.0).fix({0: 1.0, 2: 0.0}),
}


@pytest.mark.parametrize("name", SMALL)
def test_decisions_are_those_of_enumeration_and_the_rule_for_ties(name):
    P = SMALL[name]
    assert set(names(P)) <= {"Packing", "BoxArgmax"}
    points = all_points(P)
    s = torch.randint(-2, 3, (60, P.n)).double() / 2
    s[0], s[1], s[2] = 0.0, 1.0, -1.0
    for found, scores in zip(ol.decode(P, s), s, strict=True):
        assert found.tolist() == by_the_rule(points, scores).tolist()


def random_packing(rng: np.random.Generator) -> Polytope:
    n, count = int(rng.integers(2, 9)), int(rng.integers(1, 4))
    A = rng.exponential(size=(count, n)) * (rng.random((count, n)) < 0.8)
    lower = rng.choice([0.0, 0.0, 1.0, -1.0, -0.5], n)
    upper = lower + rng.choice([0.0, 1.0, 1.0, 2.0, 3.5], n)
    b = A @ np.ceil(lower) + rng.exponential(size=count) * rng.choice([0.0, 1.0, 3.0], count)
    return Polytope(A, b, lower=lower, upper=upper)


@pytest.mark.parametrize("seed", range(40))
def test_any_packing_is_decided_as_highs_does(seed):
    rng = np.random.default_rng(seed)
    P = random_packing(rng)
    s = torch.from_numpy(rng.integers(-3, 6, (3, P.n)) / 2.0)
    if seed % 5 == 0:
        s[1, int(rng.integers(P.n))] = -inf
    agree_with_highs(P, s)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_large_ones_score_what_highs_finds(rows):
    rng = np.random.default_rng(rows)
    A = rng.random((rows, 40))
    P = Polytope(A, A.sum(1) / 4)
    s = torch.from_numpy(rng.standard_normal((3, 40)))
    z, other = run_map(Packing, P, s), run_map(MILP, P, s)
    torch.testing.assert_close((z * s).sum(1), (other * s).sum(1), rtol=1e-9, atol=0)
    assert (P.b.numpy()[:, None] >= P.A @ z.numpy().T - 1e-9).all()


def test_a_search_that_grows_too_long_is_left_to_highs(monkeypatch):
    rng = np.random.default_rng(0)
    A = rng.random((3, 20))
    P = Polytope(A, A.sum(1) / 3)
    s = torch.from_numpy(rng.standard_normal((4, 20)))
    z = ol.decode(P, s)
    monkeypatch.setattr(packing, "_STEPS", 3)
    torch.testing.assert_close((ol.decode(P, s) * s).sum(1), (z * s).sum(1), rtol=1e-9, atol=0)


def test_limits_and_bounds_per_instance():
    weights = [3.1, 1.0, ROOT, 2.0, 0.5]
    mask = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]).bool()
    P = ol.budget(weights, torch.tensor([4.0, 7.0, 0.0]))
    for Q in (P, P.with_(upper=mask.double()), ol.budget(weights, 5.0, mask=mask)):
        assert names(Q) == ["Packing"]
        s = torch.randn(4, 3, 5, dtype=torch.float64)
        z = ol.decode(Q, s)
        for i in range(3):
            points = all_points(Q.instance((i,)))
            assert torch.equal(z[:, i], torch.stack([by_the_rule(points, v) for v in s[:, i]]))


def test_an_instance_whose_parts_do_not_fit_is_named():
    P = Polytope([[ROOT, 1.0]], torch.tensor([[1.0], [0.5]]), lower=[0.0, 0.6], upper=1.0)
    z, status = ol.decode(P, torch.ones(2), on_failure="nan", return_status=True)
    assert z[0].tolist() == [0, 1]
    assert status.ok.tolist() == [True, False]


def test_sums_that_miss_a_limit_by_rounding_fit():
    P = Polytope([[0.1, 0.2, 0.0], [ROOT, 0.0, ROOT]], [0.3, 2 * ROOT])
    assert ol.decode(P, torch.ones(3)).tolist() == [1, 1, 1]
    assert ol.decode(P.with_(b=[0.3 - 1e-9, 3.0]), torch.ones(3)).sum() == 2


def test_the_plan_says_how():
    words = ol.plan(SMALL["two rows"], "decoder").explain()
    assert "branch and bound of 2 rows, compiled" in words


def test_covering_rows_of_an_instance_are_kept():
    """A batch may hold lower limits, which a search that takes what fits does not see."""
    A = np.random.default_rng(0).uniform(0.1, 1, (1, 5))
    limits = torch.tensor([[-1.0], [-0.5], [-0.1]], dtype=torch.float64)
    scores = -torch.rand(3, 5, dtype=torch.float64) - 0.1
    z = ol.decode(ol.Polytope(-A, limits), scores).numpy()
    points = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
    for i, b in enumerate(-limits.numpy().ravel()):
        inside = points[(points @ A.T >= b).all(1)]
        assert (A @ z[i] >= b).all()
        assert scores[i].numpy() @ z[i] == pytest.approx((inside @ scores[i].numpy()).max())


def test_a_limit_is_exceeded_by_rounding_alone():
    scores = torch.tensor([1.0, 0.5, 0.7], dtype=torch.float64)
    assert ol.decode(ol.budget([1e13 + 0.5, 1.0, 2.0], 1e13 + 0.5), scores).tolist() == [0, 1, 1]
    assert ol.decode(ol.budget([0.1, 0.2, 0.3], 0.6), scores).tolist() == [1, 1, 1]
