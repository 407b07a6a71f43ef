"""Right numbers where they are hard to get: dependent rows, units of auxiliaries, long chains."""

import contextlib

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import optlayers as ol
from optlayers._kernels import newton as kernels
from optlayers._plan.maps import AbstractBlockMap, Limits, Report
from optlayers._projections import QP, Newton
from optlayers._projections.units import units_of
from optlayers._solvers.block import Answer, ProjectionProblem, judged, measured, missed_rows
from optlayers._solvers.cvxpy import CvxpySolver
from optlayers._solvers.extended import ExtendedActiveSet
from optlayers._solvers.osqp import OSQPSolver

from .fuzz.generate import case
from .fuzz.judge import judge
from .fuzz.tensors import tensor_code
from .helpers import TOL

inf = np.inf
PATHS = {"compiled": contextlib.nullcontext, "tensors": tensor_code}
EVERY_PATH = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


@pytest.fixture
def nothing_handed_on(monkeypatch):
    """Newton's method alone must do it."""
    monkeypatch.setattr(Newton, "_hand_on", None)


def only_map(P):
    """The map of a polytope of one block."""
    (map_,) = ol.plan(P).maps
    return map_


# ---------------------------------------------------------------------- dependent rows


def twelve_rows_of_rank_two():
    """z in the unit box, two auxiliaries; the projection of (2, -1) is (1, 0)."""
    s = np.arange(1.0, 13.0)
    A = np.outer(s, [1.0, 0, -1, 1]) + np.outer(s**2, [0.0, 1, 1, -1])
    return ol.Polytope(A_eq=A, b_eq=A @ np.full(4, 0.5), num_aux=2, integral=False)


@EVERY_PATH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dependent_equalities_with_auxiliaries(path, dtype, nothing_handed_on):
    with path():
        z = ol.project(twelve_rows_of_rank_two(), torch.tensor([2.0, -1.0], dtype=dtype))
    torch.testing.assert_close(z, torch.tensor([1.0, 0.0], dtype=dtype), rtol=0, atol=TOL[dtype])


@EVERY_PATH
@pytest.mark.parametrize("seed", range(20))
def test_dependent_equalities_against_least_squares(path, seed, nothing_handed_on):
    rng = np.random.default_rng(seed)
    rank, n = int(rng.integers(1, 4)), int(rng.integers(4, 9))
    A = rng.integers(-3, 4, (12, rank)) @ rng.standard_normal((rank, n))
    A, x, y = A[A.any(1)], rng.standard_normal(n), rng.standard_normal(n)
    P = ol.Polytope(A_eq=A, b_eq=A @ x, lower=-inf, upper=inf, integral=False)
    with path():
        z = ol.project(P, torch.tensor(y)).numpy()
    right = y + np.linalg.lstsq(A, A @ (x - y), rcond=1e-12)[0]
    np.testing.assert_allclose(z, right, rtol=0, atol=1e-9)


# ---------------------------------------------------------------------- auxiliary variables


@EVERY_PATH
@pytest.mark.parametrize("coefficient", [1e-7, 1e-5, 0.01, 1.0, 1e3, 1e7])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_no_unit_of_an_auxiliary_hides_it(path, coefficient, sign):
    """With psi free to be -+1.2 / coefficient the row says nothing."""
    ends = [0.0, 1000.0 / coefficient] if sign < 0 else [-1000.0 / coefficient, 0.0]
    P = ol.Polytope(
        [[1, 1, sign * coefficient]], [0.5], lower=[0, 0, ends[0]], upper=[1, 1, ends[1]], num_aux=1
    )
    y = torch.tensor([0.9, 0.8], dtype=torch.float64)
    with path():
        torch.testing.assert_close(ol.project(P, y), y, rtol=0, atol=1e-9)


