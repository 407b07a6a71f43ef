"""Every surrogate is its formula, by enumeration, by a certificate or by a closed form."""

import copy
import pickle

import pytest
import torch

import optlayers as ol
from optlayers.testing import vertices

from .helpers import TOL, best_by_enumeration, raw_chain

SETS = {
    "simplex": ol.simplex(5),
    "cardinality": ol.cardinality(5, at_most=2),
    "assignment": ol.assignment(3),
    "chain": raw_chain(5),
}
POINTS = {name: vertices(P).double() for name, P in SETS.items()}
NEAR = {"rtol": 0, "atol": TOL[torch.float64]}


def problem(name, batch=16):
    s, g = torch.randn(2, batch, SETS[name].n, dtype=torch.float64)
    return SETS[name], s, g


def gradient(feasible_set, scores, grad, surrogate, **options):
    leaf = scores.clone().requires_grad_()
    z = ol.structured_argmax(feasible_set, leaf, surrogate, **options)
    (found,) = torch.autograd.grad(z, leaf, grad)
    return z.detach(), found


def is_projection(P, points, found):
    return all(
        ol.certify(P, y, z).holds(1e-7) for y, z in zip(points.numpy(), found.numpy(), strict=True)
    )


# ---------------------------------------------------------------------- decoding again


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("side", ["right", "left", "average"])
def test_blackbox(name, side):
    P, s, g = problem(name)
    lam = 3.0

    def best(scores):
        return best_by_enumeration(POINTS[name], scores)

    sides = {
        "right": (best(s) - best(s - lam * g)) / lam,
        "left": (best(s + lam * g) - best(s)) / lam,
        "average": (best(s + lam * g) - best(s - lam * g)) / (2 * lam),
    }
    z, found = gradient(P, s, g, ol.Blackbox(lam, side))
    torch.testing.assert_close(z, best(s), **NEAR)
    torch.testing.assert_close(found, sides[side], **NEAR)


def test_blackbox_looks_where_descent_leads():
    """The other side stays where it is: it sees only what would be worse."""
    costs = torch.tensor([0.0, 1.0], dtype=torch.float64)  # the second part is chosen and is worse
    reached = {}
    for side in ("right", "left"):
        z = s = torch.tensor([0.0, 0.5], dtype=torch.float64)
        for _ in range(20):
            z, found = gradient(ol.simplex(2), s, costs, ol.Blackbox(1.0, side))
            s = s - 0.1 * found
        reached[side] = z.tolist()
    assert reached == {"right": [1.0, 0.0], "left": [0.0, 1.0]}


def test_a_step_per_instance():
    P, s, g = problem("chain", 2)
    lam = torch.tensor([0.5, 4.0])
    _, both = gradient(P, s, g, ol.Blackbox(lam))
    for i in range(2):
        _, alone = gradient(P, s[i], g[i], ol.Blackbox(float(lam[i])))
        torch.testing.assert_close(both[i], alone)


def test_a_layer_with_its_own_decoder_decodes_with_it_in_the_backward_pass():
    calls = []

    def worst(scores):
        calls.append(scores.clone())
        return best_by_enumeration(torch.eye(4, dtype=scores.dtype), -scores)

    s, g = torch.randn(2, 3, 4, dtype=torch.float64)
    surrogate = ol.Blackbox(5.0)
    z, found = gradient(ol.simplex(4), s, g, surrogate, decoder=worst)
    assert len(calls) == 2
    torch.testing.assert_close(found, (z - worst(s - 5.0 * g)) / 5.0)


# ---------------------------------------------------------------------- projecting


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kappa", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("side", ["right", "left"])
def test_lpgd(name, kappa, side):
    P, s, g = problem(name, 6)
    tau, rho = 0.7, 1.3
    z, found = gradient(P, s, g, ol.LPGD(tau, rho, kappa=kappa, side=side))
    sign = -1 if side == "right" else 1
    y = z - tau * found if side == "right" else z + tau * found
    assert is_projection(P, z + (kappa * s + sign * tau * g) / rho, y)


def test_lpgd_in_the_middle_is_the_mean_of_its_sides():
    P, s, g = problem("chain")
    right, left, middle = (
        gradient(P, s, g, ol.LPGD(0.5, 2.0, side=side))[1] for side in ("right", "left", "average")
    )
    torch.testing.assert_close(middle, (right + left) / 2)


