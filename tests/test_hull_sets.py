"""Any feasible set with its convex hull as relaxation, against QPs over all its structures."""

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

import optlayers as ol
from optlayers.testing import coarse_points, vertices

from .graph_enumeration import all_pairs, graph_tensors
from .helpers import SAME_FACE, TOL
from .tree_enumeration import tree_tensors


def nearest(structures, y):
    """The nearest point of a hull by bounded least squares (Stark and Parker); no code of ours."""
    offsets = np.vstack([(structures - y).T, np.full(len(structures), 1 + np.abs(y).max())])
    right = np.zeros(len(offsets))
    right[-1] = offsets[-1, 0]
    # Not scipy's nnls: where points tie it may stop at a wrong one (scipy 1.17).
    found = lsq_linear(offsets, right, (0, np.inf), method="bvls", tol=1e-15, max_iter=10_000)
    weights = found.x
    return weights / weights.sum() @ structures


class TwoOfGrid(ol.AbstractFeasibleSet):
    """Two cells of a 2 x 3 grid in different columns; two methods and nothing else."""

    event_dim = 2
    relaxation: Any = ol.cardinality(6, exactly=2)
    event_shape: Any = (2, 3)

    def decode(self, scores):
        assert scores.shape[-2:] == (2, 3)
        top, row = scores.max(-2)
        columns = top.topk(2, -1).indices
        z = torch.zeros_like(scores)
        rows = row.gather(-1, columns)
        return z.flatten(-2).scatter(-1, rows * 3 + columns, 1.0).reshape(z.shape)

    @staticmethod
    def all():
        cells = [
            (a, b, c, d)
            for a, b in itertools.combinations(range(3), 2)
            for c, d in itertools.product(range(2), repeat=2)
        ]
        z = torch.zeros(len(cells), 2, 3, dtype=torch.float64)
        for k, (a, b, c, d) in enumerate(cells):
            z[k, c, a] = z[k, d, b] = 1
        return z


class Limited(ol.AbstractFeasibleSet):
    """At most k ones of 4, another k for each instance: the decoder wants its whole batch."""

    def __init__(self, most):
        self.most = torch.tensor(most)

    relaxation: Any = ol.box(4)

    def decode(self, scores):
        assert scores.shape[:-1] == self.most.shape, "a part of the batch"
        rank = scores.argsort(-1, descending=True).argsort(-1)
        return ((rank < self.most[..., None]) & (scores > 0)).to(scores)

    def all(self):
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
        return [every[every.sum(-1) <= k] for k in self.most.tolist()]


class Short(ol.AbstractFeasibleSet):
    """Decodes to another shape."""

    relaxation: Any = ol.box(4)

    def decode(self, scores):
        return scores[..., :1]


def graphs(arcs=None):
    return ol.SemanticGraphs([3, 2, 3], 2, [0], arcs=arcs, relaxation="hull")


KEPT = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 1, 0]]) > 0
MASKS = torch.stack([KEPT, KEPT.T, ~KEPT])


def graph_structures():
    slots = [(i, j) for i in range(3) for j in range(3)]
    return [graph_tensors(n, 2, [0], True, all_pairs(n), 3, slots) for n in (3, 2, 3)]


def sparse_structures():
    found, count = [], graphs(MASKS).num_slots
    for n, mask in zip((3, 2, 3), MASKS, strict=True):
        pairs = [(i, j) for i, j in all_pairs(n) if mask[i, j]]
        slots = pairs + [None] * (count - len(pairs))
        found.append(graph_tensors(n, 2, [0], True, pairs, 3, slots))
    return found


def batched_budget():
    limits = torch.tensor([[4.0], [2.0], [5.5]], dtype=torch.float64)
    return ol.Polytope([[2.0, 3.0, 2.5, 1.5]], limits)


def of_batched_budget():
    return [vertices(ol.budget([2.0, 3.0, 2.5, 1.5], k)) for k in (4.0, 2.0, 5.5)]


def some_trees():
    return ol.DependencyTrees([3, 3, 2], False, False, relaxation="hull")


def of_trees():
    small = torch.zeros(3, 4, 4, dtype=torch.float64)
    small[:, :3, :3] = tree_tensors(2, False, False)
    return [tree_tensors(3, False, False), tree_tensors(3, False, False), small]


