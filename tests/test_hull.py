"""Projection by a decoder alone, against exact QPs over the same hulls."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import optlayers as ol
from optlayers._references import exact_projection
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


def test_derivative():
    polytope = ol.assignment(3)
    y = torch.randn(6, 9, dtype=torch.float64, requires_grad=True)

    def by_hull(points):
        return ol.project_hull(lambda s: ol.decode(polytope, s), points).z

    assert torch.autograd.gradcheck(by_hull, y, eps=1e-7, atol=1e-5)
    weight = torch.randn(6, 9, dtype=torch.float64)
    (mine,) = torch.autograd.grad((by_hull(y) * weight).sum(), y)
    (other,) = torch.autograd.grad((ol.project(polytope, y) * weight).sum(), y)
    assert (mine - other).abs().max() < 1e-5  # the active face of the QP


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
    with pytest.raises(ol.SolverFailed, match="2 of 2 hull projections are not exact yet"):
        ol.project_hull(lambda s: ol.decode(ol.cardinality(6, exactly=2), s), y, max_iter=2)
    with pytest.raises(ol.InputError, match="`y` must be finite"):
        ol.project_hull(lambda s: ol.decode(ol.simplex(6), s), torch.full((2, 6), torch.nan))


def test_a_gradient_that_is_no_number_is_named():
    trees = ol.DependencyTrees([3, 3], relaxation="hull")
    y = torch.randn(2, 4, 4)
    y[1, 0, 2] = torch.nan
    y[0, 2, 0] = torch.nan  # no arc leads into the root
    with pytest.raises(ol.SolverFailed, match="Instance 1: the projection onto the hull"):
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
