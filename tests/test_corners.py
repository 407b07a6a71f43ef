"""One row and its bounds where they meet: corners, far bounds, weights and scores of any size."""

import itertools

import numpy as np
import pytest
import torch

import optlayers as ol

from .fuzz.tensors import tensor_code

INF = float("inf")
# Rounding of an answer that is computed in float64 and rounded once.
ROUNDED = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@pytest.fixture(params=["kernels", "tensors"])
def path(request):
    """Both programs of a closed form: compiled loops, and tensors as on other devices."""
    if request.param == "kernels":
        yield
    else:
        with tensor_code():
            yield


def close(z, expected):
    torch.testing.assert_close(
        z.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=ROUNDED[z.dtype]
    )


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("batched", [False, True])
def test_a_total_at_a_corner(path, dtype, batched):
    for a, b in itertools.product((0.1, 0.2, 0.3), repeat=2):
        total = torch.tensor([a + b], dtype=torch.float64)
        lower = torch.tensor([a, b], dtype=torch.float64)
        if batched:
            total, lower = total[None], lower[None]
        P = ol.Polytope(A_eq=[[1.0, 1.0]], b_eq=total, lower=lower)
        close(ol.project(P, torch.tensor([0.5, 0.5], dtype=dtype)).reshape(-1), [a, b])
        top = ol.Polytope(A_eq=[[1.0, 1.0]], b_eq=total, lower=0.0, upper=lower)
        close(ol.project(top, torch.tensor([0.5, 0.0], dtype=dtype)).reshape(-1), [a, b])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [1e4, 1e8, 1e10])
def test_a_far_bound_costs_no_digits(path, far, dtype):
    y = torch.tensor([0.3, 0.4, -0.2], dtype=dtype)
    inside = ol.Polytope([[1.0, 1, 1]], [1.0], lower=-far, upper=INF)
    close(ol.project(inside, y), y.tolist())
    lower = torch.tensor([[-far] * 3], dtype=torch.float64)
    close(ol.project(inside.with_(lower=lower), y[None])[0], y.tolist())
    outside = inside.with_(b=[0.2])
    close(ol.project(outside, y), (y.double() - 0.1).tolist())


def by_breakpoints(y, a, lower, upper, goal):
    """The projection onto a.z = goal and bounds: all breakpoints, in long double."""
    y, a, lower, upper = (np.asarray(v, dtype=np.longdouble) for v in (y, a, lower, upper))
    ends = np.concatenate([(y - upper) / a, (y - lower) / a])
    ends = np.sort(ends[np.isfinite(ends)])
    above = [t for t in ends if a @ np.clip(y - t * a, lower, upper) >= goal]
    below = [t for t in ends if a @ np.clip(y - t * a, lower, upper) < goal]
    left = max(above) if above else min(below) - 2
    right = min(below) if below else max(above) + 2
    middle = y - (left + right) / 2 * a
    free = (middle > lower) & (middle < upper)
    if not free.any():
        return np.clip(y - left * a, lower, upper).astype(float)
    rest = np.clip(middle, lower, upper)
    tau = (a[free] @ y[free] + a[~free] @ rest[~free] - goal) / (a[free] @ a[free])
    return np.clip(y - tau * a, lower, upper).astype(float)


@pytest.mark.parametrize("seed", range(40))
def test_against_breakpoints_in_long_double(path, seed):
    rng = np.random.default_rng(seed)
    for _ in range(10):
        n = rng.integers(1, 7)
        a = [
            np.ones(n),
            rng.choice([1.0, -1.0], n),
            rng.choice([1.0, 1e-3, -1e-2], n),
            rng.uniform(0.1, 3.0, n),
        ][rng.integers(4)]
        lower = [np.zeros(n), np.full(n, -1e8), np.round(rng.uniform(0, 0.5, n), 1)][
            rng.integers(3)
        ]
        upper = (
            lower + [np.ones(n), np.full(n, 1e10), rng.choice([0.0, 0.3, INF], n)][rng.integers(3)]
        )
        corner = [np.where(a > 0, lower, upper), np.clip(rng.random(n), lower, upper)]
        x = np.nan_to_num(corner[rng.integers(2)], posinf=2.0)
        y = [rng.standard_normal(n), x + rng.integers(-1, 2, n) / 2][rng.integers(2)]
        P = ol.Polytope(A_eq=[a], b_eq=[a @ x], lower=lower, upper=upper, integral=False)
        expected = by_breakpoints(y, a, lower, upper, a @ x)
        # What the rounding of the right-hand side itself can move the answer by.
        near = 1e-12 + 64 * 2.3e-16 * (np.abs(a) @ np.abs(x)) / np.abs(a).min()
        z = ol.project(P, torch.from_numpy(y)).numpy()
        assert np.abs(z - expected).max() <= near + 1e-15 * np.abs(expected).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gains_per_unit_do_not_overflow(dtype):
    P = ol.Polytope([[1, 1e-3, 1e-3]], [1e-3], integral=False)
    most = torch.finfo(dtype).max
    scores = torch.tensor([-1.0, 0.6 * most, 0.9 * most], dtype=dtype)
    assert ol.decode(P, scores).tolist() == [0.0, 0.0, 1.0]


