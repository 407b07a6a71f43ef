"""What the command lines of both pipelines have in common."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace

import optlayers as ol
from examples.data import Corpus, DataError
from examples.data.text import NO_MEMORY, is_lack_of_memory, told
from examples.files import score_files

from .settings import C, ConfigError, add_settings, make_parser, named_file

Commands = Mapping[str, tuple[ArgumentParser, Callable[[Any], None]]]
"""The parser of each command's options, and what runs it."""


def run(package: str, description: str | None, commands: Commands, arguments: Any) -> int:
    """Runs a command; returns the exit status.

    Small networks are slower on several threads than on one, above all beside other jobs; who
    wants more says so (OMP_NUM_THREADS).
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    parser = make_parser(description, prog=f"python -m {package}")
    subcommands = parser.add_subcommands(dest="command")
    for name, (command, _) in commands.items():
        subcommands.add_subcommand(name, command, help=command.description)
    try:
        options = parser.parse_args(_with_config(arguments))
        commands[options.command][1](options[options.command])
    except (DataError, ConfigError, ol.OptLayersError, ArgumentError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {told(error)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        print(f"error: {NO_MEMORY}", file=sys.stderr)
        return 2
    return 0


def _with_config(arguments: Sequence[str] | None) -> list[str]:
    """The arguments; `train` without a config gets the small one."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["train"] and not any(a.partition("=")[0] == "--config" for a in given):
        given[1:1] = ["--config", "small"]
    return given


def train_command(
    kind: type[C], train: Callable[..., dict[str, Any]]
) -> tuple[ArgumentParser, Callable[[Any], None]]:
    """The command `train`: every setting of a config is an option.

    Args:
        kind: The configs.
        train: Trains a config into a folder.
    """

    class NamedConfig(ActionConfigFile):
        """A file, or the name of one of the pipeline's."""

        def __call__(self, parser: Any, cfg: Any, values: Any, option_string: Any = None) -> Any:
            known = isinstance(values, str) and not values.endswith((".yaml", ".yml"))
            chosen = str(named_file(kind, values)) if known else values
            return super().__call__(parser, cfg, chosen, option_string)

    command = make_parser("train a model, or resume its training")
    add = command.add_argument
    names = ", ".join(sorted(file.stem for file in kind.CONFIGS.glob("*.yaml")))
    add("--config", action=NamedConfig, help=f"{names}, or a YAML file of settings (small)")
    add_settings(command, kind)
    add("--output", type=Path | None, help="folder of the run (runs/DATA-METHOD-SEED)")
    add("--accelerator", default="auto", help="cpu, gpu, ... (%(default)s)")
    add("--precision", default="32-true", help="bf16-mixed for bfloat16 (%(default)s)")
    board = find_spec("tensorboard") is not None
    add("--tensorboard", type=bool, default=board, help="write logs for it (%(default)s)")
    add("--quiet", action="store_true", help="show no progress")
    add("--json", action="store_true", help="print scores as JSON")

    def run_train(options: Namespace) -> None:
        config = kind.read(options)
        output = options.output or Path("runs") / f"{config.data}-{config.method}-{config.seed}"
        more = {n: options[n] for n in ("accelerator", "precision", "tensorboard", "quiet")}
        result = train(config, Path(output), **more)
        parts = {part: result[part] for part in ("dev", "test", "ood") if part in result}
        show(parts, options.json, f"{output}")

    return command, run_train


def evaluate_command(
    load_model: Callable[[Any], Any],
    load_data: Callable[[Any], Corpus],
    evaluate: Callable[[Any, Corpus, str], dict[str, float]],
) -> tuple[ArgumentParser, Callable[[Any], None]]:
    """The command `evaluate`: of a run, or of one file against another."""
    command = make_parser("score a run, or a file against another")
    command.add_argument("run_or_gold", metavar="RUN|GOLD")
    command.add_argument("system", nargs="?", metavar="SYSTEM")
    command.add_argument("--part", default="test", help="part of the corpus (%(default)s)")
    command.add_argument("--json", action="store_true", help="print JSON")

    def run_evaluate(options: Namespace) -> None:
        if options.system is None:
            model = load_model(options.run_or_gold)
            scores = {options.part: evaluate(model, load_data(model.config), options.part)}
        else:
            scores = score_files(options.run_or_gold, options.system)
        show(scores, options.json, f"{options.system or options.run_or_gold}")

    return command, run_evaluate


def predict_command(
    predict: Callable[..., list[Path]], kinds: str
) -> tuple[ArgumentParser, Callable[[Any], None]]:
    """The command `predict`.

    Args:
        predict: Does it.
        kinds: Of files that it reads.
    """
    command = make_parser("what a trained model finds in a file")
    command.add_argument("run_folder", metavar="RUN", type=Path)
    command.add_argument("file", metavar="FILE", type=Path, help=kinds)
    command.add_argument("--output", type=Path | None, help="files to write, without their suffix")

    def run_predict(options: Namespace) -> None:
        for path in predict(options.run_folder, options.file, options.output):
            print(path)

    return command, run_predict


def show(columns: Mapping[str, Mapping[str, float]], as_json: bool, title: str) -> None:
    """Prints scores as a table, in percent, or as JSON, as fractions."""
    if as_json:
        print(json.dumps(columns, indent=1))
        return
    table = 100 * pd.DataFrame(columns, dtype=float)
    rows = dict.fromkeys(name for column in columns.values() for name in column)
    shown = table.reindex(list(rows)).to_string(na_rep="", float_format="{:.2f}".format)
    print(f"{title}\n{shown}")
