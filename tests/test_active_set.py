"""The dual active-set method: against Newton's method, Clarabel and the certificate."""

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._judge.references import exact_projection
from optlayers._plan.compile import compile_plan, limits_of
from optlayers._plan.failures import Report
from optlayers._plan.maps import Limits, Table
from optlayers._projections import QP, ActiveSet, Newton

from .helpers import QP_TOL, SAME_FACE
from .test_newton import HOSTILE, conflicts, gaussian, points

inf = np.inf
ACTIVE_SET, NEWTON = Table("active set", ActiveSet, QP), Table("newton", Newton, QP)


def repeated():
    """A vertex at which 24 rows in 8 variables meet, each of them twice."""
    rng = np.random.default_rng(3)
    A = rng.integers(-2, 3, (24, 8)).astype(float)
    corner = rng.integers(0, 2, 8).astype(float)
    A = np.vstack([A, 2 * A[::-1]])
    return ol.Polytope(A, A @ corner, lower=-2, upper=2)


def transport():
    """Supplies and demands with equal sums: one row depends on the others."""
    supply, demand = [0.5, 1.0, 0.75], [0.25, 1.0, 0.5, 0.5]
    rows = np.vstack([np.kron(np.eye(3), np.ones(4)), np.kron(np.ones(3), np.eye(4))])
    return ol.Polytope(A_eq=rows, b_eq=supply + demand)


