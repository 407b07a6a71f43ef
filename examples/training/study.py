"""Many small runs, each of which leaves a row in a file that is kept: what is there is not redone.

The folders of runs may be lost; the rows are the record. A study is interrupted at any moment and
goes on, in another session or on another machine.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from jsonargparse import ArgumentParser, Namespace

from examples import metrics
from examples.data.text import output as whole_file

from .experiments import run_all, run_one
from .report import comparison, grid, summary
from .runs import RESULT, read_curve, read_result, take_run
from .settings import ConfigError, TrainingConfig, make_parser

SETTING = ("method", "start", "weight")
"""What is chosen of a method, as rows have it."""


@dataclass(frozen=True)
class Planned:
    """A run of a study.

    Args:
        key: What tells it from the others, and names its folder and its row; None, or nothing,
            where that has no meaning.
        config: Its config.
        parser: The config of the run whose model it starts from, if it has one.
        parser_key: What tells that run from others.
    """

    key: Mapping[str, Any]
    config: TrainingConfig
    parser: TrainingConfig | None = None
    parser_key: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """Of its folder."""
        return "-".join(str(value) for value in self.key.values() if value not in ("", None))

    @property
    def parser_name(self) -> str:
        """Of the folder of the run that it starts from."""
        return "-".join(map(str, ("parser", *self.parser_key)))


@dataclass(frozen=True)
class Study:
    """What is run.

    Args:
        package: Of the pipeline.
        metric: The score of the end task, which chooses epochs and settings.
        bank: The sentences that it is computed on.
        baseline: The method that others are compared with, sentence by sentence.
        shown: The scores that tables have.
        parts: The runs of each part; those of a later part may depend on the rows so far.
        record: The file of the rows, if no other is named.
        parser_package: Of the pipeline that trains what runs start from.
    """

    package: str
    metric: str
    bank: str
    baseline: str
    shown: Sequence[str]
    parts: Mapping[str, Callable[[pd.DataFrame], Iterable[Planned]]]
    record: Path
    parser_package: str = "examples.syntax_to_semantics"


def study_command(study: Study) -> tuple[ArgumentParser, Callable[[Any], None]]:
    """The command `study`."""
    command = make_parser("small runs that are recorded one by one, and not run again")
    add = command.add_argument
    parts = list(study.parts)
    add("--part", choices=parts, nargs="+", default=parts, help="which, in this order (all)")
    add("--output", type=Path, default=Path("runs/study"), help="folder of the runs (%(default)s)")
    add("--record", type=Path, default=study.record, help="the file of the rows (%(default)s)")
    add("--processes", type=int, default=1, help="runs at once, a thread each (%(default)s)")
    add("--list", action="store_true", help="print what is left to run")
    add("--tables", action="store_true", help="print the tables of the rows so far")

    def run(options: Namespace) -> None:
        if options.tables:
            print(tables(study, options.record))
            return
        for part in options.part:
            rows = read_record(options.record)
            known = set(rows.get("run", ()))
            left = [run for run in study.parts[part](rows) if run.name not in known]
            if options.list:
                print("\n".join(f"{part}: {run.name}" for run in left))
            else:
                _run_all(study, left, options)

    return command, run


def read_record(path: Path) -> pd.DataFrame:
    """The rows so far, one for each run."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def chosen(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Of every regime and method the setting with the best development score, of seed 0."""
    if rows.empty:
        return rows
    first = rows[rows["seed"] == 0]
    return first.loc[first.groupby(["regime", "method"], sort=False)[score].idxmax()]


def tables(study: Study, record: Path) -> str:
    """Three tables for each regime, in Markdown and in percent.

    Every setting with the first seed, by its weight; the chosen setting of each method, mean and
    sample standard deviation over its seeds; and these against the baseline, by a paired bootstrap
    over sentences, with the seeds that both have.
    """
    rows, counts = read_record(record), read_counts(record)
    lines: list[str] = []
    for regime, own in rows.groupby("regime", sort=False):
        best = _chosen_runs(own, f"dev_{study.metric}")
        title = f"### {regime}, seed 0: {' / '.join(study.shown)}"
        lines += [title, "", *_grid(own, study.shown), ""]
        title = f"### {regime}, chosen by dev_{study.metric}"
        lines += [title, "", *_chosen(best, (f"dev_{study.metric}", *study.shown)), ""]
        lines += [*_compared(best, counts, study), ""]
    return "\n".join(lines)


def _grid(rows: pd.DataFrame, scores: Sequence[str]) -> list[str]:
    keys = ["method"] + ["start"] * ("start" in rows)
    weights = sorted(rows["weight"].dropna().unique()) if "weight" in rows else []
    body: dict[tuple[str, ...], dict[float | None, str]] = {}
    for row in rows[rows["seed"] == 0].to_dict("records"):
        weight = row.get("weight")
        cells = body.setdefault(tuple(_text(row[key]) for key in keys), {})
        shown = (summary(pd.Series([row[score]])) for score in scores)
        cells[None if pd.isna(weight) else weight] = " / ".join(shown)
    columns = [None, *weights]
    header = [*keys, "no signal", *(f"weight {weight:g}" for weight in weights)]
    return grid(header, [[*k, *(own.get(c, "") for c in columns)] for k, own in body.items()])


