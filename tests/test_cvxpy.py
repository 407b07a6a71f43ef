"""Polytopes from cvxpy: problems, several variables, open parameters, atoms."""

import pickle

import numpy as np
import pytest
import torch

import optlayers as ol
from tests.helpers import QP_TOL

cp = pytest.importorskip("cvxpy")
n = 5


def tensors(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def solved(z, constraints, y, aux=None):
    """The projection by cvxpy itself, from the constraints as the user wrote them."""
    flat = cp.hstack([cp.reshape(v, (v.size,), order="C") for v in z])
    goal = 0.5 * cp.sum_squares(flat) - y.numpy() @ flat
    tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
    cp.Problem(cp.Minimize(goal), constraints).solve(solver=cp.CLARABEL, **tight)
    return torch.from_numpy(np.array(flat.value))


def atoms(z):
    t, M = cp.Variable(), np.array([[1.0, -2, 0, 1, 0.5], [0, 1, 1, -1, 2]])
    return {
        "abs": [cp.abs(M @ z - 0.3) <= 0.8],
        "norm1": [cp.norm1(z - 0.4) <= 1.0],
        "norm_inf": [cp.norm_inf(z[:3] - z[2:]) <= 0.5],
        "max": [cp.max(M @ z) <= 0.7],
        "min": [cp.min(z[1:4]) >= 0.2],
        "maximum": [cp.maximum(z[:2], z[2:4]) <= t, t <= 0.6],
        "pos": [cp.sum(cp.pos(z - 0.3)) <= 0.4],
        "sum_largest": [cp.sum_largest(z, 2) <= 0.9],
        "sum_smallest": [cp.sum_smallest(z, 3) >= -0.2],
        "tv": [cp.tv(z) <= 0.7],
        "cumsum": [cp.cumsum(z) <= 0.6, cp.sum(cp.abs(cp.cumsum(z))) <= 1.5],
        "nested": [cp.max(cp.abs(z - 0.2)) + cp.norm1(z[:2]) <= 1.1],
        "epigraph": [cp.norm1(z) <= t, 2 * t <= 2.5],
    }


@pytest.mark.parametrize("name", atoms(cp.Variable(n)))
def test_atoms_mean_what_they_mean_in_cvxpy(name):
    z = cp.Variable(n)
    constraints = [*atoms(z)[name], z >= -1, z <= 1]
    P = ol.Polytope.from_cvxpy(z, constraints)
    assert P.n == n
    for seed in range(3):
        y = tensors(n, seed=seed)
        assert torch.allclose(ol.project(P, y), solved([z], constraints, y), atol=1e-6)


def test_a_problem_is_all_its_variables():
    x, t = cp.Variable((2, 2), name="x"), cp.Variable(3, nonneg=True, name="t")
    problem = cp.Problem(cp.Minimize(cp.sum(x)), [cp.sum(x, axis=0) <= t[:2], t <= 1, x >= -1])
    P = ol.Polytope.from_cvxpy(problem)
    y = tensors(2, P.n)
    z = ol.project(P, y)
    variables = problem.variables()
    assert torch.allclose(z[1], solved(variables, problem.constraints, y[1]), atol=1e-6)
    parts = P.split(z)
    assert [tuple(p.shape) for p in parts] == [(2, *v.shape) for v in variables]
    assert torch.equal(P.join(*parts), z)
    assert torch.equal(P.with_(b=P.b + 0.1).join(*parts), z)


def test_several_variables_in_the_order_given():
    x, t = cp.Variable((2, 2)), cp.Variable(3)
    constraints = [cp.sum(x, axis=0) <= t[:2], t <= 1, x >= -1, x <= 1, t >= 0]
    P = ol.Polytope.from_cvxpy([t, x], constraints)
    y = tensors(7)
    assert torch.allclose(ol.project(P, y), solved([t, x], constraints, y), atol=1e-6)
    of_t, of_x = P.split(y)
    assert of_t.tolist() == y[:3].tolist()
    assert of_x.tolist() == y[3:].reshape(2, 2).tolist()
    only = ol.Polytope.from_cvxpy(x, cp.Problem(cp.Minimize(0), constraints))
    assert (only.n, only.num_aux) == (4, 3)


def test_parts_that_do_not_fit_are_refused():
    P = ol.Polytope.from_cvxpy([cp.Variable(2, name="a"), cp.Variable((2, 2), name="b")], [])
    with pytest.raises(ol.PolytopeError, match="one tensor for each of a, b"):
        P.join(torch.ones(2))
    with pytest.raises(ol.PolytopeError, match=r"b must have shape \(..., 2, 2\). Got \(4,\)"):
        P.join(torch.ones(2), torch.ones(4))
    with pytest.raises(ol.PolytopeError, match="batch dimensions must agree"):
        P.join(torch.ones(3, 2), torch.ones(4, 2, 2))
    with pytest.raises(ol.PolytopeError, match="`split` is for polytopes that `from_cvxpy` has"):
        ol.simplex(3).split(torch.ones(3))


# ---------------------------------------------------------------------- parameters


def portfolio():
    """Weights of a portfolio: turnover and exposure are parameters."""
    w, cap, old = cp.Variable(n), cp.Parameter(n, name="cap"), cp.Parameter(n, name="old")
    turnover = cp.Parameter(nonneg=True, name="turnover")
    rules = [cp.sum(w) == 1, w >= 0, w <= cap, cp.norm1(w - old) <= turnover]
    return w, rules, (cap, old, turnover)


def values(*batch, seed=0):
    torch.manual_seed(seed)
    cap = 0.4 + 0.3 * torch.rand(*batch, n, dtype=torch.float64)
    old = torch.softmax(torch.rand(*batch, n, dtype=torch.float64), -1)
    return cap, old, 0.2 + torch.rand(batch, dtype=torch.float64)


def test_parameters_stay_open():
    w, rules, parameters = portfolio()
    P = ol.Polytope.from_cvxpy(w, rules)
    assert repr(P) == "Polytope(open: cap, old, turnover)"
    given, y = values(4), tensors(4, n)
    bound = P.bind(cap=given[0], old=given[1], turnover=given[2])
    by_object = P.bind(dict(zip(parameters, given, strict=True)))
    assert (bound.batch_shape, bound.rows_batch) == ((4,), ())
    z = ol.project(bound, y)
    assert torch.equal(ol.project(by_object, y), z)
    for i in range(4):
        for p, value in zip(parameters, given, strict=True):
            p.value = value[i].numpy()
        assert torch.allclose(z[i], solved([w], rules, y[i]), atol=1e-6)


@pytest.mark.parametrize(
    "ask",
    [
        lambda P: P.n,
        lambda P: ol.project(P, torch.ones(n)),
        lambda P: ol.decode(P, torch.ones(n)),
        ol.StructuredArgmax,
        lambda P: P.with_(b=1.0),
        lambda P: ol.certify(P, torch.ones(n), torch.ones(n)),
        lambda P: ol.product(P, ol.simplex(2)),
    ],
)
def test_nothing_can_be_asked_of_what_is_open(ask):
    P = ol.Polytope.from_cvxpy(*portfolio()[:2])
    with pytest.raises(ol.PolytopeError, match=r"parameters are open. Bind .* first: `P.bind"):
        ask(P)


def test_bound_rows_are_compiled_once():
    P = ol.Polytope.from_cvxpy(*portfolio()[:2])
    names = ("cap", "old", "turnover")
    one, two = (P.bind(dict(zip(names, values(3, seed=s), strict=True))) for s in (0, 1))
    assert one.fingerprint == two.fingerprint


def test_parameters_learn():
    w, rules, parameters = portfolio()
    P, y = ol.Polytope.from_cvxpy(w, rules), tensors(3, n)
    given = [v.requires_grad_() for v in values(3)]

    def project(*given):
        return ol.project(P.bind(dict(zip(parameters, given, strict=True))), y)

    assert torch.autograd.gradcheck(project, given)


def test_parameters_that_multiply_variables_make_rows():
    z, W, cap = cp.Variable(n), cp.Parameter((2, n), name="W"), cp.Parameter(2, name="cap")
    rules = [W @ z <= cap, cp.sum(z) == 1, z >= 0, z <= 1]
    P, y = ol.Polytope.from_cvxpy(z, rules), tensors(3, n)
    weights, caps = tensors(3, 2, n, seed=1), torch.tensor([0.3, 0.2], dtype=torch.float64)
    bound = P.bind(W=weights, cap=caps)
    assert (bound.rows_batch, bound.batch_shape) == ((3,), (3,))
    direct = ol.Polytope(weights, caps, A_eq=[[1.0] * n], b_eq=[1.0])
    found, status = ol.project(bound, y, on_failure="nan", return_status=True)
    wanted = ol.project(direct, y, on_failure="nan")
    assert torch.allclose(found, wanted, rtol=0, atol=1e-9, equal_nan=True)
    assert P.bind(W=weights[0], cap=caps.expand(3, 2)).rows_batch == ()
    for i in status.ok.nonzero()[:, 0].tolist():
        W.value, cap.value = weights[i].numpy(), caps.numpy()
        assert torch.allclose(found[i], solved([z], rules, y[i]), atol=1e-6)


def test_coefficients_learn():
    z, W = cp.Variable(n), cp.Parameter((2, n), name="W")
    P = ol.Polytope.from_cvxpy(z, [W @ z <= 0.3, z >= -1, z <= 1])
    W_now, y = tensors(3, 2, n, seed=1).requires_grad_(), tensors(3, n)
    assert torch.autograd.gradcheck(lambda W: ol.project(P.bind(W=W), y), (W_now,))


def test_values_of_the_parameters_count_until_they_are_bound():
    z, cap = cp.Variable(2), cp.Parameter(value=1.0, name="cap")
    P = ol.Polytope.from_cvxpy(z, [cp.sum(z) <= cap])
    assert P.b.tolist() == [1.0]
    cap.value = 5.0  # what was read stays
    assert P.bind(cap=torch.tensor([2.0, 3.0])).b.tolist() == [[2.0], [3.0]]
    assert P.bind().b.tolist() == [1.0]


def test_polytopes_from_cvxpy_survive_pickling():
    P = ol.Polytope.from_cvxpy(*portfolio()[:2])
    given = dict(zip(("cap", "old", "turnover"), values(2), strict=True))
    copy = pickle.loads(pickle.dumps(P))
    y = tensors(2, n)
    bound = pickle.loads(pickle.dumps(copy.bind(given)))
    assert torch.equal(ol.project(bound, y), ol.project(P.bind(given), y))
    assert bound.split(y)[0].shape == (2, n)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cap": torch.ones(n)}, "`bind` needs values for old, turnover too"),
        ({"limit": 1.0}, "takes the parameters of the constraints, .*. Got limit"),
        ({"cap": torch.ones(3)}, r"`cap` must have shape \(..., 5\). Got \(3,\)"),
        ({"turnover": -1.0}, "`turnover` was declared nonnegative"),
        ({"turnover": float("nan")}, "`turnover` must be finite"),
        ({"cap": torch.ones(3, n), "old": torch.ones(4, n)}, "batch dimensions must agree"),
    ],
)
def test_bad_values_are_refused(given, message):
    P = ol.Polytope.from_cvxpy(*portfolio()[:2])
    rest = dict(zip(("cap", "old", "turnover"), values(), strict=True))
    given = given if "too" in message else rest | given
    with pytest.raises(ol.PolytopeError, match=message):
        P.bind(given)


