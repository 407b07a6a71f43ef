"""Pictures of sentences: that everything is there, in its place, and can be read."""

import random
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.patches import PathPatch, Polygon

import optlayers as ol
from optlayers.plotting import ROOT, Style, graph_arcs, save, tree_arcs
from optlayers.plotting._layout import levels

from .drawing import draw_sentence as draw

SOLID, DASHED = Style("as it was"), Style("changed", "#d55e00", (4.0, 2.0))
WORDS = "the <b> cost & $x$ rose".split()
ABOVE = [(5, 2, "ARG1", SOLID), (2, 4, "ARGM-TMP", SOLID)]
BELOW = [(2, 0, "", SOLID), (2, 1, "", DASHED), (5, 2, "subject", SOLID), (ROOT, 5, "root", SOLID)]


def crowded(seed):
    """25 words with 20 arcs above, many of which cross, and a tree below."""
    rng = random.Random(seed)
    words = [
        rng.choice("a by the parliament I extraordinarily quickly , dog".split()) for _ in range(25)
    ]
    pairs = [(i, j) for i in range(25) for j in range(25) if 0 < abs(i - j) < 9]
    labels = ("BV", "ARG1", "ARGM-TMP", "compound")
    above = [(i, j, rng.choice(labels), SOLID) for i, j in rng.sample(pairs, 20)]
    heads = [rng.randrange(j) if j else ROOT for j in range(25)]
    below = [(head, j, rng.choice(("", "gold")), DASHED) for j, head in enumerate(heads)]
    return draw(words, above, [*below, (ROOT, 1, "root", SOLID)], "a title " * 9)


def boxes(figure):
    """The places of all texts, in points."""
    figure.set_dpi(72)
    renderer = figure.canvas.get_renderer()
    return {text: text.get_window_extent(renderer) for text in figure.axes[0].texts}


def parsed(figure, tmp_path):
    return ElementTree.parse(save(figure, tmp_path / "p")[0]).getroot()


def test_words_and_labels_are_text(tmp_path):
    root = parsed(draw(WORDS, ABOVE, BELOW, "one & only"), tmp_path)
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    labels = [label for *_, label, _ in ABOVE + BELOW if label]
    assert sorted(texts) == sorted([*WORDS, *labels, "one & only", "as it was", "changed"])


def test_dashed_arcs_are_dashed(tmp_path):
    root = parsed(draw(WORDS, ABOVE, BELOW), tmp_path)
    groups = {e.get("id"): ElementTree.tostring(e, "unicode") for e in root.iter() if e.get("id")}
    drawn = {name: text for name, text in groups.items() if name.startswith(("above-", "below-"))}
    assert set(drawn) == {"above-0", "above-1", "below-0", "below-1", "below-2", "below-3"}
    assert [name for name, text in drawn.items() if "stroke-dasharray" in text] == ["below-1"]
    assert "#d55e00" in drawn["below-1"]
    assert "#d55e00" not in drawn["below-0"]


