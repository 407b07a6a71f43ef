"""Rows found while deciding: tours against all tours, hulls against all rows, bad callables."""

import itertools

import numpy as np
import pytest
import torch

import optlayers as ol

NODES = 7
EDGES = list(itertools.combinations(range(NODES), 2))
TWO_EACH = ol.Polytope(
    A_eq=[[float(v in e) for e in EDGES] for v in range(NODES)], b_eq=[2.0] * NODES
)


def all_cuts(nodes, edges):
    """For every split of the nodes in two, the edges between."""
    sides = np.array(list(itertools.product([0, 1], repeat=nodes - 1)))[1:]
    sides = np.pad(sides, ((0, 0), (1, 0)))
    return np.array([[float(s[u] != s[v]) for u, v in edges] for s in sides])


CUTS = all_cuts(NODES, EDGES)


def subtours(z):
    """Cuts that a point crosses less than twice."""
    sums = CUTS @ z.numpy()
    worst = int(sums.argmin())
    return None if sums[worst] >= 2 - 1e-7 else (-CUTS[[worst]], [-2.0])


def all_tours(nodes, edges):
    number = {frozenset(e): k for k, e in enumerate(edges)}
    found = []
    for rest in itertools.permutations(range(1, nodes)):
        if rest[0] < rest[-1]:
            z = np.zeros(len(edges))
            for pair in itertools.pairwise((0, *rest, 0)):
                z[number[frozenset(pair)]] = 1
            found.append(z)
    return torch.from_numpy(np.array(found))


TOURS = all_tours(NODES, EDGES)


def test_tours_are_the_best_of_all():
    tours = ol.LazyRows(TWO_EACH, subtours)
    places = torch.rand(12, NODES, 2, dtype=torch.float64)
    scores = -torch.stack([(places[:, u] - places[:, v]).norm(dim=-1) for u, v in EDGES], -1)
    z = ol.decode(tours, scores.reshape(3, 4, -1)).reshape(12, -1)
    assert torch.equal(z, TOURS[(scores @ TOURS.T).argmax(-1)])
    assert 0 < tours.polytope.A.shape[0] < len(CUTS)
    before = tours.polytope
    assert torch.equal(ol.decode(tours, scores), z)
    assert tours.polytope is before  # nothing new was found
    assert repr(tours).endswith(f"{before.A.shape[0]} rows found)")


def test_projections_are_those_onto_all_rows():
    tours = ol.LazyRows(TWO_EACH, subtours)
    every = ol.Polytope(-CUTS, -2.0 * np.ones(len(CUTS)), A_eq=TWO_EACH.A_eq, b_eq=TWO_EACH.b_eq)
    y = torch.randn(6, len(EDGES), dtype=torch.float64, requires_grad=True)
    z, expected = ol.project(tours, y), ol.project(every, y)
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-8)
    grad = torch.randn_like(y)
    (own,) = torch.autograd.grad(z, y, grad)
    (wanted,) = torch.autograd.grad(expected, y, grad)
    torch.testing.assert_close(own, wanted, rtol=0, atol=1e-7)
    assert ol.validate(tours, samples=2, against=("osqp",)).ok


def test_layers_and_hulls():
    tours = ol.LazyRows(TWO_EACH, subtours)
    scores = torch.randn(3, len(EDGES), dtype=torch.float64, requires_grad=True)
    layer = ol.StructuredArgmax(tours, ol.SPIGOT())
    z = layer(scores)
    assert torch.equal(z.detach(), TOURS[(scores.detach() @ TOURS.T).argmax(-1)])
    (z * torch.randn_like(z)).sum().backward()
    assert scores.grad.isfinite().all()
    point = ol.project(ol.ConvexHull(tours), scores.detach())
    hull = ol.project_hull(lambda s: TOURS[(s @ TOURS.T).argmax(-1)], scores.detach()).z
    torch.testing.assert_close(point, hull, rtol=0, atol=1e-6)
    loss = ol.sparsemap_loss(tours, scores, TOURS[:3])
    assert loss.isfinite()


