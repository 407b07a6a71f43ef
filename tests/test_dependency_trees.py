"""Trees as a feasible set: decoding, gradients, membership, and what bad input is told."""

import copy
import pickle

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._judge.references import exact_projection

from .helpers import QP_TOL, TOL
from .tree_enumeration import tree_tensors

KINDS = [(p, r) for p in (True, False) for r in (True, False)]


def coarse(*shape, dtype=torch.float64):
    """Scores with many ties."""
    return torch.randint(-3, 4, shape).to(dtype) / 2


def in_sentence(lengths, size):
    """Arcs between different words of a sentence, or from the root."""
    word = torch.arange(size + 1) <= torch.as_tensor(lengths)[..., None]
    arcs = word[..., :, None] & word[..., None, :]
    arcs = arcs & ~torch.eye(size + 1, dtype=torch.bool)
    arcs[..., 0] = False
    return arcs


# ---------------------------------------------------------------------- decoding


@pytest.mark.parametrize(("projective", "single_root"), KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_padded_batch_decodes_to_the_best_trees(projective, single_root, dtype, device):
    lengths = torch.tensor([[4, 1, 3], [0, 4, 2]])
    trees = ol.DependencyTrees(lengths, projective, single_root, size=5)
    scores = coarse(2, 3, 6, 6, dtype=dtype).to(device)
    z = trees.decode(scores)
    assert (z.shape, z.dtype, z.device) == (scores.shape, dtype, scores.device)
    assert trees.contains(z).all()
    assert (z[~in_sentence(lengths, 5).to(device)] == 0).all()
    for i, j in np.ndindex(2, 3):
        n = int(lengths[i, j])
        if n:
            best = tree_tensors(n, projective, single_root).double()
            s = scores[i, j, : n + 1, : n + 1].double().cpu()
            assert (z[i, j, : n + 1, : n + 1].double().cpu() * s).sum() == (best * s).sum(
                (1, 2)
            ).max()


def test_padding_may_hold_anything():
    trees = ol.DependencyTrees([2, 3])
    scores = coarse(2, 4, 4)
    z = trees.decode(scores)
    mu = trees.marginals(scores)
    for junk in (torch.nan, torch.inf, -torch.inf, 1e30):
        spoiled = torch.where(in_sentence([2, 3], 3), scores, junk).requires_grad_()
        assert torch.equal(trees.decode(spoiled), z)
        assert torch.equal(trees.marginals(spoiled), mu)
        loss = ol.structured_hinge(trees, spoiled, z) + ol.log_loss(trees, spoiled, z)
        loss = loss + trees.entropy(spoiled).sum() + ol.structured_argmax(trees, spoiled).sum()
        loss.backward()
        assert spoiled.grad is not None
        assert loss.isfinite()
        assert spoiled.grad.isfinite().all()
        assert (spoiled.grad[~in_sentence([2, 3], 3)] == 0).all()


def test_one_length_for_any_batch():
    trees = ol.DependencyTrees(3)
    assert trees.batch_shape == ()
    assert trees.decode(torch.randn(4, 4)).shape == (4, 4)
    assert trees.contains(trees.decode(torch.randn(2, 5, 4, 4))).shape == (2, 5)
    assert trees.decode(torch.randn(0, 4, 4)).shape == (0, 4, 4)
    assert ol.DependencyTrees([]).decode(torch.randn(0, 1, 1)).shape == (0, 1, 1)
    none = ol.DependencyTrees([], size=2, allowed=torch.ones(0, 3, 3, dtype=torch.bool))
    assert none.decode(torch.randn(0, 3, 3)).shape == (0, 3, 3)


def test_pruned_arcs_are_not_chosen():
    torch.manual_seed(1)
    allowed = torch.rand(20, 5, 5) < 0.7
    allowed[:, 0, 1] = allowed[:, 1, 2] = allowed[:, 2, 3] = allowed[:, 3, 4] = True
    for projective, single_root in KINDS:
        trees = ol.DependencyTrees([4] * 20, projective, single_root, allowed=allowed)
        scores = torch.randn(20, 5, 5, requires_grad=True)
        z = ol.structured_argmax(trees, scores, ol.SPIGOT(around="projection"))
        assert (z[~allowed] == 0).all()
        assert trees.contains(z).all()
        (z * torch.randn_like(z)).sum().backward()
        assert scores.grad is not None
        assert (scores.grad[~allowed] == 0).all()
        assert (trees.marginals(scores)[~allowed] == 0).all()


def test_a_mask_that_leaves_no_tree_names_the_sentence():
    allowed = torch.ones(3, 4, 4, dtype=torch.bool)
    allowed[1, :, 2] = False
    with pytest.raises(
        ol.InfeasibleError, match=r"Sentence 1: `allowed` leaves no projective tree"
    ):
        ol.DependencyTrees([3, 3, 3], allowed=allowed)
    crossing = torch.zeros(5, 5, dtype=torch.bool)
    crossing[0, 1] = crossing[1, 3] = crossing[3, 4] = crossing[4, 2] = True  # 1->3 crosses 4->2
    assert ol.DependencyTrees(4, projective=False, allowed=crossing)
    with pytest.raises(ol.InfeasibleError, match="no projective tree"):
        ol.DependencyTrees(4, allowed=crossing)
    two = torch.zeros(3, 3, dtype=torch.bool)
    two[0] = True
    assert ol.DependencyTrees(2, single_root=False, allowed=two)
    with pytest.raises(ol.InfeasibleError, match="one word under the root"):
        ol.DependencyTrees(2, projective=False, allowed=two)


def test_a_bad_sentence_costs_nothing_else():
    trees = ol.DependencyTrees([2, 2, 2])
    scores = torch.randn(3, 3, 3)
    scores[1, 0, 1] = torch.nan
    scores[2, :, 1] = -torch.inf
    with pytest.raises(ol.InputError, match=r"Instance 1: its scores are not finite"):
        ol.decode(trees, scores)
    with pytest.raises(ol.InputError, match=r"Sentence 1: its scores are not finite"):
        trees.decode(scores)
    with pytest.raises(ol.InfeasibleError, match=r"Sentence 0: no tree is left"):
        ol.DependencyTrees([2]).decode(scores[2:])
    z, status = ol.decode(trees, scores, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False, False]
    assert z[1:].isnan().all()
    assert trees.contains(z).tolist() == [True, False, False]
    layer = ol.StructuredArgmax(trees, on_failure="fallback")
    assert (layer(scores)[1:] == 0).all()
    assert list(layer.status.failures) == [(1,), (2,)]


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("solver", ["osqp", "cvxpy"])
def test_spigot_of_a_padded_batch_is_the_exact_qp_of_each_sentence(solver):
    lengths = torch.arange(1, 41)
    trees = ol.DependencyTrees(lengths)
    scores = torch.randn(40, 41, 41, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(40, 41, 41, dtype=torch.float64)
    z = ol.structured_argmax(trees, scores, ol.SPIGOT(eta=0.7, around="vertex"))
    z.backward(grad)
    assert scores.grad is not None
    assert (scores.grad[~in_sentence(lengths, 40)] == 0).all()
    for b, n in enumerate(lengths.tolist()):
        # The rows of head_selection share nothing with the set's.
        rows = [v[b, : n + 1, : n + 1].flatten() for v in (z.detach(), grad, scores.grad)]
        exact = exact_projection(ol.head_selection(n), rows[0] - 0.7 * rows[1], solver)
        assert (rows[2] - (rows[0] - exact)).abs().max() < 10 * QP_TOL


@pytest.mark.parametrize("relaxation", ["single-root", "single-commodity", "arborescence", "hull"])
@pytest.mark.parametrize("projective", [True, False])
def test_spigot_on_the_other_relaxations(relaxation, projective):
    lengths = torch.tensor([4, 2])
    trees = ol.DependencyTrees(lengths, projective, relaxation=relaxation)
    scores = torch.randn(2, 5, 5, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(2, 5, 5, dtype=torch.float64)
    z = ol.structured_argmax(trees, scores, ol.SPIGOT(eta=0.7, around="vertex"))
    z.backward(grad)
    assert scores.grad is not None
    assert (scores.grad[~in_sentence(lengths, 4)] == 0).all()
    for b, n in enumerate(lengths.tolist()):
        alone = ol.DependencyTrees(n, projective, relaxation=relaxation).relaxation
        s, g, base = (v[b, : n + 1, : n + 1].flatten() for v in (scores.grad, grad, z.detach()))
        exact = exact_projection(alone, base - 0.7 * g, "cvxpy")
        assert (s - (base - exact)).abs().max() < 10 * QP_TOL


def test_every_surrogate_leaves_padding_alone():
    trees = ol.DependencyTrees([1, 3])
    outside = ~in_sentence([1, 3], 3)
    surrogates = [ol.StraightThrough()]
    surrogates += [ol.SPIGOT(around=a) for a in ("vertex", "projection", "marginals")]
    surrogates += [
        ol.SPIGOT(ol.NormClip(1.0), around="vertex"),
        ol.SPIGOT(torch.tensor([0.5, 2.0]), around="vertex"),
    ]
    for surrogate in surrogates:
        scores = torch.randn(2, 4, 4, requires_grad=True)
        ol.structured_argmax(trees, scores, surrogate).backward(torch.randn(2, 4, 4))
        assert scores.grad is not None
        assert (scores.grad[outside] == 0).all()
        assert (scores.grad != 0).any(), surrogate


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_spigot_around_the_marginals_is_its_formula(dtype):
    lengths = torch.tensor([3, 5])
    for projective in (True, False):
        trees = ol.DependencyTrees(lengths, projective)
        scores = torch.randn(2, 6, 6, dtype=dtype, requires_grad=True)
        grad = torch.randn(2, 6, 6, dtype=dtype)
        surrogate = ol.SPIGOT(0.5, around="marginals", temperature=2.0)
        ol.structured_argmax(trees, scores, surrogate).backward(grad)
        mu = trees.marginals(scores.detach() / 2)
        polytope = trees.relaxation
        expected = mu - ol.project(polytope, (mu - 0.5 * grad).flatten(1)).reshape(mu.shape)
        assert scores.grad is not None
        assert (scores.grad - expected).abs().max() < TOL[dtype]


def test_marginals_are_refused_where_there_are_none():
    scores = torch.randn(3, requires_grad=True)
    z = ol.structured_argmax(ol.spans(3, 2, 1), scores, ol.SPIGOT(around="marginals"))
    with pytest.raises(ol.InputError, match="has no tractable sum over its structures"):
        z.sum().backward()


def test_norm_clip_counts_a_tree_as_one_step():
    trees = ol.DependencyTrees([3, 3])
    scores = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(2, 4, 4, dtype=torch.float64) * torch.tensor([10.0, 0.01])[:, None, None]
    z = ol.structured_argmax(trees, scores, ol.SPIGOT(ol.NormClip(1.0), around="vertex"))
    z.backward(grad)
    eta = (1 / grad.flatten(1).norm(dim=1)).clamp(max=1)[:, None, None]
    moved = ol.project(trees, z.detach() - eta * grad)
    assert scores.grad is not None
    assert (scores.grad - (z.detach() - moved)).abs().max() < TOL[torch.float64]


def test_a_relaxation_may_be_given_to_the_surrogate():
    trees = ol.DependencyTrees(4)
    tight = ol.DependencyTrees(4, relaxation="single-root").relaxation
    scores = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(5, 5, dtype=torch.float64)
    layer = ol.StructuredArgmax(
        trees, ol.SPIGOT(1.0, relaxation=tight, around="vertex"), diagnostics=True
    )
    z = layer(scores)
    z.backward(grad)
    exact = exact_projection(tight, (z.detach() - grad).flatten()).reshape(5, 5)
    assert scores.grad is not None
    assert (scores.grad - (z.detach() - exact)).abs().max() < 10 * QP_TOL
    assert set(layer.diagnose()) >= {"cone_share", "cosine"}


def test_diagnostics_of_a_layer_over_trees():
    layer = ol.StructuredArgmax(surrogate=ol.SPIGOT(around="marginals"), diagnostics=True)
    scores = torch.randn(3, 4, 4, requires_grad=True)
    layer(scores, ol.DependencyTrees([3, 2, 1])).sum().backward()
    assert layer.backward_status is not None
    assert layer.backward_status.ok.tolist() == [True] * 3
    assert 0 <= layer.diagnose()["zero_share"] <= 1


def test_project_takes_the_set_itself():
    trees = ol.DependencyTrees([3, 2])
    y = torch.randn(2, 4, 4, requires_grad=True)
    z, status = ol.project(trees, y, return_status=True)
    flat = ol.project(trees.relaxation, y.flatten(1))
    assert torch.equal(z, flat.reshape(2, 4, 4))
    assert status.batch_shape == (2,)
    assert torch.autograd.grad(z.square().sum(), y)[0].abs().sum() > 0


# ---------------------------------------------------------------------- the set as a value


@pytest.mark.parametrize(("projective", "single_root"), KINDS)
def test_contains_every_tree_and_nothing_else(projective, single_root):
    trees = ol.DependencyTrees(2, projective, single_root)
    codes = torch.arange(2**9)
    z = (codes[:, None] >> torch.arange(9) & 1).reshape(-1, 3, 3).double()
    known = {tuple(t.flatten().tolist()) for t in tree_tensors(2, projective, single_root)}
    inside = {tuple(v.flatten().tolist()) for v in z[trees.contains(z)]}
    assert inside == known
    assert not trees.contains(0.5 * z[-1:]).any()


def test_contains_at_four_words():
    every = tree_tensors(4, False, False).double()
    for projective, single_root in KINDS:
        inside = ol.DependencyTrees(4, projective, single_root).contains(every)
        assert int(inside.sum()) == len(tree_tensors(4, projective, single_root))


def test_heads_there_and_back():
    trees = ol.DependencyTrees([3, 2])
    z = trees.decode(torch.randn(2, 4, 4))
    heads = trees.heads(z)
    assert heads[1, 2] == -1
    assert torch.equal(trees.from_heads(heads), z)
    assert trees.from_heads(heads, dtype=torch.float64).dtype == torch.float64
    assert trees.heads(z.to(torch.bfloat16)).tolist() == heads.tolist()


def test_sums_of_the_set():
    for projective, single_root in KINDS:
        trees = ol.DependencyTrees([4, 2], projective, single_root)
        scores = torch.randn(2, 5, 5, dtype=torch.float64, requires_grad=True)
        for b, n in ((0, 4), (1, 2)):
            s = scores[b, : n + 1, : n + 1]
            every = (tree_tensors(n, projective, single_root).double() * s).sum((1, 2))
            assert (trees.log_partition(scores)[b] - every.logsumexp(0)).abs() < 1e-10
            p = every.softmax(0)
            assert (trees.entropy(scores)[b] + (p * p.log()).sum()).abs() < 1e-10
        (grad,) = torch.autograd.grad(trees.entropy(scores).sum(), scores)
        assert grad.isfinite().all()


@pytest.mark.parametrize(("projective", "single_root"), KINDS)
def test_samples_are_trees_and_follow_the_marginals(projective, single_root, device):
    trees = ol.DependencyTrees([3, 2], projective, single_root)
    scores = coarse(2, 4, 4).to(device)
    generator = torch.Generator(device).manual_seed(0)
    many = scores.expand(400, 2, 4, 4)
    z = trees.sample(many, generator)
    assert trees.contains(z).all()
    deviation = (z.mean(0) - trees.marginals(scores)).abs().max()
    assert deviation < 5 * 0.5 / 400**0.5  # five standard deviations at most
    scores[0, 1, 2] = torch.nan
    assert trees.sample(scores)[0].isnan().all()


def test_copies_and_pickles():
    trees = ol.DependencyTrees([3, 2], allowed=torch.ones(4, 4, dtype=torch.bool))
    scores = torch.randn(2, 4, 4)
    for other in (copy.deepcopy(trees), pickle.loads(pickle.dumps(trees))):
        assert torch.equal(other.decode(scores), trees.decode(scores))
    assert "batch=(2,)" in repr(trees)
    assert repr(ol.DependencyTrees(3, False, False)) == (
        "DependencyTrees(n=3, non-projective, any number of roots, 'head-selection')"
    )


@pytest.mark.filterwarnings("ignore")  # the compiler warns about itself
def test_a_compiled_layer_runs():
    torch.compiler.reset()
    layer = ol.StructuredArgmax(surrogate=ol.SPIGOT(around="vertex"))
    trees = ol.DependencyTrees([3, 2])
    scores = torch.randn(2, 4, 4, requires_grad=True)
    expected = layer(scores, trees)
    found = torch.compile(layer, backend="aot_eager")(scores, trees)
    assert torch.equal(found, expected)
    found.sum().backward()
    assert scores.grad is not None


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ol.DependencyTrees([3, -1]), "must not be negative. Got -1"),
        (lambda: ol.DependencyTrees([2.5]), "`lengths` must be integers"),
        (lambda: ol.DependencyTrees([3, 5], size=4), "`size` must be at least the longest length"),
        (lambda: ol.DependencyTrees(3, relaxation="cycle"), "`relaxation` must be one of"),
        (
            lambda: ol.DependencyTrees(3, single_root=False, relaxation="single-root"),
            "excludes trees with several words",
        ),
        (lambda: ol.DependencyTrees(3, allowed=torch.ones(4, 4)), "`allowed` must be booleans"),
        (
            lambda: ol.DependencyTrees([3, 3], allowed=torch.ones(3, 4, 4, dtype=torch.bool)),
            "does not broadcast against",
        ),
        (lambda: ol.DependencyTrees(3).decode(torch.zeros(3, 3)), r"must have shape \(\.\.\., 4"),
        (lambda: ol.DependencyTrees(3).decode(torch.zeros(4, 4).long()), "tensor of floats"),
        (
            lambda: ol.DependencyTrees([3, 3]).decode(torch.zeros(4, 4)),
            r"that of the set, \(2,\)\. Got \(\)",
        ),
        (lambda: ol.DependencyTrees(2).from_heads(torch.zeros(3).long()), "`heads` must be int"),
        (
            lambda: ol.DependencyTrees([2, 1]).from_heads(torch.tensor([[0, 1], [2, 0]])),
            r"word 1 of sentence \[1\] must be from 0 to its length. Got 2",
        ),
    ],
)
def test_errors(call, match):
    with pytest.raises(ol.InputError, match=match):
        call()
