import ast
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import optlayers as ol
from optlayers._judge import certificate as certificate_module
from optlayers._judge import multipliers
from optlayers._judge import problem as problems
from optlayers._judge.references import exact_projection

from .helpers import (
    DISTANCE_TOL,
    QP_TOL,
    RAW,
    TOL,
    raw_assignment,
    raw_budget,
    raw_chain,
    raw_simplex,
    raw_spans,
    simplex_by_bisection,
)

POLYTOPES = [pytest.param(polytope, id=name) for name, polytope in RAW.items()]
DTYPES = [torch.float64, torch.float32]


def coarse(*shape: int) -> torch.Tensor:
    """Points on a grid, so that ties, zeros and boundary points are common."""
    return torch.randint(-3, 4, shape).double() / 2


def points(polytope: ol.Polytope, count: int) -> torch.Tensor:
    return torch.cat([2 * torch.randn(count, polytope.n).double(), coarse(count, polytope.n)])


# ---------------------------------------------------------------------- right points pass


@pytest.mark.parametrize("solver", ["osqp", "cvxpy"])
@pytest.mark.parametrize("polytope", POLYTOPES)
def test_points_of_a_qp_pass(polytope, solver):
    y = points(polytope, 6)
    certificate = ol.certify(polytope, y, exact_projection(polytope, y, solver))
    assert certificate.holds(QP_TOL), certificate
    assert bool(certificate.distance.isfinite().all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_closed_forms_pass(dtype, scale):
    polytope = ol.product(*[raw_simplex(6)] * 3)
    y = scale * torch.randn(20, 3, 6, dtype=dtype)
    certificate = ol.certify(polytope, y.flatten(1), simplex_by_bisection(y).flatten(1))
    assert certificate.holds(TOL[dtype]), certificate
    assert bool((certificate.distance <= DISTANCE_TOL[dtype] * certificate.scale).all())


@given(y=arrays("float64", (4,), elements=st.integers(-3, 3).map(lambda k: k / 2)))
@settings(max_examples=50, deadline=None)
def test_ties_pass(y):
    y = torch.from_numpy(y)
    certificate = ol.certify(raw_simplex(4), y, simplex_by_bisection(y))
    assert certificate.holds(TOL[torch.float64])


def test_a_box_is_exact():
    y = 3 * torch.randn(5, 4)
    certificate = ol.certify(RAW["box"], y, y.clamp(0, 1))
    assert certificate.holds(0.0)
    assert float(certificate.distance.max()) == 0.0


def test_inequality_that_is_not_active_has_no_multiplier():
    certificate = ol.certify(raw_budget([1.0, 1.0], 1.5), [0.25, 0.5], [0.25, 0.5])
    assert certificate.holds(0.0)
    assert certificate.lam.tolist() == [0.0]


def test_multipliers_are_those_of_the_qp():
    certificate = ol.certify(raw_budget([1.0, 1.0], 1.0), [2.0, 1.5], [0.75, 0.25])
    torch.testing.assert_close(certificate.lam, torch.tensor([1.25], dtype=torch.float64))
    assert certificate.nu.shape == (0,)
    certificate = ol.certify(raw_simplex(2), [2.0, 1.5], [0.75, 0.25])
    torch.testing.assert_close(certificate.nu, torch.tensor([1.25], dtype=torch.float64))


def test_multiplier_at_a_vertex_is_the_admissible_one_nearest_zero():
    # At (1, 0) any threshold between 1 and 3 explains the point; at (0, 0) of a budget, zero does.
    certificate = ol.certify(ol.Polytope(A_eq=[[1.0, 1.0]], b_eq=[1.0]), [4.0, 1.0], [1.0, 0.0])
    assert certificate.holds(0.0)
    assert certificate.nu.tolist() == [1.0]
    certificate = ol.certify(raw_budget([1.0, 1.0], 0.0), [-1.0, -2.0], [0.0, 0.0])
    assert certificate.holds(0.0)
    assert certificate.lam.tolist() == [0.0]


def test_rows_of_any_scale():
    y = coarse(20, 4)
    for factor in (1e-6, 1.0, 1e6):
        polytope = ol.Polytope(A_eq=factor * np.ones((1, 4)), b_eq=[factor], upper=np.inf)
        assert ol.certify(polytope, y, simplex_by_bisection(y)).holds(TOL[torch.float64])


# ---------------------------------------------------------------------- wrong points fail


@pytest.mark.parametrize("solver", ["cvxpy"])
@pytest.mark.parametrize("step", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("polytope", POLYTOPES)
def test_moved_points_fail(polytope, step, solver):
    y = points(polytope, 3)
    z = exact_projection(polytope, y, solver)
    move = torch.randn_like(z)
    moved = z + step * move / move.norm(dim=-1, keepdim=True)
    assert not bool(ol.certify(polytope, y, moved).within(step / 100).any())


@pytest.mark.parametrize("polytope", POLYTOPES)
def test_feasible_points_that_are_not_the_nearest_fail(polytope):
    y, other = points(polytope, 6), points(polytope, 6).flip(0)
    z, wrong = exact_projection(polytope, y), exact_projection(polytope, other)
    far = (z - wrong).norm(dim=-1) > 1e-3
    verdict = ol.certify(polytope, y, wrong)
    assert not bool(verdict.within(QP_TOL)[far].any())
    assert bool((verdict.distance >= (z - wrong).norm(dim=-1) - 1e-6).all())


def test_swapped_coordinates_fail():
    y = torch.randn(20, 5).double()
    z = simplex_by_bisection(y)
    z[:, [0, 1]] = z[:, [1, 0]]
    differs = z[:, 0] != z[:, 1]
    assert not bool(ol.certify(raw_simplex(5), y, z).within(1e-6)[differs].any())


def test_projection_onto_another_polytope_fails():
    y = 2 + torch.rand(10, 5).double()
    assert not ol.certify(raw_simplex(5, total=2.0), y, simplex_by_bisection(y)).holds(1e-3)
    assert not ol.certify(RAW["two-sided"], y, simplex_by_bisection(y)).holds(1e-3)


def test_an_infeasible_point_is_no_nearer_than_it_is():
    certificate = ol.certify(raw_simplex(2), [1.0, 1.0], [1.0, 1.0])
    assert float(certificate.primal) == pytest.approx(1 / np.sqrt(2))
    assert np.sqrt(0.5) <= float(certificate.distance) <= 2 * np.sqrt(0.5) + 1e-12
    certificate = ol.certify(RAW["box"], np.zeros(4), [0.0, 0.0, 0.0, 2.0])
    assert float(certificate.primal) == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_fail(bad):
    y = torch.zeros(3, 4).double()
    z = y.clone()
    z[1, 2] = bad
    certificate = ol.certify(RAW["box"], y, z)
    assert certificate.within(1e-9).tolist() == [True, False, True]
    assert certificate.worst() == (1,)
    y[1, 2] = bad
    assert not ol.certify(RAW["box"], y, torch.zeros(3, 4)).holds(1.0)


# ---------------------------------------------------------------------- the distance bound


@pytest.mark.parametrize("polytope", POLYTOPES)
def test_the_distance_bound_holds_at_random_feasible_points(polytope):
    y, others = points(polytope, 4), exact_projection(polytope, points(polytope, 10))
    z = exact_projection(polytope, y)
    weights = torch.distributions.Dirichlet(torch.full((len(others),), 0.3).double()).sample(
        (len(y),)
    )
    for mix in (0.0, 0.9, 0.999, 1.0):
        feasible = mix * z + (1 - mix) * (weights @ others)
        true = (feasible - z).norm(dim=-1)
        bound = ol.certify(polytope, y, feasible).distance
        assert bool((bound >= true - 1e-6).all()), (mix, bound, true)


def test_the_distance_bound_is_tight_for_one_row():
    y, z = torch.tensor([2.0, 1.0]).double(), torch.tensor([0.9, 0.1]).double()
    bound = float(ol.certify(raw_simplex(2), y, z).distance)
    true = 0.1 * np.sqrt(2)
    assert true <= bound <= 4 * true


def test_rounding_violations_keep_the_bound_finite():
    certificate = ol.certify(raw_simplex(2), [2.0, 1.0], [1.0 + 1e-9, 0.0])
    assert 1e-10 < float(certificate.distance) < 1e-8


def test_a_multiplier_on_an_unbounded_auxiliary_variable_gives_no_bound():
    # z <= psi with psi free says nothing about z, so a multiplier on the row proves nothing.
    polytope = ol.Polytope(
        [[1.0, -1.0]], [0.0], lower=[0.0, -np.inf], upper=[1.0, np.inf], num_aux=1
    )
    assert ol.certify(polytope, [0.5], [0.5]).holds(1e-9)
    assert float(ol.certify(polytope, [0.5], [0.5]).distance) < 1e-9
    wrong = ol.certify(polytope, [0.5], [0.25], multipliers=([0.25], []), psi=[0.25])
    assert not wrong.holds(0.1)
    assert float(wrong.distance) == np.inf


# ---------------------------------------------------------------------- auxiliary variables


def test_auxiliary_variables_are_found():
    polytope = raw_spans(6, 3, 1)
    y = torch.tensor([0.9, 0.1, 0.8, 0.2, 0.7, 0.1]).double()
    z = exact_projection(polytope, y)
    certificate = ol.certify(polytope, y, z)
    assert certificate.holds(QP_TOL)
    three_runs = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0]).double()
    assert float(ol.certify(polytope, three_runs, three_runs).primal) > 0.05