@EVERY_PATH
@pytest.mark.parametrize("reach", [0.0, 0.1, 0.6, 1.2, 3.0])
@pytest.mark.parametrize("coefficient", [1e-6, 1e-2, 1e4])
def test_what_an_auxiliary_can_give_and_no_more(path, reach, coefficient):
    """z1 + z2 <= 0.5 + coefficient psi, 0 <= coefficient psi <= reach: a half-space."""
    P = ol.Polytope(
        [[1, 1, -coefficient]], [0.5], lower=0.0, upper=[1, 1, reach / coefficient], num_aux=1
    )
    y = torch.tensor([0.9, 0.8], dtype=torch.float64)
    with path():
        z = ol.project(P, y)
    torch.testing.assert_close(z, y - max(0.0, 1.2 - reach) / 2, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [OSQPSolver, CvxpySolver])
@pytest.mark.parametrize("coefficient", [1e-7, 1e-2])
def test_the_judge_of_solvers_sees_the_gradient_of_an_auxiliary(kind, coefficient):
    P = ol.Polytope([[1, 1, -coefficient]], [0.5], lower=0.0, upper=[1, 1, inf], num_aux=1)
    block, y = only_map(P).block, np.array([0.9, 0.8, 0.0])
    limits = [np.array(v, dtype=float) for v in ([-inf], [0.5], [0, 0, 0], [1, 1, inf])]
    problem = ProjectionProblem(y, *limits)
    wrong = judged(block, problem, [0.65, 0.55, 0.0], np.array([0.25]), "solved")
    assert wrong.residual > 0.05
    units = units_of(block)
    scaled = units.limits(Limits(*(torch.tensor(v) for v in limits)))
    problem = ProjectionProblem(y, *(v.numpy() for v in scaled))
    answer = kind(units.block).solve(problem)
    np.testing.assert_allclose(answer.x[:2], [0.9, 0.8], rtol=0, atol=1e-6)


@EVERY_PATH
@pytest.mark.parametrize("rounding", [1e-20, 1e-17, 3e-15])
@pytest.mark.parametrize("size", [1e-3, 1.0, 400.0])
def test_rounding_is_no_coefficient_of_an_auxiliary(path, rounding, size):
    """psi is in the first two rows, and by rounding in the others; with units for those, wrong."""
    A = np.array([[1.0, 2, 1, size], [1, -1, 2, -2 * size], [3, 1, 1, 0], [6, 2, 2, 0]])
    exact = ol.Polytope(A_eq=A, b_eq=A @ np.full(4, 0.5), upper=[1, 1, 1, inf], num_aux=1)
    A[2:, 3] = size * rounding * np.array([1.0, -3.0])
    rounded = ol.Polytope(A_eq=A, b_eq=A @ np.full(4, 0.5), upper=[1, 1, 1, inf], num_aux=1)
    y = torch.tensor([[0.9, -0.8, 0.4], [5.0, 3.0, -7.0]], dtype=torch.float64)
    with path():
        z, wanted = ol.project(rounded, y), ol.project(exact, y)
    torch.testing.assert_close(z, wanted, rtol=0, atol=1e-9)
    assert ol.certify(rounded, y, z).holds(1e-9)


