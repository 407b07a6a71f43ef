"""Pictures of polytopes and projections: what is drawn, and where."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import optlayers as ol
from optlayers.plotting import COLOURS
from optlayers.plotting._regions import region

from .drawing import draw_polytope, draw_projections
from .reading import drawn, marks, same_points
from .shapes import SETS

inf = np.inf


def test_the_picture_holds_region_edges_and_decisions():
    axes = draw_polytope(ol.Polytope([[1.0, 1.0]], [1.5]), label="P")
    (patch,) = drawn(axes, "region")
    corners = np.array([[0, 0], [1, 0], [1, 0.5], [0.5, 1], [0, 1]])
    same_points(patch.get_xy()[:-1], corners)
    assert patch.get_facecolor()[:3] == to_rgba(COLOURS["polytope"])[:3]
    edges = [line.get_xydata() for line in drawn(axes, "edge")]
    same_points(np.concatenate(edges), np.concatenate([corners, corners]))
    (dots,) = drawn(axes, "decisions")
    same_points(dots.get_xydata(), np.array([[0, 0], [1, 0], [0, 1]]))
    assert axes.get_aspect() == 1.0
    assert [axes.get_xlabel(), axes.get_ylabel()] == ["$z_1$", "$z_2$"]
    assert not drawn(draw_polytope(ol.box(2), integral=False), "decisions")


def test_decisions_of_a_continuous_set_are_its_corners():
    axes = draw_polytope(ol.Polytope([[1.0, 1.0]], [1.5], integral=False))
    (dots,) = drawn(axes, "decisions")
    same_points(dots.get_xydata(), np.array([[0, 0], [1, 0], [1, 0.5], [0.5, 1], [0, 1]]))


def test_an_open_edge_is_outside_the_axes_and_not_drawn():
    axes = draw_polytope(ol.Polytope([[1.0, 1.0]], [1.0], lower=0.0, upper=[inf, inf]))
    assert len(drawn(axes, "edge")) == 3
    axes = draw_polytope(ol.Polytope([[-1.0, -1.0]], [-1.0], lower=0.0, upper=inf))
    assert len(drawn(axes, "edge")) == 3
    (patch,) = drawn(axes, "region")
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    far = patch.get_xy().max(0)
    assert far[0] > right
    assert far[1] > top
    for line in drawn(axes, "edge"):
        x, y = line.get_xydata().T
        assert not (x > right).all()
        assert not (y > top).all()
    assert left < 0
    assert bottom < 0


def test_a_plane_without_an_edge_is_filled():
    axes = draw_polytope(ol.Polytope(lower=[-inf, -inf], upper=[inf, inf]))
    (patch,) = drawn(axes, "region")
    limits = np.array([axes.get_xlim(), axes.get_ylim()]).T
    assert (patch.get_xy().min(0) < limits[0]).all()
    assert (patch.get_xy().max(0) > limits[1]).all()
    assert not drawn(axes, "edge")


def test_segments_and_points_are_seen():
    axes = draw_polytope(ol.Polytope(A_eq=[[1.0, 1.0]], b_eq=[1.0]))
    for line in drawn(axes, "edge"):
        same_points(line.get_xydata(), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert drawn(axes, "edge")
    axes = draw_polytope(ol.box(2).fix({0: 0.5, 1: 0.25}))
    (line,) = drawn(axes, "edge")
    assert line.get_xydata().tolist() == [[0.5, 0.25]]
    assert line.get_marker() == "o"
    left, right = axes.get_xlim()
    assert left < 0.5 < right


def test_corners_of_a_plane_are_named():
    texts = {t.get_text(): t.xy for t in draw_polytope(ol.simplex(3)).texts}
    found = region(ol.simplex(3))
    assert set(texts) == {"$e_1$", "$e_2$", "$e_3$"}
    for k, unit in enumerate(np.eye(3)):
        np.testing.assert_allclose(texts[f"$e_{k + 1}$"], found.flat(unit), atol=1e-9)
    names = {t.get_text() for t in draw_polytope(ol.cardinality(3, exactly=2)).texts}
    assert names == {"(1, 1, 0)", "(1, 0, 1)", "(0, 1, 1)"}
    assert not draw_polytope(ol.simplex(3), names=False).texts


def test_two_sets_are_told_apart_in_a_legend():
    axes = draw_polytope(ol.Polytope([[1.0, 1.0]], [1.5]), label="P")
    draw_polytope(ol.Polytope([[1.0, 1.0]], [1.0]), axes, label="Q", colour="#D55E00", dashes="--")
    handles, labels = axes.get_legend_handles_labels()
    assert labels == ["P", "Q"]
    assert [handle.get_linestyle() for handle in handles] == ["-", "--"]
    assert [handle.get_color() for handle in handles] == [COLOURS["polytope"], "#D55E00"]


def test_axes_hold_all_that_was_drawn_in_them():
    axes = draw_polytope(ol.box(2))
    draw_polytope(ol.Polytope(lower=[2.0, 0.0], upper=[3.0, 0.5]), axes)
    assert axes.get_xlim()[0] < 0
    assert axes.get_xlim()[1] > 3
    assert axes.get_ylim()[1] > 1


def test_pyplot_makes_axes_only_where_none_are_given():
    from matplotlib import pyplot

    figure = Figure()
    before = pyplot.get_fignums()
    axes = figure.subplots()
    assert draw_polytope(ol.box(2), axes) is axes
    assert pyplot.get_fignums() == before
    own = draw_polytope(ol.box(2))
    assert len(pyplot.get_fignums()) == len(before) + 1
    pyplot.close(own.figure)


# ---------------------------------------------------------------------- projections


@pytest.mark.parametrize("name", SETS)
def test_segments_join_points_with_their_projections(name):
    P = SETS[name]
    y = torch.randn(7, P.n, dtype=torch.float64)
    axes = draw_projections(P, y.tolist())
    found, z = region(P), ol.project(P, y)
    segments = [line.get_xydata() for line in axes.lines if line.get_color() == "0.45"]
    expected = np.stack([found.flat(y), found.flat(z)], 1)
    np.testing.assert_allclose(segments, expected, atol=1e-7)
    np.testing.assert_allclose(marks(axes)["projection"], found.flat(z), atol=1e-7)
    np.testing.assert_allclose(marks(axes)["point"], found.flat(y), atol=1e-9)
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    assert (expected.min((0, 1)) > limits[:, 0]).all()
    assert (expected.max((0, 1)) < limits[:, 1]).all()


def test_given_projections_are_drawn():
    axes = draw_projections(ol.box(2), [[2.0, 2.0]], z=[[0.5, 0.5]])
    assert marks(axes)["projection"].tolist() == [[0.5, 0.5]]
    with pytest.raises(ol.InputError, match="`z` must hold a projection for each of the 1 points"):
        draw_projections(ol.box(2), [[2.0, 2.0]], z=[[0.5, 0.5], [0.0, 0.0]])
