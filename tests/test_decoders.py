"""Decoders against enumeration of every integral point, on grids where ties are the rule."""

import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

import optlayers as ol
from optlayers import BlockRefused, Polytope, SolverNotInstalled
from optlayers._decoders import (
    DECODERS,
    MILP,
    Assignment,
    BoxArgmax,
    Knapsack,
    OneRowArgmax,
    Packing,
    Paths,
    SimplexArgmax,
    Spans,
    Transport,
)
from optlayers._feasible_set import as_set
from optlayers._plan.compile import compile_plan, limits_of
from optlayers._plan.failures import Report
from optlayers._solvers import SOLVERS, Solver, available_solvers, require
from optlayers._solvers.highs import Solution

from .helpers import raw_chain

GRID = st.integers(-3, 3).map(lambda k: k / 2)


def names(polytope):
    return [type(m).__name__ for m in compile_plan(polytope, DECODERS).maps]


def run(polytope, scores, report=None):
    """Decode `(N, n)` through the plan of the polytope."""
    plan = compile_plan(polytope, DECODERS)
    report = Report() if report is None else report
    return plan.forward(scores, limits_of(polytope, plan, scores.device, scores.dtype), report)


def run_map(kind, polytope, scores, report=None):
    """Decode with one map, whatever the table says; the polytope is a single component."""
    map_ = kind(compile_plan(polytope, DECODERS).maps[0].block)
    plan = compile_plan(polytope, DECODERS)
    limits = limits_of(polytope, plan, scores.device, scores.dtype)[0]
    pad = scores.new_zeros(len(scores), polytope.num_aux)
    x = torch.cat([scores, pad], 1)[:, None]
    result = map_.forward(x, limits, Report() if report is None else report)
    return result[:, 0, : polytope.n]


def in_spans(z, words, starts):
    steps = np.maximum(np.diff(z, prepend=0.0), 0)
    return z.sum() <= words and steps.sum() <= starts


def points(polytope):
    """Every integral point z, by enumeration; the auxiliaries of spans at their smallest."""
    ranges = [
        np.arange(np.ceil(low), np.floor(high) + 1)
        for low, high in zip(polytope.lower.numpy(), polytope.upper.numpy(), strict=True)
    ][: polytope.n]
    found = []
    for z in itertools.product(*ranges):
        x = np.array(z)
        if polytope.num_aux:
            x = np.concatenate([x, np.maximum(np.diff(x, prepend=0.0), 0)])
            if (x > polytope.upper.numpy()).any():
                continue
        fits = (polytope.A @ x <= polytope.b.numpy() + 1e-9).all()
        if fits and (np.abs(polytope.A_eq @ x - polytope.b_eq.numpy()) <= 1e-9).all():
            found.append(z)
    return torch.tensor(found, dtype=torch.float64)


