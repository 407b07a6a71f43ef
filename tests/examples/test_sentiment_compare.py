"""How the graphs of two systems differ: counts by hand and by brute force, what is drawn."""

import random
from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from examples import metrics
from examples.data import DataError, Sentence
from examples.semantics_to_sentiment import compare


def sentence(name, arcs, sentiment=None) -> Sentence:
    words = "a b c d .".split()
    return Sentence(words, words, ["W"] * 5, id=name, arcs=arcs, sentiment=sentiment)


def three(*rows) -> tuple[list[Sentence], ...]:
    """Gold, A and B of each row's name and (arcs, sentiment) of each of the three."""
    return tuple([sentence(row[0], *row[side]) for row in rows] for side in (1, 2, 3))


X, Y, Z = (1, 0, "X"), (1, 3, "Y"), (4, 3, "Z")
TURNED, OTHER = (0, 1, "X"), (1, 3, "X")


@pytest.fixture
def trio():
    """Changes of all kinds in two sentences with gold graphs; then one without, one unchanged."""
    return three(
        ("s1", ([X, Y, Z], 1.0), ([TURNED, OTHER, Z, (2, 2, "X")], 0.4), ([X, Y, Z], 0.6)),
        ("s2", ([X, Y], 0.0), ([X, Y, (0, 4, "Y")], 0.5), ([OTHER, (0, 4, "Z")], 0.49)),
        ("s3", (None, 1.0), ([X], 0.9), ([X, (3, 2, "Z")], 0.2)),
        ("s4", ([X, Y], 1.0), ([Y, X], 0.1), ([X, Y], 0.5)),
    )


# ---------------------------------------------------------------------- by hand


def test_each_change_has_its_kind_and_its_effect(trio):
    found = [(c.sentence, c.kind, c.old, c.new, c.effect) for c in compare.find_changes(*trio)]
    assert found == [
        (0, "removed", TURNED, None, "better"),
        (0, "added", None, X, "better"),
        (0, "relabelled", OTHER, Y, "better"),
        (0, "removed", (2, 2, "X"), None, "better"),
        (1, "relabelled", (0, 4, "Y"), (0, 4, "Z"), "neither"),
        (1, "removed", X, None, "worse"),
        (1, "relabelled", Y, OTHER, "worse"),
        (2, "added", None, (3, 2, "Z"), None),
    ]


def test_changes_are_counted(trio):
    found = compare.count_changes(*trio)
    assert (found["sentences"], found["changed"], found["rate"]) == (4, 3, 3 / 4)
    assert found["reversed"] == 1
    table = {name: tuple(row.values()) for name, row in found["kinds"].items()}
    assert table == {  # of ten arcs of A, in four sentences
        "added": (2, 2 / 10, 2 / 4, 1, 0, 0),
        "removed": (3, 3 / 10, 3 / 4, 2, 1, 0),
        "relabelled": (3, 3 / 10, 3 / 4, 1, 1, 1),
        "all": (8, 8 / 10, 8 / 4, 4, 2, 1),
    }


def test_only_arcs_of_the_same_words_are_reversed():
    rows = [
        ([(0, 1, "X")], [(1, 0, "Y")], 1),
        ([(0, 1, "X")], [(2, 0, "X")], 0),
        ([(0, 1, "X")], [(0, 1, "X"), (1, 0, "X")], 0),  # nothing is removed
        ([(0, 1, "X"), (1, 0, "X")], [(1, 0, "Y")], 0),  # it was there before
        ([(0, 1, "X"), (2, 3, "X")], [(1, 0, "X"), (3, 2, "X")], 2),
    ]
    for old, new, count in rows:
        sides = three(("s", (None,), (old,), (new,)))
        assert compare.count_changes(*sides)["reversed"] == count
    gold, a, b = three(("s", (None,), ([X],), ([],)), ("t", (None,), ([],), ([TURNED],)))
    assert compare.count_changes(gold, a, b)["reversed"] == 0  # not of the same sentence


def test_labels_are_counted(trio):
    found = compare.count_labels(*trio)
    assert [(label, *row.values()) for label, row in found.items()] == [
        # A, B, added, removed, relabelled from, relabelled to
        ("X", 6, 4, 1, 3, 1, 1),
        ("Y", 3, 2, 0, 0, 2, 1),
        ("Z", 1, 3, 1, 0, 0, 1),
    ]
    sides = three(("s", (None,), ([(0, 1, "X"), (1, 2, "Z"), (2, 1, "Z"), Y],), ([(0, 1, "A")],)))
    assert list(compare.count_labels(*sides)) == ["Z", "X", "Y", "A"]
    assert list(found["X"])[2:] == ["added", "removed", "relabelled from", "relabelled to"]


def test_contents_are_counted(trio):
    assert compare.count_contents(*trio) == {
        "arcs": {"A": 10, "B": 9, "both": 4},
        # 0 1 4 2, 1 0, 1, 1 against 1 4, 1 0, 1 3, 1
        "predicates": {"A": 8, "B": 7, "both": 6},
        # 1 3 2, 0 3 4, 0, 0 3 against 0 3, 3 4, 0 2, 0 3
        "words with a head": {"A": 9, "B": 8, "both": 6},
    }


