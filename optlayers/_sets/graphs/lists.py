"""Semantic graphs as lists of arcs, there and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..._errors import InputError
from .parts import GraphLayout

Arc = tuple[int, int, int]


def parts_of_arcs(
    graphs: Sequence[Sequence[Arc]],
    layout: GraphLayout,
    missing: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sentence and the number of every part that graphs are made of.

    Args:
        graphs: For each sentence, its triples.
        layout: Where their parts lie.
        missing: "raise" or "drop", for arcs without a slot.
    """
    if missing not in ("raise", "drop"):
        raise InputError(f"`missing` must be 'raise' or 'drop'. Got {missing!r}.")
    count, size = layout.batch_shape.numel(), layout.size
    if len(graphs) != count:
        raise InputError(f"`graphs` must hold {count} sentences. Got {len(graphs)}.")
    lengths = layout.lengths.expand(layout.batch_shape).flatten().numpy()
    sentence, triples = _read(graphs, lengths, layout.labels)
    place = triples[:, 0] * size + triples[:, 1]
    slot = place if layout.slots.dense else _find(layout, sentence, place)
    kept = slot >= 0
    if missing == "raise" and not kept.all():
        at = int((~kept).argmax())
        raise InputError(
            f"The arc {tuple(triples[at].tolist())} of sentence {sentence[at]} was pruned by "
            "`arcs`. With missing='drop' such arcs are left out."
        )
    sentence, triples, slot = sentence[kept], triples[kept], slot[kept]
    arc = layout.offset + slot * (1 + layout.labels)
    found = [arc, arc + 1 + triples[:, 2]] + ([triples[:, 0]] if layout.predicates else [])
    return np.tile(sentence, len(found)), np.concatenate(found)


def arcs_of_labels(chosen: Tensor, position: np.ndarray, size: int) -> list[list[Arc]]:
    """List the triples of every sentence, from labels `(N, K, L)` and the places of its slots."""
    found: list[list[Arc]] = [[] for _ in range(len(chosen))]
    for b, slot, label in chosen.nonzero().tolist():
        predicate, argument = divmod(int(position[b, slot]), size)
        found[b].append((predicate, argument, label))
    return found


def _find(layout: GraphLayout, sentence: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Find the slot of the arc at `place` = $i n + j$ of each flattened sentence; -1 if pruned."""
    position = layout.positions(layout.batch_shape)
    found = np.full(len(place), -1)
    order = np.argsort(sentence, kind="stable")
    edges = np.searchsorted(sentence[order], np.arange(len(position) + 1))
    for b, row in enumerate(position):
        chosen = order[edges[b] : edges[b + 1]]
        kept = row[row >= 0]  # sorted, because slots are in the order of the arcs
        at = np.searchsorted(kept, place[chosen])
        inside = at < len(kept)
        inside[inside] = kept[at[inside]] == place[chosen][inside]
        found[chosen] = np.where(inside, at, -1)
    return found


def _read(
    graphs: Sequence[Sequence[Arc]], lengths: np.ndarray, labels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read all triples `(T, 3)` of a batch and the sentence of each, checked."""
    sentence = np.repeat(np.arange(len(graphs)), [len(graph) for graph in graphs])
    flat = [triple for graph in graphs for triple in graph]
    try:
        triples = np.array(flat).reshape(len(flat), 3)
    except ValueError:
        triples = np.zeros((1, 3))
    if flat and triples.dtype.kind not in "iu":
        raise InputError("`graphs` must hold triples (predicate, argument, label) of integers.")
    triples = triples.astype(np.int64)
    limits = np.stack([lengths[sentence], lengths[sentence], np.full(len(flat), labels)], 1)
    for wrong, why in (
        ((triples < 0) | (triples >= limits), "names a word or a label that does not exist"),
        (triples[:, :1] == triples[:, 1:2], "leads from a word to itself"),
        (_repeated(sentence, triples), "is there twice; an arc has one label"),
    ):
        if wrong.any():
            at = int(wrong.any(-1).argmax())
            raise InputError(
                f"The arc {tuple(triples[at].tolist())} of sentence {sentence[at]}, with "
                f"{lengths[sentence[at]]} words and {labels} labels, {why}."
            )
    return sentence, triples


def _repeated(sentence: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """Mark arcs that came before with any label, `(T, 1)`."""
    keys = np.column_stack([sentence, triples[:, :2]])
    again = np.ones(len(keys), dtype=bool)
    again[np.unique(keys, axis=0, return_index=True)[1]] = False
    return again[:, None]


def deterministic_labels(
    graphs: Sequence[Sequence[Arc]], labels: int, min_count: int = 1
) -> list[int]:
    """Find the labels that never occur twice at one predicate of training graphs.

    What `SemanticGraphs` takes as `deterministic`: core roles of a verb and the like.

    Args:
        graphs: For each sentence, its triples `(predicate, argument, label)`.
        labels: Number of labels.
        min_count: How often a label must occur to count; rarer ones prove little.

    Returns:
        Their numbers, in order.

    Raises:
        InputError: If a label is not below `labels`.

    References:
        Flanigan, Thomson, Carbonell, Dyer and Smith (2014), *A discriminative graph-based parser
        for the Abstract Meaning Representation*; Martins and Almeida (2014), *Priberam: a turbo
        semantic parser with second order features*.

    Examples:
        >>> agent, patient, manner = 0, 1, 2
        >>> first = [(1, 0, agent), (1, 2, patient), (1, 3, manner), (1, 4, manner)]
        >>> second = [(1, 0, agent), (3, 0, agent)]
        >>> deterministic_labels([first, second], labels=3)
        [0, 1]
        >>> deterministic_labels([first, second], labels=3, min_count=2)
        [0]
    """
    count, repeated = np.zeros(labels, dtype=np.int64), np.zeros(labels, dtype=bool)
    for number, graph in enumerate(graphs):
        seen: set[tuple[int, int]] = set()
        for predicate, _, label in graph:
            if not 0 <= label < labels:
                raise InputError(
                    f"Labels must be from 0 to {labels - 1}. Got {label} in sentence {number}."
                )
            count[label] += 1
            repeated[label] |= (predicate, label) in seen
            seen.add((predicate, label))
    return np.flatnonzero((count >= min_count) & (count > 0) & ~repeated).tolist()


def as_deterministic(labels: Any, count: int) -> tuple[int, ...]:
    """Return numbers of the deterministic labels, from numbers or booleans."""
    if labels is None:
        return ()
    found = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if found.dtype == bool and found.shape == (count,):
        return tuple(np.flatnonzero(found).tolist())
    if found.size == 0:
        return ()
    if found.ndim != 1 or found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= count:
        raise InputError(
            f"`deterministic` must be numbers of labels from 0 to {count - 1}, or booleans of "
            f"shape ({count},). Got {labels!r}."
        )
    return tuple(sorted(set(found.tolist())))
