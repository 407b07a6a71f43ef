"""Tables of sentiments: written, read, and scored against each other."""

from io import StringIO
from pathlib import Path

import pytest

from examples.data import DataError, Sentence
from examples.data.plain import read_sentiments, write_sentiments
from examples.files import score_files
from examples.metrics import sentiment_scores


def write_to(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def some(sentiment: float | None, *words: str, name: str = "a") -> Sentence:
    return Sentence(list(words), ["_"] * len(words), ["_"] * len(words), name, sentiment=sentiment)


def test_a_table_in_full(tmp_path):
    target = StringIO()
    sentences = [some(1.0, "A", '"film'), some(0.5, "b", name="b"), some(0.4999999, "c", name="c")]
    write_sentiments(target, sentences)
    assert target.getvalue() == (
        "id\tsentiment\tprobability\ttext\n"
        'a\tpositive\t1.000000\tA "film\n'
        "b\tpositive\t0.500000\tb\n"
        "c\tnegative\t0.500000\tc\n"
    )
    judged = read_sentiments(write_to(tmp_path / "a.tsv", target.getvalue()))
    assert sentiment_scores(sentences, judged) == {"accuracy": 1.0}


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        (some(None, "a"), r"Sentence 'a' has no sentiment"),
        (some(1.0, "a\tb"), r"must not be empty nor hold tabs or newlines\. Got 'a\\tb'"),
        (some(1.0, "a\nb"), r"must not be empty nor hold tabs or newlines"),
        (some(1.0, "a\rb"), r"must not hold carriage returns\. Got 'a\\rb'"),
        (some(1.0, "a", name="a\r"), r"must not hold carriage returns"),
        (some(1.0, "a", name=""), r"must not be empty"),
    ],
)
def test_what_no_table_holds_is_refused(sentence, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        write_sentiments(tmp_path / "a.tsv", [sentence])
    assert list(tmp_path.iterdir()) == []


HEADER = "id\tsentiment\tprobability\ttext\n"
ROW = "1\tpositive\t0.9\tA film\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"a\.tsv: an empty file\. Wanted the columns id, sentiment, probability, text"),
        (ROW, r"a\.tsv:1: wanted the columns id, .*Found '1\\tpositive"),
        (HEADER + ROW + "2\tpositive\t0.9\n", r"a\.tsv:3: wanted 4 columns .*found 3"),
        (HEADER + ROW + "\n", r"a\.tsv:3: wanted 4 columns .*found 1"),
        (HEADER + "1\tgood\t0.9\tA\n", r"a\.tsv:2: wanted negative or positive, found 'good'"),
        (HEADER + ROW + ROW, r"a\.tsv:3: duplicate id '1': it is on line 2 too"),
        (HEADER + "1\tpositive\t0.9\t \n", r"a\.tsv:2: a sentence without words"),
    ],
)
def test_a_wrong_table_is_refused(text, reason, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        read_sentiments(path)


def test_a_table_without_its_last_newline_can_be_read(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(HEADER + ROW + "2\tnegative\t?\tB\u2028 film")
    expected = [some(1.0, "A", "film", name="1"), some(0.0, "B\u2028", "film", name="2")]
    assert read_sentiments(path) == expected


@pytest.mark.parametrize(
    ("system", "reason"),
    [
        (ROW + "2\tnegative\t0\tB", r"b\.tsv:3: sentence '2' .* word 1 is 'B', wanted 'Bad'"),
        (
            ROW,
            r"{gold}:{line}: .* has no counterpart: .* has 2 sentences, .*b\.tsv 1\. Is .*b\.tsv",
        ),
        (
            ROW + "2\tnegative\t0\tBad\n3\tpositive\t1\tC\n",
            r"b\.tsv:4: sentence '3' has no counterpart.* Is .*{gold} complete",
        ),
        ("2\tnegative\t0\tHm\n" + ROW, r"b\.tsv:2: sentence '2' .*(stands where|word 1 is 'Hm')"),
    ],
)
@pytest.mark.parametrize(("gold", "line"), [("a.tsv", 3), ("a.txt", 4)])
def test_other_sentences_are_refused(gold, line, system, reason, tmp_path):
    (tmp_path / "a.tsv").write_text(HEADER + ROW + "2\tnegative\t0\tBad\n")
    (tmp_path / "a.txt").write_text("(4 (2 A) (2 film))\n\n(2 Hm)\n(1 Bad)\n")
    (tmp_path / "b.tsv").write_text(HEADER + system)
    hint = r".* Neutral sentences of .*a\.txt are left out" if gold == "a.txt" else ""
    pattern = reason.format(gold=gold.replace(".", r"\."), line=line) + hint
    with pytest.raises(DataError, match=pattern):
        score_files(tmp_path / gold, tmp_path / "b.tsv")


def test_files_of_two_kinds_are_refused(tmp_path):
    for gold, system in (("a.tsv", "b.sdp"), ("a.sdp", "b.tsv"), ("a.tsv", "b.txt")):
        with pytest.raises(DataError, match=rf"two \.tsv files, or trees .*{gold} and .*{system}"):
            score_files(tmp_path / gold, tmp_path / system)