def many(n, m, seed=0):
    """Random inequalities, more of them than variables or fewer."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n))
    return ol.Polytope(A, A @ rng.uniform(0.2, 0.8, n) + rng.uniform(0, 0.5, m))


SETS = {
    name: P
    for name, P in {
        **HOSTILE,
        "vertex": repeated(),
        "transport": transport(),
        "more rows": many(8, 20),
        "fewer rows": many(30, 6),
        "grid path": ol.dag_path(6, [(0, 1), (1, 2), (0, 3), (3, 4), (1, 4), (2, 5), (4, 5)], 0, 5),
    }.items()
    if all(ActiveSet.why_not(m.block) is None for m in compile_plan(P, NEWTON).maps)
}
EVERY = pytest.mark.parametrize("P", list(SETS.values()), ids=list(SETS))


def by(table, P, y, near=None):
    """Project by the maps of a table."""
    plan, report = compile_plan(P, table), Report()
    z = plan.forward(y, limits_of(P, plan, y.device, y.dtype), report, near)
    assert not report.failures
    return z


def parts_of(P, y):
    """The one map of a polytope, its points and limits in the layout of its block."""
    plan = compile_plan(P, ACTIVE_SET)
    (map_,) = plan.maps
    (at,) = plan.index(y.device)
    assert isinstance(map_, ActiveSet)
    return map_, plan.gather(y, at, map_), limits_of(P, plan, y.device, y.dtype)[0]


# ---------------------------------------------------------------------- answers


@EVERY
def test_answers_are_certified_to_rounding(P):
    y = points(P)
    assert ol.certify(P, y, by(ACTIVE_SET, P, y)).residual.max() <= 1e-9


@EVERY
def test_agrees_with_newton(P):
    y = points(P, count=20)
    scale = 1 + y.abs().amax()
    assert (by(ACTIVE_SET, P, y) - by(NEWTON, P, y)).abs().max() <= SAME_FACE * scale


@EVERY
def test_agrees_with_clarabel(P):
    y = points(P, count=2)[:4]
    expected = exact_projection(P, y, "cvxpy")
    torch.testing.assert_close(by(ACTIVE_SET, P, y), expected, rtol=QP_TOL, atol=2 * QP_TOL)


@EVERY
def test_a_hint_does_not_move_the_answer(P):
    y = points(P, count=10)
    z, scale = by(ACTIVE_SET, P, y), 1 + y.abs().amax(-1, keepdim=True)
    for near in (
        z,
        z.roll(1, 0),
        torch.zeros_like(y),
        torch.randn_like(y),
        1e6 * torch.ones_like(y),
    ):
        assert ((by(ACTIVE_SET, P, y, near) - z).abs() <= 1e-12 * scale).all()


@EVERY
def test_single_precision_is_as_good_as_it_can_be(P):
    y = points(P).float()
    z = by(ACTIVE_SET, P, y)
    assert z.dtype == torch.float32
    exact = by(ACTIVE_SET, P, y.double())
    assert ((z - exact).abs() <= 1e-7 * y.abs().amax(-1, keepdim=True).clamp(min=1)).all()


@pytest.mark.parametrize("name", ["assignment", "conflicts", "gaussian", "vertex", "transport"])
def test_next_to_nothing_is_handed_on(name, monkeypatch):
    monkeypatch.setattr(ActiveSet, "_hand_on", None)
    by(ACTIVE_SET, SETS[name], points(SETS[name]))


def test_dense_and_sparse_rows_agree(monkeypatch):
    P, y = gaussian(), points(gaussian())
    dense = by(ACTIVE_SET, P, y)
    monkeypatch.setattr("optlayers._projections.active_set._DENSE", 2.0)
    sparse = by(Table("sparse rows", ActiveSet, QP), P, y)
    torch.testing.assert_close(sparse, dense, rtol=0, atol=1e-11 * float(y.abs().max()))


def test_values_that_vary_in_the_batch():
    P, y = conflicts(), points(conflicts(), count=3)
    rng = np.random.default_rng(1)
    b = P.b.numpy() * rng.uniform(0.3, 1.5, (len(y), 1))
    upper = rng.uniform(0.0, 1.0, (len(y), P.n)).round(1)
    z = ol.project(P.with_(b=torch.tensor(b), upper=torch.tensor(upper)), y)
    for i in (0, 5, 11):
        one = ol.project(P.with_(b=b[i], upper=upper[i]), y[i])
        torch.testing.assert_close(z[i], one, rtol=0, atol=1e-12)


# ---------------------------------------------------------------------- what it hands on


def test_only_the_instances_that_miss_the_accuracy_go_to_newton(monkeypatch):
    P, y, asked = conflicts(), points(conflicts(), count=2), []
    expected, host, newton = ol.project(P, y), ActiveSet.on_host, Newton.forward

    def off(self, x, limits, near):
        z, quality = host(self, x, limits, near)
        z[3], quality[3] = 0.0, torch.nan
        return z, quality

    def spy(self, x, limits, report):
        asked.append(x)
        return newton(self, x, limits, report)

    monkeypatch.setattr(ActiveSet, "on_host", off)
    monkeypatch.setattr(Newton, "forward", spy)
    torch.testing.assert_close(ol.project(P, y), expected, rtol=1e-9, atol=1e-9)
    assert [len(x) for x in asked] == [1]


def test_without_a_point_the_residual_is_infinite():
    P = ol.Polytope([[1.0, 1, 0], [0, -1, -1], [1.0, 0, 1]], [0.5, -1.8, 0.1])
    y = torch.randn(5, 3, dtype=torch.float64)
    map_, parts, limits = parts_of(P, y)
    assert (map_.on_host(parts, limits, None)[1] == inf).all()
    with pytest.raises(ol.InfeasibleError, match="In conflict: A"):
        ol.project(P, y)
    assert ol.project(P, y, on_failure="nan").isnan().all()


@pytest.mark.parametrize("bad", [torch.nan, inf])
def test_a_point_that_is_not_finite_has_no_residual(bad):
    y = points(conflicts(), count=1)
    y[2, 4] = bad
    map_, parts, limits = parts_of(conflicts(), y)
    quality = map_.on_host(parts, limits, None)[1]
    assert quality[2].isnan().all()
    assert (quality[[0, 1, 3]] <= 1e-9).all()


def test_crossed_bounds_have_no_residual():
    map_, parts, limits = parts_of(conflicts(), points(conflicts(), count=1))
    crossed = Limits(*limits[:2], limits.lower + 2, limits.upper)
    assert map_.on_host(parts, crossed, None)[1].isnan().all()


# ---------------------------------------------------------------------- who goes first


@pytest.mark.parametrize(
    ("P", "reason"),
    [
        (ol.spans(3, 1, 1), "auxiliary variables have no curvature"),
        (ol.assignment(12), "few sparse rows over many variables"),
        (ol.assignment(25), "it is large"),
    ],
)
def test_newton_goes_first_for_a_reason(P, reason):
    (block,) = (m.block for m in compile_plan(P, NEWTON).maps)
    assert reason in ActiveSet.why_not(block)


def test_the_plan_says_who_goes_first():
    assert "dual active-set method, sparse rows; what misses" in ol.plan(ol.assignment(4)).explain()
    assert "not ActiveSet: few sparse rows" in ol.plan(ol.assignment(12)).explain()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_make_no_difference(threads):
    P, y, before = conflicts(), points(conflicts(), count=50), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        z = ol.project(P, y)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(z, torch.stack([ol.project(P, v) for v in y]))


def test_where_an_answer_is_expected_changes_the_work_alone():
    rng = np.random.default_rng(3)
    A = rng.standard_normal((12, 8))
    P = ol.Polytope(A, A @ rng.uniform(0.2, 0.8, 8) + 0.1)
    y = torch.from_numpy(rng.standard_normal((6, 8)))
    z = ol.project(P, y)
    nowhere = torch.full((6, 8), torch.nan, dtype=torch.float64)
    for near in (
        z,
        z.float(),
        1e9 * y,
        -z,
        nowhere,
        torch.zeros(8),
        nowhere.clone().index_fill_(0, torch.tensor([1]), torch.inf),
    ):
        assert (ol.project(P, y, near=near) - z).abs().max() <= 1e-12


@pytest.mark.parametrize(
    ("near", "words"),
    [
        (torch.zeros(3), r"`near` must have the shape of the answer, \(2, 8\)"),
        (
            torch.zeros(2, 8, dtype=torch.int64),
            "`near` must be a tensor of floats. Got torch.int64",
        ),
        ([0.0] * 8, "`near` must be a tensor of floats. Got list"),
    ],
)
def test_what_cannot_be_near_is_refused(near, words):
    with pytest.raises(ol.InputError, match=words):
        ol.project(ol.box(8), torch.zeros(2, 8), near=near)
