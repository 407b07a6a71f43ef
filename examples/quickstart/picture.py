"""One picture of a comparison: dev accuracy by epoch, and three reviews with the chosen words."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from examples.data.text import replacement
from optlayers.plotting import SERIES

from .report import REGIME, Example
from .train import METHODS, Run

LINE = 92  # characters per line of a review
CHOSEN, MISSED = "#9bd5a0", "#f3d77c"


def draw(runs: Sequence[Run], chosen: Sequence[Example], title: str, path: Path) -> None:
    """Saves the picture; the suffix of `path` decides the format (png, svg, pdf)."""
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, and no window on a server
    figure.suptitle(f"{title} ({REGIME})", fontsize=11)
    curves, texts = figure.subplots(2, 1, height_ratios=(3, 2))
    _draw_curves(curves, runs)
    _draw_examples(texts, chosen)
    with replacement(path) as file:
        figure.savefig(file, dpi=150)


def _draw_curves(axes: Axes, runs: Sequence[Run]) -> None:
    for k, method in enumerate(dict.fromkeys(run.method for run in runs)):
        own = [run for run in runs if run.method == method]
        epochs = range(1, len(own[0].dev_curve) + 1)
        line = axes.plot(
            epochs,
            [mean(values) for values in zip(*(run.dev_curve for run in own), strict=True)],
            color=SERIES[k % len(SERIES)],
            marker="o^sDvPX*"[k % 8],
            linestyle="-" if METHODS[method].hard else "--",
            label=f"{METHODS[method].title}: test {mean(run.test.accuracy for run in own):.1f}",
        )[0]
        for run in own if len(own) > 1 else ():
            axes.plot(epochs, run.dev_curve, color=line.get_color(), alpha=0.25, linewidth=0.8)
    axes.set(xlabel="epoch", ylabel="accuracy on development reviews, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_examples(axes: Axes, chosen: Sequence[Example]) -> None:
    """Monospaced words on a grid of characters, so that no text has to be measured."""
    axes.set_axis_off()
    row = 0
    for example in chosen:
        column = 0
        for i, word in enumerate(example.review.words):
            if column + len(word) > LINE:
                row, column = row + 1, 0
            gold = example.review.rationale
            options = {}
            if example.chosen[i]:
                colour = CHOSEN if gold is None or gold[i] else MISSED
                options = {"bbox": {"facecolor": colour, "edgecolor": "none", "pad": 1.5}}
            weight = "bold" if gold is not None and gold[i] else "normal"
            axes.text(
                column,
                -row,
                word,
                family="monospace",
                size=8,
                weight=weight,
                parse_math=False,
                **options,
            )
            column += len(word) + 1
        row += 2
    axes.set(xlim=(0, LINE), ylim=(-row, 1))
    axes.set_title(
        "chosen words (green; yellow where they are not gold), gold words bold",
        fontsize=9,
        loc="left",
    )
