"""Scores of trees, graphs and sentiments, and whether a difference between two systems is luck.

Graphs are counted as the toolkit of the SDP shared tasks does: over all sentences together, as sets
of (sentence, predicate, argument, label); unlabelled scores leave the label out; scores with tops
add an arc from nowhere to each top. Sentences are matched by their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from examples.data import DataError, Sentence

PUNCTUATION = frozenset(("``", "''", ",", ".", ":", "HYPH", "NFP"))
"""Tags of words that UAS without punctuation leaves out.

The first five are customary on the Penn treebank, where brackets count as words; the last two are
those that newer treebanks (EWT) have taken out of `:` and of words.
"""

TREE_METRICS = ("UAS", "UEM")
GRAPH_METRICS = ("LP", "LR", "LF", "LM", "UP", "UR", "UF", "UM")
SENTIMENT_METRICS = ("accuracy",)
CHUNK = 250  # resamples held in memory at once


@dataclass(frozen=True)
class Counts:
    """For each sentence how many arcs (or answers) are gold, given, and both: (sentences,) each."""

    gold: np.ndarray
    system: np.ndarray
    common: np.ndarray

    def table(self) -> np.ndarray:
        """(sentences, 5): gold, system, common, exact match, one. Sums of rows give all scores."""
        exact = (self.gold == self.common) & (self.system == self.common)
        ones = np.ones_like(self.gold)
        return np.stack([self.gold, self.system, self.common, exact, ones], axis=1)


def tree_scores(
    gold: Sequence[Sentence], system: Sequence[Sentence], punctuation: bool = True
) -> dict[str, float]:
    """UAS: the fraction of words with the right head. UEM: of sentences with all of them right.

    Args:
        gold: Sentences with the right heads.
        system: The same sentences with the heads to be judged.
        punctuation: False leaves out words with gold tags in `PUNCTUATION`.
    """
    return _scores(tree_counts(gold, system, punctuation), TREE_METRICS)


def graph_scores(
    gold: Sequence[Sentence], system: Sequence[Sentence], tops: bool = False
) -> dict[str, float]:
    """Precision, recall, F1 and exact match: LP, LR, LF, LM with labels, UP, UR, UF, UM without.

    A fraction of nothing is 0 here (the toolkit prints NaN).

    Args:
        gold: Sentences with the right arcs.
        system: The same sentences with the arcs to be judged.
        tops: Counts tops as arcs, as the shared tasks did. Leave it off for PropBank's graphs,
            whose tops are a convention of this repository.
    """
    return {
        **_scores(graph_counts(gold, system, True, tops), GRAPH_METRICS[:4]),
        **_scores(graph_counts(gold, system, False, tops), GRAPH_METRICS[4:]),
    }


def sentiment_scores(gold: Sequence[Sentence], system: Sequence[Sentence]) -> dict[str, float]:
    """Accuracy: the fraction of sentences whose sentiment is on the same side of 0.5 as gold's.

    Exactly 0.5 counts as positive.
    """
    return _scores(sentiment_counts(gold, system), SENTIMENT_METRICS)


def sentiment_counts(gold: Sequence[Sentence], system: Sequence[Sentence]) -> Counts:
    """One answer for each sentence, and whether it is right."""
    _check(gold, system, "sentiment")
    right = [is_positive(a) == is_positive(b) for a, b in zip(gold, system, strict=True)]
    ones = np.ones(len(right), int)
    return Counts(ones, ones, np.array(right, int))


def is_positive(sentence: Sentence) -> bool | None:
    """Whether a sentence is positive, or None where nothing is known."""
    return None if sentence.sentiment is None else sentence.sentiment >= 0.5


def tree_counts(
    gold: Sequence[Sentence], system: Sequence[Sentence], punctuation: bool = True
) -> Counts:
    """Words that count and those with the right head, sentence by sentence."""
    _check(gold, system, "heads", each_word=True)
    words, right = [], []
    for a, b in zip(gold, system, strict=True):
        counted = [punctuation or tag not in PUNCTUATION for tag in a.tags]
        pairs = zip(a.heads or (), b.heads or (), counted, strict=True)
        words.append(sum(counted))
        right.append(sum(one == other and counts for one, other, counts in pairs))
    return Counts(np.array(words, int), np.array(words, int), np.array(right, int))


def graph_counts(
    gold: Sequence[Sentence], system: Sequence[Sentence], labelled: bool, tops: bool
) -> Counts:
    """Arcs of the gold graphs, of the system's, and of both, sentence by sentence."""
    _check(gold, system, "arcs")
    pairs = [
        (_arcs(a, labelled, tops), _arcs(b, labelled, tops))
        for a, b in zip(gold, system, strict=True)
    ]
    return Counts(
        np.array([len(a) for a, _ in pairs], int),
        np.array([len(b) for _, b in pairs], int),
        np.array([len(a & b) for a, b in pairs], int),
    )


def _arcs(sentence: Sentence, labelled: bool, tops: bool) -> set[tuple[int, int, str]]:
    arcs = {(i, j, label if labelled else "") for i, j, label in sentence.arcs or ()}
    if tops:
        arcs |= {(-1, top, "") for top in sentence.tops or ()}
    return arcs


