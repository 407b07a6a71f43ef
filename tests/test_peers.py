"""Other libraries' own code gives the same gradients: LPGD of diffcp, methods of PyEPO."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import optlayers as ol

from .test_surrogate_limits import SETS, of, problem

CONE_TOL = 1e-5  # of a cone program solved to 1e-9; differences of two, over tau


# ---------------------------------------------------------------------- diffcp


def cone_program(P: ol.Polytope, s: torch.Tensor):
    """minimise -s.z with rows and bounds as `A z + slack = b`: zeros first, then numbers >= 0."""
    eye = sp.eye_array(P.n)
    A = sp.csc_matrix(sp.vstack([P.A_eq, P.A, eye, -eye]))
    b = np.concatenate([P.b_eq.numpy(), P.b.numpy(), P.upper.numpy(), -P.lower.numpy()])
    cones = {"z": P.A_eq.shape[0], "l": A.shape[0] - P.A_eq.shape[0]}
    return A, b, -s.numpy(), cones


@pytest.mark.parametrize("name", ["simplex", "cardinality", "assignment", "chain"])
@pytest.mark.parametrize("side", ["right", "left", "average"])
@pytest.mark.parametrize(("tau", "rho"), [(1.0, 1.0), (0.5, 2.0)])
def test_lpgd_is_that_of_diffcp(name, side, tau, rho):
    diffcp = pytest.importorskip("diffcp", reason="diffcp comes with cvxpylayers")
    P, s, g, _ = problem(name, batch=2)
    found = of(ol.LPGD(tau, rho, side=side), P, s, g)
    mode = {"right": "lpgd_right", "left": "lpgd_left", "average": "lpgd"}[side]
    for i in range(2):
        *_, adjoint = diffcp.solve_and_derivative(
            *cone_program(P, s[i]),
            mode=mode,
            solve_method="SCS",
            eps_abs=1e-10,
            eps_rel=1e-10,
            derivative_kwargs={"tau": tau, "rho": rho},
        )
        zero = np.zeros(2 * P.n + P.A.shape[0] + P.A_eq.shape[0])
        _, _, of_costs = adjoint(g[i].numpy(), zero, zero)
        np.testing.assert_allclose(found[i].numpy(), -of_costs, rtol=0, atol=CONE_TOL)


# ---------------------------------------------------------------------- PyEPO


def pyepo_model(P: ol.Polytope):
    """Return a model of PyEPO that decides by `decode`: minimise costs over P."""
    pytest.importorskip("pyepo", reason="PyEPO is not installed: pip install pyepo")
    from pyepo.model.opt import optModel  # type: ignore[import-not-found]

    class Model(optModel):
        def _getModel(self):  # noqa: N802
            return None, range(P.n)

        def setObj(self, c):  # noqa: N802
            self.costs = torch.as_tensor(np.asarray(c), dtype=torch.float64)

        def solve(self):
            z = ol.decode(P, -self.costs)
            return z.numpy(), float(self.costs @ z)

    return Model()


SEED = 135


def drawn(batch: int, samples: int, n: int) -> torch.Tensor:
    """The normal noise that PyEPO draws, `(samples, batch, n)`."""
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn((batch, samples, n), generator=generator, dtype=torch.float64)
    return noise.transpose(0, 1)


class Same:
    """PyEPO's distribution of fixed noise; costs are minus scores, so is their noise."""

    def __init__(self, noise: torch.Tensor):
        self.noise = noise

    def sample(self, size, device=None, dtype=None):
        return -self.noise.transpose(0, 1)


