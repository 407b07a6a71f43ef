"""The command line: `python -m optlayers explain|validate|bench|warmup`."""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ._cli.bench import bench
from ._cli.explain import explain
from ._cli.parser import installed_version, make_parser
from ._cli.sets import read_set
from ._cli.show import show_bench, show_explanation, show_validation, show_warmup
from ._cli.warmup import warm_up
from ._errors import OptLayersError
from ._judge.validate import validate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0: done (and the projection is right), 1: it is not, 2: cannot be done."""
    args = make_parser().parse_args(arguments)
    head: dict[str, Any] = {"version": installed_version(), "command": args.command}
    try:
        found, show, right = _run(args)
    except (OptLayersError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        return _give_up(args, head, " ".join(str(error).split()) or "not enough memory")
    except Exception as error:  # a mistake of ours; Python's own status is 1: "it is wrong"
        traceback.print_exc()
        return _give_up(args, head, f"{type(error).__name__}: {error}")
    try:
        print(json.dumps(head | found, allow_nan=False)) if args.json else show()
        sys.stdout.flush()
    except OSError as error:  # 1 would say that the projection is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python tries once more as it exits
        print(f"error: the output cannot be written: {error}", file=sys.stderr)
        return 2
    return 0 if right else 1


def _give_up(args: argparse.Namespace, head: dict[str, Any], reason: str) -> int:
    """Say on the standard error, and in JSON if asked, why nothing was found."""
    if args.json:
        print(json.dumps(head | {"error": reason}))
    print(f"error: {reason}", file=sys.stderr)
    return 2


def _run(args: argparse.Namespace) -> tuple[dict[str, Any], Callable[[], None], bool]:
    """Return what was found, a function that shows it, and whether the projection is right."""
    if args.command == "warmup":
        found = warm_up(show=not args.json and sys.stderr.isatty())
        return found, lambda: show_warmup(found), True
    feasible_set = read_set(args)
    if args.command == "explain":
        found = explain(feasible_set, args.constraints)
        return found, lambda: show_explanation(found), True
    if args.command == "bench":
        found = bench(feasible_set, args)
        return found, lambda: show_bench(found, installed_version()), found["ok"]
    result = validate(feasible_set, args.samples, args.against, seed=args.seed)
    return result.to_dict(), lambda: show_validation(result), result.ok


if __name__ == "__main__":
    sys.exit(main())
