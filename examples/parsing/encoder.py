"""Vectors of words in their sentence: embeddings and a BiLSTM."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .batches import Batch
from .vocabulary import PADDING, ROOT, UNKNOWN, Numbering, Vocabulary


@dataclass(frozen=True)
class Sizes:
    """Sizes of an encoder; the defaults are those of the published code.

    Args:
        word: Of the embeddings of words.
        lemma: Of lemmas; 0 for none.
        tag: Of parts of speech; 0 for none.
        layers: LSTM layers.
        hidden: Of an LSTM, per direction.
        mlp: Of the layers that score.
        word_dropout: A word that occurs c times is read as unknown with probability a / (a + c).
        dropout: Of the embeddings and of what each LSTM layer gives; the published code has none.
        activation: Of the layers that score, above the first layer of pairs: "tanh", or
            "leaky_relu", which learns faster.
        embedding_norm: Of the rows of the embeddings at the start; 1 in DyNet. With 6, entries are
            about as large as PyTorch makes them.
    """

    word: int = 100
    lemma: int = 50
    tag: int = 50
    layers: int = 2
    hidden: int = 200
    mlp: int = 100
    word_dropout: float = 0.25
    dropout: float = 0.0
    activation: str = "tanh"
    embedding_norm: float = 1.0


class Encoder(nn.Module):
    """Embeddings of word, lemma and tag, then a BiLSTM.

    Args:
        vocabulary: What there are embeddings for.
        sizes: How large.
        root: Whether a symbol for the root stands before the first word.

    References:
        Kiperwasser and Goldberg (2016), *Simple and accurate dependency parsing using bidirectional
        LSTM feature representations*, also for word dropout; Hochreiter and Schmidhuber (1997).
    """

    def __init__(self, vocabulary: Vocabulary, sizes: Sizes, root: bool):
        super().__init__()
        self.root, self.alpha = root, sizes.word_dropout
        norm = sizes.embedding_norm
        self.word = embedding(len(vocabulary.words), sizes.word, norm)
        self.lemma = embedding(len(vocabulary.lemmas), sizes.lemma, norm) if sizes.lemma else None
        self.tag = embedding(len(vocabulary.tags), sizes.tag, norm) if sizes.tag else None
        width = sizes.word + sizes.lemma + sizes.tag
        between = sizes.dropout if sizes.layers > 1 else 0.0
        self.lstm = nn.LSTM(
            width, sizes.hidden, sizes.layers, batch_first=True, bidirectional=True, dropout=between
        )
        initialise_lstm(self.lstm)
        self.dropout = nn.Dropout(sizes.dropout)
        self.width = 2 * sizes.hidden
        self.word_counts: Tensor
        self.lemma_counts: Tensor
        self.register_buffer("word_counts", counts(vocabulary.words), persistent=False)
        self.register_buffer("lemma_counts", counts(vocabulary.lemmas), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """`(B, n, width)`, or `(B, n + 1, width)` with the root first."""
        words, lemmas, tags, lengths = batch.words, batch.lemmas, batch.tags, batch.lengths
        if self.training and self.alpha > 0:
            words = self._drop(words, self.word_counts)
            lemmas = self._drop(lemmas, self.lemma_counts)
        if self.root:
            words, lemmas, tags = (
                nn.functional.pad(x, (1, 0), value=ROOT) for x in (words, lemmas, tags)
            )
            lengths = lengths + 1
        parts = [self.word(words)]
        parts += [] if self.lemma is None else [self.lemma(lemmas)]
        parts += [] if self.tag is None else [self.tag(tags)]
        return self.dropout(self._run(self.dropout(torch.cat(parts, -1)), lengths))

    def _run(self, x: Tensor, lengths: Tensor) -> Tensor:
        # Batches are by length, so that most need no packing, which costs a third more time.
        if bool((lengths == x.shape[1]).all()):
            return self.lstm(x)[0]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[
            0
        ]

    def _drop(self, numbers: Tensor, occurrences: Tensor) -> Tensor:
        """Rare words become unknown, so that the vector for unknown words is trained."""
        chance = self.alpha / (self.alpha + occurrences[numbers])
        dropped = (torch.rand_like(chance) < chance) & (numbers != PADDING)
        return torch.where(dropped, UNKNOWN, numbers)


def counts(numbering: Numbering) -> Tensor:
    """How often each number occurs in training; special ones never."""
    return torch.tensor((0,) * 3 + numbering.counts, dtype=torch.float)


def embedding(count: int, size: int, norm: float = 1.0) -> nn.Embedding:
    """Rows of about that norm: the smaller, the more Adam's first steps matter."""
    table = nn.Embedding(count, size, padding_idx=PADDING)
    bound = norm * math.sqrt(3 / size)
    nn.init.uniform_(table.weight, -bound, bound)
    with torch.no_grad():
        table.weight[PADDING] = 0
    return table


def initialise_lstm(lstm: nn.LSTM) -> None:
    """Glorot's weights; forget gates start open (Jozefowicz et al. 2015), as in DyNet."""
    for name, parameter in lstm.named_parameters():
        if "weight" in name:
            for gate in parameter.chunk(4):
                nn.init.xavier_uniform_(gate)
        else:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:
                nn.init.ones_(parameter.chunk(4)[1])
