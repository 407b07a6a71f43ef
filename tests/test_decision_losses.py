"""Losses by projection, by noise, by known values and by samples, against enumeration."""

import copy
import math

import pytest
import torch

import optlayers as ol
from optlayers.testing import vertices

from .helpers import TOL, best_by_enumeration, raw_chain
from .tree_enumeration import tree_tensors

SETS = {
    "simplex": ol.simplex(4),
    "cardinality": ol.cardinality(5, at_most=2),
    "assignment": ol.assignment(3),
    "chain": raw_chain(5),
}
POINTS = {name: vertices(P).double() for name, P in SETS.items()}
NAMES = pytest.mark.parametrize("name", SETS)


def problem(name, batch=8):
    P, points = SETS[name], POINTS[name]
    s, t = torch.randn(2, batch, P.n, dtype=torch.float64)
    gold = points[torch.randint(len(points), (batch,))]
    return P, s.requires_grad_(), t, gold


def dot(a, b):
    return (a * b).sum(-1)


# ---------------------------------------------------------------------- SparseMAP loss


@NAMES
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_sparsemap_loss_is_its_formula(name, temperature):
    P, s, _, gold = problem(name)
    loss = ol.sparsemap_loss(P, s, gold, temperature=temperature, reduction="none")
    p = ol.project(P, s.detach() / temperature)
    value = dot(s.detach(), p) - temperature / 2 * dot(p, p)
    value = value - dot(s.detach(), gold) + temperature / 2 * dot(gold, gold)
    torch.testing.assert_close(loss.detach(), value)
    (found,) = torch.autograd.grad(loss.sum(), s)
    torch.testing.assert_close(found, p - gold)


@NAMES
def test_sparsemap_loss_is_the_best_over_the_polytope(name):
    """No mixture of structures does better than its projection, and zero is its least."""
    P, s, _, gold = problem(name)
    loss = ol.sparsemap_loss(P, s, gold, reduction="none").detach()
    weights = torch.rand(200, 1, len(POINTS[name]), dtype=torch.float64).square()
    z = (weights / weights.sum(-1, keepdim=True)) @ POINTS[name]
    value = dot(s.detach(), z) - dot(z, z) / 2
    value = value - dot(s.detach(), gold) + dot(gold, gold) / 2
    assert (value <= loss + 1e-9).all()
    assert (loss >= -1e-12).all()
    at_gold = ol.sparsemap_loss(P, 3 * (2 * gold - 1), gold, reduction="none")
    torch.testing.assert_close(at_gold, torch.zeros_like(at_gold), rtol=0, atol=1e-12)