@EVERY_PATH
@pytest.mark.parametrize("coefficient", [1e-5, 1e-7, 1e-9])
def test_small_coefficients_of_an_auxiliary_are_none_of_rounding(path, coefficient):
    """psi may be 2 / coefficient, whatever else it is in: no row says anything."""
    P = ol.Polytope(
        [[1, 1, -coefficient], [0, 1, 1]], [0.5, 3 / coefficient], upper=[1, 1, inf], num_aux=1
    )
    y = torch.tensor([0.9, 0.8], dtype=torch.float64)
    with path():
        torch.testing.assert_close(ol.project(P, y), y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("miss", [1e-4, 1e-8])
def test_a_large_auxiliary_hides_no_missed_row(miss):
    """The second row is missed; psi = 1e8 is in the first alone, in which own parts are small."""
    P = ol.Polytope([[1, 1, -1e-7], [1, 2, 0]], [0.5, 1.0], upper=[1, 1, inf], num_aux=1)
    block = only_map(P).block
    x, low = np.array([[0.4, 0.3 + miss, 1e8]]), np.full((1, 2), -inf)
    with_psi = np.abs(block.matrix.toarray()[:, 2]) > 0
    high = np.where(with_psi, 100.0, 0.5)[None]  # rows are divided by their largest coefficients
    found = missed_rows(block, x, low, high)
    assert 0.5 * miss < found[0] < 2 * miss
    x[0, 0] = np.nan
    assert np.isnan(missed_rows(block, x, low, high)[0])


def test_units_are_powers_of_two_and_leave_others_alone():
    P = ol.Polytope([[1.0, 1, -3e-6, 0], [0, 1, 1e-6, 4e5]], [0.5, 1.0], num_aux=2, upper=inf)
    block = only_map(P).block
    units = units_of(block)
    assert units.columns is not None
    assert units.rows is not None
    assert (np.log2(units.columns) % 1 == 0).all()
    assert (units.columns[~block.is_aux] == 1).all()
    assert float(np.abs(np.log2(np.abs(units.block.matrix.data))).max()) <= 2
    point = np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(
        units.rows * (units.block.matrix @ point), block.matrix @ units.declared(point)
    )
    plain = only_map(ol.assignment(2)).block
    assert units_of(plain).block is plain


# ---------------------------------------------------------------------- long chains


def concave_sequences(n, sign=-1.0):
    """Second differences at most zero, or at least zero."""
    A = sp.diags_array([1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(n - 2, n))
    return ol.Polytope(
        -sign * A, np.zeros(n - 2), lower=-inf, upper=np.full(n, inf), integral=False
    )


@pytest.mark.parametrize("n", [30, 300, 3000, 10_000])
def test_the_convex_sequence_nearest_to_a_concave_one_is_a_line(n, nothing_handed_on):
    i = np.arange(n)
    y = np.sin(np.pi * i / (n - 1))
    z = ol.project(concave_sequences(n, 1.0), torch.tensor(y)).numpy()
    line = np.full(n, y.mean())  # by symmetry
    np.testing.assert_allclose(z, line, rtol=0, atol=1e-9)


def certified_sequence(y, z):
    """KKT of the convex sequences, by sums: z convex, multipliers >= 0 and zero where z bends.

    The multipliers are the second sums of z - y; worst violation of each, relative to its size.
    """
    z, y = z.astype(np.longdouble), y.astype(np.longdouble)
    mu = np.cumsum(np.cumsum(z - y))
    bends = np.diff(z, 2)
    mu, ends = mu[:-2], mu[-2:]
    unit = np.abs(mu).max()
    kinks = np.where(bends > 1e-9 * np.abs(z).max(), np.abs(mu), 0.0).max()
    worst = max(-bends.min() / np.abs(z).max(), -mu.min() / unit, kinks / unit)
    return float(max(worst, np.abs(ends).max() / unit))


@pytest.mark.parametrize("n", [50, 400, 1500])
@pytest.mark.parametrize("kind", ["wave", "noise", "both"])
def test_convex_regression_satisfies_its_conditions(n, kind, nothing_handed_on):
    rng, t = np.random.default_rng(n), np.linspace(0, 1, n)
    y = {"wave": np.sin(7 * t), "noise": rng.standard_normal(n)}.get(kind)
    y = 3 * (t - 0.3) ** 2 + 0.3 * rng.standard_normal(n) if y is None else y
    z = ol.project(concave_sequences(n, 1.0), torch.tensor(y)).numpy()
    assert certified_sequence(y, z) <= 1e-8


@pytest.mark.parametrize("n", [190, 300])
def test_third_differences_of_a_far_point(n):
    """Bounded below as well: neither Newton's method nor OSQP gets there, Clarabel to 1e-7."""
    y = 1e3 * np.random.default_rng(n).standard_normal((3, n))
    A = -np.diff(np.eye(n), 3, axis=0)
    P = ol.Polytope(A, np.zeros(n - 3), lower=-1.0, upper=inf, integral=False)
    z = ol.project(P, torch.tensor(y))
    assert ol.certify(P, torch.tensor(y), z).within(1e-9).all()


def test_yao(nothing_handed_on):
    """YAO of Maros and Meszaros: f(t) = sin t, convex, first entry at least 0.08, last two zero.

    The answer is a line down to zero; that set prints 1.97704256e+02, from data of six digits.
    """
    n = 2002
    i = np.arange(1, n + 1)
    f, h = np.sin(i / n), np.maximum(n - 1.0 - i, 0.0)
    lower, upper = np.full(n, -inf), np.full(n, inf)
    lower[0], lower[-2:], upper[-2:] = 0.08, 0.0, 0.0
    P = concave_sequences(n, 1.0).with_(lower=lower, upper=upper)
    z = ol.project(P, torch.tensor(f)).numpy()
    np.testing.assert_allclose(z, (h @ f) / (h @ h) * h, rtol=0, atol=1e-8)
    assert 0.5 * ((z - f) ** 2).sum() == pytest.approx(1.97704256e02, rel=1e-5)


@pytest.mark.parametrize("n", [10, 100, 1000, 10_000])
def test_powell20(n):
    """POWELL20 of the same set (n = 10,000): numbers that alternate by 1, 2, 3, ..."""
    k = np.arange(1, n)
    A = sp.vstack(
        [
            sp.diags_array([1.0, -1.0], offsets=[0, 1], shape=(n - 1, n)),
            sp.coo_array(([-1.0, 1.0], ([0, 0], [0, n - 1])), shape=(1, n)),
        ]
    )
    b = np.append(0.5 - (-1.0) ** k * k, 0.5 - n)
    P = ol.Polytope(A, b, lower=-inf, upper=np.full(n, inf), integral=False)
    z = ol.project(P, torch.zeros(n, dtype=torch.float64)).numpy()
    least = 5 / 96 * (n**3 - n) + n**2 / 16  # 5.20895828e+10 at n = 10,000, as printed
    assert 0.5 * (z**2).sum() == pytest.approx(least, rel=1e-9)


# ---------------------------------------------------------------------- not a number


class Broken(AbstractBlockMap):
    """A map that answers NaN for the second instance and does not say so."""

    @classmethod
    def why_not(cls, block):
        return None

    def forward(self, x, limits, report):
        return torch.where(torch.arange(len(x))[:, None, None] == 1, torch.nan, x)


@pytest.fixture
def broken():
    ol.maps.PROJECTIONS.register(Broken)
    yield ol.Polytope(lower=np.zeros(3), upper=1.0)
    ol.maps.PROJECTIONS.unregister(Broken)


@pytest.mark.parametrize("on_nonfinite", ["raise", "propagate"])
def test_nan_that_the_input_does_not_explain_is_a_failure(broken, on_nonfinite):
    y = torch.rand(3, 3)
    with pytest.raises(ol.SolverFailed, match="Instance 1: its answer is not a number"):
        ol.project(broken, y, on_nonfinite=on_nonfinite)
    z, status = ol.project(
        broken, y, on_failure="nan", on_nonfinite=on_nonfinite, return_status=True
    )
    assert status.ok.tolist() == [True, False, True]
    assert torch.equal(z[::2], y[::2])


@pytest.mark.parametrize("number", [np.nan, inf, -inf])
def test_nan_that_the_input_explains_is_none(number):
    report = Report()
    report.refuse_nan(torch.tensor([[number], [0.0]]), torch.tensor([[torch.nan], [0.0]]))
    assert not report.failures


def test_a_better_reason_replaces_not_a_number():
    report = Report()
    report.refuse_nan(torch.zeros(2, 1), torch.tensor([[0.0], [torch.nan]]))
    report.fail(1, "no point satisfies all constraints", ol.InfeasibleError)
    report.fail(1, "something else")
    assert report.failures == {1: "no point satisfies all constraints"}
    assert report.failures[1].kind is ol.InfeasibleError


def test_nothing_is_looked_at_off_the_cpu_if_it_must_not_be():
    report = Report(may_look=False)
    report.refuse_nan(torch.zeros(1, 1, device="meta"), torch.zeros(1, 1, device="meta"))
    assert not report.failures


@pytest.mark.parametrize("where", ["x", "multipliers"])
def test_a_solver_that_answers_nan_is_refused(where):
    block = only_map(ol.assignment(2)).block
    problem = ProjectionProblem(np.zeros(4), np.ones(4), np.ones(4), np.zeros(4), np.ones(4))
    x, multipliers = np.full(4, 0.5), np.zeros(4)
    (x if where == "x" else multipliers)[1] = np.nan
    assert judged(block, problem, x, multipliers, "solved").residual == inf


@pytest.mark.parametrize(("a", "b"), [(0.0, np.nan), (np.nan, 0.0), (np.nan, np.nan)])
def test_the_larger_of_nan_and_anything_is_nan(a, b):
    assert np.isnan(kernels.worse(a, b))
    assert kernels.worse(1.0, 2.0) == kernels.worse(2.0, 1.0) == 2.0


# ---------------------------------------------------------------------- what is accepted


def test_above_one_in_a_billion_is_a_failure_unless_tolerated(monkeypatch):
    """All solvers stop at 5e-8."""
    P, y = ol.assignment(3), torch.rand(1, 1, 9, dtype=torch.float64)
    map_ = QP(only_map(P).block)
    limits = Limits(*(torch.tensor(v)[None] for v in map_.block.static))

    def nearly(self, problem):
        return Answer(np.full(9, 1 / 3), np.zeros(self.block.num_rows), 5e-8, "nearly")

    for kind in (OSQPSolver, CvxpySolver, ExtendedActiveSet):
        monkeypatch.setattr(kind, "solve", nearly)
    for name in ("refined", "measured"):
        monkeypatch.setattr(f"optlayers._projections.qp.{name}", lambda *args: args[-1])
    report = Report()
    map_.forward(y, limits, report)
    assert "no solver reached a KKT residual of 1e-09" in report.failures[0]
    report = Report(tolerance=1e-6)
    z = map_.forward(y, limits, report)
    torch.testing.assert_close(z, torch.full_like(z, 1 / 3))
    assert report.answers == {0: ("osqp", 5e-8)}


def test_the_report_knows_residuals():
    report = Report()
    P, y = ol.assignment(3), torch.rand(4, 1, 9, dtype=torch.float64)
    map_ = only_map(P)
    limits = Limits(*(torch.tensor(v)[None] for v in map_.block.static))
    map_.forward(y, limits, report)
    ((name, residuals),) = report.residuals
    assert name == "activeset"
    assert residuals.shape == (4, 1)
    assert (residuals <= 1e-9).all()


class AlwaysQP(QP):
    """The exact QP, ahead of everything."""


@pytest.fixture
def nobody_is_accurate(monkeypatch):
    """Every solver stops at the middle of `assignment(3)`, with a residual of 5e-8."""

    def nearly(self, problem):
        return Answer(np.full(9, 1 / 3), np.zeros(self.block.num_rows), 5e-8, "nearly")

    for kind in (OSQPSolver, CvxpySolver, ExtendedActiveSet):
        monkeypatch.setattr(kind, "solve", nearly)
    for name in ("refined", "measured"):
        monkeypatch.setattr(f"optlayers._projections.qp.{name}", lambda *args: args[-1])
    ol.maps.PROJECTIONS.register(AlwaysQP)
    yield
    ol.maps.PROJECTIONS.unregister(AlwaysQP)


def test_the_caller_may_tolerate_more(nobody_is_accurate):
    P, y = ol.assignment(3), torch.rand(2, 9, dtype=torch.float64)
    with pytest.raises(ol.SolverFailed, match="no solver reached a KKT residual of 1e-08"):
        ol.project(P, y, tolerance=1e-8)
    z, status = ol.project(P, y, tolerance=1e-7, return_status=True)
    torch.testing.assert_close(z, torch.full_like(z, 1 / 3))
    assert status.residual.tolist() == [5e-8, 5e-8]
    assert status.solver == {(0,): "osqp", (1,): "osqp"}


def test_a_failure_tells_how_far_it_came(nobody_is_accurate):
    y = torch.rand(2, 9, dtype=torch.float64)
    z, status = ol.project(ol.assignment(3), y, on_failure="nan", return_status=True)
    assert z.isnan().all()
    assert status.residual.tolist() == [5e-8, 5e-8]
    assert status.failures[1,].residual == 5e-8
    assert status.failures[1,].solver == "osqp"
    assert status.solver == {}


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 1e-12, 1.0, inf, np.nan, True, "1e-6", None])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(ol.InputError, match=r"`tolerance` must be a number from 1e-9"):
        ol.project(ol.simplex(2), torch.zeros(2), tolerance=tolerance)


