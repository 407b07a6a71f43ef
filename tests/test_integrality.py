"""Some variables are integers and others are not."""

import pickle

import numpy as np
import pytest
import scipy.optimize
import torch

import optlayers as ol
from optlayers import testing
from tests.helpers import QP_TOL

MIXED = [True, False, False]


@pytest.mark.parametrize(
    "given",
    [MIXED, tuple(MIXED), np.array(MIXED), torch.tensor(MIXED), [np.bool_(v) for v in MIXED]],
)
def test_one_boolean_for_each_variable(given):
    P = ol.Polytope([[1.0, 1.0, 0.0, 1.0]], [1.5], num_aux=1, integral=given)
    assert P.integral == (True, False, False)
    assert P.whole.tolist() == [True, False, False, False]  # psi never is
    assert repr(P) == "Polytope(n=3, num_aux=1, rows=1, 1 of 3 integral)"


@pytest.mark.parametrize(("given", "found"), [([True, True], True), ([False, False], False)])
def test_the_same_for_all_is_one_answer(given, found):
    assert ol.simplex(2).with_(integral=given).integral is found


def test_arrays_say_it_in_their_shape():
    P = ol.Polytope(upper=np.ones(4), shape=(2, 2), integral=[[True, False], [False, True]])
    assert P.integral == (True, False, False, True)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([True, False, True], r"Got shape \(3,\)"),
        ([0, 1], r"Got \[0, 1\]"),  # as positions: both
        ([1.0, 0.0], r"Got \[1.0, 0.0\]"),
        ("yes", "Got 'yes'"),
        (1, "Got 1"),
        ([[True], [False, True]], r"Got \[\[True\], \[False, True\]\]"),
        (torch.tensor([1, 0]), r"Got tensor\(\[1, 0\]\)"),
        (None, "Got None"),
    ],
)
def test_other_things_are_refused(given, found):
    message = r"`integral` must be True or False, .* or booleans of shape \(2,\), one.*" + found
    with pytest.raises(ol.PolytopeError, match=message):
        ol.Polytope([[1.0, 1.0]], [1.0], integral=given)
    with pytest.raises(ol.PolytopeError, match=message):
        ol.simplex(2).with_(integral=given)


def random_polytope(seed: int) -> tuple[ol.Polytope, np.ndarray]:
    """A few rows of small integers, halves on the right, some auxiliary variable."""
    rng = np.random.default_rng(seed)
    n, aux, m = int(rng.integers(2, 6)), int(rng.integers(0, 2)), int(rng.integers(1, 4))
    A = rng.integers(-3, 4, (m, n + aux)).astype(float)
    A[:, 0] += (A == 0).all(1)
    b = rng.integers(0, 5, m) + rng.choice([0, 0.5, 0.25], m)
    mask = rng.random(n) < 0.5
    mask[:2] = True, False
    upper = rng.choice([1, 2, 2.5], n + aux)
    P = ol.Polytope(A, b, upper=upper, num_aux=aux, integral=mask)
    return P, rng.integers(-4, 5, n).astype(float)


def best_by_scipy(P: ol.Polytope, s: np.ndarray) -> float:
    rows = scipy.optimize.LinearConstraint(P.A, ub=P.b.numpy())
    bounds = scipy.optimize.Bounds(P.lower.numpy(), P.upper.numpy())
    costs = -np.append(s, np.zeros(P.num_aux))
    found = scipy.optimize.milp(costs, constraints=rows, bounds=bounds, integrality=P.whole)
    return -float(found.fun)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(24))
def test_decisions_are_those_of_another_solver(seed, dtype):
    P, s = random_polytope(seed)
    z = ol.decode(P, torch.tensor(s, dtype=dtype), check=True)
    assert z.dtype == dtype
    own = z[torch.from_numpy(P.whole[: P.n])]
    assert torch.equal(own, own.round())
    assert abs(float(z.double() @ torch.from_numpy(s)) - best_by_scipy(P, s)) < QP_TOL * 10


