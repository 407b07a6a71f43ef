"""The second experiment of the paper, section 4.2: trains one model with one seed."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning

from examples.data import Corpus, Sentence
from examples.syntax_to_semantics.train import train as train_parser
from examples.training.runs import fit, take_run, train_into

from .config import Config, parser_config
from .evaluate import evaluate
from .methods import find_method
from .model import GRAPHS, REVIEWS, SentimentModel
from .run import PARSER, adopt, load_data, load_model, load_parser, make_model, parser_vectors


def train(
    config: Config, output: str | Path, *, corpus: Corpus | None = None, **options: Any
) -> dict[str, Any]:
    """Trains into a folder; see the first pipeline's."""

    def prepare() -> tuple[SentimentModel, Corpus]:
        # 4.2.2: sentences with a sentiment, and graphs.
        data = load_data(config) if corpus is None else corpus
        # 4.2.1: a classifier that reads the graphs of a semantic parser without syntax.
        lightning.seed_everything(config.seed, verbose=False)
        return make_model(config, data), data

    return train_into(Path(output), config, prepare, partial(_steps, options=options))


def _steps(
    model: SentimentModel, folder: Path, corpus: Corpus, options: Mapping[str, Any]
) -> dict[str, Any]:
    # The parser is trained first, in every method that has one.
    if model.parser is not None:
        pretrain(model, folder, corpus, options)
    # Then both jointly: log-loss of the sentiments, hinge loss of a fifth of the graphs, drawn anew
    # in each epoch.
    train_banks, dev_banks = (banks(model.config, corpus, part) for part in ("train", "dev"))
    fit(model, train_banks, dev_banks, folder, {GRAPHS: model.config.graph_share}, **options)

    # 4.2.3
    best = load_model(folder)
    return {part: evaluate(best, corpus, part) for part in ("dev", "test")}


def pretrain(
    model: SentimentModel, output: Path, corpus: Corpus, options: Mapping[str, Any]
) -> None:
    """Trains the parser as a run of the first pipeline, or takes one that is trained."""
    assert model.parser is not None
    config, folder = parser_config(model.config), output / PARSER
    if model.config.parser_is_trained:
        take_run(Path(model.config.parser), folder)
    else:
        train_parser(config, folder, corpus=corpus, **options)
    adopt(model.parser, load_parser(output), parser_vectors(config, corpus))
    lightning.seed_everything(model.config.seed, verbose=False)  # whether it was trained now or not


def banks(config: Config, corpus: Corpus, part: str) -> Mapping[str, Sequence[Sentence]]:
    """What a config's method is trained on or scored on, by kind of the batches."""
    method = find_method(config.method)
    found: dict[str, Sequence[Sentence]] = {REVIEWS: corpus.reviews[part]}
    if method.parser and not method.frozen:
        found[GRAPHS] = corpus.graphs[part]
    return found
