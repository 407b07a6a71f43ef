"""What a run leaves behind: a table, coloured reviews, a CSV file and a page of Markdown."""

import csv
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, stdev

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from examples.data.text import output

from .data import Review, collate
from .train import METHODS, Run

REGIME = "latent regime: no gold rationale is used in training"
COLUMNS: dict[str, Callable[[Run], float | None]] = {
    "accuracy": lambda run: run.test.accuracy,
    "precision": lambda run: run.test.precision if METHODS[run.method].hard else None,
    "recall": lambda run: run.test.recall if METHODS[run.method].hard else None,
    "words": lambda run: run.test.share,
    "seconds": lambda run: run.seconds,
}
CAPTION = (
    "accuracy, rationale precision and recall, share of the words used: percent on the test reviews"
)


@dataclass(frozen=True)
class Example:
    """A test review with what the model chose and said."""

    review: Review
    chosen: list[bool]
    predicted: int


def summarise(values: Iterable[float | None], digits: int = 1) -> str:
    """`76.3 ±0.4` (mean and sample standard deviation), or `-` where the number does not exist."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ±{stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean(known):.{digits}f}{spread}"


def rows(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table, one per method; columns that no method fills are left out."""
    methods = list(dict.fromkeys(run.method for run in runs))
    cells = {}
    for name, number in COLUMNS.items():
        digits = 0 if name == "seconds" else 1
        groups = [[number(run) for run in runs if run.method == method] for method in methods]
        column = [summarise(group, digits) for group in groups]
        if set(column) != {"-"}:
            cells[name] = column
    titles = [METHODS[method].title for method in methods]
    return ["method", *cells], [list(row) for row in zip(titles, *cells.values(), strict=True)]


def table(runs: Sequence[Run], title: str) -> Table:
    """The table for the terminal."""
    header, body = rows(runs)
    result = Table(
        title=f"{title}\n{REGIME}",
        caption=CAPTION,
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    for name in header:
        result.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for row in body:
        result.add_row(*row)
    return result


def examples(run: Run, reviews: Sequence[Review], share: float, device: str) -> list[Example]:
    """What the model of `run` chooses in some reviews."""
    batch = collate(list(reviews), run.vocabulary, share).to(device)
    run.model.eval()
    with torch.no_grad():
        logits, z = run.model(batch)
    return [
        Example(review, (row[: len(review.words)] > 0).tolist(), int(logit > 0))
        for review, row, logit in zip(reviews, z, logits, strict=True)
    ]


def coloured(example: Example) -> Text:
    """The review with the chosen spans in [brackets] and the gold words underlined.

    Chosen words are green, or yellow where they are known not to be gold.
    """
    names = ("negative", "positive")
    right = example.predicted == example.review.label
    text = Text(f"{names[example.predicted]:>8} ", style="bold green" if right else "bold red")
    text.append("(right) " if right else "(wrong) ", style="dim")
    gold = example.review.rationale
    for i, (word, chosen) in enumerate(zip(example.review.words, example.chosen, strict=True)):
        before = i > 0 and example.chosen[i - 1]
        after = i + 1 < len(example.chosen) and example.chosen[i + 1]
        style = ""
        if chosen:
            style = "black on green" if gold is None or gold[i] else "black on yellow"
        if gold is not None and gold[i]:
            style += " underline"
        if i:
            text.append(" ", style="black on green" if chosen and before else "")
        text.append(
            "[" * (chosen and not before) + word + "]" * (chosen and not after), style=style.strip()
        )
    return text


def write_csv(runs: Sequence[Run], path: Path) -> None:
    """Writes the runs; after each, so that an interrupted comparison keeps what it has measured."""
    rows = [run.row() for run in runs]
    with output(path) as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def markdown(runs: Sequence[Run], title: str, command: str) -> str:
    """A page with the table, how it was made, and every single run."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("optlayers", "torch", "osqp"))
    raw = [{key: _short(value) for key, value in run.row().items()} for run in runs]
    seeds = len({run.seed for run in runs})
    return "\n".join(
        [
            f"# {title}",
            "",
            f"`{command}`",
            "",
            f"{date.today()}; {versions}, Python {platform.python_version()}; "
            f"{torch.get_num_threads()} torch thread(s).",
            f"The {REGIME}.",
            f"Mean ± standard deviation over {seeds} seed(s); epoch with the best dev accuracy.",
            "",
            *_grid(*rows(runs)),
            "",
            f"{CAPTION}; seconds for training and evaluation.".capitalize(),
            "",
            "Every run:",
            "",
            *_grid(list(raw[0]), [list(row.values()) for row in raw]),
            "",
        ]
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return "(checkout)"


def _short(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _grid(header: list[str], body: list[list[str]]) -> list[str]:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
    return ["| " + " | ".join(line) + " |" for line in lines]
