"""Train, evaluate and use a syntactic parser inside a semantic parser.

python -m examples.syntax_to_semantics train --method spigot --output runs/spigot
python -m examples.syntax_to_semantics evaluate runs/spigot --part test
python -m examples.syntax_to_semantics evaluate GOLD.sdp SYSTEM.sdp --json
python -m examples.syntax_to_semantics predict runs/spigot FILE.conllu --processes 4
python -m examples.syntax_to_semantics analyse runs/pipeline runs/spigot --output analysis
python -m examples.syntax_to_semantics experiment toy --processes 2
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from examples.files import score_files
from examples.training.command_line import add_train, make_parser, run, show
from examples.training.experiments import add_experiment

from .analyse import add_analyse
from .config import CONFIGS
from .evaluate import evaluate
from .experiment import EXPERIMENTS
from .methods import METHODS
from .predict import predict
from .run import load_data, load_model
from .train import train


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    return run(parser(), arguments)


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


def treebank(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of `--treebank`."""
    return {} if options.treebank is None else {"treebank": options.treebank}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p, commands = make_parser("examples.syntax_to_semantics", __doc__)
    command = add_train(commands, train, CONFIGS, METHODS, "toy, ewt or sdp", treebank)
    command.add_argument("--treebank", type=float, help="share of the treebank: 1, 0.1, 0")
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
    add_experiment(commands, EXPERIMENTS)
    return p


if __name__ == "__main__":
    sys.exit(main())