@EVERY_PATH
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_status_tells_residual_and_solver(path, batch):
    y = torch.rand(*batch, 9, dtype=torch.float64)
    with path():
        _, status = ol.project(ol.assignment(3), y, return_status=True)
    assert status.residual.shape == batch
    assert status.residual.dtype == torch.float64
    assert (status.residual <= 1e-9).all()
    assert status.solver == dict.fromkeys(
        np.ndindex(*batch), "activeset" if path is PATHS["compiled"] else "newton"
    )


def test_closed_forms_are_exact():
    _, status = ol.project(ol.simplex(3), torch.rand(2, 3), return_status=True)
    assert status.residual.tolist() == [0.0, 0.0]
    assert set(status.solver.values()) == {"closed form"}


def test_the_worst_of_several_blocks_is_told():
    P = ol.product(ol.simplex(3), ol.assignment(3))
    _, status = ol.project(P, torch.rand(2, 12, dtype=torch.float64), return_status=True)
    assert set(status.solver.values()) == {"activeset"}
    report = Report()
    report.residuals += [("a", torch.tensor([[0.1, 0.3], [0.1, 0.0]])), ("b", torch.ones(2, 1) / 5)]
    report.answered(1, "c", 0.01)
    answers = report.answers_of()
    assert answers.solver(2) == ["a", "c"]
    np.testing.assert_allclose(answers.residual({}, 2), [0.3, 0.01])


