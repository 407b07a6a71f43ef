import ast
import inspect
import json
import re
import warnings

import cvxpy as cp
import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers import _solvers, testing
from optlayers._judge import references
from optlayers._judge import validate as judging

from .helpers import (
    QP_TOL,
    RAW,
    raw_budget,
    raw_chain,
    raw_simplex,
    raw_spans,
    simplex_by_bisection,
)

SOLVERS = ["osqp", "cvxpy"]


# ---------------------------------------------------------------------- the table


@pytest.mark.parametrize("polytope", RAW.values(), ids=RAW)
def test_our_projection_is_right(polytope):
    result = ol.validate(polytope, samples=6)
    assert result.ok, result
    assert [row.method for row in result.rows] == ["project", "osqp", "cvxpy"]
    assert all(row.failed == 0 for row in result.rows)


def test_the_table_in_words():
    result = ol.validate(raw_simplex(4), samples=4, against="osqp", scale=3.0)
    lines = str(result).splitlines()
    assert lines[0] == "Polytope(n=4, equalities=1, integral): 4 points, float64, tolerance 1.0e-06"
    assert lines[1].split() == "method primal dual compl. distance ms/sample failed".split()
    assert [line.split()[0] for line in lines[2:]] == ["project", "osqp", "ok"]
    assert len({len(line) for line in lines[1:4]}) == 1
    again = json.loads(json.dumps(result.to_dict()))
    assert again["ok"] is True
    assert again["rows"][1]["method"] == "osqp"
    assert again["rows"][0]["distance"] is None


@pytest.mark.parametrize(
    ("wrong", "speaks_against"),
    [
        (lambda y: y.softmax(-1), "residual"),
        (lambda y: simplex_by_bisection(y) * torch.nan, "residual nan|residual inf"),
        (lambda y: simplex_by_bisection(y).roll(1, -1), "distance .* to osqp"),
    ],
)
def test_a_wrong_projection_is_found(wrong, speaks_against):
    result = ol.validate(raw_simplex(4), samples=4, against=["osqp"], projection=wrong)
    assert not result.ok
    assert result.rows[0].method == "projection"
    assert any(problem.startswith("residual") for problem in result.problems)
    assert len(result.problems) == 2
    assert "not ok: residual" in str(result)
    assert re.search(speaks_against, str(result))


def test_a_right_projection_of_ones_own_is_accepted():
    result = ol.validate(raw_simplex(4), samples=10, projection=simplex_by_bisection)
    assert result.ok, result


def test_tolerance_decides():
    def a_little_off(y):
        return simplex_by_bisection(y) + 1e-4

    assert not ol.validate(raw_simplex(3), 5, (), a_little_off).ok
    assert ol.validate(raw_simplex(3), 5, (), a_little_off, tol=1e-2).ok


def test_dtype_of_the_projection():
    kinds = []

    def remember(y):
        kinds.append(y.dtype)
        return simplex_by_bisection(y)

    result = ol.validate(raw_simplex(3), 5, ["osqp"], remember, dtype=torch.float32)
    assert set(kinds) == {torch.float32}
    assert result.ok, result
    assert result.dtype == "float32"


@pytest.mark.parametrize("against", [*SOLVERS, "cvxpylayers"])
def test_batched_values(against):
    if against == "cvxpylayers":
        pytest.importorskip("cvxpylayers")
    polytope = raw_spans(4, 2, 1).with_(
        b=torch.tensor([[0.0, 0, 0, 0, 2, 1], [0.0, 0, 0, 0, 3, torch.inf]]),
        upper=torch.tensor([[1.0] * 8, [1.0, 1, 1, 0, 1, 1, 1, 0]]),
    )
    result = ol.validate(polytope, samples=3, against=(against,))
    assert result.ok, result
    assert result.samples == 6


