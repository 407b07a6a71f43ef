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
from typing import Any

from examples.training.command_line import add_evaluate, add_predict, add_train, make_parser, run
from examples.training.experiments import add_experiment

from .analyse import add_analyse
from .config import CONFIGS
from .experiment import EXPERIMENTS
from .methods import METHODS
from .predict import predict
from .train import RECIPE, train


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    return run(parser(), arguments)


def treebank(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of `--treebank`."""
    return {} if options.treebank is None else {"treebank": options.treebank}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p, commands = make_parser("examples.syntax_to_semantics", __doc__)
    command = add_train(commands, train, CONFIGS, METHODS, "toy, ewt or sdp", treebank)
    command.add_argument("--treebank", type=float, help="share of the treebank: 1, 0.1, 0")
    add_evaluate(commands, RECIPE)
    add_predict(commands, predict, ".conllu")
    add_analyse(commands)
    add_experiment(commands, EXPERIMENTS)
    return p


if __name__ == "__main__":
    sys.exit(main())