def test_a_hull_tells_the_distance_it_proves():
    hull = ol.ConvexHull(ol.assignment(3))
    _, status = ol.project(hull, torch.rand(2, 9, dtype=torch.float64), return_status=True)
    assert set(status.solver.values()) == {"hull"}
    assert (status.residual <= 1e-6).all()


def test_decisions_have_no_residual():
    _, status = ol.decode(ol.simplex(3), torch.rand(2, 3), return_status=True)
    assert status.residual.isnan().all()
    assert status.solver == {}


def test_rows_missed_by_little_from_far_away_are_not_an_answer():
    """The parabola of height 0.01 misses each of 1,998 convexity rows by 1e-8."""
    n = 2000
    block = only_map(concave_sequences(n, 1.0)).block
    x = -0.01 * np.linspace(-1, 1, n) ** 2
    problem = ProjectionProblem(x, *(v[0] for v in block.static))
    answer = judged(block, problem, x, np.zeros(n - 2), "solved")
    assert 0.0 < answer.residual <= 1e-7
    assert measured(block, problem, answer).residual > 1e-3


# ---------------------------------------------------------------------- families of the fuzzer


FAMILIES = ["small_auxiliary", "dependent_auxiliaries", "scaled_auxiliaries", "chain"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(5))
def test_families_on_tensors(family, seed):
    from .fuzz.judge import by_library

    verdict = judge(case(seed, family), project=lambda P, y: by_library(P, y, "tensors"))
    assert not verdict.failures
