"""The general projection: semismooth Newton, compiled and as tensors, and what it hands on."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import optlayers as ol
from optlayers._judge.references import exact_projection
from optlayers._plan.compile import ready
from optlayers._plan.maps import Limits, Report
from optlayers._projections import Newton
from optlayers._projections import qp as qp_module
from optlayers._projections.newton import batched, ordering
from optlayers._projections.newton import newton as newton_module

from .helpers import QP_TOL

inf = np.inf


pytestmark = pytest.mark.usefixtures("newton_first")


def conflicts(n=30, rows=33, seed=0):
    """A budget, and pairs that exclude each other."""
    rng = np.random.default_rng(seed)
    A = np.zeros((rows, n))
    A[0] = rng.uniform(0.5, 1.5, n)
    pairs = np.stack(np.triu_indices(n, 1), 1)
    for i, k in enumerate(rng.choice(len(pairs), rows - 1, replace=False)):
        A[i + 1, pairs[k]] = 1
    return ol.Polytope(A, np.append([n / 5], np.ones(rows - 1)))


def gaussian(m=12, equalities=3, n=25, seed=0):
    """Dense rows, feasible by construction."""
    rng = np.random.default_rng(seed)
    A, z = rng.standard_normal((m, n)), rng.uniform(0, 1, n)
    b, k = A @ z + rng.uniform(0, 1, m), m - equalities
    return ol.Polytope(A[:k], b[:k], A_eq=A[k:], b_eq=(A @ z)[k:])


def scaled_rows():
    """The rows of an assignment, from 1e-6 to 1e6."""
    P, rng = ol.assignment(4), np.random.default_rng(0)
    scale = 10.0 ** rng.uniform(-6, 6, P.A_eq.shape[0])
    return ol.Polytope(A_eq=sp.diags_array(scale) @ P.A_eq, b_eq=scale * P.b_eq.numpy())


def dependent_rows():
    """Every row twice, once with another sign, and the sum of all."""
    P = ol.assignment(4)
    A = sp.vstack([P.A_eq, -P.A_eq, P.A_eq.sum(0)[None]])
    b = P.b_eq.numpy()
    return ol.Polytope(A_eq=A, b_eq=np.concatenate([b, -b, [b.sum()]]))


def no_interior():
    """A segment, written with opposite inequalities."""
    A = np.array([[1.0, 1, 1, 0], [0, 1, 1, 1]])
    return ol.Polytope(np.vstack([A, -A]), [1.5, 1.0, -1.5, -1.0])


def thin_cone():
    """Two half-spaces that open by 1e-5."""
    A = np.array([[1.0, 1e-5, 0.5], [-1.0, 1e-5, -0.5]])
    return ol.Polytope(A, [0.0, 0.0], lower=-inf, upper=inf)


HOSTILE = {
    "assignment": ol.assignment(6),
    "partial": ol.assignment(3, 5, partial=True),
    "conflicts": conflicts(),
    "gaussian": gaussian(),
    "spans": ol.spans(12, 4, 2),
    "scaled rows": scaled_rows(),
    "dependent rows": dependent_rows(),
    "no interior": no_interior(),
    "thin cone": thin_cone(),
    "a single point": ol.Polytope(A_eq=[[1.0, 1, 0], [0, 1, 1]], b_eq=[2.0, 2.0]),
    "infinite bounds": gaussian().with_(lower=-inf, upper=inf),
    "half infinite": gaussian().with_(lower=-inf),
    "fixed variables": conflicts().fix({0: 1.0, 3: 0.0}),
    "free auxiliary": ol.Polytope(
        [[1.0, 1, -1, 0], [0, 1, 1, -1]],
        [0.5, 0.2],
        num_aux=1,
        lower=[0, 0, 0, -inf],
        upper=[1, 1, 1, inf],
    ),
}
EVERY = pytest.mark.parametrize("P", list(HOSTILE.values()), ids=list(HOSTILE))
# Not the thin cone, whose multipliers are 1e5 times the points.
TAME = [name for name in HOSTILE if name != "thin cone"]
EVERY_TAME = pytest.mark.parametrize("P", [HOSTILE[name] for name in TAME], ids=TAME)


def points(P, count=12, seed=0):
    """Normal points near and far, and whole numbers, which make ties."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((count, P.n))
    return torch.from_numpy(np.concatenate([y, 30 * y, 1e4 * y, np.round(2 * y)]))


def solved(P, y):
    """The block of a polytope of one component, its points and its limits."""
    found = ready(P, ol.maps.PROJECTIONS, y.device, y.dtype)
    plan, limits = found.plan, found.limits
    (map_,) = plan.maps
    assert type(map_) is Newton
    full = torch.cat([y, y.new_zeros(len(y), P.num_aux)], 1)
    index = torch.from_numpy(map_.block.index.ravel()).to(y.device)
    parts = full[:, index].reshape(len(y), map_.block.count, map_.block.size)
    return map_, parts, limits[0], torch.from_numpy(~map_.block.is_aux).to(y.device)


