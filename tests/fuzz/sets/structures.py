"""Named sets of structures, each `(rng, n, m) -> Known`, small enough to list them."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

import optlayers as ol

from ...graph_enumeration import all_pairs, graph_tensors
from ...tree_enumeration import tree_tensors
from .enumeration import head_choices, padded, paths, permutations, segmentations, spanning_trees
from .known import COUNT, Known, by_rows


def _lengths(rng: Generator, most: int) -> list[int]:
    """One for each instance, the longest of them `most` or less."""
    if rng.random() < 0.4:
        return [int(rng.integers(1, most + 1))] * COUNT
    return [int(k) for k in rng.integers(1, most + 1, COUNT)]


def set_head_selection(rng: Generator, n: int, m: int) -> Known:
    """One head for every word."""
    n = int(rng.integers(1, 4))
    points = head_choices(n, False, n).reshape(-1, (n + 1) ** 2)
    return by_rows(ol.head_selection(n), points, True, sums=True)


def set_trees(rng: Generator, n: int, m: int) -> Known:
    """Dependency trees of one to four words, crossing or not, with every relaxation."""
    lengths, projective, single = _lengths(rng, 4), rng.random() < 0.5, rng.random() < 0.5
    names = ["head-selection", "single-commodity", "arborescence", "hull"]
    name = str(rng.choice([*names, *["single-root"] * single]))
    made = ol.DependencyTrees(lengths, bool(projective), bool(single), name)
    size = max(lengths)
    points = [padded(tree_tensors(k, projective, single).numpy(), (size + 1,) * 2) for k in lengths]
    relaxed = None
    if name in ("head-selection", "single-root"):
        relaxed = [head_choices(k, name == "single-root", size) for k in lengths]
    elif name == "hull":
        relaxed = points
    elif name == "arborescence":
        trees = [tree_tensors(k, False, single).numpy() for k in lengths]
        relaxed = [padded(z, (size + 1,) * 2) for z in trees]
    rows = None
    if relaxed is None:
        rows = [made.relaxation.instance((i,)) for i in range(COUNT)]
    accuracy = 3e-6 if name in ("arborescence", "hull") else 1e-8
    return Known(made, points, relaxed, rows, sums=True, accuracy=accuracy)


def set_graphs(rng: Generator, n: int, m: int) -> Known:
    """Semantic graphs of two words, deterministic labels or not, with every relaxation."""
    lengths, labels = _lengths(rng, 2), int(rng.integers(1, 3))
    determined = [k for k in range(labels) if rng.random() < 0.4]
    predicates, size = bool(rng.random() < 0.7), max(lengths)
    names = ["label-sum", "hull", *["arc-predicate"] * predicates]
    name = str(rng.choice([*names, *["determinism"] * bool(determined)]))
    made = ol.SemanticGraphs(lengths, labels, determined, predicates, relaxation=name)
    slots = [(i, j) for i in range(size) for j in range(size)]

    def graphs(deterministic: list[int]) -> list[np.ndarray]:
        found = (graph_tensors(k, labels, deterministic, predicates, all_pairs(k), size, slots)
                 for k in lengths)  # fmt: skip
        return [z.numpy().reshape(len(z), -1) for z in found]

    points, rows = graphs(determined), None
    if name != "hull":
        rows = [made.relaxation.instance((i,)) for i in range(COUNT)]
    accuracy = 3e-6 if name == "hull" else 1e-8
    relaxed = points if name == "hull" else None
    more = {"sums": not determined, "samples": False, "accuracy": accuracy}
    return Known(made, points, relaxed, rows, **more)


def set_linear_chain(rng: Generator, n: int, m: int) -> Known:
    """Tags of up to four positions."""
    lengths, tags = _lengths(rng, 4), int(rng.integers(1, 4))
    points = [segmentations(k, 1, tags, True, max(lengths)) for k in lengths]
    return Known(ol.LinearChain(lengths, tags), points, points, sums=True)


def set_segmentation(rng: Generator, n: int, m: int) -> Known:
    """Segments with labels."""
    lengths, longest = _lengths(rng, 4), int(rng.integers(1, 4))
    labels, transitions = int(rng.integers(1, 3)), bool(rng.random() < 0.5)
    made = ol.Segmentation(lengths, longest, labels, transitions=transitions)
    points = [segmentations(k, longest, labels, transitions, max(lengths)) for k in lengths]
    return Known(made, points, points, sums=True)


def set_spanning_trees(rng: Generator, n: int, m: int) -> Known:
    """Trees of two to five nodes."""
    nodes = int(rng.integers(2, 6))
    every = [(u, v) for u in range(nodes) for v in range(u + 1, nodes)]
    edges = [e for e in every if rng.random() < 0.7]
    trees = spanning_trees(nodes, edges)
    if not len(trees):
        edges, trees = every, spanning_trees(nodes, every)
    made = ol.SpanningTrees(nodes, edges)
    return Known(made, [trees] * COUNT, [trees] * COUNT, sums=True, accuracy=3e-6)


def set_graph_paths(rng: Generator, n: int, m: int) -> Known:
    """Paths of a graph with cycles, where costs are positive."""
    nodes = int(rng.integers(2, 5))
    edges = [(u, v) for u in range(nodes) for v in range(nodes) if u != v and rng.random() < 0.6]
    target = nodes - 1
    if not len(paths(edges, 0, target)):
        edges.append((0, target))
    made = ol.GraphPaths(nodes, edges, 0, target)
    P, points = made.relaxation, paths(edges, 0, target)
    return Known(made, [points] * COUNT, rows=[P] * COUNT, costs=True)


def set_rankings(rng: Generator, n: int, m: int) -> Known:
    """Orders of up to five weights, equal ones and zeros among them."""
    n = int(rng.integers(1, 6))
    weights = [np.arange(1.0, n + 1), rng.integers(0, 3, n).astype(float), rng.random(n).round(2)]
    chosen = np.sort(weights[rng.integers(3)])
    points = permutations(chosen.tolist())
    made = ol.Rankings(n, chosen)
    return Known(made, [points] * COUNT, [points] * COUNT, least=float(chosen[0]))


def set_hull_of_structures(rng: Generator, n: int, m: int) -> Known:
    """The hull of a set of structures, by its decoder alone."""
    makers = (set_trees, set_graphs, set_linear_chain, set_spanning_trees, set_rankings)
    known = makers[rng.integers(len(makers))](rng, n, m)
    hull = ol.ConvexHull(known.asked)
    return replace(known, asked=hull, relaxed=known.structures, rows=None, accuracy=3e-6)
