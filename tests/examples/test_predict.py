"""New files parsed; files scored against each other; the licensed data's configs."""

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.data import (
    DataError,
    Sentence,
    read_conllu,
    read_sdp,
    write_conllu,
    write_sdp,
)
from examples.data.load_sdp import load_sdp
from examples.data.toy import generate
from examples.files import score_files
from examples.syntax_to_semantics import predict as predict_module
from examples.syntax_to_semantics.__main__ import main
from examples.syntax_to_semantics.config import Config, make_config
from examples.syntax_to_semantics.model import JointParser
from examples.syntax_to_semantics.predict import predict
from examples.syntax_to_semantics.run import load_model, parse
from examples.syntax_to_semantics.train import train
from examples.training import prediction
from examples.training.settings import ConfigError

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

TINY = make_config("small", word_size=8, tag_size=4, hidden=6, mlp=6, batch_size=8, epochs=1)
CORPUS = generate(0, trees=(16, 4, 4), graphs=(24, 6, 30))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run")
    train(TINY, path, corpus=CORPUS, accelerator="cpu", quiet=True)
    return path


def new_file(path: Path, sentences: list[Sentence]) -> Path:
    write_conllu(path, [replace(s, heads=None, relations=None) for s in sentences])
    return path


def different_lengths() -> list[Sentence]:
    """Of one word and of several sentences run together, in turn."""
    bank = CORPUS.graphs["test"]
    long = [s for k in range(5) for s in (bank[k], bank[-k - 1], bank[k + 5])]
    together = Sentence(
        [w for s in long for w in s.words],
        [w for s in long for w in s.lemmas],
        [w for s in long for w in s.tags],
    )
    found = []
    for k, s in enumerate(bank):
        one = Sentence(s.words[:1], s.lemmas[:1], s.tags[:1])
        found += [s, replace(one, id=f"one-{k}"), replace(together, id=f"long-{k}")]
    return found


# ---------------------------------------------------------------------- predict


@pytest.mark.parametrize("chunk", [4, 1000])
def test_the_order_is_that_of_the_file(chunk, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "CHUNK", chunk)
    sentences = different_lengths()
    source = new_file(tmp_path / "new.conllu", sentences)
    trees, graphs = predict(folder, source)
    assert trees == tmp_path / "new-parsed.conllu"
    expected = parse(load_model(folder), sentences)
    parsed = read_conllu(trees)
    assert [s.id for s in parsed] == [s.id for s in sentences]
    assert [s.words for s in parsed] == [s.words for s in sentences]
    assert [s.heads for s in parsed] == [s.heads for s in expected]
    found = read_sdp(graphs)
    assert [s.id for s in found] == [s.id for s in sentences]
    assert [sorted(s.arcs or ()) for s in found] == [sorted(s.arcs or ()) for s in expected]
    assert sum(len(s.arcs or ()) for s in expected) > 0


def test_an_empty_file_gives_files_without_sentences(folder, tmp_path):
    source = tmp_path / "none.conllu"
    source.write_text("")
    trees, graphs = predict(folder, source)
    assert (trees.read_text(), graphs.read_text()) == ("", "#SDP 2015\n")
    assert read_sdp(graphs) == []


TEXT = """\
# newdoc
# text = Don't go
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
1\tDo\tdo\tAUX\tVB\tMood=Imp\t3\taux\t3:aux\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t3:advmod\t_
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t0:root\tX=1

# sent_id = 1
1\tGo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
1.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t1:dep\t_

1\tGo\tgo\tVERB\tVB\t_\t_\t_\t_\t_

"""


