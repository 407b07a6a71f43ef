"""Colours that the colour-blind tell apart, files that do not change, notebooks, imports."""

import base64
import io
import subprocess
import sys
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

import optlayers as ol
from optlayers import plotting
from optlayers.plotting._style import DASHES, MARKERS, for_text

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# CIE 1976 colour difference: 2.3 is just noticeable side by side; this is many times that.
APART = 15.0
TOGETHER = [
    ("polytope", "scores", "decision", "gradient", "point", "projection", "surrogate"),
    ("kept", "added", "removed"),
]


def seen(colour, sight):
    """CIELAB coordinates of a colour as somebody sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SIGHT[sight]) @ linear, 0.0, 1.0)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = np.array(to_xyz) @ linear / [0.95047, 1.0, 1.08883]
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(one, other, sight):
    return float(np.linalg.norm(seen(one, sight) - seen(other, sight)))


def test_the_simulation_confuses_what_the_colour_blind_confuse():
    assert difference("#ff0000", "#00ff00", "usual") > 150
    assert difference("#d02020", "#707000", "protanopia") < difference(
        "#d02020", "#707000", "usual"
    )
    assert difference("#ff7070", "#a0b070", "deuteranopia") < APART


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("roles", TOGETHER)
def test_roles_that_appear_together_are_told_apart(roles, sight):
    for one, other in combinations(roles, 2):
        found = difference(plotting.COLOURS[one], plotting.COLOURS[other], sight)
        assert found > APART, (one, other, found)


@pytest.mark.parametrize("sight", SIGHT)
def test_series_are_told_apart(sight):
    for one, other in combinations(plotting.SERIES, 2):
        assert difference(one, other, sight) > APART, (one, other)


def test_colours_are_those_of_okabe_and_ito():
    known = "#000000 #E69F00 #56B4E9 #009E73 #F0E442 #0072B2 #D55E00 #CC79A7".split()
    assert sorted(plotting.SERIES) == sorted(known)
    assert set(plotting.COLOURS.values()) <= set(known)
    assert len(set(map(str, DASHES))) == len(set(MARKERS)) == len(known)


def luminance(colour):
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("colour", plotting.SERIES)
def test_text_can_be_read_on_white(colour):
    assert 1.05 / (luminance(for_text(colour)) + 0.05) >= 4.5


# ---------------------------------------------------------------------- files

PICTURES = {
    "polytope": lambda: plotting.draw_polytope(ol.Polytope([[1.0, 1.0]], [1.5])).figure,
    "projections": lambda: plotting.draw_projections(ol.simplex(3), [[1.0, 1.0, 0.0]]).figure,
    "step": lambda: plotting.draw_step(ol.simplex(3), [1.0, 0, 0], [1.0, 0, -0.5]).figure,
    "figure 1": plotting.draw_figure_1,
    "sentence": lambda: plotting.draw_sentence(["a", "b"], plotting.tree_arcs([2, 0])),
    "plan": lambda: plotting.draw_plan(ol.assignment(3)),
    "curves": lambda: (
        plotting.draw_curves({"one": [[1.0, 2.0], [2.0, 2.0]], "two": [0.0, 1.0]}).figure
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_picture_is_the_same_bytes(name, tmp_path):
    first, second = (plotting.save(PICTURES[name](), tmp_path / stem) for stem in "ab")
    assert [path.name for path in first] == ["a.svg", "a.png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert "<dc:date>" not in first[0].read_text()


@pytest.mark.parametrize("name", PICTURES)
def test_text_stays_text(name, tmp_path):
    figure = PICTURES[name]()
    root = ElementTree.parse(plotting.save(figure, tmp_path / "p")[0]).getroot()
    found = "".join("".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text"))
    plain = [text.get_text() for axes in figure.axes for text in axes.texts]
    plain += [axes.get_ylabel() for axes in figure.axes]
    for text in plain:
        if "$" not in text:
            assert text in found
    assert found or not any(plain)


@pytest.mark.parametrize("name", ["figure 1", "sentence", "plan"])
def test_figures_show_themselves_in_notebooks_and_nowhere_else(name, monkeypatch):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    figure = PICTURES[name]()
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **more: shown.append((data, more)))
    figure._ipython_display_()
    ((data, more),) = shown
    assert more["raw"]
    width, _ = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size
    assert set(more["metadata"]["image/png"]) == {"width"}
    assert abs(more["metadata"]["image/png"]["width"] - width / 2) <= 1
    assert pyplot.get_fignums() == before


def test_without_matplotlib_the_error_says_what_to_install():
    code = "import sys; sys.modules['matplotlib'] = None; from optlayers import plotting"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: optlayers.plotting draws with matplotlib" in done.stderr
    assert '`pip install "optlayers[plot]"`' in done.stderr


def test_importing_it_opens_no_window_system():
    code = "import sys; from optlayers import plotting; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
