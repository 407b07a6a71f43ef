import copy
import io
import pickle
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from cvxpy.constraints import NonNeg, Zero

import optlayers as ol
from optlayers._plan.compile import rows_of

from .helpers import raw_assignment, raw_budget, raw_chain, raw_simplex, raw_spans

ONE = [[1.0, 1.0]]


# ---------------------------------------------------------------------- declarations


@pytest.mark.parametrize(
    "rows",
    [
        ONE,
        np.array([[1, 1]]),
        torch.tensor([[1.0, 1.0]]),
        torch.tensor([[1.0, 1.0]]).to_sparse(),
        sp.csr_matrix([[1.0, 1.0]]),
        sp.coo_array(([0.5, 0.5, 1.0], ([0, 0, 0], [0, 0, 1])), shape=(1, 2)),
    ],
    ids=["lists", "numpy", "torch", "torch sparse", "scipy matrix", "scipy duplicates"],
)
def test_rows_of_every_kind(rows):
    polytope = ol.Polytope(rows, [1.0])
    assert isinstance(polytope.A, sp.csr_array)
    assert polytope.A.toarray().tolist() == ONE
    assert polytope.A.dtype == np.float64


def test_defaults():
    polytope = ol.Polytope(ONE, [1.0])
    assert (polytope.n, polytope.num_aux, polytope.num_vars) == (2, 0, 2)
    assert polytope.lower.tolist() == [0.0, 0.0]
    assert polytope.upper.tolist() == [1.0, 1.0]
    assert polytope.integral
    assert polytope.batch_shape == ()
    assert polytope.A_eq.shape == (0, 2)
    assert polytope.b_eq.shape == (0,)
    assert polytope.relaxation is polytope


def test_declaring_copies_what_is_handed_over():
    rows, limit = np.array(ONE), torch.tensor([1.0]).double()
    polytope = ol.Polytope(rows, limit)
    rows[:], limit[:] = 7.0, 7.0
    assert polytope.A.toarray().tolist() == ONE
    assert polytope.b.tolist() == [1.0]
    with pytest.raises(ValueError, match="read-only"):
        polytope.A.data[0] = 2.0


def test_batched_values_keep_their_device(device):
    b = torch.ones(3, 1, 1, device=device)
    polytope = ol.Polytope(ONE, b, upper=torch.ones(4, 2, device=device))
    assert polytope.batch_shape == (3, 4)
    assert polytope.b.device.type == device.type
    assert polytope.b.dtype == torch.float64


