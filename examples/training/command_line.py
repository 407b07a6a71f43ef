"""What the command lines of both pipelines have in common."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import optlayers as ol
from examples.data import DataError
from examples.files import score_files

from .config_files import read_config
from .runs import Recipe
from .settings import C, ConfigError, merged, read_settings
from .surrogates import PREFIX

Train = Callable[..., dict[str, Any]]


def run(parser: argparse.ArgumentParser, arguments: list[str] | None) -> int:
    """Runs a command; returns the exit status."""
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (DataError, ConfigError, ol.OptLayersError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make_parser(package: str, description: str | None) -> tuple[argparse.ArgumentParser, Any]:
    """A command line, and what commands are added to."""
    parser = argparse.ArgumentParser(
        f"python -m {package}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser, parser.add_subparsers(required=True, metavar="COMMAND")


def add_train(
    commands: Any,
    train: Train,
    configs: Mapping[str, C],
    methods: Iterable[str],
    corpora: str,
    more: Callable[[argparse.Namespace], dict[str, Any]],
) -> argparse.ArgumentParser:
    """The command `train`; a pipeline adds its own options to what is returned.

    Args:
        commands: Where to add it.
        train: Trains a config into a folder.
        configs: By name.
        methods: Their names.
        corpora: Names of the data.
        more: The settings that the pipeline's own options stand for.
    """
    command = commands.add_parser("train", help="train a model, or resume its training")
    add = command.add_argument
    names = f"{', '.join(configs)}, or a YAML file of settings (%(default)s)"
    add("--config", default="small", help=names)
    add("--method", help=", ".join((*methods, f"{PREFIX}NAME")))
    add("--data", help=corpora)
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
    command.set_defaults(run=lambda options: _train(train, configs, more, options))
    return command


def _train(
    train: Train,
    configs: Mapping[str, C],
    more: Callable[[argparse.Namespace], dict[str, Any]],
    options: argparse.Namespace,
) -> None:
    """Trains a model, prints its scores."""
    named = {name: getattr(options, name) for name in ("method", "data", "seed")}
    named = {name: value for name, value in named.items() if value is not None}
    settings = read_settings(options.set, type(next(iter(configs.values()))))
    config = read_config(options.config, merged(settings, named | more(options)), configs)
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


def add_evaluate(commands: Any, recipe: Recipe[Any, Any]) -> None:
    """The command `evaluate`, of runs that a recipe made."""
    command = commands.add_parser("evaluate", help="score a run, or one file against another")
    command.add_argument("run_or_gold", metavar="RUN|GOLD")
    command.add_argument("system", nargs="?", metavar="SYSTEM")
    command.add_argument("--part", default="test", help="part of the corpus (%(default)s)")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=lambda options: _evaluate(recipe, options))


def _evaluate(recipe: Recipe[Any, Any], options: argparse.Namespace) -> None:
    """Scores a run, or one file against another."""
    if options.system is None:
        model = recipe.load_model(options.run_or_gold)
        corpus = recipe.load_data(model.config)
        scores = {options.part: recipe.evaluate(model, corpus, options.part)}
    else:
        scores = score_files(options.run_or_gold, options.system)
    show(scores, options.json, f"{options.system or options.run_or_gold}")


def add_predict(commands: Any, predict: Callable[..., list[Path]], kinds: str) -> None:
    """The command `predict`.

    Args:
        commands: Where to add it.
        predict: Does it.
        kinds: Of files that it reads.
    """
    command = commands.add_parser("predict", help="what a trained model finds in a file")
    command.add_argument("run_folder", metavar="RUN", type=Path)
    command.add_argument("file", metavar="FILE", type=Path, help=kinds)
    command.add_argument("--output", type=Path, help="files to write, without their suffix")
    command.add_argument("--processes", type=int, default=1, help="that compute (%(default)s)")
    command.set_defaults(run=lambda options: _predict(predict, options))


def _predict(predict: Callable[..., list[Path]], options: argparse.Namespace) -> None:
    """Writes files, and says which."""
    for path in predict(options.run_folder, options.file, options.output, options.processes):
        print(path)


def show(columns: Mapping[str, Mapping[str, float]], as_json: bool, title: str) -> None:
    """Prints scores as a table, in percent, or as JSON, as fractions."""
    if as_json:
        print(json.dumps(columns, indent=1))
        return
    table = Table("score", *columns, title=title)
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        values = [column.get(name) for column in columns.values()]
        table.add_row(name, *("" if v is None else f"{100 * v:.2f}" for v in values))
    Console().print(table)
