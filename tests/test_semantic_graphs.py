"""Semantic graphs as a feasible set: decoding, sums, projections, layouts, real graphs."""

import copy
import itertools
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import optlayers as ol
from optlayers._judge.references import exact_projection
from optlayers.testing import coarse_points

from .graph_enumeration import all_pairs, graph_tensors
from .helpers import QP_TOL, TOL

DTYPES = [torch.float64, torch.float32]


def coarse(*shape, dtype=torch.float64):
    """Scores with many ties."""
    return torch.randint(-3, 4, shape).to(dtype) / 2


def between_words(lengths, size):
    """Pairs of different words of a sentence, `(..., n, n)`."""
    word = torch.arange(size) < torch.as_tensor(lengths)[..., None]
    return word[..., :, None] & word[..., None, :] & ~torch.eye(size, dtype=torch.bool)


def random_set(seed, *, predicates, masked, deterministic=True, **options):
    """A small set with two sentences, the pairs of each, and the pair of every slot."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    labels, lengths = draw(1, 4), [3 if seed % 3 == 0 else 2, draw(0, 3)]
    size = max(lengths) + draw(0, 2)
    roles = [k for k in range(labels) if deterministic and draw(0, 3) > 0]
    mask = torch.rand(2, size, size, generator=generator) < 0.7 if masked else None
    graphs = ol.SemanticGraphs(lengths, labels, roles, predicates, arcs=mask, size=size, **options)
    keep = between_words(lengths, size) & (True if mask is None else mask)
    pairs = [[(i, j) for i, j in all_pairs(size) if keep[b, i, j]] for b in range(2)]
    if mask is None:
        every = [(i, j) for i in range(size) for j in range(size)]
        slots = [every, every]
    else:
        most = max(len(p) for p in pairs)
        slots = [[*p, *[None] * (most - len(p))] for p in pairs]
    structures = [
        graph_tensors(lengths[b], labels, roles, predicates, pairs[b], size, slots[b])
        for b in range(2)
    ]
    return graphs, structures


CASES = list(itertools.product(range(6), (True, False), (True, False)))


# ---------------------------------------------------------------------- decoding


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("seed", "predicates", "masked"), CASES)
def test_a_padded_batch_decodes_to_the_best_graphs(seed, predicates, masked, dtype, device):
    graphs, structures = random_set(seed, predicates=predicates, masked=masked)
    assert graphs.num_parts == structures[0].shape[1]
    scores = coarse(30, 2, graphs.num_parts, dtype=dtype).to(device)
    z = ol.decode(graphs, scores)
    assert (z.shape, z.dtype, z.device) == (scores.shape, dtype, scores.device)
    assert graphs.contains(z).all()
    assert torch.equal(graphs.decode(scores), z)
    value = (z.double() * scores.double()).sum(-1).cpu()
    for b, every in enumerate(structures):
        best = (scores[:, b].double().cpu() @ every.T).amax(-1)
        assert torch.equal(value[:, b], best)
        known = {tuple(row) for row in every.tolist()}
        assert all(tuple(row) in known for row in z[:, b].tolist())


@pytest.mark.parametrize("predicates", [True, False])
@pytest.mark.parametrize("roles", [[], [1], [0, 2]])
def test_contains_every_graph_and_nothing_else(roles, predicates):
    graphs = ol.SemanticGraphs(2, 3, roles, predicates)
    used = graphs.free_parts(torch.device("cpu")).nonzero()[:, 0]
    z = torch.zeros(2 ** len(used), graphs.num_parts, dtype=torch.float64)
    z[:, used] = torch.tensor(list(itertools.product((0.0, 1.0), repeat=len(used)))).double()
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    every = graph_tensors(2, 3, roles, predicates, all_pairs(2), 2, pairs)
    found = z[graphs.contains(z)]
    assert {tuple(r) for r in found.tolist()} == {tuple(r) for r in every.tolist()}
    assert not graphs.contains(0.5 * z[-1])
    assert not graphs.contains(torch.full((graphs.num_parts,), torch.nan))
    assert not graphs.contains(torch.ones(graphs.num_parts))


def test_contains_counts_roles_of_a_predicate():
    keep = torch.ones(3, 3, dtype=torch.bool)
    for mask in (None, keep):
        graphs = ol.SemanticGraphs([3, 3], 2, [0], arcs=mask)
        twice, once = [(1, 0, 0), (1, 2, 0)], [(1, 0, 0), (0, 2, 0), (1, 2, 1)]
        assert graphs.contains(graphs.from_arcs([twice, once])).tolist() == [False, True]
        free = ol.SemanticGraphs([3, 3], 2, arcs=mask)
        assert free.contains(free.from_arcs([twice, once])).all()


def best_of_predicate(own, arcs, labels, roles):
    """Value of one predicate by scipy: arguments to roles, or to a column of their own."""
    count, free = len(arcs), [k for k in range(labels.shape[1]) if k not in roles]
    options = [arcs + labels[:, k] for k in free]
    alone = np.maximum(0, np.max([np.full(count, -np.inf), *options], axis=0))
    gains = np.concatenate(
        [arcs[:, None] + labels[:, roles] - alone[:, None], np.zeros((count, count))], 1
    )
    chosen = linear_sum_assignment(gains, maximize=True)
    return max(0.0, own + alone.sum() + gains[chosen].sum())


@pytest.mark.parametrize("roles", [58, 50, 3])
@pytest.mark.parametrize("draw", [torch.randn, coarse])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sentences_of_25_words_against_scipy(roles, draw, dtype):
    lengths, labels = [25, 17, 25], 58
    graphs = ol.SemanticGraphs(lengths, labels, range(labels - roles, labels))
    scores = (draw(3, graphs.num_parts) * 2 - 0.5).to(dtype)
    z = ol.decode(graphs, scores)
    assert graphs.contains(z).all()
    value = (z.double() * scores.double()).sum(-1)
    parts = graphs.unpack(scores.double())
    for b, n in enumerate(lengths):
        arcs, names = parts.arcs[b].reshape(25, 25), parts.labels[b].reshape(25, 25, labels)
        best = 0.0
        for i in range(n):
            others = [j for j in range(n) if j != i]
            own = float(parts.predicates[b, i])
            best += best_of_predicate(
                own,
                arcs[i, others].numpy(),
                names[i, others].numpy(),
                list(range(labels - roles, labels)),
            )
        assert abs(float(value[b]) - best) < TOL[torch.float64] * best


def test_many_arguments_for_few_roles():
    # All arguments want the same roles: every augmenting path is long.
    n, labels = 12, 8
    graphs = ol.SemanticGraphs(n, labels, range(labels), predicates=False)
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        wish = torch.randint(0, 6, (labels,), generator=generator).double()
        names = wish + torch.randint(0, 3, (n, n, labels), generator=generator) / 2
        scores = graphs.pack(arcs=torch.zeros(n, n).double(), labels=names)
        z = ol.decode(graphs, scores)
        assert graphs.contains(z)
        best = 0.0
        for i in range(n):
            others = [j for j in range(n) if j != i]
            table = names[i, others].numpy()
            best += best_of_predicate(0.0, np.zeros(n - 1), table, list(range(labels)))
        assert float((z * scores).sum()) == best


@pytest.mark.parametrize("predicates", [True, False])
def test_the_determinism_polytope_has_the_same_optimum(predicates):
    graphs = ol.SemanticGraphs([5, 4], 4, [0, 1, 3], predicates, relaxation="determinism")
    for draw in (torch.randn, coarse):
        scores = draw(4, 2, graphs.num_parts).double()
        found = ol.decode(graphs, scores)
        by_milp = ol.decode(graphs.relaxation, scores)
        assert graphs.contains(by_milp).all()
        difference = ((found - by_milp) * scores).sum(-1)
        assert difference.abs().max() < TOL[torch.float64]


def test_what_adds_nothing_is_not_chosen():
    graphs = ol.SemanticGraphs(4, 3, [0])
    assert (ol.decode(graphs, torch.zeros(graphs.num_parts)) == 0).all()
    scores = graphs.pack(torch.full((4,), -6.0), torch.zeros(4, 4), torch.ones(4, 4, 3) * 2)
    assert (ol.decode(graphs, scores) == 0).all()  # exactly as much as the predicate costs
    assert (ol.decode(graphs, scores + 1e-3) != 0).any()
    # Two arguments want the one role: what the first choices promise is more than there is.
    one = ol.SemanticGraphs([3], 1, [0])
    scores = one.pack(torch.tensor([-1.0, -3.0, -3.0]), labels=torch.ones(3, 3, 1))
    assert (ol.decode(one, scores) == 0).all()
    assert one.to_arcs(ol.decode(one, scores + 0.01)) == [[(0, 1, 0)]]
    for roles in ([], [0]):
        free = ol.SemanticGraphs(3, 2, roles, predicates=False)
        assert (ol.decode(free, torch.zeros(free.num_parts)) == 0).all()
        on = ol.SemanticGraphs(3, 2, roles)
        z = ol.decode(on, on.pack(predicates=torch.ones(3)))
        assert z.tolist() == [1.0] * 3 + [0.0] * 27


def test_minus_infinity_forbids_a_part():
    graphs = ol.SemanticGraphs(3, 2, [1])
    labels = torch.ones(3, 3, 2)
    labels[0, 1] = -torch.inf
    labels[0, 2, 0] = -torch.inf
    arcs = torch.ones(3, 3)
    arcs[1, 0] = -torch.inf
    scores = graphs.pack(torch.tensor([1.0, 1.0, -torch.inf]), arcs, labels)
    assert graphs.to_arcs(ol.decode(graphs, scores)) == [[(0, 2, 1), (1, 2, 0)]]


def test_answers_do_not_depend_on_threads_or_neighbours():
    graphs = ol.SemanticGraphs([12] * 40, 20, range(15))
    scores = torch.randint(-3, 4, (40, graphs.num_parts)) / 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = ol.decode(graphs, scores)
        torch.set_num_threads(3)
        assert torch.equal(ol.decode(graphs, scores), expected)
    finally:
        torch.set_num_threads(threads)
    alone = ol.SemanticGraphs(12, 20, range(15))
    assert torch.equal(ol.decode(alone, scores[7]), expected[7])


def test_a_bad_sentence_costs_nothing_else():
    graphs = ol.SemanticGraphs([2, 2, 2, 2], 2, [0])
    scores = torch.randn(4, graphs.num_parts)
    scores[1, 0] = torch.nan  # a predicate
    scores[2, 2 + 3] = torch.inf  # the arc from 0 to 1
    scores[3, 2 + 3 + 2] = torch.nan  # its label 1
    with pytest.raises(ol.InputError, match=r"Instance 1: its scores are not finite"):
        ol.decode(graphs, scores)
    with pytest.raises(ol.InputError, match=r"Sentence 1: its scores are not finite"):
        graphs.decode(scores)
    z, status = ol.decode(graphs, scores, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False, False, False]
    assert z[1:].isnan().all()
    assert graphs.contains(z).tolist() == [True, False, False, False]
    assert torch.equal(z[0], ol.decode(ol.SemanticGraphs(2, 2, [0]), scores[0]))
    huge = torch.full((4, graphs.num_parts), 1.5e308, dtype=torch.float64)  # sums overflow
    with pytest.raises(ol.InputError, match="not finite"):
        ol.decode(graphs, huge)
    assert ol.decode(graphs, 0.1 * huge).isfinite().all()


def test_padding_may_hold_anything():
    keep = torch.rand(2, 3, 3) < 0.6
    for mask, roles in itertools.product((None, keep), ([], [0])):
        graphs = ol.SemanticGraphs([3, 2], 2, roles, arcs=mask)
        free = graphs.free_parts(torch.device("cpu"))
        scores = coarse(2, graphs.num_parts)
        z = ol.decode(graphs, scores)
        for junk in (torch.nan, torch.inf, -torch.inf, 1e30):
            spoiled = torch.where(free, scores, junk).requires_grad_()
            assert torch.equal(ol.decode(graphs, spoiled), z)
            for projection in ("exact", "sequential"):
                same = ol.SemanticGraphs([3, 2], 2, roles, arcs=mask, projection=projection)
                assert (ol.project(same, spoiled)[~free] == 0).all()
                assert torch.equal(ol.project(same, spoiled), ol.project(same, scores))
            loss = ol.structured_hinge(graphs, spoiled, z) + ol.project(graphs, spoiled).sum()
            loss = loss + ol.structured_argmax(graphs, spoiled).sum()
            if not roles:
                assert torch.equal(graphs.marginals(spoiled), graphs.marginals(scores))
                loss = loss + ol.log_loss(graphs, spoiled, z)
            loss.backward()
            assert spoiled.grad is not None
            assert loss.isfinite()
            assert spoiled.grad.isfinite().all()
            assert (spoiled.grad[~free] == 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_hinge_loss_with_costs_against_all_graphs(seed):
    graphs, structures = random_set(seed, predicates=True, masked=True)
    scores = coarse(2, graphs.num_parts)
    gold = torch.stack([every[torch.randint(len(every), ())] for every in structures])
    costs = torch.where(torch.rand(graphs.num_parts) < 0.5, 0.5, 0.0).double()
    found = ol.structured_hinge(graphs, scores, gold, (costs, 0.25), reduction="none")
    for b, every in enumerate(structures):
        cost = (costs * every * (1 - gold[b]) + 0.25 * (1 - every) * gold[b]).sum(-1)
        expected = (every @ scores[b] + cost).max() - gold[b] @ scores[b]
        assert abs(float(found[b] - expected)) < TOL[torch.float64]


# ---------------------------------------------------------------------- sums over all graphs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("seed", "predicates", "masked"), CASES)
def test_sums_against_all_graphs(seed, predicates, masked, dtype, device):
    graphs, structures = random_set(seed, predicates=predicates, masked=masked, deterministic=False)
    scores = (2 * torch.randn(2, graphs.num_parts, dtype=dtype)).to(device).requires_grad_()
    log_z, mu = graphs.log_partition(scores), graphs.marginals(scores)
    assert (log_z.dtype, mu.dtype, log_z.shape) == (dtype, dtype, (2,))
    (grad,) = torch.autograd.grad(log_z.sum(), scores)
    log_z, mu = log_z.detach(), mu.detach()
    for b, every in enumerate(structures):
        values = every @ scores[b].detach().cpu().double()
        assert abs(float(log_z[b]) - float(values.logsumexp(0))) < 10 * TOL[dtype]
        expected = values.softmax(0) @ every
        for found in (mu[b], grad[b]):
            assert (found.cpu().double() - expected).abs().max() < TOL[dtype]
    assert (mu[:, ~graphs.free_parts(torch.device("cpu")).any(0)] == 0).all()


@pytest.mark.parametrize("predicates", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_sums_are_differentiable_twice(predicates, masked):
    mask = between_words([3, 2], 3) & (torch.rand(2, 3, 3) < 0.7) if masked else None
    graphs = ol.SemanticGraphs([3, 2], 2, None, predicates, arcs=mask)
    scores = torch.randn(2, graphs.num_parts, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(graphs.log_partition, scores)
    assert torch.autograd.gradgradcheck(graphs.log_partition, scores)
    assert torch.autograd.gradcheck(graphs.marginals, scores)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_extreme_scores(dtype):
    graphs = ol.SemanticGraphs(3, 2)
    scores = torch.randn(graphs.num_parts, dtype=dtype)
    used = graphs.free_parts(torch.device("cpu")).nonzero()[:, 0]
    for value in (-torch.inf, 1e4, -1e4):
        for part in used.tolist():
            spoiled = scores.clone()
            spoiled[part] = value
            spoiled.requires_grad_()
            log_z, mu = graphs.log_partition(spoiled), graphs.marginals(spoiled)
            first = torch.autograd.grad(log_z, spoiled, create_graph=True)[0]
            second = torch.autograd.grad(first.square().sum() + mu.square().sum(), spoiled)[0]
            assert log_z.isfinite()
            assert second.isfinite().all()
            assert (first - mu).abs().max() < TOL[dtype]
            assert mu[part] == 0 if value < 0 else mu[part] > 0.99
    nothing = torch.full((graphs.num_parts,), -torch.inf, dtype=dtype)
    assert graphs.log_partition(nothing) == 0
    assert (graphs.marginals(nothing) == 0).all()


def test_sums_in_half_precision():
    graphs = ol.SemanticGraphs([3, 2], 2)
    scores = torch.randn(2, graphs.num_parts).to(torch.bfloat16)
    assert graphs.log_partition(scores).dtype == torch.bfloat16
    mu = graphs.marginals(scores)
    assert torch.equal(mu, graphs.marginals(scores.float()).to(torch.bfloat16))


# ---------------------------------------------------------------------- projecting


def sequential_rule(slot):
    """The two stages in plain Python: cut the arc, then its labels onto that sum."""
    arc, labels = slot[0], slot[1:]
    if arc <= 0:
        return [0.0] * len(slot)
    arc = min(arc, 1.0)
    ordered, tau = sorted(labels, reverse=True), 0.0
    for count in range(len(ordered), 0, -1):
        tau = (sum(ordered[:count]) - arc) / count
        if ordered[count - 1] > tau:
            break
    return [arc, *(max(label - tau, 0.0) for label in labels)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [True, False])
def test_the_sequential_rule_step_by_step(masked, dtype, device):
    mask = torch.rand(2, 4, 4) < 0.7 if masked else None
    graphs = ol.SemanticGraphs([4, 3], 5, arcs=mask, projection="sequential")
    free = graphs.free_parts(torch.device("cpu"))
    for draw in (torch.randn, coarse):
        y = draw(2, graphs.num_parts).to(dtype)
        z = ol.project(graphs, y.to(device)).cpu().double()
        expected = torch.zeros(2, graphs.num_parts, dtype=torch.float64)
        expected[:, :4] = y[:, :4].clamp(0, 1)
        rows = [sequential_rule(row) for row in y[:, 4:].double().reshape(-1, 6).tolist()]
        expected[:, 4:] = torch.tensor(rows, dtype=torch.float64).reshape(2, -1)
        assert (z - torch.where(free, expected, 0)).abs().max() < TOL[dtype]
        assert (z[~free] == 0).all()


@pytest.mark.parametrize("arc", [1e-30, 1e-6, 1.0, 3.0])
def test_the_sequential_rule_for_tiny_and_large_arcs(arc):
    graphs = ol.SemanticGraphs(2, 3, projection="sequential")
    y = graphs.pack(arcs=torch.full((2, 2), arc), labels=torch.randn(2, 2, 3) * 100)
    y.requires_grad_()
    z = ol.project(graphs, y)
    parts = graphs.unpack(z)
    assert torch.allclose(parts.labels.sum(-1), parts.arcs, rtol=1e-4, atol=0)
    assert float(parts.arcs.detach().max()) == pytest.approx(min(arc, 1.0))
    z.sum().backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("projection", ["exact", "sequential"])
def test_projections_onto_label_sums_have_exact_derivatives(projection):
    graphs = ol.SemanticGraphs([3, 2], 4, projection=projection)
    y = torch.randn(2, graphs.num_parts, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: ol.project(graphs, v), y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("predicates", "masked"), list(itertools.product((True, False), repeat=2)))
def test_the_exact_projection_is_that_of_the_relaxation(predicates, masked, dtype, device):
    mask = torch.rand(3, 4, 4) < 0.6 if masked else None
    graphs = ol.SemanticGraphs([4, 3, 0], 3, [0], predicates, arcs=mask)
    free = graphs.free_parts(torch.device("cpu"))
    for draw in (torch.randn, coarse):
        y = draw(2, 3, graphs.num_parts).to(dtype)
        z = ol.project(graphs, y.to(device)).cpu()
        assert (z[:, ~free] == 0).all()
        assert (z - ol.project(graphs.relaxation, y)).abs().max() < TOL[dtype]
        for solver in ("osqp", "cvxpy"):
            exact = exact_projection(graphs.relaxation, y, solver)
            assert (z.double() - exact).abs().max() < max(10 * QP_TOL, TOL[dtype])


@pytest.mark.parametrize("relaxation", ["arc-predicate", "determinism"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_other_relaxations_project_by_their_rows(relaxation, shared):
    lengths, mask = ([3, 3], torch.rand(3, 3) < 0.7) if shared else ([3, 2], None)
    graphs = ol.SemanticGraphs(lengths, 3, [0, 2], arcs=mask, relaxation=relaxation)
    y = torch.randn(2, graphs.num_parts, dtype=torch.float64)
    z = ol.project(graphs, y)
    exact = exact_projection(graphs.relaxation, y, "cvxpy")
    assert (z - exact).abs().max() < 10 * QP_TOL
    parts = graphs.unpack(z)
    for (b, k), pair in zip(
        itertools.product(range(2), range(graphs.num_slots)),
        graphs.arc_index.reshape(-1, 2).tolist(),
        strict=True,
    ):
        if pair[0] >= 0:
            assert parts.arcs[b, k] <= parts.predicates[b, pair[0]] + QP_TOL
    assert ol.validate(graphs.relaxation, samples=2, against=("osqp", "cvxpy")).ok


@pytest.mark.parametrize(
    ("relaxation", "predicates"),
    [
        ("label-sum", True),
        ("label-sum", False),
        ("arc-predicate", True),
        ("determinism", True),
        ("determinism", False),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_relaxations_hold_all_graphs(seed, relaxation, predicates):
    graphs, structures = random_set(seed, predicates=predicates, masked=False)
    roles = graphs.deterministic or (0,)
    graphs = ol.SemanticGraphs(
        graphs.lengths,
        graphs.num_labels,
        roles,
        predicates,
        relaxation=relaxation,
        size=graphs.size,
    )
    outer = graphs.relaxation
    for b, every in enumerate(structures):
        z = every[graphs.contains(every[:, None].expand(-1, 2, -1))[:, b]]
        assert len(z) > 0
        assert (outer.A @ z.T.numpy() <= outer.b.numpy()[:, None]).all()
        assert (outer.A_eq @ z.T.numpy() == outer.b_eq.numpy()[:, None]).all()
        assert (z <= outer.upper.expand(2, -1)[b]).all()


def test_relaxations_differ_by_what_they_say():
    def inside(relaxation, z, **options):
        graphs = ol.SemanticGraphs(3, 2, [0], relaxation=relaxation, **options)
        return bool((ol.project(graphs, z) - z).abs().max() < 1e-6)

    graphs = ol.SemanticGraphs(3, 2, [0])
    twice = graphs.from_arcs([[(0, 1, 0), (0, 2, 0)]])
    alone = twice.clone()
    alone[:3] = 0
    names = ("label-sum", "arc-predicate", "determinism")
    assert [inside(name, twice) for name in names] == [True, True, False]
    assert [inside(name, alone) for name in names] == [True, False, False]
    assert not inside("determinism", twice[3:], predicates=False)
    assert inside("determinism", 0.5 * twice[3:], predicates=False)


def test_sentences_share_rows_where_they_share_slots():
    mask = torch.rand(4, 4) < 0.5
    one = ol.SemanticGraphs(4, 2, [0], arcs=mask, relaxation="determinism")
    y = torch.randn(3, one.num_parts, dtype=torch.float64)
    dense = ol.SemanticGraphs(4, 2, [0], relaxation="determinism")
    parts = one.unpack(y)
    spread = torch.full((3, dense.num_parts), -5.0, dtype=torch.float64)
    spread[:, :4] = parts.predicates
    at = (one.arc_index[:, 0] * 4 + one.arc_index[:, 1])[:, None] * 3 + torch.arange(3) + 4
    spread[:, at.flatten()] = y[:, 4:]
    allowed = torch.zeros(dense.num_parts)
    allowed[:4] = allowed[at.flatten()] = 1
    same = dense.relaxation.with_(upper=allowed.double())
    found = ol.project(same, spread)
    assert (found[:, at.flatten()] - ol.project(one, y)[:, 4:]).abs().max() < QP_TOL
    assert "0->" in " ".join(one.part_names) or not mask[0, 1:].any()
    assert len(one.part_names) == one.num_parts


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("masked", [True, False])
def test_spigot_of_a_batch_is_the_exact_qp_of_each_sentence(masked):
    lengths = [6, 1, 4, 0, 5]
    mask = torch.rand(5, 6, 6) < 0.4 if masked else None
    graphs = ol.SemanticGraphs(lengths, 4, [0, 1], arcs=mask)
    free = graphs.free_parts(torch.device("cpu"))
    scores = torch.randn(5, graphs.num_parts, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(5, graphs.num_parts, dtype=torch.float64)
    z = ol.structured_argmax(graphs, scores, ol.SPIGOT(eta=0.7, around="vertex"))
    z.backward(grad)
    assert scores.grad is not None
    assert (scores.grad[~free] == 0).all()
    y = z.detach() - 0.7 * grad
    for b in range(5):
        own = torch.where(free[b, :6], y[b, :6].clamp(0, 1), 0)
        assert (scores.grad[b, :6] - (z[b, :6] - own)).abs().max() < TOL[torch.float64]
        kept = graphs.arc_mask[b].nonzero()[:, 0]
        if len(kept):
            rows = [v[b, 6:].reshape(-1, 5)[kept].flatten() for v in (y, z.detach(), scores.grad)]
            exact = exact_projection(ol.label_sum(len(kept), 4), rows[0], "osqp")
            assert (rows[2] - (rows[1] - exact)).abs().max() < 10 * QP_TOL


def test_every_surrogate_leaves_pruned_parts_alone():
    mask = torch.rand(2, 4, 4) < 0.5
    surrogates = [ol.StraightThrough(), ol.SPIGOT(ol.NormClip(1.0), around="vertex")]
    surrogates += [ol.SPIGOT(around=a) for a in ("vertex", "projection", "marginals")]
    for arcs, surrogate in itertools.product((None, mask), surrogates):
        graphs = ol.SemanticGraphs([4, 2], 3, arcs=arcs)
        scores = torch.randn(2, graphs.num_parts, requires_grad=True)
        layer = ol.StructuredArgmax(surrogate=surrogate)
        layer(scores, graphs).backward(torch.randn(2, graphs.num_parts))
        assert scores.grad is not None
        assert (scores.grad[~graphs.free_parts(scores.device)] == 0).all()
        assert (scores.grad != 0).any()


def test_diagnostics_of_a_layer_over_graphs():
    layer = ol.StructuredArgmax(surrogate=ol.SPIGOT(around="vertex"), diagnostics=True)
    graphs = ol.SemanticGraphs([4, 2], 3, [0])
    scores = torch.randn(2, graphs.num_parts, requires_grad=True)
    layer(scores, graphs).backward(torch.randn(2, graphs.num_parts))
    assert set(layer.diagnose()) >= {"cone_share", "cosine"}


@pytest.mark.filterwarnings("ignore")  # the compiler warns about itself
def test_a_compiled_layer_runs():
    torch.compiler.reset()
    layer = ol.StructuredArgmax(surrogate=ol.SPIGOT(around="vertex"))
    graphs = ol.SemanticGraphs([3, 2], 3, [0, 1])
    scores = torch.randn(2, graphs.num_parts, requires_grad=True)
    expected = layer(scores, graphs)
    (gradient,) = torch.autograd.grad(expected.square().sum(), scores)
    found = torch.compile(layer, backend="aot_eager")(scores, graphs)
    assert torch.equal(found, expected)
    found.square().sum().backward()
    assert scores.grad is not None
    assert torch.equal(scores.grad, gradient)


# ---------------------------------------------------------------------- layouts


@pytest.mark.parametrize("predicates", [True, False])
def test_the_sparse_layout_is_the_dense_one_without_pruned_arcs(predicates):
    lengths, mask = [5, 3], torch.rand(2, 5, 5) < 0.5
    sparse = ol.SemanticGraphs(lengths, 3, [0], predicates, arcs=mask)
    dense = ol.SemanticGraphs(lengths, 3, [0], predicates)
    own = {"predicates": torch.randn(2, 5)} if predicates else {}
    arcs, labels = torch.randn(2, 5, 5), torch.randn(2, 5, 5, 3)
    few = sparse.pack(**own, arcs=arcs, labels=labels).requires_grad_()
    forbidden = torch.where(mask, arcs, -torch.inf)
    many = dense.pack(**own, arcs=forbidden, labels=labels).requires_grad_()
    first, second = (ol.decode(*v) for v in ((sparse, few), (dense, many)))
    assert sparse.to_arcs(first) == dense.to_arcs(second)
    if predicates:
        assert torch.equal(sparse.unpack(first).predicates, dense.unpack(second).predicates)
    grad = sparse.pack(**own, arcs=arcs.roll(1), labels=labels.roll(1))
    ol.structured_argmax(sparse, few).backward(grad)
    ol.structured_argmax(dense, many).backward(
        dense.pack(**own, arcs=arcs.roll(1), labels=labels.roll(1))
    )
    again = sparse.pack(
        **({"predicates": dense.unpack(many.grad).predicates} if predicates else {}),
        arcs=dense.unpack(many.grad).arcs.reshape(2, 5, 5),
        labels=dense.unpack(many.grad).labels.reshape(2, 5, 5, 3),
    )
    assert (few.grad - again).abs().max() < TOL[torch.float32]
    assert sparse.num_slots == int((mask & between_words(lengths, 5)).flatten(1).sum(1).max())


def test_slots_of_a_mask():
    mask = torch.zeros(2, 3, 3, dtype=torch.bool)
    mask[0, 2, 0] = mask[0, 0, 1] = mask[0, 1, 1] = True  # a self-loop
    mask[1, 1, 0] = mask[1, 2, 0] = True  # one of them beyond the length
    graphs = ol.SemanticGraphs([3, 2], 2, arcs=mask)
    assert graphs.num_slots == 2
    assert graphs.arc_index.tolist() == [[[0, 1], [2, 0]], [[1, 0], [-1, -1]]]
    assert graphs.arc_mask.tolist() == [[True, True], [True, False]]
    dense = ol.SemanticGraphs([3, 2], 2)
    assert dense.arc_index.shape == (2, 9, 2)
    assert dense.arc_index[1].tolist() == [
        [i, j] if i != j and max(i, j) < 2 else [-1, -1] for i in range(3) for j in range(3)
    ]
    assert (graphs.num_parts, dense.num_parts) == (3 + 2 * 3, 3 + 9 * 3)


def test_a_mask_brings_its_own_batch():
    mask = torch.rand(4, 3, 3) < 0.5
    graphs = ol.SemanticGraphs(3, 2, arcs=mask)
    assert graphs.batch_shape == (4,)
    assert ol.decode(graphs, torch.randn(4, graphs.num_parts)).shape == (4, graphs.num_parts)
    shared = ol.SemanticGraphs([[3, 2, 1]], 2, arcs=mask[0].tolist())
    assert shared.batch_shape == (1, 3)
    z = ol.decode(shared, torch.randn(5, 1, 3, shared.num_parts))
    assert shared.contains(z).shape == (5, 1, 3)


def test_pack_and_unpack():
    for mask in (None, torch.rand(2, 3, 3) < 0.6):
        graphs = ol.SemanticGraphs([3, 3], 2, arcs=mask)
        own, arcs, labels = torch.randn(2, 3), torch.randn(2, 3, 3), torch.randn(2, 3, 3, 2)
        scores = graphs.pack(own, arcs, labels)
        parts = graphs.unpack(scores)
        assert torch.equal(parts.predicates, own)
        for b, k in graphs.arc_mask.nonzero().tolist():
            i, j = graphs.arc_index[b, k].tolist()
            assert parts.arcs[b, k] == arcs[b, i, j]
            assert torch.equal(parts.labels[b, k], labels[b, i, j])
        assert parts.arcs.data_ptr() == scores[0, 3:].data_ptr()  # a view
        assert torch.equal(graphs.pack(*parts), scores)
        rest = graphs.pack(arcs=arcs[0])  # for all sentences; the others are zero
        assert (graphs.unpack(rest).labels == 0).all()
        assert rest.shape == (2, graphs.num_parts)
        assert (graphs.unpack(graphs.pack(predicates=own)).arcs == 0).all()
        assert graphs.pack(labels=labels.expand(4, 2, 3, 3, 2)).shape == (4, 2, graphs.num_parts)


def test_pack_tells_slots_from_pairs():
    mask = torch.zeros(3, 3, 3, dtype=torch.bool)
    mask[:, 0, 1] = mask[:, 1, 2] = mask[:, 2, 0] = True
    graphs = ol.SemanticGraphs([3, 3, 3], 1, arcs=mask)  # as many slots as words and sentences
    arcs = torch.arange(9.0).reshape(3, 3)
    assert torch.equal(graphs.unpack(graphs.pack(arcs=arcs)).arcs, arcs)
    by_pair = graphs.pack(arcs=arcs.expand(3, 3, 3))
    assert graphs.unpack(by_pair).arcs.tolist() == [[1.0, 5.0, 6.0]] * 3
    alone = ol.SemanticGraphs(3, 1, arcs=mask[0])
    assert alone.unpack(alone.pack(arcs=arcs)).arcs.tolist() == [1.0, 5.0, 6.0]


def test_packing_is_differentiable():
    for mask in (None, torch.rand(2, 3, 3) < 0.5):
        graphs = ol.SemanticGraphs([3, 2], 2, arcs=mask)
        shapes = ((2, 3), (2, 3, 3), (2, 3, 3, 2))
        parts = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in shapes]
        assert torch.autograd.gradcheck(graphs.pack, parts)


@pytest.mark.parametrize("predicates", [True, False])
def test_graphs_as_lists(predicates):
    lists = [[(0, 1, 2), (2, 1, 0), (2, 3, 0)], [], [(1, 0, 1)]]
    mask = torch.zeros(3, 4, 4, dtype=torch.bool)
    mask[0, 2, 1] = mask[0, 0, 1] = mask[0, 2, 3] = mask[2, 1, 0] = mask[2, 0, 1] = True
    for arcs in (None, mask):
        graphs = ol.SemanticGraphs([4, 3, 2], 3, None, predicates, arcs=arcs)
        z = graphs.from_arcs(lists, dtype=torch.float64)
        assert (z.shape, z.dtype) == ((3, graphs.num_parts), torch.float64)
        assert graphs.contains(z).all()
        assert [sorted(found) for found in graphs.to_arcs(z)] == lists
        if predicates:
            assert graphs.unpack(z).predicates.tolist() == [[1, 0, 1, 0], [0] * 4, [0, 1, 0, 0]]
    assert graphs.from_arcs([[], [], []]).sum() == 0
    nested = ol.SemanticGraphs([[4, 3, 2]], 3, None, predicates)
    assert nested.from_arcs(lists).shape == (1, 3, nested.num_parts)
    alone = ol.SemanticGraphs(4, 3, None, predicates)
    assert alone.to_arcs(alone.from_arcs(lists[:1])) == lists[:1]


def test_gold_arcs_that_were_pruned():
    mask = torch.ones(1, 3, 3, dtype=torch.bool)
    mask[0, 0, 2] = False
    graphs = ol.SemanticGraphs([3], 2, arcs=mask)
    gold = [[(0, 1, 0), (0, 2, 1), (2, 1, 1)]]
    with pytest.raises(ol.InputError, match=r"arc \(0, 2, 1\) of sentence 0 was pruned"):
        graphs.from_arcs(gold)
    kept = graphs.to_arcs(graphs.from_arcs(gold, missing="drop"))
    assert kept == [[(0, 1, 0), (2, 1, 1)]]


def test_copies_and_pickles():
    graphs = ol.SemanticGraphs([3, 2], 2, [0], arcs=torch.ones(3, 3, dtype=torch.bool))
    scores = torch.randn(2, graphs.num_parts)
    assert graphs.relaxation.n == graphs.num_parts
    for other in (copy.deepcopy(graphs), pickle.loads(pickle.dumps(graphs))):
        assert torch.equal(other.decode(scores), graphs.decode(scores))
    assert repr(graphs) == (
        "SemanticGraphs(n=3, labels=2, batch=(2,), slots=6, deterministic=1, 'label-sum')"
    )
    assert repr(ol.SemanticGraphs(2, 1, predicates=False, projection="sequential")) == (
        "SemanticGraphs(n=2, labels=1, no predicates, sequential, 'label-sum')"
    )


@pytest.mark.parametrize("predicates", [True, False])
def test_sets_without_words_or_arcs(predicates):
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    for lengths, options in (
        ([], {}),
        ([0, 0], {}),
        ([3, 1], {"arcs": nothing}),
        ([0, 0], {"arcs": nothing[:0, :0]}),
        ([], {"arcs": nothing, "size": 3}),
    ):
        for projection in ("exact", "sequential"):
            graphs = ol.SemanticGraphs(
                lengths, 2, None, predicates, projection=projection, **options
            )
            scores = torch.randn(len(lengths), graphs.num_parts, requires_grad=True)
            z = ol.structured_argmax(graphs, scores)
            z.backward(torch.ones_like(z))
            assert graphs.contains(z).tolist() == [True] * len(lengths)
            assert graphs.to_arcs(z) == [[] for _ in lengths]
            assert graphs.from_arcs(graphs.to_arcs(z)).shape == z.shape
            assert graphs.log_partition(scores).shape == (len(lengths),)
            assert graphs.marginals(scores).shape == scores.shape
            assert ol.SemanticGraphs(lengths, 2, [0], predicates, **options).contains(z).all()


def test_deterministic_labels_may_be_booleans():
    for roles in ([0, 2], (2, 0, 2), torch.tensor([0, 2]), [True, False, True]):
        assert ol.SemanticGraphs(2, 3, roles).deterministic == (0, 2)
    assert ol.SemanticGraphs(2, 3, torch.tensor([True, False, True])).deterministic == (0, 2)
    for none in (None, [], [False] * 3):
        assert ol.SemanticGraphs(2, 3, none).deterministic == ()


# ---------------------------------------------------------------------- memory


MEMORY = """
import resource, sys, torch, optlayers as ol
def run(n, batch):
    torch.manual_seed(0)
    graphs = ol.SemanticGraphs([n] * batch, 58, range(50))
    scores = torch.randn(batch, graphs.num_parts, requires_grad=True)
    z = ol.structured_argmax(graphs, scores, ol.SPIGOT(1.0, around="vertex"))
    z.backward(torch.randn_like(z))
