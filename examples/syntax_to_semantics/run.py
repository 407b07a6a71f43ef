"""A trained model and its folder: config, vocabulary, checkpoints, results."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from examples.data import Corpus, Sentence, load_corpus
from examples.parsing.encoder import Encoder
from examples.parsing.vectors import known_vectors, put_vectors
from examples.parsing.vocabulary import Vocabulary
from examples.training.runs import BEST, CONFIG, VOCABULARY, restore, weights
from examples.training.settings import ConfigError

from .config import Config
from .methods import find_method
from .model import JointParser
from .multitask import kind_of
from .pruner import unlabelled

PARSER = "parser"
"""The folder of the run of a pipeline's parser, in that of the pipeline."""


def load_data(config: Config) -> Corpus:
    """The corpus, with the shares of the training sentences that the config wants."""
    try:
        corpus = load_corpus(config.data, **config.data_options)
    except TypeError as error:
        raise ConfigError(f"Options of the data {config.data!r}: {error}.") from None
    method = find_method(config.method)
    if method.multitask and not corpus.more:
        raise ConfigError(
            f"{config.method!r} learns from several formalisms; this data has one. Name more: "
            "--data_options.formalisms '[propbank, enhanced]' with ewt, "
            "--data_options.more '{pas: en.pas.sdp}' with sdp."
        )
    corpus = unlabelled(corpus) if method.pruner else corpus
    trees, graphs = corpus.trees["train"], corpus.graphs["train"]
    return replace(
        corpus,
        trees=corpus.trees | {"train": share(trees, config.treebank, "treebank")},
        graphs=corpus.graphs | {"train": share(graphs, config.graphbank, "graphbank")},
    )


def share(bank: Sequence[Sentence], part: float, name: str) -> list[Sentence]:
    """A share of a bank: the same for each seed and method, a smaller one part of a larger one."""
    order = sorted(range(len(bank)), key=lambda i: random.Random(f"{name} {i}").random())
    kept = set(order[: round(part * len(bank))])
    return [sentence for i, sentence in enumerate(bank) if i in kept]


def make_model(config: Config, corpus: Corpus) -> JointParser:
    """A new model, its vocabulary that of all training sets that its method reads."""
    method = find_method(config.method)
    corpus = unlabelled(corpus) if method.pruner else corpus
    train = [*corpus.trees["train"], *corpus.graphs["train"]]
    more = corpus.more if method.multitask else {}
    banks = [b for bank in (corpus.trees, corpus.graphs, *more.values()) for b in bank.values()]
    vectors = known_vectors(config.vectors, banks, config.word_size)
    known = Vocabulary.of(train, vectors, {name: bank["train"] for name, bank in more.items()})
    if method.pruner:  # whose probabilities are sums over all graphs
        known = replace(known, deterministic=())
    model = JointParser(config, known)
    for encoder in model.modules():
        if isinstance(encoder, Encoder):
            put_vectors(encoder.word.weight, known.words, vectors)
    return model


def load_model(folder: str | Path, name: str = BEST) -> JointParser:
    """The model of a run's best epoch, ready to parse.

    Raises:
        DataError: If the folder has no such checkpoint.
    """
    state = weights(folder, name)
    model = JointParser(
        Config.load(Path(folder) / CONFIG), Vocabulary.load(Path(folder) / VOCABULARY)
    )
    restore(model, state, Path(folder) / name)
    return model.eval()


def parse(model: JointParser, sentences: Sequence[Sentence], formalism: str = "") -> list[Sentence]:
    """The sentences with the model's trees and graphs, in their order.

    Args:
        model: What to parse with.
        sentences: Their trees and graphs, if they have any, are not looked at.
        formalism: Of the graphs; the main one if not given.
    """
    return model.answers(sentences, kind_of(formalism))
