"""The command line: `python -m optlayers validate head-selection --size 25`, and `explain`."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from ._constructors import (
    assignment,
    box,
    budget,
    cardinality,
    dag_path,
    head_selection,
    label_sum,
    simplex,
    spans,
)
from ._describe import constraints
from ._errors import OptLayersError
from ._npz import load
from ._polytope import Polytope
from ._sets import DependencyTrees, SemanticGraphs
from ._validate import validate
from ._verbs import FeasibleSet, plan


def _budget(args: argparse.Namespace) -> Polytope:
    weights = torch.from_numpy(np.random.default_rng(args.seed).uniform(0.5, 1.5, args.size))
    return budget(weights, float(weights.sum()) / 4)


def _dag_path(args: argparse.Namespace) -> Polytope:
    n = args.size
    edges = [(i, j) for i in range(n) for j in range(i + 1, min(i + 4, n))]
    return dag_path(n, edges, 0, n - 1)


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
    "spans": (
        "a fifth of SIZE words in at most 3 contiguous spans",
        lambda args: spans(args.size, math.ceil(args.size / 5), 3),
    ),
    "trees": ("projective dependency trees over SIZE words, by --relaxation", _trees),
    "graphs": (
        "semantic graphs over SIZE words, LABELS labels, half of them deterministic",
        _graphs,
    ),
    "dag-path": ("a path through SIZE nodes, with edges to the next 3", _dag_path),
}


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {name:<15} {text}" for name, (text, _) in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="python -m optlayers",
        description="Show how a polytope is projected onto and decoded, or check that.",
        epilog="Each command takes a file.npz (see `optlayers.load`) or a name:\n" + names,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        (
            "explain",
            "which map each block of the constraints goes to, and why not a cheaper one",
        ),
        ("validate", "residuals, distances to exact QPs and times on random points, as a table"),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=f"Print {text}.",
            epilog="POLYTOPE is a file.npz (see `optlayers.load`) or a name:\n" + names,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("polytope", metavar="POLYTOPE", help="a name or a file.npz")
        command.add_argument("--size", type=_positive, default=10, help="for a name (default 10)")
        command.add_argument(
            "--labels", type=_positive, default=10, help="of label-sum and graphs (default 10)"
        )
        command.add_argument(
            "--relaxation", metavar="NAME", help="of trees and graphs, e.g. single-root"
        )
        command.add_argument("--seed", type=int, default=0, help="of random numbers (default 0)")
        if name == "validate":
            _add_validate_options(command)
        else:
            command.add_argument(
                "--constraints", type=_positive, metavar="N", help="also print the first N rows"
            )
    return parser


def _add_validate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--against",
        nargs="+",
        default=["osqp", "cvxpy"],
        choices=["osqp", "cvxpy", "cvxpylayers"],
        help="solvers to compare with (default: osqp cvxpy)",
    )
    command.add_argument("--samples", type=_positive, default=100, help="points (default 100)")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def read_polytope(args: argparse.Namespace) -> FeasibleSet:
    """The set that the command line asks for: a constructor by name, or a file."""
    if args.polytope in NAMES:
        return NAMES[args.polytope][1](args)
    if Path(args.polytope).suffix != ".npz" and not Path(args.polytope).exists():
        raise FileNotFoundError(
            f"{args.polytope!r} is neither a file nor one of: {', '.join(NAMES)}."
        )
    return load(args.polytope)


def _explain(feasible_set: FeasibleSet, rows: int | None) -> None:
    """A set, its relaxation if that is another, rows on request, and plans."""
    polytope = feasible_set.relaxation
    print(feasible_set)
    if polytope is not feasible_set:
        print(polytope)
    if rows:
        print(constraints(polytope, getattr(feasible_set, "part_names", None), rows))
    print(plan(polytope, "projection"))
    if polytope is feasible_set:
        print(plan(polytope, "decoder"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0: done (and the projection is right), 1: it is not, 2: cannot be done."""
    args = _parser().parse_args(arguments)
    try:
        polytope = read_polytope(args)
        if args.command == "explain":
            _explain(polytope, args.constraints)
            return 0
        result = validate(polytope, args.samples, args.against, seed=args.seed)
    except (OptLayersError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(result.to_dict()) if args.json else result)
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
