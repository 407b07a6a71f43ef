"""Vectors of words in their sentence: embeddings and a BiLSTM."""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .batches import Batch
from .vocabulary import PADDING, ROOT, UNKNOWN, Numbering, Vocabulary

Dropped = Literal["paper", "apart"]
EMBEDDED = ("word", "lemma", "tag")


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
        dropped: What is dropped with it: "paper" is the word with its lemma and tag in the parser
            of trees, and the word alone in that of graphs; "apart" are words and lemmas, each by
            itself, in both.
        input_dropout: Dropout of the embeddings.
        dropout: Of the embeddings and of what each LSTM layer gives; the published code has none.
        activation: Of the layers that score, above the first layer of pairs: "tanh", or
            "leaky_relu", which learns faster.
        embedding_norm: Of the rows of the embeddings at the start; 1 in DyNet. With 6, entries are
            about as large as PyTorch makes them.
        separate: Whether each direction has its own LSTM of all layers, joined at the top, as in
            the published code; else directions are joined after each layer.
        syntax_layers: Of the perceptron that scores arcs of trees.
    """

    word: int = 100
    lemma: int = 50
    tag: int = 50
    layers: int = 2
    hidden: int = 200
    mlp: int = 100
    word_dropout: float = 0.25
    dropped: Dropped = "paper"
    input_dropout: float = 0.0
    dropout: float = 0.0
    activation: str = "tanh"
    embedding_norm: float = 1.0
    separate: bool = True
    syntax_layers: int = 2

    @classmethod
    def of(cls, config: Any, **others: Any) -> "Sizes":
        """Those that a config names, with `_size` behind those of embeddings.

        Args:
            config: Has the settings.
            **others: What is not as in the config.
        """
        names = {f.name: f"{f.name}_size" if f.name in EMBEDDED else f.name for f in fields(cls)}
        known = {f: getattr(config, name) for f, name in names.items() if hasattr(config, name)}
        return cls(**known | others)


class Encoder(nn.Module):
    """Embeddings of word, lemma and tag, then a BiLSTM.

    Args:
        vocabulary: What there are embeddings for.
        sizes: How large.
        root: Whether a symbol for the root stands before the first word, as in a parser of trees.

    References:
        Kiperwasser and Goldberg (2016), *Simple and accurate dependency parsing using bidirectional
        LSTM feature representations*, also for word dropout; Hochreiter and Schmidhuber (1997).
    """

    def __init__(self, vocabulary: Vocabulary, sizes: Sizes, root: bool):
        super().__init__()
        self.root, self.alpha, self.dropped = root, sizes.word_dropout, sizes.dropped
        norm = sizes.embedding_norm
        self.word = embedding(len(vocabulary.words), sizes.word, norm)
        self.lemma = embedding(len(vocabulary.lemmas), sizes.lemma, norm) if sizes.lemma else None
        self.tag = embedding(len(vocabulary.tags), sizes.tag, norm) if sizes.tag else None
        width = sizes.word + sizes.lemma + sizes.tag
        between = sizes.dropout if sizes.layers > 1 else 0.0
        lstms = [
            nn.LSTM(
                width,
                sizes.hidden,
                sizes.layers,
                batch_first=True,
                bidirectional=not sizes.separate,
                dropout=between,
            )
            for _ in range(2 if sizes.separate else 1)
        ]
        for lstm in lstms:
            initialise_lstm(lstm)
        self.lstms = nn.ModuleList(lstms)
        self.input_dropout = nn.Dropout(sizes.input_dropout)
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
            words, lemmas, tags = self._drop(words, lemmas, tags)
        if self.root:
            words, lemmas, tags = (
                nn.functional.pad(x, (1, 0), value=ROOT) for x in (words, lemmas, tags)
            )
            lengths = lengths + 1
        parts = [self.word(words)]
        parts += [] if self.lemma is None else [self.lemma(lemmas)]
        parts += [] if self.tag is None else [self.tag(tags)]
        x = self.dropout(self.input_dropout(torch.cat(parts, -1)))
        run = self._run_separately if len(self.lstms) == 2 else self._run_together
        return self.dropout(run(x, lengths))

    def _run_together(self, x: Tensor, lengths: Tensor) -> Tensor:
        (lstm,), n = self.lstms, x.shape[1]
        # Batches are by length, so that most need no packing, which costs a third more time.
        if bool((lengths == n).all()):
            return lstm(x)[0]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=n)[0]

    def _run_separately(self, x: Tensor, lengths: Tensor) -> Tensor:
        """One LSTM reads from the left, one from the right; what stands behind a word is not read.

        So padding, which is behind all words for both, needs no packing.
        """
        left, right = self.lstms
        places = torch.arange(x.shape[1])
        turned = lengths[:, None] - 1 - places
        turned = torch.where(turned < 0, places, turned).to(x.device).unsqueeze(-1)
        backwards = right(x.gather(1, turned.expand_as(x)))[0]
        ahead = left(x)[0]
        return torch.cat([ahead, backwards.gather(1, turned.expand_as(ahead))], -1)

    def _drop(self, words: Tensor, lemmas: Tensor, tags: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rare words become unknown, so that the vector for unknown words is trained."""
        drawn = self._drawn(words, self.word_counts)
        new_words = torch.where(drawn, UNKNOWN, words)
        if self.dropped == "apart":
            drawn = self._drawn(lemmas, self.lemma_counts)
            return new_words, torch.where(drawn, UNKNOWN, lemmas), tags
        if not self.root:
            return new_words, lemmas, tags
        return new_words, torch.where(drawn, UNKNOWN, lemmas), torch.where(drawn, UNKNOWN, tags)

    def _drawn(self, numbers: Tensor, occurrences: Tensor) -> Tensor:
        chance = self.alpha / (self.alpha + occurrences[numbers])
        return (torch.rand_like(chance) < chance) & (numbers != PADDING)


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
