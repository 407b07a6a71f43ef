"""The model: score the words, choose a few spans, classify the chosen words.

`Rationale.forward` is where optlayers comes in: a feasible set per batch, and one call.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import optlayers as ol

from .data import PADDING, Batch

Selector = Callable[[Tensor, Batch], Tensor]
"""From scores (batch, n) to weights of the words (batch, n): 0/1 decisions, except attention."""


@dataclass(frozen=True)
class Rationale:
    """Chooses at most `batch.max_words` words in at most `max_spans` contiguous spans."""

    surrogate: ol.AbstractSurrogate
    max_spans: int

    def __call__(self, scores: Tensor, batch: Batch) -> Tensor:
        spans = feasible_set(batch, self.max_spans)
        return ol.structured_argmax(spans, scores, self.surrogate)


@dataclass(frozen=True)
class RandomRationale:
    """Chooses random spans under the same constraint: what the words are worth without a scorer."""

    max_spans: int
    generator: torch.Generator

    def __call__(self, scores: Tensor, batch: Batch) -> Tensor:
        noise = torch.rand(scores.shape, generator=self.generator).to(scores)
        return ol.decode(feasible_set(batch, self.max_spans), noise)


def attend(scores: Tensor, batch: Batch) -> Tensor:
    """Soft attention: every word counts a little."""
    return scores.masked_fill(~batch.mask, -torch.inf).softmax(-1)


def read_all(scores: Tensor, batch: Batch) -> Tensor:
    """Every word counts the same."""
    return batch.mask.to(scores)


def feasible_set(batch: Batch, max_spans: int) -> ol.Polytope:
    """The rationales allowed in this batch; no word of the padding is ever one of them."""
    return ol.spans(batch.mask.shape[1], batch.max_words, max_spans, mask=batch.mask)


class Classifier(nn.Module):
    """A bag of words that sees only what `select` lets through.

    The scorer (a BiLSTM) reads the whole review, but hands over nothing except the choice: the
    classifier averages the embeddings of the chosen words, with one hidden layer on top.
    """

    def __init__(
        self, vocabulary_size: int, select: Selector, width: int = 100, dropout: float = 0.3
    ):
        super().__init__()
        self.select = select
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=PADDING)
        # Small, so that the average of a few words is mostly what was learned about them.
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.dropout = nn.Dropout(dropout)
        self.scorer = Scorer(width, dropout)
        self.classify = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1)
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (batch,) and the weights of the words (batch, n)."""
        words = self.embedding(batch.ids)
        z = self.select(self.scorer(self.dropout(words), batch.mask), batch)
        chosen = z.unsqueeze(-1) * self.dropout(words)
        average = chosen.sum(1) / z.sum(1, keepdim=True).clamp(min=1)
        return self.classify(average).squeeze(-1), z


class Scorer(nn.Module):
    """One score per word, from a BiLSTM over the review."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(width, 1)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """From word vectors (batch, n, width) to scores (batch, n), arbitrary at padding."""
        lengths = mask.sum(1).cpu()
        packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1]
        )
        return self.score(self.dropout(states)).squeeze(-1)