def test_the_points_are_random_tied_and_reproducible():
    lower = torch.tensor([-torch.inf, 10.0, 0.0, -torch.inf])
    polytope = ol.Polytope(lower=lower, upper=torch.tensor([torch.inf, torch.inf, 4.0, -3.0]))
    y = judging._points(polytope, 200, 1.0, seed=3)
    torch.testing.assert_close(y, judging._points(polytope, 200, 1.0, seed=3), rtol=0, atol=0)
    assert not torch.equal(y, judging._points(polytope, 200, 1.0, seed=4))
    middle = torch.tensor([0.0, 10.0, 2.0, -3.0]).double()
    assert bool(((y.mean(0) - middle).abs() < 0.5).all())
    assert bool((2 * y[1::2] == (2 * y[1::2]).round()).all())
    assert not bool((2 * y[::2] == (2 * y[::2]).round()).any())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"samples": 0}, ol.InputError, "`samples` must be an integer, at least 1. Got 0"),
        (
            {"against": ("gurobi",)},
            ol.InputError,
            "`against` takes osqp, cvxpy, cvxpylayers. Got 'gurobi'",
        ),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        ol.validate(raw_simplex(3), **arguments)


def test_a_missing_solver_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(_solvers, "find_spec", lambda _: None)
    remedy = (
        r"cvxpylayers is not installed. Install it with `pip install 'optlayers\[cvxpylayers\]'`"
    )
    with pytest.raises(ol.SolverNotInstalled, match=remedy):
        ol.validate(raw_simplex(3), against=("cvxpylayers",))


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_infeasible_instance_is_counted_and_nothing_else(solver):
    polytope = ol.Polytope(A_eq=[[1.0, 1.0]], b_eq=torch.tensor([[1.0], [5.0]]))

    def mine(y):
        return ol.project(polytope, y, on_failure="nan")

    result = ol.validate(polytope, 3, (solver,), mine)
    assert result.rows[1].failed == 3
    assert result.rows[1].distance < 1e-4
    assert not result.ok  # NaN is not a projection


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_that_finds_nothing_is_an_error(solver):
    polytope = raw_simplex(2, total=-1.0)
    with pytest.raises(ol.SolverFailed, match=f"{solver} found no projection onto Polytope"):
        ol.validate(polytope, 2, (solver,), lambda y: y)


def test_cvxpylayers_that_fails_is_an_error():
    pytest.importorskip("cvxpylayers")
    with pytest.raises(ol.SolverFailed, match="cvxpylayers failed on the batch"):
        ol.validate(raw_simplex(2, total=-1.0), 2, ("cvxpylayers",), lambda y: y)


# ---------------------------------------------------------------------- references


@pytest.mark.parametrize("solver", SOLVERS)
def test_references_find_known_projections(solver):
    y = torch.randn(2, 3, 5).double()
    found = references.exact_projection(raw_simplex(5), y, solver)
    torch.testing.assert_close(found, simplex_by_bisection(y), rtol=0, atol=QP_TOL)
    nothing = references.exact_projection(raw_simplex(5), y[:0], solver)
    assert nothing.shape == (0, 3, 5)


def test_cvxpy_is_compiled_once(monkeypatch):
    compiled = []
    original = cp.Problem.get_problem_data

    def counting(self, *args, **kwargs):
        compiled.append(self._cache.param_prog is None)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(cp.Problem, "get_problem_data", counting)
    references.exact_projection(raw_chain(4), torch.randn(5, 4), "cvxpy")
    assert compiled[0]
    assert sum(compiled) == 1


def test_a_looser_tolerance_follows_a_solver_that_gives_up():
    class Model:
        status, asked = None, []

        def solve(self, tol_gap_abs, **_):
            self.asked.append(tol_gap_abs)
            if len(self.asked) == 1:
                raise cp.SolverError("numerical trouble")
            if len(self.asked) == 2:
                warnings.warn("may be inaccurate", stacklevel=1)
                self.status = cp.OPTIMAL_INACCURATE
            else:
                self.status = cp.OPTIMAL

    model = Model()
    assert references._solve_accurately(model)
    assert model.asked == [1e-12, 1e-10, 1e-8]


