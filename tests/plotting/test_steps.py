"""The SPIGOT step in the plane: ends of arrows against the surrogate itself, and names."""

from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

import optlayers as ol
from optlayers.plotting._labels import Name, place
from optlayers.plotting._regions import region

from .drawing import draw_figure_1, draw_step
from .reading import arrows, boxes, marks, texts
from .shapes import SETS

CASES = [(name, seed) for name in SETS for seed in range(4)]


def problem(name, seed):
    """A decision, a gradient and scores."""
    P = SETS[name]
    rng = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(P.n, generator=rng, dtype=torch.float64)  # noqa: E731
    scores = -draw().abs() if name == "open" else draw()
    return P, ol.decode(P, scores), draw(), scores


def picture(*args, **options):
    """A step in a figure that nobody has to close."""
    return draw_step(
        *args, ax=Figure(figsize=(4.6, 4.4), layout="constrained").subplots(), **options
    )


# ---------------------------------------------------------------------- the step


@pytest.mark.parametrize("eta", [0.25, 1.0, 3.0])
@pytest.mark.parametrize(("name", "seed"), CASES)
def test_arrows_are_those_of_the_surrogate(name, seed, eta):
    P, z_hat, grad, scores = problem(name, seed)
    axes = draw_step(P, z_hat, grad, eta, scores=scores)
    found, ends = region(P), arrows(axes)
    expected, status = ol.SPIGOT(eta, around="vertex").backward(P, scores, z_hat, grad)
    assert bool(status.ok.all())
    start = found.flat(z_hat)
    moved = -(expected.numpy() @ found.frame)
    if np.linalg.norm(moved) > 1e-6:
        np.testing.assert_allclose(ends["surrogate"], [start, start + moved], atol=1e-6)
    else:
        assert "surrogate" not in ends
    step = -eta * grad.numpy() @ found.frame
    np.testing.assert_allclose(ends["step"], [start, start + step], atol=1e-9)
    if "back" in ends:
        np.testing.assert_allclose(ends["back"], [start + step, start + moved], atol=1e-6)
    else:
        np.testing.assert_allclose(step, moved, atol=1e-6)
    places = marks(axes)
    np.testing.assert_allclose(places["decision"], [start], atol=1e-9)
    np.testing.assert_allclose(places["projection"], [start + moved], atol=1e-6)
    assert ("point" in places) == ("back" in ends)


def test_what_points_out_of_the_plane_changes_nothing():
    P, z_hat, grad, _ = problem("simplex", 0)
    one, other = (arrows(draw_step(P, z_hat, g)) for g in (grad, grad + 5.0))
    assert one.keys() == other.keys()
    for key, ends in one.items():
        np.testing.assert_allclose(ends, other[key], atol=1e-9)


def test_the_step_starts_where_it_is_told():
    P, z_hat, grad, scores = problem("budget", 1)
    base = ol.project(P, scores)
    axes = draw_step(P, z_hat, grad, 0.5, base=base)
    surrogate = ol.SPIGOT(0.5, around="projection")
    expected, _ = surrogate.backward(P, scores, z_hat, grad)
    ends = arrows(axes)
    np.testing.assert_allclose(ends["surrogate"], [base, base - expected], atol=1e-9)
    np.testing.assert_allclose(ends["step"], [base, base - 0.5 * grad], atol=1e-9)
    assert "base" in " ".join(texts(axes))
    np.testing.assert_allclose(marks(axes)["decision"], [z_hat.numpy()])


def test_a_step_from_the_decision_is_the_usual_one():
    one = draw_step(ol.box(2), [1.0, 0.0], [0.2, -1.5])
    other = draw_step(ol.box(2), [1.0, 0.0], [0.2, -1.5], base=torch.tensor([1.0, 0.0]))
    assert texts(one) == texts(other)
    assert "base" not in marks(other)


