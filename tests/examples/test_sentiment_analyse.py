"""The pictures and the command of the second pipeline's analysis, on small runs."""

import csv
import json
import shutil
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from examples import metrics
from examples.data import DataError, Sentence
from examples.semantics_to_sentiment import analyse as command
from examples.semantics_to_sentiment import compare
from examples.semantics_to_sentiment.analyse import analyse_command, before
from examples.semantics_to_sentiment.config import make_config
from examples.semantics_to_sentiment.evaluate import evaluate
from examples.semantics_to_sentiment.run import load_data, load_model, load_parser, parse
from examples.semantics_to_sentiment.train import train
from examples.syntax_to_semantics import run as parsing
from examples.training.settings import ConfigError, read_yaml

picture: Any = command.picture  # tests let what draws return its arguments

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

# ---------------------------------------------------------------------- the picture


X, Y, Z = (1, 0, "X"), (1, 3, "Y"), (4, 3, "Z")
TURNED, OTHER = (0, 1, "X"), (1, 3, "X")


def sides(*known):
    """A sentence by gold, A and B, with the graph and the sentiment that each gives it."""
    words = "a b c d .".split()
    return [Sentence(words, words, words, "s1", arcs=arcs, sentiment=p) for arcs, p in known]


@pytest.fixture
def drawn(monkeypatch):
    monkeypatch.setattr(command, "draw_sentence", lambda *arguments, title: (*arguments, title))


def test_arcs_of_one_system_are_told_apart(drawn):
    before = [TURNED, OTHER, Z, (2, 2, "X")]
    trio = sides(([X, Y, Z], 1.0), (before, 0.4), ([X, Y, Z], 0.6))
    words, arcs, title = picture(*trio, titles=("one", "two"))
    assert (words, title) == (list("abcd."), "s1: positive; one 0.40, two 0.60")
    assert [(*arc[:3], arc[3].title) for arc in arcs] == [
        (*Z, "one and two"),
        (0, 1, "X", "one only"),  # not (2, 2): a word is not joined to itself
        (1, 0, "X gold", "two only"),
        (1, 3, "X > Y gold", "other label"),
    ]
    both, one, two, label = (arc[3] for arc in arcs)
    assert (both.dashes, label.dashes, one.colour) == ((), (), both.colour)
    assert () not in (one.dashes, two.dashes)
    assert one.dashes != two.dashes
    assert len({both.colour, two.colour, label.colour}) == 3


def test_titles_of_pictures(drawn):
    gold, a, b = sides(([X, Y], 0.0), ([X, Y], 0.5), ([OTHER], 0.49))
    *_, arcs, title = picture(gold, a, b, titles=("SPIGOT", "SPIGOT"))
    assert title == "s1: negative; SPIGOT (A) 0.50, SPIGOT (B) 0.49"
    assert {arc[3].title for arc in arcs} == {"SPIGOT (A) only", "other label"}
    assert arcs[-1][:3] == (1, 3, "Y gold > X")
    plain = replace(gold, sentiment=None, arcs=None)
    *_, arcs, title = picture(plain, a, b)
    assert title == "s1: A 0.50, B 0.49"
    assert not any("gold" in arc[2] for arc in arcs)


# ---------------------------------------------------------------------- the command

