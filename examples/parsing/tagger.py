"""Parts of speech and lemmas for sentences that have none: a small tagger, trained on UD EWT.

python -m examples.parsing.tagger sst

writes `sst/train.conllu` and so on beside the trees of the Stanford Sentiment Treebank, which then
are read by `load_reviews("sst", tagged=True)`. The authors of the paper took NLTK's.
"""

import argparse
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from examples.data import PARTS, DataError, Sentence, read_conllu, read_sst, write_conllu
from examples.data.fetch import tree_file
from examples.data.load import data_folder
from examples.data.sst import sst_file, tagged_file

from .batches import Batch, Batches
from .encoder import Encoder, Sizes
from .layers import linear
from .vocabulary import Vocabulary

SIZES = Sizes(
    word=100,
    lemma=50,
    tag=25,
    layers=1,
    hidden=100,
    dropout=0.3,
    dropped="apart",
    embedding_norm=6.0,
    separate=False,
)
SUFFIX, EPOCHS, RATE = 3, 4, 2e-3
Rule = tuple[int, str]
"""Letters that a lemma takes from the end of a word, and those that it puts there."""


class Tagger(nn.Module):
    """A BiLSTM over words, their last letters and their shapes; a linear layer for each word.

    Args:
        sentences: The training sentences, with their tags.
    """

    def __init__(self, sentences: Sequence[Sentence]):
        super().__init__()
        self.tags = sorted({tag for s in sentences for tag in s.tags})
        self.vocabulary = Vocabulary.of([spelled(s) for s in sentences])
        self.encoder = Encoder(self.vocabulary, SIZES, root=False)
        self.output = linear(self.encoder.width, len(self.tags))
        self.lemmas = Lemmas(sentences)

    def forward(self, batch: Batch) -> Tensor:
        """Scores of the tags of all words, `(B, n, tags)`."""
        return self.output(self.encoder(batch))

    def loss(self, batch: Batch, gold: Sequence[Sentence]) -> Tensor:
        """Log-loss per word."""
        number = {tag: i for i, tag in enumerate(self.tags)}
        wanted = [number[tag] for s in gold for tag in s.tags]
        found = torch.cat([row[: len(s)] for row, s in zip(self(batch), gold, strict=True)])
        return nn.functional.cross_entropy(found, torch.tensor(wanted))

    @torch.no_grad()
    def tag(self, sentences: Sequence[Sentence]) -> list[Sentence]:
        """The sentences with parts of speech and lemmas, in their order."""
        self.eval()
        found = [replace(s) for s in sentences]
        known = [i for i, s in enumerate(found) if len(s)]
        bank = {"words": [spelled(found[i]) for i in known]}
        for batch in Batches(bank, self.vocabulary, 64):
            for i, row in zip(batch.indices, self(batch).argmax(-1).tolist(), strict=True):
                s = found[known[i]]
                s.tags = [self.tags[number] for number in row[: len(s)]]
                s.lemmas = [self.lemmas.of(w, t) for w, t in zip(s.words, s.tags, strict=True)]
        return found


class Lemmas:
    """Lemmas by word and part of speech; of other words by their last letters."""

    def __init__(self, sentences: Sequence[Sentence]):
        words: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        rules: dict[tuple[str, str], Counter[Rule]] = defaultdict(Counter)
        for s in sentences:
            for word, lemma, tag in zip(s.words, s.lemmas, s.tags, strict=True):
                low = word.lower()
                words[low, tag][lemma] += 1
                rules[low[-SUFFIX:], tag][rule_of(low, lemma.lower())] += 1
        self.words = {key: counts.most_common(1)[0][0] for key, counts in words.items()}
        self.rules = {key: counts.most_common(1)[0][0] for key, counts in rules.items()}

    def of(self, word: str, tag: str) -> str:
        """The lemma of a word."""
        low = word.lower()
        if (low, tag) in self.words:
            return self.words[low, tag]
        cut, added = self.rules.get((low[-SUFFIX:], tag), (0, ""))
        return (low[: len(low) - cut] + added) if cut < len(low) else low


def rule_of(word: str, lemma: str) -> Rule:
    """What a lemma does to the end of a word."""
    pairs = enumerate(zip(word, lemma, strict=False))
    same = next((k for k, (a, b) in pairs if a != b), min(len(word), len(lemma)))
    return len(word) - same, lemma[same:]


def spelled(sentence: Sentence) -> Sentence:
    """The sentence with last letters in the place of lemmas, and shapes in that of tags."""
    shapes = ["".join(dict.fromkeys(map(_kind, word))) for word in sentence.words]
    return replace(sentence, lemmas=[w[-SUFFIX:] for w in sentence.words], tags=shapes)


def _kind(letter: str) -> str:
    if letter.isalpha():
        return "A" if letter.isupper() else "a"
    return "0" if letter.isdigit() else letter


def train_tagger(sentences: Sequence[Sentence], epochs: int = EPOCHS, seed: int = 0) -> Tagger:
    """A tagger that has seen the sentences so many times."""
    torch.manual_seed(seed)
    known = [s for s in sentences if len(s)]
    tagger = Tagger(known)
    batches = Batches({"words": [spelled(s) for s in known]}, tagger.vocabulary, 32, seed)
    optimizer = torch.optim.Adam(tagger.parameters(), lr=RATE)
    for epoch in range(epochs):
        batches.sampler.set_epoch(epoch)
        tagger.train()
        for batch in batches:
            optimizer.zero_grad()
            tagger.loss(batch, [known[i] for i in batch.indices]).backward()
            optimizer.step()
    return tagger


def accuracy(tagger: Tagger, sentences: Sequence[Sentence]) -> dict[str, float]:
    """The share of words with the right part of speech, and with the right lemma."""
    pairs = list(zip(sentences, tagger.tag(sentences), strict=True))
    return {
        name: sum(
            one == other
            for a, b in pairs
            for one, other in zip(getattr(a, name), getattr(b, name), strict=True)
        )
        / max(sum(len(a) for a, _ in pairs), 1)
        for name in ("tags", "lemmas")
    }


def tag_sst(folder: str | Path, epochs: int = EPOCHS) -> dict[str, float]:
    """Tags the treebank of a data folder; returns how good the tagger is on EWT's dev part."""
    trees = read_conllu(tree_file(folder, "train"))
    tagger = train_tagger(trees, epochs)
    for part in PARTS:
        reviews = tagger.tag(read_sst(sst_file(folder, part)))
        write_conllu(tagged_file(folder, part), reviews)
    return accuracy(tagger, read_conllu(tree_file(folder, "dev")))


def main(arguments: list[str] | None = None) -> int:
    """Tags the reviews; returns the exit status."""
    parser = argparse.ArgumentParser("python -m examples.parsing.tagger", description=__doc__)
    parser.add_argument("corpus", choices=["sst"])
    parser.add_argument("--data", type=Path, help="the data folder")
    options = parser.parse_args(arguments)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        found = tag_sst(data_folder(options.data))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(", ".join(f"{name} {100 * value:.1f} %" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
