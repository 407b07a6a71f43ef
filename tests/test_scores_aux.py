"""Auxiliary variables that are worth something, and are returned."""

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._projections.newton.newton import Newton
from tests.helpers import QP_TOL, SAME_FACE, raw_spans


def drawn(seed: int, bounded: float = 0.7) -> tuple[ol.Polytope, np.random.Generator]:
    """A few rows of small integers over two to four variables and one to three auxiliary ones."""
    rng = np.random.default_rng(seed)
    n, aux, m = int(rng.integers(2, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 6))
    A = rng.integers(-2, 3, (m, n + aux)).astype(float)
    A[:, 0] += (A == 0).all(1)
    upper = np.where(rng.random(n + aux) < bounded, 2.0, np.inf)
    b = rng.integers(0, 4, m).astype(float)
    return ol.Polytope(A, b, lower=-1, upper=upper, num_aux=aux, integral=False), rng


def solved(P: ol.Polytope, y: np.ndarray, c: np.ndarray):
    """The status of Clarabel, z and psi; of a polytope without batch dimensions or equalities."""
    cp = pytest.importorskip("cvxpy")
    z, psi = cp.Variable(P.n), cp.Variable(P.num_aux)
    x, lower, upper = cp.hstack([z, psi]), P.lower.numpy(), P.upper.numpy()
    kept = np.flatnonzero(np.isfinite(upper))
    rules = [P.A @ x <= P.b.numpy(), x >= lower, x[kept] <= upper[kept]]
    goal = cp.Minimize(0.5 * cp.sum_squares(z) - y @ z - c @ psi)
    problem, tight = cp.Problem(goal, rules), ("tol_gap_abs", "tol_gap_rel", "tol_feas")
    problem.solve(solver=cp.CLARABEL, **dict.fromkeys(tight, 1e-11))
    return problem.status, z.value, psi.value


@pytest.mark.parametrize("seed", range(30))
def test_the_point_and_the_worth_are_those_of_clarabel(seed):
    P, rng = drawn(seed)
    y, c = rng.normal(size=P.n) * 2, rng.normal(size=P.num_aux).round(1)
    status, z, psi = solved(P, y, c)
    points, worth = torch.from_numpy(y), torch.from_numpy(c)
    if status != "optimal":
        kind = ol.UnboundedError if "unbounded" in status else ol.InfeasibleError
        with pytest.raises(kind):
            ol.project(P, points, scores_aux=worth)
        return
    found, aux = ol.project(P, points, scores_aux=worth, return_aux=True)
    assert torch.allclose(found, torch.from_numpy(z), atol=QP_TOL)
    assert torch.equal(found, ol.project(P, points, scores_aux=worth))
    assert abs(float(worth @ aux) - c @ psi) < QP_TOL
    both = torch.cat([found, aux]).numpy()
    assert (P.A @ both <= P.b.numpy() + SAME_FACE).all()
    assert float(aux.norm()) <= np.linalg.norm(psi) + QP_TOL  # the nearest to zero of all


@pytest.mark.parametrize("seed", range(12))
def test_derivatives_are_those_of_differences(seed):
    P, rng = drawn(seed, bounded=1.0)
    A = rng.normal(size=P.A.shape)
    y, c, b = (torch.tensor(rng.normal(size=k)) for k in (P.n, P.num_aux, len(A)))
    b = b.abs() + 0.1
    weights = torch.tensor(rng.normal(size=P.n + P.num_aux))

    def value(y, c, b):
        Q = ol.Polytope(A, b, lower=-1, upper=2, num_aux=P.num_aux, integral=False)
        z, psi = ol.project(Q, y, scores_aux=c, return_aux=True)
        return torch.cat([z, psi], -1) @ weights

    inputs = tuple(v.requires_grad_() for v in (y, c, b))
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_derivatives_are_those_of_cvxpylayers():
    cp = pytest.importorskip("cvxpy")
    layers = pytest.importorskip("cvxpylayers.torch")
    rng = np.random.default_rng(3)
    A, n, aux = rng.normal(size=(5, 5)), 3, 2
    y, c, b = (cp.Parameter(k) for k in (n, aux, 5))
    z, psi = cp.Variable(n), cp.Variable(aux)
    rules = [A @ cp.hstack([z, psi]) <= b, *(r for v in (z, psi) for r in (v >= -1, v <= 2))]
    goal = cp.Minimize(0.5 * cp.sum_squares(z) - y @ z - c @ psi)
    layer = layers.CvxpyLayer(cp.Problem(goal, rules), [y, c, b], [z, psi])
    given = [torch.tensor(rng.normal(size=(4, k)), requires_grad=True) for k in (n, aux)]
    given.append(torch.tensor(rng.random((4, 5)) + 0.1, requires_grad=True))
    P = ol.Polytope(A, given[2], lower=-1, upper=2, num_aux=aux, integral=False)
    ours = ol.project(P, given[0], scores_aux=given[1], return_aux=True)
    tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-12)
    theirs = layer(*given, solver_args={"solve_method": "CLARABEL", **tight})
    weights = torch.tensor(rng.normal(size=5))
    grads = [
        torch.autograd.grad((torch.cat(both, -1) @ weights).sum(), given)
        for both in (tuple(ours), tuple(theirs))
    ]
    for own, other in zip(*grads, strict=True):
        assert torch.allclose(own, other, atol=QP_TOL)


