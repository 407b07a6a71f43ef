"""Rows of runs, and tables of them: pages of experiments, records of studies."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from examples import metrics
from examples.data.text import output as whole_file

if TYPE_CHECKING:
    from .experiments import Experiment, Outcome, Run

Lines = list[str]


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Args:
        heading: Above it.
        rows: Of its runs.
        part: On which they were scored.
        quoted: What the paper has, by score and method, in percent; columns beside ours.
        source: Where the paper has it.
    """

    heading: str
    rows: pd.DataFrame
    part: str = "test"
    quoted: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    source: str = ""


# ---------------------------------------------------------------------- rows


def row(run: "Run", result: Mapping[str, Any], curve: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Everything about a run: its key, scores as fractions, what was watched at its best epoch."""
    scores = {
        f"{part}_{score}": value
        for part in ("dev", "test", "ood")
        for score, value in result.get(part, {}).items()
    }
    best = curve.loc[curve[f"dev/{metric}"].idxmax()]
    watched = {
        name.removeprefix("train/"): best[name]
        for name in curve
        if name.endswith(("_norm", "_deviation"))
    }
    epochs = {"best_epoch": int(best["epoch"]), "epochs": len(curve)}
    return {"run": run.name, **run.key, **scores, **watched, **epochs, "seconds": result["seconds"]}


# ---------------------------------------------------------------------- tables


def summary(values: pd.Series) -> str:
    """`76.3 ±0.4` in percent: mean and sample standard deviation; `-` where there is no score."""
    known = 100 * values.dropna().astype(float)
    if known.empty:
        return "-"
    return f"{known.mean():.1f}" + (f" ±{known.std():.1f}" if len(known) > 1 else "")


def comparison(found: metrics.Comparison) -> Lines:
    """Difference and interval in percent, and p."""
    low, high = (f"{100 * end:+.2f}" for end in found.interval)
    p = metrics.shown_p(found.p_value, found.samples)
    return [f"{100 * found.difference:+.2f}", f"{low} to {high}", p]


def grid(header: Sequence[str], body: Sequence[Sequence[str]]) -> Lines:
    """A table in Markdown."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


# ---------------------------------------------------------------------- experiments


def write(
    experiment: "Experiment", ended: Sequence["Outcome"], wanted: int, folder: Path, name: str
) -> None:
    """Prints the page; writes it, every run and every curve as CSV into a folder."""
    package = experiment.pipeline.package
    stem = f"{package.rpartition('.')[2].replace('_', '-')}-{name}"
    rows = pd.DataFrame([outcome.row for outcome in ended])
    curves = pd.concat([o.curve.assign(**o.run.key) for o in ended])
    keys = [*ended[0].run.key]
    curves = curves[[*keys, *curves.columns.drop(keys)]]
    text = "\n".join(page(experiment, ended, rows, wanted, name, stem))
    for suffix, table in ((".csv", rows), ("-curves.csv", curves)):
        with whole_file(folder / f"{stem}{suffix}") as file:
            table.round(6).to_csv(file, index=False)
    with whole_file(folder / f"{stem}.md") as file:
        file.write(text)
    print(text)


def page(
    experiment: "Experiment",
    ended: Sequence["Outcome"],
    rows: pd.DataFrame,
    wanted: int,
    name: str,
    stem: str,
) -> Iterator[str]:
    """The lines of the page, in Markdown."""
    pipeline = experiment.pipeline
    versions = ", ".join(f"{name} {_version(name)}" for name in ("optlayers", "torch", "lightning"))
    differs = "".join(f", {key}={value}" for key, value in experiment.settings.items())
    yield from (f"# {experiment.title}", "", f"`python -m {pipeline.package} experiment {name}`")
    yield from (
        "",
        f"{date.today()}; {versions}, Python {platform.python_version()}; {platform.machine()}, "
        f"one thread a run. Config `{experiment.config}`{differs}. {len(ended)} of {wanted} runs. "
        "Percent, mean ± standard deviation over seeds; on the test part unless a heading says "
        f"otherwise; of each run the epoch with the best development {pipeline.metric}.",
        "",
    )
    corpus = import_module(f"{pipeline.package}.run").load_data(ended[-1].run.config)
    counts = (
        f"{bank} {part} {len(sentences)}"
        for bank in pipeline.banks
        for part, sentences in getattr(corpus, bank).items()
    )
    yield from (f"Sentences: {', '.join(counts)}.", "")
    tables = list(experiment.tables(rows))
    for table in tables:
        source = [f"Columns *paper*: {table.source}.", ""] if table.source else []
        yield from (f"## {table.heading}", "", *source, *method_table(experiment, table), "")
    if experiment.compared:
        known = {outcome.run.name: outcome.counts for outcome in ended}
        yield from significance(experiment, tables[0].rows, known)
    yield f"Raw numbers: `{stem}.csv`, a row per run; `{stem}-curves.csv`, a row per epoch."
    yield ""


def method_table(experiment: "Experiment", table: Table) -> Lines:
    """A row for each method, in the experiment's order, with mean and deviation over its seeds.

    A method that only the paper has is a row as well.
    """
    columns = {f"{table.part}_{score}": title for score, title in experiment.columns.items()}
    groups = table.rows.reindex(columns=["method", *columns]).groupby("method", sort=False)
    shown = groups.agg(summary).rename(columns=columns)
    shown["seeds"] = groups.size().astype(str)
    for score, figures in table.quoted.items():
        column = pd.Series(figures, dtype=float).map("{:.1f}".format)
        shown = shown.join(column.rename(f"paper {score}"), how="outer")
    order = dict.fromkeys((*experiment.methods, *shown.index))
    shown = shown.reindex([name for name in order if name in shown.index]).fillna("-")
    body = [[experiment.title_of(str(name)), *values] for name, *values in shown.itertuples()]
    return grid(["method", *shown.columns], body)


def significance(
    experiment: "Experiment", rows: pd.DataFrame, counts: Mapping[str, metrics.Counts]
) -> Lines:
    """Each pair of methods by a paired bootstrap over sentences, all seeds together."""
    metric = experiment.pipeline.metric
    runs = {str(m): [counts[name] for name in own["run"]] for m, own in rows.groupby("method")}
    body = []
    for a, b in combinations([m for m in experiment.compared if m in runs], 2):
        seeds = min(len(runs[a]), len(runs[b]))
        found = metrics.bootstrap(runs[a][:seeds], runs[b][:seeds], metric)
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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return "(checkout)"
