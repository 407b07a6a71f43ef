"""The analysis of two systems: counts worked out by hand, and the command on two small runs."""

import csv
import json
import shutil
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from examples import metrics
from examples.data import DataError, Sentence
from examples.data.toy import generate
from examples.syntax_to_semantics import analyse as command
from examples.syntax_to_semantics import compare
from examples.syntax_to_semantics.analyse import analyse_command
from examples.syntax_to_semantics.config import make_config
from examples.syntax_to_semantics.evaluate import evaluate
from examples.syntax_to_semantics.run import load_data, load_model, make_model
from examples.syntax_to_semantics.train import train
from examples.training.settings import ConfigError, read_yaml
from optlayers.plotting import ROOT

picture: Any = command.picture  # tests let what draws return its arguments

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

X, Y, Z = (1, 0, "X"), (1, 3, "Y"), (4, 3, "Z")  # words 2 and 1, 2 and 4, 5 and 4 are joined
RIGHT = [2, 0, 2, 2, 4]


def sentence(name, heads, arcs) -> Sentence:
    words = "a b c d .".split()
    return Sentence(words, words, ["W"] * 4 + ["."], id=name, heads=heads, arcs=arcs)


def three(*rows) -> tuple[list[Sentence], ...]:
    """Gold, A and B of each row's name and (heads, arcs) of each of the three."""
    return tuple([sentence(row[0], *row[side]) for row in rows] for side in (1, 2, 3))


@pytest.fixture
def trio():
    """Five changes in two sentences with gold heads, one in a third without, none in the last."""
    gold = (RIGHT, [X, Y, Z])
    return three(
        ("s1", gold, ([3, 1, 4, 5, 4], [X]), ([2, 0, 5, 2, 4], [X, Y, Z])),
        ("s2", gold, (RIGHT, [X, Y, Z]), ([3, 0, 2, 2, 4], [X, Y])),
        ("s3", (None, [X, Y, Z]), (RIGHT, [X, Y, (4, 3, "X")]), ([2, 0, 2, 2, 3], [X, Y, Z])),
        ("s4", gold, ([2, 0, 2, 2, 2], []), ([2, 0, 2, 2, 2], [X, Y, (4, 3, "X")])),
    )


# ---------------------------------------------------------------------- by hand


def test_each_changed_word_has_its_category_and_its_effect(trio):
    found = [tuple(vars(change).values()) for change in compare.find_changes(*trio)]
    assert found == [
        (0, 0, 3, 2, ("a",), "wrong to right"),
        (0, 1, 1, 0, ("c",), "wrong to right"),
        (0, 2, 4, 5, (), "wrong to wrong"),
        (0, 3, 5, 2, ("a",), "wrong to right"),  # 5 is its head in the graph, too: no category
        (1, 0, 2, 3, (), "right to wrong"),
        (2, 4, 4, 3, ("c",), None),
    ]


def test_changes_are_counted_by_category(trio):
    counted = compare.count_changes(compare.find_changes(*trio))
    assert counted["changed"] == 6
    table = {name: tuple(row.values()) for name, row in counted["categories"].items()}
    assert table == {
        "a": (2, pytest.approx(1 / 3), 2, 0, 0),
        "b": (0, 0, 0, 0, 0),
        "c": (2, pytest.approx(1 / 3), 1, 0, 0),
        "any": (4, pytest.approx(2 / 3), 3, 0, 0),
        "several": (0, 0, 0, 0, 0),
        "none": (2, pytest.approx(1 / 3), 0, 1, 1),
        "all": (6, 1, 3, 1, 1),
    }


@pytest.mark.parametrize(
    ("arcs", "categories"),
    [
        # The head of word 3 changes from 1 to 2. Arcs are from heads to modifiers, from 0.
        ([(1, 2, "L")], ("a",)),
        ([(2, 1, "L")], ("b",)),
        ([(2, 0, "L")], ("c",)),
        ([(0, 2, "L")], ()),
        ([(1, 2, "L"), (2, 0, "L")], ("a", "c")),
        ([(2, 1, "L"), (2, 0, "L")], ("b", "c")),
        ([(1, 2, "L"), (2, 1, "L"), (2, 0, "L")], ("a", "b", "c")),
        ([(2, 2, "L"), (0, 1, "L"), (1, 0, "L")], ()),
        ([], ()),
    ],
)
def test_the_categories_of_the_paper_are_directed(arcs, categories):
    heads = [2, 0, 1, 2, 4]
    gold = sentence("s", None, arcs)
    a, b = sentence("s", heads, []), sentence("s", [2, 0, 2, 2, 4], [])
    (change,) = compare.find_changes([gold], [a], [b])
    assert (change.old, change.new, change.categories) == (1, 2, categories)
    counted = compare.count_changes([change])["categories"]
    held = [name for name in compare.CATEGORIES if counted[name]["count"]]
    assert tuple(held) == categories
    assert counted["any"]["count"] == bool(categories)
    assert counted["several"]["count"] == (len(categories) > 1)
    assert counted["none"]["count"] == (not categories)


