"""The quickstart's corpus, its reader of the Stanford Sentiment Treebank, and its batches."""

import random

import pytest

from examples.data import DataError
from examples.quickstart import corpus, sst
from examples.quickstart.data import (
    PADDING,
    UNKNOWN,
    Review,
    Vocabulary,
    batches,
    collate,
    max_words,
)


def count_spans(chosen: list[bool]) -> int:
    return sum(now and not before for before, now in zip([False, *chosen], chosen, strict=False))


def test_count_spans_counts():
    assert [count_spans(c) for c in ([], [True, True], [True, False, True])] == [0, 1, 2]


def test_corpus_is_deterministic():
    assert corpus.generate(3, (20, 5, 5)) == corpus.generate(3, (20, 5, 5))
    assert corpus.generate(3, (20, 5, 5)) != corpus.generate(4, (20, 5, 5))


def test_gold_rationales_fit_the_budget():
    for review in corpus.generate(0).train:
        assert len(review.words) == len(review.rationale)
        assert 1 <= sum(review.rationale or ()) <= max_words(len(review.words), corpus.SHARE)
        assert count_spans(review.rationale) <= corpus.SPANS


def test_gold_rationale_alone_gives_the_label():
    negators, positive = set(corpus.NEGATORS), {*corpus.PRAISE, *corpus.LOVED}
    for review in corpus.generate(1, (300, 0, 0)).train:
        words = [w if g else "|" for w, g in zip(review.words, review.rationale, strict=True)]
        opinions = " ".join(words).replace("|", " ").split()
        votes = [
            (word in positive) != (i > 0 and opinions[i - 1] in negators)
            for i, word in enumerate(opinions)
            if word not in negators
        ]
        assert set(votes) == {bool(review.label)}


def test_corpus_is_balanced_and_has_distractors():
    reviews = corpus.generate(0).train
    assert 0.45 < sum(r.label for r in reviews) / len(reviews) < 0.55
    opinion = {*corpus.PRAISE, *corpus.BLAME}
    for review in reviews:
        others = [w for w, g in zip(review.words, review.rationale, strict=True) if not g]
        assert opinion & set(others)


def test_sst_has_the_counts_of_the_paper(data_dir):
    splits = sst.load(data_dir / "sst")
    assert [len(part) for part in splits] == [6920, 872, 1821]
    first = splits.dev[0]
    assert first == Review(first.words, 1)
    assert first.words[:5] == ["It", "'s", "a", "lovely", "film"]
    assert {review.label for part in splits for review in part} == {0, 1}


def test_sst_files_that_are_malformed_missing_or_neutral(tmp_path):
    with pytest.raises(DataError, match=r"train\.txt does not exist. Expected a folder with"):
        sst.load(tmp_path)
    (tmp_path / "train.txt").write_text("(2 neutral)\n", encoding="utf-8")
    with pytest.raises(DataError, match="no sentence that is not neutral"):
        sst.load(tmp_path)
    (tmp_path / "train.txt").write_text("(3 fine)\n(3 a film)\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.txt:2: a node holds either one word or nodes"):
        sst.load(tmp_path)


@pytest.mark.parametrize(
    ("length", "share", "words"),
    [(1, 0.2, 1), (9, 0.2, 1), (10, 0.2, 2), (100, 0.29, 29), (7, 1, 7)],
)
def test_max_words_is_never_above_the_share(length, share, words):
    assert max_words(length, share) == words


def test_batches_hold_every_review_once_and_pad_rarely():
    reviews = corpus.generate(0, (100, 0, 0)).train
    vocabulary = Vocabulary(reviews)
    found = list(batches(reviews, vocabulary, 0.2, 16, random.Random(0)))
    assert sorted(r.words for b in found for r in b.reviews) == sorted(r.words for r in reviews)
    assert sum(int((~b.mask).sum()) for b in found) < 0.1 * sum(b.mask.numel() for b in found)
    again = list(batches(reviews, vocabulary, 0.2, 16, random.Random(0)))
    assert all(a.reviews == b.reviews for a, b in zip(found, again, strict=True))


def test_collate_pads_and_counts():
    vocabulary = Vocabulary([Review(["Good", "film"], 1)])
    batch = collate([Review(["good"], 1), Review(["FILM", "unseen"] * 6, 0)], vocabulary, 0.2)
    assert batch.mask.sum(1).tolist() == [1, 12]
    assert batch.ids[0, 1:].eq(PADDING).all()
    assert batch.ids[1, 1] == UNKNOWN
    assert batch.labels.tolist() == [1.0, 0.0]
    assert batch.max_words.tolist() == [1, 2]