@pytest.mark.parametrize("name", SETS)
def test_sparsemap_projects_and_has_its_derivative(name):
    P, s, g = problem(name, 4)
    z, found = gradient(P, s, g, ol.SparseMAP(temperature=0.8))
    assert is_projection(P, s / 0.8, z)
    step = 1e-6 * torch.randn_like(s)
    there, back = (ol.project(P, (s + d) / 0.8) for d in (step, -step))
    change = ((there - back) / 2 * g).sum(-1)
    torch.testing.assert_close((found * step).sum(-1), change, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("name", SETS)
def test_straight_through_sparsemap_decides_and_has_the_same_derivative(name):
    P, s, g = problem(name)
    _, relaxed = gradient(P, s, g, ol.SparseMAP(temperature=0.8))
    z, found = gradient(P, s, g, ol.SparseMAP(temperature=0.8, straight_through=True))
    torch.testing.assert_close(z, best_by_enumeration(POINTS[name], s))
    torch.testing.assert_close(found, relaxed)


# ---------------------------------------------------------------------- marginals


def moments(points, scores):
    """Mean and covariance of `exp(z . s)` over all points, by enumeration."""
    p = (scores @ points.T).softmax(-1)
    mean = p @ points
    square = torch.einsum("bk,ki,kj->bij", p, points, points)
    return mean, square - mean[:, :, None] * mean[:, None, :]


FACTORED = {
    "simplex": ol.simplex(4),
    "at most one": ol.cardinality(4, at_most=1),
    "heads": ol.head_selection(2),
    "labels": ol.label_sum(2, 2),
    "bits": ol.box(4),
    "fixed": ol.simplex(4).fix({1: 0.0}),
    "mixed": ol.product(ol.simplex(3), ol.box(2)),
}


@pytest.mark.parametrize("name", FACTORED)
def test_softmax_straight_through_has_the_covariance(name):
    P = FACTORED[name]
    s, g = torch.randn(2, 8, P.n, dtype=torch.float64)
    mean, covariance = moments(vertices(P).double(), s / 0.7)
    _, found = gradient(P, s, g, ol.SoftmaxStraightThrough(0.7))
    torch.testing.assert_close(found, torch.einsum("bij,bj->bi", covariance, g) / 0.7)
    _, diagonal = gradient(P, s, g, ol.SoftmaxStraightThrough(0.7, jacobian="diagonal"))
    torch.testing.assert_close(diagonal, mean * (1 - mean) * g / 0.7)


@pytest.mark.parametrize("name", FACTORED)
def test_spigot_eg_is_a_difference_of_means(name):
    P = FACTORED[name]
    s, g = torch.randn(2, 8, P.n, dtype=torch.float64)
    points = vertices(P).double()
    wanted = moments(points, s / 2)[0] - moments(points, s / 2 - 0.9 * g)[0]
    _, found = gradient(P, s, g, ol.SPIGOTEG(0.9, temperature=2.0))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", FACTORED)
def test_log_loss_of_a_product_of_choices(name):
    P = FACTORED[name]
    points = vertices(P).double()
    s = torch.randn(len(points), P.n, dtype=torch.float64, requires_grad=True)
    loss = ol.log_loss(P, s, points, reduction="none")
    wanted = -(s @ points.T).log_softmax(-1).diagonal()
    torch.testing.assert_close(loss, wanted)
    (found,) = torch.autograd.grad(loss.sum(), s)
    torch.testing.assert_close(found, moments(points, s.detach())[0] - points)


def test_marginals_of_a_set_whose_total_differs_in_the_batch():
    P = ol.cardinality(3, exactly=torch.tensor([1, 0]))
    s = torch.randn(2, 3, dtype=torch.float64)
    g = torch.randn(2, 3, dtype=torch.float64)
    _, found = gradient(P, s, g, ol.SPIGOTEG())
    torch.testing.assert_close(found[0], s[0].softmax(-1) - (s[0] - g[0]).softmax(-1))
    assert found[1].tolist() == [0, 0, 0]


def test_trees_have_the_derivative_of_their_marginals():
    trees = ol.DependencyTrees([4, 3])
    s, g = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    _, found = gradient(trees, s, g, ol.SoftmaxStraightThrough(0.5))
    y = s.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(trees.marginals(y / 0.5), y, g)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    "surrogate", [ol.SoftmaxStraightThrough(), ol.SPIGOTEG(), ol.SPIGOT(around="marginals")]
)
def test_sets_without_sums_say_so(surrogate):
    for P, why in (
        (ol.budget([3.1, 1.0, 2.0**0.5], 2.0), "multiples of one number"),
        (ol.assignment(2), "no simplex"),
        (ol.box(3, 0, 2), "other than 0 and 1"),
        (ol.simplex(3, total=2), "total of a simplex is not one"),
    ):
        with pytest.raises(ol.InputError, match=f"no tractable sum .*{why}"):
            gradient(P, torch.randn(P.n), torch.randn(P.n), surrogate)


