"""Colours by role, figures without pyplot's state, and files that are the same each time."""

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

FAMILY = "DejaVu Sans"  # comes with matplotlib, so that pictures are the same everywhere

SCREEN = 100  # pixels per inch in a notebook

SERIES: tuple[str, ...] = (
    "#0072B2",  # blue
    "#D55E00",  # vermillion
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#000000",  # black
    "#F0E442",  # yellow
)
"""The eight colours of Okabe and Ito (2008), those that are seen best on white first."""

COLOURS: dict[str, str] = {
    "polytope": "#0072B2",
    "scores": "#56B4E9",
    "decision": "#000000",
    "gradient": "#D55E00",
    "point": "#E69F00",
    "projection": "#009E73",
    "surrogate": "#CC79A7",
    "kept": "#000000",
    "added": "#0072B2",
    "removed": "#D55E00",
}
"""What has which colour; each role also has a marker or dashes of its own."""

DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5.0, 2.0)),
    (0, (1.2, 1.4)),
    (0, (7.0, 2.0, 1.4, 2.0)),
    (0, (3.0, 1.4)),
    (0, (7.0, 1.6, 1.4, 1.6, 1.4, 1.6)),
    (0, (1.2, 3.0)),
    (0, (9.0, 3.0)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


class Picture(Figure):
    """A figure that no list of open figures knows, and that a notebook still shows, once."""

    def _ipython_display_(self) -> None:
        """Show a PNG with two dots per pixel, sharp on fine screens, whatever the notebook says."""
        from IPython.display import display

        file = io.BytesIO()
        self.savefig(file, format="png", dpi=2 * SCREEN, metadata={"Software": None})
        data = base64.b64encode(file.getvalue()).decode("ascii")
        size = {"width": round(SCREEN * self.get_figwidth())}  # no height: phones shrink pictures
        display(
            {"image/png": data, "text/plain": repr(self)}, raw=True, metadata={"image/png": size}
        )


def new_figure(width: float, height: float, **options: Any) -> Picture:
    """Make a white figure of a size in inches on a canvas without a window."""
    figure = Picture(figsize=(width, height), facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float, height: float) -> Axes:
    """Make axes in a figure of pyplot's, which notebooks show at the end of a cell."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def for_text(colour: str) -> str:
    """Darken a colour to be read on white: mix it with black until the contrast is 4.5."""
    mixed = to_rgb(colour)
    while _contrast(mixed) < 4.5:
        mixed = (0.95 * mixed[0], 0.95 * mixed[1], 0.95 * mixed[2])
    return to_hex(mixed)


def _contrast(colour: tuple[float, float, float]) -> float:
    """Return the contrast with white, from 1 to 21, as defined by the WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def save(figure: Figure, stem: str | Path) -> list[Path]:
    """Writes `STEM.svg` and `STEM.png`: the same bytes for the same picture.

    The words of the SVG are text, which can be searched and copied.

    Args:
        figure: A figure, of this module or any other of matplotlib.
        stem: Where to, without a suffix.

    Returns:
        The two files.

    Examples:
        >>> import tempfile
        >>> from optlayers import plotting
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = plotting.save(plotting.draw_figure_1(), f"{folder}/figure-1")
        >>> [file.name for file in files]
        ['figure-1.svg', 'figure-1.png']
    """
    settings: Any = {"svg.hashsalt": "optlayers", "svg.fonttype": "none"}
    paths = [Path(f"{stem}.{suffix}") for suffix in ("svg", "png")]
    with matplotlib.rc_context(settings):
        figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], dpi=200, metadata={"Software": None})
    return paths
