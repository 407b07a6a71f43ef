"""How the trees of two systems differ, and what the graphs have to do with it.

The analysis of Peng, Thomson and Smith (2018, section 5), on any gold sentences and two systems'
answers to them, A and B. Nothing here needs a model: read the sentences from files if you like.

1. Table 3: sentences to which both systems give the same tree (SAME) and the others (DIFF), each
   group with the scores of both systems.
2. Words whose head changes from A to B, by what the gold graph has between the word and its heads.
3. What that does to the scores, and whether it is luck.

**The categories are our definitions.** The paper's were read from a sample of sentences by hand;
these can be counted. Arcs of the gold graph count without their direction, and the root is joined
to nothing. A changed word is joined by such an arc

- (a) `new`: to its new head (B's) and not to its old one (A's),
- (b) `old`: to its old head and not to its new one,
- (c) the rest: `both` to both, or `neither` to neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from examples import metrics
from examples.data import DataError
from examples.training import analysis
from examples.training.analysis import SHORT, Scores, Sentences, compared, with_known

CATEGORIES = {"new": ("new",), "old": ("old",), "rest": ("both", "neither")}
"""What each of (a), (b) and (c) consists of."""

EFFECTS = ("wrong to right", "right to wrong", "wrong to wrong")


@dataclass(frozen=True)
class Change:
    """A word with another head.

    Args:
        sentence: Which sentence, counted from 0.
        word: Which word, counted from 0.
        old: A's head, as in `Sentence.heads`: 0 is the root.
        new: B's head.
        category: "new", "old", "both" or "neither": the heads that gold arcs join the word to.
        effect: One of `EFFECTS`, or None where no gold head is known.
    """

    sentence: int
    word: int
    old: int
    new: int
    category: str
    effect: str | None


def analyse(gold: Sentences, a: Sentences, b: Sentences, samples: int = 10_000) -> dict[str, Any]:
    """The whole analysis, as plain values.

    Args:
        gold: Sentences with gold graphs; with gold heads too, where they are known.
        a: The first system's trees and graphs for them.
        b: The second system's.
        samples: Resamples of the bootstrap.

    Returns:
        `groups` (see `group_scores`), `changes` (`count_changes`) and `effect` (`effects`).

    Raises:
        DataError: If sentences do not fit together, or lack trees or graphs.
    """
    _check(gold, a, b)
    words = sum(len(sentence) for sentence in gold)
    return {
        "groups": group_scores(gold, a, b),
        "changes": {"words": words} | count_changes(find_changes(gold, a, b)),
        "effect": effects(gold, a, b, samples),
    }


def group_scores(gold: Sentences, a: Sentences, b: Sentences) -> dict[str, dict[str, Any]]:
    """Table 3: for SAME, DIFF and ALL how many sentences, and the scores of A and B on them.

    UAS is that of the sentences with gold heads. A score is None where there is nothing to score.
    """
    _check(gold, a, b)
    same = [one.heads == other.heads for one, other in zip(a, b, strict=True)]
    return analysis.group_scores(gold, a, b, same, _scores)


def _scores(gold: Sentences, system: Sentences) -> Scores:
    found: Scores = dict.fromkeys(("UAS", "UF", "LF"))
    if gold:
        scores = metrics.graph_scores(gold, system)
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
        joined = {frozenset((i + 1, j + 1)) for i, j, _ in sentence.arcs or ()}
        pairs = zip(first.heads or (), second.heads or (), strict=True)
        for j, (old, new) in enumerate(pairs):
            if old != new:
                to_old, to_new = (frozenset((head, j + 1)) in joined for head in (old, new))
                category = {(0, 1): "new", (1, 0): "old", (1, 1): "both", (0, 0): "neither"}
                right = None if sentence.heads is None else sentence.heads[j]
                change = (old, new, category[to_old, to_new], _effect(right, old, new))
                found.append(Change(k, j, *change))
    return found


def _effect(right: int | None, old: int, new: int) -> str | None:
    if right is None:
        return None
    return EFFECTS[0 if new == right else 1 if old == right else 2]


def count_changes(changes: Sequence[Change]) -> dict[str, Any]:
    """How many changes there are of each category, their shares of all, and what they do to UAS.

    Returns:
        `changed`, and for each category, `rest` and `all` its `count`, its `rate` (None if nothing
        changed) and the counts of `EFFECTS`, of the changes where gold heads are known.
    """
    kinds = dict.fromkeys(("new", "old", "both", "neither"), ())
    kinds = {name: (name,) for name in kinds} | CATEGORIES
    rows = {name: [c for c in changes if c.category in parts] for name, parts in kinds.items()}
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
    gold: Sentences, a: Sentences, b: Sentences, samples: int = 10_000
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
    return found | {name: compared(gold, a, b, name, samples) for name in ("UF", "LF")}


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
