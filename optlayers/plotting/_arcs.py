"""Arcs of trees and graphs as `draw_sentence` takes them, and how two structures differ."""

from collections.abc import Iterable, Sequence
from typing import Any

from .._errors import InputError
from ._layout import ROOT, Arc, Style
from ._style import COLOURS

KEPT, ADDED, REMOVED = (
    Style("in both", COLOURS["kept"]),
    Style("added", COLOURS["added"], (5.0, 2.5)),
    Style("removed", COLOURS["removed"], (2.0, 1.5)),
)
Triple = tuple[int, int, str]


def tree_arcs(
    heads: Iterable[int],
    labels: Sequence[str] | None = None,
    before: Iterable[int] | None = None,
) -> list[Arc]:
    """Return the arcs of a dependency tree, given by the head of each word.

    Args:
        heads: `heads[m - 1]` is the head of word m, counted from 1; 0 is the root. Lists, arrays
            and tensors.
        labels: One for each word's arc.
        before: Heads to compare with: arcs of both trees are solid, new ones dashed, vanished ones
            dotted, and the legend says which is which. Only arcs are compared, not labels.

    Raises:
        InputError: If a head is no word, or the lengths differ.

    Examples:
        >>> [(i, j, label) for i, j, label, _ in tree_arcs([2, 0, 2])]
        [(1, 0, ''), (-1, 1, ''), (1, 2, '')]
        >>> [(i, j, style.title) for i, j, _, style in tree_arcs([2, 0, 2], before=[2, 0, 1])]
        [(1, 0, 'in both'), (-1, 1, 'in both'), (1, 2, 'added'), (0, 2, 'removed')]
    """
    now = _heads(heads, "heads")
    names = [""] * len(now) if labels is None else [str(label) for label in labels]
    if len(names) != len(now):
        raise InputError(f"`labels` must name the arcs of {len(now)} words. Got {len(names)}.")
    arcs = [(head, word, name) for (head, word), name in zip(now, names, strict=True)]
    if before is None:
        return [(*arc, Style()) for arc in arcs]
    old = _heads(before, "before")
    if len(old) != len(now):
        raise InputError(
            f"`before` must have a head for each of the {len(now)} words of `heads`. "
            f"Got {len(old)}."
        )
    return _compared(arcs, [(*arc, "") for arc in old], labelled=False)


def graph_arcs(
    arcs: Iterable[tuple[int, int, str]], before: Iterable[tuple[int, int, str]] | None = None
) -> list[Arc]:
    """Return the arcs of a graph over words: (head, modifier, label).

    Args:
        arcs: Heads and modifiers are numbers of words, counted from 0, or `ROOT`.
        before: Arcs of a graph to compare with: what both have is solid, what is new dashed, what
            vanished dotted, and the legend says which is which. An arc with another label is
            another arc.

    Raises:
        InputError: If an arc is no such triple.

    Examples:
        >>> [style.title for *_, style in graph_arcs([(0, 1, "a")], before=[(0, 1, "b")])]
        ['added', 'removed']
    """
    now = [_triple(arc) for arc in arcs]
    if before is None:
        return [(*arc, Style()) for arc in now]
    return _compared(now, [_triple(arc) for arc in before], labelled=True)


def _compared(now: list[Triple], old: list[Triple], labelled: bool) -> list[Arc]:
    size = 3 if labelled else 2
    had, has = {arc[:size] for arc in old}, {arc[:size] for arc in now}
    found: list[Arc] = [(*arc, KEPT if arc[:size] in had else ADDED) for arc in now]
    return found + [(*arc, REMOVED) for arc in old if arc[:size] not in has]


def _heads(heads: Iterable[int], name: str) -> list[tuple[int, int]]:
    """Return pairs (head, word), both counted from 0, the root being `ROOT`."""
    listed = [int(head) for head in heads]
    for word, head in enumerate(listed):
        if not 0 <= head <= len(listed) or head == word + 1:
            raise InputError(
                f"`{name}` must hold for each of {len(listed)} words the number of another word, "
                f"counted from 1, or 0 for the root. Got {head} for word {word + 1}."
            )
    return [(head - 1 if head else ROOT, word) for word, head in enumerate(listed)]


def _triple(arc: Any) -> Triple:
    try:
        head, modifier, label = arc
        return int(head), int(modifier), str(label)
    except (TypeError, ValueError):
        raise InputError(
            f"An arc of a graph is (head, modifier, label), words counted from 0. Got {arc!r}."
        ) from None
