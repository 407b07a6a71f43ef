"""The SPIGOT step in the plane, and the paper's Figure 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from .._errors import InputError
from .._polytope.polytope import Polytope
from ._labels import Name, place
from ._plane import DOTS, MARGIN, as_points, corner_name, mark, projected, show_region
from ._regions import Region, region
from ._style import COLOURS, FAMILY, new_axes, new_figure

NAMES = {
    "decision": r"$\hat z$",
    "base": "base",
    "point": "$p$",
    "projection": r"$\tilde z$",
    "step": r"$-\eta\, g$",
    "back": r"$\Pi_P$",
    "surrogate": r"$-\tilde\nabla_s L$",
    "scores": "$s$",
}
BEND = 0.25
DASHED = (0, (4.0, 1.6))
_ROLES = {"step": "gradient", "back": "projection", "surrogate": "surrogate", "scores": "scores"}
_ARROWS: dict[str, dict[str, Any]] = {  # the surrogate is broad, because the step may lie on it
    "surrogate": {"linewidth": 4.5, "mutation_scale": 19, "arrowstyle": "-|>", "zorder": 3},
    "step": {"linewidth": 1.7, "mutation_scale": 13, "arrowstyle": "-|>", "zorder": 4},
    "back": {"linewidth": 1.6, "mutation_scale": 10, "arrowstyle": "-|>", "linestyle": DOTS},
    "scores": {"linewidth": 1.6, "mutation_scale": 10, "arrowstyle": "-|>", "linestyle": DASHED},
}
_MARKS = {"decision": 10.0, "base": 8.0, "point": 9.5, "projection": 7.5}


def draw_step(
    polytope: Any,
    z_hat: Any,
    grad: Any,
    eta: float = 1.0,
    ax: Axes | None = None,
    *,
    scores: Any = None,
    base: Any = None,
    names: bool | Mapping[str, str] = True,
    integral: bool = True,
) -> Axes:
    r"""Draw the SPIGOT step in the plane, and the surrogate gradient that it gives.

    $$ p = \hat z - \eta g, \quad \tilde z = \Pi_P(p), \quad \tilde\nabla_s L = \hat z - \tilde z $$

    The projection is that of `optlayers.project`. The broad arrow from $\hat z$ to $\tilde z$ is
    the negative of the surrogate gradient: where descent moves the decision. In a plane of three
    variables what points out of the plane is left away, which changes neither $\tilde z$ nor the
    surrogate gradient.

    Args:
        polytope: As of `draw_polytope`.
        z_hat: The decision, `(n,)`.
        grad: The gradient g that arrives at it, `(n,)`.
        eta: The step size.
        ax: Where to draw; by default axes of their own.
        scores: Scores s, `(n,)`, drawn as a direction from the middle of the region.
        base: Where the step starts instead of `z_hat`, `(n,)`: `optlayers.project(P, s / T)` for
            `SPIGOT(around="projection")`.
        names: Whether to write names beside points and arrows; or other names for some of
            `"decision"`, `"base"`, `"point"`, `"projection"`, `"step"`, `"back"`, `"surrogate"`,
            `"scores"`, an empty one for none.
        integral: As of `draw_polytope`.

    Raises:
        InputError: If the polytope cannot be drawn, or a vector has another shape.

    Examples:
        >>> import optlayers as ol
        >>> from optlayers import plotting
        >>> axes = plotting.draw_step(ol.box(2), [1.0, 0.0], [0.25, -1.5])
        >>> [text.get_text() for text in axes.texts][:3]
        ['$\\hat z$', '$p$', '$\\tilde z$']
    """
    found = region(polytope)
    vectors = {"z_hat": z_hat, "grad": grad, "scores": scores, "base": base}
    given = {k: _vector(v, found, k) for k, v in vectors.items() if v is not None}
    if "base" in given and np.allclose(given["base"], given["z_hat"], rtol=0, atol=_small(found)):
        del given["base"]  # nothing to tell apart
    axes = new_axes(4.6, 4.4) if ax is None else ax
    texts = NAMES | {"": ""} | (dict(names) if isinstance(names, Mapping) else {})
    if unknown := sorted(set(texts) - set(NAMES) - {""}):
        raise InputError(f"`names` may name {', '.join(NAMES)}. Got {', '.join(unknown)}.")
    _draw_step(axes, found, given, eta, texts if names else {}, integral=integral)
    return axes


def _small(found: Region) -> float:
    """Return the distance below which points count as one."""
    return 1e-6 * found.size


def _vector(values: Any, found: Region, name: str) -> np.ndarray:
    points = as_points(values, found, name)
    if len(points) != 1:
        raise InputError(f"`{name}` must be one vector: a single step is drawn. Got {len(points)}.")
    return points[0]


def _draw_step(
    axes: Axes,
    found: Region,
    given: Mapping[str, np.ndarray],
    eta: float,
    texts: Mapping[str, str],
    *,
    integral: bool = True,
    view: np.ndarray | None = None,
    size: float = 12.0,
    margin: float = MARGIN,
) -> None:
    """Draw region, arrows, points, names, in this order; the points of `view` have to be in it."""
    start = given.get("base", given["z_hat"])
    point = start - float(eta) * given["grad"]
    nearest = projected(found, point[None])[0]
    where = {"decision": given["z_hat"], "base": start, "point": point, "projection": nearest}
    at = {key: found.flat(values) for key, values in where.items()}
    seen = np.stack([*at.values(), *([] if view is None else view)])
    shown = show_region(axes, found, seen, integral=integral, dot=size / 2, margin=margin)
    axes.apply_aspect()
    arrows = {
        "surrogate": (at["base"], at["projection"]),
        "step": (at["base"], at["point"]),
        "back": (at["point"], at["projection"]),
    }
    if "scores" in given:
        direction = given["scores"] @ found.frame
        length = max(float(np.linalg.norm(direction)), 1e-300)
        middle = shown.corners.mean(0)
        reach = 0.3 * np.ptp(shown.corners, axis=0).max()
        arrows["scores"] = (middle, middle + reach * direction / length)
    small = _small(found)
    arrows = {k: np.array(v) for k, v in arrows.items() if np.linalg.norm(v[1] - v[0]) > small}
    # Where the way back is the way out, it runs beside it, so that both are seen.
    bend = {"back": BEND if _same_way(at) else 0.0}
    paths = {key: _path(ends, bend.get(key, 0.0)) for key, ends in arrows.items()}
    for key, ends in arrows.items():
        _draw_arrow(axes, key, ends, size / 12, bend.get(key, 0.0))
    points = [key for key in _MARKS if key != "base" or "base" in given]
    for key in points:
        if key != "point" or "back" in arrows:  # a point that is its own projection is one point
            mark(axes, at[key], key, _MARKS[key] * size / 12)
    if texts:
        names = _names(texts, {key: at[key] for key in points}, paths, small, size)
        if found.polytope.n == 3:
            names += _corner_names(shown, names, size)
        marks = np.concatenate([[at[key] for key in points], shown.corners])
        lines = [line for key, path in paths.items() for line in _outline(axes, key, path, size)]
        place(axes, names, lines, marks, shown.edges, size)


def _same_way(at: Mapping[str, np.ndarray]) -> bool:
    """Tell whether the way back from p nearly covers the way to it."""
    out, back = at["base"] - at["point"], at["projection"] - at["point"]
    lengths = float(np.linalg.norm(out) * np.linalg.norm(back))
    return float(out @ back) > 0.995 * lengths


def _path(ends: np.ndarray, bend: float) -> np.ndarray:
    """Return points along an arrow, which is matplotlib's arc3."""
    start, end = ends
    along = end - start
    middle = (start + end) / 2 + bend * np.array([along[1], -along[0]])
    t = np.linspace(0.0, 1.0, 9)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end


