"""Polytopes of trees against trees by enumeration, LPs of scipy, QPs of OSQP and Clarabel."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch

import optlayers as ol
from optlayers._judge.references import exact_projection
from optlayers._sets.trees import head_selection as heads
from optlayers._sets.trees.arborescence import arborescence
from optlayers._sets.trees.eisner import eisner
from optlayers._sets.trees.polytopes import RELAXATIONS, tree_polytope

from .helpers import QP_TOL, TOL
from .tree_enumeration import tree_tensors

# Relaxation, projective, single_root: everything that makes a different polytope.
KINDS = [
    (relaxation, projective, single_root)
    for relaxation, projective, single_root in itertools.product(
        RELAXATIONS, (True, False), (True, False)
    )
    if (relaxation == "hull" or not projective) and (relaxation != "single-root" or single_root)
]
HULLS = [kind for kind in KINDS if kind[0] in ("arborescence", "hull")]
NAMED = {"ids": lambda v: v if isinstance(v, str) else "TF"[not v]}


def arcs_within(lengths: torch.Tensor, n: int) -> torch.Tensor:
    """Every arc that a sentence has, written out."""
    allowed = torch.zeros(*lengths.shape, n + 1, n + 1, dtype=torch.bool)
    for at in np.ndindex(*lengths.shape):
        for h, m in itertools.product(range(int(lengths[at]) + 1), repeat=2):
            allowed[(*at, h, m)] = m > 0 and h != m
    return allowed


def polytope_of(relaxation, n, lengths, projective, single_root, mask=None) -> ol.Polytope:
    lengths = torch.as_tensor(lengths)
    allowed = arcs_within(lengths, n)
    allowed = allowed if mask is None else allowed & mask
    return tree_polytope(relaxation, n, lengths, allowed, single_root, projective)


def instance(P: ol.Polytope, at: tuple[int, ...] = ()) -> list[np.ndarray]:
    """`b, b_eq, lower, upper` of one instance."""
    values = (P.b, P.b_eq, P.lower, P.upper)
    return [v.expand(*P.batch_shape, -1)[at].numpy() for v in values]


def linear_program(P: ol.Polytope, scores: torch.Tensor, at: tuple[int, ...] = ()):
    """The largest score over one instance, and a vertex that has it, by the simplex method."""
    b, b_eq, lower, upper = instance(P, at)
    cost = np.concatenate([-scores.flatten().numpy(), np.zeros(P.num_aux)])
    rows = {"A_ub": P.A, "b_ub": b} if P.A.shape[0] else {}
    bounds = np.stack([lower, upper], 1)
    found = scipy.optimize.linprog(
        cost, **rows, A_eq=P.A_eq, b_eq=b_eq, bounds=bounds, method="highs-ds"
    )
    assert found.status == 0, found.message
    return -found.fun, torch.from_numpy(found.x[: P.n])


def holds(P: ol.Polytope, z: torch.Tensor) -> bool:
    """Whether a point z extends to a point of an unbatched polytope."""
    z = z.flatten()
    if ((z < P.lower[: P.n]) | (z > P.upper[: P.n])).any():
        return False
    try:
        P.fix(dict(enumerate(z.tolist()))).check_feasible()
    except ol.InfeasibleError:
        return False
    return True


def scores_like(n: int, coarse: bool) -> torch.Tensor:
    if coarse:
        return torch.randint(-2, 3, (n + 1, n + 1)).double()
    return torch.randn(n + 1, n + 1, dtype=torch.float64)


# ---------------------------------------------------------------------- against all trees


@pytest.mark.parametrize(("relaxation", "projective", "single_root"), HULLS, **NAMED)
@pytest.mark.parametrize("coarse", [False, True], ids=["normal", "grid"])
def test_hulls_have_the_best_tree_for_a_vertex(relaxation, projective, single_root, coarse):
    for n in range(1, 6):
        P = polytope_of(relaxation, n, n, projective, single_root)
        exact = projective and relaxation == "hull"
        trees = tree_tensors(n, exact, single_root).flatten(1)
        for _ in range(8):
            scores = scores_like(n, coarse)
            value, z = linear_program(P, scores)
            best = (trees @ scores.flatten()).max().item()
            assert value == pytest.approx(best, abs=1e-9)
            if not coarse:  # with ties, a vertex in z and psi need not be one in z
                assert (z - trees).abs().amax(1).min() < 1e-9


@pytest.mark.parametrize(("relaxation", "projective", "single_root"), KINDS, **NAMED)
def test_every_tree_is_in_every_relaxation(relaxation, projective, single_root):
    for n in range(1, 5):
        P = polytope_of(relaxation, n, n, projective, single_root)
        for tree in tree_tensors(n, projective, single_root)[::3]:
            assert holds(P, tree)


@pytest.mark.parametrize("single_root", [True, False])
@pytest.mark.parametrize("projective", [True, False])
def test_hulls_agree_with_the_decoders_on_longer_sentences(projective, single_root):
    n, lengths = 9, torch.tensor([9, 8, 3, 0])
    P = polytope_of("hull", n, lengths, projective, single_root)
    scores = torch.randn(len(lengths), n + 1, n + 1, dtype=torch.float64)
    decoder = eisner if projective else arborescence
    found, state = decoder(
        scores.numpy(), lengths.numpy(), arcs_within(lengths, n).numpy(), single_root
    )
    assert not state.any()
    for i, length in enumerate(lengths.tolist()):
        best = sum(scores[i, found[i, m], m].item() for m in range(1, length + 1))
        assert linear_program(P, scores[i], (i,))[0] == pytest.approx(best, abs=1e-9)


def test_flows_exclude_cycles():
    """A cycle beside a tree; and the mean of two trees in which it is half a cycle."""
    half, cycle = torch.zeros(2, 4, 4, dtype=torch.float64)
    cycle[0, 1] = cycle[2, 3] = cycle[3, 2] = 1.0
    half[0, 1] = 1.0
    half[2, 3] = half[3, 2] = half[0, 2] = half[1, 3] = 0.5
    inside = {
        name: [holds(polytope_of(name, 3, 3, False, False), z) for z in (cycle, half)]
        for name in RELAXATIONS
        if name != "single-root"
    }
    assert inside["head-selection"] == [True, True]
    assert inside["single-commodity"] == inside["arborescence"] == [False, True]
    assert inside["hull"] == [False, True]
    assert holds(polytope_of("hull", 3, 3, True, False), half)
    crossing = torch.zeros(4, 4, dtype=torch.float64)
    crossing[0, 1] = crossing[0, 2] = crossing[1, 3] = 1.0
    assert holds(polytope_of("hull", 3, 3, False, False), crossing)
    assert not holds(polytope_of("hull", 3, 3, True, False), crossing)
    assert holds(polytope_of("single-root", 3, 3, False, True), cycle)
    assert not holds(polytope_of("single-root", 3, 3, False, True), half)


@pytest.mark.parametrize("single_root", [True, False])
def test_relaxations_are_nested(single_root):
    names = ["head-selection", "single-root", "single-commodity", "arborescence", "hull"]
    names = [name for name in names if single_root or name != "single-root"]
    n, strict = 5, set()
    polytopes = [polytope_of(name, n, n, True, single_root) for name in names]
    for _ in range(60):
        scores = scores_like(n, coarse=True)
        values = [linear_program(P, scores)[0] for P in polytopes]
        for (coarse, high), (fine, low) in itertools.pairwise(zip(names, values, strict=True)):
            assert high >= low - 1e-9, (coarse, fine)
            if high > low + 1e-6:
                strict.add((coarse, fine))
    assert strict == set(itertools.pairwise(names))


@pytest.mark.parametrize("single_root", [True, False])
def test_the_two_names_of_the_hull_of_all_trees(single_root):
    first, *others = (
        polytope_of(name, 4, [4, 2], False, single_root)
        for name in ("arborescence", "multi-commodity", "hull")
    )
    for other in others:
        assert (first.A != other.A).nnz == 0
        assert (first.A_eq != other.A_eq).nnz == 0
        assert torch.equal(first.b_eq, other.b_eq)
        assert torch.equal(first.upper, other.upper)


# ---------------------------------------------------------------------- padding and masks


@pytest.mark.parametrize(("relaxation", "projective", "single_root"), KINDS, **NAMED)
def test_a_padded_batch_is_each_sentence_alone(relaxation, projective, single_root):
    n, lengths = 5, torch.tensor([5, 3, 0, 1, 2])
    P = polytope_of(relaxation, n, lengths, projective, single_root)
    y = torch.randn(len(lengths), n + 1, n + 1, dtype=torch.float64)
    found = ol.project(P, y.flatten(1)).reshape(y.shape)
    assert not P.upper[2].any()  # the empty sentence fixes auxiliary variables, too
    close = TOL[torch.float64] if relaxation == "head-selection" else 10 * QP_TOL
    for i, length in enumerate(lengths.tolist()):
        alone = polytope_of(relaxation, length, length, projective, single_root)
        part = y[i, : length + 1, : length + 1]
        expected = ol.project(alone, part.flatten()).reshape(part.shape)
        torch.testing.assert_close(
            found[i, : length + 1, : length + 1], expected, atol=close, rtol=0
        )
        assert not found[i, length + 1 :].any()
        assert not found[i, :, length + 1 :].any()


@pytest.mark.parametrize(("relaxation", "projective", "single_root"), KINDS, **NAMED)
def test_masks_are_respected(relaxation, projective, single_root):
    n, lengths = 4, torch.tensor([[4, 3]])
    mask = torch.ones(2, 1, n + 1, n + 1, dtype=torch.bool)
    mask[0, 0, 0, 2:] = mask[0, 0, 1, 2] = mask[1, 0, 3, 2] = False
    P = polytope_of(relaxation, n, lengths, projective, single_root, mask)
    assert P.batch_shape == (2, 2)
    allowed = arcs_within(lengths, n) & mask
    point = ol.project(P, 2 * torch.ones(2, 2, (n + 1) ** 2)).reshape(2, 2, n + 1, n + 1)
    assert not point[~allowed].any()
    exact = relaxation in ("arborescence", "hull")
    for at in np.ndindex(2, 2):
        scores = scores_like(n, coarse=False)
        value, z = linear_program(P, scores, at)
        assert not z.reshape(n + 1, n + 1)[~allowed[at]].any()
        length = int(lengths[0, at[1]])
        trees = tree_tensors(length, projective, single_root)
        kept = trees[(trees * ~allowed[at][: length + 1, : length + 1] == 0).all(-1).all(-1)]
        best = (kept * scores[: length + 1, : length + 1]).sum((1, 2)).max().item()
        assert value == pytest.approx(best) if exact else value >= best - 1e-9


def test_equal_sizes_share_rows_and_plan():
    one = polytope_of("single-commodity", 4, [4, 1], False, True)
    two = polytope_of("single-commodity", 4, [2, 3, 3], True, True)
    assert one.A.data is two.A.data
    assert ol.plan(one) is ol.plan(two)


# ---------------------------------------------------------------------- SPIGOT on head selection


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("solver", ["osqp", "cvxpy"])
def test_spigot_gradients_of_padded_batches_against_exact_qps(dtype, solver, device):
    """Sentences of 1 to 40 words: z_hat - projection of z_hat - eta g, each alone by a QP."""
    lengths = torch.tensor([1, 2, 3, 5, 8, 13, 21, 40])
    n, eta = 40, 1.0
    P = polytope_of("head-selection", n, lengths, True, True)
    scores = torch.randn(len(lengths), n + 1, n + 1, dtype=torch.float64)
    best, _ = eisner(scores.numpy(), lengths.numpy(), arcs_within(lengths, n).numpy(), True)
    z_hat = torch.zeros(len(lengths), n + 1, n + 1, dtype=torch.float64)
    for i, length in enumerate(lengths.tolist()):
        for m in range(1, length + 1):
            z_hat[i, best[i, m], m] = 1.0
    gradient = torch.randn(len(lengths), n + 1, n + 1, dtype=torch.float64)
    flat = [v.flatten(1).to(device, dtype) for v in (scores, z_hat, gradient)]
    P = P.with_(b_eq=P.b_eq.to(device), upper=P.upper.to(device))
    found, status = ol.SPIGOT(eta, warn=False, around="vertex").backward(P, *flat)
    assert status.ok.all()
    found = found.cpu().double().reshape(z_hat.shape)
    for i, length in enumerate(lengths.tolist()):
        alone = polytope_of("head-selection", length, length, True, True)
        part = (slice(length + 1), slice(length + 1))
        target = (z_hat[i] - eta * gradient[i])[part].flatten()
        expected = z_hat[i][part] - exact_projection(alone, target, solver).reshape(
            length + 1, length + 1
        )
        within = max(10 * QP_TOL, TOL[dtype])
        torch.testing.assert_close(found[i][part], expected, atol=within, rtol=0)
        assert not found[i, length + 1 :].any()
        assert not found[i, :, length + 1 :].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("coarse", [False, True], ids=["normal", "grid"])
def test_heads_without_a_polytope_are_the_same(dtype, coarse, device, monkeypatch):
    """`project_heads`, compiled and sorted, against the plan; NaN at padding does not matter."""
    n, lengths = 7, torch.tensor([7, 0, 1, 4, 6])
    mask = torch.rand(len(lengths), n + 1, n + 1) < 0.5
    mask[:, 0] = True
    allowed = arcs_within(lengths, n) & mask
    P = tree_polytope("head-selection", n, lengths, allowed, False, True)
    y = torch.stack([scores_like(n, coarse) for _ in lengths]).to(device, dtype)
    y.requires_grad_()
    grad = torch.randn(y.shape, dtype=dtype, device=device)
    expected = ol.project(P, y.flatten(1)).reshape(y.shape)
    (slope,) = torch.autograd.grad(expected, y, grad)
    allowed = allowed.to(device)
    for kernels in (True, False):
        if not kernels:
            monkeypatch.setattr(heads, "use_kernels", lambda _: False)
        found = heads.project_heads(torch.where(allowed, y, torch.nan), allowed)
        torch.testing.assert_close(found, expected, rtol=0, atol=TOL[dtype])
        assert not found[~allowed].any()
        (other,) = torch.autograd.grad(found, y, grad)
        torch.testing.assert_close(other, slope, rtol=0, atol=TOL[dtype])
        broken = y.detach().clone()
        broken[0, 0, 2], broken[3, :, 1], broken[4, 0, 3] = torch.nan, -torch.inf, torch.inf
        found = heads.project_heads(broken, allowed)
        columns = (allowed & found.isnan()).any(-2).nonzero().tolist()
        assert columns == [[0, 2], [3, 1], [4, 3]]
    half = y.detach().bfloat16()
    assert heads.project_heads(half, allowed).dtype == torch.bfloat16


# ---------------------------------------------------------------------- errors


def test_an_unknown_relaxation_names_those_that_exist():
    with pytest.raises(ol.InputError, match=r"`relaxation` must be one of \('head-selection', "):
        polytope_of("forest", 2, 2, True, True)


def test_the_root_row_is_for_a_single_root():
    with pytest.raises(ol.InputError, match="excludes trees with several words under the root"):
        polytope_of("single-root", 2, 2, True, False)