def _chosen_runs(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """The runs of the chosen settings, of all seeds."""
    keys = [name for name in SETTING if name in rows]
    return rows.merge(chosen(rows, score)[keys], on=keys)


def _chosen(rows: pd.DataFrame, scores: Sequence[str]) -> list[str]:
    keys = [name for name in SETTING if name in rows]
    body = []
    for key, runs in rows.groupby(keys, sort=False, dropna=False):
        shown = (summary(runs[score]) for score in scores)
        body.append([*map(_text, key), *shown, str(len(runs))])
    return grid([*keys, *scores, "seeds"], body)


def _compared(rows: pd.DataFrame, counts: Mapping[str, metrics.Counts], study: Study) -> list[str]:
    """The chosen setting of each method against the baseline."""
    known = rows[rows["run"].isin(counts.keys())]
    runs = {m: own.set_index("seed")["run"] for m, own in known.groupby("method", sort=False)}
    base = runs.pop(study.baseline, pd.Series(dtype=str))
    body = []
    for method, own in runs.items():
        if seeds := sorted(set(own.index) & set(base.index)):
            a, b = ([counts[side[seed]] for seed in seeds] for side in (own, base))
            found = metrics.bootstrap(a, b, study.metric)
            body.append([str(method), *comparison(found), str(len(seeds))])
    header = ["method", f"{study.metric} - that of {study.baseline}", "95 % interval", "p", "seeds"]
    return grid(header, body)


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _run_all(study: Study, runs: Sequence[Planned], options: Namespace) -> None:
    """Trains the runs and what they start from; writes a row as soon as one has ended.

    Raises:
        ConfigError: If some failed; the others are not stopped.
    """
    first = {run.parser_name: run.parser for run in runs if run.parser is not None}
    failed = run_all(study.parser_package, first, options.output, options.processes)
    for name in first.keys() - failed.keys():
        _append_curve(options, name)
    jobs = (delayed(_one)(replace(study, parts={}), run, options.output) for run in runs)
    for run, counts in Parallel(options.processes, return_as="generator_unordered")(jobs):
        if isinstance(counts, str):
            failed[run.name] = counts
            continue
        curve = _append_curve(options, run.name)
        result = read_result(options.output / run.name / RESULT)
        sentences = {"run": run.name} | {name: _written(v) for name, v in counts.items()}
        _append(_beside(options.record, "sentences"), pd.DataFrame([sentences]))
        _append(options.record, pd.DataFrame([row(run, result, curve, study.metric)]))
    if failed:
        raise ConfigError(f"{len(failed)} runs failed: {json.dumps(failed, indent=1)}")


def row(
    run: Planned, result: Mapping[str, Any], curve: pd.DataFrame, metric: str
) -> dict[str, Any]:
    """What is kept of a run: its key, its scores as fractions, and what was watched at its end."""
    scores = {
        f"{part}_{score}": result[part].get(score)
        for part in ("dev", "test")
        for score in ("LF", "UF", "UAS", "graphs_UAS", "accuracy")
        if score in result[part]
    }
    best = curve.loc[curve[f"dev/{metric}"].idxmax()]
    watched = {
        name.removeprefix("train/"): best[name]
        for name in ("train/end_task_norm", "train/tree_scores_deviation")
        if name in curve
    }
    epochs = {"best_epoch": int(best["epoch"]), "epochs": len(curve)}
    return {"run": run.name, **run.key, **scores, **watched, **epochs, "seconds": result["seconds"]}


def _beside(record: Path, name: str) -> Path:
    return record.with_stem(f"{record.stem}-{name}")


def _append_curve(options: Namespace, name: str) -> pd.DataFrame:
    """Adds the epochs of a run to the file of all epochs, if they are not there."""
    curve = read_curve(options.output / name)
    path = _beside(options.record, "curves")
    if not path.exists() or name not in set(pd.read_csv(path)["run"]):
        _append(path, pd.concat([pd.Series(name, curve.index, name="run"), curve], axis=1))
    return curve


def _append(path: Path, rows: pd.DataFrame) -> None:
    """Adds rows to a file; columns are those of all rows, and rows that are there stay the same."""
    known = [pd.read_csv(path, dtype=str)] if path.exists() else []
    with whole_file(path) as file:
        pd.concat([*known, rows.round(6)]).to_csv(file, index=False)


def _one(study: Study, run: Planned, output: Path) -> tuple[Planned, dict[str, np.ndarray] | str]:
    """Trains a run; returns what its model does sentence by sentence, or why there is none."""
    folder = output / run.name
    if run.parser is not None:
        take_run(output / run.parser_name, folder / "parser")
    if error := run_one(study.package, run.config, folder):
        return run, error
    own = import_module(f"{study.package}.run")
    gold = getattr(own.load_data(run.config), study.bank)["test"]
    system = own.parse(own.load_model(folder), gold)
    tops = getattr(run.config, "tops", False)
    return run, vars(metrics.counts(gold, system, study.metric, tops=tops))


# ---------------------------------------------------------------------- sentence by sentence


def _written(counts: np.ndarray) -> str:
    """Counts as digits, larger ones in parentheses."""
    return "".join(str(n) if n < 10 else f"({n})" for n in counts)


def _read(text: str) -> np.ndarray:
    return np.array([int(n.strip("()")) for n in re.findall(r"\d|\(\d+\)", text)])


def read_counts(record: Path) -> dict[str, metrics.Counts]:
    """What the model of each run does, sentence by sentence."""
    path = _beside(record, "sentences")
    rows = pd.read_csv(path, dtype=str).to_dict("records") if path.exists() else []
    return {row.pop("run"): metrics.Counts(**{k: _read(v) for k, v in row.items()}) for row in rows}
