"""Paths: of polytopes recognised by their rows, of grids, of graphs with cycles; by enumeration."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import bellman_ford, dijkstra

import optlayers as ol
from optlayers._decoders import DECODERS, Paths
from optlayers._feasible_set import as_set
from optlayers._plan.compile import compile_plan

from .helpers import TOL

EDGES = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (0, 3), (3, 4), (2, 4), (1, 2)]
inf = torch.inf


def all_paths(edges, source, target, allowed=None):
    """0/1 vectors of all paths that pass no node twice, by trying every way on. Shares no code."""
    found = []

    def go(node, met, used):
        if node == target:
            z = np.zeros(len(edges))
            z[used] = 1
            found.append(z)
            return
        for e, (tail, head) in enumerate(edges):
            if tail == node and head not in met and (allowed is None or allowed[e]):
                go(head, {*met, head}, [*used, e])

    go(source, {source}, [])
    return torch.from_numpy(np.array(found).reshape(-1, len(edges)))


def maps(P):
    return [type(m).__name__ for m in compile_plan(P, DECODERS).maps]


# ---------------------------------------------------------------------- rows that are paths


def disguised(P, seed):
    """The same polytope with rows in another order, of other signs and sizes."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(P.A_eq.shape[0])
    scale = rng.choice([-2.0, 0.5, 3.0, -1.0], len(order))
    A_eq = sp.diags_array(scale) @ P.A_eq[order]
    return ol.Polytope(A_eq=A_eq, b_eq=scale * P.b_eq.numpy()[order], upper=P.upper)


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_recognised_in_any_order_and_scale(seed):
    P = ol.dag_path(5, EDGES, 0, 4)
    Q = disguised(P, seed)
    assert maps(P) == maps(Q) == ["Paths"]
    scores = torch.randint(-3, 4, (20, len(EDGES))).double() / 2
    best = (scores @ all_paths(EDGES, 0, 4).T).amax(-1)
    for own in (P, Q):
        z = ol.decode(own, scores)
        torch.testing.assert_close((z * scores).sum(-1), best)
        assert (z[:, None] == all_paths(EDGES, 0, 4)).all(-1).any(-1).all()


def test_a_source_with_one_edge_is_still_a_source():
    edges = [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4), (2, 3), (4, 5)]
    P = ol.dag_path(6, edges, 0, 5)
    assert "Paths" in maps(P)
    scores = torch.randn(10, len(edges), dtype=torch.float64)
    every = all_paths(edges, 0, 5)
    assert torch.equal(ol.decode(P, scores), every[(scores @ every.T).argmax(-1)])
    torch.testing.assert_close(
        ol.structured_argmax(P, scores, ol.StraightThrough()), ol.decode(P, scores)
    )


def test_edges_are_pruned_by_instance():
    allowed = torch.rand(30, len(EDGES)) < 0.7
    P = ol.dag_path(5, EDGES, 0, 4).with_(upper=allowed.double())
    scores = torch.randn(30, len(EDGES), dtype=torch.float64)
    z, status = ol.decode(P, scores, on_failure="nan", return_status=True)
    for b in range(30):
        every = all_paths(EDGES, 0, 4, allowed[b])
        assert status.ok[b] == (len(every) > 0)
        if len(every):
            assert torch.equal(z[b], every[(every @ scores[b]).argmax()])


def test_sources_and_targets_by_instance():
    ends = [(0, 4), (1, 4), (0, 3), (2, 3), (1, 2)]
    b_eq = torch.zeros(len(ends), 5, dtype=torch.float64)
    for b, (source, target) in enumerate(ends):
        b_eq[b, source], b_eq[b, target] = 1, -1
    P = ol.dag_path(5, EDGES, 0, 4).with_(b_eq=b_eq)
    assert maps(P) == ["Paths"]
    scores = torch.randn(len(ends), len(EDGES), dtype=torch.float64)
    for b, end in enumerate(ends):
        every = all_paths(EDGES, *end)
        assert torch.equal(ol.decode(P, scores)[b], every[(every @ scores[b]).argmax()])


def test_other_limits_are_integer_programs():
    P = ol.dag_path(5, EDGES, 0, 4)
    must = P.fix({2: 1.0})
    assert "Paths" not in maps(must)
    lower = torch.zeros(2, len(EDGES), dtype=torch.float64)
    lower[1, 2] = 1
    scores = torch.zeros(2, len(EDGES), dtype=torch.float64)
    scores[:, 5] = 9
    z = ol.decode(P.with_(lower=lower), scores)
    assert z[:, 2].tolist() == [0, 1]
    assert z[0, 5] == 1


