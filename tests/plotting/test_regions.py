"""Regions against enumeration: all points where two lines meet, all vertices of lifted sets."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull, QhullError

import optlayers as ol
from optlayers.plotting._cutting import without_flat_corners
from optlayers.plotting._decisions import decisions, lattice
from optlayers.plotting._regions import region

from .drawing import draw_polytope
from .reading import same_points

inf = np.inf


def inequalities(polytope):
    """G x <= h, rows of the declaration one by one."""
    eye = np.eye(polytope.num_vars)
    low, high = polytope.lower.double().numpy(), polytope.upper.double().numpy()
    rows, right = [*polytope.A.toarray()], [*polytope.b.tolist()]
    for row, value in zip(polytope.A_eq.toarray(), polytope.b_eq.tolist(), strict=True):
        rows += [row, -row]
        right += [value, -value]
    rows += [-eye[i] for i in np.flatnonzero(np.isfinite(low))]
    right += [-v for v in low if np.isfinite(v)]
    rows += [eye[i] for i in np.flatnonzero(np.isfinite(high))]
    right += [v for v in high if np.isfinite(v)]
    return np.array(rows), np.array(right)


def vertices(polytope):
    """By solving for every choice of rows, and keeping what is feasible."""
    G, h = inequalities(polytope)
    found = []
    for chosen in combinations(range(len(G)), polytope.num_vars):
        if abs(np.linalg.det(G[list(chosen)])) > 1e-9:
            x = np.linalg.solve(G[list(chosen)], h[list(chosen)])
            if (G @ x <= h + 1e-9).all():
                found.append(x[: polytope.n])
    return np.unique(np.round(found, 9), axis=0) if found else np.zeros((0, polytope.n))


def corners_of(points):
    """Those points that are corners of their hull, in the plane."""
    if len(points) < 3:
        return points
    try:
        return points[ConvexHull(points).vertices]
    except QhullError:  # on a line
        along = np.linalg.svd(points - points.mean(0))[2][0]
        places = points @ along
        return points[[places.argmin(), places.argmax()]]


def random_polytope(rng, num_aux=0, equality=False):
    num_vars = 2 + num_aux
    A = rng.integers(-2, 3, (rng.integers(1, 5), num_vars))
    inside = rng.integers(0, 3, num_vars) / 2
    b = A @ inside + rng.integers(0, 3, len(A)) / 2
    options = {}
    if equality:
        row = rng.integers(-1, 2, (1, num_vars))
        row[0, rng.integers(2)] = 1
        options = {"A_eq": row, "b_eq": row @ inside}
    upper = rng.integers(1, 4, num_vars).astype(float)
    return ol.Polytope(A, b, upper=np.maximum(upper, inside), num_aux=num_aux, **options)


def counter_clockwise(corners):
    along = np.roll(corners, -1, 0) - corners
    turn = along[:, 0] * np.roll(along, -1, 0)[:, 1] - along[:, 1] * np.roll(along, -1, 0)[:, 0]
    return (turn > 0).all()


@pytest.mark.parametrize("equality", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_corners_are_those_of_enumeration(seed, equality):
    polytope = random_polytope(np.random.default_rng(seed), equality=equality)
    found = region(polytope)
    same_points(found.corners, corners_of(vertices(polytope)))
    assert found.bounded
    assert len(found.corners) < 3 or counter_clockwise(found.corners)


@pytest.mark.parametrize("equality", [False, True])
@pytest.mark.parametrize("num_aux", [1, 2])
@pytest.mark.parametrize("seed", range(8))
def test_shadows_have_the_corners_of_projected_vertices(seed, num_aux, equality):
    polytope = random_polytope(np.random.default_rng(seed), num_aux, equality)
    found = region(polytope)
    same_points(found.corners, corners_of(vertices(polytope)), 1e-7)
    assert found.bounded


def test_a_circle_of_auxiliary_rows_has_all_its_corners():
    angles = np.arange(24) * np.pi / 12
    normals = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(24)])
    bounds = {"lower": [-2.0, -2.0, 0.0], "upper": [2.0, 2.0, 1.0]}
    found = region(ol.Polytope(normals, np.ones(24), num_aux=1, **bounds))
    np.testing.assert_allclose(np.linalg.norm(found.corners, axis=1), 1 / np.cos(np.pi / 24))
    assert len(found.corners) == 24


# ---------------------------------------------------------------------- planes


def distances(points):
    return np.linalg.norm(points[:, None] - points, axis=-1)


@pytest.mark.parametrize(
    "polytope",
    [
        ol.simplex(3),
        ol.cardinality(3, exactly=2),
        ol.box(3).fix({1: 0.5}),
        ol.Polytope([[1.0, 1.0, 1.0]], [0.0], upper=[1.0, 2.0, 3.0]),  # a point
        ol.Polytope([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]], [2.0, -2.0], upper=1.5),  # implied
        ol.Polytope(A_eq=[[1.0, 2.0, -1.0]], b_eq=[1.0], upper=2.0),
        ol.Polytope(A_eq=[[1.0, 1.0, 1.0], [1.0, -1.0, 0.0]], b_eq=[1.0, 0.0]),  # a segment
        ol.Polytope(A_eq=[[1.0, 1.0, 0.0, 1.0]], b_eq=[2.0], upper=[1.0] * 3 + [0.0], num_aux=1),
    ],
    ids=repr,
)
def test_planes_of_three_variables_keep_lengths(polytope):
    found = region(polytope)
    expected = vertices(polytope)
    lifted = found.lifted(found.corners)
    same_points(lifted, expected)
    np.testing.assert_allclose(distances(found.corners), distances(lifted), atol=1e-9)
    np.testing.assert_allclose(found.flat(lifted), found.corners, atol=1e-9)
    np.testing.assert_allclose(found.frame.T @ found.frame, np.eye(2), atol=1e-12)


def test_the_simplex_stands_on_an_edge_with_the_last_corner_up():
    one, two, three = region(ol.simplex(3)).flat(np.eye(3))
    assert one[1] == pytest.approx(two[1])
    assert three[1] > one[1]
    assert one[0] < three[0] < two[0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_sign_of_a_row_turns_nothing_over(sign):
    P = ol.Polytope(A_eq=[[sign, sign, sign]], b_eq=[sign])
    np.testing.assert_allclose(region(P).flat(np.eye(3)), region(ol.simplex(3)).flat(np.eye(3)))
    P = ol.Polytope(A_eq=[[0.0, 0.0, sign]], b_eq=[sign])  # seen from above: axes as usual
    np.testing.assert_allclose(region(P).frame, np.eye(3)[:, :2], atol=1e-12)


def test_points_on_the_way_are_no_corners():
    corners = np.array([[0, 0], [1, 0], [2, 0], [2, 2], [1, 1], [0.5, 0.5]], dtype=float)
    cut = np.array([False, False, True, False, False, False])
    kept, flags = without_flat_corners(corners, cut, 1.0)
    assert kept.tolist() == [[0, 0], [2, 0], [2, 2]]
    assert flags.tolist() == [False, True, False]


# ---------------------------------------------------------------------- without an end


def test_a_half_plane_has_one_edge_and_is_cut_elsewhere():
    found = region(ol.Polytope([[1.0, 2.0]], [2.0], lower=-inf, upper=inf))
    assert not found.bounded
    (edge,) = found.edges
    np.testing.assert_allclose(edge @ [1.0, 2.0], 2.0, atol=1e-9)
    seen = found.within(np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    same_points(seen.corners, np.array([[-1, -1], [1, -1], [1, 0.5], [0, 1], [-1, 1]]))
    (edge,) = seen.edges
    same_points(edge, np.array([[1, 0.5], [0.0, 1]]))


def test_a_cone_has_its_corner():
    for num_aux in (0, 1):
        A = np.array([[1.0, -2.0, 0.0], [-2.0, 1.0, 0.0]])[:, : 2 + num_aux]
        found = region(ol.Polytope(A, [0.0, 1.0], lower=-inf, upper=inf, num_aux=num_aux))
        np.testing.assert_allclose(found.finite_corners, [[-2 / 3, -1 / 3]], atol=1e-7)
        assert len(found.edges) == 2


def test_a_line_is_a_segment_that_goes_on():
    found = region(ol.Polytope(A_eq=[[1.0, -1.0]], b_eq=[0.0], lower=[0.0, -inf], upper=inf))
    np.testing.assert_allclose(found.finite_corners, [[0.0, 0.0]], atol=1e-9)
    seen = found.within(np.array([-1.0, -1.0]), np.array([2.0, 2.0]))
    same_points(seen.corners, np.array([[0.0, 0.0], [2.0, 2.0]]))


# ---------------------------------------------------------------------- points of Z


@pytest.mark.parametrize("seed", range(10))
def test_the_lattice_is_what_satisfies_the_rows(seed):
    rng = np.random.default_rng(seed)
    polytope = random_polytope(rng, equality=bool(seed % 3 == 0))
    G, h = inequalities(polytope)
    grid = np.array([(i, j) for i in range(-1, 5) for j in range(-1, 5)], dtype=float)
    expected = grid[(grid @ G.T <= h + 1e-9).all(1)]
    same_points(lattice(region(polytope)), expected)


def test_the_lattice_of_a_plane():
    found = region(ol.cardinality(3, exactly=2))
    same_points(found.lifted(lattice(found)), np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]]))


def test_too_many_points_are_not_drawn():
    assert len(lattice(region(ol.Polytope(lower=[0.0, 0.0], upper=[500.0, 500.0])))) == 0


# ---------------------------------------------------------------------- what cannot be drawn


def test_a_structured_set_is_drawn_by_its_relaxation():
    trees = ol.DependencyTrees(1)
    assert trees.relaxation.n == 4
    with pytest.raises(ol.InputError, match="2 variables, and of 3 whose points lie in one plane"):
        draw_polytope(trees)


@pytest.mark.parametrize(
    ("polytope", "message"),
    [
        (ol.box(3), r"of 3 whose points lie in one plane.* Got Polytope\(n=3.* lie in no plane"),
        (ol.box(1), r"polytopes of 2 variables, .* Got Polytope\(n=1"),
        (ol.simplex(5), r"Got Polytope\(n=5"),
        ("square", r"polytopes of 2 variables, .* Got str"),
        (
            ol.box(2).with_(upper=torch.ones(4, 2)),
            r"an instance of the batch, `P\.with_\(upper=P\.upper\[0\]\)`",
        ),
    ],
)
def test_what_has_no_place_in_a_plane_is_refused(polytope, message):
    with pytest.raises(ol.InputError, match=message):
        draw_polytope(polytope)


def test_the_advice_for_a_batch_works():
    P = ol.box(2).with_(upper=torch.tensor([[1.0, 2.0], [1.0, 1.0]]))
    assert region(P.with_(upper=P.upper[0])).corners.max() == 2.0
    P = ol.Polytope([[1.0, 1.0]], [1.0]).with_(b=torch.ones(3, 2, 1))
    with pytest.raises(ol.InputError, match=r"`P\.with_\(b=P\.b\[0, 0\]\)`"):
        region(P)
    assert len(region(P.with_(b=P.b[0, 0])).corners) == 3


@pytest.mark.parametrize("num_aux", [0, 1])
def test_an_empty_set_says_which_rows_are_in_conflict(num_aux):
    A = np.array([[1.0, 1.0, 0.0]])[:, : 2 + num_aux]
    with pytest.raises(ol.InfeasibleError, match=r"In conflict: A\[0\], lower\[0\]"):
        draw_polytope(ol.Polytope(A, [-1.0], num_aux=num_aux))


def test_scale_does_not_matter():
    for scale in (1e-6, 1.0, 1e6):
        P = ol.Polytope([[1.0, 1.0]], [1.5 * scale], upper=scale)
        expected = np.array([[0, 0], [1, 0], [1, 0.5], [0.5, 1], [0, 1]])
        same_points(region(P).corners / scale, expected)


@pytest.mark.parametrize("num_aux", [0, 1])
def test_a_large_number_hides_no_corner(num_aux):
    A = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])[:, : 2 + num_aux]
    P = ol.Polytope(A, [1.0, 1.001], upper=[1e6, 1.0, 1e6][: 2 + num_aux], num_aux=num_aux)
    expected = np.array([[0, 0], [1, 0], [1, 0.001], [0.001, 1], [0, 1]])
    same_points(region(P).corners, expected, 1e-7)
    same_points(lattice(region(P)), np.array([[0, 0], [1, 0], [0, 1.0]]))


def test_a_small_set_far_out_has_its_corners():
    P = ol.Polytope([[1.0, 1.0]], [2001.5], lower=[1000.0, 1000.0], upper=[1001.0, 1001.0])
    expected = 1000 + np.array([[0, 0], [1, 0], [1, 0.5], [0.5, 1], [0, 1]])
    same_points(region(P).corners, expected)
    same_points(lattice(region(P)), 1000 + np.array([[0, 0], [1, 0], [0, 1.0]]))


def test_decisions_beside_other_numbers_are_the_ends_of_segments():
    P = ol.Polytope([[1.0, 1.0]], [1.5], integral=[True, False])
    same_points(decisions(region(P)), np.array([[0, 0], [0, 1], [1, 0], [1, 0.5]]))
    both = ol.Polytope(A_eq=[[1.0, 1.0, 1.0]], b_eq=[1.5], integral=[True, True, False])
    found = region(both)
    expected = np.array([[0, 1, 0.5], [1, 0, 0.5]])
    same_points(found.lifted(decisions(found)), expected)