# ---------------------------------------------------------------------- property checks
# Each check passes on the right projection, and fails on one with the matching fault.

P = raw_simplex(4)
BOUNDED = P.with_(upper=1.0)
BUDGET = raw_budget([1.0, 2.0, 1.0], 1.5)


def right(y):
    return simplex_by_bisection(y)


def doubled(y):
    return 2 * simplex_by_bisection(y)


def first_only(y):
    z = torch.zeros_like(y)
    z[..., 0] = 1.0
    return z


CALLS = []


def keeps_history(y):
    CALLS.append(y)
    return right(y) + 1e-3 * len(CALLS)


def of_batch(y):
    return right(y - y.reshape(-1, y.shape[-1]).sum(0) / 10) if y.ndim > 1 else right(y)


def steep(y):
    return 3 * y


def make_right(polytope):
    return lambda y: ol.project(polytope, y)


def make_by_position(polytope):
    weights = torch.arange(polytope.n) / 10
    return lambda y: ol.project(polytope, y + weights)


def Y(count=12, n=4):  # noqa: N802 -- a point to project is called y everywhere
    return torch.cat([torch.randn(count, n).double(), testing.coarse_points((count, n))])


CHECKS = {
    "feasible": (
        lambda f: testing.assert_feasible(f, P, Y()),
        right,
        doubled,
        r"violates a row or bound by .* more than 1e-09",
    ),
    "kkt": (
        lambda f: testing.assert_kkt(f, P, Y()),
        right,
        first_only,
        r"Instance \[\d+\] is not the projection: Certificate\(.*relative to",
    ),
    "idempotent": (
        lambda f: testing.assert_idempotent(f, Y()),
        right,
        lambda y: y / 2,
        "a second time moves a point by",
    ),
    "nonexpansive": (
        lambda f: testing.assert_nonexpansive(f, Y(), Y().flip(0)),
        right,
        steep,
        "Two points move apart by",
    ),
    "batch": (
        lambda f: testing.assert_batch_equals_loop(f, Y()),
        right,
        of_batch,
        "The batch one by one differs by",
    ),
    "shape": (
        lambda f: testing.assert_batch_equals_loop(f, Y()),
        right,
        lambda y: right(y)[..., :3],
        r"The shape changes from \(24, 4\) to \(24, 3\)",
    ),
    "state": (
        lambda f: testing.assert_batch_equals_loop(f, Y()),
        right,
        keeps_history,
        "differs by",
    ),
    "float32": (
        lambda f: testing.assert_float32_close(f, Y()),
        right,
        lambda y: right(y) + 1e3 * torch.finfo(y.dtype).eps,
        "float32 differs from float64 by",
    ),
    "float32 kept": (
        lambda f: testing.assert_float32_close(f, Y()),
        right,
        lambda y: right(y.double()),
        "torch.float32 became torch.float64",
    ),
    "dtype kept": (
        lambda f: testing.assert_feasible(f, P, Y().float(), tol=1e-5),
        right,
        lambda y: right(y.double()),
        "must keep dtype and device: torch.float32 on cpu became torch.float64",
    ),
    "qp": (
        lambda f: testing.assert_agrees_with_qp(f, P, Y(), solver="osqp"),
        right,
        first_only,
        "distance to the point of osqp is",
    ),
    "permutation": (
        lambda f: testing.assert_permutation_equivariant(f, BUDGET, Y(n=3)),
        make_right,
        make_by_position,
        "variables renamed and rows reordered",
    ),
    "decoder": (
        lambda f: testing.assert_decodes_optimally(f, BOUNDED, Y()),
        lambda y: torch.nn.functional.one_hot(y.argmax(-1), 4).to(y),
        lambda y: torch.nn.functional.one_hot(y.argmin(-1), 4).to(y),
        r"Instance \d+ is decoded to .*, whose score is .* below that of",
    ),
    "decoder outside": (
        lambda f: testing.assert_decodes_optimally(f, BOUNDED, Y()),
        lambda y: torch.nn.functional.one_hot(y.argmax(-1), 4).to(y),
        torch.ones_like,
        r"Instance 0 is decoded to \[1.0, 1.0, 1.0, 1.0\], not in the set",
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_checks_pass_and_fail(name):
    check, good, bad, message = CHECKS[name]
    check(good)
    with pytest.raises(AssertionError, match=message):
        check(bad)


@pytest.mark.parametrize(
    "name", sorted(set(CHECKS) - {"permutation", "decoder", "decoder outside"})
)
def test_nan_never_passes(name):
    check, *_ = CHECKS[name]
    with pytest.raises(AssertionError):
        check(lambda y: y * torch.nan)


def test_every_check_has_a_case():
    used = {
        n.attr
        for n in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(right))))
        if isinstance(n, ast.Attribute)
    }
    checks = {name for name in testing.__all__ if name.startswith("assert_")}
    assert checks <= used


