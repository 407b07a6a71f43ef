"""Sets by name, as the command line takes them, or from a file."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .._errors import InputError
from .._feasible_set import FeasibleSet
from .._polytope.constructors import (
    box,
    budget,
    cardinality,
    dag_path,
    label_sum,
    simplex,
    spans,
)
from .._polytope.matrices import assignment, head_selection, transport
from .._polytope.npz import load
from .._polytope.polytope import Polytope
from .._sets import (
    DependencyTrees,
    LinearChain,
    Rankings,
    Segmentation,
    SemanticGraphs,
    SpanningTrees,
)


def _budget(args: argparse.Namespace) -> Polytope:
    weights = torch.from_numpy(np.random.default_rng(args.seed).uniform(0.5, 1.5, args.size))
    return budget(weights, float(weights.sum()) / 4)


def _dag_path(args: argparse.Namespace) -> Polytope:
    n = args.size
    edges = [(i, j) for i in range(n) for j in range(i + 1, min(i + 4, n))]
    return dag_path(n, edges, 0, n - 1)


def _transport(args: argparse.Namespace) -> Polytope:
    experts = math.ceil(args.size / 4) + 1
    capacity = math.ceil(2.5 * args.size / experts)
    return transport([2.0] * args.size, [capacity] * experts, least_demand=0.0, capacity=1.0)


def _trees(args: argparse.Namespace) -> DependencyTrees:
    return DependencyTrees(args.size, relaxation=args.relaxation or "head-selection")


def _graphs(args: argparse.Namespace) -> SemanticGraphs:
    relaxation = args.relaxation or "label-sum"
    return SemanticGraphs(
        args.size, args.labels, list(range(args.labels // 2)), relaxation=relaxation
    )


NAMES: dict[str, tuple[str, Callable[[argparse.Namespace], FeasibleSet]]] = {
    "box": ("SIZE variables in [0, 1]", lambda args: box(args.size)),
    "simplex": ("SIZE variables that sum to 1", lambda args: simplex(args.size)),
    "cardinality": (
        "at most a fifth of SIZE variables",
        lambda args: cardinality(args.size, at_most=math.ceil(args.size / 5)),
    ),
    "budget": ("SIZE variables with random weights, a quarter of their sum", _budget),
    "head-selection": ("one head for each of SIZE words", lambda args: head_selection(args.size)),
    "label-sum": (
        "SIZE arcs, each the sum of its LABELS labelled arcs",
        lambda args: label_sum(args.size, args.labels),
    ),
    "assignment": ("SIZE x SIZE permutations", lambda args: assignment(args.size, args.size)),
    "transport": (
        "SIZE tokens, each to two experts with little room",
        _transport,
    ),
    "spans": (
        "a fifth of SIZE words in at most 3 contiguous spans",
        lambda args: spans(args.size, math.ceil(args.size / 5), 3),
    ),
    "trees": ("projective dependency trees over SIZE words, by --relaxation", _trees),
    "graphs": (
        "semantic graphs over SIZE words, half of LABELS deterministic",
        _graphs,
    ),
    "chains": (
        "sequences of SIZE tags, of LABELS kinds",
        lambda args: LinearChain(args.size, args.labels),
    ),
    "segments": (
        "segments of at most 3 of SIZE words, with LABELS labels",
        lambda args: Segmentation(args.size, 3, args.labels),
    ),
    "spanning-trees": (
        "spanning trees of the complete graph of SIZE nodes",
        lambda args: SpanningTrees(args.size),
    ),
    "rankings": ("the ranks of SIZE items", lambda args: Rankings(args.size)),
    "dag-path": ("a path through SIZE nodes, with edges to the next 3", _dag_path),
}


_MOST_VARIABLES = 2 * 10**7
_SQUARES = ("head-selection", "assignment", "transport", "trees", "graphs", "spanning-trees")


def _check_size(args: argparse.Namespace) -> None:
    """Refuse a set that no machine of today projects onto, before it is made."""
    count = args.size ** (2 if args.polytope in _SQUARES else 1)
    count *= args.labels + 1 if args.polytope in ("label-sum", "graphs") else 1
    count *= args.labels**2 if args.polytope in ("chains", "segments") else 1
    if count > _MOST_VARIABLES:
        raise InputError(
            f"{args.polytope!r} of `--size` {args.size} has over {_MOST_VARIABLES:,} variables "
            f"(about {count:.2g}). Give a smaller `--size`."
        )


def read_set(args: argparse.Namespace) -> FeasibleSet:
    """Return the set that the command line asks for: a constructor by name, or a file.

    Raises:
        InputError: If a named set would be too large.
        PolytopeError: If a file declares no polytope.
        OSError: If a file cannot be read.
    """
    if args.polytope in NAMES:
        _check_size(args)
        return NAMES[args.polytope][1](args)
    if Path(args.polytope).suffix != ".npz" and not Path(args.polytope).exists():
        raise FileNotFoundError(
            f"{args.polytope!r} is neither a file nor one of: {', '.join(NAMES)}."
        )
    return load(args.polytope)
