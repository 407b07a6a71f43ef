"""The k best trees against all trees, sorted."""

import pytest
import torch

import optlayers as ol

from .tree_enumeration import tree_tensors

KINDS = [(p, r) for p in (True, False) for r in (True, False)]
EVERY = pytest.mark.parametrize(("projective", "single_root"), KINDS)
inf = torch.inf


def ranked(n, size, projective, single_root, scores):
    """Scores of all trees of a sentence, falling."""
    trees = tree_tensors(n, projective, single_root)
    own = scores[: n + 1, : n + 1].double()
    values = torch.where(trees > 0, own, 0).flatten(1).sum(1)
    return values.sort(descending=True).values


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_they_are_the_best_of_all_in_order(projective, single_root, dtype):
    lengths, k = [4, 2, 1, 0, 3], 12
    trees = ol.DependencyTrees(lengths, projective=projective, single_root=single_root)
    scores = (torch.randint(-4, 5, (5, 5, 5)) / 2).to(dtype)
    scores[4, 0, 1] = -inf
    found, values = trees.k_best(scores, k)
    assert (found.dtype, found.shape) == (dtype, (5, k, 5, 5))
    for b, n in enumerate(lengths):
        expected = ranked(n, 4, projective, single_root, scores[b])
        expected = expected[expected > -inf][:k]
        count = len(expected)
        assert torch.equal(values[b, :count].double(), expected)
        assert (values[b, count:] == -inf).all()
        assert found[b, count:].isnan().all()
        own = torch.zeros(count, 5, 5, 5, dtype=dtype)
        own[:, b] = found[b, :count]
        assert trees.contains(own)[:, b].all()
        assert len(found[b, :count].flatten(1).unique(dim=0)) == count


def test_the_first_is_the_decision():
    trees = ol.DependencyTrees([7, 5])
    scores = torch.randn(2, 8, 8)
    assert torch.equal(trees.k_best(scores, 1)[0][:, 0], ol.decode(trees, scores))


def test_masks_are_kept():
    allowed = torch.ones(4, 4, dtype=torch.bool)
    allowed[0, 1] = False
    trees = ol.DependencyTrees(3, allowed=allowed)
    found, values = trees.k_best(torch.randn(4, 4), 30)
    every = tree_tensors(3, True, True)
    count = int((every[:, 0, 1] == 0).sum())
    assert int(values.isfinite().sum()) == count
    assert (found[:count, 0, 1] == 0).all()


@EVERY
@pytest.mark.parametrize("low", [-1e9, torch.finfo(torch.float32).min])
def test_low_scores_come_last_and_in_order(projective, single_root, low):
    trees = ol.DependencyTrees(3, projective=projective, single_root=single_root)
    scores = torch.randn(4, 4, dtype=torch.float64)
    scores[0, 1] = low
    every = tree_tensors(3, projective, single_root)
    found, _ = trees.k_best(scores, len(every))
    others = scores.clone()
    others[0, 1] = 0
    with_it = found[:, 0, 1] > 0
    assert (with_it.long().diff() >= 0).all()
    values = (found * others).flatten(1).sum(1)
    for part in (values[with_it], values[~with_it]):
        assert (part.diff() <= 1e-12).all()


def test_their_scores_are_differentiable():
    trees = ol.DependencyTrees([3, 2])
    scores = torch.randn(2, 4, 4, requires_grad=True)
    found, values = trees.k_best(scores, 2)
    values.sum().backward()
    assert torch.equal(scores.grad, found.sum(1))


def test_what_is_refused():
    trees = ol.DependencyTrees([2, 2])
    with pytest.raises(ol.InputError, match=r"`k` must be a positive integer. Got 0"):
        trees.k_best(torch.zeros(2, 3, 3), 0)
    scores = torch.zeros(2, 3, 3)
    scores[1, 0, 1] = torch.nan
    with pytest.raises(ol.InputError, match=r"Sentence 1: its scores are not finite"):
        trees.k_best(scores, 2)