def _check(
    gold: Sequence[Sentence], system: Sequence[Sentence], what: str, each_word: bool = False
) -> None:
    if len(gold) != len(system):
        raise DataError(f"Wanted the same sentences: gold has {len(gold)}, system {len(system)}.")
    for k, (a, b) in enumerate(zip(gold, system, strict=True), start=1):
        name = f"sentence {k} ({a.id or 'no id'})"
        if len(a) != len(b):
            raise DataError(f"{name}: gold has {len(a)} words, system {len(b)}.")
        if a.id and b.id and a.id != b.id:
            raise DataError(f"{name}: system has {b.id} in its place. Wanted the same order.")
        for side, sentence in (("gold", a), ("system", b)):
            found = getattr(sentence, what)
            if found is None:
                raise DataError(f"{name}: {side} has no {what}.")
            if each_word and len(found) != len(a):
                raise DataError(f"{name}: {side} has {len(found)} {what} for {len(a)} words.")


def _scores(counts: Counts, names: Sequence[str]) -> dict[str, float]:
    sums = counts.table().sum(axis=0)
    return {name: float(_metric(name, sums)) for name in names}


def _metric(name: str, sums: np.ndarray) -> np.ndarray:
    """A score from sums (.., 5) of the rows of `Counts.table`."""
    gold, system, common, exact, sentences = np.moveaxis(np.asarray(sums, float), -1, 0)
    if name in ("UAS", "accuracy") or name.endswith("R"):
        return _ratio(common, gold)
    if name.endswith("P"):
        return _ratio(common, system)
    if name.endswith("F"):
        # 2PR / (P + R), without the detour
        return _ratio(2 * common, gold + system)
    return _ratio(exact, sentences)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole != 0)


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same sentences.

    Args:
        metric: What is compared.
        a: The score of the first system.
        b: That of the second.
        difference: a - b.
        interval: The middle 95 % of the differences on resampled sentences.
        p_value: The share of resamples in which the better system is not better.
        samples: How many resamples.
    """

    metric: str
    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    samples: int


def shown_p(p_value: float, samples: int) -> str:
    """A p-value for a table; what never happened has none, but a bound."""
    return f"{p_value:.4f}" if p_value else f"< {1 / samples:g}"


def paired_bootstrap(
    gold: Sequence[Sentence],
    a: Sequence[Sentence] | Sequence[Sequence[Sentence]],
    b: Sequence[Sentence] | Sequence[Sequence[Sentence]],
    metric: str,
    samples: int = 10_000,
    seed: int = 0,
    *,
    tops: bool = False,
    punctuation: bool = True,
) -> Comparison:
    """Whether the better of two systems would be better on other sentences too (Koehn 2004).

    As many sentences as there are, drawn with replacement, and both systems are scored on them;
    again and again. With equal scores the p-value is 1.

    Args:
        gold: Sentences with the right answers.
        a: The first system's answers; or several, of as many runs of it with other seeds. Then
            the counts of all runs are added for each sentence.
        b: The second system's answers, likewise.
        metric: One of UAS, UEM, LP, LR, LF, LM, UP, UR, UF, UM, accuracy.
        samples: How often to draw.
        seed: The same seed gives the same figures.
        tops: As in `graph_scores`.
        punctuation: As in `tree_scores`.
    """
    first, second = (
        [counts(gold, run, metric, tops=tops, punctuation=punctuation) for run in _runs(system)]
        for system in (a, b)
    )
    return bootstrap(first, second, metric, samples, seed)


def bootstrap(
    a: Sequence[Counts], b: Sequence[Counts], metric: str, samples: int = 10_000, seed: int = 0
) -> Comparison:
    """The same from counts of the same sentences, of one run of each system or of several."""
    tables = [np.sum([counts.table() for counts in side], axis=0) for side in (a, b)]
    n = len(tables[0])
    if samples < 1 or not n:
        raise DataError(f"Nothing to draw: {samples} samples of {n} sentences.")
    scores = [float(_metric(metric, table.sum(axis=0))) for table in tables]
    rng = np.random.default_rng(seed)
    differences = []
    for start in range(0, samples, CHUNK):
        # How often each sentence is drawn, instead of which: sums become one matrix product.
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=min(CHUNK, samples - start))
        first, second = (_metric(metric, drawn @ table) for table in tables)
        differences.append(first - second)
    resampled = np.concatenate(differences)
    difference = scores[0] - scores[1]
    low, high = np.quantile(resampled, [0.025, 0.975])
    worse = np.sign(resampled) != np.sign(difference)
    return Comparison(
        metric,
        *scores,
        difference=difference,
        interval=(float(low), float(high)),
        p_value=1.0 if difference == 0 else float(worse.mean()),
        samples=samples,
    )


def _runs(
    system: Sequence[Sentence] | Sequence[Sequence[Sentence]],
) -> list[Sequence[Sentence]]:
    if not system or isinstance(system[0], Sentence):
        return [cast(Sequence[Sentence], system)]
    return list(cast(Sequence[Sequence[Sentence]], system))


def counts(
    gold: Sequence[Sentence],
    system: Sequence[Sentence],
    metric: str,
    *,
    tops: bool = False,
    punctuation: bool = True,
) -> Counts:
    """What a metric is made of, sentence by sentence."""
    if metric in TREE_METRICS:
        return tree_counts(gold, system, punctuation)
    if metric in SENTIMENT_METRICS:
        return sentiment_counts(gold, system)
    if metric in GRAPH_METRICS:
        return graph_counts(gold, system, metric.startswith("L"), tops)
    known = ", ".join((*TREE_METRICS, *GRAPH_METRICS, *SENTIMENT_METRICS))
    raise DataError(f"There is no metric {metric!r}. Choose one of {known}.")
