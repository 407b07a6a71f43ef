"""A trained model and its folder: config, vocabulary, checkpoints, results; and its parser's."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from examples.data import Corpus, Sentence, load_reviews
from examples.parsing.encoder import Encoder
from examples.parsing.vectors import known_vectors, put_vectors
from examples.parsing.vocabulary import SPECIAL, Labels, Numbering, Vocabulary
from examples.syntax_to_semantics import run as parsing
from examples.syntax_to_semantics.config import Config as ParserConfig
from examples.syntax_to_semantics.model import JointParser
from examples.training.runs import BEST, CONFIG, VOCABULARY, restore, weights
from examples.training.settings import ConfigError

from .config import Config, parser_config
from .methods import find_method
from .model import SentimentModel

PARSER = "parser"
"""The folder of the run of the parser as it was before the joint training."""


def load_data(config: Config) -> Corpus:
    """Reviews, and graphs to train the parser on, with the shares that the config wants."""
    try:
        reviews = load_reviews(config.data, **config.data_options)
    except TypeError as error:
        raise ConfigError(f"Options of the data {config.data!r}: {error}.") from None
    train = parsing.share(reviews["train"], config.reviewbank, "reviewbank")
    corpus = Corpus({}, {})
    if find_method(config.method).parser:
        corpus = parsing.load_data(parser_config(config))
    return replace(corpus, reviews=reviews | {"train": train})


def make_model(config: Config, corpus: Corpus) -> SentimentModel:
    """A new model, its vocabulary that of the training sentences of all that it reads."""
    parser = parser_config(config) if find_method(config.method).parser else None
    if parser is not None and (parser.tag_size or parser.lemma_size):
        check_tags(corpus.reviews["train"], config)
    vectors = known_vectors(config.vectors, _sentences(corpus), config.word_size)
    own = {} if parser is None else parser_vectors(parser, corpus)
    train = [s for bank in _banks(corpus) for s in bank.get("train", ())]
    labels = Labels.of(corpus.graphs.get("train", ()))
    known = replace(
        Vocabulary.of(train, {*vectors, *own}),
        labels=labels.names,
        deterministic=labels.deterministic,
    )
    model = SentimentModel(config, known, parser)
    table = model.classifier.encoder.word.weight
    put_vectors(table, known.words, vectors, constant=config.constant_vectors)
    for encoder in [] if model.parser is None else model.parser.modules():
        if isinstance(encoder, Encoder):
            put_vectors(encoder.word.weight, known.words, own)
    return model


def _banks(corpus: Corpus) -> list[dict[str, list[Sentence]]]:
    return [corpus.reviews, corpus.graphs, corpus.trees]


def _sentences(corpus: Corpus) -> list[list[Sentence]]:
    return [part for bank in _banks(corpus) for part in bank.values()]


def check_tags(reviews: Sequence[Sentence], config: Config) -> None:
    """Raises ConfigError where a parser reads tags and lemmas that the reviews do not have."""
    if all(tag == "_" for sentence in reviews for tag in sentence.tags):
        raise ConfigError(
            f"The reviews ({config.data!r}) have no parts of speech and no lemmas, and the parser "
            "reads them. Train one without: --parser_options.tag_size 0 "
            "--parser_options.lemma_size 0."
        )


def parser_vectors(parser: ParserConfig, corpus: Corpus) -> dict[str, np.ndarray]:
    """The pretrained vectors that the parser starts from."""
    return known_vectors(parser.vectors, _sentences(corpus), parser.word_size)


def adopt(parser: JointParser, trained: JointParser, pretrained: Collection[str] = ()) -> None:
    """Gives a parser the parameters of one that was trained with a smaller vocabulary.

    Words that only the larger vocabulary has start where unknown words are. So the parser is the
    same function of sentences, with vectors for more words to learn.

    Args:
        parser: Of the larger vocabulary.
        trained: Of the smaller one.
        pretrained: Words that keep the vectors that they have in `parser`, if they are new.

    Raises:
        ConfigError: If the labels of the graphs are not the same.
    """
    if trained.vocabulary.labels != parser.vocabulary.labels:
        raise ConfigError(
            "The parser was trained on graphs with other labels than those of this data: "
            f"{', '.join(trained.vocabulary.labels)}."
        )
    state = trained.state_dict()
    for name, encoder in parser.named_modules():
        if isinstance(encoder, Encoder):
            for kind in ("word", "lemma", "tag"):
                if getattr(encoder, kind) is not None:
                    old, new = (getattr(m.vocabulary, f"{kind}s") for m in (trained, parser))
                    key = f"{name}.{kind}.weight"
                    kept = pretrained if kind == "word" else ()
                    state[key] = widened(state[key], old, getattr(encoder, kind).weight, new, kept)
    parser.load_state_dict(state)


def widened(
    table: Tensor, old: Numbering, larger: Tensor, new: Numbering, kept: Collection[str]
) -> Tensor:
    """A table of embeddings for more names.

    Args:
        table: The rows of the names in `old`.
        old: These names.
        larger: A table for the names in `new`.
        new: Names, `old` among them. Those that `old` lacks get the row of unknown names.
        kept: Or, if they are among these, keep the row that they have in `larger`.
    """
    found = table[torch.tensor([*range(len(SPECIAL)), *(old[name] for name in new.names)])]
    rows = [new[name] for name in kept if name in new and name not in old]
    found[rows] = larger.detach()[rows]
    return found


def load_model(folder: str | Path, name: str = BEST) -> SentimentModel:
    """The model of a run's best epoch, ready to use.

    Raises:
        DataError: If the folder has no such checkpoint.
    """
    folder = Path(folder)
    state = weights(folder, name)
    config, parser = Config.load(folder / CONFIG), None
    if find_method(config.method).parser:
        parser = ParserConfig.load(folder / PARSER / CONFIG)
        if config.parser_is_trained:  # in a folder that may be gone; this one has its copy
            config = replace(config, parser=str(folder / PARSER))
    model = SentimentModel(config, Vocabulary.load(folder / VOCABULARY), parser)
    restore(model, state, Path(folder) / name)
    return model.eval()


def load_parser(folder: str | Path) -> JointParser:
    """The parser of a run as it was before the joint training.

    Raises:
        DataError: If the run has none.
    """
    return parsing.load_model(Path(folder) / PARSER)


def parse(model: SentimentModel, sentences: Sequence[Sentence]) -> list[Sentence]:
    """The sentences with the model's sentiments and graphs, in their order.

    Args:
        model: What to judge with.
        sentences: Their sentiments and graphs, if they have any, are not looked at.
    """
    return model.answers(sentences)