def test_the_root_is_in_no_category():
    gold = sentence("s", None, [(1, 2, "L"), (2, 1, "L")])
    a, b = sentence("s", [2, 0, 2, 2, 4], []), sentence("s", [2, 3, 0, 2, 4], [])
    found = [(c.word, c.categories) for c in compare.find_changes([gold], [a], [b])]
    assert found == [(1, ("a", "b")), (2, ("c",))]


def test_groups_have_the_scores_of_both_systems(trio):
    groups = compare.group_scores(*trio)
    assert {name: (g["sentences"], g["words"]) for name, g in groups.items()} == {
        "SAME": (1, 5),
        "DIFF": (3, 15),
        "ALL": (4, 20),
    }
    expected = {  # UAS of 5, 10 and 15 words with gold heads; UF, LF = 2 common / (gold + given)
        ("SAME", "A"): (4 / 5, 0, 0),
        ("SAME", "B"): (4 / 5, 1, 4 / 6),
        ("DIFF", "A"): (6 / 10, 14 / 16, 12 / 16),
        ("DIFF", "B"): (8 / 10, 16 / 17, 16 / 17),
        ("ALL", "A"): (10 / 15, 14 / 19, 12 / 19),
        ("ALL", "B"): (12 / 15, 22 / 23, 20 / 23),
    }
    for (group, system), values in expected.items():
        scores = groups[group][system]
        assert tuple(scores[name] for name in ("UAS", "UF", "LF")) == pytest.approx(values)


def test_effects_are_those_of_b_against_a(trio):
    gold, a, b = trio
    found = compare.effects(*trio, samples=500)
    assert list(found) == ["UAS", "UAS_no_punctuation", "UF", "LF"]
    scores = {name: (values["A"], values["B"]) for name, values in found.items()}
    assert scores["UAS"] == pytest.approx((10 / 15, 12 / 15))
    assert scores["UAS_no_punctuation"] == pytest.approx((8 / 12, 10 / 12))
    assert scores["LF"] == pytest.approx((12 / 19, 20 / 23))
    assert found["UAS"]["difference"] == pytest.approx(2 / 15)
    turned = metrics.paired_bootstrap(gold, a, b, "LF", 500)
    assert found["LF"]["p_value"] == turned.p_value
    assert found["LF"]["interval"] == pytest.approx([-x for x in reversed(turned.interval)])
    assert found["LF"]["samples"] == 500


def test_equal_systems_differ_nowhere(trio):
    gold, a, _ = trio
    found = compare.analyse(gold, a, a, samples=100)
    assert found["groups"]["DIFF"]["sentences"] == 0
    assert found["groups"]["DIFF"]["A"] == {"UAS": None, "UF": None, "LF": None}
    assert found["groups"]["SAME"]["A"] == found["groups"]["ALL"]["A"]
    assert found["changes"]["changed"] == 0
    assert {row["rate"] for row in found["changes"]["categories"].values()} == {None}
    assert found["effect"]["LF"]["p_value"] == 1
    assert compare.choose(gold, a, a) is None


def test_without_gold_heads_there_is_no_uas(trio):
    gold, a, b = trio
    found = compare.analyse([replace(s, heads=None) for s in gold], a, b, samples=100)
    assert list(found["effect"]) == ["UF", "LF"]
    assert found["groups"]["ALL"]["A"]["UAS"] is None
    assert found["changes"]["categories"]["all"]["wrong to right"] == 0
    assert found["changes"]["categories"]["all"]["count"] == 6


def drawable(words, heads, a_arcs, b_arcs):
    """Gold, A and B of one sentence: A's tree is right, B's may not be."""
    rest = [1] * (words - 5)
    names = ["w"] * words
    return tuple(
        Sentence(names, names, names, heads=[*h, *rest], arcs=arcs)
        for h, arcs in ((RIGHT, [X, Y]), (RIGHT, a_arcs), (heads, b_arcs))
    )