def test_permutation_with_auxiliary_variables_and_batches():
    polytope = raw_spans(4, 2, 1)
    testing.assert_permutation_equivariant(make_right, polytope, Y(3, 4), tol=1e-5)
    batched = BUDGET.with_(b=torch.rand(6, 1))
    testing.assert_permutation_equivariant(make_right, batched, Y(3, 3))


def test_empty_points_pass():
    testing.assert_idempotent(right, torch.zeros(0, 4))
    testing.assert_nonexpansive(right, torch.zeros(0, 4), torch.zeros(0, 4))
    testing.assert_batch_equals_loop(right, torch.zeros(0, 4))


# ---------------------------------------------------------------------- vertices


def test_vertices_by_hand():
    assert testing.vertices(raw_chain(3)).tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 1, 0],
        [1, 0, 0],
        [1, 0, 1],
    ]
    assert testing.vertices(raw_simplex(2).with_(upper=1.0)).tolist() == [[0, 1], [1, 0]]
    assert testing.vertices(ol.Polytope(lower=[-1.5, 0.0], upper=[0.5, 0.0])).tolist() == [
        [-1, 0],
        [0, 0],
    ]
    assert testing.vertices(raw_simplex(2, total=0.5).with_(upper=1.0)).shape == (0, 2)
    assert testing.vertices(ol.Polytope(lower=[0.25], upper=[0.5])).shape == (0, 1)


def test_vertices_with_auxiliary_variables():
    found = testing.vertices(raw_spans(5, 3, 1))
    want = []
    for k in range(32):
        z = [int(c) for c in f"{k:05b}"]
        runs = sum(b and not a for a, b in zip([0, *z], z, strict=False))
        if sum(z) <= 3 and runs <= 1:
            want.append(z)
    assert found.tolist() == want
    free = ol.Polytope(
        A_eq=[[1.0, 1.0, -1.0]], b_eq=[0.5], lower=[0, 0, -np.inf], upper=[1, 1, np.inf], num_aux=1
    )
    assert len(testing.vertices(free)) == 4


@pytest.mark.parametrize(
    ("polytope", "message"),
    [
        (raw_chain(30), "looks at up to 1048576 candidates. Got 1.07374e"),
        (raw_simplex(2), "candidates. Got inf"),
        (raw_chain(3).with_(b=torch.ones(2, 2)), r"one polytope. Got the batch \(2,\)"),
    ],
)
def test_vertices_refuses(polytope, message):
    with pytest.raises(ol.InputError, match=message):
        testing.vertices(polytope)


def test_a_set_without_points_cannot_be_decoded():
    empty = raw_simplex(2, total=0.5).with_(upper=1.0)
    with pytest.raises(ol.PolytopeError, match="has no integral point"):
        testing.assert_decodes_optimally(right, empty, torch.zeros(1, 2))


def test_coarse_points():
    y = testing.coarse_points((100, 3), dtype=torch.float32)
    assert y.dtype == torch.float32
    assert sorted(set(y.flatten().tolist())) == [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]
