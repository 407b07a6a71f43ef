"""Many small runs, each of which leaves a row in a file that is kept: what is there is not redone.

The folders of runs may be lost; the rows are the record. A study is interrupted at any moment and
goes on, in another session or on another machine.
"""

import json
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

from .experiments import run_all, run_one
from .record import append, beside, read_record, row, tables, written
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
            print(tables(options.record, study.metric, study.shown, study.baseline))
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
        sentences = {"run": run.name} | {name: written(v) for name, v in counts.items()}
        append(beside(options.record, "sentences"), pd.DataFrame([sentences]))
        append(options.record, pd.DataFrame([row(run.name, run.key, result, curve, study.metric)]))
    if failed:
        raise ConfigError(f"{len(failed)} runs failed: {json.dumps(failed, indent=1)}")


def _append_curve(options: Namespace, name: str) -> pd.DataFrame:
    """Adds the epochs of a run to the file of all epochs, if they are not there."""
    curve = read_curve(options.output / name)
    path = beside(options.record, "curves")
    if not path.exists() or name not in set(pd.read_csv(path)["run"]):
        append(path, pd.concat([pd.Series(name, curve.index, name="run"), curve], axis=1))
    return curve


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
