"""One call, whatever the set: policies, failures as values, batches, and what is kept of them."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._decoders.milp import MILP
from optlayers._plan.compile import compile_plan, ready
from optlayers._plan.limits import _MOST_BYTES
from optlayers.maps import DECODERS, PROJECTIONS, Failure, Report, Table

from .helpers import TOL


class Pair(ol.AbstractFeasibleSet):
    """Exactly one of two parts, by a decoder alone."""

    relaxation: Any = ol.simplex(2)

    def decode(self, scores):
        return torch.nn.functional.one_hot(scores.argmax(-1), 2).to(scores)


SETS = {
    "polytope": (ol.simplex(2), (3, 2)),
    "own": (Pair(), (3, 2)),
    "trees": (ol.DependencyTrees([2, 1, 2]), (3, 3, 3)),
    "tags": (ol.LinearChain([2, 1, 2], 2), (3, 2, 3, 2)),
    "ways": (ol.GraphPaths(3, [(0, 1), (1, 2), (0, 2)], 0, 2), (3, 3)),
    "spanning trees": (ol.SpanningTrees(3), (3, 3)),
    "ranking": (ol.Rankings(3), (3, 3)),
    "lazy rows": (ol.LazyRows(ol.simplex(2), lambda _: None), (3, 2)),
    "hull": (ol.ConvexHull(Pair()), (3, 2)),
    "hull of a polytope": (ol.ConvexHull(ol.simplex(2)), (3, 2)),
}
VERBS = {"decode": ol.decode, "project": ol.project, "structured_argmax": ol.structured_argmax}


# ---------------------------------------------------------------------- policies


@pytest.mark.parametrize("policy", ["on_failure", "on_nonfinite"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", SETS)
def test_a_policy_that_does_not_exist_is_refused_at_once(name, verb, policy):
    feasible_set, shape = SETS[name]
    with pytest.raises(ol.InputError, match=f"`{policy}` must be 'raise'.* Got 'typo'"):
        VERBS[verb](feasible_set, torch.randn(shape), **{policy: "typo"})


@pytest.mark.parametrize("name", SETS)
def test_a_projection_has_nothing_to_fall_back_to(name):
    feasible_set, shape = SETS[name]
    with pytest.raises(ol.InputError, match=r"must be 'raise' or 'nan' for a projection.*zeros"):
        ol.project(feasible_set, torch.randn(shape), on_failure="fallback")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", SETS)
def test_what_is_no_tensor_is_refused(name, verb):
    with pytest.raises(ol.InputError, match=r"must be a tensor of floats\. Got list"):
        VERBS[verb](SETS[name][0], [[0.0, 1.0]])


SUMS = {
    "log_partition": ol.log_partition,
    "marginals": ol.marginals,
    "entropy": ol.entropy,
    "sample": ol.sample,
    "samples": lambda feasible_set, scores: ol.sample(feasible_set, scores, 2),
}
MORE = SETS | {
    "segments": (ol.Segmentation([2, 1, 2], 2, 2), (3, 2, 4, 2)),
    "graphs": (ol.SemanticGraphs([2, 1, 2], 2), (3, 12)),
    "assignment": (ol.assignment(2), (3, 2, 2)),
    "spans": (ol.spans(3, 1, 2), (3, 6)),
    "product": (ol.product(ol.simplex(2), ol.simplex(3)), (3, 5)),
}


@pytest.mark.parametrize("verb", VERBS | SUMS)
@pytest.mark.parametrize("name", MORE)
def test_all_verbs_refuse_what_is_no_tensor_of_floats(name, verb):
    ask, shape = (VERBS | SUMS)[verb], MORE[name][1]
    for wrong in ([0.0, 1.0], np.zeros(shape), None, "scores", 1.0):
        with pytest.raises(ol.InputError, match=r"must be a tensor of floats\. Got "):
            ask(MORE[name][0], wrong)
    for dtype in (torch.int64, torch.bool, torch.complex64):
        with pytest.raises(ol.InputError, match=r"must be a tensor of floats\. Got torch\."):
            ask(MORE[name][0], torch.ones(shape, dtype=dtype))


READERS = {
    "heads": ol.DependencyTrees(3).heads,
    "tags": ol.LinearChain(3, 2).tags,
    "segments": ol.Segmentation(3, 2, 2).segments,
    "tree": ol.DependencyTrees(3).contains,
    "chain": ol.LinearChain(3, 2).contains,
    "ranking": ol.Rankings(3).contains,
    "edges": ol.SpanningTrees(3).contains,
    "graph": ol.SemanticGraphs(3, 2).contains,
    "way": ol.GraphPaths(3, [(0, 1), (1, 2), (0, 2)], 0, 2).contains,
    "hull": ol.ConvexHull(ol.DependencyTrees(3)).contains,
}


@pytest.mark.parametrize("wrong", [torch.zeros(7), torch.zeros(()), [0.0], None, np.zeros(3), "z"])
@pytest.mark.parametrize("reader", READERS)
def test_what_reads_structures_refuses_others(reader, wrong):
    with pytest.raises(ol.InputError, match=r"`z` must"):
        READERS[reader](wrong)


@pytest.mark.parametrize("scale", [1.0, 1e30])  # low scores go another way
@pytest.mark.parametrize("verb", VERBS | SUMS)
@pytest.mark.parametrize("name", [name for name in MORE if name != "own"])
def test_all_verbs_refuse_other_shapes(name, verb, scale):
    shape = MORE[name][1]
    for wrong in ((*shape[:-1], 7), (shape[-1] + 1,), (0,), ()):
        with pytest.raises(ol.InputError, match=r"shape|batch|has no|have no"):
            (VERBS | SUMS)[verb](MORE[name][0], scale * torch.randn(wrong))


# ---------------------------------------------------------------------- failures


def budgets():
    return ol.Polytope([[1.0, 1.0]], torch.tensor([[1.0], [-1.0], [2.0]]))


@pytest.mark.parametrize("wrap", [lambda P: P, ol.ConvexHull], ids=["polytope", "hull"])
@pytest.mark.parametrize("verb", [ol.decode, ol.project])
def test_a_status_says_what_kind_of_error_it_would_have_been(wrap, verb):
    _, status = verb(wrap(budgets()), torch.zeros(3, 2), on_failure="nan", return_status=True)
    (failure,) = status.failures.values()
    assert list(status.failures) == [(1,)]
    assert failure.endswith("point satisfies all constraints")  # "no", or "no integral"
    assert failure.kind is ol.InfeasibleError


def test_a_failure_is_a_string_with_more_to_say():
    failure = Failure("it is too large", ol.InputError, residual=0.5, solver="osqp")
    assert failure == failure.reason == "it is too large"
    assert {failure} == {"it is too large"}
    assert repr({(1,): failure}) == "{(1,): 'it is too large'}"
    for again in (pickle.loads(pickle.dumps(failure)), copy.deepcopy(failure)):
        assert again == failure
        assert (again.kind, again.residual, again.solver) == (ol.InputError, 0.5, "osqp")


def test_residual_and_solver_travel_from_the_map_to_the_user():
    class Gives(MILP):
        def forward(self, x, limits, report):
            report.fail(1, "it gave up", residual=0.25, solver="mine")
            return super().forward(x, limits, report)

    DECODERS.register(Gives)
    try:
        _, status = ol.decode(
            ol.simplex(2), torch.zeros(2, 2), on_failure="nan", return_status=True
        )
    finally:
        DECODERS.unregister(Gives)
    failure = status.failures[1,]
    assert (failure.kind, failure.residual, failure.solver) == (ol.SolverFailed, 0.25, "mine")


def test_the_kinds_of_a_report_are_deprecated():
    report = Report()
    report.fail(2, "it gave up", ol.InputError)
    with pytest.warns(DeprecationWarning, match=r"failures\[i\].kind"):
        assert report.kinds == {2: ol.InputError}


def test_a_hull_decodes_a_batch_with_a_failure_once():
    calls = []

    class Counts(MILP):
        def forward(self, x, limits, report):
            calls.append(len(x))
            return super().forward(x, limits, report)

    DECODERS.register(Counts)
    try:
        ol.decode(ol.ConvexHull(budgets()), torch.zeros(3, 2), on_failure="nan")
    finally:
        DECODERS.unregister(Counts)
    assert calls == [3]


@pytest.mark.parametrize("wrap", [lambda s: s, ol.ConvexHull], ids=["set", "hull"])
def test_a_forbidden_part_that_a_plain_decoder_chose_is_no_structure(wrap):
    scores = torch.full((2, 2), -torch.inf)
    scores[0, 0] = 1.0
    with pytest.raises(ol.InfeasibleError, match="Instance 1: scores of -inf forbid every point"):
        ol.decode(wrap(Pair()), scores)


def test_a_projection_that_returns_none_is_by_the_plan_and_deprecated():
    class Old(Pair):
        def project_instances(self, y, report) -> Any:
            return None

    y = torch.randn(4, 2)
    with pytest.warns(DeprecationWarning, match=r"super\(\).project_instances"):
        z = ol.project(Old(), y)
    assert torch.equal(z, ol.project(Pair(), y))


# ---------------------------------------------------------------------- batches


LIMITS = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)


@pytest.mark.parametrize("verb", [ol.decode, ol.project])
@pytest.mark.parametrize(
    ("own", "batch"),
    [((3,), (4, 3)), ((3, 1), (3, 5)), ((1, 3), (2, 3)), ((1,), (5,)), ((1, 1), (2, 3))],
)
def test_a_polytope_of_a_smaller_batch_serves_each_instance(verb, own, batch):
    count = torch.Size(own).numel()
    limits = LIMITS[:count].reshape(own)
    P = ol.Polytope([[1.0, 1.0]], limits[..., None], integral=False)
    x = torch.randn(*batch, 2, dtype=torch.float64)
    z = verb(P, x)
    for where in torch.cartesian_prod(*map(torch.arange, batch)).reshape(-1, len(batch)).tolist():
        limit = limits.expand(batch)[tuple(where)]
        alone = ol.Polytope([[1.0, 1.0]], [float(limit)], integral=False)
        torch.testing.assert_close(z[tuple(where)], verb(alone, x[tuple(where)]))


def test_failures_of_a_smaller_batch_are_told_by_the_larger():
    P = ol.Polytope([[1.0, 1.0]], torch.tensor([[1.0], [-1.0]]))
    y = torch.zeros(3, 2, 2)
    with pytest.raises(ol.InfeasibleError, match=r"Instance \(0, 1\): .*A\[0\].* 2 more instances"):
        ol.project(P, y)
    _, status = ol.project(P, y, on_failure="nan", return_status=True)
    assert list(status.failures) == [(0, 1), (1, 1), (2, 1)]


def test_derivatives_of_limits_sum_over_the_larger_batch():
    y = torch.randn(4, 3, 2, dtype=torch.float64) + 2
    grads = []
    for spread in (False, True):
        b = LIMITS.clone()[:, None].requires_grad_()
        P = ol.Polytope([[1.0, 1.0]], b.expand(4, 3, 1) if spread else b, integral=False)
        ol.project(P, y).pow(2).sum().backward()
        grads.append(b.grad)
    torch.testing.assert_close(*grads, rtol=0, atol=TOL[torch.float64])


class Batched(Pair):
    """Its relaxation has a batch, its decoder takes any."""

    relaxation: Any = ol.Polytope(A_eq=[[1.0, 1.0]], b_eq=torch.tensor([[1.0], [3.0]]))


def test_a_relaxation_may_have_a_larger_batch_than_the_points():
    y = torch.tensor([torch.nan, 0.0])
    _, status = ol.project(Batched(), y, on_failure="nan", return_status=True)
    assert status.failures[0,] == "y is not finite: y[..., 0] is nan"
    assert list(status.failures) == [(0,), (1,)]
    z, status = ol.project(
        Batched(), torch.tensor([0.3, 0.0]), on_failure="nan", return_status=True
    )
    assert z[0].tolist() == pytest.approx([0.65, 0.35])
    assert list(status.failures) == [(1,)]


# ---------------------------------------------------------------------- what is kept


def test_one_instance_is_never_copied_for_a_batch():
    P = ol.cardinality(50, at_most=3).with_(upper=torch.ones(1, 50))
    found = ready(P, PROJECTIONS, torch.device("cpu"), torch.float32)
    assert found.of_batch(P.batch_shape, torch.Size([400])) is found


def test_copies_for_larger_batches_are_bounded_by_their_bytes():
    P = ol.cardinality(1000, at_most=torch.tensor([1, 2])).with_(upper=torch.ones(2, 1000))
    found = ready(P, PROJECTIONS, torch.device("cpu"), torch.float32)
    for size in range(1, 200):
        batch = torch.Size([size, 2])
        larger = found.of_batch(P.batch_shape, batch)
        assert larger is found.of_batch(P.batch_shape, batch)  # kept for the next call
    assert found.kept_bytes() <= _MOST_BYTES


def test_tables_of_one_name_do_not_share_plans():
    P = ol.simplex(3)
    assert type(ol.plan(P, "decoder").maps[0]) is not MILP
    assert type(compile_plan(P, Table("decoder", MILP)).maps[0]) is MILP


@pytest.mark.filterwarnings("ignore")  # the compiler warns about itself
def test_a_traced_layer_does_not_depend_on_other_polytopes():
    torch.compiler.reset()
    layer = ol.StructuredArgmax(ol.simplex(3), ol.SPIGOT(0.5))
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    scores = torch.randn(2, 3)
    expected = compiled(scores)
    for n in range(4, 16):
        ol.decode(ol.simplex(n), torch.randn(n))
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert torch.equal(compiled(scores), expected)