def test_what_the_file_says_besides_trees_is_kept(folder, tmp_path):
    source = tmp_path / "new.conllu"
    source.write_text(TEXT)
    trees, graphs = predict(folder, source)
    heads = [s.heads or [] for s in read_conllu(trees)]
    expected = TEXT.replace("# newdoc", "# sent_id = _1\n# newdoc")  # as 1 is taken
    expected = expected.replace("\n\n1\tGo", "\n\n# sent_id = 3\n1\tGo")
    lines: list[Any] = [
        line.split("\t") for line in expected.splitlines() if not line.startswith("1.1")
    ]
    words = [line for line in lines if line[0].isdecimal()]
    for line, head in zip(words, [head for sentence in heads for head in sentence], strict=True):
        line[6:9] = [str(head), "_", "_"]
    assert trees.read_text() == "".join("\t".join(line) + "\n" for line in lines)
    assert [s.id for s in read_sdp(graphs)] == ["_1", "1", "3"]


def ranges(sentence: Sentence) -> list[tuple[int, str]]:
    return [(k, line) for k, line in sentence.skipped if "-" in line.split("\t")[0]]


def test_real_sentences_without_trees_and_graphs(data_dir, folder, tmp_path):
    path = next((data_dir / "ud_ewt").rglob("*dev.conllu"))
    real = read_conllu(path)[:30]
    bare = [replace(s, heads=None, relations=None, deps=None) for s in real]
    source = tmp_path / "dev.conllu"
    write_conllu(source, bare)
    trees, graphs = predict(folder, source)
    parsed = read_conllu(trees)
    assert all(s.heads is not None for s in parsed)
    stripped = [replace(s, heads=None) for s in parsed]
    # Comments and multiword tokens, too; not the empty nodes of the enhanced graphs.
    assert stripped == [replace(s, deps=["_"] * len(s), skipped=ranges(s)) for s in bare]
    assert [s.words for s in read_sdp(graphs)] == [s.words for s in real]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1\tGo\tgo\tVERB\tVB\n\n", r"new.conllu:5: wanted 10 columns"),
        (
            "1\t\tgo\tVERB\tVB\t_\t_\t_\t_\t_\n\n",
            r"new.conllu:5: FORM is empty",
        ),
        ("# sent_id = a\tb\n1\tGo\tgo\tV\tV\t_\t_\t_\t_\t_\n\n", r"sentence 2 .*id without tabs"),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_parsed(
    text, reason, folder, tmp_path, monkeypatch, capsys
):
    def never(*_):
        raise AssertionError("parsed")

    monkeypatch.setattr(JointParser, "parse", never)
    source = tmp_path / "new.conllu"
    source.write_text("# sent_id = 1\n1\tGo\tgo\tVERB\tVB\t_\t_\t_\t_\t_\n\n\n" + text)
    (tmp_path / "new-parsed.sdp").write_text("of an earlier run")
    assert main(["predict", str(folder), str(source)]) == 2
    with pytest.raises(ValueError, match=reason):
        raise ValueError(capsys.readouterr().err)
    assert {p.name for p in tmp_path.iterdir()} == {"new.conllu", "new-parsed.sdp"}
    assert (tmp_path / "new-parsed.sdp").read_text() == "of an earlier run"


def test_what_breaks_off_leaves_no_file(folder, tmp_path, monkeypatch):
    """Neither file appears if the second one cannot be written."""
    source = new_file(tmp_path / "new.conllu", CORPUS.graphs["test"])

    def broken(_, sentences):
        if len(sentences) > 1:  # each is tried first
            raise MemoryError

    monkeypatch.setattr(predict_module, "write_sdp", broken)
    with pytest.raises(MemoryError):
        predict(folder, source)
    assert [p.name for p in tmp_path.iterdir()] == ["new.conllu"]


def test_the_file_itself_is_not_replaced(folder, tmp_path):
    source = new_file(tmp_path / "new.conllu", CORPUS.graphs["dev"])
    before = source.read_bytes()
    with pytest.raises(ConfigError, match=r"would replace .*new.conllu. Choose another --output"):
        predict(folder, source, tmp_path / "new")
    assert source.read_bytes() == before


# ---------------------------------------------------------------------- evaluate


def written(folder: Path, name: str, sentences: list[Sentence]) -> str:
    path = folder / name
    (write_sdp if path.suffix == ".sdp" else write_conllu)(path, sentences)
    return str(path)


