"""The pages of an experiment: tables, significance, raw numbers."""

import csv
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from examples.metrics import Comparison, paired_bootstrap, shown_p

from .experiments import Experiment, Outcome, best_epoch


def write(experiment: Experiment, ended: Sequence[Outcome], folder: Path, name: str) -> None:
    """Prints the page; writes it, every run and every curve as CSV into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = experiment.PACKAGE.rpartition(".")[2].replace("_", "-")
    stem = f"{pipeline}-{name}"
    _write_csv(folder / f"{stem}.csv", [row(experiment, outcome) for outcome in ended])
    curves = [{**experiment.key(outcome), **epoch} for outcome in ended for epoch in outcome.curve]
    _write_csv(folder / f"{stem}-curves.csv", curves)
    text = page(experiment, ended, f"python -m {experiment.PACKAGE} experiment {name}", stem)
    (folder / f"{stem}.md").write_text(text, encoding="utf-8")
    Console().print(Markdown(text))


def row(experiment: Experiment, outcome: Outcome) -> dict[str, Any]:
    """Everything about a run on one line; scores are fractions."""
    scores = {
        f"{part}_{score}": round(value, 6)
        for part in ("dev", "test")
        for score, value in outcome.result[part].items()
    }
    best = best_epoch(outcome.curve, outcome.monitor)
    epochs = {"epochs": len(outcome.curve), "best_epoch": best}
    return {**experiment.key(outcome), **epochs, **scores, "seconds": outcome.result["seconds"]}


def page(experiment: Experiment, ended: Sequence[Outcome], command: str, stem: str) -> str:
    """The page, in Markdown."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("optlayers", "torch", "lightning"))
    wanted = len(experiment.runs())
    lines = [
        f"# {experiment.title}",
        "",
        f"`{command}`",
        "",
        f"{date.today()}; {versions}, Python {platform.python_version()}; {platform.machine()}, "
        f"one thread a run. Config `{experiment.config}`"
        + "".join(f", {key}={value}" for key, value in experiment.settings.items())
        + f". {len(ended)} of {wanted} runs. Percent on the test part, mean ± standard deviation "
        f"over seeds; of each run the epoch with the best development {experiment.METRIC}.",
        "",
        *_notes(experiment, ended),
    ]
    for heading, runs in experiment.sections(ended):
        lines += [f"## {heading}", "", *_table(experiment, runs), ""]
    if experiment.compared:
        lines += significance(experiment, ended)
    return "\n".join(
        [
            *lines,
            f"Raw numbers: `{stem}.csv`, a row per run; `{stem}-curves.csv`, a row per epoch.",
            "",
        ]
    )


def _notes(experiment: Experiment, ended: Sequence[Outcome]) -> list[str]:
    counts = [
        f"{bank} {part} {len(sentences)}"
        for bank, parts in experiment.sentences(ended[0].config).items()
        for part, sentences in parts.items()
    ]
    return [f"Sentences: {', '.join(counts)}.", ""]


def _table(experiment: Experiment, runs: Sequence[Outcome]) -> list[str]:
    body = []
    for method in experiment.methods:
        group = [o for o in runs if o.name == method]
        if group:
            tests = [o.result["test"] for o in group]
            cells = [summary([t.get(score) for t in tests]) for score in experiment.columns]
            body.append([experiment.title_of(method), *cells, str(len(group))])
    return grid(["method", *experiment.columns.values(), "seeds"], body)


def summary(values: Sequence[float | None]) -> str:
    """`76.3 ±0.4` in percent: mean and sample standard deviation; `-` where there is no score."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    return f"{mean(known):.1f}" + (f" ±{stdev(known):.1f}" if len(known) > 1 else "")


def significance(experiment: Experiment, ended: Sequence[Outcome]) -> list[str]:
    """Each pair of methods by a paired bootstrap over sentences, all seeds together."""
    gold, systems = experiment.outputs(ended)
    metric = experiment.METRIC
    body = []
    for a, b in combinations([m for m in experiment.compared if m in systems], 2):
        seeds = min(len(systems[a]), len(systems[b]))
        found = paired_bootstrap(gold, systems[a][:seeds], systems[b][:seeds], metric)
        body.append([*map(experiment.title_of, (a, b)), *comparison(found), str(seeds)])
    header = ["A", "B", f"{metric} A - {metric} B", "95 % interval", "p", "seeds"]
    text = (
        "Sentences of the test part are drawn with replacement (10,000 times), each with the "
        "answers that the models of all seeds gave it; p is the share of draws in which the better "
        "method is not better. Counts of all seeds are added: p is about other sentences, not "
        "about other seeds."
    )
    return [
        f"## Differences in {metric}, paired bootstrap",
        "",
        text,
        "",
        *grid(header, body),
        "",
    ]


def comparison(found: Comparison) -> list[str]:
    """Difference and interval in percent, and p."""
    low, high = found.interval
    return [
        f"{100 * found.difference:+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        shown_p(found.p_value, found.samples),
    ]


def grid(header: list[str], body: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return "(checkout)"


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for line in rows for name in line))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