# ---------------------------------------------------------------------- answers


@EVERY
def test_answers_are_certified_to_rounding(P, device):
    y = points(P).to(device)
    certificate = ol.certify(P, y, ol.project(P, y))
    assert certificate.residual.max() <= (QP_TOL if P is HOSTILE["thin cone"] else 1e-9)


@EVERY_TAME
def test_single_precision_is_as_good_as_it_can_be(P):
    y = points(P).float()
    z = ol.project(P, y)
    assert z.dtype == torch.float32
    exact = ol.project(P, y.double())
    scale = y.abs().amax(-1, keepdim=True).clamp(min=1)
    assert ((z - exact).abs() <= 1e-7 * scale).all()


@EVERY
def test_agrees_with_clarabel(P):
    y = points(P, count=2)[:4]
    torch.testing.assert_close(
        ol.project(P, y), exact_projection(P, y, "cvxpy"), rtol=1e-6, atol=2e-6
    )


@EVERY_TAME
def test_nothing_is_handed_on(P, monkeypatch):
    monkeypatch.setattr(Newton, "_hand_on", None)
    ol.project(P, points(P))


@EVERY_TAME
def test_tensors_and_compiled_loops_agree(P):
    y = points(P)
    map_, parts, limits, own = solved(P, y)
    x, quality = map_._on_host(parts, limits)
    other, found = batched.newton(map_.tensors(y.device), parts, limits, 1e-12)
    assert max(quality.max(), found.max()) <= 1e-9
    scale = 1 + y.abs().amax()
    assert ((x - other)[..., own].abs() <= 1e-8 * scale).all()


@EVERY_TAME
def test_the_kind_of_factor_makes_no_difference(P, monkeypatch):
    y = points(P)
    map_, parts, limits, own = solved(P, y)
    x, _ = map_._on_host(parts, limits)
    for largest, share, rows in ((0, 1.0, 1.0), (10**6, 0.0, 2.0), (10**6, 0.0, 0.0)):
        monkeypatch.setattr(ordering, "_LARGEST_DENSE", largest)
        monkeypatch.setattr(ordering, "_SPARSE_FACTOR", share)
        monkeypatch.setattr(ordering, "_DENSE_ROWS", rows)
        map_.rows = ordering.rows_of(map_.block.matrix)
        assert map_.rows.is_sparse == (largest == 0)
        assert bool(map_.rows.arrays[2].size) == (rows == 0.0)
        other, _ = map_._on_host(parts, limits)
        scale = 1 + y.abs().amax()
        assert ((x - other)[..., own].abs() <= 1e-8 * scale).all()


def test_values_that_vary_in_the_batch(device):
    P, y = conflicts(), points(conflicts(), count=3).to(device)
    rng = np.random.default_rng(1)
    b = P.b.numpy() * rng.uniform(0.3, 1.5, (len(y), 1))
    upper = rng.uniform(0.0, 1.0, (len(y), P.n)).round(1)
    many = P.with_(b=torch.tensor(b, device=device), upper=torch.tensor(upper, device=device))
    z = ol.project(many, y)
    assert ol.certify(many, y, z).residual.max() <= 1e-9
    for i in (0, 5, 11):
        one = ol.project(P.with_(b=b[i], upper=upper[i]), y[i].cpu())
        torch.testing.assert_close(z[i].cpu(), one, rtol=0, atol=1e-9)


