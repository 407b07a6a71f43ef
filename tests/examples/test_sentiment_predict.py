"""Sentiments and graphs of new files; their files scored."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from examples.data import (
    Corpus,
    DataError,
    Sentence,
    read_conllu,
    read_sdp,
    read_sst,
    toy,
    toy_reviews,
    write_conllu,
    write_sdp,
)
from examples.data.plain import read_sentiments, stream_text, write_sentiments
from examples.files import score_files
from examples.semantics_to_sentiment import predict as predict_module
from examples.semantics_to_sentiment.config import make_config
from examples.semantics_to_sentiment.evaluate import evaluate
from examples.semantics_to_sentiment.model import SentimentModel
from examples.semantics_to_sentiment.predict import predict
from examples.semantics_to_sentiment.run import load_model, make_model, parse
from examples.semantics_to_sentiment.train import train
from examples.training.settings import ConfigError

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

BANKS = toy.generate(0, trees=(8, 4, 4), graphs=(24, 6, 6))
CORPUS = Corpus(BANKS.trees, BANKS.graphs, reviews=toy_reviews.generate(0, (64, 8, 40)))
REVIEWS = CORPUS.reviews["test"]
SIZES = {"word_size": 8, "hidden": 6, "mlp": 6, "batch_size": 8}
PARSER = {**SIZES, "epochs": 1}
TINY = make_config(
    "small", **SIZES, role_size=4, epochs=3, warmup=0, eta=0.2, parser_options=PARSER
)
UNTAGGED = replace(TINY, parser_options={**PARSER, "tag_size": 0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run whose parser reads words alone."""
    path = tmp_path_factory.mktemp("run")
    train(UNTAGGED, path, corpus=CORPUS, accelerator="cpu", quiet=True)
    return path


