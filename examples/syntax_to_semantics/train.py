"""The first experiment of the paper, section 4.1: trains one model with one seed."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning

from examples.data import Corpus, Sentence
from examples.training.runs import fit, train_into
from examples.training.settings import ConfigError

from . import multitask
from .config import Config, syntax_config
from .evaluate import evaluate
from .methods import find_method
from .model import JointParser
from .pruner import FOLDER as PRUNER
from .pruner import train_pruner
from .run import PARSER, load_data, load_model, make_model


def train(
    config: Config, output: str | Path, *, corpus: Corpus | None = None, **options: Any
) -> dict[str, Any]:
    """Trains into a folder, and scores the best epoch on the development and test parts.

    If the folder has a checkpoint of the same config, training goes on from there; if it has a
    result, that is it.

    Args:
        config: All settings.
        output: The folder.
        corpus: Instead of the one that the config names.
        **options: Of `examples.training.runs.fit`: `quiet`, `accelerator`, `precision` and so on.

    Returns:
        The scores.

    Raises:
        ConfigError: If the folder holds a run of another config.
        DataError: If another process trains into the folder.
    """

    def prepare() -> tuple[JointParser, Corpus]:
        # 4.1.2: trees and graphs; no sentence is assumed to have both.
        data = load_data(config) if corpus is None else corpus
        # 4.1.1: a syntactic and a semantic parser without shared parameters, a tree between them.
        lightning.seed_everything(config.seed, verbose=False)
        return make_model(config, data), data

    return train_into(Path(output), config, prepare, partial(_steps, options=options))


def _steps(
    model: JointParser, folder: Path, corpus: Corpus, options: Mapping[str, Any]
) -> dict[str, Any]:
    # 4.1.3: the pipeline's syntactic parser is trained first, then frozen.
    if model.method.pretrained or model.config.pretrain:
        pretrain(model, folder / PARSER, corpus, options)
    if model.pruner is not None:
        train_pruner(model, folder / PRUNER, corpus, options)
    # 4.1.1: both hinge losses are minimised jointly and from scratch. Each step draws from the
    # union of the training sets: trees, or graphs whose loss reaches the trees as well.
    train_banks, dev_banks = (banks(model.config, corpus, part) for part in ("train", "dev"))
    fit(model, train_banks, dev_banks, folder, **options)

    # 4.1.4: the epoch with the best development score, on all parts that there are.
    best, parts = load_model(folder), ("dev", "test", "ood")
    bank = corpus.trees if best.semantics is None else corpus.graphs
    return {part: evaluate(best, corpus, part) for part in parts if part in bank}


def pretrain(model: JointParser, folder: Path, corpus: Corpus, options: Mapping[str, Any]) -> None:
    """Trains the syntactic parser as a run of its own, and takes its best epoch."""
    train(syntax_config(model.config), folder, corpus=corpus, **options)
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