SIGNED = Polytope([[1.0, -1.0, 1.0, -1.0]], [1.0])
EDGES = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
FORBIDDEN = ol.assignment(3).with_(upper=[1.0, 0, 1, 1, 1, 1, 0, 1, 1])
# decoder -> polytopes that the table gives to it
CASES = {
    BoxArgmax: [ol.box(4), ol.box(3, -1.0, 2.0), ol.box(3, -0.5, 1.5)],
    SimplexArgmax: [
        ol.simplex(4),
        ol.simplex(3, total=2.0),
        ol.cardinality(4, at_most=1),
        ol.label_sum(1, 3),
        ol.product(ol.simplex(3), ol.simplex(3)),
        ol.cardinality(4, exactly=3),
        ol.cardinality(4, at_least=3),
        ol.simplex(4).with_(upper=[1.0, 0.0, 1.0, 1.0]),
    ],
    OneRowArgmax: [
        ol.cardinality(5, exactly=2),
        ol.cardinality(5, at_most=3),
        ol.cardinality(5, at_least=2, at_most=3),
        ol.cardinality(4, at_least=2),
        ol.cardinality(4, at_most=2.5),
        ol.cardinality(5, exactly=2).with_(upper=[1.0, 0.0, 1.0, 1.0, 1.0]),
        SIGNED,
        SIGNED.with_(lower=-1.0, b=[0.0]),
        Polytope(A_eq=[[2.0, 2.0, -2.0]], b_eq=[2.0], lower=-1.0, upper=2.5),
    ],
    Assignment: [
        ol.assignment(3),
        ol.assignment(2, 3),
        ol.assignment(3, 2),
        ol.assignment(3, partial=True),
        ol.assignment(2, 3, partial=True),
        FORBIDDEN,
    ],
    Spans: [
        ol.spans(2, 1, 1),
        ol.spans(6, 3, 1),
        ol.spans(6, 4, 2),
        ol.spans(5, 0, 1),
        ol.spans(5, 3, 0),
        ol.spans(5, 3.5, 9),
        ol.spans(6, 3, 2, mask=[True, True, False, True, True, True]),
        ol.spans(5, 3, 2).with_(lower=[0.0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        ol.spans(4, 3, 2).with_(upper=[1.0, 1, 1, 1, 1, 0, 1, 0.5]),
    ],
    Paths: [
        ol.dag_path(4, EDGES, 0, 3),
        ol.dag_path(5, [(3, 1), (1, 0), (3, 0), (0, 4), (1, 4), (0, 2), (2, 4)], 3, 4),
        ol.grid_path(3, 2, diagonal=True),
        ol.dag_path(4, EDGES, 0, 3).with_(upper=[1.0, 1, 0, 1, 1]),
        ol.dag_path(4, EDGES, 0, 3).with_(integral=False),
    ],
    Transport: [
        ol.transport([2.0, 1.0], [1.0, 1.0, 1.0]).with_(upper=2.0),
        ol.transport([1.0, 1.0, 1.0], [2.0, 2.0], least_demand=0.0, capacity=1.0),
        ol.transport([2.0, 1.0], [2.0, 1.0], least_supply=1.0, least_demand=0.0, capacity=2.0),
        ol.assignment(3).with_(lower=[0.0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ],
    Knapsack: [
        ol.budget([3.0, 1.0, 2.0, 2.0], 4.0),
        Polytope([[1.0, 2.0]], [0.5], lower=-0.5, upper=2.0),  # HiGHS 1.15 fails on these bounds
        Polytope([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], [1.0, 1.0]),
        Polytope([[1, 1, 0], [0, 1, 1], [1, 0, 1]], [1, 1, 1]),  # fractional relaxation
        Polytope([[2.0, -3.0, 1.0], [1.0, 1.0, 1.0]], [1.0, 2.0], lower=-1.0),
    ],
    Packing: [
        ol.budget([3.1, 1.0, 2.0, 2.0**0.5], 4.0),
        Polytope([[1.0, 2.0**0.5]], [0.5], lower=-0.5, upper=2.0),
        Polytope([[1.0, 1.0, 0.0], [0.0, 1.0, 3.0**0.5]], [1.0, 1.0]),
        Polytope([[1.0, 2.0, 3.0**0.5], [0.7, 0.0, 0.3]], [3.0, 1.0], lower=-1.0, upper=2.0),
    ],
    MILP: [
        ol.budget([3.1, -1.0, 2.0, 2.0**0.5], 1.0),
        Polytope([[1.0, -(2.0**0.5)]], [0.5], lower=-0.5, upper=2.0),
        Polytope([[1.0, 1.0, 0.0], [0.0, -1.0, 3.0**0.5]], [1.0, 1.0]),
        Polytope([[1.0, 1.0, 1.0]], [2.0], lower=0.0, upper=[np.inf, 1.0, 1.0]),
    ],
}
BOUNDED = {k: [p for p in v if p.upper.isfinite().all()] for k, v in CASES.items()}
PAIRS = [
    pytest.param(k, p, id=f"{k.__name__}-{i}") for k, v in BOUNDED.items() for i, p in enumerate(v)
]


def test_every_registered_decoder_has_cases():
    assert set(DECODERS) == set(CASES)


@pytest.mark.parametrize(("kind", "polytope"), [(k, p) for k, v in CASES.items() for p in v])
def test_the_table_chooses(kind, polytope):
    assert set(names(polytope)) == {kind.__name__}


@pytest.mark.parametrize(("kind", "polytope"), PAIRS)
def test_optimal_by_enumeration(kind, polytope):
    vertices = points(polytope)

    @settings(max_examples=40, deadline=None)
    @given(arrays("float64", (3, polytope.n), elements=GRID))
    def check(scores):
        s = torch.from_numpy(scores)
        z = run(polytope, s)
        assert all((row == vertices).all(-1).any() for row in z)
        torch.testing.assert_close((s * z).sum(-1), (s @ vertices.T).amax(-1), rtol=0, atol=1e-9)

    check()


@pytest.mark.parametrize(("kind", "polytope"), PAIRS)
def test_batch_is_loop_in_any_order_and_repeats(kind, polytope):
    scores = torch.randint(-2, 3, (16, polytope.n)).double() / 2
    z = run(polytope, scores)
    order = torch.randperm(16)
    assert torch.equal(run(polytope, scores[order]), z[order])
    assert torch.equal(torch.cat([run(polytope, s[None]) for s in scores]), z)
    assert torch.equal(run(polytope, scores), z)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "polytope"), PAIRS)
def test_dtype_and_device_are_kept(kind, polytope, dtype, device):
    scores = torch.randint(-2, 3, (8, polytope.n)).to(device, dtype) / 2
    z = run(polytope, scores)
    assert (z.dtype, z.device) == (dtype, scores.device)
    assert torch.equal(z.double().cpu(), run(polytope, scores.double().cpu()))


@pytest.mark.parametrize(("kind", "polytope"), PAIRS)
def test_plain_rows_permuted_and_scaled_choose_the_same_map(kind, polytope):
    rng = np.random.default_rng(1)
    order, order_eq = (rng.permutation(m) for m in (polytope.A.shape[0], polytope.A_eq.shape[0]))
    factor, factor_eq = (rng.uniform(0.1, 10, len(o)) for o in (order, order_eq))
    raw = Polytope(
        (sp.diags_array(factor) @ polytope.A[order]).toarray() if len(order) else None,
        polytope.b.numpy()[order] * factor if len(order) else None,
        A_eq=(sp.diags_array(factor_eq) @ polytope.A_eq[order_eq]).toarray()
        if len(order_eq)
        else None,
        b_eq=polytope.b_eq.numpy()[order_eq] * factor_eq if len(order_eq) else None,
        lower=polytope.lower,
        upper=polytope.upper,
        num_aux=polytope.num_aux,
    )
    assert names(raw) == names(polytope)
    scores = torch.randn(8, polytope.n, dtype=torch.float64)
    assert torch.equal(run(raw, scores), run(polytope, scores))


@pytest.mark.parametrize(
    "polytope",
    [
        p
        for k in (SimplexArgmax, OneRowArgmax, Assignment, Transport, Spans, Knapsack, Packing)
        for p in BOUNDED[k]
        if compile_plan(p, DECODERS).maps[0].block.count == 1
    ],
)
def test_fast_decoders_agree_with_highs(polytope):
    scores = torch.randn(10, polytope.n, dtype=torch.float64)
    assert torch.equal(run(polytope, scores), run_map(MILP, polytope, scores))


# ---------------------------------------------------------------------- ties and zeros


def test_ties_go_to_the_lower_number_and_zero_chooses_nothing():
    zeros = torch.zeros(1, 4)
    assert run(ol.box(4), zeros).tolist() == [[0, 0, 0, 0]]
    assert run(ol.simplex(4), zeros).tolist() == [[1, 0, 0, 0]]
    assert run(ol.cardinality(4, at_most=1), zeros).tolist() == [[0, 0, 0, 0]]
    assert run(ol.label_sum(1, 3), zeros).tolist() == [[0, 0, 0, 0]]
    assert run(ol.cardinality(4, at_most=2), zeros).tolist() == [[0, 0, 0, 0]]
    assert run(ol.cardinality(4, exactly=3), zeros).tolist() == [[1, 1, 1, 0]]
    assert run(ol.cardinality(4, at_least=3), zeros).tolist() == [[1, 1, 1, 0]]
    assert run(SIGNED, zeros).tolist() == [[0, 0, 0, 0]]
    assert run(ol.cardinality(4, exactly=2), zeros).tolist() == [[1, 1, 0, 0]]
    assert run(ol.cardinality(4, at_most=2), zeros + 1).tolist() == [[1, 1, 0, 0]]
    assert run(ol.assignment(2, partial=True), zeros).tolist() == [[0, 0, 0, 0]]
    assert run(ol.spans(4, 2, 1), zeros).tolist() == [[0, 0, 0, 0]]
    assert run(ol.spans(4, 2, 1), zeros + 1).tolist() == [[1, 1, 0, 0]]


# ---------------------------------------------------------------------- linear programs

RELAXED = [
    ol.box(4, -0.5, 1.5),
    ol.budget([3.0, 1.0, 2.0, 0.5], 3.3),
    ol.budget([3.0, -1.0, 2.0, -0.5], 0.7),
    Polytope([[3.0, 1.0, -2.0], [-3.0, -1.0, 2.0]], [2.5, -1.2], lower=-1.0, upper=2.0),
    Polytope(A_eq=[[3.0, 1.0, -2.0, 0.1]], b_eq=[1.7]),
    ol.simplex(3, total=1.5),
    ol.cardinality(4, at_most=2.5),
    Polytope([[1, 1, 0], [0, 1, 1], [1, 0, 1]], [1, 1, 1]),
    ol.spans(4, 2.5, 1),
    ol.assignment(2),
]


@pytest.mark.parametrize("polytope", RELAXED)
def test_relaxations_are_solved_at_a_vertex(polytope):
    polytope = polytope.with_(integral=False)

    @settings(max_examples=30, deadline=None)
    @given(arrays("float64", (polytope.n,), elements=GRID))
    def check(scores):
        z = run(polytope, torch.from_numpy(scores)[None])[0]
        bounds = np.stack([polytope.lower, polytope.upper], 1)
        sides = {"A_ub": polytope.A, "b_ub": polytope.b.numpy()} if polytope.A.shape[0] else {}
        if polytope.A_eq.shape[0]:
            sides |= {"A_eq": polytope.A_eq, "b_eq": polytope.b_eq.numpy()}
        cost = np.concatenate([-scores, np.zeros(polytope.num_aux)])
        best = -linprog(cost, bounds=bounds, method="highs-ds", **sides).fun
        assert abs(float(scores @ z.numpy()) - best) < 1e-9
        if polytope.num_aux == 0:
            assert (polytope.A @ z.numpy() <= polytope.b.numpy() + 1e-9).all()
            assert np.allclose(polytope.A_eq @ z.numpy(), polytope.b_eq.numpy(), atol=1e-9)
        between = (z > polytope.lower[: polytope.n]) & (z < polytope.upper[: polytope.n])
        assert int(between.sum()) <= max(polytope.A.shape[0] + polytope.A_eq.shape[0], 0)

    check()


def test_relaxed_knapsack_is_one_sort():
    assert names(ol.budget([3.0, 1.0], 2.0)) == ["Knapsack"]
    assert names(ol.budget([3.0, 1.0], 2.0).with_(integral=False)) == ["OneRowArgmax"]


def test_a_variable_that_just_fits_is_not_split():
    polytope = ol.budget([0.1, 0.2, 0.5], 0.3).with_(integral=False)
    for dtype in (torch.float32, torch.float64):
        z = run(polytope, torch.tensor([[1.0, 1.0, 0.1]], dtype=dtype))
        assert z.tolist() == [[1, 1, 0]]


# ---------------------------------------------------------------------- limits per instance


PER_INSTANCE = {
    "box": ol.box(4, upper=torch.tensor([[1.0, 0, 1, 1], [1, 1, 0, 2], [0, 0, 0, 0]])),
    "cardinality": ol.cardinality(4, exactly=torch.tensor([1, 2, 3])),
    "at most": ol.cardinality(4, at_most=torch.tensor([0.9, 2.2, 3])),
    "padding": ol.simplex(4).with_(
        upper=torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]])
    ),
    "assignment": ol.assignment(2).with_(
        upper=torch.tensor([[1.0] * 4, [1, 0, 0, 1], [0, 1, 1, 0]])
    ),
    "forced": ol.assignment(2).with_(lower=torch.tensor([[0.0] * 4, [1, 0, 0, 0], [0, 1, 0, 0]])),
    "spans": ol.spans(4, torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 1, 2])),
    "masked": ol.spans(4, 2, 1, mask=torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1]])),
    "forced words": ol.spans(4, 3, 2).with_(
        lower=torch.tensor([[0.0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]]).repeat(1, 2)
        * torch.tensor([1.0] * 4 + [0.0] * 4)
    ),
    "odd starts": ol.spans(4, 3, 2).with_(
        lower=torch.tensor([[0.0] * 8, [0.0] * 4 + [0.0, 1.0, 0.0, 0.0], [0.0] * 8])
    ),
    "knapsack": ol.budget([3.0, 1.0, 2.0, 2.0], torch.tensor([1.0, 3.0, 5.0])),
    "transport": ol.transport(
        torch.tensor([[1.0, 2.0], [2.0, 1.0], [0.0, 1.0]]), [2.0, 1.0, 1.0], least_demand=0.0
    ).with_(upper=2.0),
    "milp": ol.budget([3.0, 1.0, 2.0, -(2**0.5)], torch.tensor([1.0, 3.0, 5.0])),
}