@pytest.fixture(scope="module")
def baseline(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("baseline")
    train(replace(TINY, method="bilstm"), path, corpus=CORPUS, accelerator="cpu", quiet=True)
    return path


def text_file(path: Path, sentences: list[Sentence]) -> Path:
    path.write_text("".join(" ".join(s.words) + "\n" for s in sentences), encoding="utf-8")
    return path


def different_lengths() -> list[Sentence]:
    """Of one word and of many, in turn, so that short ones are padded."""
    found = []
    for k, s in enumerate(REVIEWS[:12]):
        one = Sentence(s.words[:1], s.lemmas[:1], s.tags[:1], f"one-{k}")
        long = Sentence(s.words * 4, s.lemmas * 4, s.tags * 4, f"long-{k}")
        found += [replace(s, id=f"whole-{k}"), one, long]
    return found


def table(path: Path) -> list[list[str]]:
    """The columns of a table, read without this repository's reader."""
    raw = path.read_bytes()
    assert raw.endswith(b"\n")
    header, *rows = [line.split("\t") for line in raw[:-1].decode().split("\n")]
    assert header == ["id", "sentiment", "probability", "text"]
    return rows


def sign(sentence: Sentence) -> str:
    assert sentence.sentiment is not None
    return "positive" if sentence.sentiment >= 0.5 else "negative"


def check(files: list[Path], expected: list[Sentence]) -> None:
    """The files say of all sentences, in order, what the model does."""
    rows = table(files[0])
    assert [row[0] for row in rows] == [s.id for s in expected]
    assert [row[1] for row in rows] == [sign(s) for s in expected]
    given = [float(row[2]) for row in rows]
    assert given == pytest.approx([s.sentiment for s in expected], abs=2e-6)
    assert all(len(row[2]) == len("0.123456") for row in rows)
    assert [row[3] for row in rows] == [" ".join(s.words) for s in expected]
    if len(files) == 2:
        graphs = read_sdp(files[1])
        for name in ("id", "words", "lemmas", "tags"):
            assert [getattr(s, name) for s in graphs] == [getattr(s, name) for s in expected]
        assert [sorted(s.arcs or ()) for s in graphs] == [sorted(s.arcs or ()) for s in expected]


# ---------------------------------------------------------------------- predict


def test_the_files_say_what_the_model_does(folder, tmp_path):
    sentences = different_lengths()
    source = tmp_path / "new.conllu"
    write_conllu(source, sentences)
    files = predict(folder, source)
    assert [p.name for p in files] == ["new-predicted.tsv", "new-predicted.sdp"]
    expected = parse(load_model(folder), sentences)
    check(files, expected)
    assert {sign(s) for s in expected} == {"negative", "positive"}
    assert any(s.arcs for s in expected)


def test_a_method_without_parser_writes_no_graphs(baseline, tmp_path):
    source = text_file(tmp_path / "new.txt", REVIEWS)
    files = predict(baseline, source)
    assert [p.name for p in files] == ["new-predicted.tsv"]
    known = parse(load_model(baseline), REVIEWS)
    check(files, [replace(s, id=str(k)) for k, s in enumerate(known, start=1)])
    assert {p.name for p in tmp_path.iterdir()} == {"new.txt", "new-predicted.tsv"}


ODD = [
    ["8\u00a01/2", "stars", "\u2028", "\x85end", "\x0b\x0c\x1c"],
    ['"', "a", '"quoted', "'word'", "``", "''"],
    ["#", "#1", "_", "\\t", "\\"],
    ["\ufeff", "\U0001f600", "e\u0301", "NULL", "NaN"],
]


@pytest.mark.parametrize("end", ["\n", ""])
def test_odd_characters_break_neither_lines_nor_columns(end, folder, tmp_path):
    source = tmp_path / "new.txt"
    text = "\n".join("  " + "  ".join(words) + " " for words in ODD) + end
    source.write_bytes(text.encode())
    assert [s.words for s in stream_text(source)] == ODD
    scores, graphs = predict(folder, source)
    assert [row[3] for row in table(scores)] == [" ".join(words) for words in ODD]
    assert [s.words for s in read_sentiments(scores)] == ODD
    assert [s.words for s in read_sdp(graphs)] == ODD
    assert [s.id for s in read_sdp(graphs)] == ["1", "2", "3", "4"]
    source.write_bytes(" ".join(ODD[0]).encode())
    assert [s.words for s in read_sentiments(predict(folder, source)[0])] == ODD[:1]


CONLLU = """\
1\tgood\tgood\tADJ\tJJ\t_\t_\t_\t_\t_
2\t8 1/2\t_\tNUM\tCD\t_\t_\t_\t_\t_

# sent_id = 1
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t0\troot\t_\t_
2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_

"""


def test_sentences_without_ids_get_some(folder, tmp_path):
    source = tmp_path / "new.conllu"
    source.write_text(CONLLU)
    scores, graphs = predict(folder, source)
    shown = [(name, text) for name, _, _, text in table(scores)]
    assert shown == [("_1", "good 8 1/2"), ("1", "Do n't")]
    assert [(s.id, s.words) for s in read_sdp(graphs)] == [
        ("_1", ["good", "8 1/2"]),
        ("1", ["Do", "n't"]),
    ]


def test_lemmas_and_tags_are_read_where_the_parser_wants_them(folder, tmp_path, monkeypatch):
    tagged, bare = tmp_path / "tagged.conllu", text_file(tmp_path / "bare.txt", REVIEWS)
    write_conllu(tagged, [replace(s, lemmas=["_"] * len(s)) for s in REVIEWS])
    predict(folder, bare)  # its parser reads words alone: nothing to warn about
    model = make_model(TINY, CORPUS).eval()
    monkeypatch.setattr(predict_module, "load_model", lambda _: model)
    check(
        predict(folder, tagged), [replace(s, lemmas=["_"] * len(s)) for s in parse(model, REVIEWS)]
    )
    with pytest.warns(UserWarning, match=r"bare\.txt has no tags, and the parser was trained"):
        predict(folder, bare)
    assert model.parser is not None
    monkeypatch.setattr(model.parser, "config", replace(model.parser.config, lemma_size=3))
    with pytest.warns(UserWarning, match=r"bare\.txt has no lemmas and no tags, and"):
        predict(folder, bare)
    with pytest.warns(UserWarning, match=r"tagged\.conllu has no lemmas, and"):
        predict(folder, tagged)
    some_lemmas = [replace(s, lemmas=["be", *s.lemmas[1:]]) for s in read_conllu(tagged)]
    write_conllu(tagged, some_lemmas)
    predict(folder, tagged)
    bare.write_text("")
    predict(folder, bare)  # where there are no sentences, none lacks anything


def test_an_empty_file_gives_files_without_sentences(folder, tmp_path):
    for name in ("none.txt", "none.conllu"):
        (tmp_path / name).write_text("")
        scores, graphs = predict(folder, tmp_path / name)
        header = "id\tsentiment\tprobability\ttext\n"
        assert (scores.read_text(), graphs.read_text()) == (header, "#SDP 2015\n")
        assert read_sentiments(scores) == []


WORD = "1\tGo\tgo\tVERB\tVB\t_\t_\t_\t_\t_\n\n"
GO = f"# sent_id = 1\n{WORD}"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("new.txt", "a\n\nb\n", r"new\.txt:2: an empty line\. Wanted a sentence in each line"),
        ("new.txt", "a\nb\n  \n", r"new\.txt:3: an empty line"),
        ("new.txt", "a\nb\tc\n", r"new\.txt:2: a tab\. Wanted words separated by spaces"),
        ("new.txt", "a\nb\rc\n", r"new\.txt:2: a carriage return\. Wanted words"),
        ("new.txt", "a\r\nb\r\n", r"new\.txt:1: Windows line ends"),
        ("new.txt", b"a\n\xff\n", r"new\.txt:2: byte 1 .* is not UTF-8"),
        ("new.txt", "(3 (2 A) (3 film))\nA film\n", r"new\.txt:2: a tree begins with '\('"),
        ("new.tsv", "a\n", r"new\.tsv: wanted a file \.conllu, \.conllx, \.conll or \.txt"),
        ("new.conllu", GO + "1\tGo\n\n", r"new\.conllu:4: wanted 10 columns"),
        (
            "new.conllu",
            GO + WORD.replace("Go", "a\rb"),
            r"sentence 2 cannot .* carriage returns",
        ),
        ("new.conllu", GO + "# sent_id = a\tb\n" + WORD, r"sentence 2 cannot be written.*tabs"),
        ("new.conllu", GO + WORD.replace("go", ""), r"new.conllu:4: LEMMA is empty"),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_predicted(
    name, text, reason, folder, tmp_path, monkeypatch
):
    def never(*_):
        raise AssertionError("predicted")

    monkeypatch.setattr(SentimentModel, "parse", never)
    source = tmp_path / name
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "new-predicted.tsv").write_text("of an earlier run")
    with pytest.raises(DataError, match=reason):
        predict(folder, source)
    assert {p.name for p in tmp_path.iterdir()} == {name, "new-predicted.tsv"}
    assert (tmp_path / "new-predicted.tsv").read_text() == "of an earlier run"