BUDGET = ol.budget([2.0, 3.0, 2.5, 1.5, 2.0], 5.0)
# Name -> the set and all structures of each of its three instances.
CASES = {
    "budget": (ol.ConvexHull(BUDGET), lambda: [vertices(BUDGET)] * 3),
    "a budget per instance": (ol.ConvexHull(batched_budget()), of_batched_budget),
    "graphs": (graphs(), graph_structures),
    "graphs, sparse": (graphs(MASKS), sparse_structures),
    "hull of graphs": (
        ol.ConvexHull(ol.SemanticGraphs([3, 2, 3], 2, [0])),
        graph_structures,
    ),
    "trees": (some_trees(), of_trees),
    "hull of trees": (ol.ConvexHull(ol.DependencyTrees([3, 3, 2], False, False)), of_trees),
    "a set with two methods": (ol.ConvexHull(TwoOfGrid()), lambda: [TwoOfGrid.all()] * 3),
    "a set of a whole batch": (ol.ConvexHull(Limited([1, 2, 4])), Limited([1, 2, 4]).all),
}


def points(feasible_set, kind="normal", lead=()):
    shape = (*lead, 3, *feasible_set.event_shape)
    if kind == "coarse":
        return coarse_points(shape)
    return torch.randn(shape, dtype=torch.float64)


def references(name, y):
    """The nearest points of flattened instances, padding left out."""
    feasible_set, structures = CASES[name]
    every, event_dim = structures(), feasible_set.event_dim
    found = torch.empty_like(y.flatten(-event_dim))
    for where in np.ndindex(*found.shape[:-1]):
        own = every[where[-1]].flatten(1)
        own, point = own.numpy(), y.flatten(-event_dim)[where].numpy()
        free = (own != 0).any(0)  # the others stay zero, whatever is there
        z = np.zeros(len(point))
        z[free] = nearest(own[:, free], point[free])
        found[where] = torch.from_numpy(z)
    return found.reshape(y.shape)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("kind", "scale"), [("normal", 1.0), ("coarse", 1.0), ("normal", 1e6), ("coarse", 1e-6)]
)
def test_equals_the_qp_over_all_structures(name, kind, scale):
    feasible_set = CASES[name][0]
    lead = () if name == "a set of a whole batch" else (8,)
    y = scale * points(feasible_set, kind, lead)
    z = ol.project(feasible_set, y)
    assert (z - references(name, y)).abs().max() < 1e-9 * max(1.0, scale)


@pytest.mark.parametrize("name", CASES)
def test_shift_costs_no_digits(name):
    """A constant that all structures agree on says nothing, however large."""
    feasible_set, structures = CASES[name]
    y = points(feasible_set)
    counts = {int(v.sum()) for own in structures() for v in own}
    if len(counts) == 1:
        assert (
            ol.project(feasible_set, y + 2.0**20) - ol.project(feasible_set, y)
        ).abs().max() < 1e-8


@pytest.mark.parametrize("name", CASES)
def test_decoding_is_that_of_the_set(name):
    feasible_set, structures = CASES[name]
    scores = points(feasible_set)
    z = ol.decode(feasible_set, scores)
    for own, chosen, s in zip(structures(), z, scores, strict=True):
        best = (own.flatten(1) @ s.flatten()).max()
        assert ((chosen * s).sum() - best).abs() < 1e-9
        assert (own == chosen).flatten(1).all(-1).any()


@pytest.mark.parametrize("name", CASES)
def test_the_convex_combination(name):
    feasible_set, structures = CASES[name]
    hull = feasible_set if isinstance(feasible_set, ol.ConvexHull) else ol.ConvexHull(feasible_set)
    y = points(feasible_set)
    found = hull.project(y)
    assert torch.equal(found.z, ol.project(feasible_set, y))
    assert (found.weights >= 0).all()
    assert (found.weights.sum(-1) - 1).abs().max() < 1e-12
    combined = torch.einsum("bm,bmd->bd", found.weights, found.structures.flatten(2))
    assert (combined - found.z.flatten(1)).abs().max() < 1e-12
    for own, used, weights in zip(structures(), found.structures, found.weights, strict=True):
        used = used[weights > 0].flatten(1)
        assert (used[:, None] == own.flatten(1)).all(-1).any(-1).all()
        assert torch.linalg.matrix_rank(used[1:] - used[0]) == len(used) - 1
    assert (found.gap.sqrt() < 1e-6).all()