@pytest.mark.parametrize(
    ("P", "reason"),
    [
        (ol.assignment(3), "join two sides"),
        (ol.dag_path(5, EDGES, 0, 4).fix({2: 1.0}), "not those of one path"),
        (ol.Polytope([[1.0, 2, 0], [0, 1, 1]], [1.0, 1]), "not every variable is an edge"),
        (
            ol.Polytope(A_eq=[[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1]], b_eq=[1, 0, 0]),
            "not every variable is an edge",
        ),
        (
            ol.Polytope(A_eq=[[1, 0, -1], [-1, 1, 0], [0, -1, 1]], b_eq=[0, 0, 0]),
            "form a cycle",
        ),
    ],
)
def test_what_is_no_path_is_refused_in_words(P, reason):
    with pytest.raises(ol.BlockRefused, match=reason):
        Paths(compile_plan(P, DECODERS).maps[0].block)


def test_two_graphs_are_two_blocks():
    P = ol.product(ol.dag_path(5, EDGES, 0, 4), ol.simplex(3), ol.dag_path(5, EDGES, 0, 4))
    scores = torch.randn(6, P.n, dtype=torch.float64)
    every, n = all_paths(EDGES, 0, 4), len(EDGES)
    z = ol.decode(P, scores)
    for at in (slice(0, n), slice(n + 3, None)):
        assert torch.equal(z[:, at], every[(scores[:, at] @ every.T).argmax(-1)])


# ---------------------------------------------------------------------- sums


def test_sums_over_paths():
    P, every = ol.dag_path(5, EDGES, 0, 4), all_paths(EDGES, 0, 4)
    scores = torch.randn(6, len(EDGES), dtype=torch.float64, requires_grad=True)
    p = (scores @ every.T).softmax(-1)
    layer = ol.StructuredArgmax(P, ol.SPIGOT(around="marginals"))
    layer(scores).sum().backward()

    own = as_set(P)
    torch.testing.assert_close(own.marginals(scores), p @ every, rtol=0, atol=TOL[torch.float64])
    expected = (scores @ every.T).logsumexp(-1)
    torch.testing.assert_close(own.log_partition(scores), expected, rtol=0, atol=TOL[torch.float64])
    assert torch.autograd.gradgradcheck(own.log_partition, scores)
    many = scores[:1].detach().expand(4000, -1)
    z = own.sample(many, torch.Generator().manual_seed(0))
    hits = (z[:, None] == every).all(-1).double().mean(0)
    assert abs(hits.sum() - 1) < 1e-12
    assert ((hits - p[0]).abs() < 5 * (p[0] * (1 - p[0]) / 4000).sqrt() + 1e-3).all()


def test_sums_of_a_polytope_that_is_no_path_are_refused():
    P = ol.dag_path(5, EDGES, 0, 4).fix({2: 1.0})

    with pytest.raises(ol.InputError, match=r"no simplex and no path.*not those of one path"):
        as_set(P).log_partition(torch.zeros(len(EDGES)))


# ---------------------------------------------------------------------- grids


@pytest.mark.parametrize("diagonal", [False, True])
def test_grids(diagonal):
    edges = ol.grid_edges(3, 4, diagonal=diagonal)
    every = all_paths(edges, 0, 11)
    assert len(every) == {False: 10, True: 25}[diagonal]
    P = ol.grid_path(3, 4, diagonal=diagonal)
    scores = torch.randn(8, P.n, dtype=torch.float64)
    assert torch.equal(ol.decode(P, scores), every[(scores @ every.T).argmax(-1)])
    assert ol.validate(P, samples=3, against=("osqp",)).ok


def test_grids_both_ways_hold_every_edge_back():
    edges = ol.grid_edges(3, 3, diagonal=True, both_ways=True)
    assert {(v, u) for u, v in edges} == set(edges)
    assert len(set(edges)) == len(edges) == 40


@pytest.mark.parametrize("size", [(0, 3), (1, 1), (2.0, 2)])
def test_grids_that_are_none(size):
    with pytest.raises(ol.PolytopeError, match=r"positive integers|two cells"):
        ol.grid_path(*size)


# ---------------------------------------------------------------------- graphs with cycles