# ---------------------------------------------------------------------- identity


@pytest.mark.parametrize("name", ["simplex", "assignment", "heads"])
def test_identity_takes_out_what_changes_no_decision(name):
    P = ol.head_selection(3) if name == "heads" else SETS[name]
    s, g = torch.randn(2, 8, P.n, dtype=torch.float64)
    points = vertices(P).double()  # the directions of differences of structures
    C = torch.linalg.pinv(points - points.mean(0)) @ (points - points.mean(0))
    y = s.clone().requires_grad_()
    nu = y @ C
    (wanted,) = torch.autograd.grad(nu / nu.norm(dim=-1, keepdim=True), y, g)
    z, found = gradient(P, s, g, ol.Identity())
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(z, ol.decode(P, s))
    _, plain = gradient(P, s, g, ol.Identity(normalise=False))
    torch.testing.assert_close(plain, g @ C)


def test_identity_with_the_mean_decides_on_centred_scores():
    P, s = SETS["cardinality"], torch.tensor([3.0, 2.0, 1.0, 4.0, 5.0]).double()
    g = torch.randn(5).double()
    z, found = gradient(P, s - 9, g, ol.Identity("mean"))
    assert z.tolist() == [0, 0, 0, 1, 1]  # all scores are negative: without centring, nothing
    y = s.clone().requires_grad_()
    nu = y - y.mean()
    (wanted,) = torch.autograd.grad(nu / nu.norm(), y, g)
    torch.testing.assert_close(found, wanted)


def test_identity_without_anything_is_straight_through():
    P, s, g = problem("chain")
    _, found = gradient(P, s, g, ol.Identity(None, normalise=False))
    torch.testing.assert_close(found, g)


def test_identity_of_equal_or_masked_scores_is_finite():
    s = torch.tensor([[1.0, 1.0, 1.0], [2.0, -torch.inf, 0.0]]).double()
    _, found = gradient(ol.simplex(3), s, torch.randn(2, 3).double(), ol.Identity())
    assert found.isfinite().all()


def test_identity_at_padding():
    trees = ol.DependencyTrees([2, 3])
    s, g = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    _, found = gradient(trees, s, g, ol.Identity())
    spoiled = s.clone()
    spoiled[0, :, 3] = torch.nan
    _, same = gradient(trees, spoiled, g, ol.Identity())
    torch.testing.assert_close(same, found)
    free = trees.free_parts(torch.device("cpu"))
    per_word = torch.where(free, found, 0).sum(-2)  # one simplex over the heads of every word
    torch.testing.assert_close(per_word, torch.zeros_like(per_word))


# ---------------------------------------------------------------------- several steps


def loss_of(wanted):
    return lambda z: (z - wanted).square().sum(-1)


@pytest.mark.parametrize("name", SETS)
def test_several_steps_follow_the_loss(name):
    P, s, _ = problem(name, 6)
    wanted = torch.rand(6, P.n, dtype=torch.float64)
    z, one = gradient(P, s, torch.zeros_like(s), ol.MultiStepSPIGOT(loss_of(wanted), 0.4, steps=1))
    target = 2 * (z - wanted)
    _, spigot = gradient(P, s, target, ol.SPIGOT(0.4, around="vertex"))
    torch.testing.assert_close(one, spigot)
    z, many = gradient(P, s, torch.zeros_like(s), ol.MultiStepSPIGOT(loss_of(wanted), 0.4, 60))
    assert is_projection(P, wanted, z - many)  # the minimum of this loss over P


