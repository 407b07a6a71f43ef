"""Scores of one file of trees or graphs against another."""

from itertools import islice
from pathlib import Path

from examples import metrics
from examples.data import DataError, Sentence, read_conllu, read_sdp
from examples.data.text import blocks

TREES, GRAPHS = (".conllu", ".conllx", ".conll"), (".sdp",)


def score_files(gold: str | Path, system: str | Path) -> dict[str, dict[str, float]]:
    """Scores of two .sdp or two .conllu files, by what is counted.

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
        a, b = read_conllu(gold), read_conllu(system, trees=False)
        _check(gold, a, system, b)
        for path, sentences in ((gold, a), (system, b)):
            for k, sentence in enumerate(sentences):
                if sentence.heads is None:
                    raise _at(path, k, f"{_name(sentence)} has no heads to score.")
        return {
            "with punctuation": metrics.tree_scores(a, b),
            "without punctuation": metrics.tree_scores(a, b, punctuation=False),
        }
    raise DataError(f"Wanted two .sdp files or two .conllu files. Got {gold} and {system}.")


def _check(gold: str | Path, a: list[Sentence], system: str | Path, b: list[Sentence]) -> None:
    """Raises DataError at the first sentence that is not the same."""
    for k, (one, other) in enumerate(zip(a, b, strict=False)):
        if one.id and other.id and one.id != other.id:
            why = f"{_name(other)} stands where {gold} has {_name(one)}. Wanted the same order."
            raise _at(system, k, why)
        if one.words != other.words:
            raise _at(system, k, f"{_name(other)} is not that of {gold}: {_unlike(one, other)}.")
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
    block = next(islice(blocks(path), k, None))
    return DataError.at(path, block[0][0], reason)
