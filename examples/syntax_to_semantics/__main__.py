"""Train, evaluate and use a syntactic parser inside a semantic parser.

python -m examples.syntax_to_semantics train --method spigot --output runs/spigot
python -m examples.syntax_to_semantics evaluate runs/spigot --part test
python -m examples.syntax_to_semantics evaluate GOLD.sdp SYSTEM.sdp --json
python -m examples.syntax_to_semantics predict runs/spigot FILE.conllu --processes 4
python -m examples.syntax_to_semantics analyse runs/pipeline runs/spigot --output analysis
python -m examples.syntax_to_semantics experiment toy --processes 2
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import optlayers as ol
from examples.data import DataError
from examples.files import score_files

from .analyse import add_analyse
from .config import CONFIGS, ConfigError, read_settings
from .evaluate import evaluate
from .experiment import add_experiment
from .methods import METHODS
from .predict import predict
from .run import load_data, load_model
from .settings import read_config
from .train import train


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except (DataError, ConfigError, ol.OptLayersError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run_train(options: argparse.Namespace) -> None:
    """Trains a model, prints its scores."""
    settings = read_settings(options.set)
    for name in ("method", "data", "treebank", "seed"):
        if (value := getattr(options, name)) is not None:
            settings[name] = value
    config = read_config(options.config, settings)
    output = options.output or Path("runs") / f"{config.data}-{config.method}-{config.seed}"
    result = train(
        config,
        output,
        accelerator=options.accelerator,
        devices=options.devices,
        precision=options.precision,
        save_every=options.save_every,
        tensorboard=options.tensorboard,
        quiet=options.quiet,
    )
    if result:  # one of several processes has it
        show({part: result[part] for part in ("dev", "test")}, options.json, f"{output}")


def run_evaluate(options: argparse.Namespace) -> None:
    """Scores a run, or one file against another."""
    if options.system is None:
        model = load_model(options.run_or_gold)
        scores = {options.part: evaluate(model, load_data(model.config), options.part)}
    else:
        scores = score_files(options.run_or_gold, options.system)
    show(scores, options.json, f"{options.system or options.run_or_gold}")


def run_predict(options: argparse.Namespace) -> None:
    """Parses a file."""
    for path in predict(options.run_folder, options.file, options.output, options.processes):
        print(path)


def show(columns: dict[str, dict[str, float]], as_json: bool, title: str) -> None:
    """Prints scores as a table, in percent, or as JSON, as fractions."""
    if as_json:
        print(json.dumps(columns, indent=1))
        return
    table = Table("score", *columns, title=title)
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        values = [column.get(name) for column in columns.values()]
        table.add_row(name, *("" if v is None else f"{100 * v:.2f}" for v in values))
    Console().print(table)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        "python -m examples.syntax_to_semantics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(required=True, metavar="COMMAND")
    add_train(commands)
    command = commands.add_parser("evaluate", help="score a run, or one file against another")
    command.add_argument("run_or_gold", metavar="RUN|GOLD")
    command.add_argument("system", nargs="?", metavar="SYSTEM")
    command.add_argument("--part", default="test", help="part of the corpus (%(default)s)")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run_evaluate)
    command = commands.add_parser("predict", help="parse a CoNLL-U file")
    command.add_argument("run_folder", metavar="RUN", type=Path)
    command.add_argument("file", metavar="FILE.conllu", type=Path)
    command.add_argument("--output", type=Path, help="files to write, without their suffix")
    command.add_argument("--processes", type=int, default=1, help="that parse (%(default)s)")
    command.set_defaults(run=run_predict)
    add_analyse(commands)
    add_experiment(commands)
    return p


def add_train(commands: Any) -> None:
    """The options of `train`."""
    command = commands.add_parser("train", help="train a model, or resume its training")
    add = command.add_argument
    names = f"{', '.join(CONFIGS)}, or a YAML file of settings (%(default)s)"
    add("--config", default="small", help=names)
    add("--method", help=", ".join((*METHODS, "surrogate:NAME")))
    add("--data", help="toy, ewt or sdp")
    add("--treebank", type=float, help="share of the treebank: 1, 0.1, 0")
    add("--seed", type=int)
    add("--output", type=Path, help="folder of the run (runs/DATA-METHOD-SEED)")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other settings, see config.py")
    add("--accelerator", default="auto", help="cpu, gpu, ... (%(default)s)")
    add("--devices", default=1, type=int)
    add("--precision", default="32-true", help="bf16-mixed for bfloat16 (%(default)s)")
    board = find_spec("tensorboard") is not None
    add("--tensorboard", action=argparse.BooleanOptionalAction, default=board, help="write logs")
    add("--save-every", type=int, metavar="STEPS", help="checkpoints within an epoch too")
    add("--quiet", action="store_true", help="show no progress")
    add("--json", action="store_true", help="print scores as JSON")
    command.set_defaults(run=run_train)


if __name__ == "__main__":
    sys.exit(main())
