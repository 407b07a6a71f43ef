"""Sets that are empty, by much or by a hair: one tolerance, three verbs, one verdict."""

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import optlayers as ol
from optlayers._polytope.consistency import CONSISTENT
from optlayers._solvers.highs import Solution

INF = float("inf")
FAR_BOUNDS = [5.0, 1e3, 1e6, 1e9, 1e10, 1e12, INF]
NO_POINT = "No point satisfies all constraints. In conflict: "


def transport(rows: int, columns: int) -> np.ndarray:
    """Rows of row sums and column sums of a plan."""
    return np.vstack(
        [np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))]
    )


def verdicts(polytope: ol.Polytope, y: torch.Tensor) -> list[bool]:
    """Whether each verb finds a point: `check_feasible`, `project`, `decode`."""
    asked = (
        polytope.check_feasible,
        partial(ol.project, polytope, y),
        partial(ol.decode, polytope, y),
    )
    errors = [error_of(ask) for ask in asked]
    for error in filter(None, errors):
        assert NO_POINT in error
        assert "miss" in error
    return [error is None for error in errors]


def error_of(ask: Callable[[], object]) -> str | None:
    try:
        ask()
    except ol.InfeasibleError as error:
        return str(error)
    return None


# ---------------------------------------------------------------------- empty by much


def _one_row(far):
    return ol.Polytope(A_eq=[[1.0, 2.0]], b_eq=[2.0], lower=[1.0, 2.0], upper=far, integral=False)


def _two_rows(far):
    rows = [[1.0, -1.0, 0.0], [1.0, -1.0, 1.0]]
    return ol.Polytope(A_eq=rows, b_eq=[1.0, 0.5], upper=[far, far, 1.0], integral=False)


def _opposite(far):
    return ol.Polytope([[1.0, -1.0], [-1.0, 1.0]], [-1.0, 0.5], upper=far, integral=False)