def test_given_auxiliary_variables_are_used():
    polytope = raw_spans(3, 3, 1)
    z = torch.tensor([0.0, 1.0, 0.0]).double()
    assert ol.certify(polytope, z, z, psi=[0.0, 1.0, 0.0]).holds(1e-9)
    assert not ol.certify(polytope, z, z, psi=[1.0, 0.0, 0.0]).holds(1e-3)


def test_auxiliary_variables_in_a_row_of_their_own():
    # One row per component: psi = z1 + z2 - 1 within [0, 0.5] keeps z1 + z2 in [1, 1.5].
    polytope = ol.Polytope(A_eq=[[1.0, 1.0, -1.0]], b_eq=[1.0], upper=[1.0, 1.0, 0.5], num_aux=1)
    y = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.6, 0.6]]).double()
    z = torch.tensor([[0.5, 0.5], [0.75, 0.75], [0.6, 0.6]]).double()
    assert ol.certify(polytope, y, z).holds(1e-8)
    assert ol.certify(polytope, y, z.roll(1, 0)).within(1e-3).tolist() == [False] * 3


def all_components_are_large(monkeypatch):
    for module in (problems, multipliers):
        monkeypatch.setattr(module, "DENSE_LIMIT", 0)
    monkeypatch.setattr(problems, "_FORMS", {})  # components are kept with the rows