def test_two_files_of_trees_are_scored(tmp_path, capsys):
    gold = CORPUS.trees["dev"]
    dot = len(gold[0])
    wrong = [2 if j == 1 else 1 for j in range(1, dot + 1)]
    assert gold[0].tags[-1] == "."
    system = [replace(gold[0], heads=wrong), *gold[1:]]
    files = [written(tmp_path, f"{k}.conllu", s) for k, s in enumerate((gold, system))]
    assert main(["evaluate", *files, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    words = sum(map(len, gold))
    right = [g == w for g, w in zip(gold[0].heads or (), wrong, strict=True)]
    left_out = sum(tag == "." for s in gold for tag in s.tags)
    assert scores["with punctuation"]["UAS"] == pytest.approx(1 - (dot - sum(right)) / words)
    assert scores["without punctuation"]["UAS"] == pytest.approx(
        1 - (dot - 1 - sum(right[:-1])) / (words - left_out)
    )
    assert main(["evaluate", *files]) == 0
    assert "UEM" in capsys.readouterr().out


def other_word(bank: list[Sentence]) -> list[Sentence]:
    return [bank[0], replace(bank[1], words=["Other", *bank[1].words[1:]]), *bank[2:]]


def shorter(bank: list[Sentence]) -> list[Sentence]:
    s = bank[1]
    cut = Sentence(s.words[:2], s.lemmas[:2], s.tags[:2], id=s.id, heads=[2, 0], arcs=[])
    return [bank[0], cut, *bank[2:]]


@pytest.mark.parametrize("kind", ["sdp", "conllu"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            other_word,
            r"b\.\w+:{line}: sentence '{second}' is not that of .*a\.\w+: word 1 is 'Other'",
        ),
        (shorter, r"b\.\w+:{line}: sentence '{second}' .*it has 2 words, wanted {size}"),
        (lambda bank: bank[:1], r"a\.\w+:{line}: sentence '{second}' has no .*4 sentences, .* 1\."),
        (lambda bank: [bank[0], *bank[2:]], r"b\.\w+:{line}: sentence '{third}' stands where"),
    ],
)
def test_other_sentences_are_refused(change, reason, kind, tmp_path, capsys):
    gold = [replace(s, arcs=s.arcs or []) for s in CORPUS.trees["dev"]]
    files = [written(tmp_path, f"a.{kind}", gold), written(tmp_path, f"b.{kind}", change(gold))]
    assert main(["evaluate", *files]) == 2
    lines = Path(files[0]).read_text().splitlines()
    line = lines.index(f"#{gold[1].id}" if kind == "sdp" else f"# sent_id = {gold[1].id}") + 1
    values = {"line": line, "second": gold[1].id, "third": gold[2].id, "size": len(gold[1])}
    with pytest.raises(ValueError, match=reason.format(**values)):
        raise ValueError(capsys.readouterr().err)


def test_files_of_two_kinds_are_refused(tmp_path):
    trees, graphs = CORPUS.trees["dev"], CORPUS.graphs["dev"]
    a, b = written(tmp_path, "a.conllu", trees), written(tmp_path, "b.sdp", graphs)
    with pytest.raises(ValueError, match=r"Wanted two \.sdp .* Got .*a\.conllu and .*b\.sdp"):
        score_files(a, b)
    with pytest.raises(ValueError, match=r"Wanted two \.sdp files or two \.conllu files"):
        score_files(a, tmp_path / "b.txt")


def test_files_without_heads_are_refused(tmp_path):
    trees = CORPUS.trees["dev"]
    a = written(tmp_path, "a.conllu", trees)
    b = written(tmp_path, "b.conllu", [replace(s, heads=None) for s in trees])
    with pytest.raises(ValueError, match=r"b\.conllu:1: sentence '.*' has no heads to score"):
        score_files(a, b)


# ---------------------------------------------------------------------- licensed data


def test_the_config_of_licensed_data_can_be_filled_in():
    config = Config.named("sdp-paper")
    inspect.signature(load_sdp).bind(**config.data_options)
    with pytest.raises(DataError, match="cannot be read"):
        load_sdp(**config.data_options)
