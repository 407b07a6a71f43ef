"""A trained model and its folder: config, vocabulary, checkpoints, results."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from examples.data import Corpus, DataError, Sentence, load_corpus
from examples.parsing.batches import Batches
from examples.parsing.vectors import put_vectors, read_vectors
from examples.parsing.vocabulary import Vocabulary

from .callbacks import BEST
from .config import Config, ConfigError
from .model import JointParser

CONFIG, VOCABULARY, RESULT, PARSER = "config.json", "vocabulary.json", "result.json", "parser"


def load_data(config: Config) -> Corpus:
    """The corpus, with the share of the training trees that the config wants."""
    try:
        corpus = load_corpus(config.data, **config.data_options)
    except TypeError as error:
        raise ConfigError(f"Options of the data {config.data!r}: {error}.") from None
    trees = corpus.trees["train"]
    # The same trees for each seed and method; a smaller share is part of a larger one.
    order = sorted(range(len(trees)), key=lambda i: random.Random(f"treebank {i}").random())
    kept = set(order[: round(config.treebank * len(trees))])
    train = [sentence for i, sentence in enumerate(trees) if i in kept]
    return Corpus(corpus.trees | {"train": train}, corpus.graphs)


def make_model(config: Config, corpus: Corpus) -> JointParser:
    """A new model, its vocabulary that of both training sets."""
    train = [*corpus.trees["train"], *corpus.graphs["train"]]
    vectors = {}
    if config.vectors is not None:
        banks = (*corpus.trees.values(), *corpus.graphs.values())
        wanted = {word.lower() for bank in banks for s in bank for word in s.words}
        vectors = read_vectors(config.vectors, wanted, config.word_size)
    model = JointParser(config, Vocabulary.of(train, vectors))
    for parser in (model.syntax, model.semantics):
        if parser is not None:
            put_vectors(parser.encoder.word.weight, model.vocabulary.words, vectors)
    return model


def load_model(folder: str | Path, name: str = BEST) -> JointParser:
    """The model of a run's best epoch, ready to parse.

    Raises:
        DataError: If the folder has no such checkpoint.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise DataError(f"{path} does not exist. Train a model into {folder} first.")
    model = JointParser(
        Config.load(Path(folder) / CONFIG), Vocabulary.load(Path(folder) / VOCABULARY)
    )
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
    return model.eval()


def parse(model: JointParser, sentences: Sequence[Sentence]) -> list[Sentence]:
    """The sentences with the model's trees and graphs, in their order."""
    found: list[Sentence | None] = [None] * len(sentences)
    for indices, parsed in _parsed(model, [s for s in sentences if len(s)]):
        for i, sentence in zip(indices, parsed, strict=True):
            found[i] = sentence
    filled = iter([sentence for sentence in found if sentence is not None])
    empty = {"arcs": [], "heads": []}
    return [next(filled) if len(s) else replace(s, **empty) for s in sentences]


def _parsed(
    model: JointParser, sentences: Sequence[Sentence]
) -> Iterator[tuple[list[int], list[Sentence]]]:
    config = model.config
    training = model.training
    model.eval()
    for batch in Batches(
        {"graphs": sentences}, model.vocabulary, 2 * config.batch_size, pairs=config.pairs
    ):
        yield batch.indices, model.parse(batch.to(model.device))
    model.train(training)