CYCLIC = [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 3), (3, 1), (1, 3), (3, 4), (2, 4), (4, 0)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-6, 0), min_size=len(CYCLIC), max_size=len(CYCLIC)))
def test_costs_on_a_graph_with_cycles(values):
    scores = torch.tensor(values, dtype=torch.float64) / 2
    paths = ol.GraphPaths(5, CYCLIC, 0, 4)
    z = ol.decode(paths, scores)
    every = all_paths(CYCLIC, 0, 4)
    assert (z == every).all(-1).any()
    assert z @ scores == (every @ scores).max()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=len(CYCLIC), max_size=len(CYCLIC)))
def test_gains_on_a_graph_with_cycles(values):
    scores = torch.tensor(values, dtype=torch.float64) / 2
    gains = any(
        sum(scores[CYCLIC.index(e)] for e in itertools.pairwise((*c, c[0]))) > 0 for c in CYCLES
    )
    z, status = ol.decode(
        ol.GraphPaths(5, CYCLIC, 0, 4), scores, on_failure="nan", return_status=True
    )
    assert bool(status.ok) == (not gains)
    if gains:
        assert status.failures[()].kind is ol.UnboundedError
        return
    every = all_paths(CYCLIC, 0, 4)
    assert (z == every).all(-1).any()
    assert z @ scores == (every @ scores).max()


def simple_cycles():
    """All of them, as nodes, each once."""
    joined = set(CYCLIC)
    for size in range(2, 6):
        for nodes in itertools.permutations(range(5), size):
            if nodes[0] == min(nodes) and set(itertools.pairwise((*nodes, nodes[0]))) <= joined:
                yield nodes


CYCLES = list(simple_cycles())


def test_a_cycle_that_gains_is_named():
    scores = torch.full((2, len(CYCLIC)), -1.0)
    scores[1, 2] = 1.5  # 1 -> 2, and back for 1
    with pytest.raises(ol.UnboundedError, match=r"Instance 1: .* gain 0.5 on the cycle (1 -> 2|2)"):
        ol.decode(ol.GraphPaths(5, CYCLIC, 0, 4), scores)


def test_rounding_is_no_gain():
    edges = [(0, 1), (1, 2), (2, 0), (2, 3)]
    scores = torch.tensor([0.1, 0.2, -0.3, 1.0], dtype=torch.float64)
    assert sum(scores[:3].tolist()) > 0  # by rounding alone
    assert ol.decode(ol.GraphPaths(4, edges, 0, 3), scores).tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("seed", range(3))
def test_large_grids_against_scipy(seed):
    torch.manual_seed(seed)
    paths = ol.GraphPaths.grid(9, 11, diagonal=True)
    costs = torch.rand(2, len(paths.edges), dtype=torch.float64)
    potential = torch.randn(99, dtype=torch.float64)  # some costs below zero, and no such cycle
    shift = potential[paths.edges[:, 1]] - potential[paths.edges[:, 0]]
    for own, search in ((costs, dijkstra), (costs + shift, bellman_ford)):
        z = ol.decode(paths, -own)
        assert paths.contains(z).all()
        for b in range(2):
            graph = sp.csr_array((own[b].numpy(), paths.edges.T), (99, 99))
            expected = search(graph, indices=0)[98]
            assert abs((z[b] * own[b]).sum().item() - expected) < 1e-9


def test_sources_targets_and_masks_by_instance():
    sources, targets = torch.tensor([0, 1, 3]), torch.tensor([4, 0, 2])
    mask = torch.rand(3, len(CYCLIC)) < 0.9
    mask[:, [0, 2, 5, 8, 10]] = True
    paths = ol.GraphPaths(5, CYCLIC, sources, targets, mask=mask)
    scores = -torch.rand(2, 3, len(CYCLIC), dtype=torch.float64)
    z = ol.decode(paths, scores)
    assert paths.contains(z).all()
    for b in range(3):
        every = all_paths(CYCLIC, int(sources[b]), int(targets[b]), mask[b])
        assert torch.equal(z[:, b], every[(scores[:, b] @ every.T).argmax(-1)])
        assert paths.nodes(z)[1][b][-1] == targets[b]
    assert (ol.project(paths, scores).masked_select(~mask).abs() < 1e-9).all()


def test_the_hull_of_paths_with_cycles():
    paths = ol.GraphPaths(5, CYCLIC, 0, 4)
    every = all_paths(CYCLIC, 0, 4)
    P = paths.relaxation
    assert (abs(P.A_eq @ every.T.numpy() - P.b_eq.numpy()[:, None]) < 1e-12).all()
    assert ol.validate(paths, samples=3, against=("osqp",)).ok