def test_a_missing_file_is_named(folder, tmp_path):
    for name in ("none.txt", "none.conllu"):
        with pytest.raises(DataError, match=rf"{name} cannot be read: No such file"):
            predict(folder, tmp_path / name)


def test_the_file_itself_is_not_replaced(folder, tmp_path):
    real, source = tmp_path / "new.sdp", tmp_path / "new.txt"
    text_file(real, REVIEWS)
    source.symlink_to(real)
    before = real.read_bytes()
    with pytest.raises(ConfigError, match=r"would replace .*new\.txt\. Choose another --output"):
        predict(folder, source, tmp_path / "new")
    assert real.read_bytes() == before


# ---------------------------------------------------------------------- evaluate


def trees(path: Path, sentences: list[Sentence], neutral: bool = False) -> Path:
    """A file of the treebank: each sentence a tree that branches to the right."""
    lines = ["(2 (2 Hardly) (2 anything))"] if neutral else []
    for s in sentences:
        label = 4 if s.sentiment == 1 else 1
        *rest, last = (w.replace("/", "\\/") for w in s.words)
        line = f"(2 {last})"
        for word in reversed(rest):
            line = f"(2 (2 {word}) {line})"
        lines.append(f"({label}{line[2:]}")
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("neutral", [False, True])
def test_the_files_score_as_the_model_does(neutral, folder, tmp_path):
    model, source = load_model(folder), trees(tmp_path / "test.txt", REVIEWS, neutral)
    assert [(s.words, s.sentiment) for s in read_sst(source)] == [
        (s.words, s.sentiment) for s in REVIEWS
    ]
    with_ids, _ = predict(folder, source)
    assert table(with_ids)[0][0] == f"sst-test-{1 + neutral}"
    words, graphs = predict(folder, text_file(tmp_path / "words.txt", REVIEWS))
    found = parse(model, [replace(s, tags=["_"] * len(s)) for s in REVIEWS])
    right = [sign(a) == sign(b) for a, b in zip(REVIEWS, found, strict=True)]
    assert 0 < sum(right) < len(right)
    accuracy = evaluate(model, CORPUS, "test")["accuracy"]
    assert accuracy == pytest.approx(sum(right) / len(right))
    for system in (with_ids, words):
        assert score_files(source, system) == {"sentiment": {"accuracy": accuracy}}
    gold = tmp_path / "gold.tsv"
    write_sentiments(gold, [replace(s, id=str(k)) for k, s in enumerate(REVIEWS, start=1)])
    assert score_files(gold, words) == {"sentiment": {"accuracy": accuracy}}
    assert score_files(words, words) == {"sentiment": {"accuracy": 1.0}}
    assert score_files(graphs, graphs)["without tops"]["LF"] == 1.0


