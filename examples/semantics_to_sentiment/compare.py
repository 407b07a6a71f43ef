"""How the graphs of two systems differ, and what the sentiments have to do with it.

Of any sentences and two systems' graphs of them, A and B: a parser before and after it was trained
with the classifier, or the parsers of two runs. Nothing here needs a model: read the sentences from
files if you like. Sentences may have gold graphs, and gold sentiments; those that have none are
left out of the scores.

**What changes.** The arcs that a pair of words, predicate and argument, has in A and in B are

- `kept`: in both, with the same label,
- `relabelled`: in both, with another label,
- `removed`: in A only, or `added`: in B only.

Where the gold graph is known, a change is `better`, `worse` or `neither`: it brings the number of
gold arcs among the arcs that it touches less the number of the others up, down or neither. An arc
that turns around is removed and added; `reversed` counts the pairs of words to which that happens.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from examples import metrics
from examples.data import Sentence
from examples.training import analysis
from examples.training.analysis import SHORT, Scores, Sentences, compared, with_known

KINDS = ("added", "removed", "relabelled")
EFFECTS = ("better", "worse", "neither")
Arc = tuple[int, int, str]
"""Predicate and argument, counted from 0, and the label."""


@dataclass(frozen=True)
class Change:
    """An arc that only one system has, or to which they give different labels.

    Args:
        sentence: Which sentence, counted from 0.
        old: A's arc, or None if it is added.
        new: B's arc, or None if it is removed.
        effect: One of `EFFECTS`, or None where no gold graph is known.
    """

    sentence: int
    old: Arc | None
    new: Arc | None
    effect: str | None

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return "added" if self.old is None else "removed" if self.new is None else "relabelled"


def analyse(gold: Sentences, a: Sentences, b: Sentences) -> dict[str, Any]:
    """How the graphs differ, as plain values.

    Args:
        gold: The sentences, with what is known about them.
        a: The first system's graphs of them, and its sentiments if it gives any.
        b: The second system's.

    Returns:
        `groups` (see `group_scores`), `contents` (`count_contents`), `changes` (`count_changes`)
        and `labels` (`count_labels`).

    Raises:
        DataError: If sentences do not fit together, or lack graphs.
    """
    return {
        "groups": group_scores(gold, a, b),
        "contents": count_contents(gold, a, b),
        "changes": count_changes(gold, a, b),
        "labels": count_labels(gold, a, b),
    }


def find_changes(gold: Sentences, a: Sentences, b: Sentences) -> list[Change]:
    """The arcs that differ, sentence by sentence, in the order of their words.

    A pair of words has one arc, as in a file of graphs.
    """
    _check(gold, a, b)
    found = []
    for k, (sentence, first, second) in enumerate(zip(gold, a, b, strict=True)):
        right = None if sentence.arcs is None else set(sentence.arcs)
        old, new = ({arc[:2]: arc for arc in side.arcs or ()} for side in (first, second))
        for pair in sorted(old.keys() | new.keys()):
            gone, come = old.get(pair), new.get(pair)
            if gone != come:
                found.append(Change(k, gone, come, _effect(right, gone, come)))
    return found


def _arcs(sentence: Sentence) -> set[Arc]:
    return set(sentence.arcs or ())


def _effect(right: set[Arc] | None, old: Arc | None, new: Arc | None) -> str | None:
    if right is None:
        return None
    before, after = (0 if arc is None else 1 if arc in right else -1 for arc in (old, new))
    return EFFECTS[0 if after > before else 1 if after < before else 2]


def count_contents(gold: Sentences, a: Sentences, b: Sentences) -> dict[str, dict[str, int]]:
    """What the graphs of A and B consist of, and what both have alike.

    Their arcs (with their labels), the predicates, which arcs leave, and the words with a head, at
    which arcs end.
    """
    _check(gold, a, b)
    found = {}
    ends = {"arcs": slice(3), "predicates": 0, "words with a head": 1}
    for name, end in ends.items():
        first, second = ([{arc[end] for arc in _arcs(s)} for s in side] for side in (a, b))
        counts = {"A": sum(map(len, first)), "B": sum(map(len, second))}
        both = sum(len(one & other) for one, other in zip(first, second, strict=True))
        found[name] = counts | {"both": both}
    return found


def count_changes(gold: Sentences, a: Sentences, b: Sentences) -> dict[str, Any]:
    """How many graphs and arcs change, and what becomes better or worse.

    Returns:
        `sentences`; of them, `changed` have another graph, with their share, `rate`. `reversed`:
        pairs of words that had an arc and have one the other way round. `kinds`: of each of
        `KINDS`, and of all, the `count`, the rates `per_arc` of A and `per_sentence` (None of
        nothing), and the counts of `EFFECTS`, in sentences with gold graphs.
    """
    changes = find_changes(gold, a, b)
    arcs = sum(len(_arcs(sentence)) for sentence in a)
    changed = len({change.sentence for change in changes})
    grouped = {kind: [c for c in changes if c.kind == kind] for kind in KINDS} | {"all": changes}
    return {
        "sentences": len(gold),
        "changed": changed,
        "rate": changed / len(gold) if gold else None,
        "reversed": count_reversed(changes),
        "kinds": {
            kind: {
                "count": len(own),
                "per_arc": len(own) / arcs if arcs else None,
                "per_sentence": len(own) / len(gold) if gold else None,
                **{effect: sum(c.effect == effect for c in own) for effect in EFFECTS},
            }
            for kind, own in grouped.items()
        },
    }


def count_reversed(changes: Sequence[Change]) -> int:
    """Removed arcs whose words an added arc joins the other way round."""
    removed = {(c.sentence, *c.old[:2]) for c in changes if c.old and c.kind == "removed"}
    added = {(c.sentence, c.new[1], c.new[0]) for c in changes if c.new and c.kind == "added"}
    return len(removed & added)


def count_labels(gold: Sentences, a: Sentences, b: Sentences) -> dict[str, dict[str, int]]:
    """For each label its arcs in A and B, and how they changed, the most frequent in A first.

    B = A + added - removed + relabelled to - relabelled from.
    """
    changes = find_changes(gold, a, b)
    counts = {
        "A": Counter(label for s in a for *_, label in _arcs(s)),
        "B": Counter(label for s in b for *_, label in _arcs(s)),
        "added": Counter(c.new[2] for c in changes if c.new and c.kind == "added"),
        "removed": Counter(c.old[2] for c in changes if c.old and c.kind == "removed"),
        "relabelled from": Counter(c.old[2] for c in changes if c.old and c.new),
        "relabelled to": Counter(c.new[2] for c in changes if c.old and c.new),
    }
    labels = sorted({*counts["A"], *counts["B"]}, key=lambda label: (-counts["A"][label], label))
    return {label: {name: own[label] for name, own in counts.items()} for label in labels}


def group_scores(gold: Sentences, a: Sentences, b: Sentences) -> dict[str, dict[str, Any]]:
    """For sentences with the same graph, for the others and for all the scores of A and B.

    Accuracy of the sentiments, where both gold and the system have them, and UF and LF of the
    sentences with gold graphs; None where there is nothing to score.
    """
    _check(gold, a, b)
    same = [_arcs(one) == _arcs(other) for one, other in zip(a, b, strict=True)]
    return analysis.group_scores(gold, a, b, same, _scores)


def _scores(gold: Sentences, system: Sentences) -> Scores:
    found: Scores = dict.fromkeys(("accuracy", "UF", "LF"))
    golds, systems = with_known("sentiment", gold, system)
    if golds and all(s.sentiment is not None for s in systems):
        found["accuracy"] = metrics.sentiment_scores(golds, systems)["accuracy"]
    golds, systems = with_known("arcs", gold, system)
    if golds:
        scores = metrics.graph_scores(golds, systems)
        found |= {name: scores[name] for name in ("UF", "LF")}
    return found


def effects(
    gold: Sentences, a: Sentences, b: Sentences, samples: int = 10_000
) -> dict[str, dict[str, Any]]:
    """B against A: scores, their difference, and whether it is luck, where there is something.

    Accuracy on the sentences with gold sentiments, UF and LF on those with gold graphs.
    """
    _check(gold, a, b)
    found = {}
    for what, names in (("sentiment", metrics.SENTIMENT_METRICS), ("arcs", ("UF", "LF"))):
        golds, first, second = with_known(what, gold, a, b)
        if golds and all(getattr(s, what) is not None for s in (*first, *second)):
            found |= {name: compared(golds, first, second, name, samples) for name in names}
    return found


def choose(gold: Sentences, a: Sentences, b: Sentences, count: int = 3) -> list[int]:
    """Sentences worth a picture, as many as there are up to `count`; always the same ones.

    One after the other, each with another graph: short, if there is one; with sentiments on
    different sides, if there is one; with a kind of change that none before it has, if there is
    one; with as few changes as can be; the shortest of them; the first of them.
    """
    kinds: dict[int, list[str]] = {}
    for change in find_changes(gold, a, b):
        kinds.setdefault(change.sentence, []).append(change.kind)
    chosen, shown = [], set()

    def rank(k: int) -> tuple:
        same_side = metrics.is_positive(a[k]) == metrics.is_positive(b[k])
        new_kind = bool(set(kinds[k]) - shown)
        return len(gold[k]) > SHORT, same_side, not new_kind, len(kinds[k]), len(gold[k]), k

    while len(chosen) < count and len(chosen) < len(kinds):
        chosen.append(min((k for k in kinds if k not in chosen), key=rank))
        shown.update(kinds[chosen[-1]])
    return chosen


def _check(gold: Sentences, a: Sentences, b: Sentences) -> None:
    """Raises DataError unless the systems have a graph for each sentence."""
    known = [replace(sentence, arcs=sentence.arcs or []) for sentence in gold]
    for system in (a, b):
        metrics.graph_counts(known, system, labelled=True, tops=False)  # checks words, ids and arcs