# ---------------------------------------------------------------------- layers


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("around", ["vertex", "projection"])
def test_spigot_is_its_formula(name, around):
    feasible_set = CASES[name][0]
    scores, grad = points(feasible_set).requires_grad_(), points(feasible_set)
    layer = ol.StructuredArgmax(feasible_set, ol.SPIGOT(0.5, around=around), diagnostics=True)
    z_hat = layer(scores)
    z_hat.backward(grad)
    base = z_hat.detach() if around == "vertex" else references(name, scores.detach())
    wanted = base - references(name, base - 0.5 * grad)
    free = feasible_set.free_parts(scores.device)
    wanted = wanted if free is None else wanted.where(free, torch.zeros(()).double())
    assert scores.grad is not None
    assert (scores.grad - wanted).abs().max() < 1e-8
    assert 0 <= layer.diagnose()["cosine"] <= 1
    assert layer.backward_status is not None
    assert layer.backward_status.ok.all()


@pytest.mark.parametrize("name", CASES)
def test_a_latent_layer_learns(name):
    """The scores find a structure that only its distance to the decision tells about."""
    feasible_set = CASES[name][0]
    gold = ol.decode(feasible_set, points(feasible_set))
    scores = (0.1 * points(feasible_set)).requires_grad_()
    layer = ol.StructuredArgmax(feasible_set, ol.SPIGOT(around="projection", warn=False))
    optimizer, losses = torch.optim.SGD([scores], lr=1.5), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (layer(scores) - gold).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0
    assert losses[-1] == 0


def test_a_set_in_front_of_a_network_keeps_its_device_and_dtype():
    hull = ol.ConvexHull(BUDGET)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        y = torch.randn(4, 5).to(dtype)
        z = ol.project(hull, y)
        assert z.dtype == dtype
        assert (z.double() - ol.project(hull, y.double())).abs().max() < 2 * torch.finfo(dtype).eps


def test_one_instance_costs_the_others_nothing():
    for name in ("graphs", "hull of graphs", "a budget per instance"):
        feasible_set = CASES[name][0]
        y = points(feasible_set)
        fine = ol.project(feasible_set, y)
        y[1, 0] = torch.nan
        with pytest.raises(ol.InputError, match="Instance 1: y is not finite"):
            ol.project(feasible_set, y)
        z, status = ol.project(feasible_set, y, on_failure="nan", return_status=True)
        assert status.ok.tolist() == [True, False, True]
        assert z[1].isnan().all()
        assert torch.equal(z[::2], fine[::2])


def test_an_instance_without_structures_is_named():
    limits = torch.tensor([[4.0], [-1.0], [5.5]], dtype=torch.float64)
    hull = ol.ConvexHull(ol.Polytope([[2.0, 3.0, 2.5, 1.5]], limits))
    y = torch.randn(3, 4, dtype=torch.float64)
    for call in (ol.project, ol.decode, lambda h, y: h.project(y)):
        with pytest.raises(ol.InfeasibleError, match=r"Instance 1: [nN]o point satisfies all"):
            call(hull, y)
    z, status = ol.project(hull, y, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False, True]
    other = CASES["a budget per instance"][0]
    assert torch.equal(z[::2], ol.project(other, y)[::2])
    layer = ol.StructuredArgmax(hull, on_failure="nan")
    scores = y.clone().requires_grad_()
    assert layer(scores)[1].isnan().all()


@pytest.mark.parametrize("name", ["graphs", "hull of graphs", "trees", "hull of trees"])
def test_padding_may_hold_anything(name):
    feasible_set = CASES[name][0]
    free = feasible_set.free_parts(torch.device("cpu"))
    assert free is not None
    y = points(feasible_set)
    z = ol.project(feasible_set, y)
    assert torch.equal(ol.project(feasible_set, y.where(free, torch.tensor(torch.nan))), z)
    scores = y.clone().requires_grad_()
    ol.structured_argmax(feasible_set, scores, ol.StraightThrough()).backward(torch.ones_like(y))
    assert scores.grad is not None
    assert torch.equal(scores.grad != 0, free.expand(y.shape))