def test_a_linear_program_that_gives_up_is_not_believed(monkeypatch):
    from scipy import optimize

    def gives_up(*args, **kwargs):
        return optimize.OptimizeResult(x=None)

    polytope = raw_spans(3, 3, 1)
    z = torch.tensor([0.0, 1.0, 0.0]).double()
    monkeypatch.setattr(optimize, "linprog", gives_up)
    assert not ol.certify(polytope, z, z).holds(1e-3)
    all_components_are_large(monkeypatch)
    assert not ol.certify(raw_chain(3), [1.0, 1.0, 0.0], [0.5, 0.5, 0.0]).holds(1e-3)


# ---------------------------------------------------------------------- multipliers that are given


def test_given_multipliers_are_used_and_clipped():
    polytope, y, z = raw_budget([1.0, 1.0], 1.0), [2.0, 1.5], [0.75, 0.25]
    assert ol.certify(polytope, y, z, multipliers=([1.25], [])).holds(1e-12)
    negative = ol.certify(polytope, y, z, multipliers=([-1.25], []))
    assert negative.lam.tolist() == [0.0]
    assert not negative.holds(1e-3)


@pytest.mark.parametrize("polytope", POLYTOPES)
def test_no_multipliers_make_a_wrong_point_pass(polytope):
    y = points(polytope, 4)
    z = exact_projection(polytope, y)
    wrong = exact_projection(polytope, z + torch.randn_like(z))
    far = (z - wrong).norm(dim=-1) > 1e-2
    for _ in range(20):
        lam = torch.randn(len(y), polytope.A.shape[0]).exp()
        nu = torch.randn(len(y), polytope.A_eq.shape[0])
        certificate = ol.certify(polytope, y, wrong, multipliers=(lam, nu))
        assert not bool(certificate.within(1e-6)[far].any())