def test_the_sentence_to_draw_has_a_better_graph_is_short_and_little_changed():
    one, two, more, fewer = [3, 0, 2, 2, 4], [3, 0, 2, 2, 2], [X, Y], [X]
    rows = [
        drawable(6, RIGHT, fewer, more),  # the same tree: never
        drawable(6, one, more, fewer),  # a worse graph
        drawable(6, one, more, more),  # one as good, which comes later
        drawable(16, one, fewer, more),  # long
        drawable(6, two, fewer, more),  # two changes
        drawable(9, one, fewer, more),
        drawable(8, one, fewer, more),
        drawable(8, one, fewer, more),  # which comes later
    ]
    found = [compare.choose(*zip(*rows[:last], strict=True)) for last in range(1, 9)]
    assert found == [None, 1, 1, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": None}, r"sentence 2 \(s2\): system B has no heads\. Wanted two systems with"),
        ({"heads": [0]}, r"sentence 2 \(s2\): system B has 1 heads for 5 words"),
        ({"arcs": None}, r"sentence 2 \(s2\): system has no arcs"),
        ({"id": "s9"}, r"sentence 2 \(s2\): system has s9 in its place"),
        (None, r"gold has 4, system 3"),
    ],
)
def test_systems_that_do_not_fit_are_refused(trio, change, message):
    gold, a, b = trio
    b = b[:3] if change is None else [b[0], replace(b[1], **change), *b[2:]]
    for function in (compare.analyse, compare.find_changes, compare.choose):
        with pytest.raises(DataError, match=message):
            function(gold, a, b)


# ---------------------------------------------------------------------- the picture


def test_changed_arcs_are_dashed_and_told_apart(trio, monkeypatch):
    monkeypatch.setattr(command, "draw_sentence", lambda *arguments: arguments)
    words, above, below, title = picture(*(side[0] for side in trio), titles=("one", "two"))
    assert (words, title) == (list("abcd."), "s1")
    assert [arc[:3] for arc in above] == [X, Y, Z]
    drawn = [(*arc[:3], arc[3].title) for arc in below]
    assert drawn == [
        (2, 0, "", "one only"),
        (1, 0, "gold", "two only"),
        (0, 1, "", "one only"),
        (ROOT, 1, "root gold", "two only"),
        (3, 2, "", "one only"),
        (4, 2, "", "two only"),
        (4, 3, "", "one only"),
        (1, 3, "gold", "two only"),
        (3, 4, "", "tree: one and two"),
    ]
    both, one, two = (
        next(arc[3] for arc in below if arc[3].title == t)
        for t in ("tree: one and two", "one only", "two only")
    )
    assert (both.dashes, both.colour) == ((), one.colour)
    assert one.dashes
    assert two.dashes not in ((), one.dashes)
    assert two.colour != one.colour


def test_the_graph_of_a_system_and_equal_titles(trio, monkeypatch):
    monkeypatch.setattr(command, "draw_sentence", lambda *arguments: arguments)
    gold, a, b = (side[1] for side in trio)
    b = replace(b, arcs=[(0, 0, "loop"), X])
    _, above, below, _ = picture(gold, a, b, titles=("SPIGOT", "SPIGOT"), system=True)
    assert [arc[:3] for arc in above] == [X]  # an arc from a word to itself is no arc to draw
    titles = {arc[3].title for arc in (*above, *below)}
    assert {"graph: SPIGOT (B)", "SPIGOT (A) only", "SPIGOT (B) only"} < titles


# ---------------------------------------------------------------------- the command

TINY = make_config(
    "small",
    word_size=12,
    tag_size=6,
    hidden=10,
    mlp=8,
    batch_size=8,
    epochs=2,
    data_options={"trees": [24, 8, 8], "graphs": [40, 20, 8]},
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for method in ("pipeline", "spigot"):
        config = replace(TINY, method=method)
        train(config, folder / method, accelerator="cpu", quiet=True)
    return folder


def run(*arguments):
    command, analyse = analyse_command()
    analyse(command.parse_args(list(map(str, arguments))))


def test_the_command_writes_what_it_prints(runs, tmp_path, capsys):
    folders = [runs / "pipeline", runs / "spigot"]
    run(*folders, "--output", tmp_path / "new" / "out", "--samples", 200, "--json")
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "new" / "out" / "analysis.json").read_text())
    assert printed == written
    assert written["part"] == "dev"
    assert written["systems"]["B"] == {"folder": str(folders[1]), "method": "spigot", "seed": 0}
    groups = written["groups"]
    assert groups["ALL"]["sentences"] == 20
    assert groups["SAME"]["sentences"] + groups["DIFF"]["sentences"] == 20
    assert groups["DIFF"]["sentences"] > 0
    categories = written["changes"]["categories"]
    assert categories["all"]["count"] == written["changes"]["changed"] > 0
    net = categories["all"]["wrong to right"] - categories["all"]["right to wrong"]
    gained = written["effect"]["UAS"]["difference"] * written["changes"]["words"]
    assert gained == pytest.approx(net)
    with (tmp_path / "new" / "out" / "analysis.csv").open() as file:
        table = dict(csv.reader(file))
    assert float(table["groups/ALL/B/LF"]) == groups["ALL"]["B"]["LF"]
    assert int(table["changes/categories/c/count"]) == categories["c"]["count"]
    assert float(table["effect/LF/interval/high"]) == written["effect"]["LF"]["interval"][1]