@pytest.mark.parametrize("seed", range(4))
def test_decisions_are_the_best_of_every_combination(seed):
    P, _ = random_polytope(seed)
    scores = testing.coarse_points((5, P.n), seed)
    testing.assert_decodes_optimally(lambda s: ol.decode(P, s), P, scores)


def test_the_check_of_decoders_sees_fractions_and_losses():
    P, scores = ol.Polytope([[1.0, 1.0]], [1.5], integral=[True, False]), torch.tensor([[1.0, 2.0]])
    for wrong, message in (([0.5, 1.0], "integral"), ([1.0, 0.0], "below"), ([1.0, 1.0], "A.0.")):
        with pytest.raises(AssertionError, match=message):
            testing.assert_decodes_optimally(lambda _, z=wrong: torch.tensor([z]), P, scores)
    with pytest.raises(ol.InputError, match="whose variables are all integers"):
        testing.vertices(P)


def test_each_component_has_its_own_integers():
    """A simplex of integers, the same with other numbers, and parts without rows."""
    simplex = ol.simplex(3)
    P = ol.product(simplex, simplex.with_(integral=False), ol.box(2, upper=1.5))
    P = P.with_(integral=[*[True] * 3, *[False] * 3, True, False])
    s = torch.tensor([0.1, 0.3, 0.2, 0.1, 0.3, 0.2, 1.0, 1.0])
    assert ol.decode(P, s).tolist() == [0, 1, 0, 0, 1, 0, 1, 1.5]
    assert ol.plan(P, "decoder").explain().count("-> MILP") == 0


def test_plans_say_why_special_methods_are_not_taken():
    P = ol.budget([1.0, 2.0], 2.5).with_(integral=[True, False])
    words = ol.plan(P, "decoder").explain()
    assert "-> MILP" in words
    assert "not Knapsack: some of its variables are integers and others are not" in words
    assert "not OneRowArgmax: " in words
    assert ol.decode(P, torch.tensor([1.0, 1.0])).tolist() == [1.0, 0.75]


def test_a_map_of_a_user_takes_such_blocks_if_it_says_so():
    class Nothing(ol.maps.AbstractBlockMap):
        @classmethod
        def why_not(cls, block):
            return None

        def forward(self, x, limits, report):
            return torch.zeros_like(x)

    P, s = ol.budget([1.0, 2.0], 2.5).with_(integral=[True, False]), torch.tensor([1.0, 1.0])
    for takes in (False, True):
        Nothing.takes_mixed = takes
        ol.maps.DECODERS.register(Nothing)
        try:
            assert bool(ol.decode(P, s).any()) != takes
        finally:
            ol.maps.DECODERS.unregister(Nothing)


def test_projections_do_not_depend_on_integers():
    P, y = ol.budget([1.0, 2.0, 3.0], 2.5), torch.tensor([1.0, 0.7, 0.4])
    mixed = P.with_(integral=[True, False, True])
    assert ol.plan(mixed).explain() == ol.plan(P).explain()
    assert torch.equal(ol.project(mixed, y), ol.project(P, y))


def test_batches_of_values_and_of_rows():
    weights = torch.tensor([[1.0, 2.0, 3.0], [2.0, 1.0, 1.0]], dtype=torch.float64)
    limit, mask = torch.tensor([3.5, 2.5]), [False, True, False]
    both = ol.budget(weights, limit).with_(integral=mask)
    one = ol.budget(weights[0], limit).with_(integral=mask)
    scores = torch.tensor([[1.0, 1.5, 0.5], [1.0, 0.2, 0.4]], dtype=torch.float64)
    for P in (both, one, ol.stack([both.instance((0,)), both.instance((1,))])):
        z = ol.decode(P, scores, check=True)
        for i in range(2):
            alone = P.instance((i,))
            assert alone.integral == (False, True, False)
            assert float(z[i] @ scores[i]) == pytest.approx(best_by_scipy(alone, scores[i].numpy()))


def test_stacked_polytopes_agree_variable_by_variable():
    short = ol.box(2).with_(integral=[True, False])
    long = ol.box(3).with_(integral=[True, False, True])
    assert ol.stack([short, long]).integral == (True, False, True)
    with pytest.raises(ol.PolytopeError, match="Polytope 1 has continuous, the longest 2 of 3"):
        ol.stack([long, ol.box(2).with_(integral=False)])