def test_recomputed_multipliers_are_accepted_when_given():
    polytope = RAW["several"]
    y = points(polytope, 5)
    z = exact_projection(polytope, y)
    found = ol.certify(polytope, y, z)
    again = ol.certify(polytope, y, z, multipliers=(found.lam, found.nu))
    torch.testing.assert_close(again.residual, found.residual)


def test_residuals_by_hand():
    P = ol.Polytope([[3.0, 4.0]], [1.0], A_eq=[[1.0, 0.0]], b_eq=[0.5])
    problem = problems.problem_of(P, torch.Size([1]))
    row = problem.form.row_scale  # powers of two
    found = certificate_module.residuals(
        problem,
        y=np.array([[1.0, 1.0]]),
        x=np.array([[0.25, 0.0]]),  # 3/4 of 1 used; 1/4 short of 1/2
        lam=np.array([[0.5]]) / row[:1],
        nu=np.array([[-1.0]]) / row[1:],
    )
    assert found.primal.tolist() == [0.25]
    # y - A'lam - A_eq'nu = (1 - 1.5 + 1, 1 - 2) = (0.5, -1), clipped (0.5, 0)
    assert found.dual.tolist() == [0.25]
    # the smaller one of lam |a| = 0.5 * 5 and slack / |a| = 0.25 / 5
    assert found.complementarity.tolist() == pytest.approx([0.05])
    assert found.scale.tolist() == [1.0]
    assert found.distance.tolist() == [np.inf]  # 3 z_1 = 1.5 > 1: the set is empty


# ---------------------------------------------------------------------- every way to multipliers


@pytest.mark.parametrize("polytope", [raw_chain(5), raw_assignment(3), raw_spans(6, 3, 2)])
def test_large_components_take_a_sparse_program(polytope, monkeypatch):
    y = points(polytope, 4)
    z = exact_projection(polytope, y)
    all_components_are_large(monkeypatch)
    assert ol.certify(polytope, y, z).holds(QP_TOL)
    moved = (z + 0.1 * torch.randn_like(z)).clamp(0, 1)
    assert not bool(ol.certify(polytope, y, moved).within(1e-3).any())


def test_least_squares_that_stops_early_is_replaced(monkeypatch):
    from scipy import optimize

    def stops_early(*args, **kwargs):
        raise RuntimeError("Maximum number of iterations reached.")

    y = points(raw_chain(5), 3)
    z = exact_projection(raw_chain(5), y)
    monkeypatch.setattr(optimize, "nnls", stops_early)
    assert ol.certify(raw_chain(5), y, z).holds(QP_TOL)


def test_chunks_change_nothing(monkeypatch):
    polytope = ol.product(raw_simplex(3), raw_budget([1.0, 2.0], 1.0))
    polytope = polytope.with_(b=torch.linspace(0.5, 1.5, 7)[:, None])
    y = points(polytope, 7)[:7]
    z = exact_projection(polytope, y)
    whole = ol.certify(polytope, y, z)
    monkeypatch.setattr(multipliers, "_CHUNK", 1)
    parts = ol.certify(polytope, y, z)
    torch.testing.assert_close(parts.residual, whole.residual, rtol=0, atol=0)
    torch.testing.assert_close(parts.nu, whole.nu, rtol=0, atol=0)


def test_rows_without_coefficients_and_without_rows():
    polytope = ol.Polytope([[0.0, 0.0], [1.0, 1.0]], [0.0, 1.0])
    assert ol.certify(polytope, [2.0, 2.0], [0.5, 0.5]).holds(1e-12)


# ---------------------------------------------------------------------- batches


def test_batched_values():
    polytope = raw_budget([1.0, 1.0], 1.0).with_(
        b=torch.tensor([[1.0], [torch.inf]]), upper=torch.tensor([[1.0, 1.0], [1.0, 0.25]])
    )
    y = torch.tensor([2.0, 1.5])
    z = torch.tensor([[0.75, 0.25], [1.0, 0.25]])
    certificate = ol.certify(polytope, y, z)
    assert certificate.primal.shape == (2,)
    assert certificate.holds(1e-7)
    assert not ol.certify(polytope, y, z.flip(0)).within(1e-3).any()


