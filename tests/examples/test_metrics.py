"""Scores, against the official toolkit's figures and counts by hand; the bootstrap."""

import math
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from examples.data import DataError, Sentence, read_sdp
from examples.metrics import (
    GRAPH_METRICS,
    TREE_METRICS,
    graph_counts,
    graph_scores,
    is_positive,
    paired_bootstrap,
    sentiment_scores,
    tree_counts,
    tree_scores,
)

WORDS = ["a", "b", "c", "."]


def sentence(heads=None, arcs=None, tops=None, name="") -> Sentence:
    tags = ["X", "HYPH", "-LRB-", "."]
    return Sentence(WORDS, WORDS, tags, id=name, heads=heads, arcs=arcs, tops=tops)


def graphs(*arcs, tops=()) -> Sentence:
    return sentence(arcs=list(arcs), tops=list(tops), name="g")


# The official figures


def test_the_fixed_point_of_the_official_toolkit(data_dir):
    gold = read_sdp(data_dir / "sdp" / "wsj89.psd.sdp")
    system = read_sdp(data_dir / "sdp" / "wsj89.dm.sdp")
    labelled = graph_counts(gold, system, labelled=True, tops=True)
    assert labelled.common.sum() == 66
    assert labelled.gold.sum() == 1_257 + 97
    assert labelled.system.sum() == 1_478 + 88
    assert graph_counts(gold, system, labelled=False, tops=True).common.sum() == 393

    def shown(scores, kind):
        return [f"{scores[kind + figure]:.6f}" for figure in "PRF"]

    with_tops = graph_scores(gold, system, tops=True)
    assert shown(with_tops, "L") == ["0.042146", "0.048744", "0.045205"]
    assert shown(with_tops, "U") == ["0.250958", "0.290251", "0.269178"]
    without = graph_scores(gold, system, tops=False)
    assert shown(without, "U") == ["0.221245", "0.260143", "0.239122"]


def test_the_formulas_give_an_official_report(data_dir):
    """Its counts, put in as arcs of one sentence, give its fractions."""
    report = (data_dir / "sdp" / "official_score_report_example.txt").read_text()
    blocks = re.findall(
        r"edges in gold standard: (\d+)\n.*: (\d+)\n.*: (\d+)\n\n"
        r"(.P): (.*)\n(.R): (.*)\n(.F): (.*)\n",
        report,
    )
    assert [block[3] for block in blocks] == ["LP", "UP", "LP", "UP"]
    for block in blocks:
        gold, system, common = map(int, block[:3])
        left = graphs(*((0, k, "A") for k in range(gold)))
        right = graphs(*((0, k, "A") for k in range(common)))
        right.arcs = [*(right.arcs or ()), *((1, k, "A") for k in range(system - common))]
        scores = graph_scores([left], [right])
        for name, figure in zip(block[3::2], block[4::2], strict=True):
            assert f"{scores[name]:.6f}" == figure


# By hand


def test_graph_scores():
    gold = [graphs((0, 1, "A"), (0, 2, "B"), (2, 3, "A"), tops=[0]), graphs(tops=[1])]
    system = [graphs((0, 1, "A"), (0, 2, "A"), (1, 0, "A"), (3, 2, "A")), graphs(tops=[1])]
    scores = graph_scores(gold, system)
    assert scores == pytest.approx(
        {
            "LP": 1 / 4, "LR": 1 / 3, "LF": 2 / 7, "LM": 1 / 2,
            "UP": 2 / 4, "UR": 2 / 3, "UF": 4 / 7, "UM": 1 / 2,
        }
    )  # fmt: skip
    assert tuple(scores) == GRAPH_METRICS
    with_tops = graph_scores(gold, system, tops=True)
    assert (with_tops["LP"], with_tops["LR"]) == (2 / 5, 2 / 5)
    assert with_tops["UF"] == 3 / 5


def test_exact_match_of_graphs():
    gold = [graphs((0, 1, "A"), tops=[0])]
    relabelled = [graphs((0, 1, "B"), tops=[0])]
    assert graph_scores(gold, relabelled)["LM"] == 0
    assert graph_scores(gold, relabelled)["UM"] == 1
    other_top = [graphs((0, 1, "A"), tops=[1])]
    assert graph_scores(gold, other_top)["LM"] == 1
    assert graph_scores(gold, other_top, tops=True)["LM"] == 0
    assert graph_scores(gold, [graphs((0, 1, "A"), (1, 2, "A"))])["UM"] == 0


def test_nothing_scores_nothing():
    empty = [graphs()]
    full = [graphs((0, 1, "A"))]
    for gold, system in ((empty, full), (full, empty)):
        assert set(graph_scores(gold, system).values()) == {0.0}
    scores = graph_scores(empty, empty)
    assert scores["LF"] == 0.0
    assert scores["LM"] == 1.0