run(4, 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(60, 16)
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / 2**30)
"""


@pytest.mark.slow
def test_sixty_words_fit_in_memory():
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1.0  # GiB; the scores themselves are 0.013


# ---------------------------------------------------------------------- real graphs


def read_sdp(path):
    """Lengths, triples with label names, and predicates, of a file in the format of SDP 2015."""
    sentences = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if line and line[0] != "#"]
        if rows:
            heads = [i for i, row in enumerate(rows) if row[5] == "+"]
            arcs = [
                (heads[k], j, label)
                for j, row in enumerate(rows)
                for k, label in enumerate(row[7:])
                if label != "_"
            ]
            sentences.append((len(rows), arcs, heads))
    return sentences


FILES = {
    "sdp/wsj89.dm.sdp": (89, 1478, 23, 22),
    "sdp/wsj89.psd.sdp": (89, 1257, 54, 34),
    "up_ewt/en_ewt-up-train.sdp": (12524, None, 58, 31),
    "up_ewt/en_ewt-up-dev.sdp": (1968, None, 44, 29),
}


@pytest.mark.parametrize("name", FILES)
def test_gold_graphs_are_feasible_and_recovered(data_dir, name):
    sentences = read_sdp(data_dir / name)
    names = sorted({label for _, arcs, _ in sentences for *_, label in arcs})
    number = {label: k for k, label in enumerate(names)}
    gold = [[(i, j, number[label]) for i, j, label in arcs] for _, arcs, _ in sentences]
    roles = ol.deterministic_labels(gold, len(names))
    count, arcs, labels, deterministic = FILES[name]
    assert (len(sentences), len(names), len(roles)) == (count, labels, deterministic)
    assert arcs in (None, sum(map(len, gold)))
    for label in range(len(names)):
        seen = Counter((b, i) for b, graph in enumerate(gold) for i, _, k in graph if k == label)
        assert (label in roles) == (max(seen.values()) == 1)
    order = sorted(range(count), key=lambda b: sentences[b][0])
    for start in range(0, count, 256):
        chosen = order[start : start + 256]
        lists = [sorted(gold[b]) for b in chosen]
        lengths = [sentences[b][0] for b in chosen]
        mask = None
        if max(lengths) > 12:  # the dense layout of long sentences is large
            size = max(lengths)
            mask = torch.zeros(len(chosen), size, size, dtype=torch.bool)
            for b, graph in enumerate(lists):
                for i, j, _ in graph:
                    mask[b, i, j] = mask[b, j, i] = True
        graphs = ol.SemanticGraphs(lengths, len(names), roles, arcs=mask)
        z = graphs.from_arcs(lists)
        assert graphs.contains(z).all()
        for b, own in zip(chosen, graphs.unpack(z).predicates, strict=True):
            assert own.nonzero()[:, 0].tolist() == sentences[b][2]
        found = ol.decode(graphs, 2 * z - 1)
        assert torch.equal(found, z)
        assert graphs.to_arcs(found) == lists


@pytest.mark.slow
def test_gold_graphs_of_psd_in_the_dense_layout(data_dir):
    sentences = read_sdp(data_dir / "sdp/wsj89.psd.sdp")
    names = sorted({label for _, arcs, _ in sentences for *_, label in arcs})
    gold = [[(i, j, names.index(k)) for i, j, k in arcs] for _, arcs, _ in sentences]
    roles = ol.deterministic_labels(gold, len(names))
    graphs = ol.SemanticGraphs([n for n, *_ in sentences], len(names), roles)
    z = graphs.from_arcs(gold)
    assert graphs.contains(z).all()
    assert torch.equal(ol.decode(graphs, 2 * z - 1), z)


def test_labels_that_occur_once_per_predicate():
    graphs = [[(0, 1, 0), (0, 2, 1), (0, 3, 1), (1, 2, 2)], [], [(1, 0, 0), (2, 0, 0)]]
    assert ol.deterministic_labels(graphs, 4) == [0, 2]  # label 3 never occurs
    assert ol.deterministic_labels(graphs, 4, min_count=2) == [0]
    assert ol.deterministic_labels([], 4) == []


# ---------------------------------------------------------------------- errors


def small(**options):
    return ol.SemanticGraphs([3, 2], 2, **options)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ol.SemanticGraphs([3, -1], 2), "must not be negative. Got -1"),
        (lambda: ol.SemanticGraphs([2.5], 2), "`lengths` must be integers"),
        (lambda: ol.SemanticGraphs(3, 0), "`labels` must be a positive number of labels. Got 0"),
        (lambda: ol.SemanticGraphs(3, 2.0), "`labels` must be a positive number"),
        (lambda: small(size=2), "`size` must be at least the longest length, 3"),
        (lambda: small(deterministic=[2]), "from 0 to 1, or booleans"),
        (lambda: small(deterministic=[-1]), "`deterministic` must be numbers of labels"),
        (lambda: small(deterministic=[True]), r"booleans of shape \(2,\)"),
        (lambda: small(relaxation="eq6"), "`relaxation` must be one of"),
        (lambda: small(projection="fast"), "`projection` must be 'exact' or 'sequential'"),
        (lambda: small(relaxation="determinism"), "needs deterministic labels"),
        (lambda: small(relaxation="arc-predicate", predicates=False), "needs predicates=True"),
        (
            lambda: small(relaxation="arc-predicate", projection="sequential"),
            "rule for relaxation='label-sum' alone",
        ),
        (lambda: small(arcs=torch.ones(3, 3)), r"`arcs` must be booleans of shape \(\.\.\., 3, 3"),
        (lambda: small(arcs=torch.ones(2, 2) > 0), "`arcs` must be booleans"),
        (lambda: small(arcs=torch.ones(5, 3, 3) > 0), "does not broadcast against"),
        (
            lambda: small(arcs=torch.ones(3, 3) > 0, relaxation="arc-predicate").relaxation,
            "Use relaxation='label-sum', or 'hull'",
        ),
        (lambda: small(arcs=torch.ones(3, 3) > 0).part_names, "no rows in common"),
        (
            lambda: small().decode(torch.zeros(2, 5)),
            r"must have shape \(\.\.\., 30\): 3 predicates",
        ),
        (lambda: small().decode(torch.zeros(30)), r"must be that of the set, \(2,\). Got \(\)"),
        (lambda: small().decode(torch.zeros(3, 30)), r"Got \(3,\)"),
        (lambda: small().decode(torch.zeros(2, 30).long()), "`scores` must be a tensor of floats"),
        (lambda: small().contains([1.0]), "`z` must be a tensor of floats. Got list"),
        (lambda: ol.project(small(), torch.zeros(2, 5)), "`y` must have shape"),
        (lambda: small().pack(), "`pack` needs scores"),
        (
            lambda: small(predicates=False).pack(predicates=torch.zeros(2, 3)),
            "`predicates` are no parts of this set",
        ),
        (lambda: small().pack(torch.zeros(2, 4)), r"`predicates` must have shape \(\.\.\., 3\)"),
        (lambda: small().pack(arcs=torch.zeros(2, 3, 2)), r"`arcs` must have shape \(\.\.\., 3, 3"),
        (lambda: small().pack(labels=torch.zeros(2, 3, 3)), r"\(\.\.\., 3, 3, 2\), predicates by"),
        (lambda: small().pack(torch.zeros(5, 3)), "do not broadcast"),
        (
            lambda: small(arcs=torch.ones(3, 3) > 0).pack(arcs=torch.zeros(5, 3, 3)),
            "do not broadcast",
        ),
        (
            lambda: small(arcs=torch.eye(3).roll(1, 1) > 0).pack(arcs=torch.zeros(5, 3, 3)),
            r"of the scores, \(5,\), and the batch of the set, \(2,\), do not broadcast",
        ),
        (lambda: small().from_arcs([[]]), "`graphs` must hold 2 sentences. Got 1"),
        (lambda: small().from_arcs([[], []], missing="no"), "`missing` must be 'raise' or 'drop'"),
        (lambda: small().from_arcs([[(0, 1)], []]), r"triples \(predicate, argument, label\)"),
        (lambda: small().from_arcs([[(0, 1, 0.5)], []]), "triples"),
        (lambda: small().from_arcs([[], [(0, 2, 0)]]), r"arc \(0, 2, 0\) of sentence 1, with 2 w"),
        (lambda: small().from_arcs([[(0, 1, 2)], []]), "a label that does not exist"),
        (lambda: small().from_arcs([[(1, 1, 0)], []]), "leads from a word to itself"),
        (lambda: small().from_arcs([[(0, 1, 0), (0, 1, 1)], []]), "an arc has one label"),
        (
            lambda: small(deterministic=[0]).log_partition(torch.zeros(2, 30)),
            r"permanent for every predicate, which is #P-hard \(Valiant, 1979\)",
        ),
        (lambda: small(deterministic=[0]).marginals(torch.zeros(2, 30)), "there are no marginals"),
        (lambda: ol.deterministic_labels([[(0, 1, 3)]], 3), "from 0 to 2. Got 3 in sentence 0"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ol.InputError, match=match):
        call()


def test_indicator_weighs_kinds_of_parts():
    graphs = ol.SemanticGraphs([2, 1], labels=3)
    parts = graphs.unpack(graphs.indicator("labels").expand(2, -1))
    assert (parts.labels == 1).all()
    assert (parts.arcs == 0).all()
    assert parts.predicates is not None
    assert (parts.predicates == 0).all()
    assert graphs.indicator("predicates", "arcs").sum() == 2 + 4
    assert ol.SemanticGraphs(2, 3, predicates=False).indicator("predicates").sum() == 0
    with pytest.raises(ol.InputError, match=r"Parts are predicates, arcs, labels\. Got 'roots'"):
        graphs.indicator("roots")  # type: ignore[arg-type]


@pytest.mark.parametrize("predicates", [True, False])
def test_the_rows_of_determinism_are_the_convex_hull(predicates):
    graphs = ol.SemanticGraphs(4, 3, [0, 2], predicates, relaxation="determinism")
    linear = graphs.relaxation.with_(integral=False)  # HiGHS returns a vertex of the relaxation
    for scores in (torch.randn(40, graphs.num_parts), coarse_points((40, graphs.num_parts))):
        scores = scores.double()
        vertex = ol.decode(linear, scores)
        assert (vertex - vertex.round()).abs().max() < 1e-9
        best = (ol.decode(graphs, scores) * scores).sum(-1)
        assert ((vertex * scores).sum(-1) - best).abs().max() < 1e-9
