"""Both parsers in one module, their losses and their scores."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

import optlayers as ol
from examples import metrics
from examples.data import Sentence
from examples.parsing.batches import Batch
from examples.parsing.semantics import SemanticParser
from examples.parsing.syntax import SyntaxParser
from examples.parsing.vocabulary import Vocabulary
from examples.training.module import JointModule, Parsed, without_dropout
from examples.training.surrogates import make_layer

from .config import Config
from .methods import Method, find_method
from .multitask import MultitaskParser, formalism_of
from .pruner import Pruner, arcs_loss, with_gold


class GraphScores(NamedTuple):
    """Scores of the parts of graphs, of their tops, and of the trees that were read on the way."""

    parts: Tensor
    tops: Tensor | None
    trees: Tensor | None


class JointParser(JointModule[Config]):
    """A semantic parser that reads the trees of a syntactic one (Peng, Thomson and Smith 2018).

    A batch of trees trains the syntactic parser. A batch of graphs trains the semantic parser and,
    through the tree between them, the syntactic one as well, if the method lets gradients pass.

    Args:
        config: All settings.
        vocabulary: Of the training sentences.
    """

    KINDS = ("trees", "graphs")
    SHOWN = ("UAS", "LF")
    END_TASK = "graphs"

    def __init__(self, config: Config, vocabulary: Vocabulary):
        super().__init__(config, vocabulary)
        self.method = method = find_method(config.method)
        self.syntax = SyntaxParser(vocabulary, config.sizes) if method.syntax else None
        self.semantics = make_semantics(config, vocabulary, method) if method.semantics else None
        self.argmax = make_layer(config, method.surrogate)
        pruned = config.prune > 0 and method.semantics and not method.pruner
        self.pruner = Pruner(vocabulary, config.sizes) if pruned else None
        self.freeze_parts(self.pruner, self.syntax if method.pretrained else None)

    @property
    def intermediate(self) -> SyntaxParser | None:
        """The syntactic parser."""
        return self.syntax

    @property
    def monitor(self) -> str:
        """LF; of a syntactic parser alone UAS."""
        return "dev/LF" if self.method.semantics else "dev/UAS"

    @property
    def empty(self) -> dict[str, list[Any]]:
        """What is found of sentences without words."""
        return {"arcs": [], "tops": [], "heads": []}

    # ------------------------------------------------------------------ parsing

    def trees(self, batch: Batch) -> ol.DependencyTrees:
        """The trees of a batch."""
        config = self.config
        return ol.DependencyTrees(
            batch.lengths, single_root=config.single_root, relaxation=config.relaxation
        )

    def graphs(self, batch: Batch, gold: bool = False, **options: Any) -> ol.SemanticGraphs:
        """The graphs of a batch, of its formalism; of the arcs that the pruner keeps.

        Args:
            batch: The sentences.
            gold: Keeps the arcs of their graphs in any case, as training needs.
            **options: More of `optlayers.SemanticGraphs`.
        """
        arcs, labels = None, self.vocabulary.of_formalism(formalism_of(batch.kind))
        if self.pruner is not None:
            arcs = self.pruner.keep(batch, self.config.prune)
            arcs = with_gold(arcs, batch.sentences) if gold else arcs
        return ol.SemanticGraphs(
            batch.lengths, len(labels.names), labels.deterministic, arcs=arcs, **options
        )

    def score_trees(self, batch: Batch) -> Tensor:
        """Scores of heads."""
        assert self.syntax is not None
        return self.syntax(batch)

    def heads(self, trees: ol.DependencyTrees, scores: Tensor) -> Tensor:
        """What the semantic parser reads: trees or marginals; gradients as the method says."""
        scores = scores.detach() if self.method.pretrained else self.hears(scores)
        return trees.marginals(scores) if self.method.soft else self.argmax(scores, trees)

    def score_graphs(self, batch: Batch, graphs: ol.SemanticGraphs) -> GraphScores:
        """Scores of graphs, of their tops, and of the trees that were read on the way.

        The syntactic parser then drops no words: dropout is for learning from trees.
        """
        assert self.semantics is not None
        if self.syntax is None:
            parts, tops = self.semantics(batch, graphs)
            return GraphScores(parts, tops, None)
        with without_dropout(self.syntax):
            scores = self.score_trees(batch)
        trees = self.trees(batch)
        self.watch(
            "tree_scores_deviation", scores[trees.allowed.to(scores.device)].std(correction=0)
        )
        heads = self.heads(trees, scores)
        parts, tops = self.semantics(batch, graphs, heads)
        return GraphScores(parts, tops, scores)

    @torch.no_grad()
    def parse(self, batch: Batch) -> list[Sentence]:
        """The sentences with the trees and graphs that the model gives them, and no others."""
        parsed = [
            replace(
                s,
                **dict.fromkeys(("heads", "relations", "arcs", "tops", "predicates", "sentiment")),
            )
            for s in batch.sentences
        ]
        scores = None
        if self.semantics is not None:
            graphs = self.graphs(batch)
            part_scores, top_scores, scores = self.score_graphs(batch, graphs)
            labels = self.vocabulary.of_formalism(formalism_of(batch.kind)).names
            decoded = graphs.to_arcs(graphs.decode(part_scores))
            for k, (sentence, arcs) in enumerate(zip(parsed, decoded, strict=True)):
                sentence.arcs = [(i, j, labels[label]) for i, j, label in arcs]
                sentence.tops, sentence.frames = [], None
                if top_scores is not None:
                    found = (top_scores[k, : len(sentence)] > 0).nonzero()
                    sentence.tops = found.flatten().tolist()
        if self.syntax is not None:
            trees = self.trees(batch)
            scores = self.score_trees(batch) if scores is None else scores
            for sentence, heads in zip(
                parsed, trees.heads(trees.decode(scores)).tolist(), strict=True
            ):
                sentence.heads = heads[: len(sentence)]
        return parsed

    # ------------------------------------------------------------------ losses

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, summed over its sentences."""
        return self.syntax_loss(batch) if batch.kind == "trees" else self.semantics_loss(batch)

    def syntax_loss(self, batch: Batch) -> Tensor:
        """Hinge loss of the trees, or log-loss, as the method wants."""
        trees, scores = self.trees(batch), self.score_trees(batch)
        heads = torch.zeros(len(batch), trees.size, dtype=torch.long)
        for row, sentence in zip(heads, batch.sentences, strict=True):
            row[: len(sentence)] = torch.tensor(sentence.heads)
        gold = trees.from_heads(heads.to(scores.device), dtype=scores.dtype)
        if self.method.loss == "log":
            return ol.log_loss(trees, scores, gold)
        return ol.structured_hinge(trees, scores, gold, self.config.syntax_cost)

    def semantics_loss(self, batch: Batch) -> Tensor:
        """Hinge loss of the graphs; mistakes in labelled arcs have a cost. Log-loss of a pruner."""
        graphs = self.graphs(batch, gold=True)
        scores, tops, _ = self.score_graphs(batch, graphs)
        if self.method.pruner:
            return arcs_loss(graphs, scores, batch.sentences)
        labels = self.vocabulary.of_formalism(formalism_of(batch.kind)).names
        arcs = [gold_arcs(sentence, labels) for sentence in batch.sentences]
        gold = graphs.from_arcs(arcs, dtype=scores.dtype, device=scores.device)
        counted = graphs.indicator("labels", device=scores.device)
        costs = self.config.false_positive * counted, self.config.false_negative * counted
        loss = ol.structured_hinge(graphs, scores, gold, costs)
        return loss if tops is None else loss + self.top_loss(batch, tops)

    def top_loss(self, batch: Batch, scores: Tensor) -> Tensor:
        """Hinge loss of the tops: as each is free, a sum over words; costs are those of arcs."""
        gold = torch.zeros(scores.shape, dtype=torch.bool)
        for row, sentence in zip(gold, batch.sentences, strict=True):
            row[sentence.tops or []] = True
        words = torch.arange(scores.shape[1]) < batch.lengths[:, None]
        gold, words = gold.to(scores.device), words.to(scores.device)
        wrong = torch.where(
            gold, self.config.false_negative - scores, self.config.false_positive + scores
        )
        return (wrong.clamp(min=0) * words).sum()

    def scores(self, parsed: Parsed) -> dict[str, float]:
        """UAS and the scores of graphs, as far as there is something to score.

        Scores of a further formalism begin with its name: `enhanced_LF`.
        """
        found: dict[str, float] = {}
        for kind, (gold, system) in parsed.items():
            trees, formalism = kind == "trees", formalism_of(kind)
            if gold and getattr(system[0], "heads" if trees else "arcs") is not None:
                tops = self.config.tops
                scores = (
                    metrics.tree_scores(gold, system)
                    if trees
                    else metrics.graph_scores(gold, system, tops)
                )
                prefix = f"{formalism}_" if formalism else ""
                wanted = ("UAS",) if trees else ("UF", "LP", "LR", "LF")
                found |= {f"{prefix}{name}": scores[name] for name in wanted}
        return found


def gold_arcs(sentence: Sentence, labels: Sequence[str]) -> list[tuple[int, int, int]]:
    """Arcs with numbers of labels; without arcs from a word to itself, which no graph here has."""
    return [(i, j, labels.index(label)) for i, j, label in sentence.arcs or () if i != j]


def make_semantics(
    config: Config, vocabulary: Vocabulary, method: Method
) -> SemanticParser | MultitaskParser | Pruner:
    """The parser of graphs that a method has."""
    if method.pruner:
        return Pruner(vocabulary, config.sizes)
    if method.multitask:
        own = method.multitask == "freda"
        return MultitaskParser(vocabulary, config.sizes, own, config.tops)
    return SemanticParser(vocabulary, config.sizes, method.syntax, config.tops)
