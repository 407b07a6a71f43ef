"""The quickstart's corpus, its reader of the Stanford Sentiment Treebank, and its batches."""

import random

import pytest

from examples.quickstart import corpus, sst
from examples.quickstart.data import (
    PADDING,
    UNKNOWN,
    DataError,
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
        assert 1 <= sum(review.rationale) <= max_words(len(review.words), corpus.SHARE)
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
    assert first.label == 1
    assert " ".join(first.words) == (
        "It 's a lovely film with lovely performances by Buy and Accorsi ."
    )
    words = {word for part in splits for review in part for word in review.words}
    assert {"(", ")"} <= words
    assert not [word for word in words if "RB-" in word or "\\" in word]


def test_read_tree_decodes_escapes_and_survives_deep_trees():
    line = r"(3 (2 -LRB-) (2 (2 and\/or) (4 (2 \*) (2 -RRB-))))"
    assert sst.read_tree(line) == (3, ["(", "and/or", "*", ")"])
    assert sst.read_tree("(1 " * 5000 + "deep" + ")" * 5000) == (1, ["deep"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 great)", r"a tree begins with '\('. Found '3'"),
        (")", r"a tree begins with '\('. Found '\)'"),
        ("(3 (2 a) (2 film)", r"the tree is not closed: 1 '\)' missing"),
        ("(3 (2 a) (2 film", r"the tree is not closed: 2 '\)' missing"),
        ("(3 (2 a)) (2 b)", r"one tree per line is expected. Found '\(' after the first"),
        ("(7 great)", "a node needs a label from 0 to 4. Found '7'"),
        ("(great)", "a node needs a label from 0 to 4. Found 'great'"),
        ("(3 (2 a) (", "a node needs a label from 0 to 4. Found 'the end of the line'"),
        ("(3 )", "a node holds neither a word nor nodes"),
        ("(3 a film)", "either one word or nodes. Found the word 'film' as well"),
        ("(3 (2 a) film)", "either one word or nodes. Found the word 'film' as well"),
        ("(3 a (2 film))", "either one word or nodes. Found both at 'a'"),
    ],
)
def test_malformed_line_is_reported_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "train.txt"
    path.write_text(f"(3 fine)\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"train\.txt:3: .*{message}"):
        sst.read_file(path)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(DataError, match=r"train\.txt does not exist. Expected a folder with"):
        sst.load(tmp_path)
    (tmp_path / "train.txt").write_text("(2 neutral)\n", encoding="utf-8")
    with pytest.raises(DataError, match="no sentence that is not neutral"):
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
