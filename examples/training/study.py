"""Small runs of a plan, each of which leaves a row in a file that is kept and is not run again.

The parts of a plan follow each other, and later ones may depend on what earlier ones found. The
folders of runs may be lost; the rows are the record.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from examples import metrics
from examples.data.alone import alone
from examples.data.text import output as whole_file

from .experiments import Command, Pipeline, Run, complain, work
from .report import Lines, comparison, grid, summary
from .runs import CURVE, read_curve
from .settings import ConfigError, make_parser

RECORDED = ("LF", "UF", "UAS", "graphs_UAS", "accuracy")
"""The scores that a study keeps."""

SETTING = ("method", "start", "weight")
"""What is chosen of a method in a study, as rows have it."""


@dataclass(frozen=True)
class Study:
    """A plan in parts.

    Args:
        pipeline: Whose runs these are.
        baseline: The method that others are compared with, sentence by sentence.
        shown: The scores that tables have.
        parts: The runs of each part; those of a later part may depend on the rows so far.
        record: The file of the rows, if no other is named.
    """

    pipeline: Pipeline
    baseline: str
    shown: Sequence[str]
    parts: Mapping[str, Callable[[pd.DataFrame], Iterable[Run]]]
    record: Path


def study_command(study: Study) -> Command:
    """The command `study`."""
    command = make_parser("small runs that are recorded one by one, and not run again")
    add = command.add_argument
    parts = list(study.parts)
    add("--part", choices=parts, nargs="+", default=parts, help="which, in this order (all)")
    add("--output", type=Path, default=Path("runs/study"), help="folder of the runs (%(default)s)")
    add("--record", type=Path, default=study.record, help="the file of the rows (%(default)s)")
    add("--processes", type=PositiveInt, default=1, help="runs at once, a thread each")
    add("--list", action="store_true", help="print what is left to run")
    add("--tables", action="store_true", help="print the tables of the rows so far")

    def run(options: Namespace) -> None:
        record, metric = options.record, study.pipeline.metric
        if options.tables:
            print(tables(record, metric, study.shown, study.baseline))
            return
        for part in options.part:
            rows = read_record(record)
            known = set(rows.get("run", ()))
            left = [run for run in study.parts[part](rows) if run.name not in known]
            if options.list:
                print("\n".join(f"{part}: {run.name}" for run in left))
            else:
                _record(study.pipeline, left, options)

    return command, run


def _record(pipeline: Pipeline, runs: Sequence[Run], options: Namespace) -> None:
    """Trains the runs; adds a row, its epochs and its sentences as soon as one has ended.

    Raises:
        ConfigError: If some failed; the others are not stopped.
    """
    failed: dict[str, str] = {}
    for name, outcome in work(pipeline, runs, options.output, options.processes):
        if isinstance(outcome, str):
            failed[name] = outcome
            continue
        if outcome.run.parser is not None:
            _add_parser(outcome.run, options)
        add_curve(options.record, name, outcome.curve)
        add_counts(options.record, name, outcome.counts)
        append(options.record, pd.DataFrame([recorded(outcome.row)]))
    complain(failed)


def _add_parser(run: Run, options: Namespace) -> None:
    """Adds the epochs of what a run started from, once."""
    folder = options.output / run.parser_name
    if (folder / CURVE).exists():
        add_curve(options.record, run.parser_name, read_curve(folder))


# ---------------------------------------------------------------------- record


def recorded(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a study keeps of a row."""
    scored = {name: re.match("(dev|test|ood)_(.*)", name) for name in row}
    return {name: row[name] for name, score in scored.items() if not score or score[2] in RECORDED}


def read_record(path: Path) -> pd.DataFrame:
    """The rows so far, one for each run."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def append(path: Path, rows: pd.DataFrame) -> None:
    """Adds rows to a file; columns are those of all rows, and rows that are there stay the same."""
    with alone(path.parent, wait=True):  # two parts of a study may run at once
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


def chosen(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Of every regime and method the setting with the best development score, of seed 0."""
    if rows.empty:
        return rows
    first = rows[rows["seed"] == 0]
    return first.loc[first.groupby(["regime", "method"], sort=False)[score].idxmax()]


def tables(record: Path, metric: str, shown: Sequence[str], baseline: str) -> str:
    """Three tables for each regime, in Markdown and in percent.

    Every setting with the first seed, by its weight; the chosen setting of each method, mean and
    sample standard deviation over its seeds; and these against the baseline, by a paired bootstrap
    over sentences, with the seeds that both have.

    Args:
        record: The file of the rows.
        metric: The score that settings are chosen by.
        shown: The scores that are shown.
        baseline: A method.

    Raises:
        ConfigError: If there are no rows.
    """
    rows, counts = read_record(record), read_counts(record)
    if rows.empty:
        raise ConfigError(f"{record} has no rows yet. Run a part of the study first.")
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
