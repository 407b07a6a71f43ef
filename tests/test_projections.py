"""Every projection: one table of cases times properties, each against independent code."""

import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import optlayers as ol
from optlayers import testing
from optlayers._plan.blocks import Block, split_into_blocks
from optlayers._plan.compile import compile_plan, limits_of, rows_of
from optlayers._plan.components import find_stacks
from optlayers._plan.failures import Report
from optlayers._plan.presolve import reduce_rows, reduce_values
from optlayers._projections import (
    QP,
    ActiveSet,
    Affine,
    Box,
    Newton,
    OneRow,
    Simplex,
    Spans,
    one_row,
    simplex,
)
from optlayers._projections import qp as qp_module

from .helpers import QP_TOL, RAW, TOL, raw_chain

inf = np.inf
CASES = {
    Box: [ol.box(4), ol.box(3, -1.0, [1.0, inf, -1.0])],
    Simplex: [
        ol.simplex(3),
        ol.simplex(5, total=2.0),
        ol.label_sum(2, 3),
        ol.head_selection(3),
        ol.cardinality(4, at_most=1),
        ol.cardinality(4, exactly=3),  # all but one: a simplex of what is left out
        ol.Polytope([[1.0, 1.0, -1.0]], [0.0]),  # sum of labels <= arc
    ],
    OneRow: [
        ol.cardinality(6, exactly=3),
        ol.cardinality(6, at_least=2, at_most=4),
        ol.budget([1.0, 2.0, 0.5, 3.0], limit=2.5),
        ol.Polytope(A_eq=[[1.0, -2.0, 3.0]], b_eq=[0.5], lower=-1.0, upper=2.0),
        ol.Polytope([[1.0, -1.0, 2.0]], [-1.0], lower=[-inf, 0.0, -1.0], upper=[inf, inf, -1.0]),
        ol.Polytope(A_eq=[[1.0, 1.0]], b_eq=[2.0]),  # a single point
        ol.product(*[ol.budget([1.0, k], limit=1.5) for k in (2.0, 3.0, 4.0)]),
    ],
    Affine: [
        ol.Polytope(
            A_eq=[[1.0, 1.0, 0.0, 2.0], [0.0, 1.0, -1.0, 0.0]],
            b_eq=[1.0, 0.5],
            lower=-inf,
            upper=inf,
        )
    ],
    Spans: [
        ol.spans(6, max_words=3, max_spans=2),
        ol.spans(5, 2.5, 0.5, mask=torch.tensor([True, True, False, True, True])),
    ],
    ActiveSet: [
        raw_chain(5),
        ol.assignment(3, 3),
        ol.assignment(2, 3, partial=True),
        ol.dag_path(4, [(0, 1), (1, 3), (0, 2), (2, 3), (1, 2)], 0, 3),
    ],
    Newton: [
        ol.Polytope([[1.0, 1.0, -1.0]], [0.5], num_aux=1),  # one row, but an auxiliary variable
        ol.Polytope(
            [[1.0, 1.0, -1.0, 0.0], [0.0, 1.0, 1.0, -1.0]],
            [0.5, 0.2],
            num_aux=1,
        ),
    ],
    QP: [
        # |z - 0.3| + |z - 0.6| <= 0.5: more auxiliary variables than others
        ol.Polytope(
            [[1.0, -1.0, 0.0], [-1.0, -1.0, 0.0], [1.0, 0.0, -1.0], [-1.0, 0.0, -1.0], [0, 1, 1]],
            [0.3, -0.3, 0.6, -0.6, 0.5],
            num_aux=2,
        ),
    ],
}
PAIRS = [
    pytest.param(kind, P, id=f"{kind.__name__}-{i}")
    for kind, polytopes in CASES.items()
    for i, P in enumerate(polytopes)
]
EVERY_MAP = pytest.mark.parametrize(("kind", "P"), PAIRS)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def projection(P):
    return lambda y: ol.project(P, y)


