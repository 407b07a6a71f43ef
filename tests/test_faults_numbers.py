"""Numbers that are not finite, too large, or too small: each test says what happens."""

from typing import Any

import pytest
import torch

import optlayers as ol

from .helpers import raw_chain
from .test_newton import conflicts

inf, nan = torch.inf, torch.nan
SETS = {
    "box": ol.box(4),
    "simplex": ol.simplex(4),
    "one row": ol.budget([1.0, 2.0, 0.5, 3.0], limit=2.5),
    "several rows": raw_chain(4),
    "auxiliary": ol.spans(4, 2, 1),
    "trees": ol.DependencyTrees(2),
    "hull of trees": ol.DependencyTrees(2, relaxation="hull"),
    "graphs": ol.SemanticGraphs(2, 2, [0]),
    "tags": ol.LinearChain(2, 2),
    "ways": ol.GraphPaths(3, [(0, 1), (1, 2), (0, 2)], 0, 2),
    "spanning trees": ol.SpanningTrees(3),
    "ranking": ol.Rankings(3, [0.0, 0.0, 1.0]),
    "lazy rows": ol.LazyRows(ol.simplex(3), lambda _: None),
    "hull": ol.ConvexHull(ol.budget([2.0, 2.0, 2.0], 3.0)),
}
EVERY = pytest.mark.parametrize("name", list(SETS))


def scores_of(feasible_set, count=3):
    shape = (feasible_set.n,) if isinstance(feasible_set, ol.Polytope) else feasible_set.event_shape
    return torch.randn(count, *shape)


def part_of(scores):
    return {2: (0,), 3: (0, 1), 4: (0, 0, 1)}[scores.ndim]


def spoil(scores, value):
    """The second instance, at a part that can be chosen: in a tree, the arc from 0 to 1."""
    spoiled = scores.clone()
    spoiled[(1, *part_of(scores))] = value
    return spoiled


# ---------------------------------------------------------------------- NaN and infinity


@EVERY
@pytest.mark.parametrize("value", [nan, inf])
def test_nan_and_inf_are_errors_that_name_the_instance_and_the_entry(name, value):
    scores = spoil(scores_of(SETS[name]), value)
    entry = ", ".join(map(str, part_of(scores)))
    for verb, what in ((ol.decode, "scores"), (ol.project, "y")):
        with pytest.raises(
            ol.InputError, match=rf"Instance 1: .*{what}\[..., {entry}\] is {value}"
        ):
            verb(SETS[name], scores)
    with pytest.raises(ol.InputError, match="Instance 1: "):
        ol.StructuredArgmax(SETS[name])(scores)


@EVERY
@pytest.mark.parametrize("value", [nan, inf])
@pytest.mark.parametrize("policy", [{"on_failure": "nan"}, {"on_nonfinite": "propagate"}])
def test_the_others_keep_their_answers(name, value, policy):
    scores = scores_of(SETS[name])
    for verb in (ol.decode, ol.project):
        expected = verb(SETS[name], scores)
        z, status = verb(SETS[name], spoil(scores, value), return_status=True, **policy)
        assert z[1].isnan().all()
        torch.testing.assert_close(z[[0, 2]], expected[[0, 2]])
        assert status.ok.tolist() == [True, "on_nonfinite" in policy, True]
    layer = ol.StructuredArgmax(SETS[name], ol.SPIGOT(warn=False), **policy)
    spoiled = spoil(scores, value).requires_grad_()
    z_hat = layer(spoiled)
    assert z_hat[1].isnan().all()
    z_hat.nan_to_num().sum().backward()
    assert spoiled.grad[[0, 2]].isfinite().all()


@EVERY
@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("around", ["vertex", "projection"])
def test_a_gradient_that_is_not_finite_becomes_nan_for_its_instance(name, value, around):
    scores = scores_of(SETS[name]).requires_grad_()
    z_hat = ol.structured_argmax(SETS[name], scores, ol.SPIGOT(around=around, warn=False))
    z_hat.backward(spoil(torch.randn_like(z_hat), value))
    assert scores.grad[1].isnan().any()
    assert scores.grad[[0, 2]].isfinite().all()


@EVERY
def test_minus_infinity_is_not_chosen(name):
    scores = scores_of(SETS[name])
    at = (slice(None), *part_of(scores))
    scores[at] = -inf
    assert not ol.decode(SETS[name], scores)[at].any()


