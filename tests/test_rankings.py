"""Rankings and the permutahedron: enumeration, published values, exact QPs, derivatives."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optlayers as ol
from optlayers._sets.rankings import isotonic

from .helpers import TOL

WEIGHTS = {
    "ranks": None,
    "two of four": [0.0, 0, 1, 1],
    "signs": [-1.5, 3.0, 0.0, 0.5],
    "all equal": [2.0, 2, 2, 2],
}
EVERY = pytest.mark.parametrize("name", WEIGHTS)


@pytest.fixture(params=["loops", "tensors"])
def way(request, monkeypatch):
    """By compiled loops, and by the tensor program for everything else."""
    if request.param == "tensors":
        monkeypatch.setattr(isotonic, "use_kernels", lambda _: False)
    return request.param


def all_orders(weights, kept=4):
    """Every order of the smallest weights on the first items, zeros on the others."""
    w = sorted(weights or [1.0, 2, 3, 4])[:kept]
    rows = sorted(set(itertools.permutations(w)))
    return torch.nn.functional.pad(torch.tensor(rows, dtype=torch.float64), (0, 4 - kept))


@EVERY
def test_decisions_are_the_best_of_all(name):
    ranks, every = ol.Rankings(4, WEIGHTS[name]), all_orders(WEIGHTS[name])
    scores = torch.randint(-2, 3, (60, 4)).double() / 2
    z = ol.decode(ranks, scores)
    torch.testing.assert_close((z * scores).sum(-1), (scores @ every.T).amax(-1))
    assert (z[:, None] == every).all(-1).any(-1).all()
    assert ranks.contains(z).all()


def test_of_equal_scores_the_first_is_best():
    assert ol.decode(ol.Rankings(4), torch.tensor([1.0, 2, 1, 2])).tolist() == [2, 4, 1, 3]


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_projections_are_those_onto_the_hull_of_all(way, name, dtype):
    ranks, every = ol.Rankings(4, WEIGHTS[name]), all_orders(WEIGHTS[name])
    y = torch.cat([3 * torch.randn(20, 4), torch.randint(-4, 5, (40, 4)) / 2]).to(dtype)

    def best(s):
        return every[(s.double() @ every.T).argmax(-1)].to(s.dtype)

    expected = ol.project_hull(best, y.double()).z
    torch.testing.assert_close(ol.project(ranks, y).double(), expected, rtol=0, atol=1e-5)


@EVERY
def test_projections_are_validated(name):
    assert ol.validate(ol.Rankings(4, WEIGHTS[name]), samples=6, against=("osqp",)).ok
    relaxed = ol.Rankings(4, WEIGHTS[name]).relaxation
    scores = torch.randn(5, 4, dtype=torch.float64)
    value = (ol.decode(relaxed, scores) * scores).sum(-1)
    best = (ol.decode(ol.Rankings(4, WEIGHTS[name]), scores) * scores).sum(-1)
    torch.testing.assert_close(value, best)


def test_soft_ranks_as_published(way):
    """Blondel et al. (2020), from the page of their code; there the order is rising."""
    values = torch.tensor([[5.0, 1, 2], [2, 1, 5]], dtype=torch.float64)
    ranks = ol.Rankings(3)
    expected = torch.tensor([[3.0, 1.25, 1.75], [1.75, 1.25, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(ol.project(ranks, values / 2), expected)
    torch.testing.assert_close(
        ol.project(ranks, values), torch.tensor([[3.0, 1, 2], [2, 1, 3]], dtype=torch.float64)
    )
    soft_sort = ol.project(ol.Rankings(3, values[0]), torch.tensor([1.0, 2, 3]).double())
    torch.testing.assert_close(soft_sort, torch.tensor([5.0, 8, 11], dtype=torch.float64) / 3)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-8, 8), min_size=1, max_size=12), st.integers(1, 12))
def test_loops_and_tensors_agree_on_isotonic_regression(values, count):
    x = torch.tensor([values], dtype=torch.float64) / 4
    counts = torch.tensor([min(count, len(values))])
    v, block = isotonic._Falling.apply(x, counts, torch.zeros_like(x))
    program, blocks = isotonic.falling(x, counts)
    torch.testing.assert_close(v, program, rtol=0, atol=TOL[torch.float64])
    kept = v[0, : counts[0]]
    assert (kept.diff() <= 0).all()
    ones = torch.arange(len(values), dtype=torch.float64)[None]
    means = isotonic.block_means(x, block)[0, : counts[0]]
    torch.testing.assert_close(means, kept, rtol=0, atol=TOL[torch.float64])
    assert isotonic.block_means(ones, blocks).isfinite().all()


def test_derivatives_are_exact(way):
    ranks = ol.Rankings(6, mask=[True, True, True, True, True, False])
    y = torch.tensor([[3.0, 1.1, 1.3, 0.2, 2.4, 9.0], [1.0, 1.1, 1.3, 1.2, 1.4, 0]]).double()
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda y: ol.project(ranks, y), y)
    assert torch.autograd.gradgradcheck(lambda y: ol.project(ranks, y).square(), y)


def test_some_items_are_not_ranked(way):
    mask = torch.tensor([[True, True, True, False], [True, False, True, True], [True] * 4])
    ranks = ol.Rankings(4, mask=mask)
    scores = torch.randn(3, 4, dtype=torch.float64)
    scores[0, 3] = torch.nan
    z = ol.decode(ranks, scores)
    assert ranks.contains(z).all()
    assert [sorted(v) for v in z.tolist()] == [[0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3, 4]]
    every = all_orders(None, 3)
    best = every[(every[:, :3] @ scores[0, :3]).argmax()]
    assert torch.equal(z[0], best)
    point = ol.project(ranks, scores)
    own = ol.project(ol.Rankings(3), scores[0, :3])
    torch.testing.assert_close(point[0], torch.cat([own, torch.zeros(1)]))
    assert point[1, 1] == 0
    assert ol.validate(ranks, samples=3, against=("osqp",)).ok


@pytest.mark.parametrize("mask", [-torch.inf, -1e9, torch.finfo(torch.float32).min])
def test_one_low_score_is_last(mask):
    ranks = ol.Rankings(4)
    scores = torch.tensor([0.3, mask, 0.2, 0.4])
    assert ol.decode(ranks, scores).tolist() == [3, 1, 2, 4]
    y = ol.project(ranks, scores)
    without = ol.project(ol.Rankings(3, [2.0, 3, 4]), scores[[0, 2, 3]])
    torch.testing.assert_close(y[[0, 2, 3]], without)
    assert y[1] == 1


def test_two_infinite_scores_cannot_both_be_last():
    scores = torch.tensor([0.3, -torch.inf, -torch.inf, 0.4])
    with pytest.raises(ol.InfeasibleError, match=r"scores of -inf forbid every point"):
        ol.decode(ol.Rankings(4), scores)
    assert ol.decode(ol.Rankings(4, [0.0, 0, 1, 1]), scores).tolist() == [1, 0, 0, 1]


def test_layers_learn_through_ranks():
    ranks = ol.Rankings(5)
    target = torch.tensor([[3.0, 1, 5, 2, 4]])
    scores = torch.zeros(1, 5, requires_grad=True)
    layer = ol.StructuredArgmax(ranks, ol.SPIGOT())
    optimiser = torch.optim.SGD([scores], lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        (layer(scores) - target).square().sum().backward()
        optimiser.step()
    assert torch.equal(layer(scores), target)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ol.Rankings(0), "`n` must be a positive integer. Got 0"),
        (lambda: ol.Rankings(3, [1.0, 2.0]), r"`weights` must be 3 finite numbers. Got \(2,\)"),
        (lambda: ol.Rankings(2, [1.0, torch.inf]), "not all finite"),
        (lambda: ol.Rankings(2, mask=[1, 0]), "`mask` must be booleans"),
        (lambda: ol.decode(ol.Rankings(2), torch.zeros(3)), "one entry per item"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ol.InputError, match=message):
        make()


@pytest.mark.parametrize("weights", [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
@pytest.mark.parametrize("y", [[1.0, 1.0, -torch.inf], [1.0, 1.0, -5.0], [2.0, 2.0, -5.0]])
def test_ties_of_equal_weights_have_no_derivative(weights, y):
    """Whichever comes first, both have that weight: the answer is constant nearby."""
    given = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    z = ol.project(ol.Rankings(3, weights), given)
    for k in range(3):
        (row,) = torch.autograd.grad(z[k], given, retain_graph=True)
        assert not row.any()


def test_ties_of_unequal_weights_are_pooled():
    given = torch.tensor([1.0, 1.0, 1.0, -9.0], dtype=torch.float64, requires_grad=True)
    z = ol.project(ol.Rankings(4, [2.0, 1.0, 1.0, 0.0]), given)
    (row,) = torch.autograd.grad(z[0], given)
    torch.testing.assert_close(row, torch.tensor([2 / 3, -1 / 3, -1 / 3, 0.0]).double())