@pytest.mark.parametrize(
    ("polytope", "text"),
    [
        (ol.Polytope(ONE, [1.0]), "Polytope(n=2, rows=1, integral)"),
        (raw_simplex(3).with_(integral=False), "Polytope(n=3, equalities=1, continuous)"),
        (raw_spans(2, 1, 1), "Polytope(n=2, num_aux=2, rows=4, integral)"),
        (
            ol.Polytope(lower=torch.zeros(5, 2), upper=1.0),
            "Polytope(n=2, batch=(5,), integral)",
        ),
    ],
)
def test_words(polytope, text):
    assert repr(polytope) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs rows `A` or `A_eq`, or bounds with one entry per variable"),
        (
            {"A": [1.0, 2.0], "b": [1.0]},
            r"`A` must have shape \(rows, variables\), or .* Got \(2,\)",
        ),
        ({"A": sp.coo_array([1.0, 2.0]), "b": [1.0]}, r"`A` must have shape \(rows, variables\)"),
        ({"A": "rows", "b": [1.0]}, "`A` must be a matrix of numbers. Got str"),
        ({"A": [[1.0], [1.0, 2.0]], "b": [1.0]}, "`A` must be a matrix of numbers. Got list"),
        ({"A": [[1.0, np.nan]], "b": [1.0]}, r"`A` must be finite. Got A\[0, 1\] = nan"),
        (
            {"A_eq": [[0.0, 0.0], [np.inf, 0.0]], "b_eq": [0.0, 0.0]},
            r"`A_eq` must be finite. Got A_eq\[1, 0\] = inf",
        ),
        ({"A": ONE}, "`A` has 1 rows; give `b` with 1 entries"),
        ({"A_eq": ONE}, "`A_eq` has 1 rows; give `b_eq` with 1 entries"),
        (
            {"A": ONE, "b": [1.0, 2.0]},
            r"`b` must have shape \(\.\.\., 1\), one entry per row of `A`. Got \(2,\)",
        ),
        ({"A": ONE, "b": 1.0}, r"one entry per row of `A`. Got \(\)"),
        ({"A": ONE, "b": ["one"]}, "`b` must be numbers. Got list"),
        ({"A": ONE, "b": [-np.inf]}, r"`b` must be finite or inf. Got b\[0\] = -inf"),
        ({"A": ONE, "b": [[1.0], [np.nan]]}, r"Got b\[1, 0\] = nan"),
        ({"A_eq": ONE, "b_eq": [np.inf]}, r"`b_eq` must be finite. Got b_eq\[0\] = inf"),
        ({"lower": [0.0, np.inf]}, r"`lower` must be finite or -inf. Got lower\[1\] = inf"),
        ({"upper": [0.0, -np.inf]}, r"`upper` must be finite or inf. Got upper\[1\] = -inf"),
        (
            {"lower": [0.0, 2.0]},
            r"`lower` must not exceed `upper`. Got lower\[1\] = 2 > upper\[1\] = 1",
        ),
        (
            {"A": ONE, "b": [1.0], "lower": [0.0, 0.0, 0.0]},
            "same number of columns, at least 1. Got: `A` has 2, `lower` has 3",
        ),
        ({"A": np.zeros((1, 0)), "b": [1.0]}, "at least 1. Got: `A` has 0"),
        (
            {"A": ONE, "b": torch.ones(2, 1), "upper": torch.ones(3, 2)},
            r"batch dimensions of the right-hand sides and bounds must agree. Got .*'b': \(2, 1\)",
        ),
        (
            {"A": [[1.0, 0.0], [0.0, 0.0]], "b": [1.0, -1.0]},
            "Row 1 of `A` has no coefficients and asks for 0 <= -1",
        ),
        (
            {"A_eq": [[0.0, 0.0]], "b_eq": [2.0]},
            "Row 0 of `A_eq` has no coefficients and asks for 0 == 2",
        ),
        (
            {"A": ONE, "b": [1.0], "num_aux": 2},
            r"`num_aux` must be an integer from 0 to 1, .* Got 2",
        ),
        ({"A": ONE, "b": [1.0], "num_aux": -1}, "Got -1"),
        ({"A": ONE, "b": [1.0], "num_aux": 1.0}, "Got 1.0"),
        ({"A": ONE, "b": [1.0], "num_aux": True}, "Got True"),
    ],
)
def test_what_is_not_a_polytope_is_refused(arguments, message):
    with pytest.raises(ol.PolytopeError, match=message):
        ol.Polytope(**arguments)


def test_rows_without_coefficients_that_hold_are_kept():
    polytope = ol.Polytope([[0.0, 0.0], [1.0, 1.0]], [5.0, 1.0])
    assert polytope.A.shape == (2, 2)
    polytope.check_feasible()


# ---------------------------------------------------------------------- frozen, copied, pickled


def test_frozen():
    polytope = raw_simplex(3)
    with pytest.raises(AttributeError, match=r"frozen; `b_eq` cannot be set. Use `with_"):
        polytope.b_eq = torch.zeros(1)
    with pytest.raises(AttributeError, match=r"frozen; `b_eq` cannot be deleted"):
        del polytope.b_eq


def test_copies_are_the_same_object():
    polytope = raw_simplex(3)
    assert copy.copy(polytope) is polytope
    assert copy.deepcopy([polytope])[0] is polytope


def test_pickle():
    polytope = raw_spans(4, 2, 1).with_(b=torch.ones(2, 6))
    ol.plan(polytope)  # what is compiled must not be in the way
    buffer = io.BytesIO()
    pickle.dump(polytope, buffer)
    again = pickle.loads(buffer.getvalue())
    assert repr(again) == repr(polytope)
    assert (again.A != polytope.A).nnz == 0
    torch.testing.assert_close(again.b, polytope.b)
    assert again.fingerprint == polytope.fingerprint
    with pytest.raises(AttributeError, match="frozen"):
        again.n = 3


# ---------------------------------------------------------------------- algebra


