"""Spanning trees: decisions, hull, sums and samples against every subset of the edges."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

import optlayers as ol

from .helpers import TOL

EDGES = [(0, 1), (2, 1), (0, 2), (1, 3), (3, 2), (3, 4), (2, 4)]
inf = torch.inf


def all_trees(nodes, edges, allowed=None):
    """0/1 vectors of all spanning trees; scipy says what is one."""
    found = []
    for chosen in itertools.combinations(range(len(edges)), nodes - 1):
        if allowed is not None and not all(allowed[e] for e in chosen):
            continue
        ends = np.array([edges[e] for e in chosen]).T
        graph = sp.csr_array((np.ones(nodes - 1), ends), (nodes, nodes))
        if connected_components(graph, directed=False)[0] == 1:
            z = np.zeros(len(edges))
            z[list(chosen)] = 1
            found.append(z)
    return torch.from_numpy(np.array(found).reshape(-1, len(edges)))


TREES = all_trees(5, EDGES)


def test_decisions_are_the_best_of_all():
    trees = ol.SpanningTrees(5, EDGES)
    scores = torch.randint(-3, 4, (80, len(EDGES))).double() / 2
    z = ol.decode(trees, scores)
    torch.testing.assert_close((z * scores).sum(-1), (scores @ TREES.T).amax(-1))
    assert (z[:, None] == TREES).all(-1).any(-1).all()


def test_all_pairs_are_edges_unless_given():
    trees = ol.SpanningTrees(5)
    assert trees.edges.tolist() == [list(e) for e in itertools.combinations(range(5), 2)]
    assert abs(trees.log_partition(torch.zeros(10).double()).exp() - 5**3) < 1e-9  # Cayley


def test_a_large_graph_against_scipy():
    joined = np.random.default_rng(1).random((60, 60)) < 0.2
    edges = np.argwhere(np.triu(joined, 1))
    at = edges.T.astype(np.int32)  # what every scipy reads
    scores = torch.randn(2, len(edges), dtype=torch.float64)
    z = ol.decode(ol.SpanningTrees(60, edges), scores)
    for own, s in zip(z, scores, strict=True):
        costs = 10 - s.numpy()  # a cost of zero would be no edge
        best = minimum_spanning_tree(sp.csr_array((costs, at), (60, 60))).sum()
        assert abs((own * s).sum().item() - (10 * 59 - best)) < 1e-9


def test_masks_by_instance():
    torch.manual_seed(1)
    mask = torch.rand(20, len(EDGES)) < 0.9
    mask = mask[[bool(len(all_trees(5, EDGES, m))) for m in mask]]
    trees = ol.SpanningTrees(5, EDGES, mask=mask)
    scores = torch.randn(2, len(mask), len(EDGES), dtype=torch.float64)
    z, mu, log_z = ol.decode(trees, scores), trees.marginals(scores), trees.log_partition(scores)
    point = ol.project(trees, scores)
    for b, m in enumerate(mask):
        every = all_trees(5, EDGES, m)
        value = scores[:, b] @ every.T
        assert torch.equal(z[:, b], every[value.argmax(-1)])
        torch.testing.assert_close(mu[:, b], value.softmax(-1) @ every, rtol=0, atol=1e-12)
        torch.testing.assert_close(log_z[:, b], value.logsumexp(-1))
        assert (point[:, b, ~m] == 0).all()


def test_scores_of_minus_infinity():
    trees = ol.SpanningTrees(5, EDGES)
    scores = torch.zeros(2, len(EDGES))
    scores[1, 5:] = -inf  # node 4 is cut off
    with pytest.raises(ol.InfeasibleError, match="Instance 1: "):
        ol.decode(trees, scores)
    assert trees.log_partition(scores)[1] == -inf
    assert trees.marginals(scores)[1].isnan().all()
    assert trees.sample(scores)[1].isnan().all()
    z, status = ol.decode(trees, scores, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False]
    assert trees.contains(z)[0]


def test_the_projection_is_onto_the_hull_of_all():
    trees = ol.SpanningTrees(5, EDGES)
    y = torch.randn(8, len(EDGES), dtype=torch.float64)
    expected = ol.project_hull(lambda s: TREES[(s @ TREES.T).argmax(-1)], y).z
    torch.testing.assert_close(ol.project(trees, y), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(ol.project(trees.relaxation, y), expected, rtol=0, atol=1e-6)
    assert ol.validate(trees, samples=3, against=("osqp",)).ok


def test_sums_are_differentiable_twice():
    trees = ol.SpanningTrees(5, EDGES)
    scores = torch.randn(2, len(EDGES), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(trees.log_partition, scores)
    assert torch.autograd.gradgradcheck(trees.log_partition, scores)
    p = (scores.detach() @ TREES.T).softmax(-1)
    torch.testing.assert_close(
        trees.entropy(scores.detach()), -(p * p.log()).sum(-1), rtol=0, atol=TOL[torch.float64]
    )


def test_samples_have_the_right_frequencies():
    trees, count = ol.SpanningTrees(5, EDGES), 4000
    scores = torch.randn(len(EDGES), dtype=torch.float64)
    z = trees.sample(scores.expand(count, -1), torch.Generator().manual_seed(0))
    hits, p = (z[:, None] == TREES).all(-1).double().mean(0), (TREES @ scores).softmax(0)
    assert abs(hits.sum() - 1) < 1e-12
    assert ((hits - p).abs() < 5 * (p * (1 - p) / count).sqrt() + 1e-3).all()


def test_membership():
    trees = ol.SpanningTrees(5, EDGES)
    points = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(EDGES)))).double()
    assert trees.contains(TREES).all()
    assert int(trees.contains(points).sum()) == len(TREES)
    assert not trees.contains(TREES / 2).any()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ol.SpanningTrees(1), ol.InputError, "pairs of node numbers, at least one"),
        (lambda: ol.SpanningTrees(3, [(0, 1), (1, 0)]), ol.InputError, "more than once"),
        (lambda: ol.SpanningTrees(3, [(0, 1)]), ol.InfeasibleError, "they have no spanning"),
        (
            lambda: ol.decode(
                ol.SpanningTrees(3, mask=[[True] * 3, [True, False, False]]), torch.zeros(2, 3)
            ),
            ol.InfeasibleError,
            r"Instance 1: no spanning tree is left among the allowed edges",
        ),
    ],
)
def test_graphs_that_are_none(make, error, message):
    with pytest.raises(error, match=message):
        make()
