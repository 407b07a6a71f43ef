"""Scores of trees and graphs against plain loops over words."""

from dataclasses import replace

import pytest
import torch

import optlayers as ol
from examples.data import Sentence
from examples.parsing.batches import collate
from examples.parsing.encoder import Encoder, Sizes
from examples.parsing.layers import PairPerceptron
from examples.parsing.semantics import SemanticParser
from examples.parsing.syntax import SyntaxParser
from examples.parsing.vocabulary import UNKNOWN, Vocabulary

SIZES = Sizes(word=5, lemma=3, tag=4, layers=2, hidden=6, mlp=7)
WORDS = "the cat sat on a mat".split()
SENTENCES = [
    Sentence(WORDS[:n], WORDS[:n], ["X"] * n, arcs=[(0, 1, "A"), (1, 0, "B")]) for n in (6, 3)
]
KNOWN = Vocabulary.of(SENTENCES)


@pytest.mark.parametrize("separate", [True, False])
def test_padding_changes_nothing(separate):
    encoder = Encoder(KNOWN, replace(SIZES, separate=separate), root=True).eval()
    together = encoder(collate(SENTENCES, KNOWN))
    assert together.shape == (2, 7, 12)
    for row, sentence in zip(together, SENTENCES, strict=True):
        alone = encoder(collate([sentence], KNOWN))[0]
        torch.testing.assert_close(row[: len(sentence) + 1], alone, rtol=0, atol=1e-6)


def test_directions_that_are_separate_are_joined_at_the_top():
    """Against each LSTM run word by word, over the sentence and over the sentence turned around."""
    encoder = Encoder(KNOWN, SIZES, root=False).eval()
    sentence = SENTENCES[1]
    batch = collate([sentence], KNOWN)
    assert encoder.lemma is not None
    assert encoder.tag is not None
    rows = zip(batch.words[0], batch.lemmas[0], batch.tags[0], strict=True)
    x = torch.stack(
        [torch.cat([encoder.word(w), encoder.lemma(m), encoder.tag(t)]) for w, m, t in rows]
    )
    left, right = (
        lstm(v[None])[0][0] for lstm, v in zip(encoder.lstms, (x, x.flip(0)), strict=True)
    )
    torch.testing.assert_close(encoder(batch)[0], torch.cat([left, right.flip(0)], -1))
    assert not any(lstm.bidirectional for lstm in encoder.lstms)


DROPPED = {  # of 20,000 words that occur twice, half: a / (a + 2) with a = 2
    ("paper", True): {"words", "lemmas", "tags"},
    ("paper", False): {"words"},
    ("apart", True): {"words", "lemmas"},
    ("apart", False): {"words", "lemmas"},
}


@pytest.mark.parametrize(("dropped", "root"), DROPPED)
def test_what_a_dropped_word_takes_along(dropped, root):
    encoder = Encoder(KNOWN, Sizes(word=5, word_dropout=2.0, dropped=dropped), root=root)
    names = ("words", "lemmas", "tags")
    numbers = [torch.full((1, 20_000), getattr(KNOWN, name)["sat"]) for name in names[:2]]
    numbers.append(torch.full((1, 20_000), KNOWN.tags["X"]))
    found = dict(zip(names, encoder._drop(*numbers), strict=True))
    unknown = {name: value == UNKNOWN for name, value in found.items()}
    assert {name for name, value in unknown.items() if value.any()} == DROPPED[dropped, root]
    for name in DROPPED[dropped, root]:
        share = unknown[name].float().mean().item()
        assert share == pytest.approx(0.5, abs=0.02)  # 5 standard deviations
        same = torch.equal(unknown[name], unknown["words"])
        assert same == (name == "words" or dropped == "paper")
    padding = encoder._drop(*(torch.zeros_like(n) for n in numbers))
    assert not any(n.any() for n in padding)