def test_spigot_zero_starts_at_zero():
    P, s, _ = problem("simplex", 3)
    wanted = torch.rand(3, 5, dtype=torch.float64)
    surrogate = ol.MultiStepSPIGOT(loss_of(wanted), 0.25, 2, start="zero")
    z, found = gradient(P, s, torch.zeros_like(s), surrogate)
    y = ol.project(P, torch.zeros_like(s) + 0.5 * wanted)
    y = ol.project(P, y - 0.5 * (y - wanted))
    torch.testing.assert_close(found, z - y)


def test_steps_that_are_not_projected():
    P, s, _ = problem("simplex", 3)
    wanted = torch.rand(3, 5, dtype=torch.float64)
    surrogate = ol.MultiStepSPIGOT(loss_of(wanted), 0.25, 1, unconstrained=True)
    z, found = gradient(P, s, torch.zeros_like(s), surrogate)
    torch.testing.assert_close(found, 0.5 * (z - wanted))


@pytest.mark.parametrize("start", ["projection", "marginals"])
def test_several_steps_from_a_relaxed_point(start):
    P, s, _ = problem("simplex", 3)
    wanted = torch.rand(3, 5, dtype=torch.float64)
    surrogate = ol.MultiStepSPIGOT(loss_of(wanted), 0.1, 1, start=start)
    _, found = gradient(P, s, torch.zeros_like(s), surrogate)
    p = ol.project(P, s) if start == "projection" else s.softmax(-1)
    torch.testing.assert_close(found, p - ol.project(P, p - 0.2 * (p - wanted)))


def test_the_loss_of_several_steps_trains_nothing_else():
    weight = torch.ones(5, dtype=torch.float64, requires_grad=True)
    P, s, g = problem("simplex", 2)
    gradient(P, s, g, ol.MultiStepSPIGOT(lambda z: (z * weight).sum(-1)))
    assert weight.grad is None


# ---------------------------------------------------------------------- pairs


PAIRS = [
    (ol.ProjectedStep(0.5), "perceptron", ol.SPIGOT(0.5, around="vertex"), 1.0),
    (ol.ProjectedStep(0.5), "sparsemap", ol.SPIGOT(0.5), 1.0),
    (ol.ProjectedStep(0.5), "log", ol.SPIGOT(0.5, around="marginals"), 1.0),
    (ol.ScoreStep(0.5), "perceptron", ol.Blackbox(0.5), 0.5),
    (ol.ScoreStep(0.5), "log", ol.SPIGOTEG(0.5), 1.0),
    (ol.Step(0.5), "perceptron", ol.StraightThrough(0.5), 1.0),
    (ol.Step(0.5), "sparsemap", ol.StraightThrough(0.5), 1.0),
    (ol.Step(0.5), "log", ol.StraightThrough(0.5), 1.0),
]


@pytest.mark.parametrize(("target", "loss", "same", "factor"), PAIRS, ids=repr)
def test_a_pair_of_target_and_loss_is_the_method_of_that_name(target, loss, same, factor):
    P, s, g = problem("simplex")
    _, found = gradient(P, s, g, ol.PulledBack(target, loss))
    _, wanted = gradient(P, s, g, same)
    torch.testing.assert_close(found, factor * wanted)


LOSSES = {
    "perceptron": ol.structured_perceptron,
    "sparsemap": ol.sparsemap_loss,
    "log": ol.log_loss,
}


@pytest.mark.parametrize("around", ["vertex", "projection", "marginals"])
@pytest.mark.parametrize("loss", LOSSES)
def test_any_loss_of_the_library_is_one_of_a_pair(loss, around):
    P, s, g = problem("simplex")
    by_name = ol.PulledBack(ol.ProjectedStep(0.5, around), loss)
    by_function = ol.PulledBack(ol.ProjectedStep(0.5, around), LOSSES[loss])
    torch.testing.assert_close(gradient(P, s, g, by_function)[1], gradient(P, s, g, by_name)[1])


# ---------------------------------------------------------------------- what holds for all


