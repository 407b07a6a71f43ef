"""Knapsacks by dynamic programming: against enumeration, the rule for ties, and HiGHS."""

import itertools

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers import Polytope
from optlayers._decoders import MILP, Knapsack

from .test_decoders import names, run, run_map
from .test_transport import agree_with_highs, by_the_rule

inf = torch.inf


def all_points(P: Polytope) -> torch.Tensor:
    """Every integral point, in lexicographic order, the largest first; rows up to rounding."""
    ends = zip(P.lower.numpy(), P.upper.numpy(), strict=True)
    ranges = [np.arange(np.floor(high), np.ceil(low) - 1, -1) for low, high in ends]
    z = np.array(list(itertools.product(*ranges)))
    fine = (z @ P.A.toarray().T <= P.b.numpy() + 1e-12).all(1)
    fine &= (abs(z @ P.A_eq.toarray().T - P.b_eq.numpy()) <= 1e-12).all(1)
    return torch.from_numpy(z[fine])


WEIGHTS = [3.0, 1.0, 2.0, 2.0, 5.0]
SMALL = {
    "knapsack": ol.budget(WEIGHTS, 6.0),
    "a fraction to spare": ol.budget(WEIGHTS, 6.9),
    "tenths": ol.budget([0.3, 0.1, 0.2, 0.2, 0.5], 0.6),
    "thirds": ol.budget([1 / 3, 2 / 3, 1.0, 1 / 6], 1.0),
    "large units": ol.budget([3e5, 1e5, 2e5], 4e5),
    "signs": ol.budget([3.0, -1.0, 2.0, -2.0], 1.0),
    "below zero": ol.budget([3.0, -1.0, 2.0, -2.0], -1.0),
    "at least": Polytope([[-3.0, -1.0, -2.0, -5.0]], [-7.0]),
    "exactly": Polytope(A_eq=[WEIGHTS], b_eq=[7.0]),
    "between": Polytope([WEIGHTS, [-w for w in WEIGHTS]], [7.0, -5.0]),
    "integers": Polytope([[2.0, 3.0, 1.0]], [7.0], lower=[-1.0, 0.0, 0.0], upper=[2.0, 3.0, 4.0]),
    "integers of any sign": Polytope([[2.0, -3.0, 1.0]], [1.0], lower=-2.0, upper=2.0),
    "two rows": Polytope([[3.0, 1.0, 2.0, 2.0], [1.0, 4.0, 2.0, 1.0]], [5.0, 5.0]),
    "two rows of any sign": Polytope([[3.0, -1.0, 2.0], [1.0, 4.0, -2.0]], [2.0, 3.0], lower=-1.0),
    "three rows, integers": Polytope(
        [[1.0, 2.0, 3.0], [3.0, 1.0, 1.0]], [7.0, 6.0], A_eq=[[1.0, 1.0, -1.0]], b_eq=[1.0],
        upper=3.0,
    ),
    "an odd cycle": Polytope([[1.0, 1, 0], [0, 1, 1], [1, 0, 1]], [1.0, 1, 1]),
    "fixed": ol.budget(WEIGHTS, 6.0).fix({0: 1.0, 2: 0.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_decisions_are_those_of_enumeration_and_the_rule_for_ties(name):
    P = SMALL[name]
    assert set(names(P)) == {"Knapsack"}
    points = all_points(P)
    s = torch.randint(-2, 3, (60, P.n)).double() / 2
    s[0], s[1], s[2] = 0.0, 1.0, -1.0
    for found, scores in zip(ol.decode(P, s), s, strict=True):
        assert found.tolist() == by_the_rule(points, scores).tolist()


@pytest.mark.parametrize("name", SMALL)
def test_without_ties_highs_says_the_same(name):
    P = SMALL[name]
    s = torch.randn(5, P.n, dtype=torch.float64)
    assert torch.equal(run(P, s), run_map(MILP, P, s))


@pytest.mark.parametrize("seed", range(4))
def test_large_ones_score_what_highs_finds(seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 60, 40).astype(float)
    two = np.stack([weights, rng.integers(0, 9, 40)])
    for P in (ol.budget(weights, weights.sum() // 3), Polytope(two, two.sum(1) // 3)):
        s = torch.from_numpy(rng.standard_normal((3, 40)))
        z, other = run_map(Knapsack, P, s), run_map(MILP, P, s)
        torch.testing.assert_close((z * s).sum(1), (other * s).sum(1), rtol=1e-12, atol=0)
        assert (P.b.numpy()[:, None] >= P.A @ z.numpy().T).all()


def test_limits_and_bounds_per_instance():
    P = ol.budget(WEIGHTS, torch.tensor([4.0, 7.0, 0.0]))
    mask = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]).bool()
    for Q in (P, P.with_(upper=mask.double()), ol.budget(WEIGHTS, 5.0, mask=mask)):
        assert names(Q) == ["Knapsack"]
        s = torch.randn(4, 3, 5, dtype=torch.float64)
        z = ol.decode(Q, s)
        for i in range(3):
            points = all_points(Q.instance((i,)))
            assert torch.equal(z[:, i], torch.stack([by_the_rule(points, v) for v in s[:, i]]))


def test_the_size_decides_and_the_plan_says_so():
    P = ol.budget([3.0, 1.0, 2.0], 4.0)
    assert "a table of 15 entries" in ol.plan(P, "decoder").explain()
    large = ol.budget([999_983.0, 1.0, 2.0] * 4, 4_000_000.0)
    assert names(large) == ["Packing"]
    assert "its table would have more than 4,000,000 entries" in ol.plan(large, "decoder").explain()
    free = ol.budget(torch.rand(5, dtype=torch.float64), 1.0)
    assert "are no multiples of one number" in ol.plan(free, "decoder").explain()
    each = ol.budget([999_983.0, 1.0, 2.0] * 4, torch.tensor([10.0, 4_000_000.0]))
    assert (
        "where it has at most 4,000,000 entries, else HiGHS" in ol.plan(each, "decoder").explain()
    )
    s = torch.randn(2, 12, dtype=torch.float64)
    z = ol.decode(each, s)
    for i in range(2):
        assert torch.equal(z[i], ol.decode(each.instance((i,)), s[i]))


def test_a_row_is_met_as_declared():
    """A limit that misses an integer by more than rounding is no such integer."""
    s = torch.ones(2)
    assert ol.decode(ol.budget([1.0, 2.0], 3.0 - 1e-15), s).tolist() == [1, 1]
    assert ol.decode(ol.budget([1.0, 2.0], 3.0 - 1e-9), s).tolist() == [1, 0]
    assert ol.decode(ol.budget([0.1, 0.2], 0.3), s).tolist() == [1, 1]  # 0.1 + 0.2 > 0.3 by 6e-17


def test_an_instance_without_an_integral_point_is_named():
    P = Polytope(A_eq=[[2.0, 2.0, 4.0]], b_eq=torch.tensor([[4.0], [5.0], [9.0]]))
    assert names(P) == ["Knapsack"]
    z, status = ol.decode(P, torch.ones(3), on_failure="nan", return_status=True)
    assert z[0].tolist() == [1, 1, 0]
    assert status.ok.tolist() == [True, False, False]
    with pytest.raises(ol.InfeasibleError, match="Instance 1: no integral point"):
        ol.decode(P, torch.ones(3))


def test_minus_infinity_keeps_a_part_out():
    P = ol.budget([2.0, 1.0, 2.0], 3.0)
    assert ol.decode(P, torch.tensor([-inf, 1.0, 2.0])).tolist() == [0, 1, 1]
    needs = Polytope(A_eq=[[2.0, 1.0, 2.0]], b_eq=[3.0])
    with pytest.raises(ol.InfeasibleError, match="scores of -inf forbid every point"):
        ol.decode(needs, torch.tensor([1.0, -inf, 2.0]))


def random_rows(rng: np.random.Generator) -> Polytope:
    """One to three rows of integers in some unit, with two sides, over bounded integers."""
    n, count = int(rng.integers(2, 8)), int(rng.choice([1, 1, 2, 3]))
    A = rng.integers(-3, 9 if rng.random() < 0.5 else 3, (count, n)).astype(float)
    A[A == 0] = 1.0
    lower = rng.choice([0.0, 0.0, 1.0, -1.0, -0.5], n)
    upper = lower + rng.choice([0.0, 1.0, 1.0, 2.0, 3.5], n)
    activity = A @ np.floor(lower + (upper - lower) * rng.random(n))
    high = activity + rng.integers(0, 4, count) + rng.choice([0.0, 0.5])
    low = activity - rng.choice([0.0, 1.0, 5.0, np.inf], count)
    unit = rng.choice([1.0, 0.1, 1 / 3, 7.0])
    b = np.append(high, -low)
    kept = np.isfinite(b)
    return Polytope(unit * np.vstack([A, -A])[kept], unit * b[kept], lower=lower, upper=upper)


@pytest.mark.parametrize("seed", range(60))
def test_any_rows_of_integers_are_decided_as_highs_does(seed):
    rng = np.random.default_rng(seed)
    P = random_rows(rng)
    s = torch.from_numpy(rng.integers(-3, 4, (3, P.n)) / 2.0)
    if seed % 5 == 0:
        s[1, int(rng.integers(P.n))] = -inf
    agree_with_highs(P, s)