def test_components_are_stacked():
    P = ol.product(*[ol.assignment(4)] * 5)
    assert "5 x 16 variables, 8 rows -> Newton" in ol.plan(P).explain()
    y = torch.randn(7, P.n, dtype=torch.float64)
    alone = ol.project(ol.assignment(4), y.reshape(7, 5, 16))
    torch.testing.assert_close(ol.project(P, y), alone.flatten(1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_make_no_difference(threads):
    P, y, before = conflicts(), points(conflicts(), count=50), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        z = ol.project(P, y)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(z, torch.stack([ol.project(P, v) for v in y]))


def test_large_and_sparse_stays_sparse():
    rng, n, m = np.random.default_rng(0), 2000, 1000
    columns = np.concatenate([rng.choice(n, 3, replace=False) for _ in range(m)])
    A = sp.csr_array((rng.standard_normal(3 * m), columns, np.arange(0, 3 * m + 1, 3)), (m, n))
    P = ol.Polytope(A, A @ rng.uniform(0, 1, n) + 0.05)
    y = torch.from_numpy(rng.standard_normal((2, n))).requires_grad_()
    largest = max(ol.plan(P).maps, key=lambda m: m.block.size)
    assert type(largest) is Newton
    assert largest.block.num_rows > 400
    assert largest.rows.arrays[2].size == 0
    assert largest.rows.is_sparse
    assert "Newton's method, sparse factor" in ol.plan(P).explain()
    z = ol.project(P, y)
    assert ol.certify(P, y, z).residual.max() <= 1e-9
    (grad,) = torch.autograd.grad(z.sum(), y)
    eps = 1e-6 * torch.randn_like(y)
    with torch.no_grad():
        slope = (ol.project(P, y + eps) - ol.project(P, y - eps)).sum() / 2
    torch.testing.assert_close((grad * eps).sum(), slope, rtol=1e-4, atol=1e-9)


# ---------------------------------------------------------------------- what it hands on


def test_an_instance_that_misses_the_accuracy_goes_to_osqp(monkeypatch):
    P, y = conflicts(), points(conflicts(), count=2)
    expected, asked = ol.project(P, y), []
    honest = newton_module.QP._project

    def off(self, x, limits):
        z, quality = host(self, x, limits)
        z[3], quality[3] = 0.0, 1e-3
        return z, quality

    def spy(self, problem, *rest):
        asked.append(problem.y)
        return honest(self, problem, *rest)

    host = Newton._on_host
    monkeypatch.setattr(Newton, "_on_host", off)
    monkeypatch.setattr(newton_module.QP, "_project", spy)
    torch.testing.assert_close(ol.project(P, y), expected, rtol=1e-7, atol=1e-7)
    assert len(asked) == 1
    assert np.array_equal(asked[0], y[3].numpy())


def test_a_failure_costs_one_instance(monkeypatch):
    def fail(self, problem, instance, report, before):
        report.fail(instance, "nothing helped")
        return np.full(self.block.size, np.nan)

    monkeypatch.setattr(newton_module.QP, "_project", fail)
    P, y = conflicts(), points(conflicts(), count=2)
    expected = ol.project(P, y)
    y[2, 4] = torch.nan
    z, status = ol.project(P, y, on_failure="nan", return_status=True)
    assert list(status.failures) == [(2,)]
    assert z[2].isnan().all()
    keep = torch.arange(len(y)) != 2
    assert torch.equal(z[keep], expected[keep])


def test_what_newton_found_is_not_enough_where_it_is_inexact(monkeypatch):
    """Slightly inexact, and the others have nothing."""

    def nearly(self, x, limits):
        z, quality = host(self, x, limits)
        quality[3] = 5e-8
        return z, quality

    host = Newton._on_host
    P, y = conflicts(), points(conflicts(), count=2)
    expected = ol.project(P, y)
    monkeypatch.setattr(Newton, "_on_host", nearly)
    for kind in (qp_module.OSQPSolver, qp_module.CvxpySolver, qp_module.ExtendedActiveSet):
        monkeypatch.setattr(
            kind,
            "solve",
            lambda self, problem: qp_module.Answer(problem.y, np.zeros(self.block.num_rows)),
        )
    with pytest.raises(ol.SolverFailed, match=r"newton: not exact, KKT residual 5\.0e-08"):
        ol.project(P, y)
    map_, parts, limits, _ = solved(P, y)
    report = Report(tolerance=1e-6)
    z = map_.forward(parts, limits, report)
    assert torch.equal(z[:, 0], expected[:, torch.from_numpy(map_.block.index.ravel())])
    assert report.answers == {3: ("newton", 5e-8)}


def test_infeasible_instances_are_named():
    P = ol.assignment(3).with_(b_eq=torch.tensor([[1.0] * 6, [1.0, 1, 1, 1, 1, 2]]))
    y = torch.randn(2, 9, dtype=torch.float64)
    with pytest.raises(ol.InfeasibleError, match="Instance 1: No point satisfies"):
        ol.project(P, y)
    z = ol.project(P, y, on_failure="nan")
    assert torch.equal(z[0], ol.project(ol.assignment(3), y[0]))


def test_mostly_auxiliary_blocks_are_refused_with_the_reason():
    P = ol.DependencyTrees(3, projective=False, relaxation="arborescence").relaxation
    explained = ol.plan(P).explain()
    assert "OSQP, then Clarabel, an instance at a time" in explained
    assert "not Newton: as many rows as variables, most of them auxiliary, take it" in explained
    P = ol.DependencyTrees(6, projective=True, relaxation="hull").relaxation
    assert "rows -> Newton" in ol.plan(P).explain()


def test_limits_of_the_batch_repeat_for_every_instance():
    """One polytope, many points: limits have one instance, points many."""
    y = points(gaussian())
    map_, parts, limits, _ = solved(gaussian(), y)
    wide = Limits(*(v.expand(len(y), *v.shape[1:]) for v in limits))
    for a, b in zip(map_._on_host(parts, limits), map_._on_host(parts, wide), strict=True):
        assert torch.equal(a, b)
