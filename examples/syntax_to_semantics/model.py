"""Both parsers in one module, their losses, and one training step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning
import torch
from torch import Tensor

import optlayers as ol
from examples import metrics
from examples.data import Sentence
from examples.parsing.batches import Batch
from examples.parsing.semantics import SemanticParser
from examples.parsing.syntax import SyntaxParser
from examples.parsing.vocabulary import Vocabulary

from .config import Config
from .methods import Method, find_method
from .multitask import MultitaskParser, formalism_of
from .processes import no_loss
from .pruner import Pruner, arcs_loss, with_gold

KINDS = ("trees", "graphs")


class JointParser(lightning.LightningModule):
    """A semantic parser that reads the trees of a syntactic one (Peng, Thomson and Smith 2018).

    A batch of trees trains the syntactic parser. A batch of graphs trains the semantic parser and,
    through the tree between them, the syntactic one as well, if the method lets gradients pass.

    Args:
        config: All settings.
        vocabulary: Of the training sentences.
    """

    def __init__(self, config: Config, vocabulary: Vocabulary):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.method = method = find_method(config.method)
        self.syntax = SyntaxParser(vocabulary, config.sizes) if method.syntax else None
        self.semantics = make_semantics(config, vocabulary, method) if method.semantics else None
        surrogate = method.surrogate(config) if method.surrogate else ol.StraightThrough()
        self.argmax = ol.StructuredArgmax(surrogate=surrogate)
        self.totals: dict[str, tuple[float, int]] = dict.fromkeys(
            KINDS, (0.0, 0)
        )  # loss and sentences of this epoch
        self.parsed: dict[str, tuple[list[Sentence], list[Sentence]]] = {}
        pruned = config.prune > 0 and method.semantics and not method.pruner
        self.pruner = Pruner(vocabulary, config.sizes) if pruned else None
        self.frozen = [self.pruner, self.syntax if method.pretrained else None]
        for part in self.frozen:
            if part is not None:
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> "JointParser":
        """As always, but frozen parts drop no words."""
        super().train(mode)
        for part in self.frozen:
            if part is not None:
                part.eval()
        return self

    # ------------------------------------------------------------------ parsing

    def trees(self, batch: Batch) -> ol.DependencyTrees:
        """The trees of a batch."""
        config = self.config
        return ol.DependencyTrees(
            batch.lengths, single_root=config.single_root, relaxation=config.relaxation
        )

    def graphs(self, batch: Batch, gold: bool = False) -> ol.SemanticGraphs:
        """The graphs of a batch, of its formalism; of the arcs that the pruner keeps.

        Args:
            batch: The sentences.
            gold: Keeps the arcs of their graphs in any case, as training needs.
        """
        arcs, labels = None, self.vocabulary.of_formalism(formalism_of(batch.kind))
        if self.pruner is not None:
            arcs = self.pruner.keep(batch, self.config.prune)
            arcs = with_gold(arcs, batch.sentences) if gold else arcs
        return ol.SemanticGraphs(batch.lengths, len(labels.names), labels.deterministic, arcs=arcs)

    def score_trees(self, batch: Batch) -> Tensor:
        """Scores of heads."""
        assert self.syntax is not None
        return self.syntax(batch)

    def heads(self, trees: ol.DependencyTrees, scores: Tensor) -> Tensor:
        """What the semantic parser reads: trees or marginals; gradients as the method says."""
        if self.method.pretrained or self.current_epoch < self.config.warmup:
            scores = scores.detach()
        return trees.marginals(scores) if self.method.soft else self.argmax(scores, trees)

    def score_graphs(self, batch: Batch, graphs: ol.SemanticGraphs) -> tuple[Tensor, Tensor | None]:
        """Scores of graphs, and those of the trees that were read on the way."""
        assert self.semantics is not None
        if self.syntax is None:
            return self.semantics(batch, graphs), None
        scores = self.score_trees(batch)
        return self.semantics(batch, graphs, self.heads(self.trees(batch), scores)), scores

    @torch.no_grad()
    def parse(self, batch: Batch) -> list[Sentence]:
        """The sentences with the trees and graphs that the model gives them, and no others."""
        parsed = [
            replace(s, heads=None, relations=None, arcs=None, tops=None, predicates=None)
            for s in batch.sentences
        ]
        scores = None
        if self.semantics is not None:
            graphs = self.graphs(batch)
            part_scores, scores = self.score_graphs(batch, graphs)
            labels = self.vocabulary.of_formalism(formalism_of(batch.kind)).names
            for sentence, arcs in zip(
                parsed, graphs.to_arcs(graphs.decode(part_scores)), strict=True
            ):
                sentence.arcs = [(i, j, labels[label]) for i, j, label in arcs]
                sentence.tops, sentence.frames = [], None
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
        scores, _ = self.score_graphs(batch, graphs)
        if self.method.pruner:
            return arcs_loss(graphs, scores, batch.sentences)
        labels = self.vocabulary.of_formalism(formalism_of(batch.kind)).names
        arcs = [gold_arcs(sentence, labels) for sentence in batch.sentences]
        gold = graphs.from_arcs(arcs, dtype=scores.dtype, device=scores.device)
        counted = graphs.indicator("labels", device=scores.device)
        costs = self.config.false_positive * counted, self.config.false_negative * counted
        return ol.structured_hinge(graphs, scores, gold, costs)

    # ------------------------------------------------------------------ what Lightning calls

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The summed loss; kept by kind for the report of the epoch."""
        self._sentences = batch.total
        if batch.idle:
            return no_loss(self, batch)
        loss = self.loss(batch)
        total, count = self.totals.get(batch.kind, (0.0, 0))
        self.totals[batch.kind] = (total + float(loss.detach()), count + len(batch))
        return loss

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Divides by the number of sentences, then clips."""
        world = self.trainer.world_size if self._trainer else 1
        parameters = [p for p in self.parameters() if p.grad is not None]
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad.mul_(world / self._sentences)  # processes have been averaged already
        torch.nn.utils.clip_grad_norm_(parameters, self.config.clip)

    def on_train_epoch_start(self) -> None:
        """Sets the learning rate, a function of the epoch alone."""
        every = self.config.halve_every
        rate = self.config.learning_rate * 0.5 ** (self.current_epoch // every if every else 0)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = rate
            group["weight_decay"] = group["decay"] / rate

    def on_train_epoch_end(self) -> None:
        """Logs losses per sentence."""
        for name, value in self.mean_losses().items():
            self.log(name, value)
        self.totals: dict[str, tuple[float, int]] = dict.fromkeys(KINDS, (0.0, 0))

    def mean_losses(self) -> dict[str, float]:
        """Losses of this epoch per sentence, by kind."""
        return {f"train/{kind}_loss": total / n for kind, (total, n) in self.totals.items() if n}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, since decay in DyNet is no part of the gradient; none on embeddings."""
        groups = {"weights": [], "embeddings": []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                table = any(f"encoder.{kind}." in name for kind in ("word", "lemma", "tag"))
                groups["embeddings" if table else "weights"].append(parameter)
        rate, decay = self.config.learning_rate, self.config.weight_decay
        return torch.optim.AdamW(
            [
                {"params": groups["weights"], "decay": decay, "weight_decay": decay / rate},
                {"params": groups["embeddings"], "decay": 0.0, "weight_decay": 0.0},
            ],
            lr=rate,
            fused=True,
        )

    def on_validation_epoch_start(self) -> None:
        """Forgets what was parsed before."""
        self.parsed = {kind: ([], []) for kind in KINDS}

    def validation_step(self, batch: Batch, *_: Any) -> None:
        """Parses."""
        if batch.idle:
            return
        gold, system = self.parsed.setdefault(batch.kind, ([], []))
        gold += batch.sentences
        system += self.parse(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs scores of the development sentences."""
        for name, value in score(self.parsed).items():
            self.log(f"dev/{name}", value, prog_bar=name in ("UAS", "LF"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the losses of an unfinished epoch."""
        checkpoint["totals"] = dict(self.totals)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes them back."""
        self.totals = dict(checkpoint["totals"])


def gold_arcs(sentence: Sentence, labels: Sequence[str]) -> list[tuple[int, int, int]]:
    """Arcs with numbers of labels; without arcs from a word to itself, which no graph here has."""
    return [(i, j, labels.index(label)) for i, j, label in sentence.arcs or () if i != j]


def score(parsed: dict[str, tuple[list[Sentence], list[Sentence]]]) -> dict[str, float]:
    """UAS and the scores of graphs, as far as there is something to score.

    Scores of a further formalism begin with its name: `enhanced_LF`.
    """
    found: dict[str, float] = {}
    for kind, (gold, system) in parsed.items():
        trees, formalism = kind == "trees", formalism_of(kind)
        if gold and getattr(system[0], "heads" if trees else "arcs") is not None:
            scores = (metrics.tree_scores if trees else metrics.graph_scores)(gold, system)
            prefix = f"{formalism}_" if formalism else ""
            wanted = ("UAS",) if trees else ("UF", "LP", "LR", "LF")
            found |= {f"{prefix}{name}": scores[name] for name in wanted}
    return found


def make_semantics(
    config: Config, vocabulary: Vocabulary, method: Method
) -> SemanticParser | MultitaskParser | Pruner:
    """The parser of graphs that a method has."""
    if method.pruner:
        return Pruner(vocabulary, config.sizes)
    if method.multitask:
        return MultitaskParser(vocabulary, config.sizes, own=method.multitask == "freda")
    return SemanticParser(vocabulary, config.sizes, heads=method.syntax)
