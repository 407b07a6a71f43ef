"""Training, evaluation, and the table of methods."""

import copy
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

import optlayers as ol

from .data import Batch, Review, Splits, Vocabulary, batches
from .model import Classifier, RandomRationale, Rationale, Selector, attend, read_all


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on besides its method and its data."""

    epochs: int = 6
    eta: float = 3.0
    temperature: float = 1.0
    share: float = 0.2
    spans: int = 3
    seed: int = 0
    learning_rate: float = 2e-3
    dropout: float = 0.3
    batch_size: int = 32
    device: str = "cpu"


# What the treebank wants otherwise, chosen on its development sentences (docs/results has the
# figures): more rare words, so more dropout; and a smaller step for straight-through.
TREEBANK = {"epochs": 8, "dropout": 0.5}
TREEBANK_LEARNING_RATES = {"straight-through": 1e-3}


@dataclass(frozen=True)
class Method:
    """A way to choose words, its name in the table, and whether its choice is hard."""

    title: str
    make: Callable[[Settings], Selector]
    hard: bool = True


METHODS = {
    "spigot-projection": Method(
        "SPIGOT (projection)",
        lambda s: Rationale(
            ol.SPIGOT(s.eta, around="projection", temperature=s.temperature), s.spans
        ),
    ),
    "spigot-vertex": Method(
        "SPIGOT (vertex)",
        # No warning: here eta indeed only scales the gradient, and Adam undoes any scale.
        lambda s: Rationale(ol.SPIGOT(s.eta, around="vertex", warn=False), s.spans),
    ),
    "straight-through": Method(
        "straight-through",
        lambda s: Rationale(ol.StraightThrough(), s.spans),
    ),
    "random": Method(
        "random selection",
        lambda s: RandomRationale(s.spans, torch.Generator().manual_seed(s.seed)),
    ),
    "attention": Method("soft attention", lambda _: attend, hard=False),
    "all": Method("all words", lambda _: read_all, hard=False),
}


@dataclass(frozen=True)
class Scores:
    """Percentages over reviews; precision and recall are None where no gold rationale is known."""

    accuracy: float
    share: float
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Run:
    """What one method reached with one seed, at the epoch that was best on the dev reviews."""

    method: str
    seed: int
    epoch: int
    dev: Scores
    test: Scores
    seconds: float
    dev_curve: list[float]
    model: Classifier = field(repr=False, compare=False)
    vocabulary: Vocabulary = field(repr=False, compare=False)

    def row(self) -> dict:
        """The numbers alone, for CSV and JSON."""
        numbers = {"method": self.method, "seed": self.seed, "epoch": self.epoch}
        numbers |= {"dev_accuracy": self.dev.accuracy}
        numbers |= {f"test_{name}": value for name, value in asdict(self.test).items()}
        numbers |= {"seconds": self.seconds}
        return {k: round(v, 2) if isinstance(v, float) else v for k, v in numbers.items()}


def fit(
    method: str, splits: Splits, settings: Settings, on_batch: Callable[[], None] = lambda: None
) -> Run:
    """Trains one method with one seed; `on_batch` is called after every training step."""
    start = time.perf_counter()
    torch.manual_seed(settings.seed)
    shuffle = random.Random(settings.seed)
    vocabulary = Vocabulary(splits.train)
    select = METHODS[method].make(settings)
    model = Classifier(len(vocabulary), select, dropout=settings.dropout).to(settings.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    curve: list[float] = []
    best = model.state_dict()
    for _ in range(settings.epochs):
        model.train()
        for batch in batches(
            splits.train, vocabulary, settings.share, settings.batch_size, shuffle
        ):
            step(model, optimizer, batch.to(settings.device))
            on_batch()
        accuracy = evaluate(model, splits.dev, vocabulary, settings).accuracy
        if accuracy > max(curve, default=-1):
            best = copy.deepcopy(model.state_dict())
        curve.append(accuracy)
    model.load_state_dict(best)
    dev, test = (evaluate(model, part, vocabulary, settings) for part in (splits.dev, splits.test))
    epoch = curve.index(max(curve)) + 1
    seconds = time.perf_counter() - start
    return Run(method, settings.seed, epoch, dev, test, seconds, curve, model, vocabulary)


def step(model: Classifier, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """One training step; returns the loss per review."""
    logits, _ = model(batch)
    # Summed, not averaged: eta is the size of a step per review, whatever the batch size.
    loss = binary_cross_entropy_with_logits(logits, batch.labels, reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item() / len(batch.reviews)


@torch.no_grad()
def evaluate(
    model: Classifier, reviews: list[Review], vocabulary: Vocabulary, settings: Settings
) -> Scores:
    """Accuracy, share of the words used, and overlap with the gold rationales if there are any."""
    model.eval()
    correct = chosen = words = gold = hits = 0
    for batch in batches(reviews, vocabulary, settings.share, 64):
        logits, z = model(batch.to(settings.device))
        correct += int(((logits > 0).cpu() == (batch.labels > 0.5)).sum())
        used = (z > 0).cpu()
        chosen += int(used.sum())
        words += int(batch.mask.sum())
        for row, review in zip(used, batch.reviews, strict=True):
            if review.rationale is not None:
                marked = torch.tensor(review.rationale)
                gold += int(marked.sum())
                hits += int((row[: len(marked)] & marked).sum())
    known = gold > 0
    return Scores(
        accuracy=100 * correct / len(reviews),
        share=100 * chosen / words,
        precision=100 * hits / max(chosen, 1) if known else None,
        recall=100 * hits / gold if known else None,
    )
