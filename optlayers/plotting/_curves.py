"""Curves of several runs: means, with bands that show how runs differ."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .._errors import InputError
from ._labels import text_size
from ._style import DASHES, FAMILY, MARKERS, SERIES, for_text, new_axes

Band = Literal["std", "range"] | None
NAME = 10.0  # size of the names at the ends of curves
LINE = 1.25  # height of a line, in sizes of its text
_MOST_MARKERS = 12  # per curve


class _Curve(NamedTuple):
    name: str
    mean: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None


def draw_curves(
    curves: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    x: Any = None,
    xlabel: str = "epoch",
    ylabel: str = "",
    band: Band = "std",
    direct: bool = True,
) -> Axes:
    r"""Draw means over runs, with a band around each; curves differ in colour, dashes and marker.

    The band of `"std"` is $\bar v \pm \sigma$, with $\sigma^2 = \sum_r (v_r - \bar v)^2 / (R - 1)$
    over the $R$ runs; that of `"range"` reaches from the least to the largest value. A single run
    has none.

    Args:
        curves: Name -> values, `(runs, points)` or `(points,)`; up to eight curves.
        ax: Where to draw; by default axes of their own.
        x: Where the points are; by default 1, 2, ....
        xlabel: What `x` is.
        ylabel: What the values are.
        band: `"std"`, `"range"`, or None for means alone.
        direct: Whether names stand at the ends of the curves, or in a legend.

    Raises:
        InputError: If there are no curves or too many, or one has another number of points.

    Examples:
        >>> from optlayers import plotting
        >>> axes = plotting.draw_curves({"a": [[1.0, 2.0], [3.0, 2.0]], "b": [0.0, 1.0]})
        >>> axes.lines[0].get_ydata().tolist()
        [2.0, 2.0]
    """
    if band not in ("std", "range", None):
        raise InputError(f"`band` must be 'std', 'range' or None. Got {band!r}.")
    if not 0 < len(curves) <= len(SERIES):
        raise InputError(
            f"`curves` must hold from 1 to {len(SERIES)} curves, as many as there are colours that "
            f"can be told apart. Got {len(curves)}."
        )
    found = [_summary(name, values, band) for name, values in curves.items()]
    at = np.arange(1, len(found[0].mean) + 1) if x is None else _array(x).ravel()
    for curve in found:
        if len(curve.mean) != len(at):
            raise InputError(
                f"Each curve must have {len(at)} points, as {'the first' if x is None else '`x`'} "
                f"has. Got {len(curve.mean)} for {curve.name!r}."
            )
    axes = new_axes(6.4, 3.8) if ax is None else ax
    for k, curve in enumerate(found):
        _draw(axes, k, at, curve)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=bool((at == np.round(at)).all())))
    if direct:
        _name_ends(axes, at, found)
    else:
        axes.legend(frameon=False, handlelength=3.5)
    return axes


def _array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    return np.asarray(values, dtype=np.float64)


def _summary(name: str, values: Any, band: Band) -> _Curve:
    """Return the mean over runs and the two sides of the band."""
    try:
        runs = np.atleast_2d(_array(values))
    except ValueError:
        runs = np.zeros((0, 0, 0))
    if runs.ndim != 2 or 0 in runs.shape:
        raise InputError(
            "A curve must have shape (runs, points) or (points,), with at least one of each. "
            f"Got {runs.shape if runs.ndim == 2 else 'another shape'} for {name!r}."
        )
    mean = runs.mean(0)
    if band is None or len(runs) == 1:
        return _Curve(str(name), mean, None, None)
    if band == "range":
        return _Curve(str(name), mean, runs.min(0), runs.max(0))
    deviation = runs.std(0, ddof=1)
    return _Curve(str(name), mean, mean - deviation, mean + deviation)


def _draw(axes: Axes, k: int, at: np.ndarray, curve: _Curve) -> None:
    if curve.low is not None and curve.high is not None:
        options = {"color": SERIES[k], "alpha": 0.16, "linewidth": 0, "zorder": 1}
        axes.fill_between(at, curve.low, curve.high, **options)
    axes.plot(
        at,
        curve.mean,
        color=SERIES[k],
        linestyle=DASHES[k],
        linewidth=1.7,
        marker=MARKERS[k],
        markersize=5,
        markevery=max(1, -(-len(at) // _MOST_MARKERS)),
        markeredgecolor="white",
        markeredgewidth=0.6,
        label=curve.name,
        zorder=3,
    )


def _name_ends(axes: Axes, at: np.ndarray, curves: Sequence[_Curve]) -> None:
    """Writes names to the right of the ends, moved apart where they would overlap.

    The axis gets longer by the widest name, so that names stay within the axes.
    """
    window = axes.get_window_extent()
    scale = 72 / axes.figure.dpi
    room = max(text_size(curve.name, NAME)[0] for curve in curves) + 12.0
    share = min(room / (window.width * scale), 0.6)
    low, high = axes.get_xlim()
    last = float(at.max())
    axes.set_xlim(low, max(high, low + (last - low) / (1 - share)))
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]  # none under the names
    axes.set_xticks(ticks)
    axes.spines["bottom"].set_bounds(low, high)
    bottom, top = axes.get_ylim()
    per_point = (top - bottom) / (window.height * scale)
    ends = np.array([curve.mean[int(at.argmax())] for curve in curves])
    places = _apart(ends, LINE * NAME * per_point, bottom, top)
    for k, curve in enumerate(curves):
        axes.annotate(
            curve.name,
            (last, places[k]),
            (8.0, 0.0),
            textcoords="offset points",
            va="center",
            fontsize=NAME,
            family=FAMILY,
            color=for_text(SERIES[k]),
            parse_math=False,
        )


def _apart(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Move places at least `gap` apart, as near as can be to those wanted, within limits.

    >>> _apart(np.array([1.0, 1.0, 3.0]), 1.0, 0.0, 9.0).tolist()
    [0.5, 1.5, 3.0]
    """
    order = np.argsort(wanted, kind="stable")
    groups: list[list[float]] = []  # of wanted places that touch: shifted by rank, one mean
    for rank, place in enumerate(wanted[order]):
        groups.append([place - rank * gap])
        while len(groups) > 1 and np.mean(groups[-2]) >= np.mean(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    shifted = np.concatenate([[np.mean(group)] * len(group) for group in groups])
    most = max(high - gap / 2 - (len(wanted) - 1) * gap, low + gap / 2)
    shifted = np.clip(shifted, low + gap / 2, most)
    places = np.empty(len(wanted))
    places[order] = shifted + gap * np.arange(len(wanted))
    return places