@pytest.mark.parametrize("name", PER_INSTANCE)
def test_limits_per_instance(name):
    polytope = PER_INSTANCE[name]
    scores = torch.randn(3, polytope.n, dtype=torch.float64)
    z = run(polytope, scores)
    for i in range(3):
        fields = {k: getattr(polytope, k) for k in ("b", "b_eq", "lower", "upper")}
        one = polytope.with_(**{k: v[i] if v.ndim > 1 else v for k, v in fields.items()})
        assert torch.equal(run(one, scores[i : i + 1])[0], z[i])
        if name != "odd starts":
            vertices = points(one)
            assert scores[i] @ z[i] == pytest.approx(float((vertices @ scores[i]).max()))


def test_fast_maps_stay_fast_when_limits_vary():
    expected = dict.fromkeys(("assignment", "forced"), "Assignment")
    expected |= dict.fromkeys(("spans", "masked", "forced words", "odd starts"), "Spans")
    expected |= dict.fromkeys(("cardinality", "at most", "padding"), "OneRowArgmax")
    expected |= {"box": "BoxArgmax", "milp": "MILP"}
    expected |= {"knapsack": "Knapsack", "transport": "Transport"}
    assert {k: names(p)[0] for k, p in PER_INSTANCE.items()} == expected


def test_a_product_of_spans_is_two_programs():
    twice = ol.product(ol.spans(3, 1, 1), ol.spans(3, 1, 1))
    assert names(twice) == ["Spans"]
    assert run(twice, torch.arange(6.0)[None] + 1).tolist() == [[0, 0, 1, 0, 0, 1]]


