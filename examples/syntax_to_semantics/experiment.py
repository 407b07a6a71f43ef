"""Every method with several seeds, by one command that can be interrupted and goes on."""

import argparse
import csv
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from .config import Config, ConfigError, make_config
from .methods import METHODS
from .run import CONFIG, RESULT

CURVE = "metrics.csv"


@dataclass(frozen=True)
class Experiment:
    """Runs that differ in method, share of the treebank, and seed.

    Args:
        title: Of its page.
        config: A name in `CONFIGS`.
        methods: Names in `METHODS` or `variants`.
        shares: Of the treebank.
        seeds: How many.
        columns: Scores on the test part, and their titles in the table.
        settings: What differs from the config.
        compared: Methods whose outputs are compared by a paired bootstrap, each with each.
        variants: Settings, among them the method, by the names that stand for them.
    """

    title: str
    config: str
    methods: tuple[str, ...]
    shares: tuple[float, ...]
    seeds: int
    columns: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    def runs(self) -> dict[str, Config]:
        """Configs by the names of their folders; all of one seed before those of the next."""
        found = {}
        for seed, share, name in product(range(self.seeds), self.shares, self.methods):
            varied = self.variants.get(name, {"method": name})
            method = METHODS[varied["method"]]
            if (share == 0 and method.pretrained) or (share < 1 and not method.syntax):
                continue  # no trees to train on, or none wanted
            settings = self.settings | varied | {"treebank": share, "seed": seed}
            found[f"{name}-{share:g}-{seed}"] = make_config(self.config, **settings)
        return found

    def title_of(self, name: str) -> str:
        """What a method or variant is called in tables."""
        return name if name in self.variants else METHODS[name].title


@dataclass(frozen=True)
class Outcome:
    """A run that has ended: which method or variant, its config, its scores, a row per epoch."""

    name: str
    config: Config
    folder: Path
    result: dict[str, Any]
    curve: list[dict[str, str]]


TREES = {"LF": "LF", "UF": "UF", "graphs_UAS": "UAS"}
ALL = (
    "none",
    "pipeline",
    "attention",
    "straight-through",
    "straight-through-clipped",
    "spigot",
    "spigot-projection",
    "spigot-marginals",
)
SPIGOTS = {
    f"{method}, {', '.join(f'{name}={value:g}' for name, value in settings.items())}": {
        "method": method,
        **settings,
    }
    for method in ("spigot", "spigot-projection", "spigot-marginals")
    for settings in ({"eta": 0.25}, {"eta": 1.0}, {"eta": 4.0}, {"eta": 1.0, "warmup": 5})
}
EWT_SPIGOTS = {
    "spigot, pretrain": {"method": "spigot", "pretrain": True},
    "spigot, warmup=3": {"method": "spigot", "warmup": 3},
    "spigot, eta=0.25": {"method": "spigot", "eta": 0.25},
    "spigot-projection, pretrain": {"method": "spigot-projection", "pretrain": True},
}
EXPERIMENTS = {
    "toy": Experiment(
        "Syntax to semantics on the generated corpus",
        "small",
        (*ALL, "freda"),
        (1.0, 0.1, 0.0),
        5,
        TREES | {"graphs_UAS_ambiguous": "UAS, ambiguous words"},
    ),
    "ewt": Experiment(
        "Syntax to semantics on UD English EWT and PropBank",
        "ewt",
        ALL,
        (1.0,),
        3,
        TREES | {"LP": "LP", "LR": "LR"},
        {"data_options": {"max_words": 30}, "graphbank": 0.5},
        ALL,
    ),
    "ewt-spigot": Experiment(
        "What SPIGOT's settings do, on EWT",
        "ewt",
        tuple(EWT_SPIGOTS),
        (1.0,),
        1,
        TREES | {"LP": "LP", "LR": "LR"},
        {"data_options": {"max_words": 30}, "graphbank": 0.5},
        variants=EWT_SPIGOTS,
    ),
    "toy-spigot": Experiment(
        "What SPIGOT's settings do, on the generated corpus",
        "small",
        tuple(SPIGOTS),
        (1.0,),
        3,
        TREES | {"graphs_UAS_ambiguous": "UAS, ambiguous words"},
        variants=SPIGOTS,
    ),
}


def run_all(runs: dict[str, Config], output: Path, processes: int) -> dict[str, str]:
    """Trains what is not trained yet, each run with one thread; returns what failed and why."""
    failed: dict[str, str] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = {pool.submit(_run, run, output / name): name for name, run in runs.items()}
        for count, future in enumerate(as_completed(waiting), start=1):
            name, error = waiting[future], future.exception()
            if error is not None:
                failed[name] = f"{type(error).__name__}: {error}"
            said = failed.get(name, "done")
            print(f"{count}/{len(runs)} {name}: {said}", file=sys.stderr, flush=True)
    return failed


def _run(config: Config, folder: Path) -> None:
    import torch

    from .train import train

    torch.set_num_threads(1)
    train(config, folder, accelerator="cpu", quiet=True)


def outcomes(runs: dict[str, Config], output: Path) -> list[Outcome]:
    """The runs that have ended; those of other settings are refused.

    Raises:
        ConfigError: If a folder holds a run of another config.
    """
    found = []
    for name, config in runs.items():
        folder = output / name
        if not (folder / RESULT).is_file():
            continue
        if Config.load(folder / CONFIG) != config:
            raise ConfigError(
                f"{folder} holds a run with other settings. Choose another --output, or delete it."
            )
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        with (folder / CURVE).open(encoding="utf-8", newline="") as file:
            method = name.rsplit("-", 2)[0]
            found.append(Outcome(method, config, folder, result, list(csv.DictReader(file))))
    return found


def run_experiment(options: argparse.Namespace) -> None:
    """Trains, then prints and writes the tables."""
    from . import report

    experiment = EXPERIMENTS[options.name]
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
    output = options.output or Path("runs") / options.name
    runs = experiment.runs()
    failed = {} if options.report_only else run_all(runs, output, options.processes)
    ended = outcomes(runs, output)
    if not ended:
        raise ConfigError(f"No run has ended in {output}. " + " ".join(failed.values()))
    command = f"python -m examples.syntax_to_semantics experiment {options.name}"
    report.write(experiment, ended, options.report or output, command, options.name)
    if failed:
        raise ConfigError(f"{len(failed)} runs failed: {json.dumps(failed, indent=1)}")


def add_experiment(commands: Any) -> None:
    """The options of `experiment`."""
    command = commands.add_parser("experiment", help="every method with several seeds; tables")
    add = command.add_argument
    add("name", choices=EXPERIMENTS)
    add("--processes", type=int, default=1, help="runs at once, a thread each (%(default)s)")
    add("--seeds", type=int, help="how many")
    add("--methods", nargs="+", metavar="METHOD", help="only these rows of the table")
    add("--output", type=Path, help="folder of the runs (runs/NAME); what is there is not redone")
    add("--report", type=Path, help="folder of the tables (that of the runs)")
    add("--report-only", action="store_true", help="of the runs that have ended")
    command.set_defaults(run=run_experiment)


def best_epoch(curve: Sequence[dict[str, str]], monitor: str) -> int:
    """The first epoch with the best development score, whose model is tested."""
    values = [float(row[monitor]) for row in curve]
    return int(curve[values.index(max(values))]["epoch"])