def test_tree_scores():
    gold = [sentence([2, 0, 2, 2]), sentence([0, 1, 1, 1])]
    system = [sentence([2, 0, 4, 1]), sentence([0, 1, 1, 1])]
    assert tree_scores(gold, system) == {"UAS": 6 / 8, "UEM": 1 / 2}
    # The hyphen and the full stop are left out; the bracket is not.
    assert tree_scores(gold, system, punctuation=False) == {"UAS": 3 / 4, "UEM": 1 / 2}
    only_stop_wrong = [sentence([2, 0, 2, 3]), system[1]]
    assert tree_scores(gold, only_stop_wrong, punctuation=False) == {"UAS": 1, "UEM": 1}
    assert tree_scores(gold, only_stop_wrong)["UEM"] == 1 / 2


def test_which_tags_are_punctuation():
    left_out = ["``", "''", ",", ".", ":", "HYPH", "NFP"]
    words = ["-LRB-", "-RRB-", "#", "$", "SYM", "CD", "NN"]
    for tag in left_out + words:
        tree = Sentence(["x"], ["x"], [tag], heads=[0])
        assert tree_counts([tree], [tree], punctuation=False).gold.tolist() == [tag in words]


def test_tags_of_the_system_do_not_matter():
    gold = [sentence([2, 0, 2, 2])]
    system = [replace(sentence([2, 0, 2, 1]), tags=["."] * 4)]
    assert tree_scores(gold, system, punctuation=False)["UAS"] == 1


def reviews(*sentiments):
    names = ["a"]
    return [Sentence(names, names, names, f"r{k}", sentiment=p) for k, p in enumerate(sentiments)]


def test_sentiment_scores():
    gold = reviews(1, 1, 1, 0, 0, 0)
    assert sentiment_scores(gold, reviews(0.9, 0.5, 0.49, 0.5, 0.49, 0)) == {"accuracy": 4 / 6}
    assert sentiment_scores(gold, reviews(*[0] * 6)) == {"accuracy": 1 / 2}
    assert [is_positive(s) for s in reviews(0, 0.5, 1, None)] == [False, True, True, None]


def test_sentences_without_a_sentiment():
    known, bare = reviews(1, 0), reviews(1, None)
    with pytest.raises(DataError, match=r"sentence 2 \(r1\): gold has no sentiment"):
        sentiment_scores(bare, known)
    with pytest.raises(DataError, match=r"sentence 2 \(r1\): system has no sentiment"):
        paired_bootstrap(known, known, bare, "accuracy", samples=10)
    with pytest.raises(DataError, match="gold has 2, system 1"):
        sentiment_scores(known, known[:1])


@pytest.mark.parametrize("heads", [[], [0, 1, 1], [0, 1, 1, 1, 1]])
def test_a_head_for_each_word(heads):
    right, wrong = [sentence([0, 1, 1, 1], name="x")] * 2, sentence(heads, name="x")
    found = rf"has {len(heads)} heads for 4 words"
    with pytest.raises(DataError, match=rf"sentence 2 \(x\): system {found}"):
        tree_scores(right, [right[0], wrong])
    with pytest.raises(DataError, match=rf"sentence 1 \(x\): gold {found}"):
        tree_scores([wrong], right[:1])


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ([], "gold has 1, system 0"),
        ([Sentence(["a"], ["a"], ["X"], heads=[0])], r"sentence 1 \(x\): gold has 4 words, sys"),
        ([sentence([0, 1, 1, 1], name="y")], r"sentence 1 \(x\): system has y in its place"),
        ([sentence(arcs=[])], r"sentence 1 \(x\): system has no heads"),
    ],
)  # fmt: skip
def test_sentences_that_do_not_match(system, message):
    with pytest.raises(DataError, match=message):
        tree_scores([sentence([0, 1, 1, 1], name="x")], system)


def test_gold_without_arcs():
    with pytest.raises(DataError, match=r"sentence 1 \(no id\): gold has no arcs"):
        graph_scores([sentence([0, 1, 1, 1])], [graphs()])


# Bootstrap


def systems(size=60, seed=0):
    """Gold graphs with trees, and two systems that find 80 and 60 % of the arcs."""
    rng = random.Random(seed)
    gold, found = [], ([], [])
    for _ in range(size):
        arcs = [(i, j, "AB"[(i + j) % 2]) for i in range(4) for j in range(4) if rng.random() < 0.4]
        gold.append(sentence([0, 1, 1, 1], arcs, [0]))
        for system, share in zip(found, (0.8, 0.6), strict=True):
            kept = [arc for arc in arcs if rng.random() < share]
            heads = [0] + [1 if rng.random() < share else 0 for _ in range(3)]
            system.append(sentence(heads, kept, [0]))
    return gold, *found


@pytest.mark.parametrize("metric", TREE_METRICS + GRAPH_METRICS)
def test_scores_of_the_bootstrap_are_the_scores(metric):
    gold, a, b = systems()
    score = tree_scores if metric in TREE_METRICS else graph_scores
    result = paired_bootstrap(gold, a, b, metric, samples=50)
    assert result.a == score(gold, a)[metric]
    assert result.b == score(gold, b)[metric]
    assert result.difference == result.a - result.b
    assert (result.metric, result.samples) == (metric, 50)


