"""Sums over trees: values against enumeration and exact arithmetic, derivatives, bad input."""

import math
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optlayers as ol
from optlayers._sets.trees import inside_outside, matrix_tree
from optlayers._sets.trees import sums as tree_sums

from .helpers import TOL
from .tree_enumeration import tree_heads, tree_tensors

inf = math.inf
KINDS = [(p, r) for p in (True, False) for r in (True, False)]
EVERY_KIND = pytest.mark.parametrize(
    ("projective", "single_root"),
    KINDS,
    ids=[f"{'' if p else 'non'}projective-{'single' if r else 'multi'}" for p, r in KINDS],
)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.fixture(params=["loops", "tensors"])
def way(request, monkeypatch):
    """By compiled loops, and by the tensor programs for everything else."""
    if request.param == "tensors":
        monkeypatch.setattr(tree_sums, "use_kernels", lambda _: False)
    return request.param


def module(projective):
    return (inside_outside if projective else matrix_tree).SUMS


def coarse(*shape, dtype=torch.float64):
    """Scores with many ties, some of them infinite."""
    scores = torch.randint(-3, 4, shape).to(dtype) / 2
    return torch.where(torch.rand(shape) < 0.1, -inf, scores)


def in_sentence(lengths, size):
    """Arcs between different words of a sentence, or from the root."""
    word = torch.arange(size + 1) <= lengths[:, None]
    arcs = word[:, :, None] & word[:, None, :] & ~torch.eye(size + 1, dtype=torch.bool)
    arcs[:, :, 0] = False
    return arcs


def by_enumeration(scores, n, allowed, projective, single_root):
    """Log Z and marginals of one sentence; -inf and NaN if there is no tree."""
    trees = tree_tensors(n, projective, single_root)
    s = scores[: n + 1, : n + 1].double().cpu()
    if allowed is not None:
        s = torch.where(allowed[: n + 1, : n + 1].cpu(), s, -inf)
    totals = torch.where(trees > 0, s, 0).sum((1, 2))
    log_z = totals.logsumexp(0)
    return log_z, torch.einsum("t,thm->hm", (totals - log_z).exp(), trees)


# ---------------------------------------------------------------------- values


@EVERY_KIND
@DTYPES
def test_enumeration(way, projective, single_root, dtype, device):
    sums, size, count = module(projective), 7, 80
    lengths = torch.arange(count) % 7
    scores = coarse(count, size + 1, size + 1, dtype=dtype).to(device)
    scores = torch.where(in_sentence(lengths, size).to(device), scores, torch.nan)
    pruned = in_sentence(lengths, size) & (torch.rand(count, size + 1, size + 1) < 0.8)
    for allowed in (None, pruned.to(device), (torch.rand(1, 8, 8) < 0.8).to(device)):
        problem = (scores, lengths.to(device), allowed, single_root)
        log_z, mu = sums.log_partition(*problem), sums.marginals(*problem)
        assert (log_z.dtype, mu.dtype, log_z.device) == (dtype, dtype, scores.device)
        found = 0
        for b, n in enumerate(lengths.tolist()):
            mask = None if allowed is None else allowed[b % len(allowed)]
            value, arcs = by_enumeration(scores[b], n, mask, projective, single_root)
            if value == -inf:
                assert log_z[b] == -inf
                assert mu[b].isnan().all()
                continue
            found += 1
            assert abs(log_z[b].double().cpu() - value) < TOL[dtype]
            inner = mu[b, : n + 1, : n + 1].double().cpu()
            assert (inner - arcs).abs().max() < TOL[dtype]
            usable = in_sentence(lengths, size)[b] & (scores[b] != -inf).cpu()
            usable = usable if mask is None else usable & mask.cpu()
            assert (mu[b].cpu()[~usable] == 0).all()
        assert found > count / 3


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([-2000.0, -1.0, 0.0, 0.5, 700.0, -inf]), min_size=25, max_size=25),
    st.sampled_from(KINDS),
)
def test_enumeration_where_scores_leave_the_range_of_floats(values, kind):
    scores, lengths = torch.tensor(values, dtype=torch.float64).reshape(1, 5, 5), torch.tensor([4])
    value, arcs = by_enumeration(scores[0], 4, None, *kind)
    log_z = module(kind[0]).log_partition(scores, lengths, None, kind[1])
    mu = module(kind[0]).marginals(scores, lengths, None, kind[1])
    if value == -inf:
        assert log_z == -inf
        assert mu.isnan().all()
    else:
        assert abs(log_z - value) < 1e-9  # a sum of four scores of size 2000
        assert (mu - arcs).abs().max() < TOL[torch.float64]


