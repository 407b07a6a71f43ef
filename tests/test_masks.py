"""One table: every set, verb and policy against every kind of bad number in one instance of three.

What is expected comes from the rule, not from the code: structures are enumerated, those with a
masked part left out; projections are onto the relaxation with the part fixed at 0.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import optlayers as ol
from optlayers import _masks, testing
from optlayers._sets.trees.levels import move

from .graph_enumeration import all_pairs, graph_tensors
from .helpers import TOL, raw_chain
from .tree_enumeration import tree_tensors

inf, nan = torch.inf, torch.nan
MASKS = {
    "-inf": -inf,
    "-1e4": -1e4,
    "-1e9": -1e9,
    "-1e15": -1e15,
    "-1e30": -1e30,
    "lowest": torch.finfo(torch.float32).min,
}


@dataclass
class Row:
    """A set with all its structures, and its relaxation without a part."""

    feasible_set: Any
    part: tuple[int, ...]  # what is masked
    enumerate: Callable[[], torch.Tensor]
    sums: bool = False
    costs: bool = False  # whether no score may be positive
    without: Any = None  # a set onto which to project with the part fixed; None: by `relaxation`

    @cached_property
    def structures(self) -> torch.Tensor:
        """All of them, `(count, *event)`."""
        return self.enumerate()

    @property
    def allowed(self) -> torch.Tensor:
        """Those without the masked part."""
        return self.structures[self.structures[(slice(None), *self.part)] == 0]

    @cached_property
    def masked_set(self) -> Any:
        """A set with the relaxation without the part."""
        if self.without is not None:
            return self.without
        at = int(np.ravel_multi_index(self.part, self.structures.shape[1:]))
        own = self.feasible_set
        return (own if isinstance(own, ol.Polytope) else own.relaxation).fix({at: 0.0})

    def project_without(self, y: torch.Tensor) -> torch.Tensor:
        """Onto the relaxation without the part, whose own entry then says nothing."""
        y = y.clone()
        y[(..., *self.part)] = 0.0
        if isinstance(self.masked_set, ol.Polytope):
            lead = y.shape[: y.ndim - len(self.part)]
            return ol.project(self.masked_set, y.reshape(*lead, -1)).reshape(y.shape)
        return ol.project(self.masked_set, y)


def by_rows(polytope: ol.Polytope) -> Callable[[], torch.Tensor]:
    """All 0/1 points of a polytope without auxiliary variables."""

    def points() -> torch.Tensor:
        z = np.array(list(itertools.product([0.0, 1.0], repeat=polytope.n)))
        A, A_eq = polytope.A.toarray(), polytope.A_eq.toarray()
        fine = (z @ A.T <= polytope.b.numpy() + 1e-9).all(1)
        fine &= (abs(z @ A_eq.T - polytope.b_eq.numpy()) <= 1e-9).all(1)
        fine &= (z <= polytope.upper.numpy()).all(1) & (z >= polytope.lower.numpy()).all(1)
        return torch.from_numpy(z[fine])

    return points


def runs(n: int, words: int, most: int) -> torch.Tensor:
    """At most so many words in at most so many runs."""
    z = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)
    starts = (z.diff(dim=-1, prepend=torch.zeros(len(z), 1)) > 0).sum(-1)
    return z[(z.sum(-1) <= words) & (starts <= most)]


def polytope(P: ol.Polytope, sums: bool = False) -> Row:
    return Row(P, (1,), by_rows(P), sums)


def trees(projective: bool, single_root: bool, **more: Any) -> Row:
    made = ol.DependencyTrees(3, projective=projective, single_root=single_root, **more)
    allowed = torch.ones(4, 4, dtype=torch.bool)
    allowed[0, 1] = False
    kept = None
    if more:
        kept = ol.DependencyTrees(
            3, projective=projective, single_root=single_root, allowed=allowed, **more
        )
    return Row(made, (0, 1), lambda: tree_tensors(3, projective, single_root), True, without=kept)


KNAPSACK = ol.budget([3.0, 1.0, 3.0, 3.0], 5.0)
TWO_ROWS = ol.Polytope([[1.0, 1, 0, 1], [0, 1, 1, 1]], [1.0, 1.0])
GRAPHS = ol.SemanticGraphs(2, 2, [0])
FREE_GRAPHS = ol.SemanticGraphs(2, 2)


def graphs(made: ol.SemanticGraphs, deterministic: list[int]) -> Row:
    return Row(
        made,
        (0,),
        lambda: graph_tensors(
            2, 2, deterministic, True, all_pairs(2), 2, [(0, 0), (0, 1), (1, 0), (1, 1)]
        ),
        not deterministic,
    )


PAIRS = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (0, 3)]
BACK = [*PAIRS, (2, 1), (3, 2)]


def paths(edges) -> torch.Tensor:
    """All paths from node 0 to node 3 that pass no node twice."""
    found = []
    for between in [(), (1,), (2,), (1, 2), (2, 1)]:
        steps = list(itertools.pairwise((0, *between, 3)))
        if set(steps) <= set(edges):
            found.append([float(e in steps) for e in edges])
    return torch.tensor(found, dtype=torch.float64)


def spanning() -> torch.Tensor:
    """Three edges of the complete graph of four nodes that are no triangle."""
    triangles = [{0, 1, 2}, {0, 3, 5}, {1, 4, 5}, {2, 3, 4}]  # of PAIRS
    chosen = [set(c) for c in itertools.combinations(range(6), 3) if set(c) not in triangles]
    return torch.tensor([[float(e in c) for e in range(6)] for c in chosen]).double()


def tagged() -> torch.Tensor:
    """All sequences of two tags at three positions."""
    found = torch.zeros(8, 3, 3, 2, dtype=torch.float64)
    for k, tags in enumerate(itertools.product(range(2), repeat=3)):
        for t, tag in enumerate(tags):
            found[k, t, 0, tag] = 1
            if t:
                found[k, t, 1 + tags[t - 1], tag] = 1
    return found


def one_of_neighbours(z: torch.Tensor) -> tuple[Any, Any] | None:
    """Rows of `raw_chain` that a point violates."""
    wrong = z[:-1] + z[1:] > 1 + 1e-8
    return (raw_chain(4).A[wrong.numpy()], torch.ones(int(wrong.sum()))) if wrong.any() else None


def costs(row: Row) -> Row:
    """Scores below zero, where a graph has cycles."""
    row.costs = True
    return row


TABLE = {
    "box": polytope(ol.box(3), True),
    "simplex": polytope(ol.simplex(4), True),
    "cardinality": polytope(ol.cardinality(4, exactly=2), True),
    "budget": polytope(KNAPSACK, True),
    "two rows": polytope(TWO_ROWS),
    "chain": polytope(raw_chain(4)),
    "assignment": polytope(ol.assignment(3)),
    "transport": polytope(ol.transport([2.0, 1.0], [1.0, 1.0, 1.0]).with_(upper=1.0)),
    "routing": polytope(ol.transport([1.0, 1.0], [2.0, 1.0, 1.0], least_demand=0.0)
                        .with_(upper=1.0)),
    "two knapsacks": polytope(ol.Polytope([[3.0, 1, 2, 2], [1, 4, 2, 1]], [5.0, 5.0])),
    "spans": Row(ol.spans(4, 2, 1), (1,), lambda: runs(4, 2, 1)),
    "hull": Row(ol.ConvexHull(KNAPSACK), (1,), by_rows(KNAPSACK), True,
                without=ol.ConvexHull(KNAPSACK.fix({1: 0.0}))),
    "trees": trees(True, False),
    "trees with one root": trees(True, True),
    "all trees": trees(False, False),
    "all trees with one root": trees(False, True),
    "hull of trees": trees(True, True, relaxation="hull"),
    "path": Row(ol.dag_path(4, PAIRS, 0, 3), (1,), lambda: paths(PAIRS), True),
    "path with cycles": costs(Row(ol.GraphPaths(4, BACK, 0, 3), (1,), lambda: paths(BACK))),
    "tags": Row(ol.LinearChain(3, 2), (1, 0, 1), tagged, True),
    "spanning trees": Row(ol.SpanningTrees(4, PAIRS), (1,), spanning, True,
                          without=ol.SpanningTrees(4, PAIRS, mask=[True, False, *[True] * 4])),
    "ranking": Row(ol.Rankings(4, [0.0, 0, 1, 1]), (1,), by_rows(ol.cardinality(4, exactly=2))),
    "lazy rows": Row(ol.LazyRows(ol.box(4), one_of_neighbours), (1,), by_rows(raw_chain(4)),
                     without=raw_chain(4).fix({1: 0.0})),
    "graphs": graphs(GRAPHS, [0]),
    "graphs without determinism": graphs(FREE_GRAPHS, []),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", TABLE)
KINDS = pytest.mark.parametrize("kind", MASKS)


# ---------------------------------------------------------------------- the batch and its answers


def batch(row: Row, value: float, dtype=torch.float64) -> torch.Tensor:
    """Three instances; `value` at the part of the second one."""
    event = row.structures.shape[1:]
    noise = torch.Generator().manual_seed(len(row.structures))
    x = torch.randn(3, *event, generator=noise, dtype=torch.float64).to(dtype)
    x = -2 - x.abs() if row.costs else x  # also where a margin of 1 is added
    x[(1, *row.part)] = value
    return x


def in_each(row: Row, x: torch.Tensor, answer: Callable) -> torch.Tensor:
    """What `answer(structures, scores)` says for each instance, without the part in the second."""
    x = x.clone().double()
    x[(1, *row.part)] = 0.0
    sets = (row.structures, row.allowed, row.structures)
    return torch.stack([answer(z, s) for z, s in zip(sets, x, strict=True)])


def values(z: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return (z * s).flatten(1).sum(1)


def best(z: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return z[values(z, s).argmax()]


def mean(z: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return torch.tensordot(values(z, s).softmax(0), z, 1)


def projected(row: Row, x: torch.Tensor) -> torch.Tensor:
    fine = x.clone()
    fine[(1, *row.part)] = 0.0
    z = ol.project(row.feasible_set, fine)
    z[1] = row.project_without(fine[1:2])[0]
    return z


def close(found: torch.Tensor, expected: torch.Tensor, dtype=torch.float64) -> None:
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=0, atol=100 * TOL[dtype], equal_nan=True
    )


# ---------------------------------------------------------------------- masks


POLICIES = [{}, {"on_failure": "nan"}, {"on_nonfinite": "propagate"}]


@EVERY
@KINDS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_masked_parts_are_left_out(name, kind, dtype):
    row = TABLE[name]
    x = batch(row, MASKS[kind], dtype)
    decided, nearest = in_each(row, x, best), projected(row, x)
    for policy in POLICIES:
        close(ol.decode(row.feasible_set, x, **policy), decided, dtype)
        close(ol.project(row.feasible_set, x, **policy), nearest, dtype)


@EVERY
@KINDS
@pytest.mark.parametrize("around", ["projection", "vertex", "marginals"])
def test_layers_leave_masked_parts_out_of_both_passes(name, kind, around):
    row = TABLE[name]
    if around == "marginals" and not row.sums:
        with pytest.raises(ol.InputError, match=r"no tractable|is a permanent|has no"):
            ol.structured_argmax(
                row.feasible_set,
                batch(row, MASKS[kind]).requires_grad_(),
                ol.SPIGOT(around=around),
            ).sum().backward()
        return
    x = batch(row, MASKS[kind]).requires_grad_()
    weights = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype).reshape(x.shape[1:])
    layer = ol.StructuredArgmax(row.feasible_set, ol.SPIGOT(around=around, warn=False))
    z = layer(x)
    (z * weights).sum().backward()
    decided = in_each(row, x.detach(), best)
    close(z.detach(), decided)
    base = {
        "vertex": lambda: decided,
        "projection": lambda: projected(row, x.detach()),
        "marginals": lambda: in_each(row, x.detach(), mean),
    }[around]()
    close(x.grad, base - projected(row, base - weights))
    assert layer.status.ok.all()
    assert layer.backward_status.ok.all()


@EVERY
@KINDS
def test_losses_leave_masked_parts_out(name, kind):
    row = TABLE[name]
    x, gold = batch(row, MASKS[kind]), row.allowed[0].expand(3, *row.allowed.shape[1:])
    cost = functools.partial(_margin, gold[0])
    close(ol.structured_hinge(row.feasible_set, x, gold, reduction="none"), in_each(row, x, cost))
    if row.sums:
        x = x.requires_grad_()
        losses = ol.log_loss(row.feasible_set, x, gold, reduction="none")
        losses.sum().backward()
        close(losses.detach(), in_each(row, x.detach(), functools.partial(_surprise, gold[0])))
        close(x.grad, in_each(row, x.detach(), mean) - gold)


def _margin(gold: torch.Tensor, z: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    wrong = (z - gold).abs().flatten(1).sum(1)
    return (values(z, s) + wrong).max() - (gold * s).sum()


def _surprise(gold: torch.Tensor, z: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return values(z, s).logsumexp(0) - (gold * s).sum()


# ---------------------------------------------------------------------- what is no number


@EVERY
@pytest.mark.parametrize("value", [nan, inf])
@pytest.mark.parametrize("verb", [ol.decode, ol.project])
def test_one_rule_for_what_is_no_number(name, value, verb):
    row = TABLE[name]
    x = batch(row, value)
    expected = in_each(row, x, best) if verb is ol.decode else projected(row, x)
    with pytest.raises(ol.InputError, match=f"Instance 1: .* is {value}"):
        verb(row.feasible_set, x)
    for policy in POLICIES[1:]:
        z, status = verb(row.feasible_set, x, return_status=True, **policy)
        assert z[1].isnan().any()
        close(z[[0, 2]], expected[[0, 2]])
        assert status.ok.tolist() == [True, "on_nonfinite" in policy, True]
    if verb is ol.decode:
        z = verb(row.feasible_set, x, on_failure="fallback")
        assert (z[1] == 0).all()
        close(z[[0, 2]], expected[[0, 2]])


# ---------------------------------------------------------------------- masks that cannot be kept


NEEDED = {
    "simplex": (ol.simplex(3), slice(None)),
    "simplex without the best": (ol.simplex(3).with_(upper=[0.0, 1.0, 1.0]), slice(1, None)),
    "cardinality": (ol.cardinality(3, exactly=2), slice(1, None)),
    "assignment": (ol.assignment(2), slice(0, 2)),
    "hull": (ol.ConvexHull(ol.cardinality(3, exactly=2)), slice(1, None)),
}


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("verb", [ol.decode, ol.project])
def test_minus_infinity_at_parts_that_are_needed_is_infeasible(name, verb):
    P, at = NEEDED[name]
    x = torch.linspace(0, 1, 2 * (P.n if isinstance(P, ol.Polytope) else 3)).reshape(2, -1)
    expected = verb(P, x)
    x[1, at] = -inf
    with pytest.raises(ol.InfeasibleError, match="Instance 1: scores of -inf forbid every point"):
        verb(P, x)
    z, status = verb(P, x, on_failure="nan", return_status=True)
    assert z[1].isnan().all()
    assert torch.equal(z[0], expected[0])
    assert status.failures[1,].kind is ol.InfeasibleError
    assert verb(P, x, on_nonfinite="propagate")[1].isnan().all()


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("verb", [ol.decode, ol.project])
@pytest.mark.parametrize("mask", [-1e4, -1e9])
def test_low_scores_at_parts_that_are_needed_are_only_low(name, verb, mask):
    """As few of them as possible, and of those the best: as with a score of -1000."""
    P, at = NEEDED[name]
    x = torch.linspace(0, 1, 2 * (P.n if isinstance(P, ol.Polytope) else 3)).double()
    low, lowest = x.reshape(2, -1).clone(), x.reshape(2, -1).clone()
    low[1, at] -= 1e3
    lowest[1, at] += mask
    close(verb(P, lowest), verb(P, low), torch.float32)  # -1e9 leaves a float64 seven digits


def test_a_forced_word_is_kept_whatever_its_score():
    P = ol.spans(4, 2, 1).with_(lower=[0.0, 1, 0, 0] + [0.0] * 4)
    for mask in MASKS.values():
        assert ol.decode(P, torch.tensor([0.5, mask, -1.0, 2.0])).tolist() == [1, 1, 0, 0]


def test_a_low_score_that_pays_is_not_a_mask():
    """A tiny part of a low variable may buy much: only the answer tells."""
    P = ol.Polytope([[-1.0, 1e-6]], [0.0], integral=False)  # z_0 >= 1e-6 z_1
    x = torch.tensor([[-1e4, 1.0], [-1e9, 1.0], [-inf, 1.0], [2.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[1e-6, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(ol.decode(P, x), expected.double(), rtol=0, atol=1e-12)
    x = torch.tensor([[-1e5, 1.5], [-1e9, 1.5], [-inf, 1.5]], dtype=torch.float64)
    expected = ol.project(P.fix({0: 0.0}), x.clamp(min=-10.0))
    close(ol.project(P, x)[1:], expected[1:])
    # Along (1e-6 t, t), t <= 1, the derivative 0.1 + t - 0.5 is zero at 0.4.
    y = torch.tensor([-1e5, 0.5], dtype=torch.float64)
    expected = torch.tensor([4e-7, 0.4], dtype=torch.float64)
    torch.testing.assert_close(ol.project(P, y), expected, rtol=1e-9, atol=0)


def test_linear_programs_that_minus_infinity_bounds_or_empties():
    ray = ol.Polytope([[-1.0, 1.0]], [0.0], upper=inf, integral=False)  # z_1 <= z_0, both endless
    assert ol.decode(ray, torch.tensor([-inf, 1.0])).tolist() == [0, 0]
    needs = ol.Polytope([[-1.0, -1e-3]], [-1e-3], integral=False)
    with pytest.raises(ol.InfeasibleError, match="scores of -inf forbid every point"):
        ol.decode(needs, torch.tensor([-inf, -inf]))
    assert ol.decode(needs, torch.tensor([-inf, -1e9])).tolist() == [0, 1]


# ---------------------------------------------------------------------- sums over trees


@pytest.mark.parametrize("value", [-1e9, -1e15, -1e17, -1e30, -1e100, 1e15, 1e17, 1e60, 1e100])
@pytest.mark.parametrize("name", [n for n in TABLE if n.startswith(("trees", "all trees"))])
@pytest.mark.parametrize("count", [1, 4, 9, 16])
def test_sums_over_trees_with_scores_of_any_size(value, name, count):
    """Against sums in which each tree counts its arcs of that score first."""
    row = TABLE[name]
    noise = torch.Generator().manual_seed(count)
    x = torch.randn(1, 4, 4, generator=noise, dtype=torch.float64)
    far = torch.zeros(16, dtype=torch.bool)
    far[torch.randperm(16, generator=noise)[:count]] = True
    far = far.reshape(4, 4)
    x[0, far] = value
    z = row.structures
    counts = (z * far).flatten(1).sum(1)
    most = counts.max() if value > 0 else counts.min()
    kept = z[counts == most]
    rest = values(kept, torch.where(far, 0.0, x[0]))
    expected = most * value + rest.logsumexp(0)
    log_z = row.feasible_set.log_partition(x)[0]
    torch.testing.assert_close(log_z, expected, rtol=1e-12, atol=1e-9)
    mu = torch.tensordot(rest.softmax(0), kept, 1)
    close(row.feasible_set.marginals(x)[0], mu)
    loss = ol.log_loss(row.feasible_set, x, kept[:1])
    assert loss >= 0
    z = row.feasible_set.sample(x, generator=noise)[0]
    assert (kept == z).flatten(1).all(1).any()


def test_log_partitions_beyond_the_dtype_are_refused():
    x = torch.full((1, 4, 4), 3e38)
    with pytest.raises(ol.InputError, match=r"beyond the range of torch.float32. Give scores in"):
        ol.DependencyTrees([3]).log_partition(x)


def test_scores_that_are_near_each_other_are_summed_as_they_are():
    arcs = torch.ones(1, 3, 3, dtype=torch.bool)
    assert move(torch.randn(1, 3, 3), arcs, look=True) is None


# ---------------------------------------------------------------------- masks of a whole instance


LOWEST = torch.finfo(torch.float64).min
WHOLE = {
    "cardinality": (ol.cardinality(4, exactly=2), by_rows(ol.cardinality(4, exactly=2))),
    "assignment": (ol.assignment(2, 3), by_rows(ol.assignment(2, 3))),
    "path": (ol.dag_path(4, PAIRS, 0, 3), lambda: paths(PAIRS)),
    "spanning trees": (ol.SpanningTrees(4, PAIRS), spanning),
    "ranking": (ol.Rankings(4, [0.0, 0, 1, 1]), by_rows(ol.cardinality(4, exactly=2))),
    "hull": (ol.ConvexHull(ol.cardinality(4, exactly=2)), by_rows(ol.cardinality(4, exactly=2))),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("mask", [-1e9, -1e30, LOWEST])
def test_instances_that_are_masked_as_a_whole_need_as_little_as_there_can_be(name, mask):
    """Of structures with as few parts as possible, the mean is the point nearest to zero or so."""
    P, listed = WHOLE[name]
    structures = listed()
    few = structures[structures.sum(-1) == structures.sum(-1).min()]
    x = torch.zeros(2, structures.shape[-1], dtype=torch.float64)
    x[1] = mask
    z = ol.decode(P, x)[1]
    assert (few == z).all(-1).any()
    nearest = ol.project_hull(lambda s: few[(s @ few.T).argmax(-1)], x[0]).z
    torch.testing.assert_close(ol.project(P, x)[1], nearest, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.sums])
@pytest.mark.parametrize("mask", [-1e9, LOWEST])
def test_sums_need_as_little_of_masked_parts_as_there_can_be(name, mask):
    row = TABLE[name]
    x = batch(row, 0.0)
    structures = row.structures.reshape(len(row.structures), -1)
    at = torch.rand(structures.shape[1], generator=torch.Generator().manual_seed(3)) < 0.7
    flat = x.reshape(3, -1).clone()
    counts = (structures * at).sum(-1)
    kept = structures[counts == counts.min()]
    p = (kept @ flat[1].masked_fill(at, 0)).softmax(0)
    flat[1] = flat[1].masked_fill(at, mask)
    scores = flat.reshape(x.shape).requires_grad_()
    (slope,) = torch.autograd.grad(ol.log_partition(row.feasible_set, scores)[1], scores)
    for found in (ol.marginals(row.feasible_set, scores.detach()), slope):
        close(found[1].flatten(), p @ kept)
    if not isinstance(row.feasible_set, ol.SemanticGraphs):  # these have no samples
        drawn = ol.sample(row.feasible_set, scores.detach())
        assert (kept == drawn[1].flatten()).all(-1).any()


def test_a_gradient_does_not_depend_on_the_masks_of_other_instances():
    """A score of -23 beside 0.1 is low in no batch."""
    P, layer = ol.box(2), ol.StructuredArgmax(ol.box(2), ol.SPIGOT(3.0))
    x = torch.tensor([[0.1, -23.0], [0.1, 0.2]], dtype=torch.float64)
    found = []
    for other in (0.2, -torch.inf, -1e9):
        scores = torch.where(x == 0.2, other, x).requires_grad_()
        (layer(scores) * torch.tensor([0.0, -1.0])).sum().backward()
        found.append(scores.grad[0].tolist())
    assert found == [[0.0, -1.0]] * 3
    assert ol.decode(P, x)[0].tolist() == [1.0, 0.0]


# ---------------------------------------------------------------------- far apart, and no masks


def vertices(P):
    return testing.vertices(P).double()


def permutations(n):
    rows = [torch.eye(n, dtype=torch.float64)[list(p)] for p in itertools.permutations(range(n))]
    return torch.stack(rows).flatten(1)


ROWS = {"A": [[1.0, 1, 0, 1, 0], [0, 1, 1, 0, 1]], "b": [1.0, 1.0]}
APART = {
    "simplices": lambda: (P := ol.product(ol.simplex(3), ol.simplex(3)), vertices(P)),
    "assignment": lambda: (ol.assignment(3), permutations(3)),
    "cardinality": lambda: (P := ol.cardinality(6, exactly=3), vertices(P)),
    "rows": lambda: (P := ol.Polytope(**ROWS, A_eq=[[1.0] * 5], b_eq=[2.0]), vertices(P)),
    "knapsack": lambda: (P := ol.Polytope([[-3.0, -2, -1, -2]], [-4.0]), vertices(P)),
    "path": lambda: (P := ol.grid_path(2, 3), vertices(P)),
    "projective trees": lambda: (ol.DependencyTrees([3]), tree_tensors(3, True, True)),
    "trees": lambda: (ol.DependencyTrees([3], projective=False), tree_tensors(3, False, True)),
    "chain": lambda: (ol.LinearChain(3, 2), chain_tensors(3, 2)),
}


def chain_tensors(n, tags):
    found = torch.zeros(tags**n, n, 1 + tags, tags, dtype=torch.float64)
    for k, chosen in enumerate(itertools.product(range(tags), repeat=n)):
        for t, tag in enumerate(chosen):
            found[k, t, 0, tag] = 1
            if t:
                found[k, t, 1 + chosen[t - 1], tag] = 1
    return found


def far_apart(shape, scale, rng):
    """Scores of two sizes, as logarithms of small probabilities are; a third of them negative."""
    small, large = rng.normal(size=(2, 24, *shape))
    scores = np.where(rng.random(small.shape) < 0.5, scale * large, small)
    scores[::3] = -np.abs(scores[::3])
    scores[1::3] = np.where(np.abs(scores[1::3]) < 3, 0, scores[1::3])
    scores[2::6] = -np.abs(scale * large[2::6])  # all of them low
    return torch.from_numpy(scores)


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("scale", [20.0, 1e3, 1e6, 1e9])
def test_decisions_are_the_best_of_scores_that_are_far_apart(name, scale):
    made, structures = APART[name]()
    dims = tuple(range(1, structures.ndim))
    for s in far_apart(structures.shape[1:], scale, np.random.default_rng(0)):
        worth = (structures * s).sum(dims)
        found = (ol.decode(made, s[None] if s.ndim == 2 else s) * s).sum()
        assert found >= worth.max() - 1e-9 * s.abs().max()
        assert (worth - found).abs().min() <= 1e-9 * s.abs().max()  # it is one of them


@pytest.mark.parametrize("name", ["simplices", "assignment", "rows", "knapsack"])
@pytest.mark.parametrize("scale", [1e3, 1e9])
def test_relaxed_decisions_are_the_best_of_scores_that_are_far_apart(name, scale):
    P = APART[name]()[0].with_(integral=False)
    rows = [(m.toarray(), v.numpy()) for m, v in ((P.A, P.b), (P.A_eq, P.b_eq))]
    (A, b), (A_eq, b_eq) = ((m, v) if len(v) else (None, None) for m, v in rows)
    bounds = np.stack([P.lower.numpy(), P.upper.numpy()], 1)
    for s in far_apart((P.n,), scale, np.random.default_rng(1)):
        size = float(s.abs().max().clamp(min=1))
        best = linprog((-s / size).numpy(), A, b, A_eq, b_eq, bounds)
        assert ol.decode(P, s) @ s >= -best.fun * size - 1e-7 * size


def test_what_cannot_be_chosen_is_no_measure_for_the_rest():
    """Trees: entries of the diagonal are zero here, and every score is below -16."""
    T, s = ol.DependencyTrees([3], projective=False), -100 * torch.rand(1, 4, 4) - 5e4
    s[0].fill_diagonal_(0)
    shifted = torch.where(s == 0, 0, s + 5e4)
    assert torch.equal(ol.decode(T, s), ol.decode(T, shifted))
    for surrogate in (ol.SPIGOT(), ol.StraightThrough()):
        scores = s.clone().requires_grad_()
        ol.structured_argmax(T, scores, surrogate).square().sum().backward()
        other = shifted.clone().requires_grad_()
        ol.structured_argmax(T, other, surrogate).square().sum().backward()
        torch.testing.assert_close(scores.grad, other.grad, atol=1e-2, rtol=0)
        assert other.grad.abs().max() > 0.1 or isinstance(surrogate, ol.SPIGOT)


@pytest.mark.parametrize("scale", [1e3, 1e5, 1e7, 1e9])
@pytest.mark.parametrize("name", ["assignment", "rows", "knapsack"])
def test_one_question_finds_the_best_too(name, scale):
    """In a graph of torch nobody looks at an answer, and there is no second question."""
    P, structures = APART[name]()
    s = far_apart((P.n,), scale, np.random.default_rng(2))
    low = _masks.find_low(s, torch.zeros_like(s), None, 1, True, False)
    report = ol.maps.Report(may_look=False)
    z = _masks.answer_once(
        lambda x, _: structures[(x @ structures.T).argmax(-1)], s, low, report, True
    )
    worth = s @ structures.T
    assert ((z * s).sum(-1) >= worth.amax(-1) - 1e-9 * s.abs().amax(-1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["trees", "chain", "segmentation", "graphs"])
def test_lowest_masks_of_a_whole_instance_are_such_beside_padding(name, dtype):
    """Sixteen times the lowest float is minus infinity, which padding counts as."""
    made = {
        "trees": ol.DependencyTrees([3, 2]),
        "chain": ol.LinearChain([3, 2], 2),
        "segmentation": ol.Segmentation([3, 2], 2, 2),
        "graphs": ol.SemanticGraphs([3, 2], 2),
    }[name]
    x = torch.randn(2, *made.event_shape, dtype=dtype)
    x[1] = -1e9
    expected, structures = ol.project(made, x), ol.decode(made, x)
    x[1] = torch.finfo(dtype).min
    torch.testing.assert_close(ol.project(made, x), expected, rtol=0, atol=1e-6)
    assert torch.equal(ol.decode(made, x), structures)
    assert name == "graphs" or ol.sample(made, x).isfinite().all()
