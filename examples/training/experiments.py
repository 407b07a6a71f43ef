"""Every method with several seeds, by one command that can be broken off and goes on."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt

from examples import metrics

from . import report
from .runs import ended, read_curve, take_run
from .settings import ConfigError, TrainingConfig, make_parser

Command = tuple[ArgumentParser, Callable[[Any], None]]


@dataclass(frozen=True)
class Pipeline:
    """What there is to know about a pipeline, to train and to report.

    Args:
        package: Its modules `train` and `run` are used.
        metric: The score of the end task, which chooses epochs and settings.
        bank: The sentences that it is computed on.
        banks: Those whose numbers are reported.
        titles: Of the methods.
        parser_package: Of the pipeline that trains what runs start from.
    """

    package: str
    metric: str
    bank: str
    banks: Sequence[str]
    titles: Mapping[str, str]
    parser_package: str = "examples.syntax_to_semantics"


@dataclass(frozen=True)
class Run:
    """A run.

    Args:
        key: What tells it from the others, and names its folder and its row; None, or nothing,
            where that has no meaning.
        config: Its config.
        parser: The config of the run whose model it starts from, if that is trained apart.
        parser_key: What tells that run from others.
    """

    key: Mapping[str, Any]
    config: Any
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
class Outcome:
    """A run that has ended: a row of scores, a row for each epoch, counts for each sentence."""

    run: Run
    row: dict[str, Any]
    curve: pd.DataFrame
    counts: metrics.Counts


def work(
    pipeline: Pipeline, runs: Sequence[Run], output: Path, processes: int, train: bool = True
) -> Iterator[tuple[str, Outcome | str]]:
    """Trains what is not trained yet, first what runs start from, a thread each.

    Yields:
        The name of each run, and its outcome, or why it failed, as they end. Without `train` those
        that have ended before.
    """
    pool = Parallel(processes, return_as="generator_unordered")
    parsers = {run.parser_name: run.parser for run in runs if train and run.parser is not None}
    first = (delayed(_parser)(pipeline, c, output / name) for name, c in parsers.items())
    then = (delayed(_one)(pipeline, run, output, train) for run in runs)
    for jobs in (first, then):
        yield from filter(None, pool(jobs))


def _parser(pipeline: Pipeline, config: TrainingConfig, folder: Path) -> tuple[str, str] | None:
    try:
        _train(pipeline.parser_package, config, folder)
    except Exception as error:  # one run that fails is no reason to stop the others
        return _failed(folder, error)
    return None


def _one(
    pipeline: Pipeline, run: Run, output: Path, train: bool
) -> tuple[str, Outcome | str] | None:
    folder = output / run.name
    try:
        if train and run.parser is not None:
            take_run(output / run.parser_name, folder / "parser")
        if train:
            _train(pipeline.package, run.config, folder)
        result = ended(folder, run.config)
        if result is None:
            return None
        curve, module = read_curve(folder), import_module(f"{pipeline.package}.run")
        gold = getattr(module.load_data(run.config), pipeline.bank)["test"]
        system = module.parse(module.load_model(folder), gold)
        tops = getattr(run.config, "tops", False)
        counts = metrics.counts(gold, system, pipeline.metric, tops=tops)
    except Exception as error:  # likewise
        return _failed(folder, error)
    return run.name, Outcome(run, report.row(run, result, curve, pipeline.metric), curve, counts)


def _train(package: str, config: TrainingConfig, folder: Path) -> None:
    torch.set_num_threads(1)
    import_module(f"{package}.train").train(config, folder, accelerator="cpu", quiet=True)
    print(f"{folder.name}: done", file=sys.stderr, flush=True)


def _failed(folder: Path, error: Exception) -> tuple[str, str]:
    print(f"{folder.name}: {error}", file=sys.stderr, flush=True)
    return folder.name, f"{type(error).__name__}: {error}"


def complain(failed: Mapping[str, str]) -> None:
    """Raises ConfigError if runs failed; the others were not stopped."""
    if failed:
        raise ConfigError(f"{len(failed)} runs failed: {json.dumps(failed, indent=1)}")


# ---------------------------------------------------------------------- experiments


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs that differ in method and seed, and what is reported of them.

    Args:
        pipeline: Whose runs these are.
        title: Of its page.
        config: A name of a config.
        methods: Names of methods or `variants`.
        seeds: How many.
        columns: Scores, and their titles in the tables.
        plan: Its runs, those of one seed before those of the next: what is broken off has whole
            seeds.
        tables: What is reported of rows.
        settings: What differs from the config.
        compared: Methods that are compared by a paired bootstrap, each with each.
        variants: Settings, among them the method, by the names that stand for them.
        data: The folder of licensed data, where an experiment needs some.
    """

    pipeline: Pipeline
    title: str
    config: str
    methods: tuple[str, ...]
    seeds: int
    columns: Mapping[str, str]
    plan: Callable[["Experiment"], Iterator[Run]]
    tables: Callable[[pd.DataFrame], Iterable[report.Table]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: Path | None = None

    def settings_of(self, name: str) -> dict[str, Any]:
        """The settings of a method or variant, besides its seed."""
        return {**self.settings, **self.variants.get(name, {"method": name})}

    def title_of(self, name: str) -> str:
        """What a method or variant is called in tables."""
        return name if name in self.variants else self.pipeline.titles.get(name, name)


def experiment_command(experiments: Mapping[str, Experiment]) -> Command:
    """The command `experiment`."""
    command = make_parser("every method with several seeds; tables")
    add = command.add_argument
    add("name", choices=list(experiments))
    add("--data", type=Path | None, help="folder of licensed data, for `sdp`")
    add("--processes", type=PositiveInt, default=1, help="runs at once, a thread each")
    add("--seeds", type=PositiveInt, help="how many")
    add("--methods", nargs="+", metavar="METHOD", help="only these rows of the table")
    add("--output", type=Path | None, help="folder of the runs (runs/NAME); nothing is redone")
    add("--report", type=Path | None, help="folder of the tables (that of the runs)")
    add("--report-only", action="store_true", help="of the runs that have ended")
    return command, lambda options: run_experiment(experiments[options.name], options)


def run_experiment(experiment: Experiment, options: Namespace) -> None:
    """Trains, then prints and writes the tables."""
    given = {name: options[name] for name in ("data", "seeds") if options[name] is not None}
    if options.methods is not None:
        if unknown := [name for name in options.methods if name not in experiment.methods]:
            raise ConfigError(
                f"`--methods` are rows of {options.name!r}: {'; '.join(experiment.methods)}. Got "
                f"{'; '.join(unknown)}."
            )
        compared = tuple(m for m in experiment.compared if m in options.methods)
        given |= {"methods": tuple(options.methods), "compared": compared}
    experiment = replace(experiment, **given)
    output = options.output or Path("runs") / options.name
    runs = list(experiment.plan(experiment))
    found = dict(
        work(experiment.pipeline, runs, output, options.processes, not options.report_only)
    )
    known = [found[run.name] for run in runs if run.name in found]
    outcomes = [outcome for outcome in known if isinstance(outcome, Outcome)]
    failed = {name: why for name, why in found.items() if isinstance(why, str)}
    if not outcomes:
        raise ConfigError(f"No run has ended in {output}. " + " ".join(failed.values()))
    report.write(experiment, outcomes, len(runs), options.report or output, options.name)
    complain(failed)