def _draw_arrow(axes: Axes, key: str, ends: np.ndarray, scale: float, bend: float) -> None:
    """Draw an arrow whose head is no longer than the arrow."""
    style: dict[str, Any] = {"zorder": 4, "shrinkA": 0, "shrinkB": 0} | _ARROWS[key]
    points = axes.transData.transform(ends) * 72 / axes.figure.dpi
    length = float(np.linalg.norm(points[1] - points[0]))
    fits = min(1.0, length / (1.2 * style["mutation_scale"] * scale))
    style["mutation_scale"] *= scale * fits
    style["linewidth"] *= scale * max(fits, 0.5)
    colour = COLOURS[_ROLES[key]]
    style |= {"color": colour, "gid": key, "joinstyle": "miter", "capstyle": "butt"}
    style |= {"connectionstyle": f"arc3,rad={bend}"}
    axes.add_patch(FancyArrowPatch(ends[0], ends[1], **style))


def _outline(axes: Axes, key: str, path: np.ndarray, size: float) -> list[np.ndarray]:
    """Return lines of an arrow that names keep clear of: its length, and the rear of its head."""
    to_data = axes.transData.inverted().transform
    points = axes.transData.transform(path)
    along = points[-1] - points[-2]
    along = along / np.linalg.norm(along)
    head = 0.5 * _ARROWS[key]["mutation_scale"] * size / 12 * axes.figure.dpi / 72
    rear = points[-1] - head * along
    across = 0.6 * head * np.array([-along[1], along[0]])
    pieces = [path[k : k + 2] for k in range(len(path) - 1)]
    return [*pieces, to_data(np.array([rear - across, rear + across]))]