# ---------------------------------------------------------------------- instances without an answer


def test_instances_without_integral_point_are_named_once_and_the_rest_is_well():
    upper = torch.tensor([[0.5, 1.0], [1.0, 1.0], [0.8, 1.0]])
    cases = [
        (ol.box(2, torch.tensor([0.3, 0.0]), upper), [0, 2]),
        (
            Polytope(
                [[1.0, 1.0], [-1.0, -1.0]], torch.tensor([[0.5, -0.2], [1.5, -0.2], [2.0, 0.0]])
            ),
            [0],
        ),
    ]
    for polytope, failing in cases:
        for _ in range(2):  # the second call takes what the first has found
            report = Report()
            z = run(polytope, torch.ones(3, 2), report)
            assert sorted(report.failures) == failing
            assert set(report.failures.values()) == {"no integral point satisfies all constraints"}
            assert z.isnan().any(1).nonzero()[:, 0].tolist() == failing


def test_no_integral_point_at_all():
    sets = {"MILP": ol.box(2, 0.2, 0.8), "Knapsack": ol.cardinality(3, at_least=1.2, at_most=1.8)}
    for name, polytope in sets.items():
        assert names(polytope) == [name]
        report = Report()
        assert run(polytope, torch.ones(2, polytope.n), report).isnan().all()
        assert report.failures[1] == "no integral point satisfies all constraints"


