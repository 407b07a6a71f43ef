"""Many small runs, each of which leaves a row in a file that is kept: what is there is not redone.

The folders of runs may be lost; the rows are the record. A study is interrupted at any moment and
goes on, in another session or on another machine.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from jsonargparse import ArgumentParser, Namespace

from examples.data.text import output as whole_file

from .experiments import run_all, run_one
from .report import grid, summary
from .runs import RESULT, read_curve, read_result, take_run
from .settings import ConfigError, TrainingConfig, make_parser


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
        monitor: The development score that chooses epochs and settings.
        parts: The runs of each part; those of a later part may depend on the rows so far.
        record: The file of the rows, if no other is named.
        metric: The same, as rows have it.
        shown: The scores that tables have.
        parser_package: Of the pipeline that trains what runs start from.
    """

    package: str
    monitor: str
    parts: Mapping[str, Callable[[pd.DataFrame], Iterable[Planned]]]
    record: Path
    metric: str
    shown: Sequence[str]
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
            print(tables(read_record(options.record), study.shown, study.metric))
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


def tables(rows: pd.DataFrame, scores: Sequence[str], metric: str) -> str:
    """Two tables for each regime, in Markdown and in percent.

    Every setting with the first seed, by its weight; then the chosen setting of each method, mean
    and sample standard deviation over its seeds.
    """
    lines: list[str] = []
    for regime, own in rows.groupby("regime", sort=False):
        lines += [f"### {regime}, seed 0: {' / '.join(scores)}", "", *_grid(own, scores), ""]
        lines += [f"### {regime}, chosen by {metric}", "", *_chosen(own, scores, metric), ""]
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


def _chosen(rows: pd.DataFrame, scores: Sequence[str], metric: str) -> list[str]:
    keys = [name for name in ("method", "start", "weight") if name in rows]
    same = rows.merge(chosen(rows, metric)[keys], on=keys)
    body = []
    for key, runs in same.groupby(keys, sort=False, dropna=False):
        shown = (summary(runs[score]) for score in (metric, *scores))
        body.append([*map(_text, key), *shown, str(len(runs))])
    return grid([*keys, metric, *scores, "seeds"], body)


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
    jobs = (delayed(_one)(study.package, run, options.output) for run in runs)
    for run, error in Parallel(options.processes, return_as="generator_unordered")(jobs):
        if error:
            failed[run.name] = error
            continue
        curve = _append_curve(options, run.name)
        result = read_result(options.output / run.name / RESULT)
        _append(options.record, pd.DataFrame([row(run, result, curve, study.monitor)]))
    if failed:
        raise ConfigError(f"{len(failed)} runs failed: {json.dumps(failed, indent=1)}")


def row(
    run: Planned, result: Mapping[str, Any], curve: pd.DataFrame, monitor: str
) -> dict[str, Any]:
    """What is kept of a run: its key, its scores as fractions, and what was watched at its end."""
    scores = {
        f"{part}_{score}": result[part].get(score)
        for part in ("dev", "test")
        for score in ("LF", "UF", "UAS", "graphs_UAS", "accuracy")
        if score in result[part]
    }
    best = curve.loc[curve[monitor].idxmax()]
    watched = {
        name.removeprefix("train/"): best[name]
        for name in ("train/end_task_norm", "train/tree_scores_deviation")
        if name in curve
    }
    epochs = {"best_epoch": int(best["epoch"]), "epochs": len(curve)}
    return {"run": run.name, **run.key, **scores, **watched, **epochs, "seconds": result["seconds"]}


def _append_curve(options: Namespace, name: str) -> pd.DataFrame:
    """Adds the epochs of a run to the file of all epochs, if they are not there."""
    curve = read_curve(options.output / name)
    path = options.record.with_stem(f"{options.record.stem}-curves")
    if not path.exists() or name not in set(pd.read_csv(path)["run"]):
        _append(path, pd.concat([pd.Series(name, curve.index, name="run"), curve], axis=1))
    return curve


def _append(path: Path, rows: pd.DataFrame) -> None:
    """Adds rows to a file; columns are those of all rows."""
    known = pd.read_csv(path) if path.exists() else rows.iloc[:0]
    together = pd.concat([known, rows]) if len(known) else rows
    with whole_file(path) as file:
        together.round(6).to_csv(file, index=False)


def _one(package: str, run: Planned, output: Path) -> tuple[Planned, str | None]:
    if run.parser is not None:
        take_run(output / run.parser_name, output / run.name / "parser")
    return run, run_one(package, run.config, output / run.name)