def test_integrality_is_read_from_the_variables():
    a, b = cp.Variable(2, boolean=True), cp.Variable(3, integer=True)
    assert ol.Polytope.from_cvxpy([a, b], [cp.sum(b) <= 3, b >= 0]).integral
    c = cp.Variable(name="c")
    assert ol.Polytope.from_cvxpy([a, c], []).integral == (True, True, False)
    assert not ol.Polytope.from_cvxpy([a, c], [], integral=False).integral
    own = ol.Polytope.from_cvxpy([a, c], [], integral=[False, True, True])
    assert own.integral == (False, True, True)
    in_part = cp.Variable((2, 2), integer=[(0, 1), (1, 1)])  # the second column
    P = ol.Polytope.from_cvxpy(in_part, [])
    assert P.integral == (False, True, False, True)
    half = ol.Polytope.from_cvxpy(cp.Variable(3, boolean=[(0, 2)]), [])
    assert half.integral == (True, False, True)
    assert half.upper.tolist() == [1.0, np.inf, 1.0]


@pytest.mark.parametrize("seed", range(6))
def test_integers_beside_other_numbers_are_decided_as_cvxpy_decides(seed):
    rng = np.random.default_rng(seed)
    open_, flow = cp.Variable(3, boolean=True), cp.Variable((3, 2), nonneg=True)
    cap = cp.Parameter(3, nonneg=True, name="cap")
    rules = [cp.sum(flow, axis=1) <= cp.multiply(cap, open_), cp.sum(flow, axis=0) <= [2.0, 1.5]]
    P = ol.Polytope.from_cvxpy([open_, flow], rules)
    caps, gain, cost = rng.integers(1, 5, (2, 3)) / 2.0, rng.random((3, 2)), -2 * rng.random(3)
    bound = P.bind(cap=torch.from_numpy(caps))
    scores = P.join(torch.from_numpy(cost), torch.from_numpy(gain))
    decided = ol.decode(bound, scores.expand(2, -1), check=True)
    for i in range(2):
        cap.value = caps[i]
        best = cp.Maximize(cost @ open_ + cp.sum(cp.multiply(gain, flow)))
        value = cp.Problem(best, rules).solve(solver="HIGHS")
        assert abs(float(decided[i] @ scores) - value) < QP_TOL
        assert set(bound.split(decided[i])[0].tolist()) <= {0.0, 1.0}