def test_no_perfect_matching_without_forbidden_pairs():
    upper = torch.tensor([[1.0, 0, 1, 0], [1, 1, 1, 1]])
    report = Report()
    z = run(ol.assignment(2).with_(upper=upper), torch.eye(2).flatten().repeat(2, 1), report)
    assert report.failures == {0: "no point satisfies all constraints"}
    assert z[0].isnan().all()
    assert z[1].tolist() == [1, 0, 0, 1]


def test_spans_with_too_many_forced_words():
    lower = torch.tensor([[1.0, 0, 1, 0], [1, 1, 0, 0]])
    polytope = ol.spans(4, 2, 1).with_(lower=torch.cat([lower, torch.zeros(2, 4)], 1))
    report = Report()
    z = run(polytope, torch.ones(2, 4), report)
    assert report.failures == {0: "no integral point satisfies all constraints"}
    assert z[1].tolist() == [1, 1, 0, 0]


def test_highs_infeasible_and_unbounded():
    rows = [[1.0, 1.0], [1.0, 2.0]]
    crossed = Polytope([*rows, [-1.0, -2.0]], torch.tensor([[1.0, 2, -2.5], [1.0, 2.0, -1.0]]))
    report = Report()
    z = run(crossed, torch.ones(2, 2), report)
    assert report.failures == {0: "no point satisfies all constraints"}
    assert z[1].sum() == 1
    for integral in (True, False):
        free = Polytope([[1.0, -1.0]], [1.0], lower=0.0, upper=np.inf, integral=integral)
        report = Report()
        z = run(free, torch.tensor([[1.0, 1.0], [1.0, -2.0]]), report)
        assert report.failures == {0: "the scores are unbounded over the set"}
        assert z[1].tolist() == [1, 0]