def every_surrogate():
    return [
        ol.SPIGOT(0.7),
        ol.SPIGOT(0.7, around="vertex", warn=False),
        ol.SPIGOT(0.7, around="marginals"),
        ol.StraightThrough(0.7),
        ol.SoftmaxStraightThrough(),
        ol.SPIGOTEG(),
        ol.SparseMAP(),
        ol.SparseMAP(straight_through=True),
        ol.Blackbox(2.0),
        ol.Identity(),
        ol.Identity("mean"),
        ol.LPGD(),
        ol.LPGD(kappa=0.0, side="average"),
        ol.MultiStepSPIGOT(lambda z: z.square().sum(-1), 0.2, 2),
        ol.PulledBack(ol.ProjectedStep(0.5), "sparsemap"),
        ol.PulledBack(ol.ScoreStep(0.5, "vertex"), ol.sparsemap_loss),
        ol.IMLE(2.0, 3, generator=torch.Generator().manual_seed(1)),
        ol.AIMLE(1.0, 3, generator=torch.Generator().manual_seed(1)),
        ol.Perturbed(1.0, 4, generator=torch.Generator().manual_seed(1)),
        ol.Perturbed(1.0, 4, multiplicative=True, generator=torch.Generator().manual_seed(1)),
        ol.GumbelStraightThrough(generator=torch.Generator().manual_seed(1)),
    ]


EVERY = pytest.mark.parametrize("surrogate", every_surrogate(), ids=repr)
PLAIN = [s for s in every_surrogate() if not hasattr(s, "samples")]
TREES = ol.DependencyTrees([3, 2])


def test_every_public_surrogate_is_in_the_list():
    names = {n for n in dir(ol) if isinstance(getattr(ol, n), type)}
    public = {n for n in names if issubclass(getattr(ol, n), ol.AbstractSurrogate)}
    assert {type(s).__name__ for s in every_surrogate()} == public - {"AbstractSurrogate"}


@pytest.mark.parametrize("surrogate", PLAIN, ids=repr)
def test_a_batch_is_its_instances(surrogate):
    for feasible_set, shape in ((ol.simplex(4), (2, 3, 4)), (TREES, (2, 4, 4))):
        s, g = torch.randn(2, *shape, dtype=torch.float64)
        z, found = gradient(feasible_set, s, g, surrogate)
        for i in range(2):
            one = ol.DependencyTrees([3, 2][i], size=3) if shape[1:] == (4, 4) else feasible_set
            alone, of_one = gradient(one, s[i], g[i], surrogate)
            torch.testing.assert_close(z[i], alone)
            torch.testing.assert_close(found[i], of_one)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_shape_are_those_of_the_scores(surrogate, dtype, device):
    s = torch.randn(2, 1, 4, dtype=dtype, device=device)
    z, found = gradient(ol.simplex(4), s, torch.randn_like(s), surrogate)
    assert (z.dtype, z.shape, z.device) == (s.dtype, s.shape, s.device)
    assert (found.dtype, found.shape, found.device) == (s.dtype, s.shape, s.device)
    assert found.isfinite().all()


@EVERY
def test_a_gradient_that_is_not_finite_costs_its_instance_alone(surrogate):
    if isinstance(surrogate, ol.MultiStepSPIGOT):
        surrogate = ol.MultiStepSPIGOT(lambda z: torch.tensor([torch.nan, 1.0]) @ z, 0.2, 2)
    s, g = torch.randn(2, 2, 4)
    g[0, 1] = torch.inf if isinstance(surrogate, ol.StraightThrough) else torch.nan
    if isinstance(surrogate, ol.SparseMAP) and not surrogate.straight_through:
        g[0, :] = torch.nan  # a true derivative: parts at a bound do not see it
    for policy in ("raise", "nan", "fallback"):
        _, found = gradient(ol.simplex(4), s, g, surrogate, on_failure=policy)
        assert not found[0].isfinite().all()
        assert found[1].isfinite().all()


SUMS = (ol.SoftmaxStraightThrough, ol.SPIGOTEG, ol.GumbelStraightThrough)
NO_SUMS = [
    s
    for s in every_surrogate()
    if not isinstance(s, SUMS)
    and getattr(s, "around", None) != "marginals"
    and not (isinstance(s, ol.PulledBack) and callable(s.loss))  # the loss raises by itself
]


