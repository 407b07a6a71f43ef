"""Vocabulary, word vectors and the order of batches."""

import json

import numpy as np
import pytest
import torch

from examples.data import DataError, Sentence
from examples.parsing.batches import Batches, Order, collate
from examples.parsing.vectors import put_vectors, read_vectors
from examples.parsing.vocabulary import PADDING, UNKNOWN, Numbering, Vocabulary


def sentence(*words: str, arcs=None) -> Sentence:
    return Sentence(list(words), [w[:3] for w in words], ["T" + w[0] for w in words], arcs=arcs)


SENTENCES = [
    sentence("The", "cat", "sat", arcs=[(2, 1, "A"), (2, 0, "B")]),
    sentence("the", "dog", arcs=[(1, 0, "B")]),
    sentence("sat", "the", "dog", "sat", arcs=[(0, 1, "B"), (0, 2, "B"), (3, 2, "A")]),
]


def test_vocabulary_counts_lower_case_words_and_finds_deterministic_labels():
    known = Vocabulary.of(SENTENCES, words=["bird"])
    assert known.words.names == ("sat", "the", "dog", "cat", "bird")
    assert known.words.counts == (3, 3, 2, 1, 0)
    assert known.words["unheard-of"] == UNKNOWN
    assert (known.labels, known.deterministic) == (("A", "B"), (0,))  # B is twice at one predicate


def test_vocabulary_reads_what_it_wrote(tmp_path):
    known = Vocabulary.of(SENTENCES)
    known.save(tmp_path / "v.json")
    again = Vocabulary.load(tmp_path / "v.json")
    assert again == known
    assert again.words["dog"] == known.words["dog"] != UNKNOWN


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "cannot be read"), ("{", "no vocab"), ("{}", "no vocab")]
)
def test_a_broken_vocabulary_is_refused(tmp_path, text, reason):
    path = tmp_path / "v.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=f"v.json: {reason}"):
        Vocabulary.load(path)


def test_batches_are_padded():
    known = Vocabulary.of(SENTENCES)
    batch = collate(SENTENCES, known, "trees")
    assert batch.lengths.tolist() == [3, 2, 4]
    assert batch.words[1].tolist() == [known.words["the"], known.words["dog"], PADDING, PADDING]
    assert batch.lemmas[0, 1] == known.lemmas["cat"]
    assert batch.tags[2, 3] == known.tags["Ts"]


def make_order(epoch=0, seed: int | None = 5, size=4, pairs=10**6) -> Order:
    rng = np.random.default_rng(0)
    order = Order(
        {"trees": rng.integers(1, 9, 30).tolist(), "graphs": rng.integers(1, 9, 50).tolist()},
        size,
        pairs,
        seed,
    )
    order.set_epoch(epoch)
    return order


def test_an_epoch_has_each_sentence_once_in_batches_of_one_kind():
    order = make_order()
    batches = order.batches()
    for kind, count in (("trees", 30), ("graphs", 50)):
        drawn = [i for found, batch in batches for i in batch if found == kind]
        assert sorted(drawn) == list(range(count))
    assert len(batches) == len(order) == 8 + 13
    spread = [[order.lengths[k][i] for i in batch] for k, batch in batches]
    assert max(max(s) - min(s) for s in spread) <= 2


def test_the_order_is_a_function_of_seed_and_epoch():
    first = make_order(3).batches()
    assert make_order(3).batches() == first
    assert make_order(4).batches() != first
    assert make_order(3, seed=6).batches() != first
    assert make_order(3, seed=None).batches() == make_order(4, seed=None).batches()


def test_long_sentences_make_small_batches():
    order = make_order(pairs=100)
    for kind, batch in order.batches():
        assert (
            len(batch) == 1 or len(batch) * max(order.lengths[kind][i] for i in batch) ** 2 <= 100
        )


def make_batches(**options) -> Batches:
    many = [SENTENCES[i % 3] for i in range(40)]
    return Batches({"graphs": many, "trees": []}, Vocabulary.of(many), 4, 1, **options)


def test_batches_of_an_epoch_are_the_same_again():
    first, again = make_batches(), make_batches()
    for batches in (first, again):
        batches.sampler.set_epoch(2)
    expected = [batch.indices for batch in first]
    assert [batch.indices for batch in again] == expected == [batch.indices for batch in again]
    assert len(expected) == len(first) == 10


GLOVE = "the 1 2\ncat 3 4.5\nodd x y\nlong 1 2 3\n"


def test_vectors_of_wanted_words_alone_are_kept(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text(GLOVE, encoding="utf-8")
    found = read_vectors(path, {"cat", "bird"}, 2)
    assert {word: vector.tolist() for word, vector in found.items()} == {"cat": [3, 4.5]}


@pytest.mark.parametrize(
    ("word", "reason"),
    [("odd", "v.txt:3: the vector of 'odd' is no numbers"), ("long", "v.txt:4: .*2 finite.*3")],
)
def test_bad_vectors_are_refused(tmp_path, word, reason):
    path = tmp_path / "v.txt"
    path.write_text(GLOVE, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        read_vectors(path, {word}, 2)
    with pytest.raises(DataError, match="does not exist"):
        read_vectors(tmp_path / "none", {word}, 2)


def test_vectors_are_put_where_their_words_are():
    words, weight = Numbering.of(["a", "b"]), torch.ones(5, 2)
    put_vectors(weight, words, {"b": np.array([3.0, 4.0]), "c": np.array([1.0, 1.0])})
    assert weight[words["b"]].tolist() == [3, 4]  # as they are, whatever the norms of the others
    assert (weight[: words["b"]] == 1).all()


def test_constant_vectors_get_no_gradient():
    words, weight = Numbering.of(["a", "b", "c"]), torch.ones(6, 2, requires_grad=True)
    put_vectors(weight, words, {"b": np.array([3.0, 4.0])}, constant=True)
    (weight * weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad[words["b"]].tolist() == [0, 0]
    rest = [i for i in range(6) if i != words["b"]]
    assert (weight.grad[rest] == 2).all()


def test_a_vocabulary_is_plain_json(tmp_path):
    Vocabulary.of(SENTENCES).save(tmp_path / "v.json")
    values = json.loads((tmp_path / "v.json").read_text())
    assert values["words"] == {"names": ["sat", "the", "dog", "cat"], "counts": [3, 3, 2, 1]}