def test_scores_are_those_of_evaluate(runs, capsys):
    run(runs / "pipeline", runs / "spigot", "--part", "test", "--json", "--samples", 1)
    found = json.loads(capsys.readouterr().out)
    for name, method in (("A", "pipeline"), ("B", "spigot")):
        model = load_model(runs / method)
        scores = evaluate(model, load_data(model.config), "test")
        row = found["groups"]["ALL"][name]
        assert (row["LF"], row["UAS"]) == pytest.approx((scores["LF"], scores["graphs_UAS"]))
        effect = found["effect"]
        assert effect["treebank_UAS"][name] == pytest.approx(scores["UAS"])
        assert effect["UAS_no_punctuation"][name] == pytest.approx(
            scores["graphs_UAS_no_punctuation"]
        )


def test_the_command_prints_tables(runs, capsys):
    run(runs / "pipeline", runs / "spigot", "--samples", 10)
    printed = capsys.readouterr().out
    for text in ("A: pipeline, seed 0", "B: SPIGOT", "SAME", "DIFF", "(a) the new head is"):
        assert text in printed
    assert "UAS, treebank" in printed
    assert "picture" not in printed


def test_the_picture_is_that_of_the_sentence(runs, tmp_path, capsys):
    chosen = generate(0, **TINY.data_options).graphs["dev"][6]
    options = ("--output", tmp_path, "--samples", 1)
    run(runs / "pipeline", runs / "spigot", *options, "--picture", chosen.id)
    assert json.loads((tmp_path / "analysis.json").read_text())["picture"] == chosen.id
    tree = ElementTree.parse(tmp_path / "picture.svg")
    texts = [e.text for e in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert set(chosen.words) < set(texts)
    assert {label for *_, label in chosen.arcs or ()} < set(texts)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_against_itself_has_nothing_to_draw(runs, tmp_path, capsys):
    (tmp_path / "picture.svg").write_text("of an earlier analysis")
    run(runs / "spigot", runs / "spigot", "--output", tmp_path, "--samples", 10)
    assert "there is nothing to draw" in capsys.readouterr().out.replace("\n", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["analysis.csv", "analysis.json"]
    found = json.loads((tmp_path / "analysis.json").read_text())
    assert found["picture"] is None
    assert found["groups"]["DIFF"]["sentences"] == 0


def altered(folder, target, **settings):
    """A copy of a run that says it had other settings."""
    shutil.copytree(folder, target)
    path = target / "config.yaml"
    path.write_text(json.dumps(read_yaml(path) | settings))
    return target


@pytest.mark.parametrize(
    ("name", "value"),
    [("treebank", 0.5), ("graphbank", 0.5), ("data_options", {"seed": 3}), ("data", "ewt")],
)
def test_runs_on_other_data_are_refused(runs, tmp_path, name, value):
    other = altered(runs / "spigot", tmp_path / "other", **{name: value})
    with pytest.raises(ConfigError, match=rf"trained on the same data: .*pipeline has {name}=.*"):
        run(runs / "pipeline", other)


def test_other_seeds_and_sizes_are_not_other_data(runs, tmp_path, capsys):
    other = altered(runs / "spigot", tmp_path / "other", seed=3, epochs=9)
    run(runs / "pipeline", other, "--samples", 1, "--json")
    assert json.loads(capsys.readouterr().out)["systems"]["B"]["seed"] == 3


def test_runs_without_trees_or_graphs_are_refused(runs, tmp_path):
    model = make_model(replace(TINY, method="none"), load_data(TINY))
    model.config.save(tmp_path / "config.yaml")
    model.vocabulary.save(tmp_path / "vocabulary.json")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "best.ckpt")
    with pytest.raises(ConfigError, match=r"trained by 'none', which gives no trees\. Wanted two"):
        run(runs / "spigot", tmp_path)
    with pytest.raises(ConfigError, match=r"trained by 'syntax', which gives no graphs"):
        run(runs / "pipeline" / "parser", runs / "spigot")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "ood"], "no part 'ood'. Choose one of train, dev, test"),
        (["--picture", "x", "--output", "."], "part 'dev' .* no sentence 'x' to draw. The first"),
        (["--picture", "x"], "written into a folder. Name one by `--output`"),
        (["--samples", "0"], "`--samples` must be positive. Got 0"),
    ],
)
def test_wrong_options_are_refused(runs, options, message):
    with pytest.raises(ConfigError, match=message):
        run(runs / "pipeline", runs / "spigot", *options)


def test_missing_runs_are_named(runs, tmp_path):
    with pytest.raises(DataError, match=r"best.ckpt does not exist"):
        run(runs / "pipeline", tmp_path)