def test_sparsemap_loss_is_differentiated_twice():
    P = raw_chain(4)
    s = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    gold = ol.decode(P, torch.randn(3, 4, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda v: ol.sparsemap_loss(P, v, gold), s, eps=1e-6)
    assert torch.autograd.gradgradcheck(lambda v: ol.sparsemap_loss(P, v, gold), s, eps=1e-6)


def test_sparsemap_loss_has_gradients_in_limits_and_rows():
    generator = torch.Generator().manual_seed(0)
    s, A = (torch.randn(*k, generator=generator, dtype=torch.float64) for k in ((4, 5), (2, 5)))
    s, A = 2 * s.abs(), A.abs()
    b = torch.tensor([[0.3, 1.0], [0.5, 0.4], [0.2, 2.0], [1.0, 0.1]], dtype=torch.float64)
    upper = torch.full((5,), 0.3, dtype=torch.float64)
    given = [v.requires_grad_() for v in (s, A, b, upper)]

    def loss(s, A, b, upper):
        P = ol.Polytope(A, b, upper=upper, integral=False)
        return ol.sparsemap_loss(P, s, torch.zeros(4, 5), temperature=0.7, reduction="none")

    assert torch.autograd.gradcheck(loss, given)
    assert all(v.abs().max() > 0.1 for v in torch.autograd.grad(loss(*given).sum(), given))


def test_sparsemap_loss_of_trees_is_one_simplex_per_word():
    trees = ol.DependencyTrees([3, 2])
    s = torch.randn(2, 4, 4, dtype=torch.float64)
    gold = trees.decode(torch.randn_like(s))
    spoiled = torch.where(trees.free_parts(torch.device("cpu")), s, torch.nan)
    leaf = spoiled.clone().requires_grad_()
    loss = ol.sparsemap_loss(trees, leaf, gold, reduction="none")
    total = 0.0
    for word in (1, 2, 3):
        heads = [h for h in range(4) if h != word]
        y, z = s[0][heads, word], gold[0][heads, word]
        total += ol.sparsemap_loss(ol.simplex(3), y, z)
    torch.testing.assert_close(loss[0], total)
    (found,) = torch.autograd.grad(loss.sum(), leaf)
    assert found.isfinite().all()


# ---------------------------------------------------------------------- SPO+ and regret


@NAMES
@pytest.mark.parametrize("sense", ["costs", "scores"])
def test_spo_plus_is_the_paper(name, sense):
    """With costs: max (c - 2 c_hat) z + 2 c_hat z* - c z*, as PyEPO writes it."""
    P, predicted, true, _ = problem(name)
    points, sign = POINTS[name], 1 if sense == "scores" else -1
    best = best_by_enumeration(points, sign * true)
    loss = ol.spo_plus(P, predicted, true, sense=sense, reduction="none")
    c_hat, c = -sign * predicted.detach(), -sign * true
    value = ((c - 2 * c_hat) @ points.T).amax(-1) + 2 * dot(c_hat, best) - dot(c, best)
    torch.testing.assert_close(loss.detach(), value)
    (found,) = torch.autograd.grad(loss.sum(), predicted)
    of_costs = 2 * (best - best_by_enumeration(points, -(2 * c_hat - c)))
    torch.testing.assert_close(found, -sign * of_costs)
    known = ol.spo_plus(P, predicted, true, sense=sense, best=best, reduction="none")
    assert torch.equal(known, loss)


@NAMES
@pytest.mark.parametrize("sense", ["costs", "scores"])
def test_spo_plus_bounds_the_regret(name, sense):
    P, predicted, true, _ = problem(name, 64)
    bound = ol.spo_plus(P, predicted, true, sense=sense, reduction="none")
    lost = ol.regret(P, predicted, true, sense=sense, reduction="none")
    assert (lost >= 0).all()
    assert (bound >= lost - 1e-9).all()
    perfect = ol.spo_plus(P, true, true, sense=sense, reduction="none")
    torch.testing.assert_close(perfect, torch.zeros_like(perfect))


@NAMES
def test_regret_is_what_the_decision_loses(name):
    P, predicted, true, _ = problem(name)
    points = POINTS[name]
    chosen = points[(predicted.detach() @ points.T).argmin(-1)]
    least = (true @ points.T).amin(-1)
    lost = ol.regret(P, predicted, true, sense="costs", reduction="none")
    torch.testing.assert_close(lost, dot(true, chosen) - least)
    assert not lost.requires_grad
    share = ol.regret(P, predicted, true, sense="costs", normalised=True)
    torch.testing.assert_close(share, lost.sum() / least.abs().sum())
    each = ol.regret(P, predicted, true, sense="costs", normalised=True, reduction="none")
    torch.testing.assert_close(each, lost / least.abs())


def test_the_wrong_sense_is_not_a_default():
    with pytest.raises(TypeError, match="sense"):
        ol.spo_plus(ol.simplex(2), torch.zeros(2), torch.zeros(2))  # type: ignore[call-arg]


# ---------------------------------------------------------------------- perturbed Fenchel-Young


@NAMES
@pytest.mark.parametrize("multiplicative", [False, True])
def test_perturbed_fenchel_young_is_pyepos(name, multiplicative):
    P, s, _, gold = problem(name)
    noise, sigma = torch.randn(6, *s.shape, dtype=torch.float64), 0.7
    plain = s.detach()
    factor = (sigma * noise - sigma**2 / 2).exp() if multiplicative else torch.ones_like(noise)
    noisy = plain * factor if multiplicative else plain + sigma * noise
    decided = best_by_enumeration(POINTS[name], noisy)
    state = torch.Generator().manual_seed(3)
    drawn = torch.empty_like(noise).normal_(generator=torch.Generator().manual_seed(3))
    factor = (sigma * drawn - sigma**2 / 2).exp() if multiplicative else torch.ones_like(drawn)
    noisy = plain * factor if multiplicative else plain + sigma * drawn
    decided = best_by_enumeration(POINTS[name], noisy)
    loss = ol.perturbed_fenchel_young(
        P,
        s,
        gold,
        sigma=sigma,
        samples=6,
        multiplicative=multiplicative,
        generator=state,
        reduction="none",
    )
    torch.testing.assert_close(loss.detach(), dot(noisy, decided).mean(0) - dot(plain, gold))
    (found,) = torch.autograd.grad(loss.sum(), s)
    torch.testing.assert_close(found, (factor * decided).mean(0) - gold)


def test_with_gumbel_noise_it_is_cross_entropy():
    """The perturbed maximum of a simplex is the log-sum-exp, plus Euler's constant."""
    s = torch.tensor([0.5, -0.3, 1.0], dtype=torch.float64, requires_grad=True)
    gold = torch.tensor([1.0, 0.0, 0.0]).double()
    loss = ol.perturbed_fenchel_young(ol.simplex(3), s, gold, samples=200_000, noise="gumbel")
    wanted = ol.log_loss(ol.simplex(3), s, gold)
    assert float((loss - wanted).detach()) == pytest.approx(0.5772156649, abs=0.02)
    (a,), (b,) = (torch.autograd.grad(v, s) for v in (loss, wanted))
    torch.testing.assert_close(a, b, rtol=0, atol=0.01)


# ---------------------------------------------------------------------- REINFORCE


def every_structure(feasible_set):
    if isinstance(feasible_set, ol.Polytope):
        return vertices(feasible_set).double()
    return tree_tensors(3, True, True).double()


SAMPLED = {
    "simplex": ol.simplex(4),
    "at most one": ol.cardinality(3, at_most=1),
    "bits": ol.box(3),
    "labels": ol.label_sum(1, 2),
    "fixed": ol.simplex(4).fix({2: 0.0}),
    "trees": ol.DependencyTrees(3),
}


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("baseline", ["others", 0.4])
def test_reinforce_estimates_the_expected_cost_and_its_gradient(name, baseline):
    feasible_set, draws = SAMPLED[name], 20_000
    points = every_structure(feasible_set)
    shape = points.shape[1:]
    s = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(shape, dtype=torch.float64)
    event = tuple(range(-len(shape), 0))

    def cost(z):
        return (z * weight).sum(event).square()

    p = (points * s).sum(event).softmax(0)
    exact = (p * cost(points)).sum()
    (wanted,) = torch.autograd.grad(exact, s)
    generator = torch.Generator().manual_seed(0)
    loss = ol.reinforce(
        feasible_set, s, cost, samples=draws, baseline=baseline, generator=generator
    )
    (found,) = torch.autograd.grad(loss, s)
    scale = float(cost(points).max())
    assert abs(float((loss - exact).detach())) < 5 * scale / math.sqrt(draws)
    assert (found - wanted).abs().max() < 5 * scale / math.sqrt(draws)


def test_reinforce_trains_what_the_cost_depends_on():
    weight = torch.tensor(2.0, requires_grad=True)
    s = torch.zeros(3, requires_grad=True)
    ol.reinforce(ol.simplex(3), s, lambda z: weight * z[..., 0], samples=50).backward()
    assert 0 < float(weight.grad) < 1


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda s: ol.reinforce(raw_chain(3), s, torch.sum), "no tractable sum"),
        (lambda s: ol.reinforce(ol.simplex(3), s, torch.sum), "one cost per structure"),
        (lambda s: ol.reinforce(ol.simplex(3), s, torch.sum, samples=1), "at least two samples"),
        (lambda s: ol.reinforce(ol.simplex(3), s, torch.sum, samples=0), "positive integer"),
        (lambda s: ol.reinforce(ol.SemanticGraphs(1, 1), s, torch.sum), "no exact samples"),
        (lambda s: ol.sparsemap_loss(ol.simplex(3), s, s[:2]), "`gold` must have the shape"),
        (lambda s: ol.sparsemap_loss(ol.simplex(3), s, s, temperature=0), "`temperature` must be"),
        (lambda s: ol.sparsemap_loss(ol.simplex(3), s, s, reduction="max"), "`reduction` must be"),
        (lambda s: ol.spo_plus(ol.simplex(3), s, s, sense="max"), "`sense` must be 'scores'"),
        (lambda s: ol.regret(ol.simplex(3), s, s, sense="min"), "`sense` must be 'scores'"),
        (lambda s: ol.spo_plus(ol.simplex(3), s, s[:2], sense="costs"), "`true` must have"),
        (lambda s: ol.regret(ol.simplex(3), s, s, sense="costs", best=s[:2]), "`best` must have"),
        (lambda s: ol.perturbed_fenchel_young(ol.simplex(3), s, s, sigma=0), "`sigma` must be"),
        (lambda s: ol.perturbed_fenchel_young(ol.simplex(3), s, s, samples=0), "positive integer"),
        (lambda s: ol.perturbed_fenchel_young(ol.simplex(3), s, s, noise="n"), "`noise` must be"),
        (
            lambda s: ol.perturbed_fenchel_young(
                ol.simplex(3), s, s, noise="gumbel", multiplicative=True
            ),
            "Multiplicative noise is normal",
        ),
        (lambda s: ol.SparseMAPLoss()(s, s), "Give a feasible set to the loss"),
        (lambda _: ol.SPOPlusLoss(sense="max"), "`sense` must be"),
        (lambda _: ol.LogLoss(reduction="max"), "`reduction` must be"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ol.InputError, match=match):
        call(torch.zeros(3))


