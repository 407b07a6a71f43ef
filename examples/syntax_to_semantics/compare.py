"""How the trees of two systems differ, and what the graphs have to do with it.

The analysis of Peng, Thomson and Smith (2018, section 5), on any gold sentences and two systems'
answers to them, A and B. Nothing here needs a model: read the sentences from files if you like.

1. Table 3: sentences to which both systems give the same tree (SAME) and the others (DIFF), each
   group with the scores of both systems.
2. Words whose head changes from A to B, by what the semantic graph has between the word and its
   heads.
3. What that does to the scores, and whether it is luck.

The categories of a modifier m whose head changes from h (A's) to h' (B's) are those of section 5:

- (a) h' is a head of m in the semantic graph,
- (b) h' is a modifier of m there,
- (c) h is a modifier of m there.

The first two make words neighbours that the graph joins; (c) takes away an arc that runs against
the graph. A change may be in several or in none. The graph is the gold one: which one the paper
counts it does not say, but its Figure 2 draws that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from examples import metrics
from examples.data import DataError
from examples.training import analysis
from examples.training.analysis import SHORT, Scores, Sentences, compared, with_known

CATEGORIES = ("a", "b", "c")
PAPER = {"a": 0.176, "b": 0.109, "c": 0.128, "any": 0.412}
"""Their shares of all changes in section 5 of the paper, and that of the changes in any of them."""

EFFECTS = ("wrong to right", "right to wrong", "wrong to wrong")


@dataclass(frozen=True)
class Change:
    """A word with another head.

    Args:
        sentence: Which sentence, counted from 0.
        word: Which word, counted from 0.
        old: A's head, as in `Sentence.heads`: 0 is the root.
        new: B's head.
        categories: Those of `CATEGORIES` that it is in.
        effect: One of `EFFECTS`, or None where no gold head is known.
    """

    sentence: int
    word: int
    old: int
    new: int
    categories: tuple[str, ...]
    effect: str | None


def analyse(
    gold: Sentences, a: Sentences, b: Sentences, samples: int = 10_000, tops: bool = False
) -> dict[str, Any]:
    """The whole analysis, as plain values.

    Args:
        gold: Sentences with gold graphs; with gold heads too, where they are known.
        a: The first system's trees and graphs for them.
        b: The second system's.
        samples: Resamples of the bootstrap.
        tops: Whether tops count in the scores of graphs.

    Returns:
        `groups` (see `group_scores`), `changes` (`count_changes`) and `effect` (`effects`).

    Raises:
        DataError: If sentences do not fit together, or lack trees or graphs.
    """
    _check(gold, a, b)
    words = sum(len(sentence) for sentence in gold)
    return {
        "groups": group_scores(gold, a, b, tops),
        "changes": {"words": words} | count_changes(find_changes(gold, a, b)),
        "effect": effects(gold, a, b, samples, tops),
    }


def group_scores(
    gold: Sentences, a: Sentences, b: Sentences, tops: bool = False
) -> dict[str, dict[str, Any]]:
    """Table 3: for SAME, DIFF and ALL how many sentences, and the scores of A and B on them.

    UAS is that of the sentences with gold heads. A score is None where there is nothing to score.
    """
    _check(gold, a, b)
    same = [one.heads == other.heads for one, other in zip(a, b, strict=True)]
    return analysis.group_scores(gold, a, b, same, partial(_scores, tops=tops))


def _scores(gold: Sentences, system: Sentences, tops: bool) -> Scores:
    found: Scores = dict.fromkeys(("UAS", "UF", "LF"))
    if gold:
        scores = metrics.graph_scores(gold, system, tops)
        found |= {name: scores[name] for name in ("UF", "LF")}
    golds, systems = with_known("heads", gold, system)
    if any(map(len, golds)):
        found["UAS"] = metrics.tree_scores(golds, systems)["UAS"]
    return found


def find_changes(gold: Sentences, a: Sentences, b: Sentences) -> list[Change]:
    """The words whose heads differ, sentence by sentence."""
    _check(gold, a, b)
    found = []
    for k, (sentence, first, second) in enumerate(zip(gold, a, b, strict=True)):
        arcs = {(i + 1, j + 1) for i, j, _ in sentence.arcs or ()}  # heads and modifiers
        pairs = zip(first.heads or (), second.heads or (), strict=True)
        for j, (old, new) in enumerate(pairs):
            if old != new:
                m = j + 1
                held = ((new, m) in arcs, (m, new) in arcs, (m, old) in arcs)
                own = tuple(name for name, holds in zip(CATEGORIES, held, strict=True) if holds)
                right = None if sentence.heads is None else sentence.heads[j]
                found.append(Change(k, j, old, new, own, _effect(right, old, new)))
    return found


def _effect(right: int | None, old: int, new: int) -> str | None:
    if right is None:
        return None
    return EFFECTS[0 if new == right else 1 if old == right else 2]


def count_changes(changes: Sequence[Change]) -> dict[str, Any]:
    """How many changes there are of each category, their shares of all, and what they do to UAS.

    Returns:
        `changed`, and for each category, for the changes in `any`, in `several` and in `none` of
        them and for `all` the `count`, the `rate` (None if nothing changed) and the counts of
        `EFFECTS`, of the changes where gold heads are known.
    """
    rows = {name: [c for c in changes if name in c.categories] for name in CATEGORIES}
    rows["any"] = [c for c in changes if c.categories]
    rows["several"] = [c for c in changes if len(c.categories) > 1]
    rows["none"] = [c for c in changes if not c.categories]
    rows["all"] = list(changes)
    return {
        "changed": len(changes),
        "categories": {
            name: {
                "count": len(own),
                "rate": len(own) / len(changes) if changes else None,
                **{effect: sum(c.effect == effect for c in own) for effect in EFFECTS},
            }
            for name, own in rows.items()
        },
    }


def effects(
    gold: Sentences, a: Sentences, b: Sentences, samples: int = 10_000, tops: bool = False
) -> dict[str, dict[str, Any]]:
    """B against A on all sentences: scores, their difference, and whether it is luck.

    UAS with and without punctuation on the sentences with gold heads, if there are any, UF and LF
    on all of them.
    """
    _check(gold, a, b)
    golds, first, second = with_known("heads", gold, a, b)
    found = {}
    if any(map(len, golds)):
        found["UAS"] = compared(golds, first, second, "UAS", samples)
        found["UAS_no_punctuation"] = compared(
            golds, first, second, "UAS", samples, punctuation=False
        )
    names = ("UF", "LF")
    return found | {name: compared(gold, a, b, name, samples, tops=tops) for name in names}


def choose(gold: Sentences, a: Sentences, b: Sentences) -> int | None:
    """A sentence worth a picture, or None if all trees are the same; always the same one.

    One with a better graph (LF) by B than by A, if there is one; a short one, if there is one; one
    with as few changed heads as can be; the shortest of them; the first of them.
    """
    _check(gold, a, b)
    ranked = []
    for k, trio in enumerate(zip(gold, a, b, strict=True)):
        changes = find_changes(*([sentence] for sentence in trio))
        if changes:
            first, second = (metrics.graph_scores(trio[:1], [s])["LF"] for s in trio[1:])
            ranked.append((second <= first, len(trio[0]) > SHORT, len(changes), len(trio[0]), k))
    return min(ranked)[-1] if ranked else None


def _check(gold: Sentences, a: Sentences, b: Sentences) -> None:
    """Raises DataError unless the systems have a tree and a graph for each gold sentence."""
    metrics.graph_counts(gold, a, labelled=True, tops=False)  # checks words, ids and arcs
    metrics.graph_counts(gold, b, labelled=True, tops=False)
    for name, system in (("A", a), ("B", b)):
        for k, sentence in enumerate(system, start=1):
            heads, words = sentence.heads, len(sentence)
            if heads is None or len(heads) != words:
                have = "no heads" if heads is None else f"{len(heads)} heads for {words} words"
                raise DataError(
                    f"sentence {k} ({sentence.id or 'no id'}): system {name} has {have}. Wanted "
                    "two systems with a tree and a graph for each sentence."
                )
