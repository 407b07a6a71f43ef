"""Sentences as tensors, in an order that a seed and the epoch fix."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from examples.data import Sentence

from .vocabulary import Numbering, Vocabulary


@dataclass(frozen=True)
class Batch:
    """Sentences of one kind, padded to the longest.

    Args:
        kind: "trees", "graphs" or "reviews": which bank they are from.
        sentences: The sentences themselves, for gold structures and for scores.
        lengths: `(B,)`, on the host.
        words: `(B, n)`, 0 at padding.
        lemmas: `(B, n)`.
        tags: `(B, n)`.
        indices: Where each sentence stands in its bank.
    """

    kind: str
    sentences: list[Sentence]
    lengths: Tensor
    words: Tensor
    lemmas: Tensor
    tags: Tensor
    indices: list[int]

    def __len__(self) -> int:
        return len(self.sentences)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch with its numbers on a device; lengths stay, as decoders run on the host."""
        moved = {name: getattr(self, name).to(device) for name in ("words", "lemmas", "tags")}
        return replace(self, **moved)


def collate(
    sentences: Sequence[Sentence],
    vocabulary: Vocabulary,
    kind: str = "graphs",
    indices: Sequence[int] = (),
) -> Batch:
    """The batch of some sentences."""
    lengths = torch.tensor([len(s) for s in sentences], dtype=torch.long)
    size = int(lengths.max()) if len(sentences) else 0

    def numbers(numbering: Numbering, names: list[list[str]]) -> Tensor:
        rows = [[numbering[name] for name in row] + [0] * (size - len(row)) for row in names]
        return torch.tensor(rows, dtype=torch.long).reshape(len(sentences), size)

    return Batch(
        kind,
        list(sentences),
        lengths,
        numbers(vocabulary.words, [[w.lower() for w in s.words] for s in sentences]),
        numbers(vocabulary.lemmas, [[w.lower() for w in s.lemmas] for s in sentences]),
        numbers(vocabulary.tags, [s.tags for s in sentences]),
        list(indices),
    )


class Order:
    """Which sentences make which batch, a function of the seed and the epoch alone.

    Sentences of a bank are sorted by length, those of one length in a new order in each epoch, and
    cut into batches; the batches of all banks are shuffled together. So an epoch sees each
    sentence once, whatever bank it is from, unless it sees a share of a bank only.

    Args:
        lengths: For each bank, the lengths of its sentences.
        size: Sentences per batch.
        pairs: At most so many pairs of words per batch, which is what memory grows with; batches
            of long sentences are smaller.
        seed: None keeps the sentences in the order of their lengths, in all epochs.
        shares: The share of a bank's batches that an epoch sees, others in each epoch; all of them
            where nothing is said.
    """

    def __init__(
        self,
        lengths: Mapping[str, Sequence[int]],
        size: int,
        pairs: int,
        seed: int | None,
        shares: Mapping[str, float] | None = None,
    ):
        self.lengths, self.size, self.pairs, self.seed = dict(lengths), size, pairs, seed
        self.shares = dict(shares or {})
        self.epoch = 0
        self._count = len(self.batches())

    def set_epoch(self, epoch: int) -> None:
        """What the next pass over the batches sees."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._count

    def batches(self) -> list[tuple[str, list[int]]]:
        """The bank and the sentences of every batch of the epoch."""
        rng = random.Random(f"{self.seed} {self.epoch}")
        found = []
        for bank, lengths in sorted(self.lengths.items()):
            tie = [rng.random() if self.seed is not None else i for i in range(len(lengths))]
            order = sorted(range(len(lengths)), key=lambda i: (lengths[i], tie[i]))
            batches = [(bank, batch) for batch in self._cut(order, lengths)]
            if bank in self.shares:
                # Their number does not depend on the epoch, nor does that of all batches.
                batches = rng.sample(batches, round(self.shares[bank] * len(batches)))
            found += batches
        if self.seed is not None:
            rng.shuffle(found)
        return found

    def _cut(self, order: list[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        for i in order:
            full = len(batch) == self.size or (len(batch) + 1) * lengths[i] ** 2 > self.pairs
            if batch and full:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch


class Batches:
    """Batches of the union of one or more banks, again and again.

    Args:
        banks: Sentences by kind, "trees", "graphs" and so on.
        vocabulary: Numbers the words.
        size: Sentences per batch.
        seed: Fixes the order; None does not shuffle.
        pairs: See `Order`.
        shares: See `Order`.
    """

    def __init__(
        self,
        banks: Mapping[str, Sequence[Sentence]],
        vocabulary: Vocabulary,
        size: int,
        seed: int | None = None,
        *,
        pairs: int = 60_000,
        shares: Mapping[str, float] | None = None,
    ):
        self.banks, self.vocabulary = {k: v for k, v in banks.items() if v}, vocabulary
        lengths = {kind: [len(s) for s in bank] for kind, bank in self.banks.items()}
        # Under this name Lightning finds it, and calls set_epoch.
        self.sampler = Order(lengths, size, pairs, seed, shares)
        self.batch_sampler = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        for kind, indices in self.sampler.batches():
            chosen = [self.banks[kind][i] for i in indices]
            yield collate(chosen, self.vocabulary, kind, indices)