# ---------------------------------------------------------------------- what holds for all

LOSSES = {
    "structured_hinge": (ol.structured_hinge, ol.StructuredHingeLoss, {"costs": 0.5}),
    "structured_perceptron": (ol.structured_perceptron, ol.StructuredPerceptronLoss, {}),
    "log_loss": (ol.log_loss, ol.LogLoss, {}),
    "sparsemap_loss": (ol.sparsemap_loss, ol.SparseMAPLoss, {"temperature": 0.5}),
    "spo_plus": (ol.spo_plus, ol.SPOPlusLoss, {"sense": "scores"}),
    "perturbed_fenchel_young": (
        ol.perturbed_fenchel_young,
        ol.PerturbedFenchelYoungLoss,
        {"samples": 3, "sigma": 0.5},
    ),
}
EVERY = pytest.mark.parametrize("name", LOSSES)
TREES = ol.DependencyTrees([3, 2])


def batches():
    P = ol.simplex(4)
    yield P, torch.randn(2, 3, 4), ol.decode(P, torch.randn(2, 3, 4))
    s = torch.randn(2, 4, 4)
    yield TREES, s, TREES.decode(torch.randn(2, 4, 4))


@EVERY
def test_a_module_is_the_function_and_reductions_are_those_of_torch(name):
    function, module, options = LOSSES[name]
    for feasible_set, s, gold in batches():
        found = {}
        for reduction in ("none", "sum", "mean"):
            torch.manual_seed(0)
            found[reduction] = function(feasible_set, s, gold, reduction=reduction, **options)
            for make, call in (
                (module(feasible_set, reduction=reduction, **options), (s, gold)),
                (module(reduction=reduction, **options), (s, gold, feasible_set)),
            ):
                torch.manual_seed(0)
                assert torch.equal(make(*call), found[reduction])
                assert f"reduction='{reduction}'" in repr(copy.deepcopy(make))
        assert found["none"].shape == s.shape[: s.ndim - feasible_set.event_dim]
        torch.testing.assert_close(found["none"].sum(), found["sum"])
        torch.testing.assert_close(found["none"].mean(), found["mean"])