def _names(
    texts: Mapping[str, str],
    points: Mapping[str, np.ndarray],
    paths: Mapping[str, np.ndarray],
    small: float,
    size: float,
) -> list[Name]:
    """List names of points, those at one place joined by equality signs; then those of arrows."""
    groups: list[list[str]] = []
    for key in points:
        same = [g for g in groups if np.linalg.norm(points[g[0]] - points[key]) <= small]
        (same[0] if same else groups).append(key if same else [key])  # type: ignore[arg-type]
    found = []
    for group in groups:
        text = " = ".join(texts[key] for key in group if texts[key])
        role = group[-1] if group[-1] in COLOURS else "decision"
        found.append(Name(text, points[group[0]], COLOURS[role], 0.35 * size))
    for key in ("step", "surrogate", "back", "scores"):
        if key in paths:
            places = paths[key][[4, 5, 3, 6, 2]]
            found.append(Name(texts[key], places, COLOURS[_ROLES[key]], 0.1 * size))
    return [name for name in found if name.text]


def _corner_names(shown: Region, names: Sequence[Name], size: float) -> list[Name]:
    """Name corners by their coordinates, where no other name stands."""
    taken = [name.at for name in names if name.at.ndim == 1]
    free = [c for c in shown.finite_corners if not any(np.allclose(c, t) for t in taken)]
    return [Name(corner_name(shown.lifted(c)), c, "#666666", 0.35 * size) for c in free]


def draw_figure_1(figure: Figure | None = None) -> Figure:
    r"""Draw Figure 1 of Peng, Thomson and Smith (2018) anew.

    The decisions Z are the dots, P is their convex hull. On the left the step leaves P and is
    projected back, so that the surrogate gradient runs along an edge; on the right it stays inside,
    and the surrogate gradient is $\eta g$, that of the straight-through estimator.

    Args:
        figure: Where to draw; by default one of 9 by 4 inches.

    Examples:
        >>> from optlayers import plotting
        >>> figure = plotting.draw_figure_1()
        >>> [axes.get_title() for axes in figure.axes]
        ['the step leaves $P$ and is projected back', 'the step stays inside $P$']
    """
    polytope = Polytope(
        [[1.0, -3.0], [1.0, 1.0], [-1.0, 1.0], [-2.0, -1.0]],
        [1.0, 6.0, 2.0, -2.0],
        upper=4.0,
        integral=False,
    )
    if figure is None:
        figure = new_figure(9.0, 4.0)
    found, z_hat = region(polytope), np.array([4.0, 2.0])
    gradients = [np.array([0.1, -2.0]), np.array([1.9, 0.2])]
    titles = ["the step leaves $P$ and is projected back", "the step stays inside $P$"]
    same = {"step": "", "surrogate": r"$-\tilde\nabla_s L = -\eta\, g$"}
    for k, (grad, title) in enumerate(zip(gradients, titles, strict=True)):
        axes = figure.add_axes((0.01 + 0.5 * k, 0.0, 0.48, 0.91))
        view = np.array([*(z_hat - g for g in gradients), [4.9, 2.0]])  # room for names
        given = {"z_hat": z_hat, "grad": grad}
        texts = NAMES | (same if k else {})
        _draw_step(axes, found, given, 1.0, texts, view=view, size=17.0, margin=0.07)
        axes.set_axis_off()
        axes.set_title(title, fontsize=14, family=FAMILY)
        axes.text(1.2, 1.1, "$P$", fontsize=17, color=COLOURS["polytope"], ha="center")
    return figure