@pytest.mark.parametrize("n", [1, 2, 7, 30, 60])
def test_uniform_scores_count_the_trees(way, n):
    scores, lengths = torch.zeros(1, n + 1, n + 1, dtype=torch.float64), torch.tensor([n])
    known = {
        (True, True): math.log(math.comb(3 * n - 2, n - 1) // n),
        (True, False): math.log(math.comb(3 * n, n) // (2 * n + 1)),
        (False, True): (n - 1) * math.log(n),
        (False, False): (n - 1) * math.log(n + 1),
    }
    for (projective, single_root), expected in known.items():
        sums = module(projective)
        for shift in (0.0, 30.0, -1000.0):
            log_z = sums.log_partition(scores + shift, lengths, None, single_root)
            assert abs(log_z - expected - n * shift) < 1e-14 * n * max(abs(shift), n)


@EVERY_KIND
def test_entropies_are_possible(way, projective, single_root):
    sums, lengths = module(projective), torch.tensor([20, 12, 1])
    for scale in (0.0, 1.0, 10.0):
        scores = scale * torch.randn(3, 21, 21, dtype=torch.float64)
        log_z = sums.log_partition(scores, lengths, None, single_root)
        mu = sums.marginals(scores, lengths, None, single_root)
        entropy = log_z - (mu * scores).sum((1, 2))
        most = sums.log_partition(0 * scores, lengths, None, single_root)
        assert (entropy > -1e-10).all()
        assert (entropy < most + 1e-10).all()
        assert scale or (entropy - most).abs().max() < 1e-10


# ---------------------------------------------------------------------- accuracy


def exactly(scores, single_root):
    """Log Z and marginals of all trees by determinants (Koo et al., 2007), with 400 digits."""
    n = len(scores) - 1
    with mpmath.workdps(400):
        w = [[mpmath.exp(mpmath.mpf(float(x))) for x in row] for row in scores]

        def total():
            laplacian = mpmath.zeros(n)
            for m in range(1, n + 1):
                for h in range(0 if not single_root else 1, n + 1):
                    if h != m:
                        laplacian[m - 1, m - 1] += w[h][m]
                        if h > 0:
                            laplacian[h - 1, m - 1] = -w[h][m]
            if single_root:
                for m in range(1, n + 1):
                    laplacian[0, m - 1] = w[0][m]
            return mpmath.det(laplacian)

        z = total()
        mu = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        for h in range(n + 1):
            for m in range(1, n + 1):
                if h != m:
                    kept, w[h][m] = w[h][m], mpmath.mpf(0)
                    mu[h, m] = float(1 - total() / z)
                    w[h][m] = kept
        return float(mpmath.log(z)), mu


def hostile(n):
    """Scores for which determinants in float64 have no correct digit, or overflow."""
    cycle = torch.randn(n + 1, n + 1, dtype=torch.float64)
    cycle[1, 2] = cycle[2, 1] = 40.0
    cycle[0] = -40.0
    yield cycle
    nested = torch.randn(n + 1, n + 1, dtype=torch.float64)
    for m in range(2, n + 1):
        nested[m - 1, m] = 10.0 * m
        nested[m, m - 1] = 10.0 * m + 1
    yield nested
    yield 40 * torch.randn(n + 1, n + 1, dtype=torch.float64)
    yield 300 * torch.randn(n + 1, n + 1, dtype=torch.float64)
    reluctant = torch.randn(n + 1, n + 1, dtype=torch.float64)
    reluctant[0] -= 500.0
    yield reluctant


@pytest.mark.parametrize("single_root", [True, False])
def test_hostile_scores_against_exact_arithmetic(way, single_root):
    n = 8
    for scores in hostile(n):
        value, exact = exactly(scores.tolist(), single_root)
        problem = (scores[None], torch.tensor([n]), None, single_root)
        assert abs(matrix_tree.SUMS.log_partition(*problem) - value) < 1e-13 * (1 + abs(value))
        assert (matrix_tree.SUMS.marginals(*problem) - exact).abs().max() < 1e-12


@EVERY_KIND
@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_long_sentences_in_float32(projective, single_root, scale, monkeypatch):
    """The issue asks for n = 100 at scale 10."""
    sums, lengths = module(projective), torch.tensor([100, 73])
    scores = scale * torch.randn(2, 101, 101)
    mu = sums.marginals(scores, lengths, None, single_root)
    wide = sums.marginals(scores.double(), lengths, None, single_root)
    assert (mu - wide).abs().max() < 1e-6
    heads = wide.sum(1)
    words = (torch.arange(101) > 0) & (torch.arange(101) <= lengths[:, None])
    assert (heads - words.double()).abs().max() < 1e-11
    assert ((wide[:, 0].sum(-1) - 1).abs() < 1e-11).all() or not single_root
    value = sums.log_partition(scores.double(), lengths, None, single_root)
    monkeypatch.setattr(tree_sums, "use_kernels", lambda _: False)
    again = sums.marginals(scores.double(), lengths, None, single_root)
    # In logarithms of size n * scale, one rounding is that much larger.
    assert (wide - again).abs().max() < 1e-12 * max(scale, 1)
    other = sums.log_partition(scores.double(), lengths, None, single_root)
    assert ((value - other).abs() < 1e-14 * (100 + value.abs())).all()


# ---------------------------------------------------------------------- batches


@EVERY_KIND
def test_a_padded_batch_is_its_sentences(way, projective, single_root):
    sums, lengths = module(projective), torch.tensor([3, 9, 0, 1, 6])
    allowed = torch.rand(5, 10, 10) < 0.9
    allowed[:, 0] = True
    scores = torch.randn(5, 10, 10, dtype=torch.float64)
    vector = torch.randn(5, 10, 10, dtype=torch.float64)
    for junk in (torch.nan, inf, -inf, 1e30):
        spoiled = torch.where(in_sentence(lengths, 9) & allowed, scores, junk).requires_grad_()
        log_z = sums.log_partition(spoiled, lengths, allowed, single_root)
        mu = sums.marginals(spoiled, lengths, allowed, single_root)
        (grad,) = torch.autograd.grad(log_z.sum(), spoiled, retain_graph=True)
        (second,) = torch.autograd.grad((mu * vector).sum(), spoiled)
        assert torch.equal(grad, mu)
        for result in (mu, second):
            assert (result[~(in_sentence(lengths, 9) & allowed)] == 0).all()
        assert log_z[2] == 0
        assert (mu[2] == 0).all()
        for b, n in enumerate(lengths.tolist()):
            alone = scores[b : b + 1, : n + 1, : n + 1].clone().requires_grad_()
            problem = (alone, lengths[b : b + 1], allowed[b : b + 1, : n + 1, : n + 1], single_root)
            value, arcs = sums.log_partition(*problem), sums.marginals(*problem)
            assert abs(value - log_z[b]) < 1e-12
            assert (arcs[0] - mu[b, : n + 1, : n + 1]).abs().max() < 1e-12
            (change,) = torch.autograd.grad(arcs, alone, vector[b : b + 1, : n + 1, : n + 1])
            assert (change[0] - second[b, : n + 1, : n + 1]).abs().max() < 1e-12


@EVERY_KIND
def test_a_bad_sentence_costs_nothing_else(way, projective, single_root):
    sums, lengths = module(projective), torch.tensor([3, 3, 3, 3, 2])
    scores = torch.randn(5, 4, 4, dtype=torch.float64)
    scores[1, 0, 2] = torch.nan
    scores[2, 2, 1] = inf
    scores[3, :, 2] = -inf
    scores.requires_grad_()
    log_z = sums.log_partition(scores, lengths, None, single_root)
    mu = sums.marginals(scores, lengths, None, single_root)
    assert log_z.isnan().tolist() == [False, True, True, False, False]
    assert (log_z == -inf).tolist() == [False, False, False, True, False]
    bad = torch.tensor([False, True, True, True, False])
    assert (mu.isnan() == bad[:, None, None]).all()
    good = (scores[~bad], lengths[~bad], None, single_root)
    assert (mu[~bad] - sums.marginals(*good)).abs().max() < 1e-12
    (grad,) = torch.autograd.grad(log_z.sum(), scores)
    assert (grad[bad] == 0).all()
    assert torch.equal(grad[~bad], mu[~bad])
    (second,) = torch.autograd.grad(mu.nansum((1, 2)) @ torch.arange(5.0).double(), scores)
    assert (second[bad] == 0).all()
    assert second.isfinite().all()


def test_two_words_that_both_have_to_hang_on_the_root(way):
    allowed = torch.ones(1, 4, 4, dtype=torch.bool)
    allowed[0, 1:, 1:3] = False
    for projective, single_root in KINDS:
        sums, problem = module(projective), (torch.zeros(1, 4, 4), torch.tensor([3]), allowed)
        log_z = sums.log_partition(*problem, single_root)
        count = 0 if single_root else 2 if projective else 3  # 1 -> 3 crosses 0 -> 2
        assert abs(log_z.exp() - count) < 1e-5
        assert sums.marginals(*problem, single_root).isnan().any() == single_root


def test_the_only_possible_root_comes_last_in_the_elimination(way):
    n = 6
    for last in range(1, n + 1):
        allowed = torch.ones(1, n + 1, n + 1, dtype=torch.bool)
        allowed[0, 1:, last] = False
        scores = torch.randn(1, n + 1, n + 1, dtype=torch.float64)
        mu = matrix_tree.SUMS.marginals(scores, torch.tensor([n]), allowed, True)[0]
        _, arcs = by_enumeration(scores[0], n, allowed[0], False, True)
        assert mu[0, last] == pytest.approx(1)
        assert (mu - arcs).abs().max() < 1e-12


@EVERY_KIND
def test_empty_batches(way, projective, single_root):
    sums = module(projective)
    for size, count in ((3, 0), (0, 2), (0, 0)):
        scores = torch.zeros(count, size + 1, size + 1, requires_grad=True)
        allowed = torch.ones(count, size + 1, size + 1, dtype=torch.bool)
        lengths = torch.zeros(count, dtype=torch.int64)
        for mask in (None, allowed):
            log_z = sums.log_partition(scores, lengths, mask, single_root)
            mu = sums.marginals(scores, lengths, mask, single_root)
            assert (log_z.shape, mu.shape) == ((count,), scores.shape)
            assert (log_z == 0).all()
            assert (mu == 0).all()
            (log_z.sum() + mu.sum()).backward()
            assert scores.grad is not None
            assert (scores.grad == 0).all()


@EVERY_KIND
def test_large_work_is_split_between_threads(projective, single_root):
    sums, lengths = module(projective), torch.randint(0, 31, (64,))
    scores, vector = torch.randn(2, 64, 31, 31).unbind()
    scores.requires_grad_()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            mu = sums.marginals(scores, lengths, None, single_root)
            (second,) = torch.autograd.grad(mu, scores, vector)
            found.append((sums.log_partition(scores, lengths, None, single_root), mu, second))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@EVERY_KIND
def test_other_layouts_of_memory(way, projective, single_root):
    sums, lengths = module(projective), torch.tensor([4]).expand(6)
    scores, vector = torch.randn(2, 5, 5, 6, dtype=torch.float64).unbind()
    moved, vector = scores.permute(2, 1, 0).requires_grad_(), vector.permute(2, 0, 1)
    plain = moved.detach().contiguous().requires_grad_()
    found = []
    for x, v, lens in ((moved, vector, lengths), (plain, vector.contiguous(), lengths.clone())):
        allowed = (torch.arange(25).reshape(1, 5, 5) != 7).expand(6, 5, 5)
        mu = sums.marginals(x, lens, allowed, single_root)
        log_z = sums.log_partition(x, lens, allowed, single_root)
        found.append((log_z, mu, *torch.autograd.grad(mu, x, v)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


# ---------------------------------------------------------------------- derivatives


@EVERY_KIND
def test_derivatives_against_finite_differences(way, projective, single_root):
    sums, lengths = module(projective), torch.tensor([4, 3, 1, 0])
    allowed = torch.rand(4, 5, 5) < 0.8
    allowed[:, 0] = allowed[:, 1] = True
    scores = torch.randn(4, 5, 5, dtype=torch.float64)
    scores[1, 2, 3] = scores[0, 4, 2] = -800.0
    scores.requires_grad_()

    def log_z(x):
        return sums.log_partition(x, lengths, allowed, single_root)

    def mu(x):
        return sums.marginals(x, lengths, allowed, single_root)

    assert torch.autograd.gradcheck(log_z, scores)
    assert torch.autograd.gradgradcheck(log_z, scores)
    assert torch.autograd.gradcheck(mu, scores)


@EVERY_KIND
@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_second_derivatives_of_both_ways_agree(projective, single_root, scale, monkeypatch):
    sums, lengths = module(projective), torch.tensor([25, 17, 2])
    scores = scale * torch.randn(3, 26, 26, dtype=torch.float64)
    vector = torch.randn(3, 26, 26, dtype=torch.float64)
    scores.requires_grad_()
    found = []
    for kernels in (True, False):
        monkeypatch.setattr(tree_sums, "use_kernels", lambda _, k=kernels: k)
        mu = sums.marginals(scores, lengths, None, single_root)
        (by_mu,) = torch.autograd.grad(mu, scores, vector)
        log_z = sums.log_partition(scores, lengths, None, single_root)
        (first,) = torch.autograd.grad(log_z.sum(), scores, create_graph=True)
        (by_log_z,) = torch.autograd.grad(first, scores, vector)
        assert (by_mu - by_log_z).abs().max() < 1e-12
        # The number of heads does not change, nor does a product with the marginals' constants.
        assert by_mu.sum(1).abs().max() < 1e-11 * max(scale, 1)
        found.append(by_mu)
    assert (found[0] - found[1]).abs().max() < 1e-11 * max(scale, 1)
    assert found[0].abs().max() > 1e-3 or scale > 100


@EVERY_KIND
def test_the_hessian_is_symmetric_and_a_covariance(projective, single_root):
    n = 4
    scores = torch.randn(1, n + 1, n + 1, dtype=torch.float64)
    hessian: Any = torch.autograd.functional.hessian(
        lambda x: module(projective).log_partition(x, torch.tensor([n]), None, single_root).sum(),
        scores,
    )
    hessian = hessian.reshape((n + 1) ** 2, -1)
    trees = tree_tensors(n, projective, single_root)
    p = (trees * scores).sum((1, 2)).softmax(0)
    flat = trees.flatten(1)
    mean = p @ flat
    covariance = torch.einsum("t,ti,tj->ij", p, flat, flat) - mean[:, None] * mean
    assert (hessian - covariance).abs().max() < 1e-12


@pytest.mark.parametrize("single_root", [False, True])
@pytest.mark.parametrize("scale", [1.0, 5.0, 40.0])
def test_second_derivatives_by_the_inverse_are_those_step_by_step(single_root, scale, monkeypatch):
    """Where its digits do not suffice it is not used: the guard is what makes it right."""
    x = scale * torch.randn(40, 13, 13, dtype=torch.float64)
    x[3, 0, 2:], x[4, 1, 2], x[5] = -inf, torch.nan, -inf
    lengths = torch.randint(0, 13, (40,))
    lengths[:6] = 12
    batch, vector = tree_sums.TreeBatch(lengths, None, single_root), torch.randn_like(x)
    sums, by_inverse, trusted = matrix_tree.SUMS, matrix_tree._by_inverse, []

    def noted(*arguments):
        out, sure = by_inverse(*arguments)
        trusted.append(float(sure.double().mean()))
        return out, sure

    monkeypatch.setattr(matrix_tree, "_by_inverse", noted)
    found, right = sums.hessian_product(x, batch, vector), sums._step_by_step(x, batch, vector)
    torch.testing.assert_close(found, right, rtol=0, atol=1e-12)
    mu, weight, slope = sums.gradients_and_more(x, batch)
    torch.testing.assert_close(mu, sums.gradients(x, batch), rtol=0, atol=1e-15, equal_nan=True)
    again = sums.hessian_product(x, batch, vector, (weight, slope))
    torch.testing.assert_close(again, found, rtol=0, atol=0)
    assert trusted[0] > 0.9 if scale == 1 else trusted[0] < 1
    if scale > 1:  # the guard has something to do
        monkeypatch.setattr(matrix_tree, "_LOST", torch.inf)
        loose = by_inverse(weight, slope, vector, single_root)[0]
        assert not bool((loose - right).abs().nan_to_num().max() <= 1e-12)


@EVERY_KIND
def test_gradients_of_the_entropy_are_finite_with_pruned_arcs(way, projective, single_root):
    scores = torch.randn(2, 5, 5, dtype=torch.float64)
    scores[0, 2, 1] = scores[1, 3, 4] = -inf
    scores.requires_grad_()
    problem = (scores, torch.tensor([4, 4]), None, single_root)
    mu = module(projective).marginals(*problem)
    entropy = module(projective).log_partition(*problem) - torch.where(
        mu > 0, mu * torch.where(mu > 0, scores, 0), 0
    ).sum((1, 2))
    (grad,) = torch.autograd.grad(entropy.sum(), scores)
    assert grad.isfinite().all()
    assert (grad[scores == -inf] == 0).all()


# ---------------------------------------------------------------------- samples


@EVERY_KIND
def test_samples_are_as_frequent_as_they_are_probable(projective, single_root):
    n, count = 3, 20_000
    scores = coarse(n + 1, n + 1)
    scores[0] = 1.0  # there is a tree
    trees = tree_heads(n, projective, single_root)
    totals = torch.where(tree_tensors(n, projective, single_root) > 0, scores, 0).sum((1, 2))
    p = totals.softmax(0).numpy()
    many = scores.expand(count, n + 1, n + 1)
    generator = torch.Generator().manual_seed(1)
    heads = module(projective).sample(
        many, torch.full((count,), n), None, single_root, generator=generator
    )
    assert (heads[:, 0] == -1).all()
    drawn = (heads[:, None, 1:].numpy() == trees).all(-1)
    assert (drawn.sum(1) == 1).all()  # each one is a tree
    frequency = drawn.mean(0)
    assert (abs(frequency - p) <= 5 * (p * (1 - p) / count) ** 0.5).all()
    assert (frequency[p == 0] == 0).all()


@EVERY_KIND
def test_samples_of_a_padded_batch(way, projective, single_root):
    lengths, allowed = torch.arange(8) % 5, torch.rand(8, 5, 5) < 0.7
    allowed[:, 0] = allowed[:, 1] = True
    scores = 5 * torch.randn(8, 5, 5)
    scores[7, 0] = -inf
    draws = [
        module(projective).sample(
            scores, lengths, allowed, single_root, generator=torch.Generator().manual_seed(0)
        )
        for _ in range(2)
    ]
    assert torch.equal(*draws)
    for b, n in enumerate(lengths.tolist()):
        heads = draws[0][b].tolist()
        assert heads[0] == -1
        assert set(heads[n + 1 :]) <= {-1}
        if b == 7:
            assert set(heads) == {-1}
            continue
        assert heads[1 : n + 1] in tree_heads(n, projective, single_root).tolist()
        assert all(allowed[b, h, m] for m, h in enumerate(heads) if m and m <= n)


# ---------------------------------------------------------------------- modes


@pytest.mark.parametrize(("projective", "single_root"), [(True, True), (False, False)])
def test_compiled_by_torch(projective, single_root):
    sums, lengths = module(projective), torch.tensor([3, 2])
    scores = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)

    def loss(x):
        log_z = sums.log_partition(2 * x, lengths, None, single_root)
        return log_z.sum() + sums.marginals(2 * x, lengths, None, single_root).square().sum()

    expected = loss(scores)
    found = torch.compile(loss, backend="aot_eager", fullgraph=True)(scores)
    assert abs(found - expected) < 1e-12
    (grad,) = torch.autograd.grad(found, scores)
    assert (grad - torch.autograd.grad(expected, scores)[0]).abs().max() < 1e-12


@EVERY_KIND
def test_modes_of_torch_change_nothing(way, projective, single_root):
    sums, lengths = module(projective), torch.tensor([6, 4])
    scores = torch.randn(2, 7, 7)
    problem = (scores, lengths, None, single_root)
    log_z, mu = sums.log_partition(*problem), sums.marginals(*problem)
    modes = [torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)]
    for mode in modes:
        with mode:
            inner = (scores.clone(), *problem[1:])
            assert torch.equal(sums.log_partition(*inner), log_z)
            assert torch.equal(sums.marginals(*inner), mu)
    assert not mu.requires_grad


@DTYPES
def test_half_precision_comes_back_as_it_went_in(way, dtype):
    scores = torch.randn(1, 4, 4).bfloat16().requires_grad_()
    for projective, single_root in KINDS:
        mu = module(projective).marginals(scores, torch.tensor([3]), None, single_root)
        assert mu.dtype == torch.bfloat16
        wide = module(projective).marginals(scores.to(dtype), torch.tensor([3]), None, single_root)
        assert torch.equal(mu, wide.bfloat16())
        assert torch.autograd.grad(mu[0, 0, 1], scores)[0].dtype == torch.bfloat16


def _exactly(structures, s):
    """Log Z and marginals with tree scores as fractions, so that no digit is lost."""
    from fractions import Fraction
    from math import exp, log

    totals = [sum(Fraction(v) for v in s[z.bool()].tolist()) for z in structures]
    most = max(totals)
    weights = [exp(max(float(t - most), -1e4)) for t in totals]
    mu = sum(z * (w / sum(weights)) for z, w in zip(structures, weights, strict=True))
    return float(most) + log(sum(weights)), mu


@pytest.mark.parametrize("projective", [True, False])
@pytest.mark.parametrize("single_root", [True, False])
@pytest.mark.parametrize("size", [1e3, 1e6, 1e9, 1e11, 1e13, 1e20])
def test_scores_of_any_spread_are_summed_exactly_or_refused(projective, single_root, size):
    """Levels that overlap were moved apart as if they did not: 1e6 was enough to be wrong."""
    trees = ol.DependencyTrees(3, projective=projective, single_root=single_root)
    structures, refused = tree_tensors(3, projective, single_root).double(), 0
    noise = torch.Generator().manual_seed(11)
    for k in range(24):
        s = torch.randn(4, 4, dtype=torch.float64, generator=noise)
        few = torch.rand(4, 4, generator=noise) < 0.4
        s = (size * s, torch.where(few, size * s, s), torch.where(few, -size * (1 + s**2), s))[
            k % 3
        ]
        log_z, mu = _exactly(structures, s)
        try:
            found, log_found = trees.marginals(s), float(trees.log_partition(s))
        except ol.InputError:
            refused += 1
            continue
        torch.testing.assert_close(found, mu, rtol=0, atol=1e-7)
        assert abs(log_found - log_z) <= 1e-12 * max(1.0, float(s.abs().max()))
    assert refused <= (0 if size < 1e9 else 6)


def test_scores_that_tie_beyond_the_digits_are_refused():
    trees = ol.DependencyTrees(2, projective=False, single_root=False)
    # Each of two trees has one of the arcs between the words.
    s = torch.tensor([[0.0, 0.2, -0.1], [0.0, 0.0, 1e15], [0.0, 1e15, 0.0]], dtype=torch.float64)
    for verb in (trees.marginals, trees.log_partition):
        with pytest.raises(
            ol.InputError, match=r"Sentence 0 has scores of up to 1\.0e\+15, and several"
        ):
            verb(s)
