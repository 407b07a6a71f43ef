"""The pruner: which arcs it keeps, and a parser that scores those alone."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

import optlayers as ol
from examples.data import Corpus, Sentence
from examples.data.toy import generate
from examples.parsing.batches import collate
from examples.parsing.encoder import Sizes
from examples.parsing.semantics import SemanticParser, pair_vectors
from examples.parsing.vocabulary import Vocabulary
from examples.syntax_to_semantics.config import Config, make_config
from examples.syntax_to_semantics.evaluate import evaluate
from examples.syntax_to_semantics.methods import find_method
from examples.syntax_to_semantics.model import JointParser
from examples.syntax_to_semantics.pruner import (
    ARC,
    MAX_ARGUMENTS,
    Pruner,
    arcs_loss,
    pruner_scores,
    train_pruner,
    unlabelled,
    with_gold,
)
from examples.syntax_to_semantics.run import load_data, load_model, make_model, parse
from examples.syntax_to_semantics.train import train
from examples.training.settings import ConfigError

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

TINY = make_config(
    "small", word_size=12, tag_size=6, hidden=10, mlp=8, batch_size=8, epochs=1, method="none"
)
SIZES = Sizes(word=5, lemma=3, tag=4, hidden=6, mlp=7)
QUIET = {"accelerator": "cpu", "quiet": True}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return generate(0, trees=(16, 8, 8), graphs=(40, 8, 8))


def model_for(corpus: Corpus, prune: float, method: str = "none") -> JointParser:
    torch.manual_seed(0)
    return make_model(replace(TINY, method=method, prune=prune), corpus)


def long_sentences(n: int) -> list[Sentence]:
    words = [f"w{i}" for i in range(n)]
    arcs = [(0, j, "A") for j in range(1, n)]
    return [Sentence(words[:k], words[:k], ["X"] * k, arcs=arcs[: k - 1]) for k in (n, n - 9)]


def posteriors(pruner: Pruner, batch) -> torch.Tensor:
    """P(arc) = P(predicate) P(arc | predicate), word by word."""
    graphs = ol.SemanticGraphs(batch.lengths, 1)
    own, arcs, _ = graphs.unpack(pruner(batch, graphs)[0].detach())
    assert own is not None
    found = torch.zeros(len(batch), graphs.size, graphs.size)
    for b, n in enumerate(batch.lengths.tolist()):
        rows = arcs[b].reshape(graphs.size, graphs.size)[:n, :n].tolist()
        for i in range(n):
            total = float(own[b, i]) + sum(
                math.log1p(math.exp(rows[i][j])) for j in range(n) if j != i
            )
            for j in range(n):
                if j != i:
                    found[b, i, j] = 1 / (1 + math.exp(-total)) / (1 + math.exp(-rows[i][j]))
    return found


@pytest.fixture(scope="module")
def long_batch():
    sentences = long_sentences(30)
    return collate(sentences, Vocabulary.of(sentences))


@pytest.fixture(scope="module")
def pruner(long_batch) -> Pruner:
    torch.manual_seed(1)
    found = Pruner(Vocabulary.of(long_batch.sentences), SIZES).eval()
    with torch.no_grad():
        found.arc.weight *= 5  # probabilities far from 1/2
    return found


# ---------------------------------------------------------------------- what is kept


def test_arcs_above_the_threshold_are_kept(pruner, long_batch):
    expected = posteriors(pruner, long_batch)
    threshold = float(expected[expected > 0].quantile(0.8))  # so that no predicate has too many
    kept = pruner.keep(long_batch, threshold)
    assert 0 < int((expected >= threshold).sum(-1).max()) <= MAX_ARGUMENTS
    assert torch.equal(kept, expected >= threshold)


def test_a_predicate_keeps_its_most_probable_arguments(pruner, long_batch):
    expected = posteriors(pruner, long_batch)
    kept = pruner.keep(long_batch, 1e-30)
    assert kept.sum(-1).tolist()[0] == [MAX_ARGUMENTS] * 30
    assert kept.sum(-1).tolist()[1] == [MAX_ARGUMENTS] * 21 + [0] * 9  # padding has none
    for row, mask in zip(expected[0], kept[0], strict=True):
        assert row[mask].min() >= row[~mask].max()


def test_gold_arcs_are_added(long_batch):
    nothing = torch.zeros(2, 30, 30, dtype=torch.bool)
    kept = with_gold(nothing, long_batch.sentences)
    assert kept.nonzero().tolist() == [
        [b, 0, j] for b, n in enumerate((30, 21)) for j in range(1, n)
    ]


def test_the_loss_is_that_of_its_definition(pruner, long_batch):
    graphs = ol.SemanticGraphs(long_batch.lengths, 1)
    scores = pruner(long_batch, graphs)[0].detach()
    own, arcs, _ = graphs.unpack(scores)
    assert own is not None
    by_hand = 0.0
    for b, n in enumerate(long_batch.lengths.tolist()):
        rows = arcs[b].reshape(30, 30)[:n, :n].double()
        chances = torch.log1p(rows.exp()).fill_diagonal_(0).sum(-1) + own[b, :n]
        by_hand += float(torch.log1p(chances.exp()).sum() - rows[0, 1:].sum() - own[b, 0])
    found = arcs_loss(graphs, scores, long_batch.sentences)
    assert float(found) == pytest.approx(by_hand, rel=1e-5)


# ---------------------------------------------------------------------- a parser of kept arcs


@pytest.mark.parametrize("heads", [False, True])
def test_scores_of_kept_arcs_are_those_of_all(long_batch, heads):
    parser = SemanticParser(Vocabulary.of(long_batch.sentences), SIZES, heads).eval()
    keep = torch.rand(2, 30, 30) < 0.2
    dense = ol.SemanticGraphs(long_batch.lengths, 1)
    sparse = ol.SemanticGraphs(long_batch.lengths, 1, arcs=keep)
    assert sparse.num_slots < dense.num_slots / 2
    tree = torch.softmax(torch.randn(2, 31, 31), 1) if heads else None
    whole = dense.unpack(parser(long_batch, dense, tree)[0])
    kept = sparse.unpack(parser(long_batch, sparse, tree)[0])
    torch.testing.assert_close(kept.predicates, whole.predicates)
    for b in range(2):
        index = sparse.arc_index[b][sparse.arc_mask[b]]
        slots = index[:, 0] * 30 + index[:, 1]
        count = int(sparse.arc_mask[b].sum())
        torch.testing.assert_close(kept.arcs[b, :count], whole.arcs[b, slots])
        torch.testing.assert_close(kept.labels[b, :count], whole.labels[b, slots])


def test_no_more_pairs_are_scored_than_are_kept(long_batch):
    parser = SemanticParser(Vocabulary.of(long_batch.sentences), SIZES, heads=False)
    rows = []
    parser.label_pairs.rest.register_forward_hook(lambda *x: rows.append(x[-1].shape[:-1].numel()))
    keep = with_gold(torch.zeros(2, 30, 30, dtype=torch.bool), long_batch.sentences)
    for arcs in (None, keep):
        parser(long_batch, ol.SemanticGraphs(long_batch.lengths, 1, arcs=arcs))
    assert rows == [2 * 30 * 30, 2 * 29]  # the second is padded to the first


def test_some_pairs_are_those_of_all(long_batch):
    parser = SemanticParser(Vocabulary.of(long_batch.sentences), SIZES, heads=False)
    h = torch.randn(2, 5, 12)
    pairs = torch.tensor([[[0, 3], [4, 1]], [[2, 2], [0, 1]]])
    some, every = (pair_vectors(parser.arc_pairs, h, p) for p in (pairs, None))
    for b in range(2):
        for k, (i, j) in enumerate(pairs[b].tolist()):
            torch.testing.assert_close(some[b, k], every[b, i, j])


def test_pruning_nothing_changes_nothing(corpus):
    """All sentences here are shorter than what a predicate may keep."""
    plain, pruned = model_for(corpus, 0.0), model_for(corpus, 1e-30)
    assert pruned.pruner is not None
    assert plain.pruner is None
    pruned.load_state_dict(plain.state_dict(), strict=False)
    plain.eval()
    pruned.eval()
    batch = collate(corpus.graphs["train"][:8], plain.vocabulary)
    assert pruned.graphs(batch).num_slots <= plain.graphs(batch).num_slots
    torch.testing.assert_close(pruned.loss(batch), plain.loss(batch))
    found, expected = (parse(m, corpus.graphs["dev"]) for m in (pruned, plain))
    assert [sorted(s.arcs or ()) for s in found] == [sorted(s.arcs or ()) for s in expected]
    assert any(s.arcs for s in found)


def test_gold_arcs_are_kept_in_training_alone(corpus):
    model = model_for(corpus, 0.999999)
    batch = collate(corpus.graphs["train"][:8], model.vocabulary)
    arcs = [len(s.arcs or ()) for s in batch.sentences]
    assert model.graphs(batch, gold=True).num_slots == max(arcs)
    assert model.graphs(batch).num_slots == 0
    loss = model.loss(batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert loss > 0
    assert all(s.arcs == [] for s in parse(model, corpus.graphs["dev"]))


def test_a_pruner_is_frozen(corpus):
    model: Any = model_for(corpus, 0.01, "spigot").train()
    assert model.pruner is not None
    assert model.syntax is not None
    assert (model.training, model.syntax.training, model.pruner.training) == (True, True, False)
    batch = collate(corpus.graphs["train"][:8], model.vocabulary)
    model.loss(batch).backward()
    assert all(p.grad is None for p in model.pruner.parameters())
    groups = model.configure_optimizers().param_groups
    optimised = {id(p) for group in groups for p in group["params"]}
    assert not optimised & {id(p) for p in model.pruner.parameters()}


@pytest.mark.parametrize("method", ["syntax", "pruner"])
def test_models_without_labelled_graphs_are_not_pruned(corpus, method):
    assert model_for(corpus, 0.01, method).pruner is None


# ---------------------------------------------------------------------- runs


def test_a_pruner_is_trained_and_scored_without_labels(corpus):
    plain = unlabelled(corpus)
    for bank, other in zip(plain.graphs.values(), corpus.graphs.values(), strict=True):
        for s, t in zip(bank, other, strict=True):
            assert s.arcs == [(i, j, ARC) for i, j, _ in t.arcs or ()]
    model = make_model(replace(TINY, method="pruner"), corpus)
    assert (model.vocabulary.labels, model.vocabulary.deterministic) == ((ARC,), ())
    assert {label for s in parse(model, corpus.graphs["dev"]) for *_, label in s.arcs or ()} <= {
        ARC
    }
    data = load_data(replace(TINY, method="pruner", data_options={"graphs": [4, 2, 2]}))
    assert {label for s in data.graphs["dev"] for *_, label in s.arcs or ()} == {ARC}


def test_the_pruner_of_a_model_is_a_run_of_its_own(corpus, tmp_path):
    model = model_for(corpus, 1e-3)
    train_pruner(model, tmp_path, corpus, QUIET)
    drawn = torch.rand(3)
    config = Config.load(tmp_path / "config.yaml")
    assert (config.method, config.prune, config.epochs) == ("pruner", 0.0, 1)
    assert find_method(config.method).title == "pruner of arcs"
    trained = load_model(tmp_path)
    assert model.pruner is not None
    assert trained.semantics is not None
    for one, other in zip(model.pruner.parameters(), trained.semantics.parameters(), strict=True):
        assert torch.equal(one, other)
        assert not one.requires_grad
    again = model_for(corpus, 1e-3)
    train_pruner(again, tmp_path, corpus, QUIET)  # not trained again, and the same seed after it
    assert torch.equal(torch.rand(3), drawn)
    other = generate(1, trees=(16, 8, 8), graphs=(40, 8, 8))
    with pytest.raises(ConfigError, match=r"vocabulary of other data\. Delete it"):
        train_pruner(model_for(other, 1e-3), tmp_path, other, QUIET)


def test_scores_of_a_pruner_are_counted_arc_by_arc(corpus):
    model, gold = model_for(corpus, 0.5).eval(), corpus.graphs["dev"]
    assert model.pruner is not None
    chances = posteriors(model.pruner, collate(gold, model.vocabulary))
    threshold = float(chances[chances > 0].median())
    model.config = replace(model.config, prune=threshold)
    kept = found = pairs = arcs = 0
    for sentence in gold:
        mask = model.pruner.keep(collate([sentence], model.vocabulary), threshold)[0]
        found += sum(bool(mask[i, j]) for i, j, _ in sentence.arcs or ())
        arcs += len(sentence.arcs or ())
        kept += int(mask.sum())
        pairs += len(sentence) * (len(sentence) - 1)
    assert 0 < found < arcs
    expected = {"pruner_recall": found / arcs, "pruner_kept": kept / pairs}
    assert pruner_scores(model, gold) == pytest.approx(expected)
    scores = evaluate(model, corpus, "dev")
    assert scores.items() >= expected.items()
    assert scores["UR"] <= scores["pruner_recall"]  # what is pruned is lost
    assert "pruner_kept" not in evaluate(model_for(corpus, 0.0), corpus, "dev")


def test_a_run_trains_its_pruner_first_and_keeps_it(corpus, tmp_path):
    result = train(replace(TINY, prune=0.05), tmp_path, corpus=corpus, **QUIET)
    pruner, whole = load_model(tmp_path / "pruner"), load_model(tmp_path)
    assert pruner.semantics is not None
    assert whole.pruner is not None
    for one, other in zip(pruner.semantics.parameters(), whole.pruner.parameters(), strict=True):
        assert torch.equal(one, other)
    assert 0 < result["dev"]["pruner_kept"] < 1
    assert json.loads((tmp_path / "result.json").read_text()) == result


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prune": 1.0}, "`prune` must be from 0 to less than 1. Got 1.0"),
        ({"prune": -0.5}, "`prune` must not be negative. Got -0.5"),
        ({"prune": 0.1, "method": "freda"}, "one formalism, and 'freda' parses several"),
    ],
)
def test_wrong_thresholds_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config("small", **settings)