def tol_of(kind, dtype):
    return max(TOL[dtype], QP_TOL) if kind is QP else TOL[dtype]


def points(P, count=20, dtype=torch.float64, scale=2.0):
    return torch.cat([testing.coarse_points((count, P.n)), scale * torch.randn(count, P.n)]).to(
        dtype
    )


def test_every_registered_projection_has_cases():
    assert set(ol.maps.PROJECTIONS) == set(CASES)


@EVERY_MAP
def test_the_plan_chooses_the_map(kind, P):
    chosen = {type(m) for m in ol.plan(P).maps}
    assert kind in chosen <= {kind, Box}  # what is fixed and in no row is a box


@EVERY_MAP
@DTYPES
def test_kkt(kind, P, dtype):
    testing.assert_kkt(projection(P), P, points(P, dtype=dtype), tol_of(kind, dtype))


@EVERY_MAP
def test_agrees_with_clarabel(kind, P):
    testing.assert_agrees_with_qp(projection(P), P, points(P, count=6), QP_TOL)


@EVERY_MAP
def test_properties(kind, P):
    tol, y = tol_of(kind, torch.float64), points(P)
    testing.assert_idempotent(projection(P), y, tol)
    testing.assert_nonexpansive(projection(P), y, y.flip(0), tol)
    testing.assert_batch_equals_loop(projection(P), y)
    testing.assert_permutation_equivariant(projection, P, y, tol)
    testing.assert_float32_close(projection(P), y, tol_of(kind, torch.float32))


@EVERY_MAP
def test_the_special_map_agrees_with_the_general_one(kind, P):
    explained = ol.plan(P).explain()
    y = points(P)
    expected = ol.project(P, y)
    ol.maps.PROJECTIONS.register(AlwaysQP)
    try:
        assert {type(m) for m in ol.plan(P).maps} == {AlwaysQP}
        general = ol.project(P, y)
    finally:
        ol.maps.PROJECTIONS.unregister(AlwaysQP)
    torch.testing.assert_close(general, expected, rtol=0, atol=QP_TOL)
    assert ol.plan(P).explain() == explained


class AlwaysQP(QP):
    """The exact QP, ahead of everything."""


@pytest.mark.parametrize("kind", [Simplex, OneRow])
@DTYPES
def test_compiled_loops_agree_with_tensor_programs(kind, dtype, monkeypatch):
    for P in CASES[kind]:
        y = points(P, count=50, dtype=dtype)
        y[0] = torch.nan
        y[1, 0] = -torch.inf if kind is Simplex else y[1, 0]
        by_loops = ol.project(P, y, on_nonfinite="propagate")
        with monkeypatch.context() as patch:
            for module in (simplex, one_row):
                patch.setattr(module, "use_kernels", lambda _: False)
            by_tensors = ol.project(P, y, on_nonfinite="propagate")
        torch.testing.assert_close(by_loops, by_tensors, rtol=0, atol=TOL[dtype], equal_nan=True)
        assert by_loops[0].isnan().any()


def test_large_work_is_split_between_threads():
    P, y = ol.simplex(50), torch.randn(20_000, 50)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = ol.project(P, y)
        torch.set_num_threads(2)
        assert torch.equal(ol.project(P, y), alone)
    finally:
        torch.set_num_threads(before)


grid = st.integers(-3, 3).map(lambda k: k / 2)


@settings(max_examples=200, deadline=None)
@given(
    weights=arrays("float64", (4,), elements=st.sampled_from([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])),
    ends=arrays(
        "float64", (2, 4), elements=st.sampled_from([-inf, -1.0, -0.5, 0.0, 0.5, 1.0, inf])
    ),
    inside=arrays("float64", (4,), elements=grid),
    slack=st.sampled_from([0.0, 0.5, inf]),
    y=arrays("float64", (3, 4), elements=grid),
)
def test_one_row_on_a_grid(weights, ends, inside, slack, y):
    """Ties, zeros, boundary points, infinite bounds and fixed variables are the rule here."""
    lower = np.where(ends.min(0) == inf, 0.0, ends.min(0))
    upper = np.where(ends.max(0) == -inf, 0.0, ends.max(0))
    value = weights @ np.clip(inside, lower, upper)
    P = ol.Polytope(
        np.stack([weights, -weights]), [value + slack, -value], lower=lower, upper=upper
    )
    y = torch.from_numpy(y)
    assert ol.certify(P, y, ol.project(P, y)).holds(TOL[torch.float64])