def theirs(layer, s: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Return their gradient in scores; their costs are minus scores."""
    costs = (-s).requires_grad_()
    return -torch.autograd.grad(layer(costs), costs, g)[0]


def ours(surrogate, P, s, g):
    leaf = s.clone().requires_grad_()
    return torch.autograd.grad(ol.structured_argmax(P, leaf, surrogate), leaf, g)[0]


PEER_SETS = pytest.mark.parametrize("name", ["simplex", "cardinality", "assignment"])
EPS = {"rtol": 1e-5, "atol": 1e-5}  # PyEPO adds 1e-7 to what it divides by


@PEER_SETS
def test_blackbox_is_that_of_pyepo(name):
    P, s, g, _ = problem(name)
    from_peer = theirs(func(P).blackboxOpt(pyepo_model(P), lambd=3.0), s, g)
    torch.testing.assert_close(ours(ol.Blackbox(3.0), P, s, g), from_peer, **EPS)


def func(P: ol.Polytope):
    pyepo_model(P)
    from pyepo import func  # type: ignore[import-not-found]

    return func


@PEER_SETS
@pytest.mark.parametrize("two_sides", [False, True])
def test_imle_is_that_of_pyepo_on_the_same_noise(name, two_sides):
    P, s, g, _ = problem(name)
    noise = torch.randn(3, *s.shape, dtype=torch.float64)
    layer = func(P).implicitMLE(
        pyepo_model(P),
        n_samples=3,
        sigma=0.8,
        lambd=2.0,
        distribution=Same(noise),
        two_sides=two_sides,
    )
    surrogate = ol.IMLE(
        2.0,
        3,
        sigma=0.8,
        noise=lambda *_: noise,
        divided=True,
        side="average" if two_sides else "right",
    )
    torch.testing.assert_close(ours(surrogate, P, s, g), theirs(layer, s, g), **EPS)


@PEER_SETS
def test_aimle_is_that_of_pyepo_over_several_steps(name):
    P, _, _, _ = problem(name)
    noise = torch.randn(3, 12, P.n, dtype=torch.float64)
    layer = func(P).adaptiveImplicitMLE(pyepo_model(P), n_samples=3, distribution=Same(noise))
    surrogate = ol.AIMLE(1.0, 3, noise=lambda *_: noise, norms="batch")
    for _ in range(3):
        _, s, g, _ = problem(name)
        torch.testing.assert_close(ours(surrogate, P, s, g), theirs(layer, s, g), **EPS)


@PEER_SETS
@pytest.mark.parametrize("reduction", [True, False])
def test_perturbed_is_that_of_pyepo_on_the_same_noise(name, reduction):
    P, s, g, _ = problem(name)
    noise = drawn(12, 5, P.n)
    layer = func(P).perturbedOpt(
        pyepo_model(P), n_samples=5, sigma=0.7, seed=SEED, variance_reduction=reduction
    )
    surrogate = ol.Perturbed(0.7, 5, variance_reduction=reduction)
    surrogate.noise = lambda *_: -noise
    torch.testing.assert_close(ours(surrogate, P, s, g), theirs(layer, s, g), **EPS)


@PEER_SETS
def test_losses_are_those_of_pyepo(name):
    P, s, true, _ = problem(name)
    best = ol.decode(P, true)
    costs = (-s).requires_grad_()
    peer = func(P).SPOPlus(pyepo_model(P), reduction="sum")
    value = peer(costs, -true, best, -(best * true).sum(-1, keepdim=True))
    leaf = s.clone().requires_grad_()
    own = ol.spo_plus(P, leaf, true, sense="scores")
    torch.testing.assert_close(own, value, **EPS)
    of_peer, of_own = torch.autograd.grad(value, costs)[0], torch.autograd.grad(own, leaf)[0]
    torch.testing.assert_close(of_own, -of_peer, **EPS)

    noise = drawn(12, 5, P.n)
    peer = func(P).perturbedFenchelYoung(
        pyepo_model(P), n_samples=5, sigma=0.7, seed=SEED, reduction="sum"
    )
    costs = (-s).requires_grad_()
    of_peer = torch.autograd.grad(peer(costs, best), costs)[0]
    leaf = s.clone().requires_grad_()
    own = ol.perturbed_fenchel_young(
        P, leaf, best, sigma=0.7, samples=5, noise=lambda *_: -noise, reduction="sum"
    )
    torch.testing.assert_close(torch.autograd.grad(own, leaf)[0], -of_peer, **EPS)


def test_the_sets_are_those_of_the_limits():
    assert {"simplex", "cardinality", "assignment", "chain"} <= set(SETS)