def test_groups_have_the_scores_of_both_systems(trio):
    groups = compare.group_scores(*trio)
    sizes = {name: (g["sentences"], g["words"]) for name, g in groups.items()}
    assert sizes == {"SAME": (1, 5), "DIFF": (3, 15), "ALL": (4, 20)}
    expected = {  # accuracy; UF and LF = 2 common / (gold + given) of s1, s2 and s4
        ("SAME", "A"): (0, 1, 1),
        ("SAME", "B"): (1, 1, 1),
        ("DIFF", "A"): (1 / 3, 2 * 4 / 12, 2 * 3 / 12),
        ("DIFF", "B"): (2 / 3, 2 * 4 / 10, 2 * 3 / 10),
        ("ALL", "A"): (1 / 4, 2 * 6 / 16, 2 * 5 / 16),
        ("ALL", "B"): (3 / 4, 2 * 6 / 14, 2 * 5 / 14),
    }
    for (group, system), values in expected.items():
        scores = groups[group][system]
        assert tuple(scores[name] for name in ("accuracy", "UF", "LF")) == pytest.approx(values)


def test_effects_are_those_of_b_against_a(trio):
    gold, a, b = trio
    found = compare.effects(*trio, samples=300)
    assert list(found) == ["accuracy", "UF", "LF"]
    assert (found["accuracy"]["A"], found["accuracy"]["B"]) == (1 / 4, 3 / 4)
    assert (found["LF"]["A"], found["LF"]["B"]) == pytest.approx((10 / 16, 10 / 14))
    assert found["LF"]["difference"] == pytest.approx(10 / 14 - 10 / 16)
    turned = metrics.paired_bootstrap(gold, a, b, "accuracy", 300)
    assert found["accuracy"]["p_value"] == turned.p_value
    assert found["accuracy"]["interval"] == pytest.approx([-x for x in reversed(turned.interval)])
    assert found["accuracy"]["samples"] == 300


def test_what_is_not_known_is_not_scored(trio):
    gold, a, b = trio
    bare = [replace(s, sentiment=None) for s in a]
    assert list(compare.effects(gold, bare, b, 10)) == ["UF", "LF"]
    groups = compare.group_scores(gold, bare, b)
    accuracies = [groups["ALL"][name]["accuracy"] for name in "AB"]
    assert accuracies == [None, 3 / 4]
    plain = [replace(s, arcs=None) for s in gold]
    assert list(compare.effects(plain, a, b, 10)) == ["accuracy"]
    assert compare.group_scores(plain, a, b)["ALL"]["B"]["LF"] is None
    counts = compare.count_changes(plain, a, b)["kinds"]["all"]
    assert (counts["count"], counts["better"], counts["worse"], counts["neither"]) == (8, 0, 0, 0)
    some = [replace(gold[0], sentiment=None), *gold[1:]]
    assert compare.effects(some, a, b, 10)["accuracy"]["A"] == 1 / 3


def test_equal_systems_differ_nowhere(trio):
    gold, a, _ = trio
    found = compare.analyse(gold, a, a)
    assert found["changes"]["changed"] == found["changes"]["kinds"]["all"]["count"] == 0
    nothing = {"accuracy": None, "UF": None, "LF": None}
    assert found["groups"]["DIFF"]["A"] == found["groups"]["DIFF"]["B"] == nothing
    assert found["groups"]["SAME"] == found["groups"]["ALL"]
    assert found["contents"]["arcs"] == {"A": 10, "B": 10, "both": 10}
    assert compare.choose(gold, a, a) == []


def test_rates_of_nothing_are_none():
    empty = compare.count_changes([], [], [])
    assert empty["rate"] is None
    assert (empty["kinds"]["all"]["per_arc"], empty["kinds"]["all"]["per_sentence"]) == (None, None)
    found = compare.count_changes(*three(("s", (None,), ([],), ([X],))))
    assert (found["kinds"]["added"]["per_arc"], found["kinds"]["added"]["per_sentence"]) == (
        None,
        1,
    )


# ---------------------------------------------------------------------- by brute force


def table(arcs):
    """The label of each pair of four words, empty where there is no arc."""
    found = np.full((4, 4), "", dtype=object)
    for i, j, label in arcs:
        found[i, j] = label
    return found


def random_graph(rng):
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j and rng.random() < 0.4]
    return [(i, j, rng.choice("XYZ")) for i, j in rng.sample(pairs, len(pairs))]


