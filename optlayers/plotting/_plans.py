"""Diagrams of plans: the rows permuted to blocks, and beside each block its map.

Lengths are in points on a sheet that is WIDTH wide; given axes hold a smaller or larger sheet.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .._errors import InputError
from .._functional import plan
from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap
from .._plan.plan import Plan
from .._polytope.polytope import Polytope
from ._labels import text_size
from ._style import FAMILY, SERIES, for_text, new_figure

WIDTH, PATTERN, EDGE, BETWEEN = 410.0, 140.0, 10.0, 16.0
TITLE, NAME, TEXT = 11.0, 10.5, 8.5  # sizes of text
LINE = 1.35  # height of a line, in sizes of its text
CELL = (1.2, 9.0)  # how small cells are drawn one by one, how large they get
TALLEST = 150.0  # of a pattern
GAP = 18.0  # between patterns and words
GREY = "#4d4d4d"


class _Entry(NamedTuple):
    """A stack of equal blocks: what is said about it, and how large it is drawn."""

    block: Block
    colour: str
    lines: list[tuple[str, float, str, str]]  # text, size, weight, colour
    shown: int  # components drawn; 1 of many where they are too small to be told apart
    cell: tuple[float, float]

    @property
    def wide(self) -> float:
        """Of the pattern."""
        return self.shown * self.block.size * self.cell[0]

    @property
    def high(self) -> float:
        """Of the pattern."""
        return self.shown * max(self.block.num_rows, 1) * self.cell[1]

    @property
    def height(self) -> float:
        """Of the pattern or of the text, whichever is higher."""
        below = 14.0 if self.shown < self.block.count else 0.0
        return max(self.high + below, sum(LINE * size for _, size, *_ in self.lines))


def draw_plan(
    polytope: Any,
    kind: Literal["projection", "decoder"] = "projection",
    ax: Axes | None = None,
) -> Figure | Axes:
    r"""Draw which block of a polytope goes to which map, and why to nothing cheaper.

    Columns are variables and rows are the rows of (A, b), both in an order that puts each block
    together; a filled cell is a coefficient that is not zero. Each stack of equal blocks has a
    frame of its own colour, and beside it, at the end of a line, the words of `Plan.explain`. Where
    there are too many equal blocks to be seen, one of them is drawn and counted. The columns of
    auxiliary variables are grey. Cost: linear in the coefficients that are drawn.

    Args:
        polytope: A polytope, a structured set (its relaxation), or a plan.
        kind: Which plan of the polytope.
        ax: Where to draw; by default a figure of its own.

    Returns:
        The figure, or the axes that were given.

    Raises:
        InputError: If it is neither a polytope, nor a structured set, nor a plan.

    Examples:
        >>> import optlayers as ol
        >>> from optlayers import plotting
        >>> figure = plotting.draw_plan(ol.head_selection(25))
        >>> [text.get_text() for text in figure.axes[0].texts][-3:]
        ['Simplex', '25 x 26 variables, 1 row each', 'not Box: it has coupling rows']
    """
    compiled = polytope
    if not isinstance(polytope, Plan):
        relaxation = getattr(polytope, "relaxation", None)
        if not isinstance(relaxation, Polytope):
            raise InputError(
                "`draw_plan` draws the plan of a polytope or of a structured set, or a plan. "
                f"Got {type(polytope).__name__}."
            )
        compiled = plan(relaxation, kind)
    entries = _entries(compiled)
    height = 2 * EDGE + 2 * TITLE + LINE * TEXT + sum(e.height + BETWEEN for e in entries) - BETWEEN
    figure = None
    if ax is None:
        figure = new_figure(WIDTH / 72, height / 72)
        ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    _draw(ax, compiled, entries, height)
    return ax if figure is None else figure


# ---------------------------------------------------------------------- what goes where


def _entries(compiled: Plan) -> list[_Entry]:
    blocks = [map_.block for map_ in compiled.maps]
    widths = _shares([block.count * block.size for block in blocks])
    found = []
    for k, (map_, reasons) in enumerate(zip(compiled.maps, compiled.refusals, strict=True)):
        block, width = blocks[k], widths[k]
        shown = block.count
        if width / (block.count * block.size) < CELL[0] and block.count > 1:
            shown = 1
            width -= 8.0  # of the frames behind it
        across = min(width / (shown * block.size), CELL[1])
        down = max(block.num_rows, 1) * shown
        cell = (across, min(max(across, 4.0) if block.num_rows else 9.0, TALLEST / down))
        colour = SERIES[k % 6]
        lines = _lines(map_, reasons, for_text(colour))
        found.append(_Entry(block, colour, lines, shown, cell))
    return found


def _shares(sizes: Sequence[int]) -> np.ndarray:
    """Return the width of each stack: as many variables as it has, but wide enough to be seen."""
    share = np.asarray(sizes, dtype=np.float64)
    share = np.maximum(share / share.sum(), min(0.08, 0.6 / len(share)))
    return PATTERN * share / share.sum()


def _lines(
    map_: AbstractBlockMap, reasons: Sequence[str], colour: str
) -> list[tuple[str, float, str, str]]:
    """Break the words of `Plan.explain` into lines."""
    block = map_.block
    rows = f"{block.num_rows} row{'s' * (block.num_rows != 1)}" if block.num_rows else "no rows"
    size = f"{block.count} x {block.size} variables, {rows}{' each' * (block.count > 1)}"
    if hidden := int(block.is_aux.sum()):
        size += f" ({hidden} of the variables auxiliary)"
    lines = [(type(map_).__name__, NAME, "bold", colour)]
    room = 0.92 * (WIDTH - 2 * EDGE - PATTERN - GAP)  # small text on a screen is a little wider
    remark = map_.remark()
    for text in [size, *([remark] if remark else [])]:
        lines += [(line, TEXT, "normal", "black") for line in _wrapped(text, room)]
    for text in reasons:
        lines += [(line, TEXT, "normal", GREY) for line in _wrapped(text, room)]
    return lines


def _wrapped(text: str, room: float) -> list[str]:
    """Break a text into lines that fit; what is carried over is indented."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines[-1].strip() else f"{lines[-1]}{word}"
        if lines[-1].strip() and text_size(longer, TEXT)[0] > room:
            lines.append(f"   {word}")
        else:
            lines[-1] = longer
    return lines


