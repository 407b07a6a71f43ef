"""What `pipeline` measures: the methods of either pipeline, and the parts of their steps."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

import optlayers as ol
from examples.data import Corpus
from examples.semantics_to_sentiment import config as sentiment
from examples.semantics_to_sentiment import run as sentiment_run
from examples.semantics_to_sentiment.classifier import Classifier
from examples.semantics_to_sentiment.methods import METHODS as READERS
from examples.semantics_to_sentiment.run import adopt
from examples.semantics_to_sentiment.train import banks as sentiment_banks
from examples.syntax_to_semantics import config as syntax
from examples.syntax_to_semantics import run as syntax_run
from examples.syntax_to_semantics.experiment import ALL
from examples.syntax_to_semantics.methods import METHODS
from examples.syntax_to_semantics.model import JointParser
from examples.syntax_to_semantics.pruner import Pruner
from examples.syntax_to_semantics.run import load_model
from examples.syntax_to_semantics.train import banks as syntax_banks
from examples.training.module import JointModule

LONGEST = 40
"""Words of a sentence."""

LENGTH = {"max_words": LONGEST}
UNTRAINED = {"data": "ewt", "data_options": LENGTH, "tag_size": 0, "lemma_size": 0, "prune": 0.0}

SURROGATES = [(kind, "backward", "surrogate") for kind in (ol.SPIGOT, ol.StraightThrough)]
GRAPHS = (ol.SemanticGraphs, "decode_instances", "decoding")
Models = dict[str, JointModule[Any]]


@dataclass(frozen=True)
class Pipeline:
    """What is measured.

    Args:
        stem: Of the page.
        title: Of the page.
        run: The module that loads data and makes models.
        banks: Sentences by kind of the batches.
        make_config: A config by name, with other settings.
        settings: These.
        titles: Of the methods.
        kinds: Of the batches; the last is the one where the layer is.
        watched: Owner, method, and the part of the step that it is.
        reading: How to read the columns.
        fixed: Whether the learning rate is zero (Adam takes as long), so that all methods read the
            same graphs. A parser that learns would soon give other ones, or none.
    """

    stem: str
    title: str
    run: Any
    banks: Callable[..., Mapping[str, Any]]
    make_config: Callable[..., Any]
    settings: Callable[[argparse.Namespace], dict[str, Any]]
    titles: Mapping[str, str]
    kinds: tuple[str, str]
    watched: Sequence[tuple[Any, str, str]]
    reading: str
    fixed: bool

    @property
    def parts(self) -> list[str]:
        """Of a step, in the order of the columns."""
        return list(dict.fromkeys(part for *_, part in self.watched))

    def models(self, options: argparse.Namespace) -> tuple[Models, Corpus]:
        """A model for each method, with the same random numbers, and the sentences."""
        settings = self.settings(options)
        corpus = self.run.load_data(self.make_config(options.config, method="spigot", **settings))
        found = {}
        for name in self.titles:
            config = self.make_config(options.config, method=name, **settings)
            # A classifier without a parser knows the words of the reviews alone.
            own = replace(corpus, trees={}, graphs={}) if name == "bilstm" else corpus
            torch.manual_seed(config.seed)
            found[name] = model = self.run.make_model(config, own)
            if options.parser and model.parser is not None:
                adopt(model.parser, load_model(options.parser))
        return found, corpus


def sentiment_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Real reviews, and a parser that is trained or not; the reviews have no tags and no lemmas."""
    own = {"parser": options.parser} if options.parser else {"parser_options": UNTRAINED}
    return {"data": "sst", "data_options": LENGTH, **own}


READING = """Shares of the time of steps on {kind}, where the layer is. *Decoding*: {decoding};
*surrogate*: the backward pass of the layer, projections included; {forward}; *rest*: all else, most
of it the backward pass of the networks and Adam. *Arcs*: those of the graphs that the model gives
to a sentence. The last column is the median over batches of the ratio of a step on {kind} to that
of straight-through on the same batch, with the quartiles. `-`: no training on such batches."""
PIPELINES = {
    "syntax": Pipeline(
        "pipeline-speed",
        "Speed of joint training",
        syntax_run,
        syntax_banks,
        syntax.make_config,
        lambda _: {"data": "ewt", "data_options": LENGTH},
        {name: METHODS[name].title for name in ALL},
        ("trees", "graphs"),
        (
            (ol.DependencyTrees, "decode_instances", "decoding"),
            GRAPHS,
            *SURROGATES,
            (ol.DependencyTrees, "marginals", "marginals"),
        ),
        READING.format(
            kind="graphs",
            decoding="the argmax of the tree and the cost-augmented argmax of the graph",
            forward="*marginals*: their forward pass",
        ),
        fixed=False,
    ),
    "sentiment": Pipeline(
        "sentiment-speed",
        "Speed of joint training, semantics to sentiment",
        sentiment_run,
        sentiment_banks,
        sentiment.make_config,
        sentiment_settings,
        {name: method.title for name, method in READERS.items()},
        ("graphs", "reviews"),
        (
            GRAPHS,
            *SURROGATES,
            (JointParser, "score_graphs", "parser"),
            (Pruner, "keep", "parser"),
            (Classifier, "forward", "classifier"),
        ),
        READING.format(
            kind="reviews",
            decoding="the argmax of the graph",
            forward="*parser* (with its pruner) and *classifier*: their forward passes",
        ),
        fixed=True,
    ),
}
