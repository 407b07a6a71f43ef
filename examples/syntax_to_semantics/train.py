"""Trains one model with one seed; resumes what was interrupted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning

from examples.data import Corpus, Sentence
from examples.training.runs import Recipe
from examples.training.settings import ConfigError

from . import multitask
from .config import Config
from .evaluate import evaluate
from .methods import find_method
from .model import JointParser
from .pruner import FOLDER as PRUNER
from .pruner import train_pruner
from .run import PARSER, load_data, load_model, make_model


def prepare(model: JointParser, output: Path, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Trains the syntactic parser of a pipeline, and the pruner, before all else."""
    if model.method.pretrained or model.config.pretrain:
        _pretrain(model, output / PARSER, corpus, settings)
    if model.pruner is not None:
        train_pruner(model, output / PRUNER, corpus, settings)


def _pretrain(model: JointParser, folder: Path, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Trains the syntactic parser as a run of its own, and takes its best epoch."""
    alone = replace(model.config, method="syntax", pretrain=False, surrogate_options={})
    train(alone, folder, corpus=corpus, **settings)
    parser = load_model(folder)
    if parser.vocabulary != model.vocabulary:
        raise ConfigError(f"{folder} has the vocabulary of other data. Delete it.")
    assert model.syntax is not None
    assert parser.syntax is not None
    model.syntax.load_state_dict(parser.syntax.state_dict())
    lightning.seed_everything(model.config.seed, verbose=False)


def banks(config: Config, corpus: Corpus, part: str) -> Mapping[str, Sequence[Sentence]]:
    """What a config's method is trained on or scored on, by kind of the batches."""
    return multitask.banks(find_method(config.method), corpus, part)


def monitor(config: Config) -> str:
    """The score that decides which epoch was best."""
    return "dev/LF" if find_method(config.method).semantics else "dev/UAS"


def summary(config: Config) -> dict[str, Any]:
    """What a result says about its config."""
    return {"config": config.method, "seed": config.seed, "treebank": config.treebank}


RECIPE = Recipe(load_data, make_model, load_model, prepare, banks, evaluate, monitor, summary)
train = RECIPE.train