def test_scores_that_are_not_finite():
    inf, nan = float("inf"), float("nan")
    scores = torch.tensor([[nan, 1.0, 1, 1], [inf, 1, 1, 1], [0.5, 1, 1, 1], [1, -inf, -inf, 1]])
    for polytope in (ol.budget([3.0, 1.0, 2.0, 2.0], 4.0), ol.assignment(2), ol.spans(4, 2, 2)):
        report = Report()
        z = run(polytope, scores, report)
        assert report.failures == dict.fromkeys((0, 1), "its scores are not finite")
        assert z[:2].isnan().all()
        assert z[2:].isfinite().all()
        assert z[3, 1:3].tolist() == [0, 0]  # minus infinity forbids
    for polytope in (ol.box(4), ol.simplex(4), ol.cardinality(4, at_most=2)):
        z = run(polytope, scores)
        assert z[0].isnan().any()
        assert z[1:].isfinite().all()
        assert z[1, 0] == 1
        assert z[3, 1:3].tolist() == [0, 0]


def test_minus_infinity_everywhere_forbids_every_point():
    report = Report()
    run(ol.dag_path(4, EDGES, 0, 3), torch.full((1, 5), -float("inf")), report)
    assert report.failures == {0: "scores of -inf forbid every point"}


def test_infinite_bounds_go_to_highs():
    polytope = ol.box(2, 0.0, torch.inf)
    report = Report()
    z = run(polytope, torch.tensor([[-1.0, -2.0], [1.0, -1.0]]), report)
    assert z[0].tolist() == [0, 0]
    assert report.failures == {1: "the scores are unbounded over the set"}


def test_plans_are_shared_only_where_the_same_bounds_are_finite():
    polytope = ol.product(ol.cardinality(3, at_most=2), ol.cardinality(4, at_most=2))
    upper = torch.ones(2, 7)
    for at, maps in ((0, ["MILP", "OneRowArgmax"]), (5, ["OneRowArgmax", "MILP"])):
        changed = upper.clone()
        changed[0, at] = torch.inf
        assert names(polytope.with_(upper=changed)) == maps


def test_bounds_without_integers_next_to_rows():
    polytope = Polytope([[1.0, 2.0]], [0.3], lower=[0.2, 0.0], integral=True)
    report = Report()
    run(polytope, torch.ones(1, 2), report)
    assert report.failures == {0: "no integral point satisfies all constraints"}


def test_minus_infinity_without_a_lower_bound_is_not_finite():
    polytope = Polytope([[1.0, 1.0]], [1.0], lower=-np.inf, integral=False)
    report = Report()
    run(polytope, torch.tensor([[-float("inf"), 1.0]]), report)
    assert report.failures == {0: "its scores are not finite"}


def test_an_answer_that_violates_rows_is_refused(monkeypatch):
    from optlayers._decoders import milp

    monkeypatch.setattr(milp.HighsSolver, "solve", lambda *_: Solution(np.ones(4), ""))
    report = Report()
    z = run_map(MILP, ol.budget([3.0, 1.0, 2.0, 2.0], 4.0), torch.ones(1, 4), report)
    assert z.isnan().all()
    assert "HiGHS violates a row of 4 coefficients" in report.failures[0]
    assert "by 1.3e+00 of this coefficient" in report.failures[0]


@pytest.mark.parametrize("scale", [1e-8, 1e8, 1e-300, 1e300])
def test_scores_of_any_scale(scale):
    polytope = CASES[MILP][3]
    scores = torch.randn(10, polytope.n, dtype=torch.float64)
    assert torch.equal(run(polytope, scores * scale), run(polytope, scores))


# ---------------------------------------------------------------------- refusals, copies, compilers