def test_padding_may_hold_anything():
    trees = ol.DependencyTrees([2, 1])
    scores = torch.zeros(2, 3, 3)
    scores[1, :, 2] = scores[0, :, 0] = nan
    assert ol.decode(trees, scores).isfinite().all()
    assert ol.project(trees, scores).isfinite().all()
    scores[0, 0, 1] = nan  # and then only this instance has something to answer for
    for verb in (ol.decode, ol.project):
        for policy in ({"on_failure": "nan"}, {"on_nonfinite": "propagate"}):
            z = verb(trees, scores, **policy)  # type: ignore[call-overload]
            assert z[0].isnan().any()
            assert z[1].isfinite().all()


@pytest.mark.parametrize("verb", [ol.project, ol.decode])
def test_other_policies_are_refused(verb):
    with pytest.raises(ol.InputError, match="`on_nonfinite` must be 'raise' or 'propagate'"):
        verb(ol.simplex(3), torch.zeros(3), on_nonfinite="ignore")
    with pytest.raises(ol.InputError, match="`on_nonfinite` must be"):
        ol.StructuredArgmax(ol.simplex(3), on_nonfinite="ignore")


def test_compiled_layers_propagate():
    layer = torch.compile(ol.StructuredArgmax(ol.simplex(3)), backend="eager", fullgraph=True)
    z = layer(torch.tensor([[1.0, 2.0, 3.0], [nan, 0.0, 1.0]]))
    assert z[0].tolist() == [0.0, 0.0, 1.0]
    assert z[1].isnan().all()


# ---------------------------------------------------------------------- minus infinity


MINUS = {
    "box": ol.box(3),
    "simplex": ol.simplex(3),
    "heads": ol.head_selection(2),
    "one row": ol.cardinality(3, exactly=1),
    "weights": ol.budget([1.0, 2.0, 0.5], limit=2.5),
    "trees": ol.DependencyTrees(2),
    "several rows": raw_chain(3),
    "auxiliary": ol.spans(4, 2, 1),
    "tags": ol.LinearChain(2, 2),
    "ways": ol.GraphPaths(3, [(0, 1), (1, 2), (0, 2)], 0, 2),
    "spanning trees": ol.SpanningTrees(3),
    "ranking": ol.Rankings(3, [0.0, 0.0, 1.0]),
    "lazy rows": ol.LazyRows(ol.simplex(3), lambda _: None),
    "hull": ol.ConvexHull(ol.cardinality(3, at_most=2)),
}


@pytest.mark.parametrize("name", MINUS)
def test_a_point_at_minus_infinity_is_read_as_a_limit(name):
    """What it gives is what a very low entry gives."""
    y = scores_of(MINUS[name]).double()
    low, lowest = spoil(y, -1e6), spoil(y, -inf)
    torch.testing.assert_close(ol.project(MINUS[name], lowest), ol.project(MINUS[name], low))


FREE = {"lower": -inf, "upper": inf, "integral": False}
NO_LIMIT = {
    "no bound": (ol.box(3, -inf, inf), 0),
    "half-space": (ol.Polytope([[1.0, 1.0, 1.0]], [0.5], **FREE), 0),
    "equalities": (
        ol.Polytope(A_eq=[[1.0, 2.0, 3.0], [0.0, 1.0, 1.0]], b_eq=[1.0, 1.0], **FREE),
        0,
    ),
}


@pytest.mark.parametrize("name", NO_LIMIT)
def test_minus_infinity_without_a_limit_is_not_finite(name):
    """Never NaN or -inf without a word: an error that names the entry, or NaN where asked for."""
    P, at = NO_LIMIT[name]
    y = scores_of(P)
    expected = ol.project(P, y)
    y[1, at] = -inf
    with pytest.raises(ol.InputError, match=r"Instance 1: y is not finite: y\[.*\] is -inf"):
        ol.project(P, y)
    for policy in ({"on_failure": "nan"}, {"on_nonfinite": "propagate"}):
        z, status = ol.project(P, y, return_status=True, **policy)  # type: ignore[call-overload]
        assert z[1].isnan().all()
        torch.testing.assert_close(z[[0, 2]], expected[[0, 2]])
        assert status.ok.tolist() == [True, "on_nonfinite" in policy, True]


ALL = {
    "simplex": ol.simplex(3),
    "heads": ol.head_selection(2),
    "assignment": ol.assignment(2),
    "trees": ol.DependencyTrees(2),
    "tags": ol.LinearChain(2, 2),
    "ways": ol.GraphPaths(3, [(0, 1), (1, 2), (0, 2)], 0, 2),
    "spanning trees": ol.SpanningTrees(3),
    "ranking": ol.Rankings(3, [0.0, 0.0, 1.0]),
    "lazy rows": ol.LazyRows(ol.simplex(3), lambda _: None),
    "hull": ol.ConvexHull(ol.cardinality(3, exactly=2)),
}


