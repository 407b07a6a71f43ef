"""The pages of an experiment: tables, significance, raw numbers."""

import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from examples.data.text import output as whole_file
from examples.metrics import Comparison, paired_bootstrap, shown_p

from .experiments import Experiment, Outcome, Section


def write(experiment: Experiment, ended: Sequence[Outcome], folder: Path, name: str) -> None:
    """Prints the page; writes it, every run and every curve as CSV into a folder."""
    pipeline = experiment.PACKAGE.rpartition(".")[2].replace("_", "-")
    stem = f"{pipeline}-{name}"
    rows = pd.DataFrame([row(experiment, outcome) for outcome in ended])
    with whole_file(folder / f"{stem}.csv") as file:
        rows.round(6).to_csv(file, index=False)
    curves = [outcome.curve.assign(**experiment.key(outcome)) for outcome in ended]
    keys = list(experiment.key(ended[0]))
    with whole_file(folder / f"{stem}-curves.csv") as file:
        pd.concat(curves).set_index(keys).round(6).to_csv(file)
    text = page(experiment, ended, f"python -m {experiment.PACKAGE} experiment {name}", stem)
    with whole_file(folder / f"{stem}.md") as file:
        file.write(text)
    print(text)


def row(experiment: Experiment, outcome: Outcome) -> dict[str, Any]:
    """Everything about a run on one line; scores are fractions."""
    scores = {
        f"{part}_{score}": value
        for part in ("dev", "test", "ood")
        for score, value in outcome.result.get(part, {}).items()
    }
    curve = outcome.curve
    best = int(curve["epoch"][curve[outcome.monitor].idxmax()])
    epochs = {"epochs": len(curve), "best_epoch": best}
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
        + f". {len(ended)} of {wanted} runs. Percent, mean ± standard deviation over seeds; on the "
        f"test part unless a heading says otherwise; of each run the epoch with the best "
        f"development {experiment.METRIC}.",
        "",
        *_notes(experiment, ended),
    ]
    for section in experiment.sections(ended):
        source = [f"Columns *paper*: {section.source}.", ""] if section.source else []
        lines += [f"## {section.heading}", "", *source, *table(experiment, section), ""]
    if experiment.compared:
        lines += significance(experiment, ended)
    raw = f"Raw numbers: `{stem}.csv`, a row per run; `{stem}-curves.csv`, a row per epoch."
    return "\n".join([*lines, raw, ""])


def _notes(experiment: Experiment, ended: Sequence[Outcome]) -> list[str]:
    counts = [
        f"{bank} {part} {len(sentences)}"
        for bank, parts in experiment.sentences(ended[0].config).items()
        for part, sentences in parts.items()
    ]
    return [f"Sentences: {', '.join(counts)}.", ""]


def table(experiment: Experiment, section: Section) -> list[str]:
    """A row for each method, in the experiment's order, with mean and deviation over its seeds.

    A method that only the paper has is a row as well.
    """
    scores = pd.DataFrame(
        [{"method": o.name, **o.result.get(section.part, {})} for o in section.runs],
        columns=["method", *experiment.columns],
    )
    groups = scores.groupby("method", sort=False)
    shown = groups.agg(summary).rename(columns=experiment.columns)
    shown["seeds"] = groups.size().astype(str)
    for score, figures in section.quoted.items():
        column = pd.Series(figures, dtype=float).map("{:.1f}".format)
        shown = shown.join(column.rename(f"paper {score}"), how="outer")
    order = dict.fromkeys((*experiment.methods, *shown.index))
    shown = shown.reindex([name for name in order if name in shown.index]).fillna("-")
    body = [[experiment.title_of(str(name)), *values] for name, *values in shown.itertuples()]
    return grid(["method", *shown.columns], body)


def summary(values: pd.Series) -> str:
    """`76.3 ±0.4` in percent: mean and sample standard deviation; `-` where there is no score."""
    known = 100 * values.dropna().astype(float)
    if known.empty:
        return "-"
    return f"{known.mean():.1f}" + (f" ±{known.std():.1f}" if len(known) > 1 else "")


def significance(experiment: Experiment, ended: Sequence[Outcome]) -> list[str]:
    """Each pair of methods by a paired bootstrap over sentences, all seeds together."""
    gold, systems = experiment.outputs(ended)
    metric = experiment.METRIC
    body = []
    for a, b in combinations([m for m in experiment.compared if m in systems], 2):
        seeds = min(len(systems[a]), len(systems[b]))
        found = paired_bootstrap(
            gold, systems[a][:seeds], systems[b][:seeds], metric, tops=experiment.tops
        )
        body.append([*map(experiment.title_of, (a, b)), *comparison(found), str(seeds)])
    header = ["A", "B", f"{metric} A - {metric} B", "95 % interval", "p", "seeds"]
    text = (
        "Sentences of the test part are drawn with replacement (10,000 times), each with the "
        "answers that the models of all seeds gave it; p is the share of draws in which the better "
        "method is not better. Counts of all seeds are added: p is about other sentences, not "
        "about other seeds."
    )
    heading = f"## Differences in {metric}, paired bootstrap"
    return [heading, "", text, "", *grid(header, body), ""]


def comparison(found: Comparison) -> list[str]:
    """Difference and interval in percent, and p."""
    low, high = found.interval
    return [
        f"{100 * found.difference:+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        shown_p(found.p_value, found.samples),
    ]


def grid(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return "(checkout)"