@EVERY
def test_a_batch_is_its_instances(name):
    function, _, options = LOSSES[name]
    if name == "perturbed_fenchel_young":
        options = options | {"noise": lambda like, _: torch.ones_like(like)}
    for feasible_set, s, gold in batches():
        leaf = s.clone().requires_grad_()
        both = function(feasible_set, leaf, gold, reduction="none", **options)
        (grads,) = torch.autograd.grad(both.sum(), leaf)
        for i in range(2):
            one = ol.DependencyTrees([3, 2][i], size=3) if feasible_set is TREES else feasible_set
            alone = s[i].clone().requires_grad_()
            loss = function(one, alone, gold[i], reduction="none", **options)
            torch.testing.assert_close(both[i], loss)
            (grad,) = torch.autograd.grad(loss.sum(), alone)
            torch.testing.assert_close(grads[i], grad)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_device_are_those_of_the_scores(name, dtype, device):
    function, _, options = LOSSES[name]
    s = torch.randn(5, 4, dtype=dtype, device=device, requires_grad=True)
    gold = torch.eye(5, 4, device=device)
    loss = function(ol.simplex(4), s, gold, reduction="none", **options)
    assert (loss.dtype, loss.device, loss.shape) == (dtype, s.device, (5,))
    (found,) = torch.autograd.grad(loss.float().sum(), s)
    assert found.dtype == dtype
    assert found.isfinite().all()


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "spo_plus"])
def test_the_gradient_leads_to_gold(name):
    """Plain gradient descent finds scores that decide for the gold structure."""
    function, _, options = LOSSES[name]
    P, gold = ol.simplex(4), torch.eye(4)
    s = torch.zeros(4, 4, requires_grad=True)
    for _ in range(60):
        (found,) = torch.autograd.grad(function(P, s, gold, **options), s)
        s = (s - 0.2 * found).detach().requires_grad_()
    assert torch.equal(ol.decode(P, s), gold)


def test_tolerances_are_what_float32_allows():
    P = SETS["assignment"]
    s, gold = torch.randn(8, 9), ol.decode(P, torch.randn(8, 9))
    wide = ol.sparsemap_loss(P, s.double(), gold.double(), reduction="none")
    narrow = ol.sparsemap_loss(P, s, gold, reduction="none")
    torch.testing.assert_close(narrow.double(), wide, rtol=0, atol=10 * TOL[torch.float32])
