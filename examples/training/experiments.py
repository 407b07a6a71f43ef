"""Every method with several seeds, by one command that can be interrupted and goes on."""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from joblib import Parallel, delayed
from jsonargparse import ArgumentParser, Namespace

from examples.data import Sentence

from .runs import ended, read_curve
from .settings import ConfigError, TrainingConfig, make_parser

Runs = Mapping[str, TrainingConfig]
"""Configs by the names of their folders."""


@dataclass(frozen=True)
class Outcome:
    """A run that has ended.

    Args:
        name: The method, or the variant of one.
        config: Its config.
        folder: Where it is.
        result: Its scores.
        curve: A row per epoch.
        monitor: The score that decided which epoch was best.
    """

    name: str
    config: Any
    folder: Path
    result: dict[str, Any]
    curve: pd.DataFrame
    monitor: str


@dataclass(frozen=True)
class Section:
    """A table.

    Args:
        heading: Above it.
        runs: Its runs.
        part: On which they were scored.
        quoted: What the paper has, by score and method, in percent; columns beside ours.
        source: Where the paper has it.
    """

    heading: str
    runs: list[Outcome]
    part: str = "test"
    quoted: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC):
    """Runs that differ in method and seed, and what is reported of them.

    Args:
        title: Of its page.
        config: A name of a config.
        methods: Names of methods or `variants`.
        seeds: How many.
        columns: Scores, and their titles in the tables.
        settings: What differs from the config.
        compared: Methods whose outputs are compared by a paired bootstrap, each with each.
        variants: Settings, among them the method, by the names that stand for them.
        data: The folder of licensed data, where an experiment needs some.
    """

    PACKAGE: ClassVar[str]
    """Of the pipeline."""

    METRIC: ClassVar[str]
    """What the bootstrap compares, and epochs are chosen by."""

    TITLES: ClassVar[Mapping[str, str]]
    """Of the methods."""

    title: str
    config: str
    methods: tuple[str, ...]
    seeds: int
    columns: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    data: Path | None = None

    @abstractmethod
    def plan(self) -> Iterator[tuple[str, str, Any]]:
        """All runs, those of one seed before those of the next: folder, method or variant, config.

        What is interrupted then has whole seeds.
        """

    def runs(self) -> Runs:
        """Configs by the names of their folders."""
        return {folder: config for folder, _, config in self.plan()}

    def settings_of(self, name: str) -> dict[str, Any]:
        """The settings of a method or variant, besides its seed."""
        return self.settings | self.variants.get(name, {"method": name})

    def title_of(self, name: str) -> str:
        """What a method or variant is called in tables."""
        return name if name in self.variants else self.TITLES.get(name, name)

    @abstractmethod
    def sections(self, ended: Sequence[Outcome]) -> list[Section]:
        """The tables."""

    @abstractmethod
    def key(self, outcome: Outcome) -> dict[str, Any]:
        """What tells a run from the others, for rows of raw numbers."""

    @abstractmethod
    def sentences(self, config: Any) -> dict[str, dict[str, list[Sentence]]]:
        """The sentences of a config by bank and part."""

    @abstractmethod
    def outputs(
        self, ended: Sequence[Outcome], part: str = "test"
    ) -> tuple[list[Sentence], dict[str, list[list[Sentence]]]]:
        """Gold sentences, and what the models of each compared method gave, by seed."""

    @property
    def tops(self) -> bool:
        """Whether tops count in the scores of graphs."""
        return False

    @abstractmethod
    def monitor(self, config: Any) -> str:
        """The score that decides which epoch is best."""

    def prepare(self, output: Path, processes: int) -> None:
        """Makes what has to be there before the runs begin: nothing, unless a subclass says."""
        return


def run_all(package: str, runs: Runs, output: Path, processes: int) -> dict[str, str]:
    """Trains what is not trained yet, each run with one thread; returns what failed and why.

    Args:
        package: Of the pipeline whose runs these are.
        runs: The runs.
        output: The folder of their folders.
        processes: Runs at once.
    """
    jobs = (delayed(run_one)(package, config, output / name) for name, config in runs.items())
    errors = Parallel(n_jobs=processes)(jobs)
    return {name: error for name, error in zip(runs, errors, strict=True) if error}


def run_one(package: str, config: TrainingConfig, folder: Path) -> str | None:
    """Trains a run with one thread; returns why it failed, if it did."""
    torch.set_num_threads(1)
    error = None
    try:
        import_module(f"{package}.train").train(config, folder, accelerator="cpu", quiet=True)
    except Exception as found:  # one run that fails is no reason to stop the others
        error = f"{type(found).__name__}: {found}"
    print(f"{folder.name}: {error or 'done'}", file=sys.stderr, flush=True)
    return error


def outcomes(experiment: Experiment, output: Path) -> list[Outcome]:
    """The runs that have ended; those of other settings are refused.

    Raises:
        ConfigError: If a folder holds a run of another config.
    """
    found = []
    for name, row, config in experiment.plan():
        folder = output / name
        if (result := ended(folder, config)) is not None:
            curve = read_curve(folder)
            found.append(Outcome(row, config, folder, result, curve, experiment.monitor(config)))
    return found


def experiment_command(
    experiments: Mapping[str, Experiment],
) -> tuple[ArgumentParser, Callable[[Any], None]]:
    """The command `experiment`."""
    command = make_parser("every method with several seeds; tables")
    add = command.add_argument
    add("name", choices=list(experiments))
    add("--data", type=Path | None, help="folder of licensed data, for `sdp`")
    add("--processes", type=int, default=1, help="runs at once, a thread each (%(default)s)")
    add("--seeds", type=int | None, help="how many")
    add("--methods", nargs="+", metavar="METHOD", help="only these rows of the table")
    add("--output", type=Path | None, help="folder of the runs (runs/NAME); nothing is redone")
    add("--report", type=Path | None, help="folder of the tables (that of the runs)")
    add("--report-only", action="store_true", help="of the runs that have ended")
    return command, lambda options: run_experiment(experiments[options.name], options)


def run_experiment(experiment: Experiment, options: Namespace) -> None:
    """Trains, then prints and writes the tables."""
    from . import report

    if options.data is not None:
        experiment = replace(experiment, data=options.data)
    if options.seeds is not None:
        experiment = replace(experiment, seeds=options.seeds)
    if options.methods is not None:
        if unknown := [name for name in options.methods if name not in experiment.methods]:
            raise ConfigError(
                f"`--methods` are rows of {options.name!r}: {'; '.join(experiment.methods)}. Got "
                f"{'; '.join(unknown)}."
            )
        experiment = replace(
            experiment,
            methods=tuple(options.methods),
            compared=tuple(m for m in experiment.compared if m in options.methods),
        )
    for name in ("seeds", "processes"):
        if options[name] is not None and options[name] < 1:
            raise ConfigError(f"`--{name}` must be positive. Got {options[name]}.")
    output = options.output or Path("runs") / options.name
    failed: dict[str, str] = {}
    if not options.report_only:
        experiment.prepare(output, options.processes)
        failed = run_all(experiment.PACKAGE, experiment.runs(), output, options.processes)
    found = outcomes(experiment, output)
    if not found:
        raise ConfigError(f"No run has ended in {output}. " + " ".join(failed.values()))
    report.write(experiment, found, options.report or output, options.name)
    if failed:
        raise ConfigError(f"{len(failed)} runs failed: {json.dumps(failed, indent=1)}")
