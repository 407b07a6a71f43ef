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
    classifier averages embeddings of its own, of the chosen words alone.
    """

    def __init__(
        self, vocabulary_size: int, select: Selector, width: int = 100, dropout: float = 0.3
    ):
        super().__init__()
        self.select = select
        self.scorer = Scorer(vocabulary_size, width, dropout)
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=PADDING)
        # Small, so that the average of a few words is mostly what was learned about them.
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1)
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (batch,) and the weights of the words (batch, n)."""
        z = self.select(self.scorer(batch), batch)
        words = self.dropout(self.embedding(batch.ids))
        chosen = (z.unsqueeze(-1) * words).sum(1) / z.sum(1, keepdim=True).clamp(min=1)
        return self.classify(chosen).squeeze(-1), z


class Scorer(nn.Module):
    """One score per word, from a BiLSTM over the review."""

    def __init__(self, vocabulary_size: int, width: int, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=PADDING)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.score = nn.Linear(width, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Scores (batch, n); those of the padding mean nothing."""
        packed = pack_padded_sequence(
            self.dropout(self.embedding(batch.ids)),
            batch.mask.sum(1).cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        states, _ = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=batch.ids.shape[1]
        )
        return self.score(self.dropout(states)).squeeze(-1)