@pytest.mark.parametrize("polytope", POLYTOPES)
def test_a_batch_is_a_loop(polytope):
    y = points(polytope, 3).reshape(2, 3, -1)
    z = exact_projection(polytope, y)
    batch = ol.certify(polytope, y, z)
    assert batch.lam.shape == (2, 3, polytope.A.shape[0])
    for index in np.ndindex(2, 3):
        alone = ol.certify(polytope, y[index], z[index])
        for name in ("primal", "dual", "complementarity", "distance", "scale"):
            value, other = getattr(batch, name)[index], getattr(alone, name)
            torch.testing.assert_close(value, other, rtol=1e-6, atol=1e-9)


def test_values_batched_with_several_rows():
    polytope = raw_chain(4).with_(b=torch.tensor([[1.0, 1.0, 1.0], [0.5, 0.5, 1.0]]))
    y = points(polytope, 1)[:1]
    assert ol.certify(polytope, y, exact_projection(polytope, y.expand(2, -1))).holds(QP_TOL)


def test_empty_batch_and_no_batch():
    empty = ol.certify(raw_simplex(3), torch.zeros(0, 3), torch.zeros(0, 3))
    assert empty.primal.shape == (0,)
    assert empty.holds(0.0)
    assert str(empty) == "Certificate(no instances)"
    with pytest.raises(ol.InputError, match="An empty batch has no worst instance"):
        empty.worst()
    assert ol.certify(raw_spans(3, 1, 1), torch.zeros(0, 3), torch.zeros(0, 3)).holds(0.0)
    assert ol.certify(RAW["box"], np.zeros(4), np.zeros(4)).worst() == ()


def test_gradients_devices_and_half_precision(device):
    y = torch.tensor([2.0, 1.0], device=device, requires_grad=True)
    z = torch.tensor([1.0, 0.0], device=device, requires_grad=True)
    certificate = ol.certify(raw_simplex(2), y, z)
    assert not certificate.primal.requires_grad
    assert certificate.dual.device.type == "cpu"
    assert ol.certify(raw_simplex(2), y.detach().half(), z.detach().bfloat16()).holds(1e-2)


# ---------------------------------------------------------------------- words


def test_words():
    y = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
    z = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    certificate = ol.certify(raw_simplex(2), y, z)
    assert str(certificate).startswith("Certificate(primal 0.0e+00, dual 5.0e-01, complementarity")
    assert "2 instances, worst [1]" in repr(certificate)
    assert certificate.within(1e-6).tolist() == [True, False]
    assert "instances" not in str(ol.certify(raw_simplex(2), y[0], z[0]))
    with pytest.raises(AttributeError):
        setattr(certificate, "primal", 0.0)  # noqa: B010  (a checker would refuse it)
    assert copy.deepcopy(certificate).worst() == (1,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3), torch.zeros(2)), r"`y` must have shape \(\.\.\., 2\). Got \(3,\)"),
        ((torch.zeros(2), torch.tensor(0.0)), r"`z` must have shape \(\.\.\., 2\). Got \(\)"),
        ((torch.zeros(2, 2), torch.zeros(3, 2)), r"batch dimensions of `y`, `z` and the polytope"),
    ],
)
def test_shapes_are_checked(arguments, message):
    with pytest.raises(ol.InputError, match=message):
        ol.certify(raw_simplex(2), *arguments)


def test_given_multipliers_are_checked():
    with pytest.raises(ol.InputError, match=r"`nu` must have shape \(\.\.\., 1\). Got \(2,\)"):
        ol.certify(raw_simplex(2), [0.0, 0.0], [1.0, 0.0], multipliers=([], [1.0, 2.0]))
    with pytest.raises(ol.InputError, match=r"`psi` must have shape \(\.\.\., 3\). Got \(2,\)"):
        ol.certify(raw_spans(3, 1, 1), np.zeros(3), np.zeros(3), psi=[0.0, 0.0])


def test_the_judge_imports_the_declaration_only():
    folder = Path(certificate_module.__file__).parent
    found = set()
    for name in ("certificate", "problem", "multipliers", "repair"):
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        found |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level}
    rooms = {"_errors", "_polytope.joint", "_polytope.polytope"}
    assert found == rooms | {"problem", "multipliers", "repair"}