@pytest.mark.parametrize("surrogate", NO_SUMS, ids=repr)
@pytest.mark.parametrize("policy", ["nan", "fallback"])
def test_an_instance_without_a_structure_costs_no_other(surrogate, policy):
    P = ol.cardinality(3, exactly=torch.tensor([1, 4, 1]))
    layer = ol.StructuredArgmax(P, surrogate, on_failure=policy)
    s, g = torch.randn(3, 3, requires_grad=True), torch.randn(3, 3)
    z = layer(s)
    assert layer.status.ok.tolist() == [True, False, True]
    lost = z[1].isnan() if policy == "nan" else z[1] == 0
    assert lost.all()
    (found,) = torch.autograd.grad(z, s, g)
    assert found[[0, 2]].isfinite().all()


@EVERY
def test_padding_may_hold_anything_and_gets_no_gradient(surrogate):
    s, g = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    free = TREES.free_parts(torch.device("cpu"))
    spoiled = torch.where(free, s, torch.nan)
    if isinstance(surrogate, ol.MultiStepSPIGOT | ol.SparseMAP):
        spoiled_grad = g
    else:
        spoiled_grad = torch.where(free, g, torch.nan)
    found = []
    for scores, grad in ((s, g), (spoiled, spoiled_grad)):
        again = copy.deepcopy(surrogate)
        found.append(gradient(TREES, scores, grad, again)[1])
    assert (torch.where(free, 0, found[1]) == 0).all()
    torch.testing.assert_close(*found)


@EVERY
def test_masked_parts_are_not_chosen_and_the_rest_learns(surrogate):
    s, g = torch.randn(2, 3, 4, dtype=torch.float64)
    s[:, 1] = -torch.inf
    z, found = gradient(ol.simplex(4), s, g, surrogate)
    assert (z[:, 1] == 0).all()
    assert found.isfinite().all()


GENERAL = [SETS["assignment"], SETS["chain"], ol.spans(6, max_words=3, max_spans=2)]


