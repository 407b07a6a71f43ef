"""Sums over subsets and knapsacks: against enumeration, in value, derivatives and samples."""

import pytest
import torch

import optlayers as ol

from .helpers import TOL
from .test_knapsack import all_points

inf = torch.inf
SETS = {
    "exactly": ol.cardinality(6, exactly=2),
    "nearly all": ol.cardinality(5, exactly=4),
    "none": ol.cardinality(4, exactly=0),
    "at most": ol.cardinality(6, at_most=3),
    "at least": ol.cardinality(5, at_least=3),
    "between": ol.cardinality(6, at_least=2, at_most=4),
    "not an integer": ol.cardinality(5, at_most=2.5),
    "mask": ol.cardinality(5, exactly=2, mask=[True, True, False, True, True]),
    "fixed": ol.cardinality(5, exactly=2).fix({1: 1.0}),
    "budget": ol.budget([3.0, 1.0, 2.0, 2.0, 5.0], 6.0),
    "nothing fits": ol.budget([4.0, 4.0], 1.0),
    "half of what is one": ol.Polytope([[1.0, 1.0, 1.0]], [0.5], upper=[1.0, 0.5, 1.0]),
    "all but one": ol.Polytope([[-2.0, -2.0]], [-3.5]),
    "tenths": ol.budget([0.3, 0.1, 0.2, 0.2], 0.4),
    "signs": ol.budget([3.0, -1.0, 2.0, -2.0], 1.0),
    "exact weight": ol.Polytope(A_eq=[[3.0, 1.0, 2.0, 2.0, 5.0]], b_eq=[7.0]),
    "several": ol.product(
        ol.cardinality(3, exactly=2), ol.cardinality(3, exactly=2), ol.simplex(2), ol.box(2),
        ol.budget([1.0, 2.0, 3.0], 3.0),
    ),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", SETS)
CLOSE = {"rtol": 1e-12, "atol": TOL[torch.float64]}


def drawn(P: ol.Polytope, *batch: int) -> torch.Tensor:
    return torch.randn(*batch, P.n, dtype=torch.float64)


@EVERY
def test_sums_are_those_of_enumeration(name):
    P = SETS[name]
    points, s = all_points(P), 3 * drawn(P, 2, 4)
    values = s @ points.T
    p = values.softmax(-1)
    torch.testing.assert_close(ol.log_partition(P, s), values.logsumexp(-1), **CLOSE)
    torch.testing.assert_close(ol.marginals(P, s), p @ points, **CLOSE)
    entropy = -torch.where(p > 0, p * p.log(), 0).sum(-1)
    torch.testing.assert_close(ol.entropy(P, s), entropy, **CLOSE)


@EVERY
def test_marginals_are_the_derivative_and_have_one(name):
    P = SETS[name]
    s = drawn(P, 2).requires_grad_()
    (mu,) = torch.autograd.grad(ol.log_partition(P, s).sum(), s, create_graph=True)
    torch.testing.assert_close(mu, ol.marginals(P, s), **CLOSE)
    assert torch.autograd.gradcheck(lambda v: ol.marginals(P, v), s)
    assert torch.autograd.gradgradcheck(lambda v: ol.log_partition(P, v), s)


@EVERY
def test_samples_are_points_as_often_as_they_should_be(name):
    P = SETS[name]
    points, s = all_points(P), drawn(P)
    count = 20_000
    z = ol.sample(P, s, count, generator=torch.Generator().manual_seed(1))
    same = (z[:, None] == points).all(-1)
    assert same.any(1).all()
    p = (points @ s).softmax(0)
    assert (same.double().mean(0) - p).abs().max() < 5 * (p * (1 - p) / count).sqrt().max() + 1e-12


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_dtypes(name, dtype):
    P = SETS[name]
    s = drawn(P, 3).to(dtype)
    total, mu = ol.log_partition(P, s), ol.marginals(P, s)
    assert total.dtype == mu.dtype == dtype
    wide = s.double()
    close = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 8 * torch.finfo(dtype).eps}
    torch.testing.assert_close(total.double(), ol.log_partition(P, wide), **close)
    torch.testing.assert_close(mu.double(), ol.marginals(P, wide), **close)


