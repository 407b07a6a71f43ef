"""Surrogates with noise: seeds, evaluation, rates, and the formulas of other packages."""

import math

import pytest
import torch

import optlayers as ol
from optlayers.testing import vertices

from .helpers import best_by_enumeration, raw_chain

SETS = {
    "simplex": ol.simplex(4),
    "cardinality": ol.cardinality(5, at_most=2),
    "chain": raw_chain(5),
}
POINTS = {name: vertices(P).double() for name, P in SETS.items()}
NAMES = pytest.mark.parametrize("name", SETS)


class Given:
    """Noise that was drawn before, so that a formula can be written out beside the surrogate."""

    def __init__(self, noise):
        self.noise = noise

    def __call__(self, like, generator):
        return self.noise.to(like)


def problem(name, samples, batch=4):
    P = SETS[name]
    s, g = torch.randn(2, batch, P.n, dtype=torch.float64)
    noise = torch.randn(samples, batch, P.n, dtype=torch.float64)
    return P, s, g, noise, lambda scores: best_by_enumeration(POINTS[name], scores)


def run(P, s, g, surrogate, **options):
    leaf = s.clone().requires_grad_()
    z = ol.structured_argmax(P, leaf, surrogate, **options)
    return z.detach(), torch.autograd.grad(z, leaf, g)[0]


def noisy_surrogates(seed):
    def generator():
        return torch.Generator().manual_seed(seed)

    return [
        ol.IMLE(2.0, 3, generator=generator()),
        ol.IMLE(2.0, 3, noise="gumbel", generator=generator()),
        ol.IMLE(2.0, 3, noise="logistic", side="average", generator=generator()),
        ol.AIMLE(1.0, 3, generator=generator()),
        ol.Perturbed(0.7, 5, generator=generator()),
        ol.Perturbed(0.7, 5, multiplicative=True, generator=generator()),
        ol.GumbelStraightThrough(generator=generator()),
        ol.GumbelStraightThrough(samples=3, soft="projection", generator=generator()),
    ]