@pytest.mark.parametrize("P", GENERAL, ids=repr)
@pytest.mark.parametrize(
    "surrogate",
    [ol.SPIGOT(0.5), ol.SparseMAP(), ol.LPGD(), ol.PulledBack(ol.ProjectedStep(0.5))],
    ids=repr,
)
def test_masks_are_upper_bounds_of_zero_where_several_rows_project(surrogate, P):
    """Minus infinity, the lowest that training code writes, and the bound itself agree."""
    s, g = torch.randn(2, 4, P.n, dtype=torch.float64)
    upper = torch.as_tensor(P.upper).clone()
    upper[1] = 0.0
    s[:, 1] = g[:, 1] = 0.0
    z, wanted = gradient(P.with_(upper=upper), s, g, surrogate)
    masked = s.clone()
    masked[:, 1] = -torch.inf
    same, found = gradient(P, masked, g, surrogate)
    torch.testing.assert_close(same, z, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_a_mask_on_a_part_without_a_lower_bound_has_no_projection():
    P = ol.Polytope([[1.0, 1.0], [1.0, -1.0]], [1.0, 1.0], lower=-torch.inf, upper=torch.inf)
    scores = torch.tensor([0.3, -torch.inf], dtype=torch.float64)
    found, _ = ol.SPIGOT(around="projection").backward(P, scores, scores * 0, scores * 0)
    assert found.isnan().any()


def test_equalities_of_auxiliary_variables_are_no_directions_of_structures():
    """The flow of a tree couples parts with hidden variables; one head per word does not."""
    s, g = torch.randn(2, 4, 4, dtype=torch.float64)
    coarse, tight = (
        gradient(trees, s, g, ol.Identity(normalise=False))[1]
        for trees in (
            ol.DependencyTrees(3, single_root=False),
            ol.DependencyTrees(3, single_root=False, relaxation="single-commodity"),
        )
    )
    torch.testing.assert_close(tight, coarse)


def test_hulls_have_the_directions_of_their_set():
    hull = ol.ConvexHull(SETS["assignment"])
    s, g = torch.randn(2, 3, 9, dtype=torch.float64)
    found = gradient(hull, s, g, ol.Identity())[1]
    torch.testing.assert_close(found, gradient(SETS["assignment"], s, g, ol.Identity())[1])


@EVERY
def test_an_empty_batch(surrogate):
    s = torch.randn(0, 4)
    z, found = gradient(ol.simplex(4), s, s, copy.deepcopy(surrogate))
    assert z.shape == found.shape == (0, 4)


@EVERY
def test_one_row_of_scores_against_a_batched_set(surrogate):
    P = ol.simplex(3).with_(lower=0.0, upper=torch.tensor([[1.0, 1, 1], [1, 1, 0]]))
    s = torch.tensor([0.3, 0.2, 1.0])
    z, found = gradient(P, s, torch.randn(2, 3), surrogate)
    assert z.shape == (2, 3)
    assert found.shape == (3,)
    assert z[1, 2] == 0


@EVERY
def test_copies_pickles_and_words(surrogate):
    layer = ol.StructuredArgmax(ol.simplex(4), surrogate).eval()
    s = torch.randn(3, 4)
    assert type(surrogate).__name__ + "(" in repr(layer)
    copies = [copy.deepcopy(layer)]
    if not callable(getattr(surrogate, "loss", None)):  # a lambda has no pickle
        copies.append(pickle.loads(pickle.dumps(layer)))
    for other in copies:
        assert torch.equal(other(s), layer(s))


# ---------------------------------------------------------------------- differentiated twice


TWICE = [s for s in PLAIN if s.twice_differentiable]


@pytest.mark.parametrize("surrogate", TWICE, ids=repr)
def test_double_backward_is_the_derivative_of_the_formula(surrogate):
    P = ol.simplex(4)
    s = torch.randn(3, 4, dtype=torch.float64)
    z = ol.decode(P, s)

    def formula(s, g):
        return surrogate.backward(P, s, z, g)[0]

    g = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    direct = s.clone().requires_grad_()
    assert torch.autograd.gradcheck(formula, (direct, g), eps=1e-7, atol=1e-5)

    layer_s = s.clone().requires_grad_()
    out = ol.structured_argmax(P, layer_s, surrogate)
    (first,) = torch.autograd.grad(out, layer_s, g, create_graph=True)
    v = torch.randn_like(first)
    (through_layer,) = torch.autograd.grad(first, g, v)
    (through_formula,) = torch.autograd.grad(formula(s, g), g, v)
    torch.testing.assert_close(through_layer, through_formula)


def test_double_backward_with_noise_keeps_the_noise():
    surrogate = ol.Perturbed(1.0, 5, generator=torch.Generator().manual_seed(0))
    s = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    z = ol.structured_argmax(ol.simplex(4), s, surrogate)
    (first,) = torch.autograd.grad(z, s, g, create_graph=True)
    (again,) = torch.autograd.grad(
        first, g, g.detach(), retain_graph=True
    )  # linear in g: the transpose
    (transposed,) = torch.autograd.grad((first * g.detach()).sum(), g)
    torch.testing.assert_close(again, transposed)
    assert again.abs().sum() > 0


ONCE = [s for s in every_surrogate() if not s.twice_differentiable]


@pytest.mark.parametrize("surrogate", ONCE, ids=repr)
def test_double_backward_is_refused_by_name_where_it_decodes(surrogate):
    s = torch.randn(2, 4, requires_grad=True)
    z = ol.structured_argmax(ol.simplex(4), s, surrogate)
    (first,) = torch.autograd.grad(z.square().sum(), s, create_graph=True)
    with pytest.raises(ol.NotTwiceDifferentiable, match=type(surrogate).__name__):
        first.sum().backward()


def test_a_surrogate_of_ones_own_is_not_differentiated_twice_in_silence():
    class Half(ol.AbstractSurrogate):
        def backward(self, feasible_set, scores, z_hat, grad, on_failure="raise"):
            return grad / 2, ol.Status(tuple(grad.shape[:-1]))

    s = torch.randn(4, requires_grad=True)
    z = ol.structured_argmax(ol.simplex(4), s, Half())
    (first,) = torch.autograd.grad(z.square().sum(), s, create_graph=True)
    assert repr(Half()) == "Half()"
    with pytest.raises(ol.NotTwiceDifferentiable, match="Half"):
        first.sum().backward()


class Doubled(ol.AbstractSurrogate):
    def gradient(self, oracles, scores, z_hat, grad):
        return 2 * grad


def test_a_formula_is_all_that_a_surrogate_of_ones_own_needs():
    s = torch.zeros(2, 4, dtype=torch.float16, requires_grad=True)
    z = ol.structured_argmax(ol.simplex(4), s, Doubled())
    z.backward(torch.tensor([[1.0, 2, 3, 4], [torch.nan, 2, 3, 4]], dtype=torch.float16))
    assert s.grad[0].tolist() == [2, 4, 6, 8]
    assert s.grad.dtype == torch.float16
    assert s.grad[1].isnan().all()


def test_what_an_instance_falls_back_to_is_the_surrogates_own():
    class Failing(Doubled):
        def gradient(self, oracles, scores, z_hat, grad):
            return oracles.project(grad)

        def fallback(self, grad, event_dim):
            return grad / 2

    empty = ol.Polytope(A=[[1.0, 1.0]], b=[-1.0])
    s, g = torch.zeros(1, 2), torch.ones(1, 2)
    found, status = Failing().backward(empty, s, s, g, "fallback")
    assert found.tolist() == [[0.5, 0.5]]
    assert list(status.failures) == [(0,)]


def test_a_surrogate_without_a_formula_says_what_it_needs():
    class Nothing(ol.AbstractSurrogate):
        pass

    with pytest.raises(NotImplementedError, match="Nothing needs a method `gradient"):
        Nothing().backward(ol.simplex(2), *torch.zeros(3, 1, 2))


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ol.Blackbox(0.0), "`lam` must be positive and finite. Got 0.0"),
        (lambda: ol.Blackbox("1"), "`lam` must be a number"),
        (lambda: ol.Blackbox(1.0, "up"), "`side` must be 'right', 'left' or 'average'"),
        (lambda: ol.LPGD(tau=-1.0), "`tau` must be a positive number"),
        (lambda: ol.LPGD(rho=torch.nan), "`rho` must be a positive number"),
        (lambda: ol.LPGD(kappa=-1.0), "`kappa` must be a number and must not be negative"),
        (lambda: ol.LPGD(side="both"), "`side` must be"),
        (lambda: ol.Identity("median"), "`centre` must be"),
        (lambda: ol.SparseMAP(0.0), "`temperature` must be a positive number"),
        (lambda: ol.SoftmaxStraightThrough(-1), "`temperature` must be a positive number"),
        (lambda: ol.SoftmaxStraightThrough(jacobian="half"), "`jacobian` must be"),
        (lambda: ol.SPIGOTEG(0), "`eta` must be positive"),
        (lambda: ol.MultiStepSPIGOT(3.0), "`loss` must be a function"),
        (lambda: ol.MultiStepSPIGOT(sum, steps=0), "`steps` must be a positive integer"),
        (lambda: ol.MultiStepSPIGOT(sum, start="one"), "`start` must be"),
        (lambda: ol.PulledBack("step"), "`target` must be Step"),
        (lambda: ol.PulledBack(ol.Step(), "hinge"), "`loss` must be one of"),
        (lambda: ol.PulledBack(ol.Step(), ol.sparsemap_loss), "does not say where the step starts"),
        (lambda: ol.Step(around="zero"), "`around` must be"),
        (lambda: ol.IMLE(-1.0), "`lam` must be positive"),
        (lambda: ol.IMLE(samples=0), "`samples` must be a positive integer"),
        (lambda: ol.IMLE(noise="uniform"), "`noise` must be one of"),
        (lambda: ol.IMLE(sigma=0.0), "`sigma` must be a positive number"),
        (lambda: ol.AIMLE(alpha=-1.0), "`alpha` must be a number and must not be negative"),
        (lambda: ol.AIMLE(decay=1.0), "`decay` must be at least 0 and below 1"),
        (lambda: ol.AIMLE(norms="row"), "`norms` must be"),
        (lambda: ol.Perturbed(samples=1), "One sample has no others to subtract"),
        (lambda: ol.GumbelStraightThrough(soft="argmax"), "`soft` must be"),
        (lambda: ol.SumOfGamma(0), "`SumOfGamma` takes positive numbers"),
    ],
)
def test_errors(make, match):
    with pytest.raises(ol.InputError, match=match):
        make()
