"""Curves: means and bands against numpy, and names that can be read."""

from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.collections import PolyCollection

import optlayers as ol
from optlayers.plotting._curves import _apart

from .drawing import draw_curves

RUNS = np.random.default_rng(0).normal(size=(4, 6))


def bands(axes):
    """The lower and the upper side of each band."""
    found = []
    for area in axes.collections:
        assert isinstance(area, PolyCollection)
        vertices = np.asarray(area.get_paths()[0].vertices)
        places = np.unique(vertices[:, 0])
        sides = [vertices[vertices[:, 0] == x, 1] for x in places]
        found.append(np.array([[min(side), max(side)] for side in sides]).T)
    return found


def test_curves_are_means_and_bands_sample_deviations():
    axes = draw_curves({"a": torch.tensor(RUNS), "b": RUNS[0].tolist()}, ylabel="loss")
    one, other = axes.lines
    np.testing.assert_allclose(one.get_ydata(), [sum(RUNS[:, k]) / 4 for k in range(6)])
    assert one.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(other.get_ydata(), RUNS[0])
    (band,) = bands(axes)  # a single run has none
    deviation = np.sqrt(((RUNS - RUNS.mean(0)) ** 2).sum(0) / 3)
    np.testing.assert_allclose(band, [RUNS.mean(0) - deviation, RUNS.mean(0) + deviation])
    assert [axes.get_xlabel(), axes.get_ylabel()] == ["epoch", "loss"]


def test_bands_of_ranges_and_no_bands():
    (band,) = bands(draw_curves({"a": RUNS}, band="range"))
    np.testing.assert_allclose(band, [RUNS.min(0), RUNS.max(0)])
    assert not bands(draw_curves({"a": RUNS}, band=None))


def test_places_are_those_given():
    axes = draw_curves({"a": RUNS}, x=[0.5, 1, 2, 4, 8, 16], xlabel="step")
    assert axes.lines[0].get_xdata().tolist() == [0.5, 1, 2, 4, 8, 16]
    assert axes.get_xlabel() == "step"


def test_curves_differ_by_dashes_and_by_markers():
    axes = draw_curves({str(k): RUNS + k for k in range(8)})
    assert len({line.get_marker() for line in axes.lines}) == 8
    assert len({str(line._dash_pattern) for line in axes.lines}) == 8
    assert len({line.get_color() for line in axes.lines}) == 8


@pytest.mark.parametrize("gap", [0.0, 0.05, 1.0])
def test_names_at_the_ends_do_not_overlap_and_lie_in_the_axes(gap):
    axes = draw_curves({f"a long name {k}": RUNS[:, ::-1] * 0.01 + k * gap for k in range(8)})
    renderer = axes.figure.canvas.get_renderer()
    axes.figure.draw_without_rendering()
    found = [text.get_window_extent(renderer) for text in axes.texts]
    window = axes.get_window_extent()
    assert [text.get_text() for text in axes.texts] == [f"a long name {k}" for k in range(8)]
    for one, other in combinations(found, 2):
        assert not one.overlaps(other)
    ends = axes.transData.transform((6.0, 0.0))[0]
    for box in found:
        assert window.y0 - 1 <= box.y0 <= box.y1 <= window.y1 + 1
        assert ends < box.x0
        assert box.x1 <= window.x1
    assert max(axes.get_xticks()) <= 6.5  # none under the names


def test_a_legend_instead():
    axes = draw_curves({"a": RUNS, "b": RUNS + 1}, direct=False)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert not axes.texts


@pytest.mark.parametrize("seed", range(10))
def test_names_move_no_further_than_they_have_to(seed):
    rng = np.random.default_rng(seed)
    wanted = rng.integers(2, 8, 5).astype(float)
    places = _apart(wanted, 1.0, -9.0, 19.0)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(places[order]) >= 1.0 - 1e-9).all()
    best = ((places - wanted) ** 2).sum()
    for _ in range(300):  # other places in the same order are no nearer
        other = np.sort(places + rng.normal(0.0, 0.3, 5))[np.argsort(order)]
        if (np.diff(other[order]) >= 1.0).all():
            assert ((other - wanted) ** 2).sum() >= best - 1e-9


@pytest.mark.parametrize(
    ("curves", "options", "message"),
    [
        ({}, {}, r"from 1 to 8 curves.* Got 0"),
        ({str(k): [1.0] for k in range(9)}, {}, r"from 1 to 8 curves.* Got 9"),
        (
            {"a": [1.0, 2.0], "b": [1.0]},
            {},
            r"must have 2 points, as the first has\. Got 1 for 'b'",
        ),
        ({"a": [1.0, 2.0]}, {"x": [1, 2, 3]}, r"must have 3 points, as `x` has\. Got 2 for 'a'"),
        ({"a": np.zeros((2, 2, 2))}, {}, r"must have shape \(runs, points\).* for 'a'"),
        ({"a": [[1.0], [1.0, 2.0]]}, {}, r"must have shape \(runs, points\).* for 'a'"),
        ({"a": []}, {}, r"at least one of each\. Got \(1, 0\) for 'a'"),
        ({"a": [1.0]}, {"band": "sem"}, r"`band` must be 'std', 'range' or None\. Got 'sem'"),
    ],
)
def test_what_are_no_curves_is_refused(curves, options, message):
    with pytest.raises(ol.InputError, match=message):
        draw_curves(curves, **options)