@pytest.mark.parametrize("scale", [1e-6, 1e6, 1e12])
@pytest.mark.parametrize(
    "P", [ol.simplex(5), ol.label_sum(1, 4), ol.cardinality(5, exactly=2)], ids=repr
)
def test_points_of_any_size(P, scale):
    y = scale * torch.randn(20, P.n, dtype=torch.float64)
    assert ol.certify(P, y, ol.project(P, y)).holds(TOL[torch.float64])


# ---------------------------------------------------------------------- structure is found


@pytest.mark.parametrize("P", [ol.head_selection(6), ol.label_sum(5, 4)], ids=["heads", "labels"])
def test_raw_matrices_still_land_on_the_fast_path(P):
    rng = np.random.default_rng(0)
    rows, variables = rng.permutation(P.A_eq.shape[0]), rng.permutation(P.n)
    scale = rng.uniform(0.1, 10.0, len(rows))
    raw = ol.Polytope(
        A_eq=(sp.diags_array(scale) @ P.A_eq[rows][:, variables]).toarray(),
        b_eq=P.b_eq.numpy()[rows] * scale,
        upper=P.upper[variables],
    )
    assert {type(m) for m in ol.plan(raw).maps if m.block.num_rows} == {Simplex}
    y = torch.randn(10, P.n, dtype=torch.float64)
    expected = ol.project(P, y)[:, variables]
    torch.testing.assert_close(ol.project(raw, y[:, variables]), expected, rtol=0, atol=1e-12)