def test_limits_per_instance():
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0]]).bool()
    P = ol.cardinality(4, at_least=torch.tensor([0.0, 1, 2]), at_most=2, mask=mask)
    s = drawn(P, 5, 3)
    for i in range(3):
        one = P.instance((i,))
        torch.testing.assert_close(
            ol.log_partition(P, s)[:, i], ol.log_partition(one, s[:, i]), **CLOSE
        )
        torch.testing.assert_close(ol.marginals(P, s)[:, i], ol.marginals(one, s[:, i]), **CLOSE)


def test_minus_infinity_takes_parts_out():
    P, s = ol.cardinality(4, exactly=2), torch.tensor([0.5, -inf, 1.0, 2.0]).double()
    expected = ol.cardinality(4, exactly=2, mask=[True, False, True, True])
    for verb in (ol.log_partition, ol.marginals, ol.entropy):
        torch.testing.assert_close(verb(P, s), verb(expected, s.clamp(min=0)), **CLOSE)
    assert (ol.sample(P, s, 50)[:, 1] == 0).all()
    nothing = torch.tensor([-inf, -inf, -inf, 2.0])
    assert ol.log_partition(P, nothing) == -inf
    assert ol.marginals(P, nothing).isnan().any()
    assert ol.sample(P, nothing).isnan().all()


def test_large_scores_do_not_overflow():
    P = ol.cardinality(5, exactly=2)
    s = torch.tensor([1e4, 1e4, -1e4, 0.0, 5e3]).double()
    torch.testing.assert_close(ol.log_partition(P, s), s.new_tensor(2e4))
    torch.testing.assert_close(ol.marginals(P, s), s.new_tensor([1, 1, 0, 0, 0]))


def test_a_layer_around_the_marginals_of_subsets():
    P = ol.cardinality(5, exactly=2)
    s, weights = drawn(P, 3).requires_grad_(), drawn(P)
    (ol.structured_argmax(P, s, ol.SPIGOT(around="marginals")) * weights).sum().backward()
    mu = ol.marginals(P, s.detach())
    torch.testing.assert_close(s.grad, mu - ol.project(P, mu - weights), **CLOSE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: ol.marginals(ol.budget([0.31, 0.2, 2**0.5], 1.0), s), "no multiples of one"),
        (lambda s: ol.log_partition(ol.budget([1.0, 2.0, 3.0], 3.0).with_(upper=2.0), s),
         "bounds other than 0 and 1"),
        (lambda s: ol.log_partition(ol.budget([999_983.0, 999_979.0, 1.0], 1e6), s),
         "a table of more than 4,000,000 entries"),
        (lambda s: ol.log_partition(ol.Polytope([[1.0, 1, 1]], [1.9], lower=0.3, upper=1.3), s),
         "the bounds of a simplex are no integers"),
        (lambda s: ol.sample(ol.box(3), s, 0), "`samples` must be a positive integer. Got 0"),
    ],
)  # fmt: skip
def test_what_has_no_sum_says_why(call, message):
    with pytest.raises(ol.InputError, match=message):
        call(torch.zeros(3))


@pytest.mark.parametrize("size", [1e100, 1e250, 1e305])
@pytest.mark.parametrize(
    "P", [ol.cardinality(4, exactly=2), ol.budget([3.0, 1, 3, 3], 5.0)], ids=["subsets", "knapsack"]
)
def test_counted_sums_of_huge_scores_are_their_largest(P, size):
    """What stands for the log of nothing has to be below them, whatever they are."""
    s = torch.tensor([0.3, -0.7, 1.0, -0.2], dtype=torch.float64) * size
    best = ol.decode(P, s)
    torch.testing.assert_close(ol.log_partition(P, s), best @ s)
    assert ol.marginals(P, s).equal(best)
    assert ol.entropy(P, s) == 0
    assert ol.sample(P, s).equal(best)
