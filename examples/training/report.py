"""Rows of runs, and tables of them: pages of experiments, records of studies."""

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from examples import metrics
from examples.data.text import output as whole_file

if TYPE_CHECKING:
    from .experiments import Experiment, Outcome, Run

RECORDED = ("LF", "UF", "UAS", "graphs_UAS", "accuracy")
"""The scores that a study keeps."""

SETTING = ("method", "start", "weight")
"""What is chosen of a method in a study, as rows have it."""

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


def recorded(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a study keeps of a row."""
    scored = {name: re.match("(dev|test|ood)_(.*)", name) for name in row}
    return {name: row[name] for name, score in scored.items() if not score or score[2] in RECORDED}


def read_record(path: Path) -> pd.DataFrame:
    """The rows so far, one for each run."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def append(path: Path, rows: pd.DataFrame) -> None:
    """Adds rows to a file; columns are those of all rows, and rows that are there stay the same."""
    known = [pd.read_csv(path, dtype=str)] if path.exists() else []
    with whole_file(path) as file:
        pd.concat([*known, rows.round(6)]).to_csv(file, index=False)


def beside(record: Path, name: str) -> Path:
    """The file of epochs (`curves`) or of sentences (`sentences`)."""
    return record.with_stem(f"{record.stem}-{name}")


def add_curve(record: Path, name: str, curve: pd.DataFrame) -> None:
    """Adds the epochs of a run to the file of all epochs, if they are not there."""
    path = beside(record, "curves")
    if not path.exists() or name not in set(pd.read_csv(path)["run"]):
        append(path, pd.concat([pd.Series(name, curve.index, name="run"), curve], axis=1))


def add_counts(record: Path, name: str, counts: metrics.Counts) -> None:
    """Adds what a model does sentence by sentence: counts as digits, larger ones in parentheses."""
    digits = {
        kind: "".join(str(n) if n < 10 else f"({n})" for n in values)
        for kind, values in vars(counts).items()
    }
    append(beside(record, "sentences"), pd.DataFrame([{"run": name} | digits]))


def read_counts(record: Path) -> dict[str, metrics.Counts]:
    """What the model of each run does, sentence by sentence."""

    def numbers(digits: str) -> np.ndarray:
        return np.array([int(n.strip("()")) for n in re.findall(r"\d|\(\d+\)", digits)])

    path = beside(record, "sentences")
    rows = pd.read_csv(path, dtype=str).to_dict("records") if path.exists() else []
    return {r.pop("run"): metrics.Counts(**{k: numbers(v) for k, v in r.items()}) for r in rows}


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


# ---------------------------------------------------------------------- studies


def chosen(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Of every regime and method the setting with the best development score, of seed 0."""
    if rows.empty:
        return rows
    first = rows[rows["seed"] == 0]
    return first.loc[first.groupby(["regime", "method"], sort=False)[score].idxmax()]


def study_tables(record: Path, metric: str, shown: Sequence[str], baseline: str) -> str:
    """Three tables for each regime, in Markdown and in percent.

    Every setting with the first seed, by its weight; the chosen setting of each method, mean and
    sample standard deviation over its seeds; and these against the baseline, by a paired bootstrap
    over sentences, with the seeds that both have.

    Args:
        record: The file of the rows.
        metric: The score that settings are chosen by.
        shown: The scores that are shown.
        baseline: A method.
    """
    rows, counts = read_record(record), read_counts(record)
    lines: Lines = []
    for regime, own in rows.groupby("regime", sort=False):
        setting, dev = [name for name in SETTING if name in own], f"dev_{metric}"
        best = own.merge(chosen(own, dev)[setting], on=setting)  # runs of all seeds
        lines += [f"### {regime}, seed 0: {' / '.join(shown)}", "", *_grid(own, shown), ""]
        groups = best.groupby(setting, sort=False, dropna=False)
        body = [
            [*map(_text, key), *(summary(runs[s]) for s in (dev, *shown)), str(len(runs))]
            for key, runs in groups
        ]
        table = grid([*setting, dev, *shown, "seeds"], body)
        lines += [f"### {regime}, chosen by {dev}", "", *table, ""]
        lines += [*_compared(best, counts, metric, baseline), ""]
    return "\n".join(lines)


def _grid(rows: pd.DataFrame, scores: Sequence[str]) -> Lines:
    """A row for each method and start of seed 0, a column for each weight."""
    keys = ["method"] + ["start"] * ("start" in rows)
    first = rows[rows["seed"] == 0]
    weight = first.get("weight", pd.Series(np.nan, first.index))
    weights = [None, *sorted(weight.dropna().unique())]
    body = []
    for key, own in first.groupby(keys, sort=False, dropna=False):
        cells = []
        for w in weights:
            runs = own[weight[own.index].isna() if w is None else weight[own.index] == w]
            texts = (summary(runs[score]) for score in scores)
            cells.append("" if runs.empty else " / ".join(texts))
        body.append([*map(_text, key), *cells])
    return grid([*keys, "no signal", *(f"weight {w:g}" for w in weights[1:])], body)


def _compared(
    rows: pd.DataFrame, counts: Mapping[str, metrics.Counts], metric: str, baseline: str
) -> Lines:
    """The chosen setting of each method against the baseline."""
    known = rows[rows["run"].isin(counts.keys())]
    runs = {m: own.set_index("seed")["run"] for m, own in known.groupby("method", sort=False)}
    base = runs.pop(baseline, pd.Series(dtype=str))
    body = []
    for method, own in runs.items():
        if seeds := sorted(set(own.index) & set(base.index)):
            a, b = ([counts[side[seed]] for seed in seeds] for side in (own, base))
            body.append(
                [str(method), *comparison(metrics.bootstrap(a, b, metric)), str(len(seeds))]
            )
    header = ["method", f"{metric} - that of {baseline}", "95 % interval", "p", "seeds"]
    return grid(header, body)


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)
