"""The picture itself: words, arcs with their arrows and labels, the title and the legend."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path as Curve

from ._layout import CORNER, LABEL, MARGIN, ROOT, WORD, Arc, Side, Style, spread, text_width
from ._style import FAMILY, new_figure

LEGEND, TITLE = 8.5, 10.0  # sizes of text
HEAD = (2.1, 5.0)  # half width and length of an arrow
LINE, SAMPLE = 14.0, 26.0  # of the legend
BOXED: dict[str, Any] = {  # a label in the middle of a line
    "va": "center_baseline",
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.0},
}


def draw_sentence(
    words: Sequence[str], above: Sequence[Arc] = (), below: Sequence[Arc] = (), title: str = ""
) -> Figure:
    """Draw a sentence in a row, with arcs above and below it: graphs, trees, and how they differ.

    Arcs are as high as they have arcs under them, and words move apart until every label fits on
    its arc. Cost: quadratic in the number of arcs.

    Args:
        words: The words.
        above: Arcs over them.
        below: Arcs under them.
        title: A line over everything.

    Raises:
        InputError: If an arc has an end that is no word, or two that are the same.

    Examples:
        >>> from optlayers import plotting
        >>> arcs = plotting.tree_arcs([2, 0, 2], labels=["nsubj", "root", "obj"])
        >>> figure = plotting.draw_sentence(["dogs", "chase", "cats"], above=arcs)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['dogs', 'chase', 'cats', 'root', 'nsubj', 'obj']
    """
    sides = [Side(words, arcs, sign) for arcs, sign in ((above, 1), (below, -1))]
    centres, width = spread(words, sides)
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
        _draw_arcs(axes, side, centres)
    if title:
        _write(axes, MARGIN, high - MARGIN - 0.7 * TITLE, title, TITLE, ha="left")
    for k, row in enumerate(rows):
        _draw_legend(axes, row, sides[1].reach - (k + 1.2) * LINE)
    return axes.figure  # type: ignore[return-value]


def _draw_arcs(axes: Axes, side: Side, centres: Sequence[float]) -> None:
    """Draws the arcs of a side, high ones first, so that labels of low ones stay free."""
    for k in sorted(range(len(side.arcs)), key=lambda k: -side.levels[k]):
        x = [centres[word] + side.ports[word][k] for word in side.spans[k]]
        y = side.base + side.sign * side.height(side.levels[k])
        i, j, label, style = side.arcs[k]
        target = x[0] if side.spans[k][0] == j else x[1]
        name = f"{'above' if side.sign > 0 else 'below'}-{k}"
        if i == ROOT:
            curve = Curve([(target, y), (target, _tip(side))])
            place = (target, y + side.sign * 0.55 * LABEL)
        else:
            curve, place = _curve(side, x, y, i < j), (side.place(k, centres), y)
        _line(axes, curve, style, name)
        _arrow(axes, target, side.base, side.sign, style)
        if label:
            _write(axes, *place, label, LABEL, style.colour, **BOXED)


def _tip(side: Side) -> float:
    """Return where lines end, under the heads of their arrows."""
    return side.base + side.sign * HEAD[1] * 0.8


def _curve(side: Side, x: Sequence[float], y: float, rightwards: bool) -> Curve:
    """Return a line up, along and down, to the left or to the right, with round corners."""
    (a, b), foot, turn = x, side.base, side.sign * CORNER
    c = min(CORNER, (b - a) / 2)
    starts, ends = (foot, _tip(side)) if rightwards else (_tip(side), foot)
    points = [(a, starts), (a, y - turn), (a, y), (a + c, y), (b - c, y), (b, y), (b, y - turn)]
    codes = [Curve.MOVETO, Curve.LINETO, Curve.CURVE3, Curve.CURVE3, Curve.LINETO]
    codes += [Curve.CURVE3, Curve.CURVE3, Curve.LINETO]
    return Curve([*points, (b, ends)], codes)


def _canvas(width: float, low: float, high: float) -> Axes:
    figure = new_figure(width / 72, (high - low) / 72)
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
    """Draw an arrow's head that points at a word from above (1) or below (-1)."""
    half, length = HEAD
    corners = [(x, y), (x - half, y + sign * length), (x + half, y + sign * length)]
    axes.add_patch(Polygon(corners, facecolor=style.colour, edgecolor="none", zorder=3))


def _entry_width(style: Style) -> float:
    return SAMPLE + 5.0 + text_width(style.title, LEGEND) + 14.0


def _legend_rows(styles: list[Style], width: float) -> list[list[Style]]:
    """Fill rows with entries side by side, as many in a row as fit."""
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
