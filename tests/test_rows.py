"""Rows of their own for every instance: batched matrices, stacks, gradients of coefficients."""

import itertools
import pickle

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers import testing
from optlayers._feasible_set import as_set

from .helpers import TOL

N, n = 4, 6


def tensors(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def coarse(*shape, seed=0):
    return testing.coarse_points(shape, seed)


def dense(seed=0):
    """Three dense inequalities per instance."""
    return ol.Polytope(tensors(N, 3, n, seed=seed), [0.4, 0.2, 1.0])


def coupled(seed=0):
    """Equality rows of their own, shared inequalities, right-hand sides over a larger batch."""
    rows = coarse(N, 1, n, seed=seed) + 2
    b_eq = rows.sum(-1) / 2 + 0.1 * tensors(2, N, 1, seed=seed)
    return ol.Polytope([[1.0] * n], [4.0], A_eq=rows, b_eq=b_eq, lower=-1.0)


def other_patterns(seed=0):
    """A simplex over other parts, and another number of them, in every instance."""
    rows = torch.zeros(N, 2, n, dtype=torch.float64)
    for i, parts in enumerate(([0, 1], [2, 3, 4], [0, 5], [1, 2, 3, 4, 5])):
        rows[i, 0, parts] = 1.0
    rows[2, 1, 3:] = 1.0
    return ol.Polytope(A_eq=rows, b_eq=[[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])


def with_auxiliary(seed=0):
    return ol.Polytope(tensors(N, 3, n + 2, seed=seed), [1.0, 1.0, 0.5], num_aux=2, lower=-1.0)


def weights(seed=0):
    return ol.budget(tensors(N, n, seed=seed).abs() + 0.2, tensors(2, N, seed=seed).abs())


def two_dimensions(seed=0):
    return ol.Polytope(coarse(2, 1, 2, n, seed=seed), coarse(2, seed=seed).abs() + 1.0).with_(
        lower=-tensors(2, N, n, seed=seed).abs()
    )


CASES = {f.__name__: f for f in (dense, coupled, other_patterns, with_auxiliary, weights)}
CASES["two_dimensions"] = two_dimensions
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def points(P, seed=1):
    return tensors(2, *P.batch_shape[-1:], P.n, seed=seed) * 1.5


def one_by_one(P, y, verb):
    """What each instance gives alone, as a polytope declared by dense arrays."""
    batch = torch.broadcast_shapes(y.shape[:-1], P.batch_shape)
    y, out = y.expand(*batch, -1), torch.empty(*batch, y.shape[-1], dtype=y.dtype)
    for index in np.ndindex(*batch):
        out[index] = verb(alone(P, index), y[index])
    return out


def alone(P, index):
    own = index[len(index) - len(P.batch_shape) :]
    values = {k: getattr(P, k).expand(*P.batch_shape, -1)[own] for k in ("b", "b_eq")}
    bounds = {k: getattr(P, k).expand(*P.batch_shape, -1)[own] for k in ("lower", "upper")}
    rows = {}
    for name, count in (("A", P.rows.count), ("A_eq", P.rows_eq.count)):
        stacked = torch.from_numpy(getattr(P, name).toarray())
        shaped = stacked.reshape(*P.rows_batch, count, P.num_vars)
        rows[name] = shaped.expand(*P.rows_shape, -1, -1)[own[len(own) - len(P.rows_batch) :]]
    return ol.Polytope(**rows, **values, **bounds, num_aux=P.num_aux, integral=P.integral)


@EVERY
def test_projections_are_those_of_the_instances(case):
    P = case()
    y = points(P)
    z = ol.project(P, y)
    assert torch.allclose(z, one_by_one(P, y, ol.project), rtol=0, atol=TOL[torch.float64])
    assert ol.certify(P, y, z).holds(TOL[torch.float64])


@EVERY
def test_decisions_are_those_of_the_instances(case):
    P = case().with_(integral=False)
    s = points(P)
    z = ol.decode(P, s)
    assert torch.allclose(z, one_by_one(P, s, ol.decode), rtol=0, atol=TOL[torch.float64])


@pytest.mark.parametrize("case", [dense, other_patterns, weights], ids=lambda f: f.__name__)
def test_integral_decisions_are_the_best_of_all(case):
    P = case()
    s = coarse(2, N, n)
    z = ol.decode(P, s)
    lattice = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)
    for index in np.ndindex(*s.shape[:-1]):
        one = alone(P, index)
        A, A_eq = (torch.from_numpy(m.toarray()) for m in (one.A, one.A_eq))
        fits = (lattice @ A.T <= one.b + 1e-9).all(-1)
        fits &= ((lattice @ A_eq.T - one.b_eq).abs() <= 1e-9).all(-1)
        assert z[index] @ s[index] == (lattice[fits] @ s[index]).max()
        assert (z[index] == lattice[fits]).all(-1).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_dtypes(dtype):
    P, y = dense(), points(dense())
    z = ol.project(P, y.to(dtype))
    assert z.dtype == dtype
    assert torch.allclose(z.double(), ol.project(P, y.to(dtype).double()), atol=2e-3)


@EVERY
@pytest.mark.parametrize("around", ["vertex", "projection"])
def test_layers_learn_as_the_instances_do(case, around):
    P, g = case().with_(integral=False), tensors(2, N, n, seed=5)

    def grad(P, s, g):
        leaf = s.clone().requires_grad_()
        (ol.structured_argmax(P, leaf, ol.SPIGOT(around=around)) * g).sum().backward()
        return leaf.grad

    s = points(P)
    found, batch = grad(P, s, g), torch.broadcast_shapes(s.shape[:-1], P.batch_shape)
    for index in np.ndindex(*batch):
        wanted = grad(alone(P, index), s.expand(*batch, -1)[index], g[index])
        assert torch.allclose(found[index], wanted, rtol=0, atol=1e-8)


@EVERY
def test_survives_files_pickles_and_algebra(case, tmp_path):
    P = case()
    y = points(P)
    z = ol.project(P, y)
    ol.save(P, tmp_path / "P.npz")
    for copy in (ol.load(tmp_path / "P.npz"), pickle.loads(pickle.dumps(P)), P.with_(b=P.b)):
        assert copy.batch_shape == P.batch_shape
        assert torch.equal(ol.project(copy, y), z)
    both = ol.product(P, ol.simplex(3).with_(integral=P.integral))
    more = tensors(*z.shape[:-1], 3)
    joint = ol.project(both, torch.cat([y.expand(z.shape), more], -1))
    assert torch.allclose(joint[..., : P.n], z, rtol=0, atol=1e-9)
    assert torch.allclose(joint[..., P.n :], ol.project(ol.simplex(3), more), rtol=0, atol=1e-9)


def test_intersections():
    P = ol.intersect(dense(), other_patterns(), ol.cardinality(n, at_most=3))
    assert (P.rows_batch, P.rows.count, P.rows_eq.count) == ((N,), 4, 2)
    y = points(P)
    z, _ = ol.project(P, y, on_failure="nan", return_status=True)
    for index in np.ndindex(*z.shape[:-1]):
        parts = (alone(dense(), index), alone(other_patterns(), index))
        one = ol.intersect(*parts, ol.cardinality(n, at_most=3))
        wanted = ol.project(one, y[index], on_failure="nan")
        assert torch.allclose(z[index], wanted, rtol=0, atol=1e-9, equal_nan=True)


def test_batches_of_rows_that_do_not_agree_are_refused():
    with pytest.raises(ol.PolytopeError, match=r"of `A` and `A_eq` must agree. Got .3,. and .4,."):
        ol.Polytope(np.ones((3, 1, n)), [1.0], A_eq=np.ones((4, 1, n)), b_eq=[1.0])
    with pytest.raises(ol.PolytopeError, match=r"'batch of the rows': .3,."):
        ol.Polytope(np.ones((3, 1, n)), np.ones((4, 1)))
    rows = np.ones((3, 1, n))
    rows[1, 0, 2] = np.nan
    with pytest.raises(ol.PolytopeError, match=r"must be finite. Got A\[1, 0, 2\] = nan"):
        ol.Polytope(rows, [1.0])


# ---------------------------------------------------------------------- failures


def with_an_empty_one():
    b = torch.ones(2, N, 3, dtype=torch.float64)
    b[1, 2] = -50.0
    return dense().with_(b=b)


def test_one_instance_without_a_point_costs_no_other_its_answer():
    P, y = with_an_empty_one(), points(dense())
    z, status = ol.project(P, y, on_failure="nan", return_status=True)
    assert list(status.failures) == [(1, 2)]
    kept = status.ok
    assert z[~kept].isnan().all()
    assert torch.allclose(z[kept], one_by_one_but(P, y, (1, 2))[kept], rtol=0, atol=1e-9)
    assert (status.residual[kept] <= 1e-9).all()
    assert set(status.solver) == {i for i in np.ndindex(2, N) if i != (1, 2)}


def one_by_one_but(P, y, without):
    out = torch.zeros(2, N, n, dtype=torch.float64)
    for index in np.ndindex(2, N):
        if index != without:
            out[index] = ol.project(alone(P, index), y[index])
    return out


def test_an_instance_without_a_point_is_named():
    P, y = with_an_empty_one(), points(dense())
    with pytest.raises(ol.InfeasibleError, match=r"Instance \(1, 2\): .* In conflict: A\["):
        ol.project(P, y)
    with pytest.raises(ol.InfeasibleError, match=r"Instance \(1, 2\): .* In conflict: A\["):
        P.check_feasible()
    with pytest.raises(ol.InfeasibleError, match=r"Instance \(1, 2\)"):
        ol.decode(P, y)


def test_failures_leave_gradients_of_the_others():
    y = points(dense()).requires_grad_()
    b = with_an_empty_one().b.requires_grad_()
    z, status = ol.project(dense().with_(b=b), y, on_failure="nan", return_status=True)
    torch.where(status.ok[..., None], z, 0).pow(2).sum().backward()
    other = torch.where(status.ok[..., None], b.detach(), 1.0).requires_grad_()
    leaf = y.detach().clone().requires_grad_()
    wanted = ol.project(dense().with_(b=other), leaf)
    wanted[status.ok].pow(2).sum().backward()
    assert torch.allclose(y.grad[status.ok], leaf.grad[status.ok], rtol=0, atol=1e-9)
    assert torch.allclose(b.grad[status.ok], other.grad[status.ok], rtol=0, atol=1e-9)
    assert y.grad.isfinite().all()


def test_a_time_limit_counts_by_instance():
    P, s = dense(), points(dense())
    z, status = ol.decode(P, s, time_limit=60.0, return_status=True)
    assert torch.equal(z, ol.decode(P, s))
    assert (status.gap == 0).all()


def test_scores_of_minus_infinity():
    P, s = dense(), points(dense())
    s[0, 1, 2] = -torch.inf
    s[1, 3, 0] = -1e30
    z = ol.decode(P, s)
    assert z[0, 1, 2] == 0 == z[1, 3, 0]
    for index in ((0, 1), (1, 3)):
        assert torch.equal(z[index], ol.decode(alone(P, index), s[index]))


def test_a_list_of_solvers_is_of_the_instances():
    P = ol.stack([ol.simplex(4), ol.assignment(2)])
    _, status = ol.project(P, tensors(2, 4), return_status=True)
    assert status.solver == {(0,): "closed form", (1,): "activeset"}


def test_sums_over_structures():
    rows = other_patterns().instance
    P = ol.stack([rows((0,)), rows((1,)), ol.simplex(n), ol.box(n)])
    s = tensors(N, n)
    for i in range(N):
        one = as_set(alone(P, (i,)))
        assert torch.allclose(as_set(P).marginals(s)[i], one.marginals(s[i]))
        assert torch.allclose(as_set(P).log_partition(s)[i], one.log_partition(s[i]))


def test_validation_agrees_with_exact_solvers():
    assert ol.validate(dense(), samples=3).ok
    assert not ol.validate(dense(), samples=3, projection=lambda y: y.clamp(0, 1) * 0.9).ok


def test_certificates_take_multipliers():
    P, y = dense(), points(dense())
    z = ol.project(P, y)
    found = ol.certify(P, y, z)
    assert found.lam.shape == (2, N, 3)
    assert found.nu.shape == (2, N, 0)
    assert ol.certify(P, y, z, multipliers=(found.lam, found.nu)).holds(1e-9)
    assert not ol.certify(P, y, z, multipliers=(0 * found.lam, found.nu)).holds(1e-9)
    wrong = z.clone()
    wrong[1, 2] += 0.1
    assert ol.certify(P, y, wrong).worst() == (1, 2)


def test_description_and_plan():
    assert ol.describe(dense()).startswith(
        "rows differ (A: 3 of each instance); those of one: `P.i"
    )
    assert ol.describe(dense().instance((1,))).startswith("A[0]: ")
    assert f"{N} blocks" in ol.plan(dense()).explain()


# ---------------------------------------------------------------------- stacks

SETS = (
    ol.assignment(2),
    ol.spans(5, max_words=2, max_spans=1),
    ol.simplex(4),
    ol.budget([3.0, 1.0, 2.0], 4.0),
    ol.box(3),
    ol.Polytope([[1.0, -1.0, 1.0]], [0.5], A_eq=[[1.0, 1.0, 0.0]], b_eq=[1.0], num_aux=1),
)


def test_stacks_answer_as_their_members():
    P, s = ol.stack(SETS), coarse(len(SETS), 5)
    z, z_hat = ol.project(P, s), ol.decode(P, s)
    assert P.n == 5
    for i, member in enumerate(SETS):
        own = s[i, : member.n]
        assert torch.allclose(z[i, : member.n], ol.project(member, own), rtol=0, atol=1e-9)
        assert own @ z_hat[i, : member.n] == own @ ol.decode(member, own)
        assert not z[i, member.n :].any()
        assert not z_hat[i, member.n :].any()


def test_gradients_at_padding_are_zero():
    P, s = ol.stack(SETS), coarse(len(SETS), 5).requires_grad_()
    (ol.structured_argmax(P, s, ol.SPIGOT()) * tensors(len(SETS), 5)).sum().backward()
    for i, member in enumerate(SETS):
        assert not s.grad[i, member.n :].any()


def test_a_stack_of_equal_rows_shares_them():
    P = ol.stack([ol.simplex(3), ol.simplex(3, 2.0)])
    assert (P.rows_batch, P.batch_shape) == ((), (2,))
    assert torch.equal(ol.project(P, torch.ones(3)).sum(-1), torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    ("polytopes", "message"),
    [
        ([], "needs at least one"),
        ([ol.simplex(2), dense()], r"Polytope 1 has the batch \(4,\)"),
        ([ol.simplex(2), ol.simplex(2).with_(integral=False)], "must agree on `integral`"),
    ],
)
def test_what_cannot_be_stacked_is_refused(polytopes, message):
    with pytest.raises(ol.PolytopeError, match=message):
        ol.stack(polytopes)


def test_only_polytopes_are_stacked():
    with pytest.raises(ol.InputError, match=r"`stack` takes a Polytope\. Got DependencyTrees"):
        ol.stack([ol.DependencyTrees([2])])  # type: ignore[list-item]


def test_stacks_keep_graphs():
    limit = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([[1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    P = ol.stack([ol.budget([1.0, 1.0, 1.0], limit), ol.Polytope(rows, [1.5])])
    y = torch.ones(2, 3, dtype=torch.float64)
    ol.project(P, y)[:, 0].sum().backward()
    assert torch.allclose(limit.grad, torch.tensor(1 / 3, dtype=torch.float64))
    lone = rows.detach().clone().requires_grad_()
    ol.project(ol.Polytope(lone, [1.5]), y[1, :2])[0].backward()
    assert torch.allclose(rows.grad, lone.grad, rtol=0, atol=1e-12)


# ---------------------------------------------------------------------- gradients of coefficients


def loss_of(A, A_eq, b, y, c, lower=0.0):
    P = ol.Polytope(A, b, A_eq=A_eq, b_eq=None if A_eq is None else [0.1], lower=lower)
    return (ol.project(P, y) * c).sum(-1)


@pytest.mark.parametrize("batch", [(), (2,), (2, 1)], ids=str)
@pytest.mark.parametrize("rows", [1, 3])
def test_gradients_of_rows_are_those_of_differences(batch, rows):
    A = tensors(*batch, rows, 4, seed=2).requires_grad_()
    A_eq = tensors(1, 4, seed=3).requires_grad_()
    b = torch.full((rows,), 0.3, dtype=torch.float64, requires_grad=True)
    y, c = tensors(2, 2, 4, seed=4), tensors(4, seed=5)
    loss = lambda A, A_eq, b: loss_of(A, A_eq, b, y, c, -1.0)  # noqa: E731
    assert torch.autograd.gradcheck(loss, (A, A_eq, b))


def test_gradients_of_rows_with_zeros_one_coefficient_and_multiples():
    A = torch.tensor(
        [[1.0, 0, 1, 0, 0, 0], [0, 2, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 2, 2, 2]],
        dtype=torch.float64,
        requires_grad=True,
    )
    b = torch.tensor([0.6, 0.8, 5.0, 1.0], dtype=torch.float64)
    y, c = torch.linspace(0.4, 0.9, n, dtype=torch.float64), tensors(n)
    loss_of(A, None, b, y, c).backward()
    for i, j in np.ndindex(4, n):
        step = torch.zeros(4, n, dtype=torch.float64)
        step[i, j] = 1e-6
        with torch.no_grad():
            change = loss_of(A + step, None, b, y, c) - loss_of(A - step, None, b, y, c)
        assert abs(change / 2e-6 - A.grad[i, j]) <= 1e-6


def cvxpylayer(m):
    import cvxpy as cp
    from cvxpylayers.torch import CvxpyLayer

    z, A, b, y = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m), cp.Parameter(n)
    goal = cp.Minimize(0.5 * cp.sum_squares(z) - y @ z)
    problem = cp.Problem(goal, [A @ z <= b, z >= 0, z <= 1])
    return CvxpyLayer(problem, parameters=[A, b, y], variables=[z])


@pytest.mark.filterwarnings("ignore")
def test_gradients_of_rows_agree_with_cvxpylayers():
    pytest.importorskip("cvxpylayers")
    layer, c = cvxpylayer(3), tensors(N, n, seed=9)
    A, b, y = tensors(N, 3, n, seed=6), torch.full((N, 3), 0.4).double(), tensors(N, n, seed=8)
    ours, theirs = ([v.clone().requires_grad_() for v in (A, b, y)] for _ in range(2))
    (ol.project(ol.Polytope(*ours[:2]), ours[2]) * c).sum().backward()
    options = {"eps": 1e-10, "max_iters": 100_000}
    (layer(*theirs, solver_args=options)[0] * c).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(1, 5))
def test_gradients_at_degenerate_points_are_limits(seed):
    """More constraints than variables are active: the derivative of some point nearby."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.randint(-2, 3, (4, 3), generator=generator).double()
    z = torch.randint(0, 3, (3,), generator=generator).double() / 2
    b, c = A @ z, tensors(3, seed=seed)  # all four rows are active at z
    y = z + A.T @ torch.rand(4, generator=generator).double()

    def gradient(A, b, y):
        leaf = A.clone().requires_grad_()
        z = ol.project(ol.Polytope(leaf, b, lower=-9.0, upper=9.0), y, on_failure="nan")
        (z.nan_to_num() * c).sum().backward()
        return leaf.grad

    near = 1e-6 * tensors(300, 4 * 3 + 4 + 3, seed=seed)
    moved = A + near[:, :12].reshape(-1, 4, 3), b + near[:, 12:16], y + near[:, 16:]
    apart = (gradient(*moved) - gradient(A, b, y)).abs().amax((1, 2))
    assert apart.min() <= 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 3])
def test_gradients_of_rows_do_not_depend_on_the_dtype(count, dtype):
    A, y, c = tensors(count, 5), tensors(4, 5, seed=1).to(dtype), tensors(4, 5, seed=2)
    found = []
    for x in (y.double(), y):
        own = A.clone().requires_grad_()
        z = ol.project(ol.Polytope(own, torch.full((count,), 0.4), lower=-1.0), x)
        found.append(torch.autograd.grad((z.double() * c).sum(), own)[0])
    assert found[0].abs().max() > 0.1
    torch.testing.assert_close(*found, atol=2 * torch.finfo(dtype).eps, rtol=1e-3)


def test_parameters_that_an_optimiser_moves_are_read_again():
    A = torch.nn.Parameter(torch.ones(2, 1, 3, dtype=torch.float64))
    P = ol.Polytope(A, [1.0])
    y = torch.ones(2, 3, dtype=torch.float64)
    ol.project(P, y)[..., 0].sum().backward()
    with torch.no_grad():
        A -= 0.5 * A.grad  # type: ignore[operator]
    fresh = ol.Polytope(A.detach().clone(), [1.0])
    assert torch.equal(ol.project(P, y), ol.project(fresh, y))


def test_rows_get_no_gradient_for_instances_that_failed():
    A = torch.ones(2, 1, 3, dtype=torch.float64, requires_grad=True)
    P = ol.Polytope(A, torch.tensor([[1.0], [-1.0]], dtype=torch.float64))
    z = ol.project(P, torch.ones(3, dtype=torch.float64), on_failure="nan")
    z[0].pow(2).sum().backward()
    assert A.grad[0].abs().sum() > 0
    assert not A.grad[1].any()