@pytest.mark.parametrize("name", ALL)
def test_points_at_minus_infinity_that_leave_nothing_are_infeasible(name):
    P = ALL[name]
    y = scores_of(P)
    expected = ol.project(P, y)
    y[1] = -inf
    with pytest.raises(ol.InfeasibleError, match="Instance 1: scores of -inf forbid every point"):
        ol.project(P, y)
    for policy in ({"on_failure": "nan"}, {"on_nonfinite": "propagate"}):
        z, status = ol.project(P, y, return_status=True, **policy)  # type: ignore[call-overload]
        assert z[1].isnan().all()
        torch.testing.assert_close(z[[0, 2]], expected[[0, 2]])
        assert status.ok.tolist() == [True, "on_nonfinite" in policy, True]


MATCHING = ol.Polytope([[1.0, 1.0, 0.0]], [1.0], A_eq=[[0.0, 1.0, 1.0]], b_eq=[1.0])


class Largest(ol.AbstractFeasibleSet):
    """One part of three, by a decoder that knows nothing of minus infinity."""

    relaxation: Any = ol.simplex(3)

    def decode(self, scores):
        return torch.nn.functional.one_hot(scores.argmax(-1), 3).to(scores)


FORBIDDEN = [ol.simplex(3), ol.head_selection(2), ol.cardinality(3, exactly=2), Largest(), MATCHING]
NAMES = ["simplex", "heads", "one row", "a set of one's own", "several rows"]


@pytest.mark.parametrize("P", FORBIDDEN, ids=NAMES)
def test_scores_that_forbid_every_point_are_infeasible(P):
    """A part with a score of -inf is never chosen because nothing else is left."""
    scores = scores_of(P)
    scores[1] = -inf
    expected = ol.decode(P, scores[[0, 2]])
    with pytest.raises(ol.InfeasibleError, match="Instance 1: scores of -inf forbid every point"):
        ol.decode(P, scores)
    z = ol.decode(P, scores, on_failure="nan")
    assert z[1].isnan().all()
    assert torch.equal(z[[0, 2]], expected)
    assert (ol.decode(P, scores, on_failure="fallback")[1] == 0).all()


@pytest.mark.parametrize("P", FORBIDDEN, ids=NAMES)
def test_where_nobody_looks_they_are_nan(P):
    scores = scores_of(P)
    scores[1] = -inf
    z = ol.decode(P, scores, on_nonfinite="propagate")
    assert z[1].isnan().all()
    assert torch.equal(z[[0, 2]], ol.decode(P, scores[[0, 2]]))


def test_what_must_be_chosen_may_have_a_score_of_minus_infinity():
    """At its lower bound a part is not chosen but given; in every instance at its own."""
    scores = torch.tensor([[-inf, 1.0, 2.0], [-inf, 2.0, 1.0]])
    assert ol.decode(ol.simplex(3).fix({0: 1.0}), scores).tolist() == [[1, 0, 0], [1, 0, 0]]
    lower = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])
    P = ol.Polytope([[1.0, 1.0, 1.0]], 2 * torch.ones(2, 2, 1), lower=lower)
    assert ol.decode(P, scores)[:, :, 0].tolist() == [[1, 1], [0, 0]]


def test_compiled_layers_never_choose_what_is_forbidden():
    layer = torch.compile(ol.StructuredArgmax(ol.simplex(3)), backend="eager", fullgraph=True)
    z = layer(torch.tensor([[-inf, 1.0, 0.0], [-inf, -inf, -inf]]))
    assert z[0].tolist() == [0.0, 1.0, 0.0]
    assert z[1].isnan().all()


# ---------------------------------------------------------------------- sizes


@pytest.mark.parametrize("scale", [1e-300, 1e-15, 1e6, 1e15])
@pytest.mark.parametrize(
    "P",
    [ol.simplex(4), ol.budget([1.0, 2, 3, 4], 3.0), ol.assignment(3), raw_chain(4), conflicts()],
    ids=["simplex", "one row", "assignment", "chain", "conflicts"],
)
def test_points_of_any_size(P, scale):
    y = scale * torch.randn(8, P.n, dtype=torch.float64)
    assert ol.certify(P, y, ol.project(P, y)).residual.max() <= 1e-9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@EVERY
def test_half_precision_does_not_overflow(name, dtype):
    scores = (6e4 * torch.sign(scores_of(SETS[name]))).to(dtype)
    for verb in (ol.project, ol.decode):
        z = verb(SETS[name], scores)
        assert z.dtype == dtype
        torch.testing.assert_close(z, verb(SETS[name], scores.float()).to(dtype))