@pytest.mark.parametrize(
    ("kind", "polytope", "reason"),
    [
        (BoxArgmax, ol.simplex(3), "it has coupling rows"),
        (BoxArgmax, ol.box(2, -np.inf), "its bounds are infinite"),
        (BoxArgmax, ol.box(2, 0.2, 0.8), "no integer lies between two of its bounds"),
        (SimplexArgmax, ol.box(2), "it has no row"),
        (SimplexArgmax, ol.assignment(2), "it has coupling rows"),
        (SimplexArgmax, Polytope([[1.0, 1.0]], [1.0], num_aux=1), "it has auxiliary variables"),
        (
            SimplexArgmax,
            ol.cardinality(3, exactly=torch.tensor([1, 1])),
            "its right-hand sides vary",
        ),
        (SimplexArgmax, ol.budget([1.0, 2.0], 1.0), "the coefficients of its row differ in size"),
        (SimplexArgmax, ol.cardinality(4, exactly=2), "a bound other than those of a simplex"),
        (SimplexArgmax, ol.simplex(3, 1.5), "its total or its bounds are not integers"),
        (OneRowArgmax, ol.assignment(2), "it needs exactly one row, not 4"),
        (OneRowArgmax, Polytope([[1.0, 1.0]], [1.0], num_aux=1), "it has auxiliary variables"),
        (OneRowArgmax, ol.cardinality(3, exactly=2).with_(upper=np.inf), "its bounds are infinite"),
        (OneRowArgmax, ol.budget([1.0, 2.0], 1.0), "differ in size, and decoding must be integral"),
        (OneRowArgmax, ol.simplex(3, 1.5), "it has no integral point"),
        (Assignment, ol.simplex(3), "it needs one row per element of two sides"),
        (Assignment, ol.spans(3, 1, 1), "it has auxiliary variables"),
        (Assignment, ol.assignment(2).with_(b_eq=torch.ones(2, 4)), "its right-hand sides vary"),
        (
            Assignment,
            ol.dag_path(4, EDGES, 0, 3),
            "not every variable is in two rows with coefficient 1",
        ),
        (Assignment, CASES[Knapsack][3], "its rows do not fall into two sides"),
        (Assignment, Polytope([[1, 1, 1, 0], [1, 1, 0, 1], [0, 0, 1, 1]], [1, 1, 1]), "two sides"),
        (
            Assignment,
            Polytope([[1.0, 1, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]], [1] * 4),
            "in two rows",
        ),
        (Assignment, ol.assignment(2, partial=True).with_(b=[1, 1, 1, 2]), "do not all ask for 1"),
        (Assignment, FORBIDDEN.with_(lower=[0, 0, 1, 0, 0, 0, 0, 0, 0]), "a lower bound is not 0"),
        (Assignment, FORBIDDEN.with_(upper=[0.5] * 9), "an upper bound lies between 0 and 1"),
        (
            Assignment,
            Polytope(
                A_eq=np.vstack([np.kron(np.eye(2), np.ones(3)), np.kron(np.ones(2), np.eye(3))]),
                b_eq=[1] * 5,
            ),
            "two sides of different size",
        ),
        (
            Assignment,
            Polytope(
                np.kron(np.ones(3), np.eye(2)),
                [1, 1],
                A_eq=np.kron(np.eye(3), np.ones(2)),
                b_eq=[1] * 3,
            ),
            "one side is too large",
        ),
        (Paths, ol.assignment(3), "its edges join two sides"),
        (Paths, ol.dag_path(4, EDGES, 0, 3).fix({2: 1.0}), "not those of one path"),
        (Transport, ol.simplex(3), "it needs one row per element of two sides"),
        (Transport, ol.dag_path(4, EDGES, 0, 3), "not every variable is in two rows"),
        (Transport, ol.spans(3, 1, 1), "it has auxiliary variables"),
        (Knapsack, ol.budget([1.0, 2.0], 1.0).with_(integral=False), "it decodes integers only"),
        (Knapsack, ol.box(2), "it has no rows"),
        (Knapsack, raw_chain(25), "it has more than 22 rows"),
        (Knapsack, ol.spans(3, 1, 1), "it has auxiliary variables"),
        (Knapsack, ol.budget([1.0, 2.0], 1.0).with_(upper=np.inf), "its bounds are infinite"),
        (Knapsack, ol.budget([1.0, 2**0.5], 1.0), "no multiples of one number"),
        (Knapsack, ol.budget([1e7, 1.0], 1.0), "no multiples of one number"),
        (Knapsack, ol.budget([7919.0 * 7907, 7907.0, 7919.0], 1e6), "coefficients above 1,000,000"),
        (Knapsack, ol.budget([1.0, 999_979.0] * 9, 4e6), "more than 4,000,000 entries"),
        (Packing, ol.budget([1.0, 2.0], 1.0).with_(integral=False), "it decodes integers only"),
        (Packing, raw_chain(25), "it needs one to 8 rows, not 24"),
        (Packing, ol.spans(3, 1, 1), "it has auxiliary variables"),
        (Packing, ol.budget([1.0, 2.0], 1.0).with_(upper=np.inf), "its bounds are infinite"),
        (Packing, ol.budget([1.0, -2.0], 1.0), "a row has a negative coefficient"),
        (Packing, Polytope(A_eq=[[1.0, 2.0]], b_eq=[2.0]), "a row has a lower limit"),
        (Spans, ol.spans(3, 1, 1).with_(integral=False), "it decodes integers only"),
        (Spans, ol.assignment(2), "it does not select words in spans"),
        (
            Spans,
            Polytope(
                ol.spans(3, 1, 1).A * np.array([1.0, 1, 2, 1, 1, 1]), ol.spans(3, 1, 1).b, num_aux=3
            ),
            "it does not select words in spans",
        ),
    ],
)
def test_refusals_name_the_part(kind, polytope, reason):
    block = compile_plan(polytope, DECODERS).maps[0].block
    assert reason in kind.why_not(block)
    with pytest.raises(BlockRefused, match=reason):
        kind(block)


