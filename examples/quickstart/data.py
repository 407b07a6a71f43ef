"""Reviews, the vocabulary, and batches of reviews of similar length."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import floor
from typing import NamedTuple

import torch
from torch import Tensor

PADDING, UNKNOWN = 0, 1


@dataclass(frozen=True)
class Review:
    """A tokenised review; `label` 1 is positive; `rationale` marks the gold words, if known."""

    words: list[str]
    label: int
    rationale: list[bool] | None = None


class Splits(NamedTuple):
    """The three parts of a corpus."""

    train: list[Review]
    dev: list[Review]
    test: list[Review]


class Vocabulary:
    """Numbers the lower-cased words of the training reviews; 0 is padding, 1 any other word."""

    def __init__(self, reviews: Iterable[Review], min_count: int = 1):
        counts = Counter(word.lower() for review in reviews for word in review.words)
        kept = sorted(word for word, count in counts.items() if count >= min_count)
        self.index = {word: i for i, word in enumerate(kept, start=2)}

    def __len__(self) -> int:
        return len(self.index) + 2

    def __call__(self, words: list[str]) -> list[int]:
        return [self.index.get(word.lower(), UNKNOWN) for word in words]


@dataclass(frozen=True)
class Batch:
    """Padded reviews: `ids` and `mask` are (batch, n), the others (batch,)."""

    reviews: list[Review]
    ids: Tensor
    mask: Tensor
    labels: Tensor
    max_words: Tensor

    def to(self, device: str) -> "Batch":
        """The same batch with its tensors on `device`."""
        tensors = (self.ids, self.mask, self.labels, self.max_words)
        return Batch(self.reviews, *(tensor.to(device) for tensor in tensors))


def max_words(length: int, share: float) -> int:
    """How many words of a review may be chosen: the share rounded down, but one word at least."""
    # The small term keeps 0.29 * 100 = 28.999999999999996 from becoming 28.
    return max(1, floor(share * length + 1e-9))


def batches(
    reviews: list[Review],
    vocabulary: Vocabulary,
    share: float,
    batch_size: int = 32,
    shuffle: random.Random | None = None,
) -> Iterator[Batch]:
    """Batches of reviews of similar length, which keeps padding rare; shuffled on request."""
    # Sorting shuffled reviews by length (a stable sort) puts other neighbours together every epoch.
    order = list(range(len(reviews)))
    if shuffle:
        shuffle.shuffle(order)
    order.sort(key=lambda i: len(reviews[i].words))
    chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if shuffle:
        shuffle.shuffle(chunks)
    for chunk in chunks:
        yield collate([reviews[i] for i in chunk], vocabulary, share)


def collate(reviews: list[Review], vocabulary: Vocabulary, share: float) -> Batch:
    """One padded batch."""
    n = max(len(review.words) for review in reviews)
    ids = torch.full((len(reviews), n), PADDING)
    for row, review in zip(ids, reviews, strict=True):
        row[: len(review.words)] = torch.tensor(vocabulary(review.words))
    return Batch(
        reviews,
        ids,
        ids != PADDING,
        torch.tensor([float(review.label) for review in reviews]),
        torch.tensor([max_words(len(review.words), share) for review in reviews]),
    )
