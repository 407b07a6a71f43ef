"""Derivatives of projections: in the point, twice, in right-hand sides and bounds, at kinks."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import optlayers as ol
from optlayers._judge.references import exact_projection

from .fuzz.tensors import tensor_code
from .helpers import raw_chain
from .test_newton import HOSTILE, conflicts, gaussian

SMOOTH = {k: v for k, v in HOSTILE.items() if k not in ("thin cone", "a single point")}
SETS = {
    "box": ol.box(4),
    "simplex": ol.simplex(4),
    "label sum": ol.label_sum(2, 3),
    "one row": ol.budget([1.0, 2.0, 0.5, 3.0], limit=2.5),
    "affine": ol.Polytope(
        A_eq=[[1.0, 1.0, 0.0, 2.0], [0.0, 1.0, -1.0, 0.0]],
        b_eq=[1.0, 0.5],
        lower=-np.inf,
        upper=np.inf,
    ),
    "several rows": raw_chain(5),
    "product": ol.product(ol.simplex(3), raw_chain(3), ol.box(2)),
    "mostly auxiliary": ol.DependencyTrees(
        3, projective=False, relaxation="arborescence"
    ).relaxation,
}


def normal(*shape, scale=1.5):
    return (scale * torch.randn(*shape, dtype=torch.float64)).requires_grad_()


def jacobian(P, y):
    return torch.autograd.functional.jacobian(lambda v: ol.project(P, v), y)


# ---------------------------------------------------------------------- in the point


@pytest.mark.parametrize("P", list(SMOOTH.values()), ids=list(SMOOTH))
def test_gradcheck(P):
    assert gradcheck(lambda y: ol.project(P, y), (normal(2, P.n),), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("P", list(SETS.values()), ids=list(SETS))
def test_usable_twice(P):
    assert gradgradcheck(lambda y: ol.project(P, y), (normal(2, P.n),), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("P", list(SETS.values()), ids=list(SETS))
def test_the_jacobian_is_an_orthogonal_projector(P):
    J = jacobian(P, normal(P.n).detach())
    torch.testing.assert_close(J, J.T, rtol=0, atol=1e-7)
    torch.testing.assert_close(J @ J, J, rtol=0, atol=1e-7)


@pytest.mark.parametrize("P", list(SETS.values()), ids=list(SETS))
def test_single_precision(P):
    y, g = normal(6, P.n).detach(), torch.randn(6, P.n, dtype=torch.float64)
    grads = []
    for dtype in (torch.float32, torch.float64):
        point = y.to(dtype, copy=True).requires_grad_()
        (grad,) = torch.autograd.grad(ol.project(P, point), point, g.to(dtype))
        assert grad.dtype == dtype
        grads.append(grad.double())
    torch.testing.assert_close(*grads, rtol=0, atol=1e-4)


KINKS = {
    # two entries tie for the last place in the support
    "simplex": (ol.simplex(3), [1.0, 0.0, 0.0]),
    "box": (ol.box(3), [0.0, 1.0, 0.5]),
    # a vertex whose multipliers are zero
    "chain": (raw_chain(3), [1.0, 0.0, 1.0]),
    # on an edge, one row just met
    "edge": (raw_chain(3), [0.5, 0.5, 0.2]),
    "assignment": (ol.assignment(3), [1.0, 0, 0, 0, 1, 0, 0, 0, 1]),
    "face of the assignment": (ol.assignment(2), [1.0, 0.0, 0.0, 1.0]),
    "auxiliary": (ol.spans(4, 2, 1), [1.0, 1.0, 0.0, 0.0]),
}


@pytest.mark.parametrize(("P", "y"), list(KINKS.values()), ids=list(KINKS))
def test_at_a_kink_it_is_a_limit_of_derivatives_nearby(P, y):
    y = torch.tensor(y, dtype=torch.float64)
    J = jacobian(P, y)
    around = y + 1e-4 * torch.randn(200, P.n, dtype=torch.float64)
    nearest = min((jacobian(P, v) - J).abs().max() for v in around)
    assert nearest <= 1e-6


def test_the_kinks_are_kinks():
    differ = 0
    for P, y in KINKS.values():
        point = torch.tensor(y, dtype=torch.float64)
        around = point + 1e-4 * torch.randn(40, P.n, dtype=torch.float64)
        differ += (
            len({tuple(jacobian(P, v).round(decimals=3).flatten().tolist()) for v in around}) > 1
        )
    assert differ == len(KINKS)


# ---------------------------------------------------------------------- in the limits


def with_values(P, b, b_eq, lower, upper):
    return P.with_(b=b, b_eq=b_eq, lower=lower, upper=upper)


@pytest.mark.parametrize("name", [k for k in SETS if k != "mostly auxiliary"])
def test_gradcheck_in_all_values(name):
    P = SETS[name]
    values = []
    for key in ("b", "b_eq", "lower", "upper"):
        v = getattr(P, key).clone()
        # Moved a little, so that no row coincides with a bound; equalities stay consistent.
        v = v + 0.05 * torch.rand_like(v) if v.isfinite().all() else v
        values.append(v.requires_grad_(bool(v.numel() and v.isfinite().all())))
    y = normal(3, P.n)

    def projection(y, *values):
        return ol.project(with_values(P, *values), y)

    assert gradcheck(projection, (y, *values), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("P", [conflicts(8, 9), gaussian(5, 2, 9)], ids=["conflicts", "gaussian"])
def test_one_value_per_instance(P):
    b = P.b + 0.1 * torch.rand(3, len(P.b), dtype=torch.float64)
    b.requires_grad_()
    y = normal(3, P.n)
    assert gradcheck(lambda y, b: ol.project(P.with_(b=b), y), (y, b), eps=1e-6, atol=1e-5)
    # The sum over a batch is what one shared value gets.
    shared = P.b.clone().requires_grad_()
    g = torch.randn(3, P.n, dtype=torch.float64)
    (one,) = torch.autograd.grad(ol.project(P.with_(b=shared), y), shared, g)
    each = P.b.expand(3, -1).clone().requires_grad_()
    (many,) = torch.autograd.grad(ol.project(P.with_(b=each), y), each, g)
    torch.testing.assert_close(one, many.sum(0))


def test_auxiliary_bounds_and_rows():
    P = ol.spans(6, 3, 2)
    b = (P.b + 0.01 * torch.rand_like(P.b)).requires_grad_()
    assert gradcheck(lambda b: ol.project(P.with_(b=b), normal(P.n).detach() * 0 + 0.6), (b,))


@pytest.mark.parametrize(
    "make",
    [
        lambda t: ol.simplex(5, total=t),
        lambda t: ol.budget([1.0, 2.0, 3.0, 1.0, 1.0], limit=t),
        lambda t: ol.cardinality(5, at_most=t),
        lambda t: ol.product(ol.budget([1.0, 2.0], limit=t), ol.simplex(3, total=t)),
        lambda t: ol.intersect(ol.budget([1.0, 2.0, 3.0, 1.0, 1.0], limit=t), ol.simplex(5)),
        lambda t: ol.budget([1.0, 2.0, 3.0, 1.0, 1.0], limit=t).fix({2: 0.0}),
        lambda t: ol.box(5, upper=t),
    ],
)
def test_constructors_and_algebra_keep_the_graph(make):
    t = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    y, weights = normal(2, 5).detach() + 1, torch.arange(10.0).reshape(2, 5)
    assert gradcheck(lambda t: ol.project(make(t), y), (t,))
    (grad,) = torch.autograd.grad((weights * ol.project(make(t), y)).sum(), t)
    assert grad.abs() > 0.01


def test_a_learned_budget():
    """The limit that reproduces given answers is found by gradient descent."""
    y = torch.rand(16, 6, dtype=torch.float64)
    weights = torch.linspace(0.5, 2.0, 6).tolist()
    goal = ol.project(ol.budget(weights, limit=1.7), y)
    limit = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([limit], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (ol.project(ol.budget(weights, limit=limit), y) - goal).square().sum().backward()
        optimizer.step()
    assert limit.item() == pytest.approx(1.7, abs=1e-3)


def test_one_polytope_serves_several_backward_passes():
    b = torch.tensor([1.0, 1.2], dtype=torch.float64, requires_grad=True)
    P, y = raw_chain(3).with_(b=b), normal(4, 3)
    for _ in range(2):
        ol.project(P, y).sum().backward()
    assert torch.isfinite(b.grad).all()
    with torch.no_grad():
        assert not ol.project(P, y).requires_grad
    assert not P.b.requires_grad  # the declaration itself is a value


def test_a_map_without_a_derivative_in_the_limits_says_so():
    class Plain(ol.maps.AbstractBlockMap):
        @classmethod
        def why_not(cls, block):
            return None if block.size == 7 else "not 7"

        def forward(self, x, limits, report):
            return x.clamp(0, 1)

        def vjp(self, x, z, limits, grad):
            return grad * ((x > 0) & (x < 1))

    ol.maps.PROJECTIONS.register(Plain)
    try:
        upper = torch.ones(7, requires_grad=True)
        with pytest.raises(NotImplementedError, match="Plain has no derivative with respect to"):
            ol.project(ol.box(7, upper=upper), torch.zeros(7)).sum().backward()
    finally:
        ol.maps.PROJECTIONS.unregister(Plain)


# ---------------------------------------------------------------------- against cvxpylayers


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("P", [conflicts(8, 9), gaussian(5, 2, 9)], ids=["conflicts", "gaussian"])
def test_agrees_with_cvxpylayers(P):
    cp = pytest.importorskip("cvxpy")
    layers = pytest.importorskip("cvxpylayers.torch")
    z, point, b, b_eq = (
        cp.Variable(P.n),
        cp.Parameter(P.n),
        cp.Parameter(len(P.b)),
        cp.Parameter(max(1, len(P.b_eq))),
    )
    rows = [P.A.toarray() @ z <= b, z >= 0, z <= 1]
    rows += [P.A_eq.toarray() @ z == b_eq] if len(P.b_eq) else []
    parameters = [point, b, b_eq] if len(P.b_eq) else [point, b]
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(z - point)), rows)
    layer = layers.CvxpyLayer(problem, parameters=parameters, variables=[z])
    y = normal(4, P.n)
    # In general position: where more rows meet than must, the answer has a kink in b.
    b_now = P.b + 0.05 * torch.rand_like(P.b)
    right = [b_now.requires_grad_(), P.b_eq.clone().requires_grad_()]
    tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-12)
    theirs = layer(
        y, *right[: len(parameters) - 1], solver_args={"solve_method": "CLARABEL", **tight}
    )[0]
    ours = ol.project(P.with_(b=right[0], b_eq=right[1]), y)
    # Its quadratic becomes a cone, which costs half of the digits asked for.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    g = torch.randn_like(ours)
    wanted = [y, *right[: len(parameters) - 1]]
    for own, other in zip(
        torch.autograd.grad(ours, wanted, g), torch.autograd.grad(theirs, wanted, g), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-3)


def test_a_float_point_and_double_values():
    b = torch.tensor([1.0, 1.2], dtype=torch.float64, requires_grad=True)
    z = ol.project(raw_chain(3).with_(b=b), torch.full((3,), 2.0))
    assert z.dtype == torch.float32
    z.sum().backward()
    assert b.grad.dtype == torch.float64
    exact = exact_projection(raw_chain(3).with_(b=b.detach()), torch.full((3,), 2.0), "cvxpy")
    torch.testing.assert_close(z.detach().double(), exact.double(), rtol=0, atol=1e-6)


def test_a_point_on_an_equality_stays_on_it():
    P = ol.Polytope(A_eq=[[0.5, 0.7]], b_eq=[0.6], lower=-np.inf, upper=np.inf)
    z = ol.project(P, torch.randn(2, dtype=torch.float64))
    a = torch.tensor([0.5, 0.7], dtype=torch.float64)
    expected = torch.eye(2, dtype=torch.float64) - torch.outer(a, a) / a.dot(a)
    torch.testing.assert_close(jacobian(P, z), expected, rtol=0, atol=1e-9)


# ---------------------------------------------------------------------- at vertices

VERTICES = {
    "simplex": ol.simplex(4),
    "budget": ol.budget([1.0, 2.0, 3.0], 3.0),
    "cardinality": ol.cardinality(4, at_most=2),
    "exact cardinality": ol.cardinality(4, exactly=2),
    "range": ol.cardinality(4, at_least=1, at_most=2),
    "signs": ol.Polytope([[1.0, -2.0, 1.0, -1.0]], [0.0], lower=-1.0, upper=1.0),
    "label sum": ol.label_sum(2, 3),
    "two rows": ol.Polytope([[1.0, 1, 1], [1, 1, 0]], [1.0, 1.0]),
    "assignment": ol.assignment(3),
    "spans": ol.spans(5, 3, 2),
    "heads": ol.DependencyTrees(3, relaxation="head-selection").relaxation,
    "graph": ol.SemanticGraphs([2], labels=2).relaxation,
    "chain": raw_chain(4),
    "path": ol.dag_path(4, [(0, 1), (0, 2), (1, 3), (2, 3)], 0, 3),
}
NAMES = ("b", "b_eq", "lower", "upper")
NUDGE = 1e-5  # of a difference quotient
KINK = 1e-4  # two sides that differ by more disagree


def projected(P, values, y):
    """The projection with other values, NaN where there is none."""
    if bool((values[2] > values[3]).any()):
        return torch.full_like(y, torch.nan)
    return ol.project(P.with_(**dict(zip(NAMES, values, strict=True))), y, on_failure="nan")


@pytest.fixture(params=["kernels", "tensors"])
def path(request):
    if request.param == "kernels":
        yield
    else:
        with tensor_code():
            yield


@pytest.mark.parametrize("name", VERTICES)
def test_where_both_sides_agree_at_a_vertex_the_derivative_is_theirs(name, path):
    P, compared = VERTICES[name], 0
    for _ in range(3):
        best = ol.decode(P, torch.randn(P.n).double())
        y = (3 * best + 0.3 * torch.randn_like(best)).expand(*P.batch_shape, -1)
        values = [y, *(getattr(P, key).clone() for key in NAMES)]
        g = torch.randn_like(y)
        inputs = [v.clone().requires_grad_() for v in values]
        z = projected(P, inputs[1:], inputs[0])
        found = torch.autograd.grad((z * g).sum(), inputs, allow_unused=True)
        for k, v in enumerate(values):
            for j in range(v.numel()):
                sides = []
                for sign in (1, -1):
                    moved = [u.clone() for u in values]
                    moved[k].view(-1)[j] += sign * NUDGE
                    apart = (projected(P, moved[1:], moved[0]) - z.detach()) * g
                    sides.append(float(apart.sum()) / (sign * NUDGE))
                if abs(sides[0] - sides[1]) <= KINK:
                    compared += 1
                    slope = 0.0 if found[k] is None else float(found[k].view(-1)[j])
                    assert slope == pytest.approx(sides[0], abs=1e-3), (k, j, sides)
    assert compared > P.n


@pytest.mark.parametrize("equality", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_budget_is_learned_away_from_an_integer(equality, dtype, path):
    y = torch.tensor([2.0, 0.3, 0.1], dtype=dtype)
    b, upper = torch.ones(1, requires_grad=True), torch.ones(3, requires_grad=True)
    rows = {"A_eq": [[1.0, 1, 1]], "b_eq": b} if equality else {"A": [[1.0, 1, 1]], "b": b}
    ol.project(ol.Polytope(**rows, upper=upper), y).sum().backward()
    assert b.grad.tolist() == [1.0]
    assert upper.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("scale", [1.0, 2.0, -4.0])
def test_of_equal_rows_the_derivative_is_a_limit(scale):
    """Nearly equal limits are moved to their middle, which has half of the least and the largest.

    (1/3, 1/3, 1/3), a share for each, is the derivative nowhere nearby.
    """
    y = torch.tensor([1.0, 0.4, 0.1], dtype=torch.float64)
    hair = torch.tensor([0.0, 1e-8, -1e-8], dtype=torch.float64)
    found = []
    for near in (0 * hair, hair):
        right = (2 + near).requires_grad_()
        weights = torch.tensor([1.0, 1.0, scale], dtype=torch.float64)
        P = ol.Polytope(A_eq=weights[:, None] * torch.ones(3, 3), b_eq=weights * right)
        found += torch.autograd.grad(ol.project(P, y).sum(), right)
    torch.testing.assert_close(found[1], torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64))
    torch.testing.assert_close(found[0].sort().values, found[1])


def test_of_equal_inequalities_one_has_the_whole_derivative():
    b = torch.ones(3, dtype=torch.float64, requires_grad=True)
    P = ol.Polytope(torch.ones(3, 3), b)
    y = torch.tensor([2.0, 0.3, 0.1], dtype=torch.float64)
    (g,) = torch.autograd.grad(ol.project(P, y).sum(), b)
    assert sorted(g.tolist()) == [0.0, 0.0, 1.0]


def test_a_bound_that_is_a_row_as_well_has_it_once():
    lower = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    b = torch.full((1,), -0.5, dtype=torch.float64, requires_grad=True)  # z_0 >= 0.5
    P = ol.Polytope([[-1.0, 0.0]], b, lower=lower)
    g = torch.autograd.grad(ol.project(P, torch.zeros(2).double()).sum(), (lower, b))
    assert sorted([g[0][0].item(), -g[1].item()]) == [0.0, 1.0]


@pytest.mark.parametrize("most", [0, 4_000_000])
@pytest.mark.parametrize("equality", [True, False])
@pytest.mark.parametrize(("n", "order"), [(40, 3), (160, 3), (400, 2)])
def test_long_chains_have_the_slope_of_their_polynomials(n, order, equality, most, monkeypatch):
    """Differences that are all active leave the polynomials of lower degree; dense or sparse."""
    import scipy.sparse as sp

    monkeypatch.setattr("optlayers._projections.derivative_rows._DENSE", most)
    D = sp.csr_array(sp.eye_array(n))
    for _ in range(order):
        D = sp.csr_array(D[1:] - D[:-1])
    zero, free = np.zeros(n - order), {"lower": -np.inf, "upper": np.full(n, np.inf)}
    rows = {"A_eq": D, "b_eq": zero} if equality else {"A": sp.vstack([D, -D]), "b": [*zero, *zero]}
    t = torch.linspace(-1, 1, n, dtype=torch.float64)
    # With some bounds out of reach, equalities are no affine set in closed form.
    free["upper"][0] = 1e3
    y, g = torch.sin(7 * t).requires_grad_(), torch.cos(3 * t)
    ol.project(ol.Polytope(**rows, **free, integral=False), y).backward(g)
    basis = torch.linalg.qr(torch.stack([t**k for k in range(order)], 1))[0]
    torch.testing.assert_close(y.grad, basis @ (basis.T @ g), rtol=0, atol=1e-7)