FAR = {
    "simplex": ol.simplex(8),
    "cardinality": ol.cardinality(8, exactly=3),
    "one row": ol.budget([1.0, 2, 3, 4, 5, 6, 7, 8], 10.0),
    "assignment": ol.assignment(3),
    "chain": raw_chain(6),
}


@pytest.mark.parametrize("P", FAR.values(), ids=list(FAR))
def test_the_nearest_point_of_a_far_one_lies_in_the_set(P):
    """A residual relative to |y| forgives anything at 1e15: rows are held in units of the set."""
    z = ol.project(P, 1e15 * torch.randn(200, P.n, dtype=torch.float64))
    rows, rows_eq = (torch.from_numpy(rows.toarray()) for rows in (P.A, P.A_eq))
    assert ((z >= P.lower) & (z <= P.upper)).all()
    assert (z @ rows.T - P.b).relu().sum() + (z @ rows_eq.T - P.b_eq).abs().sum() <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("scale", [1e3, 1e9, 1e16, 1e30])
def test_far_points_with_ties_meet_the_sum_of_a_simplex_to_rounding(scale, dtype):
    """Subtracting shift and threshold as one number would round the threshold away."""
    y = scale * torch.randn(300, 7).to(dtype)
    y[::3], y[1::3] = scale, scale * y[1::3].sign()
    rounding = 8 * torch.finfo(dtype).eps
    shares, arcs = ol.project(ol.simplex(7), y), ol.project(ol.label_sum(1, 6), y)
    assert shares.min() >= 0
    assert (shares.sum(-1) - 1).abs().max() <= rounding
    row = torch.from_numpy(ol.label_sum(1, 6).A_eq.toarray()).to(dtype)
    assert (arcs @ row.T).abs().max() <= rounding


TINY = {
    "box": ol.box(4),
    "simplex": ol.simplex(4),
    "one row": ol.budget([1.0, 2.0, 0.5, 3.0], limit=2.5),
    "several rows": pytest.param(
        raw_chain(4),
        marks=pytest.mark.xfail(reason="accepted by a residual that is absolute below 1"),
    ),
}


@pytest.mark.parametrize("scale", [1e-300, 1e-15, 1e15])
@pytest.mark.parametrize("P", TINY.values(), ids=list(TINY))
def test_a_set_of_any_size_is_projected_onto_in_its_own_units(P, scale):
    if scale > 1 and P.A.shape[0] > 1:
        pytest.xfail("as below 1")  # one mark for all scales: at 1e15 it does hold
    y = torch.randn(20, 4, dtype=torch.float64)
    values = {k: scale * getattr(P, k) for k in ("b", "b_eq", "lower", "upper")}
    z = ol.project(P.with_(integral=False, **values), scale * y)
    torch.testing.assert_close(z / scale, ol.project(P, y), rtol=0, atol=1e-9)


def test_right_hand_sides_beyond_1e100_are_in_reach_without_bounds():
    P = ol.Polytope(A_eq=[[1.0, 1.0, 1.0]], b_eq=[1e300], upper=inf, integral=False)
    y = torch.tensor([1e300, 2e300, -1e300], dtype=torch.float64)
    assert (ol.project(P, y) / 1e300).tolist() == [0.0, 1.0, 0.0]


def test_answers_beyond_half_precision_are_an_error():
    """Not infinity; with "propagate", what torch makes of it. What fits costs no look."""
    far, ones = ol.box(2, -1e6, 1e6), torch.tensor([[1.0, -1.0], [0.0, 0.0]]).half()
    with pytest.raises(ol.InputError, match=r"Instance 0: .*beyond .* float16: entry 0 is 1e\+06"):
        ol.decode(far.with_(lower=torch.tensor([[-1e6, -1e6], [0.0, 0.0]])), ones)
    z, status = ol.decode(
        far.with_(lower=torch.tensor([[-1e6, -1e6], [0.0, 0.0]])),
        ones,
        on_failure="nan",
        return_status=True,
    )
    assert status.ok.tolist() == [False, True]
    assert z[0].isnan().all()
    assert z[1].tolist() == [0.0, 0.0]
    assert ol.decode(far, ones, on_nonfinite="propagate")[0].tolist() == [inf, -inf]
    assert ol.project(far, 60000 * ones)[0].tolist() == [60000.0, -60000.0]
    assert ol.decode(far, ones.bfloat16())[0].isfinite().all()  # which has the range of float32