def test_scores_point_from_the_middle_of_the_region():
    axes = draw_step(ol.box(2), [1.0, 0.0], [1.0, 0.0], scores=torch.tensor([30.0, -40.0]))
    start, end = arrows(axes)["scores"]
    assert start.tolist() == [0.5, 0.5]
    np.testing.assert_allclose((end - start) / np.linalg.norm(end - start), [0.6, -0.8])
    assert "scores" not in arrows(draw_step(ol.box(2), [1.0, 0.0], [1.0, 0.0], scores=[0.0, 0.0]))


def test_roles_differ_by_more_than_colour():
    P, z_hat, grad, scores = problem("grid", 0)
    axes = draw_step(P, z_hat, 3 * grad, scores=scores, base=ol.project(P, scores))
    patches = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    looks = {(patch.get_linestyle(), patch.get_linewidth() > 3) for patch in patches}
    assert len(patches) == len(looks) == 4
    names = ("decision", "base", "point", "projection")
    markers = {line.get_marker() for line in axes.lines if line.get_gid() in names}
    assert len(markers) == 4


def test_the_way_back_is_seen_beside_the_way_out():
    def bends(grad):
        axes = draw_step(ol.box(2), [0.0, 0.0], grad)
        (back,) = (patch for patch in axes.patches if patch.get_gid() == "back")
        vertices = back.get_path().vertices[:3]  # start, control point, end of the line
        one, other = vertices[1] - vertices[0], vertices[2] - vertices[0]
        return abs(one[0] * other[1] - one[1] * other[0]) > 1e-3 * np.linalg.norm(other) ** 2

    assert bends([1.0, 1.0])
    assert not bends([1.0, -0.5])


# ---------------------------------------------------------------------- names


def test_points_at_one_place_share_a_name():
    assert texts(draw_step(ol.box(2), [0.0, 0.0], [1.0, 1.0]))[:2] == [
        r"$\hat z$ = $\tilde z$",
        "$p$",
    ]
    assert texts(draw_step(ol.box(2), [0.0, 0.0], [-0.5, -0.5]))[:2] == [
        r"$\hat z$",
        r"$p$ = $\tilde z$",
    ]


def test_names_can_be_changed_and_left_away():
    change = {"surrogate": "where to", "step": ""}
    found = texts(draw_step(ol.box(2), [1.0, 0.0], [0.2, -1.5], names=change))
    assert "where to" in found
    assert r"$-\eta\, g$" not in found
    assert not draw_step(ol.box(2), [1.0, 0.0], [0.2, -1.5], names=False).texts
    with pytest.raises(ol.InputError, match=r"`names` may name decision, base.* Got arrow"):
        draw_step(ol.box(2), [1.0, 0.0], [0.2, -1.5], names={"arrow": "x"})


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_names_cover_neither_each_other_nor_points(name, seed):
    P, z_hat, grad, scores = problem(name, seed)
    axes = draw_step(P, z_hat, grad, scores=scores)
    found = boxes(axes)
    for (one, a), (other, b) in combinations(found.items(), 2):
        assert not a.overlaps(b), (one, other)
    places = [axes.transData.transform(at[0]) for key, at in marks(axes).items() if len(at) == 1]
    for text, box in found.items():
        for x, y in places:
            assert not box.contains(x, y), text
    width, height = axes.figure.get_size_inches() * axes.figure.dpi
    for text, box in found.items():
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text


def crossed(axes, box):
    """Which arrows run through a box."""
    found = []
    for key, ends in arrows(axes).items():
        if key != "back":  # it may be bent
            points = axes.transData.transform(ends)
            for share in np.linspace(0, 1, 50):
                if box.contains(*(points[0] + share * (points[1] - points[0]))):
                    found.append(key)
                    break
    return found