@pytest.mark.parametrize("seed", range(20))
def test_counts_against_all_pairs_of_words_one_by_one(seed):
    rng = random.Random(seed)
    sides = [[sentence(f"s{k}", random_graph(rng)) for k in range(5)] for _ in range(3)]
    kinds, effects, labels, turned = Counter(), Counter(), Counter(), 0
    for trio in zip(*sides, strict=True):
        g, a, b = (table(s.arcs) for s in trio)
        for i, j in product(range(4), repeat=2):
            if a[i, j] == b[i, j]:
                continue
            kind = "added" if not a[i, j] else "removed" if not b[i, j] else "relabelled"
            kinds[kind] += 1
            wrong = [len({x[i, j]} - {""} ^ ({g[i, j]} - {""})) for x in (a, b)]
            effect = "better" if wrong[1] < wrong[0] else "worse" if wrong[1] > wrong[0] else None
            effects[kind, effect or "neither"] += 1
            if kind == "relabelled":
                labels["relabelled from", a[i, j]] += 1
                labels["relabelled to", b[i, j]] += 1
            else:
                labels[kind, a[i, j] or b[i, j]] += 1
            turned += kind == "removed" and not a[j, i] and b[j, i] != ""
    found = compare.analyse(*sides)
    changes = found["changes"]
    assert changes["reversed"] == turned
    assert changes["kinds"]["all"]["count"] == sum(kinds.values()) > 10
    for kind in ("added", "removed", "relabelled"):
        row = changes["kinds"][kind]
        assert row["count"] == kinds[kind]
        for effect in ("better", "worse", "neither"):
            assert row[effect] == effects[kind, effect]
    for label, row in found["labels"].items():
        added, removed, gone, come = (labels[column, label] for column in list(row)[2:])
        assert list(row.values())[2:] == [added, removed, gone, come]
        assert row["B"] == row["A"] + added - removed + come - gone
    for end, name in enumerate(("predicates", "words with a head")):
        for side, column in zip(sides[1:], "AB", strict=True):
            ends = sum((table(s.arcs) != "").any(axis=1 - end).sum() for s in side)
            assert found["contents"][name][column] == ends


# ---------------------------------------------------------------------- what to draw


def drawable(words, old, new, a=0.5, b=0.5):
    names = ["w"] * words
    gold = Sentence(names, names, names)
    return gold, replace(gold, arcs=old, sentiment=a), replace(gold, arcs=new, sentiment=b)


def chosen(rows, count=1):
    return compare.choose(*map(list, zip(*rows, strict=True)), count=count)


def test_the_sentence_to_draw_is_short_turns_its_sentiment_and_changes_little():
    rows = [
        drawable(6, [X], [X]),  # no change: never
        drawable(16, [X], [X, Y], 0.4, 0.6),  # long
        drawable(7, [X], [X, Y, Z], 0.6, 0.9),  # on the same side
        drawable(7, [], [X, Y, Z], 0.6, 0.4),  # three changes
        drawable(7, [], [X, Y], 0.4, 0.6),
        drawable(6, [], [X, Y], 0.4, 0.6),  # shorter
        drawable(6, [], [X, Y], 0.4, 0.6),  # which comes later
    ]
    found = [chosen(rows[:last]) for last in range(1, 8)]
    assert found == [[], [1], [2], [3], [4], [5], [5]]
    assert chosen(rows, 4) == [5, 6, 4, 3]
    assert chosen(rows, 9) == [5, 6, 4, 3, 2, 1]


def test_sentences_to_draw_show_different_kinds_of_change():
    rows = [
        drawable(5, [], [X]),
        drawable(5, [], [X]),
        drawable(6, [X], []),
        drawable(7, [X, Z], [Y, (4, 3, "Y")]),
        drawable(9, [Y], [OTHER]),
        drawable(5, [Y], [OTHER, X], 0.4, 0.6),
    ]
    assert chosen(rows[:5], 3) == [0, 2, 4]
    assert chosen(rows[:5], 4) == [0, 2, 4, 1]
    assert chosen(rows, 3) == [5, 2, 0]
    again = drawable(5, [], [X], 0.4, 0.6)
    assert chosen([*rows, again], 3) == [6, 5, 2]
    assert chosen([again, again, *rows[2:5]], 3) == [0, 1, 2]  # the side before the kind
    assert chosen(rows[:2], 3) == [0, 1]
    unknown = [tuple(replace(s, sentiment=None) for s in row) for row in rows[:5]]
    assert chosen(unknown, 3) == [0, 2, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arcs": None}, r"sentence 2 \(s2\): system has no arcs"),
        ({"id": "s9"}, r"sentence 2 \(s2\): system has s9 in its place"),
        ({"words": ["a"]}, r"sentence 2 \(s2\): gold has 5 words, system 1"),
        (None, r"gold has 4, system 3"),
    ],
)
def test_systems_that_do_not_fit_are_refused(trio, change, message):
    gold, a, b = trio
    broken = b[:3] if change is None else [b[0], replace(b[1], **change), *b[2:]]
    functions = ("analyse", "find_changes", "group_scores", "effects", "choose", "count_contents")
    for name, sides in product(functions, [(a, broken), (broken, b)]):
        with pytest.raises(DataError, match=message):
            getattr(compare, name)(gold, *sides)
