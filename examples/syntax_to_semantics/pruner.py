"""A first, small model that says which arcs are worth scoring."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor

import optlayers as ol
from examples.data import Corpus, Sentence
from examples.parsing.batches import Batch, Batches
from examples.parsing.encoder import Encoder, Sizes
from examples.parsing.semantics import GraphScorer
from examples.parsing.vocabulary import Vocabulary
from examples.training.settings import ConfigError

if TYPE_CHECKING:
    from .model import JointParser

FOLDER = "pruner"
ARC = "arc"  # the label of all arcs
HIDDEN = 32  # of the LSTM, per direction, and of the perceptrons, as in the published code
MAX_ARGUMENTS = 20  # of a predicate, likewise


class Pruner(GraphScorer):
    """Scores of predicates and of arcs without labels: one LSTM layer, two-layer perceptrons.

    Trained by log-loss, so that the probability of an arc means something. An arc is kept if its
    probability is not under a threshold (the published code has 1e-4) and if it is one of the
    20 most probable of its predicate.

    Args:
        vocabulary: Words.
        sizes: Of the embeddings; the other sizes are fixed.

    References:
        Martins and Almeida (2014), *Priberam: a turbo semantic parser with second order features*;
        Peng, Thomson and Smith (2017), Section 3.
    """

    def __init__(self, vocabulary: Vocabulary, sizes: Sizes):
        super().__init__()
        sizes = replace(sizes, layers=1, hidden=HIDDEN, mlp=HIDDEN)
        self.encoder = Encoder(vocabulary, sizes, root=False)
        self.add_perceptrons(self.encoder.width, sizes, labels=0)

    def forward(
        self, batch: Batch, graphs: ol.SemanticGraphs, heads: None = None
    ) -> tuple[Tensor, None]:
        """Scores of the parts of `graphs`, those of labels 0, `(B, num_parts)`; none of tops."""
        return self.score(self.encoder(batch), graphs)[0], None

    @torch.no_grad()
    def keep(self, batch: Batch, threshold: float) -> Tensor:
        """Booleans `(B, n, n)`: arcs that are worth scoring."""
        graphs = ol.SemanticGraphs(batch.lengths, 1)
        arcs = graphs.unpack(graphs.marginals(self(batch, graphs)[0])).arcs
        arcs = arcs.unflatten(-1, (graphs.size, graphs.size))
        best = arcs.topk(min(MAX_ARGUMENTS, graphs.size)).indices
        among = torch.zeros_like(arcs, dtype=torch.bool).scatter_(-1, best, True)
        return among & (arcs >= threshold)


def arcs_loss(graphs: ol.SemanticGraphs, scores: Tensor, sentences: Sequence[Sentence]) -> Tensor:
    """Log-loss of the arcs, whatever their labels, summed over the sentences."""
    arcs = [[(i, j, 0) for i, j in gold_pairs(sentence)] for sentence in sentences]
    gold = graphs.from_arcs(arcs, dtype=scores.dtype, device=scores.device)
    return ol.log_loss(graphs, scores, gold)


def gold_pairs(sentence: Sentence) -> list[tuple[int, int]]:
    """Predicates and arguments, without arcs from a word to itself."""
    return [(i, j) for i, j, _ in sentence.arcs or () if i != j]


def with_gold(keep: Tensor, sentences: Sequence[Sentence]) -> Tensor:
    """The same arcs and those of the gold graphs, on the host."""
    keep = keep.cpu()
    for b, sentence in enumerate(sentences):
        for i, j in gold_pairs(sentence):
            keep[b, i, j] = True
    return keep


def unlabelled(corpus: Corpus) -> Corpus:
    """The corpus with one label for all arcs, which is what a pruner is trained and scored on."""

    def plain(sentence: Sentence) -> Sentence:
        return replace(sentence, arcs=[(i, j, ARC) for i, j, _ in sentence.arcs or ()])

    graphs = {part: [plain(s) for s in bank] for part, bank in corpus.graphs.items()}
    return Corpus(corpus.trees, graphs)


def train_pruner(
    model: "JointParser", folder: Path, corpus: Corpus, options: Mapping[str, Any]
) -> None:
    """Trains the pruner of a model as a run of its own, and takes its best epoch.

    Args:
        model: With `prune` in its config.
        folder: Of the pruner's run.
        corpus: Of the model's run.
        options: Of `train`.
    """
    from .run import load_model  # which import the model, and that this module
    from .train import train

    assert model.pruner is not None
    epochs = min(model.config.epochs, model.config.prune_epochs)
    config = replace(model.config, method="pruner", prune=0.0, surrogate=None, epochs=epochs)
    train(config, folder, corpus=unlabelled(corpus), **options)
    trained = load_model(folder)
    own, other = trained.vocabulary, model.vocabulary
    if (own.words, own.lemmas, own.tags) != (other.words, other.lemmas, other.tags):
        raise ConfigError(f"{folder} has the vocabulary of other data. Delete it.")
    assert trained.semantics is not None
    model.pruner.load_state_dict(trained.semantics.state_dict())
    lightning.seed_everything(model.config.seed, verbose=False)  # whether it was trained now or not


def pruner_scores(model: "JointParser", sentences: Sequence[Sentence]) -> dict[str, float]:
    """The share of gold arcs that are kept (nothing can find the others), and that of all pairs."""
    assert model.pruner is not None
    counts = torch.zeros(4, dtype=torch.long)
    for batch in Batches(
        {"graphs": [s for s in sentences if len(s)]},
        model.vocabulary,
        2 * model.config.batch_size,
        pairs=model.config.pairs,
    ):
        kept = model.pruner.keep(batch.to(model.device), model.config.prune).cpu()
        pairs = [gold_pairs(sentence) for sentence in batch.sentences]
        found = sum(bool(kept[b, i, j]) for b, gold in enumerate(pairs) for i, j in gold)
        possible = int((batch.lengths * (batch.lengths - 1)).sum())
        counts += torch.tensor([found, sum(map(len, pairs)), int(kept.sum()), possible])
    found, gold, kept, possible = counts.tolist()
    return {"pruner_recall": found / max(gold, 1), "pruner_kept": kept / max(possible, 1)}