def test_bounds_stated_as_rows_and_equalities_stated_twice():
    n, rng = 5, np.random.default_rng(1)
    sums = np.ones((2, n)) * [[3.0], [-0.7]]
    A = np.vstack([sums, -np.eye(n) * rng.uniform(0.5, 2.0, (n, 1)), 2.0 * np.eye(n)])
    b = np.concatenate([[3.0, -0.7], np.zeros(n), np.full(n, 8.0)])
    raw = ol.Polytope(A, b, lower=-inf, upper=inf)
    assert [type(m) for m in ol.plan(raw).maps] == [Simplex]
    y = torch.randn(10, n, dtype=torch.float64)
    torch.testing.assert_close(ol.project(raw, y), ol.project(ol.simplex(n), y))
    batched = raw.with_(b=torch.from_numpy(np.stack([b, b])))
    assert [type(m) for m in ol.plan(batched).maps] == [Simplex]
    torch.testing.assert_close(ol.project(batched, y[:2]), ol.project(ol.simplex(n), y[:2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("equality", [True, False], ids=["equal", "at most"])
def test_simplices_that_vary_in_the_batch(equality, dtype, device):
    """Pruned variables, totals and signs per instance, against OneRow, which is another method."""
    n, batch = 5, 200
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    for row in (torch.ones(n), signs, -signs):
        total = torch.randint(0, 3, (batch,)).double() / 2
        free = torch.rand(batch, n) < 0.6
        free[:, 0] |= total > 0
        lower = torch.randint(-1, 2, (batch, n)).double()
        upper = lower + torch.where(free, total[:, None], 0.0)
        flip = 1.0 if row[2] > 0 else -1.0
        anchor = torch.where(flip * row > 0, lower, upper)
        right = flip * total + (row * anchor).sum(-1)
        parts = {"lower": lower.to(device), "upper": upper.to(device)}
        if equality:
            P = ol.Polytope(A_eq=row[None], b_eq=right[:, None].to(device), **parts)
        else:
            P = ol.Polytope(flip * row[None], flip * right[:, None].to(device), **parts)
        (map_,) = ol.plan(P).maps
        assert isinstance(map_, Simplex)
        y = (torch.randint(-4, 5, (batch, n)) / 2).to(device, dtype)
        (limits,), other = limits_of(P, ol.plan(P), device, dtype), OneRow(map_.block)
        z, x = ol.project(P, y), y[:, None]
        expected = other.forward(x, limits, Report())
        for found in (z[:, None], map_._by_sorting(x, limits)):
            torch.testing.assert_close(found, expected, rtol=0, atol=TOL[dtype])
        assert torch.equal(z[~free], anchor[~free].to(z))
        x, grad = torch.randn(2, batch, 1, n, dtype=dtype, device=device)
        z = map_.forward(x, limits, Report())
        pair = [m.vjp(x, z, limits, grad) for m in (map_, other)]
        torch.testing.assert_close(*pair, rtol=0, atol=TOL[dtype])


def test_a_batch_in_which_a_bound_can_be_active_is_no_simplex():
    fine = ol.simplex(3, torch.tensor([1.0, 0.5, 0.0]))
    tight = fine.with_(upper=fine.upper * torch.tensor([1.0, 0.5, 1.0])[:, None])
    assert [type(m) for m in ol.plan(fine).maps] == [Simplex]
    assert [type(m) for m in ol.plan(tight).maps] == [OneRow]
    assert "a bound other than those of a simplex can be active" in ol.plan(tight).explain()
    y = torch.tensor([[2.0, 1.0, 0.0]]).expand(3, 3)
    with pytest.raises(ol.InfeasibleError, match="Instance 1"):
        ol.project(tight.with_(b_eq=torch.tensor([[1.0], [1.0], [0.0]])), y)
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.25, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(ol.project(tight, y), expected)


def test_nothing_left_to_choose_in_a_batch():
    """An instance without a free variable and with NaN, infinite or no points to project."""
    P = ol.simplex(2, torch.tensor([0.0, 1.0, 1.0, 1.0]))
    y = torch.tensor([[5.0, -inf], [torch.nan, 0.0], [inf, 0.0], [-inf, 0.0]])
    expected = torch.tensor([[0.0, 0.0], [torch.nan] * 2, [torch.nan] * 2, [0.0, 1.0]])
    map_: Any = ol.plan(P).maps[0]
    (limits,) = limits_of(P, ol.plan(P), y.device, y.dtype)
    by_verb = ol.project(P, y, on_nonfinite="propagate")
    for found in (by_verb, map_._by_sorting(y[:, None], limits)[:, 0]):
        torch.testing.assert_close(found, expected, equal_nan=True)


def test_blocks_are_components_and_equal_ones_are_stacked():
    P = ol.product(*[ol.simplex(3)] * 4, ol.box(2), raw_chain(4), raw_chain(4), ol.simplex(2, 2.0))
    blocks = [(b.count, b.size, b.num_rows) for b in (m.block for m in ol.plan(P).maps)]
    assert sorted(blocks) == [(1, 2, 0), (1, 2, 1), (2, 4, 3), (4, 3, 1)]
    y = torch.randn(5, P.n, dtype=torch.float64)
    assert ol.certify(P, y, ol.project(P, y)).holds(QP_TOL)
    assert "Block(4 x 3 variables, 1 rows)" in repr([m.block for m in ol.plan(P).maps])


def test_explain():
    P = ol.product(ol.simplex(3), ol.simplex(3), raw_chain(3), ol.box(2))
    assert ol.plan(P).explain() == (
        "Projection plan: 11 variables, 4 blocks\n"
        "  2 x 3 variables, 1 row -> Simplex\n"
        "      not Box: it has coupling rows\n"
        "  1 x 3 variables, 2 rows -> ActiveSet\n"
        "      dual active-set method, dense rows; what misses 1e-09 goes to Newton's method\n"
        "      not Box: it has coupling rows\n"
        "      not Simplex: it has coupling rows\n"
        "      not OneRow: it needs exactly one row, not 2\n"
        "      not Affine: it has inequality rows\n"
        "      not Spans: it does not select words in spans\n"
        "  1 x 2 variables, 0 rows -> Box"
    )
    assert str(ol.plan(P)) == ol.plan(P).explain()


def test_plans_are_shared_by_polytopes_with_equal_rows():
    P = ol.cardinality(5, at_most=2)
    assert ol.plan(P) is ol.plan(ol.cardinality(5, at_most=2))
    first = P.with_(b=torch.tensor([[1.0], [2.0]]))
    assert ol.plan(first) is ol.plan(P.with_(b=torch.tensor([[3.0], [1.0]])))
    assert ol.plan(P) is not ol.plan(ol.cardinality(5, at_most=1))  # now a simplex


def test_compiling_is_fast_enough_for_long_sentences():
    """The sizes of the issue compile at all; `make bench` says how fast."""
    P = ol.label_sum(60 * 59, 58)
    assert [m.block.count for m in ol.plan(P).maps] == [60 * 59]
    simplices = [m for m in ol.plan(ol.head_selection(60)).maps if isinstance(m, Simplex)]
    assert [m.block.count for m in simplices] == [60]


@pytest.mark.parametrize("name", RAW)
def test_reduced_rows_say_the_same(name):
    P = RAW[name]
    reduction = reduce_rows(P.A, P.A_eq)
    values = reduce_values(P, reduction)
    for x in testing.coarse_points((200, P.num_vars)).numpy():
        ours = (x >= values.lower[0].numpy()).all() and (x <= values.upper[0].numpy()).all()
        act = reduction.R @ x
        ours &= (act <= values.row_upper[0].numpy() + 1e-12).all()
        ours &= (act >= values.row_lower[0].numpy() - 1e-12).all()
        theirs = (x >= P.lower.numpy()).all() and (x <= P.upper.numpy()).all()
        theirs &= (P.A @ x <= P.b.numpy() + 1e-12).all()
        theirs &= (np.abs(P.A_eq @ x - P.b_eq.numpy()) <= 1e-12).all()
        assert ours == theirs


def test_rows_of_unequal_weight_are_split_where_a_map_needs_one_matrix():
    rows = [[1.0, 2.0, 0, 0, 0.5, 0], [0, 0, 1.0, 3.0, 0, 0.5]]
    P = ol.Polytope(rows, [1.0, 1.0], lower=0, upper=1, num_aux=2)
    assert len(ol.plan(P).maps) == 2
    y = torch.randn(10, 4, dtype=torch.float64)
    assert ol.certify(P, y, ol.project(P, y)).holds(QP_TOL)


# ---------------------------------------------------------------------- values per instance


@pytest.mark.parametrize(
    "P", [ol.head_selection(3), ol.cardinality(5, at_most=2), raw_chain(4)], ids=repr
)
def test_values_per_instance_equal_a_loop(P):
    rng = np.random.default_rng(0)
    upper = np.where(rng.random((4, P.n)) < 0.2, 0.5, 1.0) * P.upper.numpy()
    batch = P.with_(upper=torch.from_numpy(upper), b=P.b.expand(4, -1), b_eq=P.b_eq.expand(4, -1))
    y = 2 * torch.randn(4, P.n, dtype=torch.float64)
    together = ol.project(batch, y)
    for i in range(4):
        alone = ol.project(P.with_(upper=upper[i]), y[i])
        torch.testing.assert_close(together[i], alone, rtol=0, atol=QP_TOL)
    assert ol.certify(batch, y, together).holds(QP_TOL)


def test_padding_by_right_hand_sides_and_bounds():
    P = ol.head_selection(3)  # a sentence of 2 words in a batch padded to 3
    upper, b_eq = P.upper.reshape(4, 4).clone().repeat(2, 1, 1), torch.ones(2, 3)
    upper[1, 3, :] = 0
    upper[1, :, 3] = 0
    b_eq[1, 2] = 0
    padded = P.with_(upper=upper.flatten(1), b_eq=b_eq)
    y = torch.randn(2, 16, dtype=torch.float64)
    z = ol.project(padded, y).reshape(2, 4, 4)
    small = ol.project(ol.head_selection(2), y[1].reshape(4, 4)[:3, :3].flatten())
    torch.testing.assert_close(z[1, :3, :3].flatten(), small)
    assert z[1, :, 3].abs().max() == 0


# ---------------------------------------------------------------------- the general solver


@pytest.fixture
def only_qp():
    """Every block goes to OSQP."""
    ol.maps.PROJECTIONS.register(AlwaysQP)
    yield
    ol.maps.PROJECTIONS.unregister(AlwaysQP)


def test_a_wrong_answer_of_osqp_is_repaired_by_clarabel(only_qp, monkeypatch):
    asked = []

    def sloppy(self, problem):
        asked.append("osqp")
        return qp_module.Answer(problem.y, np.zeros(self.block.num_rows), 1.0, "solved")

    monkeypatch.setattr(qp_module.OSQPSolver, "solve", sloppy)
    P, y = raw_chain(4), 2 * torch.randn(5, 4, dtype=torch.float64)
    assert ol.certify(P, y, ol.project(P, y)).holds(QP_TOL)
    assert asked


def test_when_no_solver_is_accurate_enough(only_qp, monkeypatch):
    for kind in (qp_module.OSQPSolver, qp_module.CvxpySolver, qp_module.ExtendedActiveSet):
        monkeypatch.setattr(
            kind,
            "solve",
            lambda self, problem: qp_module.Answer(
                problem.y, np.zeros(self.block.num_rows), 1e-3, "solved inaccurate"
            ),
        )
    P, y = raw_chain(4), torch.full((2, 4), 2.0)
    with pytest.raises(
        ol.SolverFailed,
        match=r"Instance 0: .*1e-09 \(osqp: solved inaccurate, KKT residual 1.0e-03, cvxpy",
    ):
        ol.project(P, y)
    z, status = ol.project(P, y, on_failure="nan", return_status=True)
    assert z.isnan().all()
    assert not status.ok.any()


@pytest.mark.parametrize("kind", [qp_module.CvxpySolver, qp_module.ExtendedActiveSet])
def test_each_solver_alone(kind, only_qp, monkeypatch):
    kinds = {qp_module.OSQPSolver, qp_module.CvxpySolver, qp_module.ExtendedActiveSet}
    for other in kinds - {kind}:
        monkeypatch.setattr(
            other,
            "solve",
            lambda self, problem: qp_module.Answer(problem.y, np.zeros(self.block.num_rows)),
        )
    for P in CASES[QP] + CASES[Newton] + CASES[ActiveSet] + CASES[Spans]:
        y = points(P, count=3)
        assert ol.certify(P, y, ol.project(P, y)).holds(QP_TOL)


def test_rows_that_are_nearly_parallel(only_qp):
    """Half-spaces that open by 1e-6: what squares the condition number is at its end."""
    A = np.array([[1.0, 1e-6, 0.5], [-1.0, 1e-6, -0.5]])
    P = ol.Polytope(A, [0.0, 0.0], lower=-inf, upper=inf)
    y = torch.tensor([[0.3, 0.5, -1.0], [0.5, 2.0, 0.5]], dtype=torch.float64)
    assert ol.certify(P, y, ol.project(P, y)).residual.max() <= 1e-9


def test_osqp_in_threads(only_qp):
    P, y, before = raw_chain(6), points(raw_chain(6), count=20), torch.get_num_threads()
    results = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        try:
            results.append(ol.project(P, y))
        finally:
            torch.set_num_threads(before)
    assert torch.equal(*results)


def test_plans_with_solvers_can_be_pickled():
    P, y = raw_chain(4), torch.randn(3, 4, dtype=torch.float64)
    expected = ol.project(P, y)
    plan = pickle.loads(pickle.dumps(ol.plan(P)))
    limits = limits_of(P, plan, y.device, y.dtype)
    assert torch.equal(plan.forward(y, limits, ol.maps.Report()), expected)


def test_nothing_is_printed_by_solvers(capfd):
    ol.project(raw_chain(4), torch.full((4,), 0.2))
    ol.project(ol.spans(5, 3, 2), torch.full((5,), 0.2))
    ol.decode(ol.dag_path(3, [(0, 1), (1, 2), (0, 2)], 0, 2), torch.randn(3))
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


# ---------------------------------------------------------------------- derivatives


@EVERY_MAP
def test_gradcheck_away_from_kinks(kind, P):
    y = (torch.randn(3, P.n, dtype=torch.float64) * 1.5).requires_grad_()
    # The step: large against the accuracy of the solver, small against distances to kinks.
    eps, atol = (1e-4, 1e-3) if kind is QP else (1e-6, 1e-5)
    assert torch.autograd.gradcheck(projection(P), (y,), eps=eps, atol=atol)


# ---------------------------------------------------------------------- maps of one's own


class Rounded(ol.maps.AbstractBlockMap):
    """Takes boxes [0, 1] of exactly 7 variables."""

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        return None if block.size == 7 and not block.num_rows else "it is not a box of 7"

    def forward(self, x, limits, report):
        report.fail(0, "the first one always fails")
        z = x.clamp(0, 1)
        z[0] = torch.nan
        return z


def test_a_map_of_ones_own():
    ol.maps.PROJECTIONS.register(Rounded)
    try:
        assert ol.plan(ol.box(7)).explain().endswith("1 x 7 variables, 0 rows -> Rounded")
        z, status = ol.project(ol.box(7), torch.zeros(2, 7), on_failure="nan", return_status=True)
        assert z.isnan().any(-1).tolist() == [True, False]
        assert status.failures == {(0,): "the first one always fails"}
        with pytest.raises(ol.SolverFailed, match="Instance 0: the first one always fails"):
            ol.project(ol.box(7), torch.zeros(2, 7))
        with pytest.raises(ol.BlockRefused, match=r"Rounded cannot take Block.*not a box of 7"):
            Rounded(ol.plan(ol.box(3)).maps[0].block)
        y = torch.zeros(1, 7, requires_grad=True)
        with pytest.raises(NotImplementedError, match="Rounded has no derivative"):
            ol.project(ol.box(7), y, on_failure="nan").sum().backward()
        with pytest.raises(TypeError, match="subclass of AbstractBlockMap"):
            ol.maps.PROJECTIONS.register(int)
    finally:
        ol.maps.PROJECTIONS.unregister(Rounded)
    assert type(ol.plan(ol.box(7)).maps[0]) is Box
    assert repr(ol.maps.PROJECTIONS) == (
        "projection(Box, Simplex, OneRow, Affine, Spans, ActiveSet, Newton, QP)"
    )
    assert len(ol.maps.PROJECTIONS) == 8


def cyclic(n):
    """z_2i + z_2i+1 + z_2i+2 = 0 around a ring: equalities without bounds."""
    rows = np.arange(n // 2)
    columns = np.stack([2 * rows, 2 * rows + 1, (2 * rows + 2) % n], -1)
    A_eq = sp.csr_array((np.ones(columns.size), (rows.repeat(3), columns.ravel())))
    return ol.Polytope(A_eq=A_eq, b_eq=np.zeros(n // 2), lower=-inf, upper=inf)


@pytest.mark.parametrize(
    ("kind", "P", "reason"),
    [
        (Box, ol.simplex(2), "it has coupling rows"),
        (Simplex, ol.box(2), "it has no row"),
        (Simplex, raw_chain(3), "it has coupling rows"),
        (Simplex, ol.Polytope([[1.0, 1.0]], [1.0], num_aux=1), "auxiliary"),
        (Simplex, ol.cardinality(3, at_most=torch.tensor([1, 1])), "right-hand sides vary"),
        (Simplex, ol.budget([1.0, 2.0], 1.0), "differ in size"),
        (Simplex, ol.cardinality(4, exactly=2), "a bound other than those of a simplex"),
        (OneRow, raw_chain(3), "exactly one row, not 2"),
        (OneRow, ol.Polytope([[1.0, 1.0]], [1.0], num_aux=1), "auxiliary"),
        (Affine, ol.Polytope([[1.0, 1.0]], [1.0], lower=-inf, upper=inf), "inequality rows"),
        (Affine, ol.assignment(2, 2), "it has bounds"),
        (Affine, ol.cardinality(3, exactly=torch.tensor([1, 1])), "vary in the batch"),
        (Affine, ol.Polytope(A_eq=[[1.0, 1.0]], b_eq=[1.0], num_aux=1), "auxiliary"),
        (
            Affine,
            ol.Polytope(
                A_eq=[[1.0, 1, 0], [0, 1, 1], [1, 2, 1]], b_eq=[1, 1, 2], lower=-inf, upper=inf
            ),
            "depend on one another",
        ),
        (Affine, cyclic(1200), "its rows are large and sparse"),
    ],
)
def test_refusals_say_why(kind, P, reason):
    reduction = reduce_rows(P.A, P.A_eq)
    stacks = find_stacks(reduction.R, P.n, P.whole)
    (block,) = split_into_blocks(reduce_values(P, reduction), None, stacks)
    assert reason in kind.why_not(block)
    with pytest.raises(ol.BlockRefused, match=reason):
        kind(block)
    assert compile_plan(P, ol.maps.PROJECTIONS).maps  # somebody else takes it


def test_large_sparse_equalities_give_what_their_pseudo_inverse_gives():
    P = cyclic(1200)
    y = torch.randn(2, P.n, dtype=torch.float64, requires_grad=True)
    b = torch.randn(P.A_eq.shape[0], dtype=torch.float64, requires_grad=True)
    w = torch.randn(P.n, dtype=torch.float64)
    z = ol.project(P.with_(b_eq=b), y)
    found = torch.autograd.grad((z @ w).sum(), (y, b))
    A = torch.from_numpy(P.A_eq.toarray())
    onto = torch.linalg.solve(A @ A.T, A)  # the transpose of the pseudo-inverse
    wanted = y - (y @ A.T - b) @ onto, (w - (onto.T @ (A @ w))).expand(2, -1), 2 * onto @ w
    torch.testing.assert_close((z, *found), wanted, rtol=0, atol=1e-11)


def test_plans_do_not_pile_up():
    P = raw_chain(4)
    for k in range(100):  # values without a batch dimension: a plan of its own for each
        ol.plan(P.with_(upper=1.0 + k))
    assert len(rows_of(P).plans) <= 32
    alone = P.with_(b=torch.tensor([[1.0, 1.0, 0.5]]))  # a batch of one shares the plan of batches
    assert ol.plan(alone) is ol.plan(P.with_(b=torch.ones(7, 3)))
    y = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(ol.project(alone, y), ol.project(P.with_(b=[1.0, 1.0, 0.5]), y))


@pytest.mark.parametrize("P", CASES[QP], ids=repr)
def test_answers_do_not_depend_on_history(P):
    y = points(P, count=10)
    together = ol.project(P, y)
    order = torch.randperm(len(y))
    assert torch.equal(ol.project(P, y[order]), together[order])


def test_one_row_with_weights_of_every_size():
    """Breakpoints over many orders of magnitude: where Newton takes its shortest steps."""
    for weights in (np.geomspace(1, 1e-8, 3000), np.geomspace(1e6, 1e-6, 50)):
        P = ol.Polytope([weights], [1e-3 * weights.sum()], integral=False)
        for y in (np.full(len(weights), 5.0), 1 / weights, np.geomspace(1, 1e6, len(weights))):
            point = torch.from_numpy(y)
            assert ol.certify(P, point, ol.project(P, point)).holds(TOL[torch.float64])