def _three_in_a_ring(far):
    rows = [[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [-1.0, 0.0, 1.0]]
    return ol.Polytope(rows, [-1.0, -1.0, 1.5], lower=-far, upper=far, integral=False)


def _auxiliary(far):
    rows = [[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    return ol.Polytope(rows, [-1.0, 0.5], upper=[1.0, 1.0, far], num_aux=1, integral=False)


EMPTY = [_one_row, _two_rows, _opposite, _three_in_a_ring, _auxiliary]


@pytest.mark.parametrize("far", FAR_BOUNDS)
@pytest.mark.parametrize("make", EMPTY)
def test_bounds_that_cannot_be_reached_hide_no_empty_set(make, far):
    polytope = make(far)
    y = torch.linspace(-1, 1, polytope.n, dtype=torch.float64)
    assert verdicts(polytope, y) == [False] * 3


@pytest.mark.parametrize("far", FAR_BOUNDS)
def test_bounds_that_cannot_be_reached_make_no_set_empty(far):
    polytope = ol.Polytope(
        A_eq=[[1.0, -1.0, 0.0], [1.0, -1.0, 1.0]],
        b_eq=[1.0, 1.5],
        upper=[far, far, 1.0],
        integral=False,
    )
    z = ol.project(polytope, torch.tensor([0.3, 0.4, 0.2], dtype=torch.float64))
    expected = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(z, expected, atol=1e-9, rtol=0)
    polytope.check_feasible()


def test_one_empty_instance_fails_alone():
    b_eq = torch.tensor([[2.0], [5.0]], dtype=torch.float64)
    polytope = _one_row(1e10).with_(b_eq=b_eq)
    z, status = ol.project(polytope, torch.zeros(2, 2), on_failure="nan", return_status=True)
    assert status.ok.tolist() == [False, True]
    assert z[1].tolist() == [1.0, 2.0]


# ---------------------------------------------------------------------- order of failures


def test_an_unbounded_block_hides_no_empty_one():
    polytope = ol.Polytope([[0.0, -1.0, -1.0]], [-3.0], upper=[INF, 1.0, 1.0], integral=False)
    with pytest.raises(ol.InfeasibleError, match=r"A\[0\], upper\[1\] = 1, upper\[2\] = 1; they"):
        ol.decode(polytope, torch.tensor([1.0, 0.0, 0.0]))


def test_an_unbounded_direction_hides_no_conflict_of_the_same_block():
    rows = [[1.0, -1.0, -1.0], [0.0, -1.0, -1.0]]
    polytope = ol.Polytope(rows, [5.0, -3.0], lower=[-INF, 0, 0], upper=[INF, 1, 1], integral=False)
    with pytest.raises(ol.InfeasibleError, match=r"A\[1\]"):
        ol.decode(polytope, torch.tensor([-1.0, 0.0, 0.0]))


# ---------------------------------------------------------------------- crossed bounds, empty rows


@pytest.mark.parametrize("verb", [ol.project, ol.decode])
def test_crossed_bounds_are_the_failure_of_their_instance(verb):
    lower = torch.tensor([[0.0, 0.0], [0.0, 0.7]])
    polytope = ol.Polytope(lower=lower, upper=[1.0, 0.5], integral=False)
    with pytest.raises(ol.InfeasibleError, match=r"Instance 1.*lower\[1\] = 0.7, upper\[1\] = 0.5"):
        verb(polytope, torch.zeros(2, 2))
    z = verb(polytope, torch.zeros(2, 2), on_failure="nan")
    assert z[0].tolist() == [0.0, 0.0]
    assert z[1].isnan().all()


@pytest.mark.parametrize("off", [-1e-17, -1e-8])
def test_rows_without_coefficients_that_miss_by_a_hair_hold(off):
    polytope = ol.Polytope(
        [[0.0, 0.0], [1.0, 1.0]], [off, 1.0], A_eq=[[0.0, 0.0]], b_eq=[off], integral=False
    )
    assert verdicts(polytope, torch.ones(2)) == [True] * 3


def test_a_row_without_coefficients_fails_its_instance():
    b = torch.tensor([[0.0, 1.0], [-1.0, 1.0]])
    polytope = ol.Polytope([[0.0, 0.0], [1.0, 1.0]], b, integral=False)
    with pytest.raises(ol.InfeasibleError, match=r"Instance 1.*A\[0\]; it is missed by 1"):
        ol.project(polytope, torch.zeros(2, 2))


def test_bounds_that_cross_by_a_hair_meet():
    polytope = ol.Polytope([[1.0, 0.0]], [0.3], lower=[0.3 + 1e-8, 0.0], upper=1.0, integral=False)
    assert verdicts(polytope, torch.ones(2)) == [True] * 3


# ---------------------------------------------------------------------- nearly equal marginals


def marginals(rows: int, columns: int, batch: tuple[int, ...] = (), seed: int = 0):
    """Two float32 softmaxes, one after the other: their sums differ in the last digits."""
    made = torch.Generator().manual_seed(seed)
    parts = [torch.randn(*batch, k, generator=made).softmax(-1) for k in (rows, columns)]
    return torch.cat(parts, -1).double()


SIZES = [(2, 2), (3, 7), (5, 4), (1, 6), (10, 30)]


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_marginals_of_a_softmax_agree(rows, columns, seed):
    b_eq = marginals(rows, columns, seed=seed)
    polytope = ol.Polytope(A_eq=transport(rows, columns), b_eq=b_eq, integral=False)
    y = torch.randn(rows * columns, generator=torch.Generator().manual_seed(seed)).double()
    assert verdicts(polytope, y) == [True] * 3


# Of one row the columns are bounds, and the row gives way to them.
@pytest.mark.parametrize(("rows", "columns"), [s for s in SIZES if 1 not in s])
def test_the_nearest_right_hand_side_is_used(rows, columns):
    b_eq, R = marginals(rows, columns, (4,)), transport(rows, columns)
    polytope = ol.Polytope(A_eq=R, b_eq=b_eq, integral=False)
    y = torch.randn(4, rows * columns, generator=torch.Generator().manual_seed(1)).double()
    z, d = ol.project(polytope, y).numpy(), ol.decode(polytope, y).numpy()
    # Against sums moved as little as possible, each against 1 + itself, until they agree.
    sign = np.repeat([1.0, -1.0], [rows, columns])
    weight = (1 + b_eq.numpy()) ** 2
    miss = b_eq.numpy() @ sign
    b = b_eq.numpy() - weight * sign * (miss / weight.sum(1))[:, None]
    assert np.abs(z @ R.T - b).max() <= 1e-9
    for i in range(4):
        best = linprog(-y[i].numpy(), A_eq=R[1:], b_eq=b[i, 1:], bounds=(0, 1))
        assert y[i].numpy() @ d[i] == pytest.approx(-best.fun, abs=1e-9)


@pytest.mark.parametrize("off", [1e-5, 1e-3, 0.3])
def test_marginals_that_do_not_agree_are_named_with_their_gap(off):
    b_eq = marginals(3, 7)
    b_eq[0] += 14 * off
    polytope = ol.Polytope(A_eq=transport(3, 7), b_eq=b_eq, integral=False)
    assert verdicts(polytope, torch.zeros(21)) == [False] * 3
    with pytest.raises(ol.InfeasibleError, match=r"A_eq\[0\], .* they miss each other by"):
        ol.project(polytope, torch.zeros(21))


def _hair(off: float) -> ol.Polytope:
    """Row sums of 1, and four column sums of at most 3/4 - off: missed by 4 off all in all."""
    R = transport(3, 4)
    return ol.Polytope(R[3:], np.full(4, 0.75 - off), A_eq=R[:3], b_eq=np.ones(3), integral=False)


# The gap is 4 off / (3 * 2 + 4 * 1.75) units of the tolerance.
@pytest.mark.parametrize(
    ("off", "feasible"),
    [(-1e-3, True), (0.0, True), (1e-12, True), (1e-8, True), (3e-6, True), (3.5e-6, False)],
)
def test_the_tolerance_is_the_one_stated_also_where_inequalities_conflict(off, feasible):
    assert (4 * off / 13 <= CONSISTENT) == feasible
    polytope = _hair(off)
    y = torch.randn(12, generator=torch.Generator().manual_seed(0)).double()
    assert verdicts(polytope, y) == [feasible] * 3
    if feasible:
        z = ol.project(polytope, y)
        most = 2 * CONSISTENT
        assert (polytope.A @ z.numpy() <= polytope.b.numpy() + most).all()
        assert np.abs(polytope.A_eq @ z.numpy() - 1).max() <= most


def test_moved_right_hand_sides_have_derivatives():
    b_eq = marginals(3, 4).requires_grad_()
    polytope = ol.Polytope(A_eq=transport(3, 4), b_eq=b_eq, integral=False)
    y = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    z = ol.project(polytope, y)
    z.pow(2).sum().backward()
    assert b_eq.grad is not None
    assert b_eq.grad.isfinite().all()
    # More mass in row 0 and in column 0 at once: a direction in which the set stays.
    step = torch.zeros(7, dtype=torch.float64)
    step[[0, 3]] = 1e-4
    moved = [
        ol.project(polytope.with_(b_eq=b_eq.detach() + s * step), y.detach()).pow(2).sum()
        for s in (1, -1)
    ]
    expected = float(moved[0] - moved[1]) / 2
    assert float(b_eq.grad @ step) == pytest.approx(expected, rel=1e-6)


# ---------------------------------------------------------------------- coefficients of any size


def test_small_coefficients_of_a_row_count():
    polytope = ol.Polytope([[1.0, -1e9, 0.0], [1.0, 0.0, 1.0]], [0.0, 1.0])
    assert ol.decode(polytope, torch.tensor([1.0, -0.5, 0.2])).tolist() == [1.0, 1.0, 0.0]
    z = ol.decode(polytope.with_(integral=False), torch.tensor([1.0, -0.5, 0.2]).double())
    assert z.tolist() == pytest.approx([1.0, 1e-9, 0.0], rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("weights", "limit", "scores", "expected"),
    [
        ([1e9, 1.0, 2.0], 1e9, [1.0, 0.5, 0.2], [1.0, 0.0, 0.0]),
        ([1e9, 1.0, 2.0], 1e9 + 1, [1.0, 0.5, 0.6], [1.0, 1.0, 0.0]),
        ([1e9, 1e9, 1e9], 2e9 - 1, [1.0, 0.9, 0.2], [1.0, 0.0, 0.0]),
        ([1e9, 1e9, 1e9], 1e9 - 1, [1.0, 0.9, 0.2], [0.0, 0.0, 0.0]),
        # What rounding took from a limit is given back.
        ([0.1, 0.1, 0.1], 0.1 + 0.2, [1.0, 0.9, 0.2], [1.0, 1.0, 1.0]),
        ([0.1, 0.1, 0.1], 0.3, [1.0, 0.9, 0.2], [1.0, 1.0, 1.0]),
        ([0.1, 0.2, 0.7], 0.3, [1.0, 0.9, 0.2], [1.0, 1.0, 0.0]),
    ],
)
def test_budgets_are_not_exceeded(dtype, weights, limit, scores, expected):
    z = ol.decode(ol.budget(weights, limit), torch.tensor(scores, dtype=dtype))
    assert z.tolist() == expected


@pytest.mark.parametrize("size", [1.0, 1e3, 1e9])
def test_integers_that_miss_by_one_have_no_point(size):
    polytope = ol.Polytope([[-size, -size]], [-2 * size - 1])
    with pytest.raises(ol.InfeasibleError):
        ol.decode(polytope, torch.ones(2))


def wide_rows(rng: np.random.Generator):
    """Integer coefficients over nine decades, and limits that a 0/1 point meets, or nearly."""
    n, m = int(rng.integers(2, 8)), int(rng.integers(1, 4))
    A = np.round(10.0 ** rng.uniform(0, 9, (m, n))) * rng.choice([-1, 1, 1, 0], (m, n))
    A[~A.any(1), 0] = 1.0
    far = np.where(rng.random(m) < 0.6, 0.0, np.round(10.0 ** rng.uniform(0, 9, m)))
    return A, A @ rng.integers(0, 2, n) + far - (rng.random() < 0.4)


@pytest.mark.parametrize("few", [True, False], ids=["each", "solver"])
@pytest.mark.parametrize("seed", range(40))
def test_integers_of_any_size_decode_as_by_enumeration(seed, few, monkeypatch):
    if not few:
        monkeypatch.setattr("optlayers._decoders.exact._FEW", 0)
    rng = np.random.default_rng(seed)
    A, b = wide_rows(rng)
    scores = rng.standard_normal(A.shape[1])
    points = np.array(list(itertools.product([0.0, 1.0], repeat=A.shape[1])))
    points = points[(points @ A.T <= b).all(1)]
    z, status = ol.decode(
        ol.Polytope(A, b), torch.from_numpy(scores), on_failure="nan", return_status=True
    )
    if not len(points):
        assert not status.ok
        return
    assert (A @ z.numpy() <= b).all()
    assert scores @ z.numpy() == pytest.approx((points @ scores).max())


@pytest.mark.parametrize("seed", range(30))
def test_vertices_of_rows_of_any_size_are_those_of_a_linear_program(seed):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 8)), int(rng.integers(2, 4))
    A = 10.0 ** rng.uniform(-5, 4, (m, n)) * rng.choice([-1.0, 1.0], (m, n))
    b, scores = A @ rng.random(n), rng.standard_normal(n)
    z = ol.decode(ol.Polytope(A, b, integral=False), torch.from_numpy(scores)).numpy()
    smallest = np.abs(A).min(1)
    assert ((A @ z - b) <= 1e-7 * np.maximum(np.abs(A) @ np.abs(z) + np.abs(b), smallest)).all()
    best = linprog(-scores, A_ub=A / smallest[:, None], b_ub=b / smallest, bounds=(0, 1))
    assert scores @ z == pytest.approx(-best.fun, abs=1e-6)


def test_an_answer_that_stays_outside_is_refused(monkeypatch):
    polytope = ol.Polytope([[1.0, 1.0, 2.0], [2.0, 1.0, 1.0]], [1.0, 1.0], integral=False)
    wrong = np.array([1.0, 0.0, 0.0])
    monkeypatch.setattr(
        "optlayers._solvers.highs.HighsSolver.solve", lambda *_: Solution(wrong, "")
    )
    message = "HiGHS violates a row of 3 coefficients, the largest of them that of variable 0, by 5"
    with pytest.raises(ol.SolverFailed, match=message):
        ol.decode(polytope, torch.ones(3))