def test_bootstrap_against_a_loop_over_resamples():
    """Another generator, whole sentences drawn one by one, scores by `graph_scores`."""
    gold, a, b = systems(12, seed=3)
    b = [replace(s, arcs=t.arcs) if k % 3 else s for k, (s, t) in enumerate(zip(b, a, strict=True))]
    result = paired_bootstrap(gold, a, b, "LF", samples=20_000)
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(4_000):
        drawn = rng.integers(0, 12, 12)
        of_a, of_b = (
            graph_scores([gold[k] for k in drawn], [system[k] for k in drawn])["LF"]
            for system in (a, b)
        )
        differences.append(of_a - of_b)
    differences = np.array(differences)
    p = (differences <= 0).mean()
    assert 0.005 < p < 0.5  # neither certain nor a coin
    assert result.p_value == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 4_000))
    spread = differences.std()
    assert result.interval == pytest.approx(
        np.quantile(differences, [0.025, 0.975]), abs=spread / 4
    )


def test_bootstrap_is_the_same_for_the_same_seed_and_turns_around():
    gold, a, b = systems(20)
    first = paired_bootstrap(gold, a, b, "UF", samples=1_001, seed=5)
    assert first == paired_bootstrap(gold, a, b, "UF", samples=1_001, seed=5)
    assert first.interval != paired_bootstrap(gold, a, b, "UF", samples=1_001, seed=6).interval
    turned = paired_bootstrap(gold, b, a, "UF", samples=1_001, seed=5)
    assert turned.p_value == first.p_value
    assert turned.difference == -first.difference


def test_bootstrap_of_accuracy_against_the_binomial():
    """A has three more of four sentences right: it is not better if none of the three is drawn."""
    gold = reviews(1, 1, 1, 0)
    a, b = reviews(0.9, 0.9, 0.9, 0.1), reviews(0.1, 0.1, 0.1, 0.1)
    result = paired_bootstrap(gold, a, b, "accuracy", samples=20_000)
    assert (result.a, result.b, result.difference) == (1, 1 / 4, 3 / 4)
    assert result.p_value == pytest.approx(1 / 4**4, abs=0.002)
    assert result.interval == (1 / 4, 1)  # P(none) < 0.025 < P(at most one of the three)
    runs = paired_bootstrap(gold, [a, a, b], [b, b, b], "accuracy", samples=10)
    assert (runs.a, runs.b) == pytest.approx(((4 + 4 + 1) / 12, 1 / 4))


def test_bootstrap_of_clear_and_of_no_differences():
    gold, a, b = systems(200)
    assert paired_bootstrap(gold, a, b, "LF", samples=1_000).p_value == 0
    same = paired_bootstrap(gold, a, a, "LF", samples=1_000)
    assert (same.difference, same.p_value, same.interval) == (0, 1, (0, 0))


def test_bootstrap_passes_its_options_on():
    gold = [graphs((0, 1, "A"), tops=[0])] * 5
    a, b = [graphs((0, 1, "A"), tops=[0])] * 5, [graphs((0, 1, "A"), tops=[1])] * 5
    assert paired_bootstrap(gold, a, b, "LF", samples=10).difference == 0
    assert paired_bootstrap(gold, a, b, "LF", samples=10, tops=True).difference == 1 / 2
    trees = [sentence([2, 0, 2, 2])], [sentence([2, 0, 2, 2])], [sentence([2, 0, 2, 1])]
    assert paired_bootstrap(*trees, "UAS", samples=10).difference == 1 / 4
    assert paired_bootstrap(*trees, "UAS", samples=10, punctuation=False).difference == 0


def test_bootstrap_of_several_runs_adds_their_counts():
    gold, a, b = systems(12, seed=3)
    once = paired_bootstrap(gold, a, b, "LF", samples=100)
    twice = paired_bootstrap(gold, [a, a], [b, b], "LF", samples=100)
    assert twice == once
    mixed = paired_bootstrap(gold, [a, b], [b, b], "LF", samples=100)
    assert mixed.a == pytest.approx(graph_scores([*gold, *gold], [*a, *b])["LF"])
    assert mixed.b == once.b
    assert mixed.interval != once.interval


def test_bootstrap_refuses():
    gold, a, b = systems(3)
    with pytest.raises(DataError, match=r"no metric 'F1'\. Choose one of UAS, UEM, LP.*accuracy"):
        paired_bootstrap(gold, a, b, "F1")
    with pytest.raises(DataError, match="Nothing to draw: 0 samples of 3 sentences"):
        paired_bootstrap(gold, a, b, "LF", samples=0)
    with pytest.raises(DataError, match="Nothing to draw: 10 samples of 0 sentences"):
        paired_bootstrap([], [], [], "LF", samples=10)
