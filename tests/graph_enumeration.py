"""All semantic graphs of a few words, by trying every choice of labels. Shares no code."""

import itertools
from collections.abc import Iterator, Sequence

import torch

Pair = tuple[int, int]


def every_graph(
    n: int, labels: int, deterministic: Sequence[int], predicates: bool, pairs: Sequence[Pair]
) -> Iterator[tuple[set[int], dict[Pair, int]]]:
    """Predicates and labelled arcs of each graph over words 0 to n - 1 with some of the pairs."""
    for choice in itertools.product(range(-1, labels), repeat=len(pairs)):
        arcs = {p: label for p, label in zip(pairs, choice, strict=True) if label >= 0}
        used = [(i, label) for (i, _), label in arcs.items() if label in deterministic]
        if len(used) > len(set(used)):
            continue
        heads = {i for i, _ in arcs}
        others = [i for i in range(n) if i not in heads] if predicates else []
        for count in range(len(others) + 1):
            for more in itertools.combinations(others, count):
                yield heads | set(more), arcs


def all_pairs(n: int) -> list[Pair]:
    """Every predicate with every other word."""
    return [(i, j) for i in range(n) for j in range(n) if i != j]


def graph_tensors(
    n: int,
    labels: int,
    deterministic: Sequence[int],
    predicates: bool,
    pairs: Sequence[Pair],
    size: int,
    slots: Sequence[Pair | None],
) -> torch.Tensor:
    """All graphs, `(count, parts)`, in the layout of `slots`, with room for `size` words."""
    rows = []
    for heads, arcs in every_graph(n, labels, deterministic, predicates, pairs):
        row = [float(i in heads) for i in range(size)] if predicates else []
        for pair in slots:
            label = arcs.get(pair, -1) if pair is not None else -1
            row += [float(label >= 0), *(float(label == k) for k in range(labels))]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)