def test_unbounded_polytopes_have_no_hull():
    """The instances that cannot be decoded are named by their own numbers."""
    hull = ol.ConvexHull(ol.Polytope(lower=[0.0, 0.0], upper=torch.inf))
    y = torch.tensor([[torch.nan, 0.0], [-1.0, -0.5], [1.0, -1.0]])
    with pytest.raises(ol.UnboundedError, match="Instance 1:"):
        ol.project(hull, y[1:])
    z, status = ol.project(hull, y, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [False, True, False]
    assert z[1].tolist() == [0, 0]


def test_an_instance_that_is_not_finished_holds_nan():
    hull = ol.ConvexHull(BUDGET, max_iter=2)
    y = torch.stack([0.5 * torch.ones(5), torch.tensor([9.0, 9.0, -9.0, -9.0, -9.0])])
    z, status = ol.project(hull, y, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [False, True]
    assert z[0].isnan().all()
    assert z[1].tolist() == [1, 1, 0, 0, 0]
    layer = ol.StructuredArgmax(hull, ol.SPIGOT(0.1), on_failure="fallback")
    scores = y.clone().requires_grad_()
    layer(scores).backward(torch.ones(2, 5))
    assert scores.grad is not None
    assert scores.grad[0].tolist() == pytest.approx([0.1] * 5)  # the straight-through gradient


# ---------------------------------------------------------------------- the open instances alone


class Counting(ol.ConvexHull):
    """Notes which instances are decoded."""

    def __init__(self, feasible_set):
        super().__init__(feasible_set)
        self.asked = []

    def decode_rows(self, scores, rows, batch, report):
        found = super().decode_rows(scores, rows, batch, report)
        self.asked.append((rows.tolist(), found is not None))
        return found


@pytest.mark.parametrize(
    ("base", "alone"),
    [
        (lambda: ol.DependencyTrees([[3, 3, 2]], False), True),
        (lambda: ol.SemanticGraphs([[3, 2, 3]], 2, [0], arcs=MASKS[None]), True),
        (lambda: BUDGET, True),
        (batched_budget, False),
        (lambda: Limited([[1, 2, 4]]), False),
    ],
)
def test_finished_instances_are_not_decoded(base, alone):
    hull = Counting(base())
    event = hull.event_shape
    y = torch.randn(1, 3, *event, dtype=torch.float64)
    y[:, :2] = ol.decode(hull, torch.randn(1, 3, *event).double())[:, :2]
    hull.project(y)
    assert [rows for rows, _ in hull.asked[:3]] == [[0, 1, 2], [0, 1, 2], [2]]
    assert all(rows == [2] for rows, _ in hull.asked[2:])
    assert all(found == alone for _, found in hull.asked)


@pytest.mark.parametrize(
    "base", [ol.DependencyTrees([3, 2, 3]), ol.SemanticGraphs([3, 2, 3], 2, [0])]
)
def test_rows_are_named_by_their_own_numbers(base):
    scores, report = torch.randn(2, *base.event_shape, dtype=torch.float64), ol.maps.Report()
    z = base.decode_rows(scores, torch.tensor([1, 2]), torch.Size([3]), report)
    assert not report.failures
    full = torch.cat([scores[:1], scores])
    assert torch.equal(z, base.decode(full)[1:])
    scores[1] = torch.nan
    assert base.decode_rows(scores, torch.tensor([1, 2]), torch.Size([3]), report)[1].isnan().any()
    assert list(report.failures) == [2]


# ---------------------------------------------------------------------- the interface


def test_abilities_are_those_of_the_set():
    base = ol.SemanticGraphs([3, 2, 3], 2)
    hull, scores = ol.ConvexHull(base), torch.randn(3, base.num_parts)
    assert torch.equal(hull.marginals(scores), base.marginals(scores))
    assert torch.equal(hull.log_partition(scores), base.log_partition(scores))
    assert hull.contains(hull.decode(scores)).all()
    assert hull.event_shape == base.event_shape
    assert repr(hull) == f"ConvexHull({base!r})"
    for again in (copy.deepcopy(hull), pickle.loads(pickle.dumps(hull))):
        assert torch.equal(ol.project(again, scores), ol.project(hull, scores))
    gold = ol.decode(hull, scores)
    assert ol.log_loss(hull, scores, gold) > 0
    assert ol.structured_hinge(hull, scores, gold) >= 0


def test_what_there_is_in_place_of_rows():
    hull = ol.ConvexHull(BUDGET)
    for call in (lambda: hull.relaxation, lambda: ol.validate(hull, samples=2)):
        with pytest.raises(ol.InputError, match=r"no rows: .* `optlayers.project` projects onto"):
            call()


def test_rows_of_the_hull_of_graphs():
    """In the dense layout these rows are the hull itself, so that they can judge it."""
    for options in ({"deterministic": [0]}, {}, {"predicates": False}):
        dense = ol.SemanticGraphs([3, 2], 2, **options, relaxation="hull")
        found = ol.validate(dense, samples=6, against=("cvxpy",))
        assert found.ok, found
    with pytest.raises(ol.InputError, match=r"'hull', which .* needs no rows for"):
        _ = graphs(MASKS).relaxation


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ol.ConvexHull(3), ol.InputError, r"or an AbstractFeasibleSet; .* Got int"),
        (lambda: ol.ConvexHull(ol.box(3).with_(integral=False)), ol.InputError, "its own convex"),
        (lambda: ol.ConvexHull(BUDGET).contains(torch.zeros(5)), ol.InputError, "no test of memb"),
        (
            lambda: ol.ConvexHull(ol.assignment(2)).marginals(torch.zeros(4)),
            ol.InputError,
            "no tractable sum",
        ),
        (
            lambda: ol.ConvexHull(ol.assignment(2)).log_partition(torch.zeros(4)),
            ol.InputError,
            "no tractable",
        ),
        (
            lambda: ol.project(ol.ConvexHull(BUDGET), torch.zeros(2, 4)),
            ol.InputError,
            r"`y` must have shape \(\.\.\., 5\) for ConvexHull.* Got \(2, 4\)",
        ),
        (
            lambda: ol.decode(ol.ConvexHull(batched_budget()), torch.zeros(2, 4)),
            ol.InputError,
            r"`scores` must have shape \(\.\.\., 3, 4\) for",
        ),
        (
            lambda: ol.ConvexHull(TwoOfGrid()).project(torch.zeros(3)),
            ol.InputError,
            r"must have shape \(\.\.\., 2, 3\)",
        ),
        (
            lambda: ol.project(ol.ConvexHull(BUDGET), torch.zeros(5, dtype=torch.int64)),
            ol.InputError,
            "`y` must be a tensor of floats",
        ),
        (
            lambda: ol.project(ol.ConvexHull(Short()), torch.zeros(3, 4)),
            ol.InputError,
            r"`decode` must return the shape of its scores, \(3, 4\). Got \(3, 1\)",
        ),
        (
            lambda: ol.project(ol.ConvexHull(BUDGET, max_iter=2), 0.5 * torch.ones(2, 5)),
            ol.SolverFailed,
            "Instance 0: the projection onto the hull did not converge",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


class Elsewhere(ol.DependencyTrees):
    """Trees that are decoded in calls of their own, as those of any set are."""

    def decode_rows(self, scores, rows, batch, report):
        return super().decode_rows(scores, rows, batch, report)


@pytest.mark.parametrize("projective", [False, True])
@pytest.mark.parametrize("single_root", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_whole_searches_of_trees_find_what_single_rounds_do(projective, single_root, wrapped):
    lengths, masks = [[6, 1, 0, 8]], torch.rand(1, 4, 9, 9) < 0.7
    masks[..., 0, :] = True
    kinds = (ol.DependencyTrees, Elsewhere)
    own, other = (
        k(lengths, projective, single_root=single_root, allowed=masks, relaxation="hull")
        for k in kinds
    )
    y = torch.randn(1, 4, 9, 9, dtype=torch.float64).requires_grad_()
    y.data[0, 3] = ol.decode(own, y.detach())[0, 3] + 1e-3 * torch.randn(9, 9)
    answers = [ol.project(ol.ConvexHull(s) if wrapped else s, y) for s in (own, other)]
    assert (answers[0] - answers[1]).abs().max() <= TOL[torch.float64]
    weight = torch.randn(1, 4, 9, 9, dtype=torch.float64)
    grads = [torch.autograd.grad((z * weight).sum(), y)[0] for z in answers]
    assert (grads[0] - grads[1]).abs().max() <= SAME_FACE
