"""Steps, losses and scores of a model, as Lightning calls them."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any, ClassVar, Generic

import lightning
import torch
from torch import Tensor, nn

from examples.data import Sentence
from examples.parsing.batches import Batch, Batches
from examples.parsing.vocabulary import Vocabulary

from .settings import C

Parsed = dict[str, tuple[list[Sentence], list[Sentence]]]
"""Gold sentences and what the model made of them, by kind of the batch."""


class JointModule(lightning.LightningModule, Generic[C]):
    """A model that learns from batches of several kinds, each with a loss of its own.

    A subclass has `loss`, `parse` and `scores`, and names its parts that are not trained in
    `frozen`. Its children are its models: an intermediate one, whose structures an end-task model
    reads. Each is clipped by itself, so that no gradient of one shortens the step of another. As
    Adam treats each number by itself, that is a trainer for each model, as in the published code.

    Args:
        config: All settings.
        vocabulary: Of the training sentences.
    """

    KINDS: ClassVar[tuple[str, ...]]
    """Of batches that all methods know; reported in this order."""

    SHOWN: ClassVar[tuple[str, ...]]
    """Scores in the progress bar."""

    END_TASK: ClassVar[str]
    """The kind of the batches whose loss is that of the end task."""

    def __init__(self, config: C, vocabulary: Vocabulary):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.losses: dict[str, tuple[float, int]] = {}  # sums of this epoch, and sentences
        self.watched: dict[str, list[float]] = {}  # a number for each step of this epoch
        self.parsed: Parsed = {}
        self.frozen: list[nn.Module] = []

    @property
    @abstractmethod
    def intermediate(self) -> nn.Module | None:
        """The model of the intermediate task; None if there is none."""

    @property
    @abstractmethod
    def monitor(self) -> str:
        """The score that decides which epoch is best."""

    @property
    @abstractmethod
    def empty(self) -> Mapping[str, Any]:
        """What is found of sentences without words, which no model sees."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, summed over its sentences."""

    @abstractmethod
    def parse(self, batch: Batch) -> list[Sentence]:
        """The sentences with what the model finds, and nothing else."""

    @abstractmethod
    def scores(self, parsed: Parsed) -> dict[str, float]:
        """Scores of what was found, as far as there is something to score."""

    def freeze_parts(self, *parts: nn.Module | None) -> None:
        """These parts are not trained, and drop no words."""
        self.frozen = [part for part in parts if part is not None]
        for part in self.frozen:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> "JointModule[C]":
        """As always, but frozen parts drop no words."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    # ------------------------------------------------------------------ a step

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The summed loss; kept by kind for the report of the epoch."""
        self._sentences, self._end_task = len(batch), batch.kind == self.END_TASK
        loss = self.loss(batch)
        total, count = self.losses.get(batch.kind, (0.0, 0))
        self.losses[batch.kind] = (total + float(loss.detach()), count + len(batch))
        return loss

    def hears(self, scores: Tensor) -> Tensor:
        """The scores of the intermediate model, for the end task: its gradient has a weight here.

        Without weight, and while the model does not learn from the end task at all, it has none.
        """
        weight = self.config.end_task_weight
        if weight == 0 or self.current_epoch < self.config.warmup:
            return scores.detach()
        if weight == 1 or not scores.requires_grad:
            return scores
        weighed = scores.view_as(scores)
        weighed.register_hook(lambda grad: weight * grad)
        return weighed

    def watch(self, name: str, value: Tensor) -> None:
        """Keeps a number of a training step; the median of the epoch is logged."""
        if self.training:
            self.watched.setdefault(name, []).append(float(value.detach()))

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Divides by the number of sentences, then clips the gradient of each model by itself.

        With its weight, the gradient of the end task in the intermediate model has that share of
        the norm that others may have: a large one does not make up for a small weight. Its norm
        before, and without the weight, is logged.
        """
        for model in self.children():
            parameters = [p for p in model.parameters() if p.grad is not None]
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.grad.div_(self._sentences)
            weighed = self._end_task and model is self.intermediate
            weight = self.config.end_task_weight if weighed else 1.0
            norm = torch.nn.utils.clip_grad_norm_(parameters, weight * self.config.clip)
            if weighed and parameters:
                self.watch("end_task_norm", norm / weight)

    def on_train_epoch_start(self) -> None:
        """Sets the learning rate, a function of the epoch alone."""
        every = self.config.halve_every
        rate = self.config.learning_rate * 0.5 ** (self.current_epoch // every if every else 0)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = rate
            group["weight_decay"] = group["decay"] / rate

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

    # ------------------------------------------------------------------ after an epoch

    def on_validation_epoch_start(self) -> None:
        """Forgets what was found before."""
        self.parsed = {kind: ([], []) for kind in self.KINDS}

    def validation_step(self, batch: Batch, *_: Any) -> None:
        """Keeps the answers."""
        gold, system = self.parsed.setdefault(batch.kind, ([], []))
        gold += batch.sentences
        system += self.parse(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the epoch: losses per sentence, and scores of the development sentences.

        Before the checkpoint of the epoch is written, so that no epoch of it lacks its row.
        """
        for kind, (total, count) in self.losses.items():
            self.log(f"train/{kind}_loss", total / count)
        for name, values in self.watched.items():
            self.log(f"train/{name}", median(values))
        self.losses, self.watched = {}, {}
        for name, value in self.scores(self.parsed).items():
            self.log(f"dev/{name}", value, prog_bar=name in self.SHOWN)

    # ------------------------------------------------------------------ new sentences

    def answers(self, sentences: Sequence[Sentence], kind: str = "") -> list[Sentence]:
        """The sentences with what the model finds, in their order.

        Args:
            sentences: What is known about them, besides their words, is not looked at.
            kind: Of the batches; that of the end task if not given.
        """
        training, config = self.training, self.config
        found: dict[int, Sentence] = {}
        known = [i for i, s in enumerate(sentences) if len(s)]
        batches = Batches(
            {kind or self.END_TASK: [sentences[i] for i in known]},
            self.vocabulary,
            2 * config.batch_size,
            pairs=config.pairs,
        )
        self.eval()
        for batch in batches:
            parsed = self.parse(batch.to(self.device))
            found |= {known[i]: s for i, s in zip(batch.indices, parsed, strict=True)}
        self.train(training)
        return [found.get(i) or replace(s, **self.empty) for i, s in enumerate(sentences)]

    def predict_step(self, sentences: list[Sentence], *_: Any) -> list[Sentence]:
        """The answers to some sentences of a file."""
        return self.answers(sentences)


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Within, a model drops nothing, but still learns.

    LSTMs stay in training mode: on a GPU they have no gradient otherwise.
    """
    changed = [m for m in model.modules() if m.training and not isinstance(m, nn.LSTM)]
    lstms = [(m, m.dropout) for m in model.modules() if isinstance(m, nn.LSTM)]
    for module in changed:
        module.training = False
    for lstm, _ in lstms:
        lstm.dropout = 0.0
    try:
        yield
    finally:
        for module in changed:
            module.training = True
        for lstm, rate in lstms:
            lstm.dropout = rate