def test_tensor_programs_say_the_same_as_compiled_loops(monkeypatch):
    P, rng = drawn(4, bounded=1.0)
    y, c = torch.tensor(rng.normal(size=(20, P.n))), torch.tensor(rng.normal(size=(20, P.num_aux)))
    expected = ol.project(P, y, scores_aux=c)
    Q = ol.Polytope(P.A, P.b, lower=P.lower, upper=P.upper, num_aux=P.num_aux, integral=False)
    asked = []

    def on_device(self, points, limits):
        from optlayers._projections.newton import batched

        asked.append(len(points))
        return batched.newton(self.tensors(points.device), points, limits, 1e-12)

    monkeypatch.setattr(Newton, "_on_host", on_device)
    assert torch.allclose(ol.project(Q, y, scores_aux=c), expected, atol=SAME_FACE)
    assert asked


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_broadcast_and_keep_their_dtype(dtype):
    P, rng = drawn(1, bounded=1.0)
    P = P.with_(b=torch.stack([P.b, P.b + 0.5]))
    y = torch.tensor(rng.normal(size=(3, 1, P.n)), dtype=dtype)
    c = torch.tensor(rng.normal(size=(2, P.num_aux)), dtype=dtype)
    z, psi, status = ol.project(P, y, scores_aux=c, return_aux=True, return_status=True)
    assert (z.shape, psi.shape, z.dtype) == ((3, 2, P.n), (3, 2, P.num_aux), dtype)
    assert status.ok.all()
    for i, j in np.ndindex(3, 2):
        alone = ol.project(P.instance((j,)), y[i, 0], scores_aux=c[j], return_aux=True)
        assert torch.allclose(z[i, j], alone[0], atol=1e-6)
        assert torch.allclose(psi[i, j], alone[1], atol=1e-5)


def test_rows_may_differ_by_instance():
    A = torch.tensor([[[1.0, -1.0], [-1.0, -1.0]], [[1.0, -2.0], [-1.0, -2.0]]])
    P = ol.Polytope(A, torch.zeros(2, 2), lower=-4, upper=4, num_aux=1, integral=False)
    y, price = torch.tensor([1.5]), torch.tensor([-1.0], requires_grad=True)
    z, psi = ol.project(P, y, scores_aux=price, return_aux=True)  # psi >= |z|, and |z| / 2
    assert z.flatten().tolist() == pytest.approx([0.5, 1.0])
    assert psi.flatten().tolist() == pytest.approx([0.5, 0.5])
    z.sum().backward()
    assert price.grad.tolist() == pytest.approx([1.5])


def test_without_scores_auxiliary_variables_are_the_nearest_to_zero():
    P, y = raw_spans(4, 2, 1), torch.tensor([0.9, 0.1, 0.8, 0.3], dtype=torch.float64)
    z, psi = ol.project(P, y, return_aux=True)
    assert torch.allclose(z, ol.project(P, y), atol=SAME_FACE)
    assert (torch.from_numpy(P.A @ torch.cat([z, psi]).numpy()) <= P.b + SAME_FACE).all()
    # What a start costs: psi_t >= z_t - z_(t-1), so the least of them are the rises.
    before = torch.cat([z.new_zeros(1), z[:-1]])
    assert torch.allclose(psi, (z - before).clamp(min=0), atol=SAME_FACE)


