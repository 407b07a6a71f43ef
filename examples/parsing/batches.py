"""Sentences as tensors, in an order that a seed fixes and that can be resumed anywhere."""

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
        total: Sentences of this batch in all processes together.
        idle: Whether this is a sentence of another process, for one whose own part is empty: it
            takes the step with the others, without a loss of its own.
    """

    kind: str
    sentences: list[Sentence]
    lengths: Tensor
    words: Tensor
    lemmas: Tensor
    tags: Tensor
    indices: list[int]
    total: int
    idle: bool = False

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
    total: int = 0,
    idle: bool = False,
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
        total or len(sentences),
        idle,
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
    """Batches of one or more banks, again and again; remembers where it is.

    `state_dict` and `load_state_dict` make it resume in the middle of an epoch.

    Args:
        banks: Sentences by kind, "trees", "graphs" and so on.
        vocabulary: Numbers the words.
        size: Sentences per batch.
        seed: Fixes the order; None does not shuffle.
        pairs: See `Order`.
        rank: Which part of each batch this process gets; where there is none for it, an idle batch,
            so that all processes take the same steps.
        world: In how many parts each batch is dealt out.
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
        rank: int = 0,
        world: int = 1,
        shares: Mapping[str, float] | None = None,
    ):
        self.banks, self.vocabulary = {k: v for k, v in banks.items() if v}, vocabulary
        lengths = {kind: [len(s) for s in bank] for kind, bank in self.banks.items()}
        # Under this name Lightning finds it, and calls set_epoch.
        self.sampler = Order(lengths, size, pairs, seed, shares)
        self.batch_sampler = None
        self.rank, self.world = rank, world
        self.position = self._start = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        self.position, self._start = self._start, 0
        for kind, indices in self.sampler.batches()[self.position :]:
            self.position += 1
            own = indices[self.rank :: self.world]
            shown = own or indices[:1]
            chosen = [self.banks[kind][i] for i in shown]
            yield collate(chosen, self.vocabulary, kind, shown, len(indices), idle=not own)

    def state_dict(self) -> dict[str, int]:
        """How many batches of the epoch are done."""
        return {"position": self.position % max(len(self), 1)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next pass starts after those batches."""
        self._start = state["position"]