SIZES = {"word_size": 16, "hidden": 16, "mlp": 16, "batch_size": 8}
PARSER = {**SIZES, "epochs": 8, "learning_rate": 1e-2}
GRAPHS = {"data_options": {"trees": [8, 4, 4], "graphs": [160, 20, 8]}}
TINY = make_config(
    "small",
    **SIZES,
    role_size=4,
    epochs=2,
    warmup=0,
    eta=5 / 32,
    learning_rate=3e-3,
    data_options={"reviews": [48, 20, 12]},
    parser_options=PARSER | GRAPHS,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    corpus = load_data(TINY)
    for method in ("spigot", "straight-through", "pipeline", "bilstm"):
        config = replace(TINY, method=method)
        if method != "spigot":
            shutil.copytree(folder / "spigot" / "parser", folder / method / "parser")
        train(config, folder / method, corpus=corpus, accelerator="cpu", quiet=True)
    return folder


def run(*arguments):
    command, analyse_runs = analyse_command()
    analyse_runs(command.parse_args(list(map(str, arguments))))


def printed_json(capsys, *arguments):
    run(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


def test_the_command_writes_what_it_prints(runs, tmp_path, capsys):
    output = tmp_path / "new" / "out"
    printed = printed_json(capsys, runs / "spigot", "--output", output, "--samples", 200)
    written = json.loads((output / "analysis.json").read_text())
    assert printed == written
    assert written["part"] == "dev"
    system = {"folder": str(runs / "spigot"), "method": "spigot", "seed": 0}
    assert written["systems"] == {"A": system, "B": system}
    assert list(written["effect"]) == ["accuracy", "reviews_UF", "reviews_LF", "UF", "LF"]
    for bank in ("reviews", "graphs"):
        groups, changes = written[bank]["groups"], written[bank]["changes"]
        assert groups["ALL"]["sentences"] == changes["sentences"] == 20
        assert groups["DIFF"]["sentences"] == changes["changed"]
    assert written["reviews"]["changes"]["changed"] > 3
    with (output / "analysis.csv").open() as file:
        lines = list(csv.reader(file))
    table = dict(lines)
    assert len(table) == len(lines)
    for bank in ("reviews", "graphs"):
        both = written[bank]["contents"]["arcs"]["both"]
        assert int(table[f"{bank}/contents/arcs/both"]) == both
        lf = written[bank]["groups"]["ALL"]["B"]["LF"]
        assert float(table[f"{bank}/groups/ALL/B/LF"]) == lf
    kinds = written["reviews"]["changes"]["kinds"]
    assert int(table["reviews/changes/kinds/added/count"]) == kinds["added"]["count"]
    assert int(table["reviews/labels/ARG0/B"]) == written["reviews"]["labels"]["ARG0"]["B"]
    interval = [float(table[f"effect/reviews_LF/interval/{end}"]) for end in ("low", "high")]
    assert interval == written["effect"]["reviews_LF"]["interval"]
    assert interval[0] < interval[1]


def test_one_run_is_compared_with_its_parser_before(runs, capsys):
    found = printed_json(capsys, runs / "spigot", "--samples", 1)
    model, corpus = load_model(runs / "spigot"), load_data(TINY)
    scores = evaluate(model, corpus, "dev")
    for name in ("accuracy", "UF", "LF", "reviews_UF", "reviews_LF"):
        assert found["effect"][name]["B"] == scores[name]
    trained = load_parser(runs / "spigot")
    for bank, prefix in (("reviews", "reviews_"), ("graphs", "")):
        gold = getattr(corpus, bank)["dev"]
        graphs = parsing.parse(trained, gold)
        assert found[bank]["contents"]["arcs"]["A"] == sum(len(s.arcs) for s in graphs) > 50
        score = metrics.graph_scores(gold, graphs)["LF"]
        assert found["effect"][f"{prefix}LF"]["A"] == score
        assert found[bank]["groups"]["ALL"]["A"]["LF"] == score


def test_the_classifier_is_the_same_before_and_after(runs):
    """With the graphs of the parser before, not with its sentiments, of which it has none."""
    model, corpus = load_model(runs / "spigot"), load_data(TINY)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = before(model, runs / "spigot", corpus)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
        if name.startswith("classifier"):
            assert torch.equal(found.state_dict()[name], value)
    reviews = corpus.reviews["dev"]
    answers = parse(found, reviews)
    graphs = parsing.parse(load_parser(runs / "spigot"), reviews)
    assert [s.arcs for s in answers] == [s.arcs for s in graphs]
    changed = [
        a.sentiment != b.sentiment for a, b in zip(answers, parse(model, reviews), strict=True)
    ]
    assert any(changed)


def test_a_frozen_parser_changes_nothing(runs, tmp_path, capsys):
    for k in (1, 3):
        (tmp_path / f"picture-{k}.svg").write_text("of an earlier analysis")
    run(runs / "pipeline", "--output", tmp_path, "--samples", 10)
    assert "there is nothing to draw" in capsys.readouterr().out.replace("\n", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["analysis.csv", "analysis.json"]
    found = json.loads((tmp_path / "analysis.json").read_text())
    assert found["pictures"] == []
    assert found["reviews"]["changes"]["changed"] == found["graphs"]["changes"]["changed"] == 0
    assert found["effect"]["accuracy"]["p_value"] == 1
    model = load_model(runs / "pipeline")
    assert before(model, runs / "pipeline", load_data(TINY)) is model  # whatever its vectors


def test_pretrained_vectors_of_new_words_are_those_before(tmp_path):
    """The parser has them when the joint training starts; it never saw the words."""
    corpus = load_data(TINY)
    banks = [part for bank in (corpus.trees, corpus.graphs) for part in bank.values()]
    known = {word.lower() for bank in banks for s in bank for word in s.words}
    new = {word.lower() for s in corpus.reviews["train"] for word in s.words} - known
    rng = np.random.default_rng(0)
    vectors = {word: rng.normal(size=16).round(3) for word in sorted(new)[::2]}
    lines = (f"{word} {' '.join(map(str, vector))}\n" for word, vector in vectors.items())
    (tmp_path / "vectors.txt").write_text("".join(lines))
    options = PARSER | GRAPHS | {"epochs": 1, "vectors": str(tmp_path / "vectors.txt")}
    config = replace(TINY, epochs=1, parser_options=options)
    train(config, tmp_path / "run", corpus=corpus, accelerator="cpu", quiet=True)
    model = load_model(tmp_path / "run")
    first, again = (before(model, tmp_path / "run", corpus).parser for _ in range(2))
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
    words = model.vocabulary.words
    table = first.semantics.encoder.word.weight.detach()
    for word in new:
        row = table[words[word]]
        if word in vectors:
            wanted = torch.tensor(vectors[word]).to(row)
            assert torch.cosine_similarity(row, wanted, dim=0) > 1 - 1e-5
        else:
            assert torch.equal(row, table[1])  # that of unknown words


def test_two_runs_are_compared(runs, capsys):
    found = printed_json(
        capsys, runs / "spigot", runs / "straight-through", "--part", "test", "--samples", 1
    )
    assert found["part"] == "test"
    assert [s["method"] for s in found["systems"].values()] == ["spigot", "straight-through"]
    corpus = load_data(TINY)
    for name, method in (("A", "spigot"), ("B", "straight-through")):
        scores = evaluate(load_model(runs / method), corpus, "test")
        row = {score: values[name] for score, values in found["effect"].items()}
        assert row == {score: scores[score] for score in row}
        assert found["graphs"]["groups"]["ALL"][name]["LF"] == scores["LF"]
    assert found["reviews"]["changes"]["changed"] > 0


def test_the_command_prints_tables(runs, capsys):
    run(runs / "spigot", "--samples", 10)
    printed = capsys.readouterr().out
    for text in (
        "A: before, seed 0",
        "B: after, seed 0",
        "SAME",
        "DIFF",
        "words with a head",
        "relabelled",
    ):
        assert text in printed
    assert "LF, graph bank" in printed
    assert "picture" not in printed
    run(runs / "spigot", runs / "straight-through", "--samples", 10)
    printed = capsys.readouterr().out
    assert "A: SPIGOT, seed 0" in printed
    assert "B: straight-through, seed 0" in printed


def test_three_sentences_are_drawn(runs, tmp_path, capsys):
    run(runs / "spigot", "--output", tmp_path, "--samples", 1)
    assert str(tmp_path / "picture-3.svg") in capsys.readouterr().out.replace("\n", "")
    corpus, after = load_data(TINY), load_model(runs / "spigot")
    gold, models = corpus.reviews["dev"], [before(after, runs / "spigot", corpus), after]
    chosen = compare.choose(gold, *(parse(model, gold) for model in models))
    assert len(chosen) == 3
    pictures = json.loads((tmp_path / "analysis.json").read_text())["pictures"]
    assert pictures == [gold[k].id for k in chosen]
    for number, k in enumerate(chosen, start=1):
        tree = ElementTree.parse(tmp_path / f"picture-{number}.svg")
        texts = [e.text or "" for e in tree.iter("{http://www.w3.org/2000/svg}text")]
        assert set(gold[k].words) < set(texts)
        assert any(text.startswith(f"{gold[k].id}: ") and "after 0." in text for text in texts)
        assert {"before only", "after only", "other label"} & set(texts)
        assert (tmp_path / f"picture-{number}.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_are_those_of_the_named_sentences(runs, tmp_path, capsys):
    names = [load_data(TINY).reviews["dev"][k].id for k in (7, 2)]
    (tmp_path / "picture-3.png").write_text("of an earlier analysis")
    run(runs / "pipeline", "--output", tmp_path, "--samples", 1, "--picture", *names)
    assert json.loads((tmp_path / "analysis.json").read_text())["pictures"] == names
    drawn = sorted(path.name for path in tmp_path.glob("picture-*"))
    assert drawn == ["picture-1.png", "picture-1.svg", "picture-2.png", "picture-2.svg"]
    assert f"{names[1]}: " in (tmp_path / "picture-2.svg").read_text()


def test_a_graph_bank_without_the_part_is_left_out(runs, capsys, monkeypatch):
    corpus = load_data(TINY)
    bare = replace(corpus, graphs=corpus.graphs | {"dev": []})
    monkeypatch.setattr(command, "load_data", lambda _: bare)
    found = printed_json(capsys, runs / "spigot", "--samples", 1)
    assert "graphs" not in found
    assert list(found["effect"]) == ["accuracy", "reviews_UF", "reviews_LF"]
    run(runs / "spigot", "--samples", 1)
    assert "graph bank" not in capsys.readouterr().out


def altered(folder, target, path="config.yaml", **settings):
    """A copy of a run that says it had other settings."""
    shutil.copytree(folder, target)
    (target / path).write_text(json.dumps(read_yaml(target / path) | settings))
    return target


@pytest.mark.parametrize(
    ("name", "value"), [("reviewbank", 0.5), ("data_options", {"seed": 3}), ("data", "sst")]
)
def test_runs_on_other_data_are_refused(runs, tmp_path, name, value):
    other = altered(runs / "straight-through", tmp_path / "other", **{name: value})
    with pytest.raises(ConfigError, match=rf"trained on the same data: .*spigot has {name}=.*"):
        run(runs / "spigot", other)


@pytest.mark.parametrize(
    ("name", "value"), [("graphbank", 0.5), ("data_options", {"seed": 3}), ("data", "ewt")]
)
def test_parsers_on_other_data_are_refused(runs, tmp_path, name, value):
    options = {"path": "parser/config.yaml", name: value}
    other = altered(runs / "straight-through", tmp_path / "other", **options)
    with pytest.raises(
        ConfigError,
        match=rf"same data: .*spigot has parser\.{name}=.*, .*other has parser\.{name}=",
    ):
        run(runs / "spigot", other)


def test_runs_without_graphs_are_refused(runs):
    message = r"bilstm was trained by 'bilstm', which gives no graphs\. Wanted a run with a parser"
    for folders in (["bilstm"], ["bilstm", "spigot"], ["spigot", "bilstm"]):
        with pytest.raises(ConfigError, match=message):
            run(*(runs / name for name in folders))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "ood"], "Reviews: no part 'ood'. Choose one of train, dev, test"),
        (["--output", ".", "--picture", "x"], "'dev' of the reviews has no sentence 'x' to draw"),
        (["--output", ".", "--picture", *"wxyz"], r"Up to 3 sentences are drawn. Got \['w', 'x'"),
        (["--picture", "x"], "written into a folder. Name one by `--output`"),
        (["--samples", "0"], "`--samples` must be positive. Got 0"),
    ],
)
def test_wrong_options_are_refused(runs, options, message):
    with pytest.raises(ConfigError, match=message):
        run(runs / "spigot", *options)


def test_missing_runs_are_named(runs, tmp_path):
    with pytest.raises(DataError, match=r"best.ckpt does not exist"):
        run(runs / "spigot", tmp_path)
