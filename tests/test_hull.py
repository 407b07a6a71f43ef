"""Projection by a decoder alone, against exact QPs over the same hulls."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import optlayers as ol
from optlayers._judge.references import exact_projection
from optlayers._sets.hull.project_hull import hull_instances
from optlayers.testing import coarse_points

from .helpers import QP_TOL
from .tree_enumeration import tree_tensors


def best_matching(scores):
    """Permutations of 4 by scipy; independent of our decoders."""
    z = torch.zeros_like(scores).reshape(-1, 4, 4)
    for b, matrix in enumerate(scores.reshape(-1, 4, 4)):
        z[b][linear_sum_assignment(matrix.numpy(), maximize=True)] = 1
    return z.reshape(scores.shape)


POLYTOPES = {  # integral ones, so that they are the hull of what is decoded
    "simplex": ol.simplex(6),
    "cardinality": ol.cardinality(7, at_most=3),
    "box": ol.box(5),
    "assignment": ol.assignment(3),
    "path": ol.dag_path(5, [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)], 0, 4),
}


@pytest.mark.parametrize("name", POLYTOPES)
@pytest.mark.parametrize("scale", [0.3, 1.0, 1e3])
def test_equals_the_projection_onto_the_polytope(name, scale):
    polytope = POLYTOPES[name]
    y = scale * coarse_points((40, polytope.n))  # ties are common
    y[::2] = scale * torch.randn(20, polytope.n, dtype=torch.float64)
    found = ol.project_hull(lambda s: ol.decode(polytope, s), y)
    exact = exact_projection(polytope, y, "cvxpy")
    assert (found.z - exact).abs().max() < 10 * QP_TOL * max(1.0, scale)
    assert (found.weights >= 0).all()
    assert (found.weights.sum(-1) - 1).abs().max() < 1e-9
    combined = (found.weights[..., None] * found.structures).sum(-2)
    assert (combined - found.z).abs().max() < 1e-9
    used = found.structures[found.weights > 0]
    assert ((used == 0) | (used == 1)).all()
    assert (found.gap >= 0).all()
    assert (found.gap < 1e-9 * max(1.0, scale)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_birkhoff_by_the_hungarian_method(dtype):
    y = torch.randn(3, 5, 4, 4, dtype=dtype)
    found = ol.project_hull(best_matching, y, event_dim=2)
    assert found.z.dtype == dtype
    assert found.structures.shape[-2:] == (4, 4)
    assert found.gap.shape == (3, 5)
    exact = exact_projection(ol.assignment(4), y.flatten(-2), "cvxpy").reshape(y.shape)
    assert (found.z.double() - exact).abs().max() < 10 * QP_TOL


def test_structures_and_their_mixtures_stay_where_they_are():
    every = tree_tensors(4, True, True)
    trees = ol.DependencyTrees(4, relaxation="hull")
    assert torch.equal(ol.project(trees, every), every)
    share = torch.rand(10, len(every), dtype=torch.float64) ** 8
    inside = torch.einsum("bt,thm->bhm", share / share.sum(-1, keepdim=True), every)
    assert (ol.project(trees, inside) - inside).abs().max() < 1e-7


@pytest.mark.parametrize("projective", [True, False])
@pytest.mark.parametrize("single_root", [True, False])
def test_hull_of_trees_against_all_of_them(projective, single_root):
    every = tree_tensors(4, projective, single_root).flatten(1)
    trees = ol.DependencyTrees([4, 2, 4], projective, single_root, relaxation="hull")
    y = torch.randn(3, 5, 5, dtype=torch.float64)
    z = ol.project(trees, y)
    # Over the weights of all trees: no algorithm of ours takes part.
    import cvxpy as cp

    for b in (0, 2):
        weights = cp.Variable(len(every), nonneg=True)
        target = torch.where(trees.allowed[b], y[b], 0).flatten().numpy()
        problem = cp.Problem(
            cp.Minimize(cp.sum_squares(every.numpy().T @ weights - target)),
            [cp.sum(weights) == 1],
        )
        problem.solve(solver=cp.CLARABEL)
        assert np.abs(every.numpy().T @ weights.value - z[b].flatten().numpy()).max() < 1e-4
    assert (z[1, 3:] == 0).all()
    assert (z[1, :, 3:] == 0).all()


def test_padded_batches_equal_single_sentences():
    lengths = [9, 4, 1, 7]
    trees = ol.DependencyTrees(lengths, relaxation="hull")
    y = torch.randn(4, 10, 10, dtype=torch.float64)
    z = ol.project(trees, y)
    for b, n in enumerate(lengths):
        alone = ol.DependencyTrees(n, relaxation="hull")
        own = ol.project(alone, y[b, : n + 1, : n + 1])
        assert (z[b, : n + 1, : n + 1] - own).abs().max() < 1e-8


# ---------------------------------------------------------------------- the derivative


def hull_of(polytope):
    return lambda y: ol.project_hull(lambda s: ol.decode(polytope, s), y).z


def jacobian(projection, y):
    return torch.autograd.functional.jacobian(lambda v: projection(v).sum(0), y[None])[:, 0]


@pytest.mark.parametrize("name", POLYTOPES)
def test_derivative(name):
    polytope = POLYTOPES[name]
    y = torch.randn(6, polytope.n, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hull_of(polytope), y, eps=1e-7, atol=1e-5)
    assert torch.autograd.gradgradcheck(hull_of(polytope), y)
    weight = torch.randn(6, polytope.n, dtype=torch.float64)
    (mine,) = torch.autograd.grad((hull_of(polytope)(y) * weight).sum(), y)
    (other,) = torch.autograd.grad((ol.project(polytope, y) * weight).sum(), y)
    assert (mine - other).abs().max() < 1e-5  # the active face of the QP


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_derivative_where_few_structures_make_a_symmetric_point(scale):
    """Equal scores, as at the start of a training: two structures, a face of many dimensions."""
    y = scale * torch.ones(4, dtype=torch.float64)
    found = ol.project_hull(lambda s: ol.decode(ol.cardinality(4, exactly=2), s), y)
    assert (found.weights > 0).sum() == 2
    exact = torch.eye(4, dtype=torch.float64) - 0.25
    assert (jacobian(hull_of(ol.cardinality(4, exactly=2)), y) - exact).abs().max() < 1e-9
    middle = torch.full((3,), 0.5, dtype=torch.float64)
    assert (jacobian(hull_of(ol.box(3)), middle) - torch.eye(3)).abs().max() < 1e-9


@pytest.mark.parametrize("name", POLYTOPES)
def test_derivative_at_a_kink_is_a_limit_of_derivatives(name):
    polytope = POLYTOPES[name]
    project = hull_of(polytope)
    vertices = ol.decode(polytope, torch.randn(3, polytope.n)).double()
    for y in (*vertices, *coarse_points((5, polytope.n))):
        mine = jacobian(project, y)
        assert (mine @ mine - mine).abs().max() < 1e-9  # an orthogonal projector
        assert (mine - mine.T).abs().max() < 1e-9
        # Differences at a point nearby, in the direction that the derivative is nudged in.
        way = torch.from_numpy(np.random.default_rng(0).standard_normal(polytope.n))
        steps = 1e-7 * torch.eye(polytope.n, dtype=torch.float64)
        near = y + 1e-3 * way  # far from other kinks, in steps
        moved = project(near + steps) - project(near - steps)
        assert (moved / 2e-7 - mine).abs().max() < 1e-6


def test_derivative_of_padded_and_far_instances():
    trees = ol.DependencyTrees([3, 1, 0], relaxation="hull")
    y = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(ol.project(trees, y).square().sum(), y)
    assert (grad[~trees.allowed] == 0).all()
    assert (grad[1:] == 0).all()  # one tree alone
    far = (1e3 * torch.randn(4, 6, dtype=torch.float64)).requires_grad_()
    (grad,) = torch.autograd.grad(hull_of(ol.simplex(6))(far).sum(), far)
    assert (grad == 0).all()
    none = torch.zeros(0, 6, requires_grad=True)
    (grad,) = torch.autograd.grad(hull_of(ol.simplex(6))(none).sum(), none)
    assert grad.shape == (0, 6)


# ---------------------------------------------------------------------- the proof


@pytest.mark.parametrize("max_iter", [2, 3, 5, 8])
def test_the_gap_bounds_the_distance_of_points_that_are_not_finished(max_iter):
    polytope, report = ol.assignment(4), ol.maps.Report()
    y = 0.5 * torch.randn(200, 16, dtype=torch.float64)
    early = hull_instances(lambda s, _: ol.decode(polytope, s), y, 1, report, max_iter)
    exact = hull_of(polytope)(y)
    again, rest = ol.maps.Report(), y - early.z
    further = hull_instances(lambda s, _: ol.decode(polytope, s), rest, 1, again, 1)
    reach = ((y - early.z) * (further.z - early.z)).sum(-1)
    assert (early.gap - reach).abs().max() < 1e-12  # of this very point
    distance = (early.z - exact).norm(dim=-1)
    assert (distance <= early.gap.sqrt() + 1e-9).all()
    assert (distance > 1e-3).any()
    failed = torch.zeros(200, dtype=torch.bool)
    failed[list(report.failures)] = True
    assert torch.equal(failed, early.gap.sqrt() > 1e-6 * y.norm(dim=-1))
    assert (early.weights.sum(-1) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_structures_and_points_of_any_size(scale, size):
    """Corners listed in any order, some of them twice, some inside the hull of the others."""
    corners = torch.randn(30, 4, dtype=torch.float64)
    corners = size * torch.cat([corners, corners[:10], corners[:8] / 2 + corners[8:16] / 2])
    y = size * scale * torch.randn(50, 4, dtype=torch.float64)
    found = ol.project_hull(lambda s: corners[(s @ corners.T).argmax(-1)], y)
    assert ((found.weights > 0).sum(-1) <= 5).all()
    # No corner reaches beyond the plane through the point.
    beyond = ((y - found.z) @ corners.T).amax(-1) - ((y - found.z) * found.z).sum(-1)
    assert (beyond <= 1e-13 * y.norm(dim=-1).clamp(min=size) * size).all()


def test_ties_of_many_structures_leave_nothing_to_rounding():
    """More than a hundred structures, many of weight zero at the optimum."""
    trees = ol.DependencyTrees(12, projective=False, single_root=False)
    y = 0.1 * torch.where(trees.allowed, coarse_points((32, 13, 13)), 0)
    calls = []

    def decode(s):
        calls.append(len(s))
        return trees.decode(s)

    found = ol.project_hull(decode, y, event_dim=2)
    assert found.gap.max() < 2e-13  # without refinement of the weights, ten times as much
    assert len(calls) < 300  # rounding is recognised


def test_corners_that_are_nearly_on_a_line():
    """Points of a curve through six dimensions: pivots down to rounding, gaps far above it."""
    times = torch.linspace(0, 1, 60, dtype=torch.float64)
    corners = torch.stack([times**i for i in range(1, 7)], -1)
    y = corners[torch.randint(0, 60, (400, 6))].mean(1)
    y += 0.01 * torch.randn(400, 6, dtype=torch.float64)
    found = ol.project_hull(lambda s: corners[(s @ corners.T).argmax(-1)], y)
    assert found.gap.max() < 1e-13


@pytest.mark.parametrize("offset", [0.0, 2.0**20])
def test_a_hull_far_from_the_origin(offset):
    """Where the hull lies costs no digits."""
    corners = torch.randint(0, 2, (30, 6)).double()
    y = torch.randint(-8, 8, (40, 6)).double() / 8
    here = ol.project_hull(lambda s: corners[(s @ corners.T).argmax(-1)], y)
    moved = corners + offset
    there = ol.project_hull(lambda s: moved[(s @ moved.T).argmax(-1)], y + offset)
    assert (there.z - offset - here.z).abs().max() < 1e-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_scores_are_asked_for_in_double(dtype):
    """So that near ties are told apart and the gap is a proof, whatever the dtype of y."""
    seen = []

    def decode(s):
        seen.append(s.dtype)
        return ol.decode(ol.simplex(4), s).to(dtype)

    found = ol.project_hull(decode, torch.randn(3, 4, dtype=dtype))
    assert set(seen) == {torch.float64}
    assert {v.dtype for v in found} == {dtype}


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads):
    before = torch.get_num_threads()
    y = 0.3 * torch.randn(64, 13, 13)
    try:
        torch.set_num_threads(threads)
        z = ol.project(ol.DependencyTrees(12, relaxation="hull"), y)
    finally:
        torch.set_num_threads(before)
    alone = [ol.project(ol.DependencyTrees(12, relaxation="hull"), v) for v in y]
    assert torch.equal(z, torch.stack(alone))


def test_small_cases():
    one = ol.project_hull(lambda s: (s > 0).to(s), torch.tensor([[0.3], [2.0], [-1.0], [0.0]]))
    assert (one.z[:, 0] - torch.tensor([0.3, 1, 0, 0])).abs().max() < 1e-7
    assert ol.project_hull(torch.zeros_like, torch.randn(4, 3)).z.eq(0).all()  # one structure
    assert ol.project_hull(torch.ones_like, torch.zeros(4, 3)).weights.tolist() == [[1.0]] * 4
    nothing = ol.project_hull(lambda s: s, torch.zeros(2, 0))
    assert nothing.z.shape == (2, 0)
    assert nothing.weights.shape == (2, 1)
    number = ol.project_hull(lambda s: (s > 0).to(s), torch.tensor([0.25, -1.0]), event_dim=0)
    assert number.z.tolist() == [0.25, 0.0]


def test_batches_of_any_shape():
    def decode(s):
        return ol.decode(ol.simplex(3), s)

    assert ol.project_hull(decode, torch.zeros(0, 3)).z.shape == (0, 3)
    one = ol.project_hull(decode, torch.tensor([2.0, 0.0, 0.0]))
    assert one.z.tolist() == [1, 0, 0]
    assert one.weights.shape == (1,)
    assert one.gap == 0


def test_what_does_not_converge_is_refused():
    y = 0.3 * torch.ones(2, 6)
    y[1, 0] = 5.0
    with pytest.raises(ol.SolverFailed, match=r"2 of 2 hull projections are not exact yet.*Raise"):
        ol.project_hull(lambda s: ol.decode(ol.cardinality(6, exactly=2), s), y, max_iter=1)


def best_then_worse():
    """The first corner of a simplex, and then always the second."""
    corners = iter([0, *[1] * 20])
    return lambda s: torch.eye(4)[[next(corners)]].expand(s.shape)


def later_nothing():
    """A corner of a simplex, and then NaN for the second instance."""
    lost = iter([0.0, *[torch.nan] * 20])
    return lambda s: ol.decode(ol.simplex(4), s) + torch.tensor([[0.0], [next(lost)]])


@pytest.mark.parametrize(
    ("decode", "y", "error", "match"),
    [
        (
            torch.zeros_like,
            torch.tensor([[0.0, 1.0], [torch.inf, 0.0]]),
            ol.InputError,
            r"`y` must be finite \(instance 1 of the flattened batch\)",
        ),
        (
            lambda s: s[..., :1],
            torch.randn(2, 3),
            ol.InputError,
            r"shape of its scores, \(2, 3\). Got \(2, 1\)",
        ),
        (lambda s: s[:1], torch.randn(2, 3), ol.InputError, r"Got \(1, 3\)"),
        (lambda _: None, torch.randn(2, 3), ol.InputError, "Got NoneType"),
        (
            lambda s: torch.where(s > 1, torch.nan, 0.0),
            torch.tensor([[0.0, 1.0], [2.0, 0.0]]),
            ol.SolverFailed,
            "Instance 1 of the flattened batch: the decoder returned NaN",
        ),
        (
            later_nothing(),
            torch.tensor([[2.0, 0.5, 0.2, 0.1], [0.6, 0.5, 0.2, 0.1]]),
            ol.SolverFailed,
            "Instance 1 of the flattened batch: the decoder returned NaN",
        ),
        (
            best_then_worse(),
            torch.tensor([[2.0, 0.5, 0.2, 0.1]]),
            ol.SolverFailed,
            "a structure that is not the best.*`decode` must be exact",
        ),
        (torch.zeros_like, torch.zeros(3, dtype=torch.int64), ol.InputError, "tensor of floats"),
        (torch.zeros_like, [0.0], ol.InputError, "tensor of floats. Got list"),
    ],
)
def test_errors(decode, y, error, match):
    with pytest.raises(error, match=match):
        ol.project_hull(decode, y)


def test_no_more_dimensions_than_there_are():
    with pytest.raises(ol.InputError, match="`event_dim` must be from 0 to the 1 dimensions"):
        ol.project_hull(torch.zeros_like, torch.zeros(3), event_dim=2)


def test_a_gradient_that_is_no_number_is_named():
    trees = ol.DependencyTrees([3, 3], relaxation="hull")
    y = torch.randn(2, 4, 4)
    y[1, 0, 2] = torch.nan
    y[0, 2, 0] = torch.nan  # no arc leads into the root
    with pytest.raises(ol.InputError, match="Instance 1: y is not finite"):
        ol.project(trees, y)
    z, status = ol.project(trees, y, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False]
    assert z[0].isfinite().all()
    assert z[1].isnan().all()


def test_spigot_on_the_hull_of_long_sentences():
    lengths = torch.tensor([25, 17])
    trees = ol.DependencyTrees(lengths, relaxation="hull")
    scores = torch.randn(2, 26, 26, requires_grad=True)
    z = ol.structured_argmax(trees, scores, ol.SPIGOT(1.0, around="projection"))
    z.backward(torch.randn(2, 26, 26))
    assert scores.grad is not None
    assert (scores.grad.sum(-2)[:, 1:].abs() < 1e-4).all()  # both ends have one head per word
    coarser = ol.project(ol.DependencyTrees(lengths), scores.detach())
    finer = ol.project(trees, scores.detach())
    free = trees.allowed
    far = ((coarser - finer)[free] ** 2).sum()
    assert far > 1e-3  # cycles are cut off
