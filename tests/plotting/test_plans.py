"""Plan diagrams: what is drawn against the plan, and text that fits."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

import optlayers as ol

from .drawing import draw_plan

SETS = {
    "simplex": ol.simplex(3),
    "mixture": ol.product(ol.simplex(3), ol.cardinality(4, at_most=2), ol.box(3)),
    "spans": ol.spans(8, max_words=4, max_spans=2),
    "assignment": ol.assignment(6),
    "heads": ol.product(*[ol.simplex(26)] * 25),
    "trees": ol.DependencyTrees(lengths=[9, 4]),
    "graphs": ol.SemanticGraphs(6, labels=4),
    "thousands": ol.product(*[ol.simplex(5)] * 400, ol.cardinality(30, at_most=2)),
    "dense": ol.Polytope(np.random.default_rng(0).random((60, 300)) < 0.05, np.ones(60)),
}


def frames(axes):
    return [patch for patch in axes.patches if patch.get_gid() == "block"]


def cells(axes):
    return [area for area in axes.collections if area.get_gid() == "cells"]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def squeezed(lines):
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("kind", ["projection", "decoder"])
@pytest.mark.parametrize("name", SETS)
def test_all_that_explain_says_is_written(name, kind):
    polytope = SETS[name].relaxation
    (axes,) = draw_plan(SETS[name], kind).axes
    compiled = ol.plan(polytope, kind)
    written = squeezed(texts(axes))
    assert compiled.explain().splitlines()[0] in written
    for map_, reasons in zip(compiled.maps, compiled.refusals, strict=True):
        block = map_.block
        size = f"{block.count} x {block.size} variables, "
        size += f"{block.num_rows} row" if block.num_rows else "no rows"
        for text in (type(map_).__name__, size, " ".join(map_.remark().split()), *reasons):
            assert text in written


@pytest.mark.parametrize("name", SETS)
def test_a_filled_cell_is_a_coefficient(name):
    (axes,) = draw_plan(SETS[name]).axes
    compiled = ol.plan(SETS[name].relaxation)
    drawn = iter(frames(axes))
    for map_, area in zip(compiled.maps, cells(axes), strict=True):
        block = map_.block
        middles = np.array(
            [np.asarray(path.vertices)[:4].mean(0) for path in area.get_paths()]
        ).reshape(-1, 2)
        shown = len(middles) // max(block.matrix.nnz, 1) if block.num_rows else block.count
        assert shown in (1, block.count)
        for k in range(shown):
            frame = next(drawn)
            if not block.num_rows:
                continue
            (x, y), own = frame.get_xy(), middles[k * block.matrix.nnz : (k + 1) * block.matrix.nnz]
            columns = (own[:, 0] - x) / frame.get_width() * block.size - 0.5
            rows = (own[:, 1] - y) / frame.get_height() * block.num_rows - 0.5
            pattern = np.zeros((block.num_rows, block.size))
            pattern[np.round(rows).astype(int), np.round(columns).astype(int)] = 1
            np.testing.assert_allclose(rows, np.round(rows), atol=1e-6)
            np.testing.assert_array_equal(pattern, block.matrix.toarray() != 0)
    assert next(drawn, None) is None


def test_the_blocks_stand_along_the_diagonal_in_frames_of_their_colour():
    (axes,) = draw_plan(SETS["mixture"]).axes
    one, two, three = frames(axes)
    for left, right in ((one, two), (two, three)):
        assert left.get_x() + left.get_width() <= right.get_x() + 1e-6
        assert left.get_y() + left.get_height() < right.get_y()
    assert one.get_width() / 3 == pytest.approx(two.get_width() / 4)
    assert len({frame.get_edgecolor() for frame in (one, two, three)}) == 3


def test_columns_are_grey_wherever_they_stand():
    first = ol.Polytope([[1.0, 1.0, -1.0]], [0.0], num_aux=1)
    rows = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
    for P, columns in ((first, 1), (ol.Polytope(rows, np.ones(3), num_aux=2), 2)):
        (axes,) = draw_plan(P).axes
        (frame,) = frames(axes)
        grey = [p for p in axes.patches if p.get_facecolor()[:3] == (0.88, 0.88, 0.88)]
        wide = sum(patch.get_width() for patch in grey)
        assert wide == pytest.approx(frame.get_width() * columns / P.num_vars)


def test_what_is_carried_over_is_indented_without_spaces():
    (axes,) = draw_plan(SETS["mixture"]).axes
    lines = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert not [line for line in lines if line != line.strip()]
    (first,) = (x for line, x in lines.items() if line.startswith("not Simplex"))
    (second,) = (x for line, x in lines.items() if line.endswith("can be active"))
    assert second > first


def test_many_equal_blocks_are_one_block_and_a_number():
    (axes,) = draw_plan(SETS["heads"]).axes
    assert len(frames(axes)) == 1
    assert "25 times" in texts(axes)
    (axes,) = draw_plan(ol.product(*[ol.simplex(4)] * 5)).axes
    assert len(frames(axes)) == 5
    assert not [text for text in texts(axes) if text.endswith("times")]


def test_auxiliary_columns_are_grey_and_counted():
    (axes,) = draw_plan(SETS["spans"]).axes
    grey = [p for p in axes.patches if p.get_facecolor()[:3] == (0.88, 0.88, 0.88)]
    (frame,), (shade,) = frames(axes), grey
    assert shade.get_x() == pytest.approx(frame.get_x() + frame.get_width() / 2)
    assert shade.get_width() == pytest.approx(frame.get_width() / 2)
    assert "8 of the variables auxiliary" in squeezed(texts(axes))


@pytest.mark.parametrize("kind", ["projection", "decoder"])
@pytest.mark.parametrize("name", SETS)
def test_no_text_is_cut_off_or_hidden(name, kind):
    figure = draw_plan(SETS[name], kind)
    figure.set_dpi(72)
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    width, height = figure.get_size_inches() * 72
    found = {text: text.get_window_extent(renderer) for text in axes.texts}
    for text, box in found.items():
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for (one, a), (other, b) in combinations(found.items(), 2):
        assert not a.overlaps(b), (one, other)
    for patch in frames(axes):
        frame = patch.get_window_extent(renderer)
        assert frame.x0 >= 0
        assert frame.y0 >= 0
        for text, box in found.items():
            assert not box.overlaps(frame), text


def test_a_plan_can_be_given_and_axes():
    axes = Figure(figsize=(3.0, 4.0)).subplots()
    assert draw_plan(ol.plan(ol.simplex(3), "decoder"), ax=axes) is axes
    assert "SimplexArgmax" in texts(axes)
    large = draw_plan(ol.simplex(3)).axes[0]
    assert max(t.get_fontsize() for t in axes.texts) < max(t.get_fontsize() for t in large.texts)


def test_what_has_no_plan_is_refused():
    with pytest.raises(ol.InputError, match=r"plan of a polytope or .* Got list"):
        draw_plan([[1.0, 1.0]])