def test_membership_of_paths():
    paths = ol.GraphPaths(5, CYCLIC, 0, 4)
    every = all_paths(CYCLIC, 0, 4)
    assert paths.contains(every).all()
    points = torch.from_numpy(np.array(list(itertools.product([0.0, 1.0], repeat=len(CYCLIC)))))
    assert int(paths.contains(points).sum()) == len(every)
    assert not paths.contains(every / 2).any()


def test_sums_of_graphs_without_cycles():
    paths = ol.GraphPaths(5, EDGES, torch.tensor([0, 1]), torch.tensor([4, 3]))
    scores = torch.randn(2, len(EDGES), dtype=torch.float64)
    for b, ends in enumerate([(0, 4), (1, 3)]):
        every = all_paths(EDGES, *ends)
        p = (every @ scores[b]).softmax(0)
        torch.testing.assert_close(paths.marginals(scores)[b], p @ every)
        torch.testing.assert_close(paths.log_partition(scores)[b], (every @ scores[b]).logsumexp(0))
        assert paths.contains(paths.sample(scores))[b]
        assert torch.equal(ol.decode(paths, scores)[b], every[p.argmax()])
    with pytest.raises(ol.InputError, match=r"no tractable sum .*cycles"):
        ol.GraphPaths(5, CYCLIC, 0, 4).marginals(torch.zeros(len(CYCLIC)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ol.GraphPaths(3, [(0, 1), (1, 1)], 0, 2), ol.InputError, "join different nodes"),
        (lambda: ol.GraphPaths(2, [(0, 2)], 0, 1), ol.InputError, "nodes from 0 to 1"),
        (lambda: ol.GraphPaths(2, [0, 1], 0, 1), ol.InputError, "pairs of node numbers"),
        (lambda: ol.GraphPaths("2", [(0, 1)], 0, 1), ol.InputError, "`num_nodes` must be an int"),
        (lambda: ol.GraphPaths(2, [(0, 1)], 0, 0), ol.InputError, "must differ"),
        (lambda: ol.GraphPaths(2, [(0, 1)], 0, 2), ol.InputError, "`target` must name nodes"),
        (lambda: ol.GraphPaths(2, [(0, 1)], 0.5, 1), ol.InputError, "numbers of nodes"),
        (lambda: ol.GraphPaths(2, [(0, 1)], 1, 0), ol.InfeasibleError, "from node 1 to node 0"),
        (
            lambda: ol.GraphPaths(2, [(0, 1)], 0, 1, mask=[False]).decode(torch.zeros(1)),
            ol.InfeasibleError,
            "no path is left among the allowed edges",
        ),
        (
            lambda: ol.GraphPaths(2, [(0, 1)], 0, 1, mask=[1.0]),
            ol.InputError,
            "`mask` must be booleans",
        ),
        (
            lambda: ol.GraphPaths(2, [(0, 1)], torch.zeros(2).long(), torch.ones(3).long()),
            ol.InputError,
            "must agree",
        ),
        (
            lambda: ol.GraphPaths(2, [(0, 1)], 0, 1).decode(torch.zeros(2)),
            ol.InputError,
            "one entry per edge",
        ),
    ],
)  # fmt: skip
def test_graphs_that_are_none(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_what_is_no_path_in_some_instance_is_not_judged_by_paths():
    """Two nodes that keep one unit, or as much as they like: no path, and no reason to refuse."""
    rows = np.array([[0.0, 1, -1, 0, 0], [1, 0, -1, 1, 1]])
    low = torch.tensor([[1.0, 0], [0, 0], [1, 0]], dtype=torch.float64)
    P = ol.Polytope(-rows[:1], -low[:, :1], A_eq=rows[1:], b_eq=[0.0], integral=False)
    s = torch.tensor([[-0.1, -1.0, 2.0, -1.0, 0.5]] * 3, dtype=torch.float64)
    z, status = ol.decode(P, s, return_status=True)
    assert status.ok.all()
    points = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
    for own, b in zip(z.numpy(), low.numpy(), strict=True):
        fine = points[
            (points @ rows[0] >= b[0]) & (points @ rows[1] == 0)
        ]  # the rows are unimodular
        assert (fine @ s[0].numpy()).max() == pytest.approx(own @ s[0].numpy())
        assert (fine == own).all(1).any()
