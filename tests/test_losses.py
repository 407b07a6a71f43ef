"""Losses over structures, against enumeration."""

import pytest
import torch

import optlayers as ol
from optlayers.testing import vertices

from .helpers import raw_chain
from .tree_enumeration import tree_tensors


def polytope_case():
    P = ol.Polytope([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]], [1.0, 2.0])
    return P, vertices(P).double(), (4,)


def tree_case(projective=True, single_root=True):
    trees = ol.DependencyTrees(4, projective, single_root)
    return trees, tree_tensors(4, projective, single_root).double(), (5, 5)


def graph_case(deterministic=None):
    graphs = ol.SemanticGraphs(2, labels=2, deterministic=deterministic)
    bits = torch.arange(2**graphs.num_parts)[:, None] >> torch.arange(graphs.num_parts) & 1
    every = bits.double()
    return graphs, every[graphs.contains(every)], (graphs.num_parts,)


CASES = {
    "polytope": polytope_case,
    "projective": tree_case,
    "non-projective": lambda: tree_case(False),
    "multi-root": lambda: tree_case(True, False),
    "graphs": graph_case,
    "deterministic": lambda: graph_case([0]),
}


def dot(structures, scores, dims):
    return (structures * scores).sum(tuple(range(-dims, 0)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("costs", [1.0, 0.0, (0.4, 0.6), "tensors"])
def test_hinge_is_the_maximum_over_all_structures(name, costs):
    feasible_set, every, shape = CASES[name]()
    dims = len(shape)
    for trial in range(20):
        scores = (torch.randint(-3, 4, shape) / 2).double()  # ties are common
        gold = every[int(torch.randint(len(every), ()))]
        if costs == "tensors":
            pair = (torch.rand(shape).double(), torch.rand(shape[-1:]).double())
        else:
            pair = costs if isinstance(costs, tuple) else (costs, costs)
        cost = dot(pair[0] * (1 - gold), every, dims) + dot(pair[1] * gold, 1 - every, dims)
        best = (dot(every, scores, dims) + cost).max() - dot(gold, scores, dims)
        given = pair if costs == "tensors" else costs
        scores.requires_grad_()
        loss = ol.structured_hinge(feasible_set, scores, gold, given)
        assert abs(float(loss.detach() - best)) < 1e-12, (name, trial)
        assert loss >= -1e-12
        augmented = ol.cost_augmented(scores.detach(), gold, given)
        worst = ol.decode(feasible_set, augmented)
        value = dot(worst, augmented, dims) + (pair[1] * gold).sum()
        assert abs(float(value - dot(gold, scores.detach(), dims) - best)) < 1e-12
        (grad,) = torch.autograd.grad(loss, scores)
        assert torch.equal(grad, worst - gold)
        perceptron = ol.structured_perceptron(feasible_set, scores.detach(), gold)
        assert abs(float(perceptron - dot(every - gold, scores.detach(), dims).max())) < 1e-12


@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("projective", [True, False])
@pytest.mark.parametrize("single_root", [True, False])
def test_cost_augmented_trees_of_up_to_six_words(n, projective, single_root):
    trees = ol.DependencyTrees(n, projective, single_root)
    every = tree_tensors(n, projective, single_root)
    scores = torch.randint(-3, 4, (8, n + 1, n + 1)).double() / 2  # ties are common
    gold = every[torch.randint(len(every), (8,))]
    for positive, negative in ((0.5, 0.0), (0.5, 1.5)):
        loss = ol.structured_hinge(trees, scores, gold, (positive, negative), reduction="none")
        for i in range(8):
            cost = positive * (every * (1 - gold[i])).sum((1, 2))
            cost += negative * ((1 - every) * gold[i]).sum((1, 2))
            best = (dot(every, scores[i], 2) + cost).max() - dot(gold[i], scores[i], 2)
            assert loss[i] == best  # halves add up exactly


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("polytope", "deterministic")])
def test_log_loss_is_the_negative_log_probability(name):
    feasible_set, every, shape = CASES[name]()
    dims = len(shape)
    for _ in range(5):
        scores = torch.randn(shape).double().requires_grad_()
        gold = every[int(torch.randint(len(every), ()))]
        loss = ol.log_loss(feasible_set, scores, gold)
        probability = dot(every, scores, dims).softmax(0)
        expected = -probability[(every == gold).flatten(1).all(-1)].log()
        assert (loss - expected).abs().max() < 1e-10
        (grad,) = torch.autograd.grad(loss, scores)
        mean = (probability.reshape(-1, *[1] * dims) * every).sum(0)
        assert (grad - (mean - gold)).abs().max() < 1e-10


def test_reductions_and_batches():
    trees = ol.DependencyTrees([3, 2])
    scores, gold = torch.randn(2, 4, 4), trees.decode(torch.randn(2, 4, 4))
    for loss in (ol.structured_hinge, ol.structured_perceptron, ol.log_loss):
        each = loss(trees, scores, gold, reduction="none")
        assert each.shape == (2,)
        assert torch.equal(loss(trees, scores, gold), each.sum())
        assert torch.equal(loss(trees, scores, gold, reduction="mean"), each.mean())


def test_a_margin_that_is_kept_costs_nothing():
    trees = ol.DependencyTrees(3)
    gold = trees.decode(torch.randn(4, 4))
    assert ol.structured_hinge(trees, 10 * gold, gold) == 0
    assert ol.structured_hinge(trees, 0 * gold, gold, (0.5, 0.0)) == 1.5  # all three heads wrong


def test_half_precision_keeps_its_dtype():
    gold = torch.tensor([1.0, 0.0, 0.0], dtype=torch.bfloat16)
    loss = ol.structured_hinge(ol.simplex(3), gold.neg(), gold)
    assert loss.dtype == torch.bfloat16
    assert loss == 3


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda s, g: ol.structured_hinge(ol.simplex(3), s, g[:2]), "`gold` must have the shape"),
        (lambda s, g: ol.cost_augmented(s, g, -1.0), "must not be negative. Got -1.0"),
        (lambda s, g: ol.cost_augmented(s, g, (1.0, 1.0, 1.0)), "a pair"),
        (
            lambda s, g: ol.structured_hinge(ol.simplex(3), s, g, reduction="max"),
            "`reduction` must be",
        ),
        (lambda s, g: ol.log_loss(raw_chain(3), s, g), "has no tractable sum"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ol.InputError, match=match):
        call(torch.zeros(3), torch.tensor([1.0, 0.0, 0.0]))