def test_two_variables_for_one_pair():
    A = [[1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [1, 1, 0, 1, 0], [0, 0, 1, 0, 1]]
    polytope = Polytope(A, [1, 1, 1, 1])
    block = compile_plan(polytope, DECODERS).maps[0].block
    assert Assignment.why_not(block) == "two variables stand for one pair"


@pytest.mark.parametrize("polytope", [p[0] for p in CASES.values()])
def test_maps_survive_pickling(polytope):
    scores = torch.randn(4, polytope.n)
    before = run(polytope, scores)
    plan = compile_plan(polytope, DECODERS)
    copies = pickle.loads(pickle.dumps(plan.maps))
    limits = limits_of(polytope, plan, scores.device, scores.dtype)[0]
    pad = scores.new_zeros(4, polytope.num_aux)
    x = torch.cat([scores, pad], 1)[:, None]
    assert torch.equal(copies[0].forward(x, limits, Report())[:, 0, : polytope.n], before)


@pytest.mark.parametrize("kind", [Assignment, Spans, Paths, MILP])
def test_threads_share_a_map(kind):
    polytope = CASES[kind][1]
    batches = torch.randn(8, 10, polytope.n)
    expected = [run(polytope, b) for b in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda b: run(polytope, b), batches))
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "polytope", [ol.box(4), ol.simplex(4), ol.cardinality(4, exactly=2), PER_INSTANCE["padding"]]
)
def test_fast_maps_compile_without_a_graph_break(polytope):
    plan = compile_plan(polytope, DECODERS)
    scores = torch.randn(3, polytope.n)
    limits = limits_of(polytope, plan, scores.device, scores.dtype)[0]

    def decode(x):
        return plan.maps[0].forward(x, limits, Report())

    compiled = torch.compile(decode, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(scores[:, None]), decode(scores[:, None]))


def test_solvers_are_named_and_missing_ones_say_how_to_get_them(monkeypatch):
    assert {"osqp", "cvxpy", "highs"} <= set(available_solvers()) <= set(SOLVERS)
    require("highs")
    with pytest.raises(ValueError, match=r"must be one of osqp, .*, highs\. Got 'x'"):
        require("x")
    monkeypatch.setitem(
        SOLVERS, "cvxpylayers", Solver("no_such_module_here", "'optlayers[cvxpylayers]'")
    )
    assert "cvxpylayers" not in available_solvers()
    with pytest.raises(SolverNotInstalled, match=r"pip install 'optlayers\[cvxpylayers\]'"):
        require("cvxpylayers")


PROMPT = {
    "assignment": ol.assignment(3),
    "paths": ol.grid_path(3, 3),
    "transport": ol.transport([2, 1, 1], [2, 2]),
    "budget": ol.budget([3.0, 1.0, 2.0, 2.0], 4.0),
    "two rows": Polytope(torch.tensor([[3.0, 1, 2, 2], [1, 2, 2, 1]]), [5.0, 4.0]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PROMPT)
def test_what_is_decided_at_once_is_what_a_call_decides(name, dtype):
    """Usual numbers take the short way; masks, failures and what is not finite do not."""
    polytope = PROMPT[name]
    door = as_set(polytope)
    assert names(polytope) != ["MILP"]
    scores = torch.randint(-3, 4, (40, polytope.n), generator=torch.Generator().manual_seed(0))
    scores = (scores / 2).to(dtype)
    found = door.at_once(scores, True, Report())
    assert found is not None
    assert found.dtype == dtype
    assert torch.equal(found, door.decode_instances(scores, Report()))
    assert torch.equal(found[:6].view(2, 3, -1), ol.decode(polytope, scores[:6].view(2, 3, -1)))
    for bad in (-1e9, -torch.inf, torch.inf, torch.nan):
        hostile = scores.clone()
        hostile[3, 1] = bad
        assert door.at_once(hostile, True, Report()) is None


def test_an_infeasible_instance_is_not_decided_at_once():
    P = ol.grid_path(2, 2).with_(upper=torch.tensor([0.0, 0.0, 1.0, 1.0]))
    with pytest.raises(ol.InfeasibleError):
        ol.decode(P, torch.ones(4))
