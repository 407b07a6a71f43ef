"""Projective trees: no arc crosses another, the one to the root included."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, get_args

from .sentence import DataError, Sentence

NonProjective = Literal["projectivise", "skip"]


def is_projective(heads: Sequence[int]) -> bool:
    """Whether no two arcs cross; the root stands before the first word."""
    return _smallest_crossing(heads) is None


def projectivise(sentence: Sentence) -> Sentence:
    """The sentence with a projective tree, by lifting (Nivre and Nilsson 2005).

    While there are words between the ends of an arc that the head does not dominate, the shortest
    such arc (the leftmost of several) is moved up to the head's own head. Relations stay as they
    are. A tree that is projective comes back as it is.
    """
    if sentence.heads is None or is_projective(sentence.heads):
        return sentence
    heads = list(sentence.heads)
    while (word := _smallest_crossing(heads)) is not None:
        heads[word - 1] = heads[heads[word - 1] - 1]
    return replace(sentence, heads=heads)


def _smallest_crossing(heads: Sequence[int]) -> int | None:
    """The word whose arc is to be lifted first, None if the tree is projective."""
    arcs = sorted((abs(head - word), min(head, word), word) for word, head in enumerate(heads, 1))
    return next((word for _, _, word in arcs if not _covers(heads, word)), None)


def _covers(heads: Sequence[int], word: int) -> bool:
    """Whether the head of a word dominates all words between the two."""
    head = heads[word - 1]
    for between in range(min(head, word) + 1, max(head, word)):
        node = between
        while node not in (0, head):
            node = heads[node - 1]
        if node != head:
            return False
    return True


def make_projective(trees: Iterable[Sentence], how: NonProjective) -> list[Sentence]:
    """The trees without crossing arcs: those with some lifted, or left out."""
    if how not in get_args(NonProjective):
        raise DataError(
            f"`non_projective` is one of {', '.join(get_args(NonProjective))}. Got {how!r}."
        )
    if how == "projectivise":
        return [projectivise(sentence) for sentence in trees]
    return [s for s in trees if s.heads is not None and is_projective(s.heads)]
