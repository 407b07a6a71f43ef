"""Train, evaluate and use a semantic parser inside a sentiment classifier.

python -m examples.semantics_to_sentiment train --method spigot --output runs/sentiment
python -m examples.semantics_to_sentiment evaluate runs/sentiment --part test
python -m examples.semantics_to_sentiment predict runs/sentiment FILE.txt
python -m examples.semantics_to_sentiment analyse runs/sentiment --output analysis
python -m examples.semantics_to_sentiment experiment toy --processes 2
python -m examples.semantics_to_sentiment study --part sst --processes 2
"""

import sys

from examples.training.command_line import (
    Commands,
    evaluate_command,
    predict_command,
    run,
    train_command,
)
from examples.training.experiments import experiment_command
from examples.training.study import study_command

from .analyse import analyse_command
from .config import Config
from .evaluate import evaluate
from .experiment import EXPERIMENTS
from .predict import predict
from .run import load_data, load_model
from .study import STUDY
from .train import train


def commands() -> Commands:
    """The parser of each command's options, and what runs it."""
    kinds = ".txt (a sentence in each line, or SST trees), or .conllu"
    return {
        "train": train_command(Config, train),
        "evaluate": evaluate_command(load_model, load_data, evaluate),
        "predict": predict_command(predict, kinds),
        "analyse": analyse_command(),
        "experiment": experiment_command(EXPERIMENTS),
        "study": study_command(STUDY),
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    return run("examples.semantics_to_sentiment", __doc__, commands(), arguments)


if __name__ == "__main__":
    sys.exit(main())
