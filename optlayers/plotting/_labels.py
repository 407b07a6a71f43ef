"""Names beside points and arrows, where they cover nothing."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.text import Annotation

from ._style import FAMILY, for_text

_ANGLES = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
_GAPS = (3.0, 6.0, 10.0, 15.0)  # from the middle of a point to the text, in points


class Name(NamedTuple):
    """A text, and the places beside which it may stand, best first."""

    text: str
    at: np.ndarray
    colour: str
    radius: float = 4.0


@cache
def text_size(text: str, size: float) -> tuple[float, float]:
    """Return how wide and how high a text is, in points; mathematics in dollars."""
    renderer = RendererAgg(1, 1, 720)
    font = FontProperties(family=FAMILY, size=size)
    math: Any = "$" in text
    width, height, _ = renderer.get_text_width_height_descent(text, font, ismath=math)
    return width / 10, height / 10


def place(
    axes: Axes,
    names: Sequence[Name],
    lines: Sequence[np.ndarray],
    points: np.ndarray,
    edges: Sequence[np.ndarray] = (),
    size: float = 12.0,
) -> list[Annotation]:
    """Writes names where they cross no arrow, point, other name or edge, in this order of gravity.

    Args:
        axes: Where to; with final limits.
        names: What to write.
        lines: Arrows in pieces, `(2, 2)` in data coordinates.
        points: Markers `(k, 2)`.
        edges: Of the polytope, which texts cross if need be.
        size: Of the text.
    """
    axes.apply_aspect()
    scale = 72 / axes.figure.dpi

    def to_points(values: Any) -> np.ndarray:
        flat = np.reshape(np.asarray(values, dtype=np.float64), (-1, 2))
        return axes.transData.transform(flat) * scale

    segments = to_points(lines).reshape(-1, 2, 2)
    borders = to_points(edges).reshape(-1, 2, 2)
    marks = to_points(points)
    window = axes.get_window_extent()
    frame = np.array([[window.x0, window.y0], [window.x1, window.y1]]) * scale
    taken: list[np.ndarray] = []
    written = []
    for name in names:
        half = np.array(text_size(name.text, size)) / 2 + 1.0
        anchors = np.reshape(name.at, (-1, 2))
        offsets, cost = _offsets(half, name.radius)
        middles = to_points(anchors)[:, None] + offsets
        boxes = np.stack([middles - half, middles + half], -2).reshape(-1, 2, 2)
        cost = (cost + 2.0 * np.arange(len(anchors))[:, None]).ravel()
        cost += _cost(boxes, taken, segments, marks, borders, frame)
        best = int(np.round(cost, 6).argmin())
        taken.append(boxes[best])
        anchor, offset = anchors[best // len(offsets)], offsets[best % len(offsets)]
        written.append(_write(axes, name, anchor, offset, size))
    return written


def _write(axes: Axes, name: Name, at: np.ndarray, offset: np.ndarray, size: float) -> Annotation:
    return axes.annotate(
        name.text,
        (at[0], at[1]),
        (offset[0], offset[1]),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=size,
        family=FAMILY,
        color=for_text(name.colour),
        zorder=6,
        annotation_clip=False,
    )


def _offsets(half: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where a box may be around a point, by its middle, near ones first; and the costs."""
    directions = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
    reach = np.sign(directions) * half * np.abs(directions)
    gaps = np.array(_GAPS)[:, None, None]
    offsets = (directions * (gaps + radius) + reach).reshape(-1, 2)
    return offsets, np.repeat(_GAPS, len(_ANGLES))


def _cost(
    boxes: np.ndarray,
    taken: Sequence[np.ndarray],
    lines: np.ndarray,
    marks: np.ndarray,
    edges: np.ndarray,
    frame: np.ndarray,
) -> np.ndarray:
    """Rate each place for a box `(k, 2, 2)` by what it covers, and how far it is out."""
    cost = np.zeros(len(boxes))
    for other in taken:
        overlap = np.minimum(boxes[:, 1], other[1]) - np.maximum(boxes[:, 0], other[0])
        cost += 1000.0 * (overlap > -1.0).all(1)
    crossed = _inside(boxes, lines).sum(1)
    cost += 60.0 * (crossed > 0) + 10.0 * crossed
    crossed = _inside(boxes, edges)
    cost += 15.0 * (crossed > 0).sum(1) + crossed.sum(1)
    near = np.clip(marks, boxes[:, :1], boxes[:, 1:])
    cost += 200.0 * (np.linalg.norm(near - marks, axis=2) < 5.0).sum(1)
    outside = np.maximum(frame[0] - boxes[:, 0], 0) + np.maximum(boxes[:, 1] - frame[1], 0)
    return cost + 20.0 * outside.sum(1)


def _inside(boxes: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Return `(k, l)`: how much of each segment `(l, 2, 2)` lies in each box `(k, 2, 2)`."""
    start, along = lines[:, 0], lines[:, 1] - lines[:, 0]
    steep = np.where(np.abs(along) < 1e-9, 1e-9, along)
    shares = (boxes[:, :, None] - start) / steep  # (k, side, l, axis)
    low = np.maximum(shares.min(1).max(-1), 0.0)
    high = np.minimum(shares.max(1).min(-1), 1.0)
    return np.maximum(high - low, 0.0) * np.linalg.norm(along, axis=1)