def test_other_values_share_what_was_compiled():
    polytope = raw_budget([1.0, 2.0], 1.0)
    other = polytope.with_(b=torch.tensor([[1.0], [2.0]]), upper=0.5, integral=False)
    assert rows_of(other) is rows_of(polytope)
    assert other.A.data is polytope.A.data
    assert other.batch_shape == (2,)
    assert other.upper.tolist() == [0.5, 0.5]
    assert not other.integral
    assert polytope.b.tolist() == [1.0]


def test_with_refuses_other_rows():
    with pytest.raises(ol.PolytopeError, match=r"`with_` changes b, .*integral. Got A, num_aux"):
        raw_simplex(3).with_(num_aux=1, A=ONE)
    with pytest.raises(ol.PolytopeError, match="`lower` must not exceed `upper`"):
        raw_chain(3).with_(lower=2.0)


def test_fix():
    polytope = raw_chain(4).fix({0: 1.0, -1: 0.5})
    assert polytope.lower.tolist() == [1.0, 0.0, 0.0, 0.5]
    assert polytope.upper.tolist() == [1.0, 1.0, 1.0, 0.5]
    batched = ol.Polytope(lower=torch.zeros(2, 3), upper=1.0).fix({1: 1})
    assert batched.lower[:, 1].tolist() == [1.0, 1.0]
    assert batched.upper.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({4: 0.0}, "`fix` takes variable numbers below 4. Got 4"),
        ({-5: 0.0}, "Got -5"),
        ({1: 2.0}, r"Variable 1 cannot be fixed at 2.0: its bounds are \[0, 1\]"),
        ({1: np.nan}, "`lower` must be finite or -inf"),
    ],
)
def test_fix_refuses(values, message):
    with pytest.raises(ol.PolytopeError, match=message):
        raw_chain(4).fix(values)


def membership(polytope: ol.Polytope, z: np.ndarray, psi: np.ndarray) -> bool:
    x = np.concatenate([z, psi])
    rows = (polytope.A @ x <= polytope.b.numpy() + 1e-9).all()
    rows &= (np.abs(polytope.A_eq @ x - polytope.b_eq.numpy()) <= 1e-9).all()
    inside = (polytope.lower.numpy() <= x).all() and (x <= polytope.upper.numpy()).all()
    return bool(rows and inside)


def test_product_is_membership_in_all_factors():
    rng = np.random.default_rng(0)
    factors = [raw_spans(2, 1, 1), raw_simplex(2), raw_spans(3, 2, 1)]
    joint = ol.product(*factors)
    assert (joint.n, joint.num_aux) == (7, 5)
    seen = set()
    for _ in range(300):
        zs = [rng.integers(0, 2, f.n).astype(float) for f in factors]
        psis = [rng.integers(0, 2, f.num_aux).astype(float) for f in factors]
        want = all(membership(f, z, p) for f, z, p in zip(factors, zs, psis, strict=True))
        assert membership(joint, np.concatenate(zs), np.concatenate(psis)) == want
        seen.add(want)
    assert seen == {True, False}


def test_intersection_is_membership_in_all_factors():
    rng = np.random.default_rng(0)
    factors = [raw_spans(3, 2, 1), raw_chain(3), raw_spans(3, 3, 2).with_(upper=0.75)]
    joint = ol.intersect(*factors)
    assert (joint.n, joint.num_aux) == (3, 6)
    seen = set()
    for _ in range(500):
        z = rng.choice([0.0, 0.5, 1.0], 3, p=[0.5, 0.4, 0.1])
        psis = [rng.choice([0.0, 0.5, 1.0], f.num_aux) for f in factors]
        want = all(membership(f, z, p) for f, p in zip(factors, psis, strict=True))
        assert membership(joint, z, np.concatenate(psis)) == want
        seen.add(want)
    assert seen == {True, False}
    assert repr(ol.intersect(raw_chain(3), raw_chain(3))) == "Polytope(n=3, rows=4, integral)"