def test_graphs_that_were_predicted_are_scored(folder, tmp_path):
    bank = BANKS.graphs["test"]
    write_conllu(tmp_path / "new.conllu", bank)
    write_sdp(tmp_path / "gold.sdp", bank)
    _, graphs = predict(folder, tmp_path / "new.conllu")
    scores = score_files(tmp_path / "gold.sdp", graphs)["without tops"]
    expected = evaluate(load_model(folder), CORPUS, "test")
    assert {name: expected[name] for name in scores} == pytest.approx(scores)
    assert scores["LR"] > 0


def test_real_trees(data_dir, folder, tmp_path):
    """The first sentences of the treebank, its escapes and no-break spaces among them."""
    whole = (data_dir / "sst" / "train.txt").read_text(encoding="utf-8").split("\n")
    odd = [line for line in whole if "\u00a0" in line or "\\/" in line or "-LRB-" in line]
    source = tmp_path / "train.txt"
    source.write_text("\n".join([*whole[:40], *odd[:20]]) + "\n", encoding="utf-8")
    scores, graphs = predict(folder, source)
    gold = read_sst(source)
    assert [s.words for s in read_sentiments(scores)] == [s.words for s in gold]
    assert [s.words for s in read_sdp(graphs)] == [s.words for s in gold]
    found = parse(load_model(folder), gold)
    right = sum(sign(a) == sign(b) for a, b in zip(gold, found, strict=True))
    expected = {"sentiment": {"accuracy": pytest.approx(right / len(gold))}}
    assert json.loads(json.dumps(score_files(source, scores))) == expected
    copy = tmp_path / "copy.conllu"
    write_conllu(copy, [replace(s, sentiment=None) for s in gold])
    assert [s.words for s in read_conllu(copy)] == [s.words for s in gold]
    assert predict(folder, copy)[0].read_bytes() == scores.read_bytes()
