"""Trains one model with one seed; resumes what was interrupted."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning

from examples.data import Corpus, Sentence
from examples.syntax_to_semantics.train import train as train_parser
from examples.training.callbacks import BEST
from examples.training.processes import is_first
from examples.training.runs import CONFIG, RESULT, VOCABULARY, Recipe

from .config import Config, parser_config
from .evaluate import evaluate
from .methods import find_method
from .model import GRAPHS, REVIEWS, SentimentModel
from .run import PARSER, adopt, load_data, load_model, load_parser, make_model, parser_vectors

TAKEN = (VOCABULARY, BEST, RESULT, CONFIG)
"""The files of a parser's run that are copied; the config is last: it says that all are there."""


def prepare(model: SentimentModel, output: Path, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Trains the parser as a run of its own, or takes one that is trained."""
    if model.parser is None:
        return
    config, folder = parser_config(model.config), output / PARSER
    if model.config.parser_is_trained:
        take_parser(Path(model.config.parser), folder)
    else:
        train_parser(config, folder, corpus=corpus, **settings)
    adopt(model.parser, load_parser(output), parser_vectors(config, corpus))
    lightning.seed_everything(model.config.seed, verbose=False)  # whether it was trained now or not


def take_parser(source: Path, folder: Path) -> None:
    """Copies a trained parser, so that the run does not depend on another's folder."""
    if is_first() and not (folder / CONFIG).exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in TAKEN:
            if (source / name).is_file():
                shutil.copy(source / name, folder / name)


def banks(config: Config, corpus: Corpus, part: str) -> Mapping[str, Sequence[Sentence]]:
    """What a config's method is trained on or scored on, by kind of the batches."""
    method = find_method(config.method)
    found: dict[str, Sequence[Sentence]] = {REVIEWS: corpus.reviews[part]}
    if method.parser and not method.frozen:
        found[GRAPHS] = corpus.graphs[part]
    return found


def monitor(_: Config) -> str:
    """The score that decides which epoch was best."""
    return "dev/accuracy"


def summary(config: Config) -> dict[str, Any]:
    """What a result says about its config."""
    return {"config": config.method, "seed": config.seed}


def shares(config: Config) -> dict[str, float]:
    """The share of a bank's batches that an epoch sees."""
    return {GRAPHS: config.graph_share}


RECIPE = Recipe(
    load_data, make_model, load_model, prepare, banks, evaluate, monitor, summary, shares
)
train = RECIPE.train
