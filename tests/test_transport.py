"""Transport plans and b-matchings: decisions against enumeration, HiGHS and the rule for ties."""

import copy
import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

import optlayers as ol
from optlayers import PolytopeError
from optlayers._decoders import DECODERS, MILP
from optlayers._plan.compile import compile_plan, limits_of
from optlayers._plan.failures import Report

from .helpers import QP_TOL, TOL

inf = torch.inf


def all_points(P: ol.Polytope, most: int) -> torch.Tensor:
    """Every integral point, in lexicographic order, the largest first."""
    upper = P.upper.clamp(max=most).numpy()
    ranges = [range(int(u), -1, -1) for u in upper]
    z = np.array(list(itertools.product(*ranges)), dtype=float)
    fine = (z @ P.A.toarray().T <= P.b.numpy()).all(1)
    fine &= (z @ P.A_eq.toarray().T == P.b_eq.numpy()).all(1)
    return torch.from_numpy(z[fine])


def by_the_rule(points: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The best; of equals the one with the smallest sum; of those the first."""
    value = points @ scores
    best = points[value == value.max()]
    return best[best.sum(1).argmin()]  # points come in the order of the rule, argmin is the first


def agree_with_highs(P: ol.Polytope, s: torch.Tensor) -> None:
    """The maps of the plan and HiGHS on the same blocks: equal scores, or the same failure."""
    plan = compile_plan(P, DECODERS)
    limits = limits_of(P, plan, s.device, s.dtype)
    general, own, other = copy.copy(plan), Report(), Report()
    general.maps = [MILP(map_.block) for map_ in plan.maps]
    z, expected = plan.forward(s, limits, own), general.forward(s, limits, other)
    kinds = [{i: f.kind for i, f in report.failures.items()} for report in (own, other)]
    assert kinds[0] == kinds[1]
    fine = [i for i in range(len(s)) if i not in own.failures]
    value, best = ((v * torch.where(s > -inf, s, 0)).sum(1)[fine] for v in (z, expected))
    torch.testing.assert_close(value, best, rtol=0, atol=1e-8)
    assert bool((z[fine] >= P.lower - 1e-9).all() and (z[fine] <= P.upper + 1e-9).all())
    for i in fine:
        assert (P.A @ z[i].numpy() <= P.b.numpy() + 1e-8).all()
        np.testing.assert_allclose(P.A_eq @ z[i].numpy(), P.b_eq.numpy(), rtol=0, atol=1e-8)


SMALL = {
    "exact": ol.transport([2.0, 1.0], [1.0, 1.0, 1.0]),
    "unequal": ol.transport([2.0, 3.0], [4.0, 1.0]),
    "at most": ol.transport([2.0, 1.0], [1.0, 2.0, 1.0], least_supply=0.0, least_demand=0.0),
    "routing": ol.transport([1.0, 1.0, 1.0], [2.0, 1.0], least_demand=0.0, capacity=1.0),
    "two each": ol.transport([2.0, 2.0], [1.0, 2.0, 2.0], least_demand=0.0, capacity=1.0),
    "ranges": ol.transport(
        [2.0, 2.0], [2.0, 2.0, 1.0], least_supply=1.0, least_demand=[1.0, 0.0, 0.0]
    ),
    "mask": ol.transport(
        [1.0, 2.0], [1.0, 1.0, 1.0], mask=[[True, False, True], [True, True, True]]
    ),
    "capacities": ol.transport([3.0, 2.0], [3.0, 2.0], capacity=[[2.0, 9.0], [1.0, 2.0]]),
    "forced": ol.transport([2.0, 2.0], [2.0, 2.0]).with_(lower=[0.0, 1.0, 0.0, 0.0]),
    "wide": ol.transport([1.0, 2.0], [1.0, 0.0, 1.0, 1.0]),
    "nothing to send": ol.transport([0.0, 0.0], [0.0, 0.0]),
}  # fmt: skip


def scores_of(P: ol.Polytope, count: int = 60) -> torch.Tensor:
    """On a coarse grid, so that ties are the rule; the first are all equal."""
    s = torch.randint(-2, 3, (count, P.n)).double() / 2
    s[0], s[1], s[2] = 0.0, 1.0, -1.0
    return s


@pytest.mark.parametrize("name", SMALL)
def test_decisions_are_those_of_enumeration_and_the_rule_for_ties(name):
    P = SMALL[name]
    lower = P.lower
    points = all_points(P, 4)
    points = points[(points >= lower).all(1)]
    assert "Transport" in ol.plan(P, "decoder").explain().splitlines()[1]
    s = scores_of(P)
    z = ol.decode(P, s)
    for found, scores in zip(z, s, strict=True):
        assert found.tolist() == by_the_rule(points, scores).tolist()


@pytest.mark.parametrize("name", SMALL)
def test_batches_are_loops(name):
    P = SMALL[name]
    s = torch.randn(12, P.n, dtype=torch.float64)
    z = ol.decode(P, s)
    assert torch.equal(z, torch.stack([ol.decode(P, one) for one in s]))
    assert torch.equal(ol.decode(P, s.float()), ol.decode(P, s.float().double()).float())


@pytest.mark.parametrize("seed", range(6))
def test_large_ones_score_what_a_linear_program_does(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(3, 25, 2)
    plan = rng.integers(0, 4, (n, m)).astype(float)
    slack = rng.integers(0, 2, 2)
    P = ol.transport(
        plan.sum(1) + slack[0], plan.sum(0) + slack[1],
        least_supply=plan.sum(1), least_demand=plan.sum(0), capacity=plan + rng.integers(0, 3),
    )  # fmt: skip
    s = rng.standard_normal((n, m)).ravel()
    z = ol.decode(P, torch.from_numpy(s))
    best = linprog(
        -s, A_ub=P.A, b_ub=P.b.numpy(), bounds=list(zip(P.lower, P.upper, strict=True))
    ).fun
    assert float(z.numpy() @ s) == pytest.approx(-best, rel=1e-12)
    assert (P.A @ z.numpy() <= P.b.numpy()).all()
    assert torch.equal(z, z.round())


@pytest.mark.parametrize("integers", [True, False])
def test_masses_that_are_no_integers_end_at_a_vertex(integers):
    rng = np.random.default_rng(3)
    for _ in range(20):
        n, m = rng.integers(2, 9, 2)
        plan = rng.random((n, m))
        P = ol.transport(plan.sum(1), plan.sum(0), capacity=2 * plan).with_(integral=False)
        s = rng.integers(-1, 2, (n, m)).ravel() / 1.0 if integers else rng.random(n * m)
        z = ol.decode(P, torch.from_numpy(s))
        bounds = list(zip(P.lower, P.upper, strict=True))
        best = linprog(-s, A_eq=P.A_eq, b_eq=P.b_eq.numpy(), bounds=bounds).fun
        assert float(z.numpy() @ s) == pytest.approx(-best, rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(P.A_eq @ z.numpy(), P.b_eq.numpy(), rtol=0, atol=1e-9)
        inside = (z > P.lower + 1e-9) & (z < P.upper - 1e-9)
        columns = P.A_eq.toarray()[:, inside.numpy()]
        assert np.linalg.matrix_rank(columns) == columns.shape[1]  # no cycle is left


def test_a_routing_is_an_assignment_to_copies_of_the_experts():
    tokens, experts, capacity = 24, 4, 7
    s = torch.randn(tokens, experts, dtype=torch.float64)
    P = ol.transport([1.0] * tokens, [float(capacity)] * experts, least_demand=0.0)
    z = ol.decode(P, s.flatten()).reshape(tokens, experts)
    copies = np.repeat(s.numpy(), capacity, axis=1)
    row, column = linear_sum_assignment(copies, maximize=True)
    assert torch.equal(z.argmax(1), torch.from_numpy(column // capacity))
    assert row.tolist() == list(range(tokens))


def test_limits_per_instance():
    supply = torch.tensor([[1.0, 1.0], [2.0, 1.0]])
    demand = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    P = ol.transport(supply, demand)
    assert P.batch_shape == (2,)
    s = torch.randn(5, 2, 6, dtype=torch.float64)
    z = ol.decode(P, s)
    for i in range(2):
        one = ol.transport(supply[i], demand[i])
        assert torch.equal(z[:, i], ol.decode(one, s[:, i]))
        close = {"rtol": 0, "atol": TOL[torch.float64]}
        torch.testing.assert_close(ol.project(P, s)[:, i], ol.project(one, s[:, i]), **close)


def test_an_instance_without_a_plan_is_named_with_its_rows():
    P = ol.transport(torch.tensor([[1.0, 1.0], [2.0, 1.0]]), [1.0, 1.0])
    for verb in (ol.decode, ol.project):
        with pytest.raises(ol.InfeasibleError, match=r"Instance 1: .*In conflict: A_eq\[0\], A_eq"):
            verb(P, torch.zeros(2, 4))
        z, status = verb(P, torch.zeros(2, 4), on_failure="nan", return_status=True)
        assert status.ok.tolist() == [True, False]
        assert z[1].isnan().all()
        assert z[0].isfinite().all()


def test_integers_that_limits_exclude_are_infeasible():
    P = ol.transport([0.5, 0.5], [0.5, 0.5])
    with pytest.raises(ol.InfeasibleError, match="no integral point"):
        ol.decode(P, torch.zeros(4))
    assert ol.decode(P.with_(integral=False), torch.zeros(4)).tolist() == [0.5, 0, 0, 0.5]


def test_minus_infinity_that_leaves_no_plan():
    P = ol.transport([1.0, 1.0], [1.0, 1.0, 1.0], least_demand=0.0)
    with pytest.raises(ol.InfeasibleError, match="scores of -inf forbid every point"):
        ol.decode(P, torch.tensor([-inf, -inf, -inf, 1.0, 2.0, 3.0]))


def test_projections_are_exact():
    P = ol.transport([2.0] * 12, [9.0, 5.0, 5.0, 5.0], capacity=1.0)
    y = 3 * torch.randn(8, P.n, dtype=torch.float64)
    assert ol.certify(P, y, ol.project(P, y)).holds(TOL[torch.float64])
    assert ol.validate(P, samples=3, against=("osqp",)).ok


def test_projections_have_derivatives_in_both_sides():
    """Along directions in which both sides keep the same total."""
    torch.manual_seed(1)
    supply = torch.tensor([1.0, 2.0, 1.5], dtype=torch.float64, requires_grad=True)
    demand = torch.tensor([2.5, 2.0], dtype=torch.float64, requires_grad=True)
    y, weight = torch.randn(2, 6, dtype=torch.float64)
    (ol.project(ol.transport(supply, demand), y) @ weight).backward()
    along, of_demand = torch.tensor([1.0, -0.5, 0.0]), torch.tensor([0.2, 0.3])
    step = 1e-6

    def value(t):
        moved = ol.transport(supply.detach() + t * along, demand.detach() + t * of_demand)
        return float(ol.project(moved, y) @ weight)

    slope = (value(step) - value(-step)) / (2 * step)
    found = supply.grad @ along.double() + demand.grad @ of_demand.double()
    assert float(found) == pytest.approx(slope, abs=QP_TOL)


@pytest.mark.parametrize("around", ["vertex", "projection"])
def test_layers_learn_through_routing(around):
    P = ol.transport([1.0] * 6, [2.0, 2.0, 2.0])
    scores = torch.randn(3, P.n, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(P.n, dtype=torch.float64)
    z = ol.StructuredArgmax(P, ol.SPIGOT(around=around, warn=False))(scores)
    (z * weights).sum().backward()
    base = z.detach() if around == "vertex" else ol.project(P, scores.detach())
    torch.testing.assert_close(
        scores.grad, base - ol.project(P, base - weights), rtol=0, atol=TOL[torch.float64]
    )


def test_other_rows_with_the_same_structure_go_the_same_way():
    """Scaled, permuted, with bounds from rows of one coefficient."""
    rng = np.random.default_rng(0)
    P = ol.transport([2.0, 1.0, 1.0], [3.0, 2.0], least_demand=0.0, capacity=1.0)
    order = rng.permutation(P.n)
    scale = rng.uniform(0.1, 9, 3)
    Q = ol.Polytope(
        P.A.toarray()[::-1][:, order], P.b.numpy()[::-1],
        A_eq=(scale[:, None] * P.A_eq.toarray())[:, order], b_eq=scale * P.b_eq.numpy(),
    )  # fmt: skip
    assert [type(m).__name__ for m in compile_plan(Q, DECODERS).maps] == ["Transport"]
    s = torch.randn(9, P.n, dtype=torch.float64)
    assert torch.equal(ol.decode(Q, s[:, order]), ol.decode(P, s)[:, order])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ol.transport(2.0, [1.0]), r"`supply` must have shape \(..., n\), n >= 1"),
        (lambda: ol.transport([1.0], []), r"`demand` must have shape \(..., n\), n >= 1"),
        (lambda: ol.transport([-1.0], [1.0]), "`supply` must not be negative. Got -1"),
        (lambda: ol.transport([1.0], [inf]), "`demand` must be finite"),
        (lambda: ol.transport([1.0], [1.0], least_supply=[0.0, 1.0]), "`least_supply` must be a"),
        (lambda: ol.transport([1.0], [1.0], least_demand=2.0), "must not exceed `demand`"),
        (lambda: ol.transport([1.0], [1.0], capacity=-1.0), "`capacity` must not be negative"),
        (lambda: ol.transport([1.0], [1.0, 1.0], capacity=[1.0]), "`capacity` must be a number or"),
        (lambda: ol.transport([1.0], [1.0], mask=[[2.0]]), "`mask` must be booleans"),
        (
            lambda: ol.transport(torch.ones(2, 3), torch.ones(4, 3)),
            "supplies and demands must have shapes that agree",
        ),
    ],
)
def test_refusals_say_what_to_do(build, message):
    with pytest.raises(PolytopeError, match=message):
        build()


def random_sums(rng: np.random.Generator) -> ol.Polytope:
    """Ranges of sums of pairs, some of which are missing; any bounds; rows in any unit."""
    n, m = rng.integers(2, 6, 2)
    kept = rng.random((n, m)) < rng.choice([1.0, 0.7])
    kept[0], kept[:, 0] = True, True
    at = np.flatnonzero(kept.ravel())
    sums = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])[:, at]
    lower = rng.choice([0.0, 0.0, 1.0, -1.0], len(at))
    upper = lower + rng.choice([0.0, 1.0, 2.0, np.inf], len(at), p=[0.1, 0.4, 0.4, 0.1])
    integral = rng.random() < 0.7
    width = np.where(np.isfinite(upper), upper - lower, 2.0)
    x = lower + width * rng.choice([0.0, 0.5, 1.0], len(at))
    activity = sums @ (np.floor(x) if integral else x)
    equal, unit = rng.random(n + m) < 0.4, rng.choice([1.0, 2.5, 0.1], (n + m, 1))
    high = activity + rng.choice([0.0, 1.0, 0.3, np.inf], n + m)
    low = activity - rng.choice([0.0, 1.0, 0.3, np.inf], n + m)
    A, b = np.vstack([sums[~equal], -sums[~equal]]), np.append(high[~equal], -low[~equal])
    miss = rng.integers(-1, 2, n + m) * (rng.random() < 0.2)  # then there may be no point
    return ol.Polytope(
        A[np.isfinite(b)], b[np.isfinite(b)], lower=lower, upper=upper, integral=integral,
        A_eq=(unit * sums)[equal], b_eq=(unit[:, 0] * (activity + miss))[equal],
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_any_sums_of_pairs_are_decided_as_highs_does(seed):
    rng = np.random.default_rng(seed)
    P = random_sums(rng)
    s = torch.from_numpy(rng.integers(-3, 4, (3, P.n)) / 2.0)
    if seed % 5 == 0:
        s[1, int(rng.integers(P.n))] = -inf
    agree_with_highs(P, s)