def test_products_keep_what_their_factors_say():
    P = ol.product(ol.box(2), ol.Polytope([[1.0, 1.0]], [1.5], num_aux=1, integral=False))
    assert (P.integral, P.num_aux) == ((True, True, False), 1)
    assert ol.intersect(P, P).integral == P.integral
    with pytest.raises(ol.PolytopeError, match="Got 2 of 3 integral and integral"):
        ol.intersect(P, P.with_(integral=True))


def test_it_is_kept_by_files_pickles_and_words(tmp_path):
    P = ol.Polytope([[1.0, 1.0, 1.0]], [1.5], integral=MIXED)
    ol.save(P, tmp_path / "set.npz")
    for again in (ol.load(tmp_path / "set.npz"), pickle.loads(pickle.dumps(P)), P.fix({1: 0.0})):
        assert again.integral == (True, False, False)
    assert ol.describe(P).splitlines()[-1] == "integers: z0"
    np.savez(tmp_path / "wrong.npz", upper=np.ones(3), integral=[True, False])
    with pytest.raises(ol.PolytopeError, match=r"wrong.npz does not hold a polytope: `integral`"):
        ol.load(tmp_path / "wrong.npz")


def test_large_coefficients_do_not_carry_the_tolerance_of_a_solver():
    """y <= 1e6 z: an integer that is off by 1e-7 would let y be 0.1."""
    P = ol.Polytope([[-1e6, 1.0]], [0.0], upper=[1.0, 5.0], integral=[True, False])
    assert ol.decode(P, torch.tensor([-1.0, 0.1], dtype=torch.float64)).tolist() == [0.0, 0.0]
    assert ol.decode(P, torch.tensor([-1.0, 0.3], dtype=torch.float64)).tolist() == [1.0, 5.0]


def test_failures_are_named():
    half = ol.Polytope(A_eq=[[1.0, 0.0]], b_eq=[0.5], integral=[True, False])
    with pytest.raises(ol.InfeasibleError, match="no integ"):
        ol.decode(half, torch.ones(2))
    assert ol.decode(half.with_(integral=[False, True]), torch.ones(2)).tolist() == [0.5, 1.0]
    endless = ol.Polytope([[1.0, -1.0]], [0.5], upper=[1.0, np.inf], integral=[True, False])
    with pytest.raises(ol.UnboundedError, match="unbounded"):
        ol.decode(endless, torch.ones(2))


def test_forbidden_parts_stay_at_their_bound():
    P = ol.Polytope([[1.0, 1.0]], [1.5], lower=[0.3, 0.2], upper=2.0, integral=[True, False])
    for low in (-torch.inf, -1e9):
        assert ol.decode(P, torch.tensor([1.0, low])).tolist() == pytest.approx([1.0, 0.2])
        assert ol.decode(P, torch.tensor([low, 1.0])).tolist() == pytest.approx([1.0, 0.5])


def test_a_layer_trains_the_scores_of_both_kinds():
    P = ol.Polytope([[1.0, 1.0, 1.0]], [1.5], integral=MIXED)
    layer = ol.StructuredArgmax(P, ol.SPIGOT())
    scores = torch.tensor([0.1, 0.5, 0.2], requires_grad=True)
    z = layer(scores)
    assert z.tolist() == [0.0, 1.0, 0.5]
    z[0].neg().backward()
    assert scores.grad is not None
    assert scores.grad[0] < 0 < scores.grad.abs().sum()


def test_hulls_of_such_sets():
    P = ol.Polytope([[-2.0, 1.0]], [0.0], upper=[1.0, 1.0], integral=[True, False])
    y = torch.tensor([0.0, 1.0], dtype=torch.float64)
    hull = ol.project(ol.ConvexHull(P), y)  # of (0, 0), (1, 0), (1, 1); the rows have (0.5, 1)
    assert hull.tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
    assert ol.project(P, y).tolist() == pytest.approx([0.4, 0.8])
