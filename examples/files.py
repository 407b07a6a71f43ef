"""Scores of one file of trees, graphs or sentiments against another."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from examples import metrics
from examples.data import DataError, Sentence, read_conllu, read_sdp, read_sst
from examples.data.plain import read_sentiments
from examples.data.sst import NEUTRAL, read_tree
from examples.data.text import blocks, lines

TREES, GRAPHS = (".conllu", ".conllx", ".conll"), (".sdp",)
SENTIMENTS, REVIEWS = (".tsv",), (".txt",)


def score_files(gold: str | Path, system: str | Path) -> dict[str, dict[str, float]]:
    """Scores of two .sdp, two .conllu or two .tsv files, by what is counted.

    Args:
        gold: The right answers; of sentiments also a .txt file with trees of the Stanford Sentiment
            Treebank, of which those that are not neutral are counted.
        system: The answers to be judged.

    Raises:
        DataError: If they are files of other kinds, or not of the same sentences.
    """
    kinds = [Path(path).suffix for path in (gold, system)]
    if all(kind in GRAPHS for kind in kinds):
        a, b = read_sdp(gold), read_sdp(system)
        _check(gold, a, system, b)
        tops = metrics.graph_scores(a, b, tops=True)
        return {"without tops": metrics.graph_scores(a, b), "with tops": tops}
    if all(kind in TREES for kind in kinds):
        a, b = read_conllu(gold, single_root=False), read_conllu(system, trees=False)
        _check(gold, a, system, b)
        for path, sentences in ((gold, a), (system, b)):
            for k, sentence in enumerate(sentences):
                if sentence.heads is None:
                    raise _at(path, k, f"{_name(sentence)} has no heads to score.")
        return {
            "with punctuation": metrics.tree_scores(a, b),
            "without punctuation": metrics.tree_scores(a, b, punctuation=False),
        }
    if kinds[0] in SENTIMENTS + REVIEWS and kinds[1] in SENTIMENTS:
        return {"sentiment": _sentiment_scores(gold, system)}
    raise DataError(
        "Wanted two .sdp files or two .conllu files, two .tsv files, or trees of the Stanford "
        f"Sentiment Treebank (.txt) and a .tsv file. Got {gold} and {system}."
    )


def _sentiment_scores(gold: str | Path, system: str | Path) -> dict[str, float]:
    b = read_sentiments(system)
    if Path(gold).suffix in SENTIMENTS:
        a = read_sentiments(gold)
        _check(gold, a, system, b)
    else:
        a = [replace(s, id="") for s in read_sst(gold)]  # a copy of its words may have other ids
        try:
            _check(gold, a, system, b)
        except DataError as error:
            raise DataError(f"{error} Neutral sentences of {gold} are left out.") from None
    return metrics.sentiment_scores(a, b)


def _check(gold: str | Path, a: list[Sentence], system: str | Path, b: list[Sentence]) -> None:
    """Raises DataError at the first sentence that is not the same."""
    for k, (one, other) in enumerate(zip(a, b, strict=False)):
        if one.id and other.id and one.id != other.id:
            why = f"{_name(other)} stands where {gold} has {_name(one)}. Wanted the same order."
            raise _at(system, k, why)
        if one.words != other.words:
            raise _at(system, k, f"{_name(other)} is not that of {gold}: {_unlike(one, other)}.")
    if not (a or b):
        raise DataError(f"{gold} and {system} have no sentences.")
    if len(a) != len(b):
        longer, k = (system, len(a)) if len(b) > len(a) else (gold, len(b))
        shorter = gold if longer == system else system
        sentence = (b if longer == system else a)[k]
        raise _at(
            longer,
            k,
            f"{_name(sentence)} has no counterpart: {gold} has {len(a)} sentences, {system} "
            f"{len(b)}. Is {shorter} complete?",
        )


def _unlike(one: Sentence, other: Sentence) -> str:
    for i, (word, given) in enumerate(zip(one.words, other.words, strict=False), start=1):
        if word != given:
            return f"word {i} is {given!r}, wanted {word!r}"
    return f"it has {len(other)} words, wanted {len(one)}"


def _name(sentence: Sentence) -> str:
    return f"sentence {sentence.id!r}" if sentence.id else "a sentence without id"


def _at(path: str | Path, k: int, reason: str) -> DataError:
    """The error at the k-th sentence of a file, counted from 0."""
    return DataError.at(path, next(islice(_starts(path), k, None)), reason)


def _starts(path: str | Path) -> Iterator[int]:
    """The lines where the sentences of a file begin."""
    kind = Path(path).suffix
    if kind in SENTIMENTS:
        return (number for number, _ in islice(lines(path, ended=False), 1, None))
    if kind in REVIEWS:
        trees = ((number, line) for number, line in lines(path, ended=False) if line.strip())
        return (number for number, line in trees if read_tree(line)[0] != NEUTRAL)
    return (block[0][0] for block in blocks(path))