def test_the_same_picture_is_the_same_bytes(tmp_path):
    first = save(draw(WORDS, ABOVE, BELOW), tmp_path / "first")
    second = save(draw(WORDS, ABOVE, BELOW), tmp_path / "second")
    assert [path.suffix for path in first] == [".svg", ".png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert "<dc:date>" not in first[0].read_text()


def test_arrows_point_at_the_right_words():
    figure = draw(["a", "b", "c"], [(2, 0, "", SOLID)], [(ROOT, 1, "", SOLID), (1, 2, "", SOLID)])
    middles = [(box.x0 + box.x1) / 2 for box in boxes(figure).values()][:3]
    tips = [patch.get_xy()[0] for patch in figure.axes[0].patches if isinstance(patch, Polygon)]
    assert len(tips) == 3
    nearest = [min(range(3), key=lambda k: abs(middles[k] - x)) for x, _ in tips]
    above = [word for word, (_, y) in zip(nearest, tips, strict=True) if y > 0]
    below = [word for word, (_, y) in zip(nearest, tips, strict=True) if y < 0]
    assert (above, sorted(below)) == ([0], [1, 2])


@pytest.mark.parametrize("seed", range(12))
def test_no_text_is_cut_off_or_hidden(seed):
    figure = crowded(seed)
    places = boxes(figure)
    width, height = figure.get_size_inches() * 72
    for box in places.values():
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    for (one, a), (other, b) in combinations(places.items(), 2):
        assert not a.overlaps(b), (one, other)


@pytest.mark.parametrize("seed", range(12))
def test_no_line_runs_through_a_label(seed):
    figure = crowded(seed)
    axes = figure.axes[0]
    places = boxes(figure)
    labels = [box for text, box in places.items() if text.get_fontsize() < 8]
    lines = [
        np.asarray(patch.get_path().vertices)
        for patch in axes.patches
        if isinstance(patch, PathPatch)
    ]
    bottom = axes.get_ylim()[0]
    upright = [(v[k], v[k + 1]) for v in lines for k in range(len(v) - 1) if v[k][0] == v[k + 1][0]]
    assert len(upright) > 80
    for (x, y), (_, z) in upright:
        for box in labels:
            crossed = min(y, z) - bottom < box.y1 - 1 and box.y0 + 1 < max(y, z) - bottom
            assert not (crossed and box.x0 < x < box.x1), (x, box)


def projective(rng, low, high, head):
    """(head, word) for the words from low to high - 1, no arc across another."""
    if low >= high:
        return []
    word = rng.randrange(low, high)
    below = [projective(rng, low, word, word), projective(rng, word + 1, high, word)]
    return [(head, word), *below[0], *below[1]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("side", ["above", "below"])
def test_lines_of_a_projective_tree_do_not_cross(seed, side):
    arcs = [(i, j, "", SOLID) for i, j in projective(random.Random(seed), 0, 15, ROOT)]
    figure = draw(["word"] * 15, **{side: arcs})
    patches = [p for p in figure.axes[0].patches if isinstance(p, PathPatch)][:15]
    curves = [np.asarray(patch.get_path().vertices) for patch in patches]
    for one, other in combinations(curves, 2):
        for flat, upright in ((one, other), (other, one)):
            if len(flat) > 2:
                for k in (0, len(upright) - 2):
                    x, (y, z) = upright[k][0], sorted(upright[k : k + 2, 1])
                    assert not (flat[0][0] <= x <= flat[-1][0] and y < flat[3][1] < z)


@pytest.mark.parametrize("seed", range(5))
def test_arcs_are_over_those_within_and_apart_from_those_that_overlap(seed):
    rng = random.Random(seed)
    spans = [tuple(sorted(rng.sample(range(8), 2))) for _ in range(12)]
    found = levels(spans)
    for (a, i), (b, j) in combinations(zip(spans, found, strict=True), 2):
        if a[0] < b[1] and b[0] < a[1]:
            assert i != j
        if a != b and a[0] <= b[0] and b[1] <= a[1]:
            assert i > j
        if a != b and b[0] <= a[0] and a[1] <= b[1]:
            assert j > i
    assert min(found) == 0


def test_an_arrow_from_outside_starts_beyond_the_arcs_of_its_word():
    assert levels([(1, 1), (0, 1), (1, 3), (0, 4), (5, 6), (5, 5)]) == [2, 0, 0, 1, 0, 1]


def test_long_labels_move_words_apart():
    def gap(label):
        figure = draw(["a", "b"], [(0, 1, label, Style())])
        one, other, *_ = boxes(figure).values()
        return other.x0 - one.x1

    assert gap("a very long label") > gap("x") + 20


def test_nothing_to_draw_is_drawn(tmp_path):
    assert all(path.stat().st_size for path in save(draw([]), tmp_path / "none"))
    assert all(path.stat().st_size for path in save(draw(["one"]), tmp_path / "one"))


@pytest.mark.parametrize("arc", [(0, 0), (0, 3), (3, 0), (-2, 1), (0, ROOT)])
def test_arcs_without_two_ends_are_refused(arc):
    message = rf"joins two of the 3 words.*or leaves ROOT\. Got {arc[0]} to {arc[1]} \('x'\)"
    with pytest.raises(ol.InputError, match=message):
        draw(["a", "b", "c"], below=[(*arc, "x", SOLID)])


# ---------------------------------------------------------------------- arcs of trees and graphs


def test_arcs_of_a_tree_are_those_of_its_heads():
    found = tree_arcs(torch.tensor([2, 0, 2, 3]), labels="ABCD")
    assert [arc[:3] for arc in found] == [(1, 0, "A"), (ROOT, 1, "B"), (1, 2, "C"), (2, 3, "D")]
    assert {style for *_, style in found} == {Style()}


@pytest.mark.parametrize("seed", range(5))
def test_trees_are_compared_arc_by_arc(seed):
    rng = random.Random(seed)
    now, old = ([rng.choice([h for h in range(7) if h != m]) for m in range(1, 7)] for _ in "ab")
    found = tree_arcs(now, labels="abcdef", before=old)
    by_title = {
        title: {(i + 1, j + 1) for i, j, _, style in found if style.title == title}
        for title in ("in both", "added", "removed")
    }
    a, b = ({(head, m) for m, head in enumerate(heads, 1)} for heads in (now, old))
    assert by_title == {"in both": a & b, "added": a - b, "removed": b - a}
    assert len(found) == len(a | b)


def test_graphs_are_compared_with_their_labels():
    found = graph_arcs([(0, 1, "x"), (2, 1, "y")], before=[(0, 1, "z"), (2, 1, "y")])
    kinds = [(*arc[:3], arc[3].title) for arc in found]
    assert kinds == [(0, 1, "x", "added"), (2, 1, "y", "in both"), (0, 1, "z", "removed")]


def test_changes_differ_by_dashes_too_and_stand_in_the_legend():
    figure = draw(["a", "b", "c"], above=tree_arcs([2, 0, 1], before=[2, 0, 2]))
    dashes = {arc[3].title: arc[3].dashes for arc in tree_arcs([2, 0, 1], before=[2, 0, 2])}
    assert len(set(dashes.values())) == 3
    assert dashes["in both"] == ()
    assert {"in both", "added", "removed"} <= {text.get_text() for text in figure.axes[0].texts}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tree_arcs([1, 0]), r"`heads` must hold .* of another word.* Got 1 for word 1"),
        (lambda: tree_arcs([0, 3]), r"`heads` .* each of 2 words .* Got 3 for word 2"),
        (lambda: tree_arcs([0, 1], ["a"]), r"`labels` must name the arcs of 2 words\. Got 1"),
        (lambda: tree_arcs([0, 1], before=[0]), r"`before` must have a head for each of the 2"),
        (lambda: graph_arcs([(0, 1)]), r"is \(head, modifier, label\).* Got \(0, 1\)"),
    ],
)
def test_what_is_no_arc_is_refused(call, message):
    with pytest.raises(ol.InputError, match=message):
        call()