@pytest.mark.parametrize("index", range(len(noisy_surrogates(0))))
def test_a_seed_reproduces_and_another_does_not(index):
    s, g = torch.randn(2, 3, 4)
    first, again, other = (
        torch.cat(run(ol.simplex(4), s, g, noisy_surrogates(seed)[index])) for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("surrogate", noisy_surrogates(0), ids=repr)
def test_in_evaluation_there_is_no_noise(surrogate):
    s = torch.randn(64, 4)
    layer = ol.StructuredArgmax(ol.simplex(4), surrogate)
    hard = ol.decode(ol.simplex(4), s)
    assert not torch.equal(layer(s), hard)
    before = surrogate.generator.get_state()
    assert torch.equal(layer.eval()(s), hard)
    assert torch.equal(ol.structured_argmax(ol.simplex(4), s, surrogate, training=False), hard)
    assert torch.equal(surrogate.generator.get_state(), before)


@pytest.mark.parametrize("surrogate", noisy_surrogates(0), ids=repr)
def test_a_backward_pass_in_evaluation_draws_noise_of_its_own(surrogate):
    s = torch.randn(4, 4, requires_grad=True)
    z = ol.structured_argmax(ol.simplex(4), s, surrogate, training=False)
    (found,) = torch.autograd.grad(z, s, torch.randn(4, 4))
    assert found.isfinite().all()


def test_without_a_generator_noise_is_that_of_torch():
    s, g = torch.randn(2, 3, 4)
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(torch.cat(run(ol.simplex(4), s, g, ol.Perturbed())))
    assert torch.equal(*found)


def test_structured_sets_and_batched_polytopes_take_samples():
    trees = ol.DependencyTrees([3, 2])
    budgets = ol.cardinality(4, at_most=torch.tensor([1, 2, 3]))
    for feasible_set, shape in ((trees, (2, 4, 4)), (budgets, (3, 4))):
        s, g = torch.randn(2, *shape, dtype=torch.float64)
        z, found = run(feasible_set, s, g, ol.Perturbed(samples=7))
        assert z.shape == found.shape == shape
        assert found.abs().sum() > 0
    sizes = run(budgets, 10 + s, g, ol.IMLE(1.0, 5))[0].sum(-1)
    assert sizes.tolist() == pytest.approx([1, 2, 3])


# ---------------------------------------------------------------------- formulas, written out


@NAMES
def test_perturbed_is_the_mean_and_its_score_function_estimate(name):
    P, s, g, noise, best = problem(name, 6)
    sigma = 0.7
    decided = best(s + sigma * noise)
    plain = (noise * (decided * g).sum(-1, keepdim=True)).mean(0) / sigma
    others = (decided.sum(0) - decided) / 5  # the mean of the other samples
    reduced = (noise * ((decided - others) * g).sum(-1, keepdim=True)).mean(0) / sigma
    for variance_reduction, wanted in ((False, plain), (True, reduced)):
        surrogate = ol.Perturbed(sigma, 6, variance_reduction=variance_reduction)
        surrogate.noise = Given(noise)
        z, found = run(P, s, g, surrogate)
        torch.testing.assert_close(z, decided.mean(0))
        torch.testing.assert_close(found, wanted)


@NAMES
def test_multiplicative_noise_keeps_signs(name):
    P, s, g, noise, best = problem(name, 6)
    s[0, 0] = 0.0
    sigma = 0.5
    noisy = s * (sigma * noise - sigma**2 / 2).exp()
    decided = best(noisy)
    reward = (decided * g).sum(-1, keepdim=True)
    total = (noise * (reward - reward.mean(0))).sum(0) / (5 * sigma)
    wanted = torch.where(s == 0, 0, total / torch.where(s == 0, 1, s))
    surrogate = ol.Perturbed(sigma, 6, multiplicative=True)
    surrogate.noise = Given(noise)
    z, found = run(P, s, g, surrogate)
    torch.testing.assert_close(z, decided.mean(0))
    torch.testing.assert_close(found, wanted)


@NAMES
@pytest.mark.parametrize("side", ["right", "left", "average"])
@pytest.mark.parametrize("divided", [False, True])
def test_imle_is_torch_imles_and_divided_pyepos(name, side, divided):
    """torch-imle: mean z(s + t e) - mean z(s - b g + t e). PyEPO: the same over lambda."""
    P, s, g, noise, best = problem(name, 3)
    lam, sigma = 2.0, 0.8
    here = best(s + sigma * noise).mean(0)
    right = here - best(s - lam * g + sigma * noise).mean(0)
    left = best(s + lam * g + sigma * noise).mean(0) - here
    wanted = {"right": right, "left": left, "average": (right + left) / 2}[side]
    surrogate = ol.IMLE(lam, 3, sigma=sigma, noise=Given(noise), side=side, divided=divided)
    z, found = run(P, s, g, surrogate)
    torch.testing.assert_close(z, here)
    torch.testing.assert_close(found, wanted / lam if divided else wanted)


@pytest.mark.parametrize("norms", ["instance", "batch"])
def test_aimle_adapts_its_step(norms):
    P, s, g, noise, best = problem("chain", 3)
    surrogate = ol.AIMLE(0.5, 3, noise=Given(noise), norms=norms, update=0.01, target=0.5)
    alpha, density = 0.5, 1.0
    for _ in range(30):
        dims = (-1,) if norms == "instance" else (0, 1)
        lam = alpha * s.norm(dim=dims, keepdim=True) / g.norm(dim=dims, keepdim=True)
        wanted = (best(s + noise) - best(s - lam * g + noise)).mean(0) / lam
        _, found = run(P, s, g, surrogate)
        torch.testing.assert_close(found, wanted)
        density = 0.9 * density + 0.1 * float((wanted != 0).double().mean())
        alpha = max(alpha + (0.01 if density < 0.5 else -0.01), 0.0)
        assert surrogate.alpha == pytest.approx(alpha, abs=1e-6)
        assert surrogate.density == pytest.approx(density, abs=1e-6)
    assert 0 < density < 1


def test_aimle_without_a_gradient_makes_no_step():
    surrogate = ol.AIMLE(1.0, 2)
    s = torch.randn(2, 4)
    g = torch.tensor([[0.0, 0, 0, 0], [1.0, -1, 0, 0]])
    _, found = run(ol.simplex(4), s, g, surrogate)
    assert found[0].tolist() == [0, 0, 0, 0]
    assert found.isfinite().all()


def test_gumbel_straight_through_is_gumbel_softmax():
    """The samples and the gradient of torch's own, from the same noise."""
    s, g = torch.randn(2, 64, 5, dtype=torch.float64)
    leaf = s.clone().requires_grad_()
    torch.manual_seed(0)
    hard = torch.nn.functional.gumbel_softmax(leaf, tau=0.6, hard=True)
    (wanted,) = torch.autograd.grad(hard, leaf, g)
    torch.manual_seed(0)
    z, found = run(ol.simplex(5), s, g, ol.GumbelStraightThrough(0.6))
    torch.testing.assert_close(z, hard.detach())
    torch.testing.assert_close(found, wanted)


# ---------------------------------------------------------------------- distributions and rates


def test_gumbel_noise_samples_the_softmax():
    s = torch.tensor([1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    draws = 40_000
    z, _ = run(ol.simplex(4), s, s, ol.GumbelStraightThrough(samples=draws))
    p = s.softmax(-1)
    assert ((z - p).abs() < 4.5 * (p * (1 - p) / draws).sqrt()).all()


@pytest.mark.parametrize("k", [1.0, 5.0])
def test_sum_of_gamma_has_its_moments(k):
    """Mean (H_m - log m) / k and variance sum 1/i^2 / k: of k of them, those of a Gumbel."""
    m, draws = 10, 200_000
    like = torch.empty(draws, dtype=torch.float64)
    x = ol.SumOfGamma(k, m)(like, torch.Generator().manual_seed(0))
    terms = torch.arange(1, m + 1, dtype=torch.float64)
    mean = float(terms.reciprocal().sum() - math.log(m)) / k
    variance = float(terms.pow(-2).sum()) / k
    assert abs(float(x.mean()) - mean) < 5 * math.sqrt(variance / draws)
    assert float(x.var()) == pytest.approx(variance, rel=0.05)


def test_the_perturbed_gradient_is_that_of_the_mean():
    """Against the exact derivative of two choices: P(first) = Phi((s1 - s2) / (sigma sqrt 2))."""
    s, sigma, draws = torch.tensor([0.3, -0.2], dtype=torch.float64), 0.8, 100_000
    g = torch.tensor([1.0, 0.0], dtype=torch.float64)
    _, found = run(ol.simplex(2), s, g, ol.Perturbed(sigma, draws))
    width = sigma * math.sqrt(2)
    at = float(s[0] - s[1]) / width
    slope = math.exp(-at * at / 2) / math.sqrt(2 * math.pi) / width
    wanted = torch.tensor([slope, -slope]).double()
    assert (found - wanted).abs().max() < 5 / math.sqrt(draws) / sigma


def errors(samples, repeats=400, **options):
    s, sigma = torch.tensor([0.3, -0.2], dtype=torch.float64), 0.8
    g = torch.tensor([1.0, 0.5], dtype=torch.float64)
    width = sigma * math.sqrt(2)
    at = float(s[0] - s[1]) / width
    slope = 0.5 * math.exp(-at * at / 2) / math.sqrt(2 * math.pi) / width
    surrogate = ol.Perturbed(sigma, samples, **options)
    many = s.expand(repeats, 2)
    _, found = run(ol.simplex(2), many, g.expand(repeats, 2), surrogate)
    return found - torch.tensor([slope, -slope]).double()


def test_the_perturbed_error_shrinks_at_its_rate_and_has_no_bias():
    few, many = errors(8), errors(8 * 16)
    ratio = float(few.square().mean().sqrt() / many.square().mean().sqrt())
    assert 3 < ratio < 5.3  # one over the root of the number of samples
    spread = few.std(0) / math.sqrt(len(few))
    assert (few.mean(0).abs() < 4.5 * spread).all()


def test_variance_reduction_reduces_variance():
    plain, reduced = (errors(8, variance_reduction=v) for v in (False, True))
    assert reduced.var() < 0.8 * plain.var()


def test_smoothing_shrinks_with_sigma():
    """The mean decision differs from the decision by less and less."""
    s = torch.tensor([0.3, -0.2], dtype=torch.float64)
    far = [float(run(ol.simplex(2), s, s, ol.Perturbed(x, 20_000))[0][1]) for x in (1, 0.5, 0.25)]
    width = [0.5 / (x * math.sqrt(2)) for x in (1, 0.5, 0.25)]
    wanted = [0.5 * math.erfc(w / math.sqrt(2)) for w in width]
    assert far == pytest.approx(wanted, abs=0.02)
    assert far[0] > far[1] > far[2]


# ---------------------------------------------------------------------- errors


def test_noise_of_another_shape_is_refused():
    surrogate = ol.IMLE(noise=lambda like, _: like[0])
    with pytest.raises(ol.InputError, match="`noise` must return the shape it is asked for"):
        ol.structured_argmax(ol.simplex(3), torch.zeros(3), surrogate)