@pytest.mark.parametrize("mask", [-torch.inf, -1e9, torch.finfo(torch.float32).min])
def test_masked_edges_are_left_out(mask):
    scores = torch.randn(3, len(EDGES), dtype=torch.float64)
    scores[1, 4] = mask
    z = ol.decode(ol.LazyRows(TWO_EACH, subtours), scores)
    without = TOURS[TOURS[:, 4] == 0]
    others = scores[1].clone()
    others[4] = 0
    assert torch.equal(z[1], without[(without @ others).argmax()])
    assert torch.equal(z[0], TOURS[(TOURS @ scores[0]).argmax()])


def test_limits_by_instance():
    def at_most_two(z):
        row = torch.ones(1, 4)
        return (row, [2.0]) if z.sum() > 2 + 1e-9 else None

    upper = torch.tensor([[1.0, 1, 1, 1], [0, 1, 1, 1]])
    lazy = ol.LazyRows(ol.box(4).with_(upper=upper), at_most_two)
    z = ol.decode(lazy, torch.tensor([4.0, 3, 2, 1]).expand(2, 4))
    assert z.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]


def test_an_instance_that_rows_leave_empty():
    def never(_):
        return torch.ones(1, 3), [-1.0]

    lazy = ol.LazyRows(ol.simplex(3), never)
    with pytest.raises(ol.InfeasibleError):
        ol.decode(lazy, torch.zeros(3))


def test_rows_without_end_are_a_failure():
    def closer(z):  # always another row, each a little tighter
        return torch.ones(1, 2), [float(z.sum()) - 1e-3]

    lazy = ol.LazyRows(ol.box(2).with_(integral=False), closer, max_rounds=5)
    z, status = ol.decode(lazy, torch.ones(2, 2), on_failure="nan", return_status=True)
    assert z.isnan().all()
    assert "rows are violated after 5 rounds" in status.failures[(0,)]


def test_rows_that_are_met_are_none():
    lazy = ol.LazyRows(ol.simplex(3), lambda _: (torch.ones(1, 3), [1.0]))
    assert ol.decode(lazy, torch.tensor([0.0, 2, 1])).tolist() == [0, 1, 0]
    assert lazy.polytope is lazy.base


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ol.LazyRows(3, subtours), "`base` must be a Polytope. Got int"),
        (lambda: ol.LazyRows(ol.box(2), 3), "`separate` must be callable. Got int"),
        (
            lambda: ol.decode(ol.LazyRows(ol.box(2), lambda _: [1]), torch.zeros(2)),
            r"must return None or a pair \(A, b\)",
        ),
        (
            lambda: ol.decode(ol.LazyRows(ol.box(2), lambda _: ([[1.0]], [1.0])), torch.zeros(2)),
            r"must return rows of shape \(r, 2\). Got \(1, 1\)",
        ),
        (lambda: ol.LazyRows(ol.box(2), subtours).marginals(torch.zeros(2)), "no tractable"),
        (lambda: ol.LazyRows(ol.box(2), subtours).log_partition(torch.zeros(2)), "no tractable"),
        (lambda: ol.LazyRows(ol.box(2), subtours).sample(torch.zeros(2)), "no exact samples"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ol.InputError, match=message):
        make()


def test_points_in_single_precision_are_answered():
    """Rounded to float32, points violate the rows they meet; that is no reason to go on."""
    rows = np.eye(5, 6) + np.eye(5, 6, k=1)

    def neighbours(z):
        wrong = rows @ z.numpy() > 1 + 1e-8
        return (rows[wrong], np.ones(int(wrong.sum()))) if wrong.any() else None

    y = torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) * 3
    z, status = ol.project(ol.LazyRows(ol.box(6), neighbours), y, return_status=True)
    assert status.ok.all()
    assert z.dtype == torch.float32
    expected = ol.project(ol.Polytope(rows, np.ones(5)), y.double())
    torch.testing.assert_close(z.double(), expected, rtol=0, atol=1e-6)
