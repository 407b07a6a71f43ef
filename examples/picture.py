"""Draws a sentence in a row, with arcs above and below it: graphs, trees, and how trees differ.

Lengths are in points, 1/72 inch, in the picture as on paper; so text of a known size has a known
place, and words move apart until every label fits on its arc.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path as Curve

ROOT = -1
"""In place of the word that an arc leaves: an arrow from outside."""

FAMILY = "DejaVu Sans"  # comes with matplotlib, so that pictures are the same everywhere
WORD, LABEL, LEGEND, TITLE = 11.0, 7.5, 8.5, 10.0  # sizes of text
GAP, MARGIN = 9.0, 10.0  # between words, around everything
PORT, HEAD = 5.0, (2.1, 5.0)  # between ends of arcs at a word; half width and length of an arrow
FIRST, STEP, CORNER = 17.0, 14.0, 6.0  # height of the lowest arcs, from one to the next, bends
TOP, BOTTOM = 11.5, -5.0  # where arcs meet a word whose line is at 0
LINE, SAMPLE = 14.0, 26.0  # of the legend
BOXED: dict[str, Any] = {  # a label in the middle of a line
    "va": "center_baseline",
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.0},
}


@dataclass(frozen=True)
class Style:
    """How arcs look, and what they are.

    Args:
        title: What the legend says; empty for nothing.
        colour: As of matplotlib.
        dashes: Lengths on and off, in widths of the line; empty for a solid line.
    """

    title: str = ""
    colour: str = "black"
    dashes: tuple[float, ...] = ()


Arc = tuple[int, int, str, Style]
"""From which word, counted from 0, or `ROOT`; to which; its label; how it looks."""


def draw(
    words: Sequence[str], above: Sequence[Arc] = (), below: Sequence[Arc] = (), title: str = ""
) -> Figure:
    """The picture of a sentence.

    Arcs are as high as they have arcs under them. Cost: quadratic in the number of arcs.

    Args:
        words: The words.
        above: Arcs over them.
        below: Arcs under them.
        title: A line over everything.

    Raises:
        ValueError: If an arc has an end that is no word, or two that are the same.
    """
    sides = [_Side(words, arcs, sign) for arcs, sign in ((above, 1), (below, -1))]
    centres, width = _spread(words, sides)
    styles = dict.fromkeys(style for *_, style in (*above, *below) if style.title)
    rows = _legend_rows(list(styles), max(width, 300.0))
    widths = [width, text_width(title, TITLE) + 2 * MARGIN]
    widths += [sum(_entry_width(style) for style in row) + 2 * MARGIN for row in rows]
    width, shift = max(widths), (max(widths) - width) / 2
    centres = [x + shift for x in centres]
    high = sides[0].reach + (1.5 * LINE if title else 0.0) + MARGIN
    low = sides[1].reach - (len(rows) + 0.5 if rows else 0) * LINE - MARGIN
    axes = _canvas(width, low, high)
    for x, word in zip(centres, words, strict=True):
        _write(axes, x, 0.0, word, WORD)
    for side in sides:
        side.draw(axes, centres)
    if title:
        _write(axes, MARGIN, high - MARGIN - 0.7 * TITLE, title, TITLE, ha="left")
    for k, row in enumerate(rows):
        _draw_legend(axes, row, sides[1].reach - (k + 1.2) * LINE)
    return axes.figure  # type: ignore[return-value]


def save(figure: Figure, stem: str | Path) -> list[Path]:
    """Writes `STEM.svg` and `STEM.png`: the same bytes for the same picture.

    The words of the SVG are text, which can be searched and copied.
    """
    settings: Any = {"svg.hashsalt": "optlayers", "svg.fonttype": "none"}
    paths = [Path(f"{stem}.{suffix}") for suffix in ("svg", "png")]
    with matplotlib.rc_context(settings):
        figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], dpi=200, metadata={"Software": None})
    return paths


def levels(spans: Sequence[tuple[int, int]]) -> list[int]:
    """How high each span is, from 0: over all that lie within it, apart from all that overlap.

    A span of a single word is an arrow from outside: over all that end at the word or pass it.

    >>> levels([(0, 3), (0, 1), (1, 3), (2, 4), (1, 1)])
    [2, 0, 0, 1, 3]
    """
    found = [-1] * len(spans)
    placed: list[int] = []
    for k in sorted(range(len(spans)), key=lambda k: _order(spans[k])):
        low, high = spans[k]
        pairs = [(spans[p], found[p]) for p in placed]
        if low == high:
            under = [level for (i, j), level in pairs if i <= low <= j]
        else:
            under = [level for (i, j), level in pairs if low <= i and j <= high]
        taken = {level for (i, j), level in pairs if i < high and low < j}
        found[k] = 1 + max(under, default=-1)
        while found[k] in taken:
            found[k] += 1
        placed.append(k)
    return found


def _order(span: tuple[int, int]) -> tuple[bool, int]:
    """Short spans first, arrows from outside last."""
    return span[0] == span[1], span[1] - span[0]


@cache
def text_width(text: str, size: float) -> float:
    """How long a text is."""
    renderer = RendererAgg(1, 1, 720)  # ten times as fine as points, against rounding
    font = FontProperties(family=FAMILY, size=size)
    return renderer.get_text_width_height_descent(text, font, ismath=False)[0] / 10


class _Side:
    """The arcs on one side of the words: their levels, and where at a word each of them ends."""

    def __init__(self, words: Sequence[str], arcs: Sequence[Arc], sign: int):
        for i, j, label, _ in arcs:
            if not (0 <= j < len(words) and (i == ROOT or 0 <= i < len(words)) and i != j):
                raise ValueError(
                    f"An arc joins two of the {len(words)} words, counted from 0, or leaves ROOT. "
                    f"Got {i} to {j} ({label!r})."
                )
        self.arcs, self.sign = list(arcs), sign
        self.spans = [(j, j) if i == ROOT else (min(i, j), max(i, j)) for i, j, *_ in arcs]
        self.levels = levels(self.spans)
        self.ports = self._ports(len(words))
        self.base = TOP if sign > 0 else BOTTOM
        top = max((self._height(level) for level in self.levels), default=0.0)
        self.reach = self.base + sign * (top + (LABEL if arcs else 0.0))

    def _ports(self, words: int) -> list[dict[int, float]]:
        """For each word, how far from its middle each of its arcs ends: no two lines meet."""
        ends: list[list[tuple[tuple[int, int], int]]] = [[] for _ in range(words)]
        for k, (low, high) in enumerate(self.spans):
            level = self.levels[k]
            if low == high:
                ends[low].append(((1, 0), k))
            else:  # to the left the lowest first, to the right the lowest last
                ends[high].append(((0, level), k))
                ends[low].append(((2, -level), k))
        return [
            {k: PORT * (place - (len(own) - 1) / 2) for place, (_, k) in enumerate(sorted(own))}
            for own in ends
        ]

    def room(self, word: int) -> float:
        """How broad the ends of arcs at a word are, and the label of an arrow from outside."""
        labels = [self.arcs[k][2] for k in self.ports[word] if self.arcs[k][0] == ROOT]
        return max([PORT * len(self.ports[word]), *(text_width(s, LABEL) + 2.0 for s in labels)])

    def free(self, k: int, centres: Sequence[float]) -> list[tuple[float, float, int, int]]:
        """The pieces of an arc that no line crosses: from, to, and the words at both ends."""
        low, high = self.spans[k]
        lines = [
            (centres[word] + offset, word)
            for word in range(low, high + 1)
            for p, offset in self.ports[word].items()
            if self.levels[p] > self.levels[k]
        ]
        start, stop = centres[low] + self.ports[low][k], centres[high] + self.ports[high][k]
        inner = [line for line in sorted(lines) if start < line[0] < stop]
        stops = [(start + CORNER - 2.0, low), *inner, (stop - CORNER + 2.0, high)]
        return [(x, y, i, j) for (x, i), (y, j) in pairwise(stops)]

    def needs(self, centres: Sequence[float]) -> list[tuple[int, int, float]]:
        """Which words have to be how far apart, so that each label has a free place on its arc."""
        found = []
        for k, (low, high) in enumerate(self.spans):
            if low < high and self.arcs[k][2]:
                width, i, j = max((y - x, i, j) for x, y, i, j in self.free(k, centres) if i < j)
                found.append((i, j, centres[j] - centres[i] + _label_width(self.arcs[k]) - width))
        return found

    def draw(self, axes: Axes, centres: Sequence[float]) -> None:
        """Draws all arcs, high ones first, so that labels of low ones stay free."""
        for k in sorted(range(len(self.arcs)), key=lambda k: -self.levels[k]):
            x = [centres[word] + self.ports[word][k] for word in self.spans[k]]
            y = self.base + self.sign * self._height(self.levels[k])
            i, j, label, style = self.arcs[k]
            target = x[0] if self.spans[k][0] == j else x[1]
            name = f"{'above' if self.sign > 0 else 'below'}-{k}"
            if i == ROOT:
                curve = Curve([(target, y), (target, self._tip())])
                place = (target, y + self.sign * 0.55 * LABEL)
            else:
                curve, place = self._curve(x, y, i < j), (self._place(k, centres), y)
            _line(axes, curve, style, name)
            _arrow(axes, target, self.base, self.sign, style)
            if label:
                _write(axes, *place, label, LABEL, style.colour, **BOXED)

    def _height(self, level: int) -> float:
        return FIRST + STEP * level

    def _tip(self) -> float:
        return self.base + self.sign * HEAD[1] * 0.8

    def _curve(self, x: Sequence[float], y: float, rightwards: bool) -> Curve:
        """Up, along and down, to the left or to the right, with round corners."""
        (a, b), foot, turn = x, self.base, self.sign * CORNER
        c = min(CORNER, (b - a) / 2)
        starts, ends = (foot, self._tip()) if rightwards else (self._tip(), foot)
        points = [(a, starts), (a, y - turn), (a, y), (a + c, y), (b - c, y), (b, y), (b, y - turn)]
        codes = [Curve.MOVETO, Curve.LINETO, Curve.CURVE3, Curve.CURVE3, Curve.LINETO]
        codes += [Curve.CURVE3, Curve.CURVE3, Curve.LINETO]
        return Curve([*points, (b, ends)], codes)

    def _place(self, k: int, centres: Sequence[float]) -> float:
        """Where a label crosses no line, as near the middle of its arc as can be."""
        pieces = self.free(k, centres)
        middle, half = (pieces[0][0] + pieces[-1][1]) / 2, _label_width(self.arcs[k]) / 2
        places = [
            min(max(middle, x + half), y - half)
            for x, y, *_ in pieces
            if y - x > 2 * half - 1e-6  # a piece may have been made just as long as needed
        ]
        return min(places, key=lambda place: abs(place - middle), default=middle)


def _label_width(arc: Arc) -> float:
    return text_width(arc[2], LABEL) + 5.0


def _spread(words: Sequence[str], sides: Sequence[_Side]) -> tuple[list[float], float]:
    """The middle of each word, as far left as its neighbours and labels allow; the whole width."""
    rooms = [
        max(text_width(word, WORD), *(side.room(k) for side in sides))
        for k, word in enumerate(words)
    ]
    centres: list[float] = []
    needs: list[tuple[int, int, float]] = []
    for _ in range(2):  # without labels, to see what they need; then with them
        centres = []
        for k, room in enumerate(rooms):
            places = [centres[-1] + (rooms[k - 1] + room) / 2 + GAP if k else MARGIN + room / 2]
            places += [centres[low] + need for low, high, need in needs if high == k]
            centres.append(max(places))
        needs = [need for side in sides for need in side.needs(centres)]
    return centres, centres[-1] + rooms[-1] / 2 + MARGIN if words else 2 * MARGIN


def _canvas(width: float, low: float, high: float) -> Axes:
    figure = Figure(figsize=(width / 72, (high - low) / 72), facecolor="white")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, and no window on a server
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set(xlim=(0.0, width), ylim=(low, high))
    return axes


def _write(
    axes: Axes, x: float, y: float, text: str, size: float, colour: str = "black", **options: Any
) -> None:
    options = {"ha": "center", "va": "baseline", "family": FAMILY, "size": size} | options
    axes.text(x, y, text, color=colour, parse_math=False, **options)


def _line(axes: Axes, curve: Curve, style: Style, name: str | None = None) -> None:
    dashes = (0, style.dashes) if style.dashes else "solid"
    patch = PathPatch(curve, fill=False, edgecolor=style.colour, linewidth=1.1, linestyle=dashes)
    patch.set_capstyle("butt")
    patch.set_gid(name)
    axes.add_patch(patch)


def _arrow(axes: Axes, x: float, y: float, sign: int, style: Style) -> None:
    """An arrow's head that points at a word from above (1) or below (-1)."""
    half, length = HEAD
    corners = [(x, y), (x - half, y + sign * length), (x + half, y + sign * length)]
    axes.add_patch(Polygon(corners, facecolor=style.colour, edgecolor="none", zorder=3))


def _entry_width(style: Style) -> float:
    return SAMPLE + 5.0 + text_width(style.title, LEGEND) + 14.0


def _legend_rows(styles: list[Style], width: float) -> list[list[Style]]:
    """Entries side by side, as many in a row as fit."""
    rows: list[list[Style]] = []
    for style in styles:
        if rows and sum(map(_entry_width, [*rows[-1], style])) <= width - 2 * MARGIN:
            rows[-1].append(style)
        else:
            rows.append([style])
    return rows


def _draw_legend(axes: Axes, row: list[Style], y: float) -> None:
    x = MARGIN
    for style in row:
        _line(axes, Curve([(x, y), (x + SAMPLE, y)]), style)
        _write(axes, x + SAMPLE + 5.0, y - 3.0, style.title, LEGEND, ha="left")
        x += _entry_width(style)