def test_names_seldom_stand_on_arrows():
    count = total = 0
    for name, seed in CASES:
        P, z_hat, grad, scores = problem(name, seed)
        axes = picture(P, z_hat, grad, scores=scores)
        for box in boxes(axes).values():
            total += 1
            count += bool(crossed(axes, box))
    assert total > 100
    assert count <= 0.05 * total


@pytest.mark.parametrize("at", [(0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0), (1.0, 1.0)])
def test_names_stay_in_the_axes(at):
    axes = Figure(figsize=(3.0, 3.0)).add_axes((0.1, 0.1, 0.8, 0.8))
    place(axes, [Name("a long name", np.array(at), "black")], [], np.array([at]))
    ((_, box),) = boxes(axes).items()
    assert min(box.x0, box.y0) >= 30
    assert max(box.x1, box.y1) <= 270


def test_corners_of_a_plane_are_named_where_no_other_name_is():
    found = texts(draw_step(ol.simplex(3), [1.0, 0.0, 0.0], [0.3, -0.1, 0.0], 0.5))
    assert {"$e_2$", "$e_3$"} <= set(found)
    assert "$e_1$" not in found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z_hat": [1.0, 0.0, 0.0]}, r"`z_hat` must have shape \(2,\) or \(N, 2\)\. Got \(1, 3\)"),
        ({"grad": [[1.0, 0.0], [0.0, 1.0]]}, "`grad` must be one vector.* Got 2"),
        ({"scores": [1.0]}, "`scores` must have shape"),
        ({"base": [1.0, float("nan")]}, r"`base` must hold finite numbers\. Got \[\[1.0, nan\]\]"),
    ],
)
def test_vectors_of_another_shape_are_refused(options, message):
    with pytest.raises(ol.InputError, match=message):
        draw_step(ol.box(2), **({"z_hat": [1.0, 0.0], "grad": [1.0, 1.0]} | options))


# ---------------------------------------------------------------------- the paper's figure


def test_figure_1_leaves_on_the_left_and_stays_inside_on_the_right():
    left, right = draw_figure_1().axes
    assert arrows(left).keys() == {"surrogate", "step", "back"}
    assert arrows(right).keys() == {"surrogate", "step"}
    np.testing.assert_allclose(arrows(right)["surrogate"], arrows(right)["step"])
    start, end = arrows(left)["surrogate"]
    back = np.subtract(*arrows(left)["back"][::-1])
    assert (end - start) @ back == pytest.approx(0.0, abs=1e-9)
    edges = [line.get_xydata() for line in left.lines if line.get_gid() == "edge"]
    for a, b in edges:  # the surrogate gradient runs along one of them
        along, offset = b - a, np.array([start, end]) - a
        if np.abs(offset @ [along[1], -along[0]]).max() < 1e-9:
            break
    else:
        pytest.fail("The surrogate gradient runs along no edge.")
    (dots,) = (line.get_xydata() for line in left.lines if line.get_gid() == "decisions")
    assert len(dots) == 5
    assert (dots == np.round(dots)).all()
    assert left.get_xlim() == right.get_xlim()


def test_figure_1_is_wide_and_its_text_large_enough_for_a_phone():
    figure = draw_figure_1()
    width, height = figure.get_size_inches()
    assert width == 9.0
    assert height < 4.5
    on_a_phone = 360 / (72 * width)  # pixels per point
    sizes = [t.get_fontsize() for axes in figure.axes for t in [*axes.texts, axes.title]]
    assert min(sizes) * on_a_phone > 7.0
    for axes in figure.axes:
        found = boxes(axes)
        for (one, a), (other, b) in combinations(found.items(), 2):
            assert not a.overlaps(b), (one, other)
        window = axes.get_window_extent()
        for text, box in found.items():
            assert not crossed(axes, box), text
            assert window.x0 <= box.x0 < box.x1 <= window.x1, text


def test_figure_1_can_be_drawn_into_a_part_of_a_figure():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4))
    assert draw_figure_1(figure) is figure
    assert len(figure.axes) == 2
