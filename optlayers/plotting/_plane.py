"""Polytopes in the plane, and points beside their projections."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from .._errors import InputError
from .._functional import project
from ._decisions import decisions
from ._regions import Region, region
from ._style import COLOURS, FAMILY, new_axes

MARGIN = 0.16  # of the larger side, around what is drawn
DOTS = (0, (1.2, 1.4))
CORNER_NAME = 11.0  # size of text


def draw_polytope(
    polytope: Any,
    ax: Axes | None = None,
    *,
    integral: bool = True,
    label: str | None = None,
    colour: str = COLOURS["polytope"],
    dashes: Any = "solid",
    names: bool = True,
) -> Axes:
    r"""Draw the region of a polytope in the plane, its edges, and the points that can be decided.

    The region is exact. Without auxiliary variables it is cut out of the plane row by row; with
    them, its corners are found by linear programs, two or three per corner. A set without an end
    is cut off a little outside the axes and has no edge there. Three variables are drawn in the
    plane that their points lie in, with the lengths and angles that they have there.

    Args:
        polytope: A polytope of 2 variables, or of 3 whose points lie in one plane; of a structured
            set its relaxation. Auxiliary variables are allowed.
        ax: Where to draw; by default axes of their own.
        integral: Whether to draw the decisions as dots: the integral points, or where decisions
            need not be integral, the corners; where some variables are integers and others not,
            the ends of the segments that they leave.
        label: Of the edges, for a legend.
        colour: Of the region and its edges, for a second set in the same axes.
        dashes: Of the edges, as matplotlib's `linestyle`.
        names: Whether to name the corners in a plane of three variables.

    Raises:
        InputError: If the polytope cannot be drawn in a plane, or is a batch of polytopes.
        InfeasibleError: If it is empty.

    Examples:
        >>> import optlayers as ol
        >>> from optlayers import plotting
        >>> axes = plotting.draw_polytope(ol.Polytope([[1.0, 1.0]], [1.5]))
        >>> axes.patches[0].get_xy()[:-1].tolist()
        [[0.0, 0.0], [1.0, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 1.0]]
    """
    found = region(polytope)
    axes = new_axes(4.2, 4.0) if ax is None else ax
    edges = {"label": label, "color": colour, "linestyle": dashes}
    shown = show_region(axes, found, integral=integral, edges=edges)
    if names and found.polytope.n == 3:
        _name_corners(axes, shown)
    return axes


def draw_projections(
    polytope: Any, y: Any, ax: Axes | None = None, *, z: Any = None, integral: bool = False
) -> Axes:
    r"""Draw points, their projections $\Pi_P(y)$ onto a polytope, and the segments between them.

    In a plane of three variables, points beside the plane are drawn where they drop onto it, which
    is on their way: $\Pi_P(y) = \Pi_P(\Pi_{\text{plane}}(y))$.

    Args:
        polytope: As of `draw_polytope`.
        y: Points `(N, n)` or `(n,)`.
        ax: Where to draw; by default axes of their own.
        z: Their projections, in the shape of `y`; by default computed by `optlayers.project`.
        integral: Whether to draw the decisions, too.

    Raises:
        InputError: If the polytope cannot be drawn, or the points have another shape.

    Examples:
        >>> import optlayers as ol
        >>> from optlayers import plotting
        >>> axes = plotting.draw_projections(ol.box(2), [[2.0, 0.5], [-1.0, 3.0]])
        >>> axes.lines[-1].get_xydata().tolist()
        [[1.0, 0.5], [0.0, 1.0]]
    """
    found = region(polytope)
    points = as_points(y, found, "y")
    nearest = projected(found, points) if z is None else as_points(z, found, "z")
    if len(points) != len(nearest):
        raise InputError(
            f"`z` must hold a projection for each of the {len(points)} points `y`. "
            f"Got {len(nearest)}."
        )
    axes = new_axes(4.2, 4.0) if ax is None else ax
    start, end = found.flat(points), found.flat(nearest)
    show_region(axes, found, np.concatenate([start, end]), integral=integral)
    for a, b in zip(start, end, strict=True):
        axes.plot([a[0], b[0]], [a[1], b[1]], color="0.45", linewidth=0.9, linestyle=DOTS, zorder=3)
    mark(axes, start, "point", 7.0, label="$y$")
    mark(axes, end, "projection", 5.5, label=r"$\Pi_P(y)$")
    return axes


MARKERS = {"decision": "o", "base": "s", "point": "X", "projection": "D"}


def mark(axes: Axes, at: np.ndarray, role: str, size: float, **options: Any) -> None:
    """Draws points in the colour and with the marker of their role."""
    colour = COLOURS.get(role, COLOURS["decision"])
    style: Any = {"markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 5, "gid": role}
    x, y = np.reshape(at, (-1, 2)).T
    style |= {"linestyle": "none", "color": colour, "marker": MARKERS[role], "markersize": size}
    axes.plot(x, y, **(style | options))


def as_points(values: Any, found: Region, name: str) -> np.ndarray:
    """Convert tensors, arrays and lists to `(N, n)`."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    points = np.atleast_2d(np.asarray(values, dtype=np.float64))
    n = found.polytope.n
    if points.ndim != 2 or points.shape[1] != n:
        raise InputError(f"`{name}` must have shape ({n},) or (N, {n}). Got {points.shape}.")
    if not np.isfinite(points).all():
        raise InputError(f"`{name}` must hold finite numbers. Got {points.tolist()}.")
    return points