def test_a_vertex_far_from_its_anchor_is_on_the_row():
    P = ol.Polytope([[1.0, 1.0]], [1.3], lower=[-1e10, 0.0], upper=[1e10, 1.0], integral=False)
    z = ol.decode(P, torch.tensor([1.0, 2.0], dtype=torch.float64))
    close(z, [1.3 - 1.0, 1.0])


@pytest.mark.parametrize("rows", [[[1.0, 1, 1]], [[-1.0, -1, -1]]])
def test_a_plan_says_that_a_bound_is_too_far_to_count_from(rows):
    sign = rows[0][0]
    P = ol.Polytope(rows, [sign], lower=-1.0, upper=INF)
    near, far = P, P.with_(lower=torch.full((3,), -1e4).double())
    if sign < 0:
        near, far = (
            Q.with_(lower=torch.full((3,), -INF).double(), upper=-Q.lower) for Q in (near, far)
        )
    assert "-> Simplex" in ol.plan(near).explain()
    assert "it would be counted from a bound beyond 1000, and lose digits" in ol.plan(far).explain()


def corner(a, y, lower=0.0, upper=1.0):
    """The one point that `a.z <= min a.z` leaves, with the sum as floats have it, and a point."""
    a, y = np.array(a), torch.tensor(y, dtype=torch.float64)
    lower, upper = (np.broadcast_to(np.asarray(v, dtype=float), a.shape) for v in (lower, upper))
    end = np.where(a > 0, lower, upper)
    return a, end, lower, upper, y


CORNERS = {
    "weights of different size": corner([-0.01] * 22 + [1.0] * 10 + [0.001] * 12, [10.0] * 44),
    "one sign, at the corner": corner([1.0] * 8, [0.1, 0.3] * 4, [0.1, 0.3] * 4, np.inf),
    "signs": corner([1.0, -1.0] * 6, [0.0, 0.1, 0.7] * 4, 0.0, [0.3, 0.1, 0.1, 0.3, 0.1, 0.1] * 2),
    "far": corner([-1.0, 1.0, -1.0], [0.4, -94.3, 1e5], [-0.6, -0.3, -0.8], [0.4, 0.7, 0.2]),
    "a small set": corner([1e-3, -1.0, 1.0], [3e-9, 1e-9, -1e-9], 0.0, [1e-9, 3e-9, 7e-10]),
}


@pytest.mark.parametrize("equality", [True, False])
@pytest.mark.parametrize("name", CORNERS)
def test_what_has_one_point_has_no_slope(path, name, equality):
    """Rounding in the sum must not leave variables beside their bounds, as if they were free."""
    a, end, lower, upper, y = CORNERS[name]
    for total in (a @ end, float(np.sum(a[::-1] * end[::-1])), np.nextafter(a @ end, np.inf)):
        rows = {"A_eq": a[None], "b_eq": [total]} if equality else {"A": a[None], "b": [total]}
        P = ol.Polytope(**rows, lower=lower, upper=upper, integral=False)
        point = y.clone().requires_grad_()
        z = ol.project(P, point)
        assert z.tolist() == end.tolist()
        z.backward(torch.arange(1.0, len(a) + 1, dtype=torch.float64))
        assert not point.grad.any()


def test_a_weight_that_hardly_counts_is_no_corner(path):
    """The row cannot tell what this variable is, and it is free all the same."""
    P = ol.Polytope(A_eq=[[1.0, 1e-15, 1.0]], b_eq=[1.5], integral=False)
    y = torch.tensor([0.9, 0.4, 0.8], dtype=torch.float64)
    close(ol.project(P, y), [0.8, 0.4, 0.7])


@pytest.mark.parametrize("size", [1e15, 1e17, 1e30, 1e200])
@pytest.mark.parametrize("seed", range(6))
def test_a_row_is_met_however_far_the_point_is(path, size, seed):
    """From 1e17 both ends of a variable are at one breakpoint, and the row was missed by one."""
    rng = np.random.default_rng(seed)
    a, y = rng.integers(1, 4, 4).astype(float), size * rng.standard_normal(4)
    y[0] = [y[0], 0.3][seed % 2]
    b = [a.sum() // 2 + 0.25]
    made = ol.Polytope(a[None], b) if seed % 3 else ol.Polytope(A_eq=a[None], b_eq=b)
    z = ol.project(made, torch.from_numpy(y))
    found = ol.certify(made, torch.from_numpy(y), z)
    assert float(found.residual) <= 1e-9
    assert float(found.primal) <= 1e-12
