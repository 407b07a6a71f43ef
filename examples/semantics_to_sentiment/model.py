"""The parser and the classifier in one module, their losses and their scores."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import optlayers as ol
from examples import metrics
from examples.data import Sentence
from examples.parsing.batches import Batch
from examples.parsing.vocabulary import Vocabulary
from examples.syntax_to_semantics.config import Config as ParserConfig
from examples.syntax_to_semantics.model import JointParser
from examples.training.module import JointModule, Parsed, without_dropout
from examples.training.surrogates import make_layer

from .classifier import Classifier
from .config import Config
from .methods import find_method

REVIEWS, GRAPHS = "reviews", "graphs"


class SentimentModel(JointModule[Config]):
    """A sentiment classifier that reads the graphs of a semantic parser.

    A batch of graphs trains the parser. A batch of reviews trains the classifier and, through the
    graph between them, the parser as well, if the method lets gradients pass.

    Args:
        config: All settings.
        vocabulary: Of the training sentences of both corpora; its labels are the parser's.
        parser: The parser's config; None for the baseline.
    """

    KINDS = (REVIEWS, GRAPHS)
    SHOWN = ("accuracy", "LF")
    END_TASK = REVIEWS

    def __init__(self, config: Config, vocabulary: Vocabulary, parser: ParserConfig | None):
        super().__init__(config, vocabulary)
        self.method = method = find_method(config.method)
        self.parser = None if parser is None else JointParser(parser, vocabulary)
        self.classifier = Classifier(vocabulary, config, graphs=method.parser)
        self.argmax = make_layer(config, method.surrogate)
        self.freeze_parts(self.parser if method.frozen else None)

    @property
    def intermediate(self) -> JointParser | None:
        """The semantic parser."""
        return self.parser

    @property
    def monitor(self) -> str:
        """Accuracy."""
        return "dev/accuracy"

    @property
    def empty(self) -> dict[str, Any]:
        """What is found of sentences without words."""
        return {"sentiment": 0.5} | ({} if self.parser is None else {"arcs": [], "tops": []})

    def graphs(self, batch: Batch) -> tuple[ol.SemanticGraphs, Tensor]:
        """The set of the graphs of a batch, and the graphs that the parser finds.

        The parser then drops no words: dropout is for learning from graphs.
        """
        assert self.parser is not None
        graphs = self.parser.graphs(batch, projection=self.config.projection)
        hears = torch.is_grad_enabled() and not self.method.frozen
        with torch.set_grad_enabled(hears), without_dropout(self.parser):
            scores = self.parser.score_graphs(batch, graphs).parts
        arcs = graphs.unpack(scores).arcs
        if (scored := arcs[graphs.arc_mask.to(arcs.device).expand_as(arcs)]).numel():
            self.watch("graph_scores_deviation", scored.std(correction=0))
        return graphs, self.argmax(self.hears(scores), graphs)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, summed over its sentences: log-loss of reviews, hinge of graphs."""
        if batch.kind == GRAPHS:
            assert self.parser is not None
            return self.parser.semantics_loss(batch)
        read = () if self.parser is None else self.graphs(batch)
        logits = self.classifier(batch, *read)
        gold = torch.tensor([s.sentiment for s in batch.sentences]).to(logits)
        return binary_cross_entropy_with_logits(logits, gold, reduction="sum")

    @torch.no_grad()
    def parse(self, batch: Batch) -> list[Sentence]:
        """The sentences with the graphs and the sentiment that the model gives them, no others."""
        if batch.kind == GRAPHS:
            assert self.parser is not None
            return self.parser.parse(batch)
        found = [
            replace(s, heads=None, relations=None, arcs=None, tops=None, predicates=None)
            for s in batch.sentences
        ]
        read = () if self.parser is None else self.graphs(batch)
        for sentence, p in zip(
            found, self.classifier(batch, *read).sigmoid().tolist(), strict=True
        ):
            sentence.sentiment = p
        if read:
            graphs, z = read
            for sentence, arcs in zip(found, graphs.to_arcs(z), strict=True):
                labels = self.vocabulary.labels
                sentence.arcs = [(i, j, labels[label]) for i, j, label in arcs]
                sentence.tops, sentence.frames = [], None
        return found

    def scores(self, parsed: Parsed) -> dict[str, float]:
        """Accuracy of the sentiment, and the scores of graphs, as far as there are any."""
        gold, system = parsed[REVIEWS]
        found = metrics.sentiment_scores(gold, system) if gold else {}
        if self.parser is not None:
            found |= self.parser.scores({GRAPHS: parsed[GRAPHS]})
        return found