@pytest.mark.parametrize("seed", range(8))
def test_decisions_with_scored_auxiliaries_are_the_best(seed):
    P, rng = drawn(seed, bounded=1.0)
    P = P.with_(integral=True)
    s, c = rng.normal(size=P.n), rng.normal(size=P.num_aux)
    scipy = pytest.importorskip("scipy.optimize")
    whole = np.append(np.ones(P.n), np.zeros(P.num_aux))
    rows = scipy.LinearConstraint(P.A, ub=P.b.numpy())
    bounds = scipy.Bounds(P.lower.numpy(), P.upper.numpy())
    best = scipy.milp(-np.append(s, c), constraints=rows, bounds=bounds, integrality=whole)
    if best.status == 2:
        with pytest.raises(ol.InfeasibleError):
            ol.decode(P, torch.from_numpy(s), scores_aux=torch.from_numpy(c))
        return
    s, c = torch.from_numpy(s), torch.from_numpy(c)
    z, psi = ol.decode(P, s, scores_aux=c, return_aux=True, check=True)
    assert float(s @ z + c @ psi) == pytest.approx(-best.fun, abs=QP_TOL)
    assert torch.equal(z, z.round())
    assert torch.equal(ol.decode(P, s, scores_aux=c), z)


def test_what_has_no_end_is_named_and_costs_no_other_instance():
    P = ol.Polytope([[1.0, -1.0]], [0.0], lower=-1, upper=[1.0, np.inf], num_aux=1, integral=False)
    y, c = torch.zeros(2, 1), torch.tensor([[-1.0], [0.5]])
    words = r"Instance 1.* `scores_aux` has no end over the set: column 1 .* can grow for ever"
    with pytest.raises(ol.UnboundedError, match=words):
        ol.project(P, y, scores_aux=c)
    z, status = ol.project(P, y, scores_aux=c, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False]
    assert z[1].isnan().all()
    with pytest.raises(ol.UnboundedError, match="unbounded"):
        ol.decode(P, y, scores_aux=c)
    apart = ol.Polytope([[1.0, 1.0, 0.0]], [1.0], upper=[1.0, 1.0, np.inf], num_aux=1)
    with pytest.raises(ol.UnboundedError, match=r"column 2 .* can grow"):
        ol.project(apart, torch.zeros(2), scores_aux=torch.ones(1))


def test_points_may_be_arrays_and_half_precision():
    P = ol.Polytope(np.ones((1, 5)), [1.0], upper=2.0, num_aux=1, shape=(2, 2), integral=False)
    y = torch.tensor([[0.5, 0.25], [0.0, 0.0]], dtype=torch.float16)
    z, psi = ol.project(P, y, scores_aux=torch.ones(1).half(), return_aux=True)
    assert (z.shape, psi.shape, z.dtype, psi.dtype) == ((2, 2), (1,), torch.float16, torch.float16)
    assert float(psi) == 1.0


def test_points_that_are_not_finite_follow_the_policy():
    P, c = raw_spans(3, 2, 1), torch.zeros(3)
    y = torch.tensor([[0.5, 0.1, 0.2], [torch.nan, 0.0, 0.0]])
    with pytest.raises(ol.InputError, match="Instance 1"):
        ol.project(P, y, scores_aux=c)
    z = ol.project(P, y, scores_aux=c, on_nonfinite="propagate")
    assert z[1].isnan().all()
    assert not z[0].isnan().any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda P, y: ol.project(P, y, scores_aux=[1.0]), "`scores_aux` must be a tensor.*list"),
        (lambda P, y: ol.project(P, y, scores_aux=torch.ones(2)), r"shape \(..., 3\), one entry"),
        (
            lambda P, y: ol.project(P, y.expand(2, -1), scores_aux=torch.ones(3, 3)),
            "do not broadcast against those of `scores_aux`",
        ),
        (
            lambda P, y: ol.project(P, y, return_aux=True, near=y),
            "`near` is not used beside `scores_aux`",
        ),
        (
            lambda P, y: ol.decode(P, y, return_aux=True, decoder=lambda s: s),
            "`decoder` returns structures alone",
        ),
        (
            lambda _, y: ol.project(ol.DependencyTrees(3), y, return_aux=True),
            "with `scores_aux` or `return_aux` takes a Polytope. Got DependencyTrees; .*relaxation",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ol.InputError, match=message):
        call(raw_spans(3, 2, 1), torch.zeros(3))


def test_there_is_no_second_derivative_and_it_says_so():
    P, y = raw_spans(3, 2, 1), torch.rand(3, dtype=torch.float64, requires_grad=True)
    z = ol.project(P, y, scores_aux=torch.zeros(3, dtype=torch.float64))
    (grad,) = torch.autograd.grad(z.square().sum(), y, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()