def test_algebra_broadcasts_batches():
    left = raw_budget([1.0, 1.0], 1.0).with_(b=torch.ones(3, 1, 1))
    right = raw_simplex(2).with_(upper=torch.ones(2, 2))
    for joint in (ol.product(left, right), ol.intersect(left, right)):
        assert joint.batch_shape == (3, 2)
    assert ol.product(left) is left
    assert ol.intersect(left) is left


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (ol.product, "`product` needs at least one polytope"),
        (ol.intersect, "`intersect` needs at least one polytope"),
        (
            lambda: ol.intersect(raw_chain(3), raw_chain(4)),
            "equally many variables. Got 3 and 4",
        ),
        (
            lambda: ol.intersect(raw_chain(3), raw_chain(3).with_(integral=False)),
            r"agree on `integral`. Got integral and continuous. Use `with_\(integral",
        ),
    ],
)
def test_algebra_refuses(call, message):
    with pytest.raises(ol.PolytopeError, match=message):
        call()


# ---------------------------------------------------------------------- feasibility


def test_feasible_polytopes_pass():
    for polytope in (raw_chain(4), raw_assignment(3), raw_spans(4, 0, 0), raw_simplex(1)):
        polytope.check_feasible()
    ol.Polytope(lower=[-np.inf], upper=np.inf).check_feasible()
    raw_budget([1.0, 1.0], 1.0).with_(b=torch.zeros(0, 1)).check_feasible()


@pytest.mark.parametrize(
    ("polytope", "names"),
    [
        (
            ol.Polytope([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [-1.0, -1.0, 0.0]], [1.0, 1.0, -1.5]),
            "A[0], A[2]; they miss each other by 0.5.",
        ),
        (
            raw_simplex(2, total=-1.0),
            "A_eq[0], lower[0] = 0, lower[1] = 0; they miss each other by 1.",
        ),
        (
            raw_chain(3).fix({0: 1.0, 1: 1.0}),
            "A[0], lower[0] = 1, lower[1] = 1; they miss each other by 1.",
        ),
        (
            ol.Polytope(A_eq=[[1.0], [1.0]], b_eq=[0.25, 0.5]),
            "A_eq[0], A_eq[1]; they miss each other by 0.25.",
        ),
        # Two conflicts: one is named, with nothing that it does not need.
        (
            ol.Polytope(A_eq=np.eye(2), b_eq=[2.0, 2.0]),
            "A_eq[1], upper[1] = 1; they miss each other by 1.",
        ),
        # An empty row that holds must not hide the conflict, nor a row of another scale.
        (
            ol.Polytope([[0.0], [1.0], [-1.0]], [5.0, 0.25, -0.5]),
            "A[1], A[2]; they miss each other by 0.25.",
        ),
        (
            ol.Polytope([[1e6], [-1e-6]], [0.25e6, -0.5e-6]),
            "A[0], A[1]; they miss each other by 0.25.",
        ),
    ],
)
def test_conflicts_are_named(polytope, names):
    with pytest.raises(ol.InfeasibleError) as caught:
        polytope.check_feasible()
    assert str(caught.value) == f"No point satisfies all constraints. In conflict: {names}"


@pytest.mark.parametrize(("shape", "where"), [((4,), "2"), ((2, 2), "(1, 0)")])
def test_the_instance_without_a_point_is_named(shape, where):
    b_eq = torch.tensor([1.0, 2.0, 3.0, 0.0]).reshape(*shape, 1)
    polytope = ol.Polytope(A_eq=ONE, b_eq=b_eq)
    with pytest.raises(ol.InfeasibleError) as caught:
        polytope.check_feasible()
    assert str(caught.value).startswith(f"Instance {where}: No point")
    assert "A_eq[0], upper[0] = 1, upper[1] = 1" in str(caught.value)


# ---------------------------------------------------------------------- cvxpy