# ---------------------------------------------------------------------- drawing


def _draw(axes: Axes, compiled: Plan, entries: Sequence[_Entry], height: float) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0.0, WIDTH), ylim=(height, 0.0))
    axes.set_aspect("equal", adjustable="box", anchor="NW")
    window = axes.get_window_extent()
    points = 72 / axes.figure.dpi
    scale = min(window.width * points / WIDTH, window.height * points / height)

    def write(x: float, y: float, text: str, size: float, **options: Any) -> None:
        options = {"va": "baseline", "family": FAMILY, "parse_math": False} | options
        axes.text(x, y, text, size=size * scale, **options)

    total = sum(entry.block.count for entry in entries)
    title = f"{compiled.table.name.capitalize()} plan: {compiled.n} variables, "
    y = EDGE + TITLE
    write(EDGE, y, f"{title}{total} block{'s' * (total != 1)}", TITLE)
    legend = "columns: variables; rows: constraints; filled: a coefficient that is not zero"
    write(EDGE, y + LINE * TEXT, legend, TEXT, color=GREY)
    y, x = y + LINE * TEXT + TITLE, EDGE
    for entry in entries:
        _draw_pattern(axes, entry, x, y, scale)
        if entry.shown < entry.block.count:
            middle = x + entry.wide / 2 + 3.0
            options = {"ha": "center", "color": for_text(entry.colour)}
            write(middle, y + entry.high + 17.0, f"{entry.block.count} times", TEXT, **options)
        line_y = y
        for text, size, weight, colour in entry.lines:
            line_y += LINE * size
            indent = 8.0 if text.startswith(" ") else 0.0  # browsers drop spaces
            at = (EDGE + PATTERN + GAP + indent, line_y - 0.3 * size)
            write(*at, text.strip(), size, weight=weight, color=colour)
        _draw_leader(axes, entry, x, y, scale)
        x += entry.wide + (6.0 if entry.shown < entry.block.count else 0.0)
        y += entry.height + BETWEEN


def _draw_leader(axes: Axes, entry: _Entry, x: float, y: float, scale: float) -> None:
    """Draw a thin line from a block's frame to its name."""
    at = 0.65 * NAME
    passed = min(int(at / entry.high * entry.shown) + 1, entry.shown)  # components above the line
    start = x + entry.wide * passed / entry.shown
    start += 8.0 if entry.shown < entry.block.count else 2.0
    end = EDGE + PATTERN + GAP - 5.0
    if end - start > 4.0:
        axes.plot([start, end], [y + at, y + at], color="0.75", linewidth=0.7 * scale, zorder=0)


def _draw_pattern(axes: Axes, entry: _Entry, x: float, y: float, scale: float) -> None:
    """Draw the components along the diagonal, each in a frame."""
    block, (across, down) = entry.block, entry.cell
    wide, high = block.size * across, max(block.num_rows, 1) * down
    line: Any = {"edgecolor": entry.colour, "linewidth": scale * min(1.2, 0.15 * min(wide, high))}
    if entry.shown < block.count:
        for offset in (6.0, 3.0):
            behind = Rectangle((x + offset, y + offset), wide, high, facecolor="white", **line)
            axes.add_patch(behind)
    cells = []
    for k in range(entry.shown):
        left, top = x + k * wide, y + k * high
        axes.add_patch(Rectangle((left, top), wide, high, facecolor="white", gid="block", **line))
        steps = np.diff(block.is_aux.astype(int), prepend=0, append=0)
        for start, end in zip(np.flatnonzero(steps > 0), np.flatnonzero(steps < 0), strict=True):
            at = (left + start * across, top)
            grey: Any = {"facecolor": "0.88", "edgecolor": "none", "zorder": 2}
            axes.add_patch(Rectangle(at, (end - start) * across, high, **grey))
        cells.append(_cells(block, np.array([left, top]), across, down))
    squares: Any = np.concatenate(cells)
    style: Any = {"facecolor": entry.colour, "edgecolor": "none", "zorder": 3, "gid": "cells"}
    axes.add_collection(PolyCollection(squares, **style), autolim=False)


def _cells(block: Block, corner: np.ndarray, across: float, down: float) -> np.ndarray:
    """Return a square per coefficient that is not zero, `(k, 4, 2)`."""
    if block.num_rows == 0 or block.matrix is None:
        return np.zeros((0, 4, 2))
    matrix = block.matrix.tocoo()
    rows, columns = matrix.coords
    gap = 0.12 if min(across, down) > 2.0 else 0.0
    low, high = gap, 1.0 - gap
    unit = np.array([[low, low], [high, low], [high, high], [low, high]])
    places = np.stack([columns, rows], 1)[:, None] + unit
    return corner + places * np.array([across, down])