def test_rare_words_are_dropped_in_training_alone():
    encoder = Encoder(KNOWN, Sizes(word=5, word_dropout=2.0), root=False)
    batch = collate(SENTENCES, KNOWN)
    assert not torch.equal(encoder(batch), encoder(batch))
    encoder.eval()
    assert torch.equal(encoder(batch), encoder(batch))


def test_pairs_are_those_of_one_perceptron_over_both_vectors():
    pairs = PairPerceptron(4, 3, layers=2)
    left, right = torch.randn(2, 5, 4), torch.randn(2, 6, 4)
    found = pairs(left, right)
    both = torch.cat([pairs.left.weight, pairs.right.weight], 1)
    hidden = torch.tanh(both @ torch.cat([left[1, 2], right[1, 4]]) + pairs.right.bias)
    torch.testing.assert_close(found[1, 2, 4], pairs.rest(hidden))


@pytest.mark.parametrize("layers", [1, 2])
def test_syntax_scores_heads_by_modifiers(layers):
    parser = SyntaxParser(KNOWN, replace(SIZES, syntax_layers=layers)).eval()
    batch = collate(SENTENCES, KNOWN)
    scores, h = parser(batch), parser.encoder(batch)
    assert scores.shape == (2, 7, 7)
    hidden = torch.tanh(parser.pairs.left(h[0, 2]) + parser.pairs.right(h[0, 5]))
    if layers == 2:
        hidden = torch.tanh(parser.pairs.rest[0](hidden))
    torch.testing.assert_close(scores[0, 2, 5], parser.score(hidden)[0])


@pytest.mark.parametrize("heads", [False, True])
def test_semantics_scores_every_part(heads):
    parser = SemanticParser(KNOWN, SIZES, heads).eval()
    batch = collate(SENTENCES, KNOWN)
    graphs = ol.SemanticGraphs(batch.lengths, 2)
    tree = torch.softmax(torch.randn(2, 7, 7), 1) if heads else None
    scores, tops = parser(batch, graphs, tree)
    assert tops is None
    assert scores.shape == (2, graphs.num_parts)
    h = parser.encoder(batch)[0]
    if tree is not None:
        rows = torch.cat([parser.root[None], h])
        above = [sum(tree[0, i, j + 1] * rows[i] for i in range(7)) for j in range(6)]
        h = torch.cat([h, torch.stack(above)], -1)
    own, arcs, labels = graphs.unpack(scores)
    torch.testing.assert_close(own[0, 1], parser.predicate(h[1])[0])
    hidden = torch.tanh(parser.label_pairs.left(h[2]) + parser.label_pairs.right(h[4]))
    torch.testing.assert_close(
        labels[0].reshape(6, 6, 2)[2, 4], parser.label(parser.label_pairs.rest(hidden))
    )
    assert not torch.equal(arcs[0], labels[0, :, 0])


def test_heads_get_gradients():
    parser = SemanticParser(KNOWN, SIZES, heads=True)
    batch = collate(SENTENCES, KNOWN)
    graphs = ol.SemanticGraphs(batch.lengths, 2)
    heads = torch.zeros(2, 7, 7, requires_grad=True)
    parser(batch, graphs, heads)[0].sum().backward()
    assert heads.grad is not None
    assert (heads.grad[0, :, 1:] != 0).all()
    with pytest.raises(ValueError, match="reads trees: give `heads`"):
        parser(batch, graphs)


def test_memory_of_the_largest_batch_stays_small():
    """58 labels, 16 sentences of 60 words: what autograd keeps is far from n * n * L * hidden."""
    words = [f"w{i}" for i in range(60)]
    labels = [(0, i + 1, f"L{i}") for i in range(58)]
    sentences = [Sentence(words, words, ["X"] * 60, arcs=labels) for _ in range(16)]
    known = Vocabulary.of(sentences)
    parser = SemanticParser(known, Sizes(), heads=False)
    batch = collate(sentences, known)
    kept: dict[int, int] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        parser(batch, ol.SemanticGraphs(batch.lengths, 58))
    assert sum(kept.values()) < 300e6
