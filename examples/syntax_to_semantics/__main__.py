"""Train, evaluate and use a syntactic parser inside a semantic parser.

python -m examples.syntax_to_semantics train --method spigot --output runs/spigot
python -m examples.syntax_to_semantics evaluate runs/spigot --part test
python -m examples.syntax_to_semantics evaluate GOLD.sdp SYSTEM.sdp --json
python -m examples.syntax_to_semantics predict runs/spigot FILE.conllu
python -m examples.syntax_to_semantics analyse runs/pipeline runs/spigot --output analysis
python -m examples.syntax_to_semantics experiment toy --processes 2
python -m examples.syntax_to_semantics study --part weights --processes 2
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
    return {
        "train": train_command(Config, train),
        "evaluate": evaluate_command(load_model, load_data, evaluate),
        "predict": predict_command(predict, ".conllu"),
        "analyse": analyse_command(),
        "experiment": experiment_command(EXPERIMENTS),
        "study": study_command(STUDY),
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    return run("examples.syntax_to_semantics", __doc__, commands(), arguments)


if __name__ == "__main__":
    sys.exit(main())