def projected(found: Region, points: np.ndarray) -> np.ndarray:
    """Project `(N, n)` onto the polytope, in double precision."""
    return project(found.polytope, torch.from_numpy(points)).numpy()


def show_region(
    axes: Axes,
    found: Region,
    points: np.ndarray | None = None,
    *,
    integral: bool = True,
    edges: Mapping[str, Any] | None = None,
    dot: float = 6.5,
    margin: float = MARGIN,
) -> Region:
    """Draws a region in axes that hold it, the points, and what was drawn before.

    Returns:
        What of the region is in view.
    """
    low, high = _view(axes, found, points, margin)
    if not found.bounded:
        beyond = 0.5 * (high - low)
        found = found.within(low - beyond, high + beyond)
    corners = found.corners
    line: Any = {"color": COLOURS["polytope"], "linewidth": 1.8, "zorder": 2, "gid": "edge"}
    line |= edges or {}
    fill: Any = {"facecolor": line["color"], "alpha": 0.13, "edgecolor": "none", "gid": "region"}
    axes.add_patch(Polygon(corners, closed=True, zorder=1, **fill))
    for ends in found.edges:
        axes.plot(*ends.T, solid_capstyle="round", **line)
        line["label"] = None  # once in a legend
    if len(corners) == 1:
        axes.plot(*corners.T, marker="o", markersize=6, **line)
    dots = decisions(found)
    if integral and len(dots):
        style: Any = {"linestyle": "none", "zorder": 3, "gid": "decisions"}
        axes.plot(*dots.T, marker="o", color=COLOURS["decision"], markersize=dot, **style)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_aspect("equal", adjustable="box")
    if found.polytope.n == 3:
        axes.set_axis_off()
    else:
        axes.set(xlabel="$z_1$", ylabel="$z_2$")
        axes.spines[["top", "right"]].set_visible(False)
    return found


def _view(
    axes: Axes, found: Region, points: np.ndarray | None, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of the axes."""
    own = [found.finite_corners, *([] if points is None else [points])]
    if not found.bounded and len(found.finite_corners) < 2:  # the middle of what has an edge
        ends = np.roll(found.corners, -1, 0)
        for a, b in zip(found.corners[~found.cut], ends[~found.cut], strict=True):
            share = np.clip(-a @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
            own.append((a + share * (b - a))[None])
    own = np.concatenate(own)
    if not len(own):
        own = np.zeros((1, 2))
    low, high = own.min(0), own.max(0)
    margin *= (high - low).max()
    if not found.bounded:
        margin = max(margin, 0.5 * found.size)
    margin = margin if margin > 0 else 0.5 * found.size
    low, high = low - margin, high + margin
    if axes.has_data():
        before = np.array([axes.get_xlim(), axes.get_ylim()]).T
        low, high = np.minimum(low, before[0]), np.maximum(high, before[1])
    return low, high


def _name_corners(axes: Axes, found: Region) -> None:
    """Write unit vectors by name, other corners by their coordinates."""
    middle = found.corners.mean(0)
    for corner in found.finite_corners:
        out = corner - middle
        out = out / np.linalg.norm(out) if np.linalg.norm(out) > 0 else np.array([0.0, 1.0])
        text = corner_name(found.lifted(corner))
        reach = 15.0 if text.startswith("$") else 15.0 + 18.0 * abs(out[0])
        options: Any = {"ha": "center", "va": "center", "fontsize": CORNER_NAME, "family": FAMILY}
        at = {"xy": tuple(corner), "xytext": tuple(reach * out), "textcoords": "offset points"}
        axes.annotate(text, **at, **options)


def corner_name(values: np.ndarray) -> str:
    """Return a name such as e_2 for (0, 1, 0); else the coordinates."""
    for k, unit in enumerate(np.eye(3)):
        if np.abs(values - unit).max() < 1e-9:
            return f"$e_{k + 1}$"
    return "(" + ", ".join(f"{v:.3g}" for v in np.round(values, 9) + 0.0) + ")"