def agree(polytope: ol.Polytope, variables: list, constraints: list) -> None:
    """Rows and constraints say the same of random values."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        for v in variables:
            v.save_value(rng.integers(-2, 3, v.shape) / 2.0)
        x = np.concatenate([np.asarray(v.value).ravel(order="C") for v in variables])
        rows = (polytope.A @ x <= polytope.b.numpy() + 1e-9).all()
        rows &= (np.abs(polytope.A_eq @ x - polytope.b_eq.numpy()) <= 1e-9).all()
        want = all(np.all(c.violation() <= 1e-9) for c in constraints)
        assert bool(rows) == bool(want)
        seen.add(bool(want))
    assert seen == {True, False}


def test_cvxpy_constraints_of_any_shape():
    z, t = cp.Variable((2, 3)), cp.Variable(2)
    parameter = cp.Parameter(value=1.5)
    weights = np.arange(6.0).reshape(2, 3)
    constraints: Any
    for constraints in (
        [cp.sum(cp.multiply(weights, z)) <= parameter],
        [z @ np.array([1.0, 0.0, 2.0]) + t <= np.array([0.5, 1.5])],
        [cp.sum(z, axis=1) == t],
        [z[0, 1] == z[1, 2]],
        [z[:, 0] >= t],
        [cp.transpose(z) >= -0.5],
        [NonNeg(z[0] + z[1]), z[0] <= 1],
        [Zero(t[0] - t[1])],
        [cp.cumsum(z, axis=1) <= 1],
    ):
        used = constraints[0].variables() if len(constraints) == 1 else z.variables()
        polytope = ol.Polytope.from_cvxpy(z, constraints)
        assert polytope.n == 6
        assert polytope.num_aux == (2 if any(v is t for v in used) else 0)
        agree(polytope, [z, *([t] if polytope.num_aux else [])], constraints)


def test_cvxpy_values_are_left_alone():
    z = cp.Variable(2)
    z.value = np.array([3.0, 4.0])
    ol.Polytope.from_cvxpy(z, [cp.sum(z) <= 1])
    assert z.value.tolist() == [3.0, 4.0]


def test_cvxpy_attributes_become_bounds():
    def bounds(**attributes):
        polytope = ol.Polytope.from_cvxpy(cp.Variable(2, **attributes), [])
        return polytope.lower.tolist(), polytope.upper.tolist(), polytope.integral

    inf = np.inf
    assert bounds() == ([-inf, -inf], [inf, inf], False)
    assert bounds(nonneg=True) == ([0, 0], [inf, inf], False)
    assert bounds(nonpos=True) == ([-inf, -inf], [0, 0], False)
    assert bounds(boolean=True) == ([0, 0], [1, 1], True)
    assert bounds(integer=True) == ([-inf, -inf], [inf, inf], True)
    assert bounds(bounds=[-1, np.array([2.0, 3.0])]) == ([-1, -1], [2, 3], False)
    polytope = ol.Polytope.from_cvxpy(cp.Variable(2, boolean=True), [], integral=False)
    assert not polytope.integral


def test_cvxpy_scalar():
    z = cp.Variable()
    polytope = ol.Polytope.from_cvxpy(z, [2 * z <= 3])
    assert polytope.A.toarray().tolist() == [[2.0]]
    assert polytope.b.tolist() == [3.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: (np.zeros(2), []), "`z` must be a cvxpy Variable. Got ndarray"),
        (lambda z: (z, [cp.norm(z) <= 1]), r"something else: .*<= 1"),
        (lambda z: (z, [cp.abs(z) >= 1]), "This constraint is something else: 1"),
        (lambda z: (z, [cp.SOC(z[0], z)]), "affine equalities and inequalities, and what rows"),
        (lambda z: (z, [True]), "something else: True"),
        (lambda z: (z, [cp.Parameter() * cp.Parameter() * z <= 1]), "not times each other"),
        (lambda z: (z, [cp.exp(z) <= 1]), "something else: exp"),
        (lambda z: ([z, z], []), "must be given once"),
        (lambda _: ([], []), "at least one variable"),
        (lambda z: (cp.Problem(cp.Minimize(0), [z <= 1]), []), "takes a Problem alone"),
        (
            lambda _: (cp.Variable((2, 2), symmetric=True, name="S"), []),
            "Variable S has the attribute 'symmetric'",
        ),
        (
            lambda _: (cp.Variable(2, boolean=[(0,), (1,)], name="half"), []),
            r"Variable half of shape \(2,\) has the attribute boolean=\[\(0,\), \(1,\)\]",
        ),
        (
            lambda z: (z, [z <= cp.Variable(2, boolean=True, name="start")]),
            "Auxiliary variable start is boolean or integer",
        ),
    ],
)
def test_cvxpy_refuses(make, message):
    z, constraints = make(cp.Variable(2))
    with pytest.raises(ol.PolytopeError, match=message):
        ol.Polytope.from_cvxpy(z, constraints)
