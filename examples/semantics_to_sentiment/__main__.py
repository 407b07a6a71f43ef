"""Train, evaluate and use a semantic parser inside a sentiment classifier.

python -m examples.semantics_to_sentiment train --method spigot --output runs/sentiment
python -m examples.semantics_to_sentiment evaluate runs/sentiment --part test
python -m examples.semantics_to_sentiment predict runs/sentiment FILE.txt --processes 4
python -m examples.semantics_to_sentiment analyse runs/sentiment --output analysis
python -m examples.semantics_to_sentiment experiment toy --processes 2
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


def graphs(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of `--graphs` and `--parser`."""
    found: dict[str, Any] = {}
    if options.graphs is not None:
        found["parser_options"] = {"data": options.graphs}
    if options.parser is not None:
        found["parser"] = options.parser
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p, commands = make_parser("examples.semantics_to_sentiment", __doc__)
    command = add_train(commands, train, CONFIGS, METHODS, "reviews: toy or sst", graphs)
    command.add_argument("--graphs", help="graphs that the parser learns from: toy, ewt or sdp")
    command.add_argument("--parser", help="config of the parser, or folder of a trained one")
    add_evaluate(commands, RECIPE)
    add_predict(commands, predict, ".txt (a sentence in each line, or SST trees), or .conllu")
    add_analyse(commands)
    add_experiment(commands, EXPERIMENTS)
    return p


if __name__ == "__main__":
    sys.exit(main())
