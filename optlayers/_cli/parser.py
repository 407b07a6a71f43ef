"""The parser of the command line, and its help."""

import argparse
import math
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from .sets import NAMES

PROGRAM = "python -m optlayers"
_FORMAT = partial(argparse.RawDescriptionHelpFormatter, max_help_position=26, width=80)
_SETS = "sets:\n" + "\n".join(f"  {name:<15} {text}" for name, (text, _) in NAMES.items())
_STATUS = """\
exit status:
  0  done, and the projection is right
  1  the projection is not right
  2  it could not be done; one line on the standard error says why"""

_EXPLAIN = """\
examples:
  python -m optlayers explain spans --size 40
      What a rationale of 8 of 40 words is projected onto, and decoded with.
  python -m optlayers explain trees --size 3 --constraints 9
      The same for dependency trees, with the first nine rows in words.
  python -m optlayers explain set.npz --json
      A set of your own, saved by optlayers.save, for a program to read."""

_VALIDATE = """\
examples:
  python -m optlayers validate head-selection --size 25
      Compare 100 projections with OSQP and Clarabel.
  python -m optlayers validate set.npz --against osqp --samples 1000
      A set of your own, more points, one solver."""

_BENCH = """\
examples:
  python -m optlayers bench assignment --size 15
      Deciding, projecting and training with 32 matchings at a time.
  python -m optlayers bench trees --size 25 --batch 256 --threads 2
      Trees over 25 words, two threads.
  python -m optlayers bench simplex --size 1000 --device cuda --dtype float32
      On a GPU, in single precision.

Points are normal; every method gets the same ones. The first call, in which
code is compiled, is not counted. A solver gets one point after the other, as
many as fit in a second but two at least; "points" says how many were timed."""

_WARMUP = """\
examples:
  python -m optlayers warmup
      Compile what most calls need, while an image is built or before a class.
  python -m optlayers warmup --json
      The same, with the seconds of each kind of set for a program to read."""

_COMMANDS = {
    "explain": (
        "which map each block of the rows goes to, and why not a cheaper one",
        _EXPLAIN,
    ),
    "validate": (
        "residuals, distances to exact QPs and times on random points",
        _VALIDATE,
    ),
    "bench": ("times of deciding, projecting and training, on this machine", _BENCH),
    "warmup": ("how long the loops took that were compiled, once per machine", _WARMUP),
}


def installed_version() -> str:
    """Return the version of the package; "unknown" where it runs without being installed."""
    try:
        return version("optlayers")
    except PackageNotFoundError:
        return "unknown"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `python -m optlayers`."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Inspect, check and time how a set of decisions is projected onto and decoded.",
        epilog=f"{_SETS}\n\n{_STATUS}\n\n'{PROGRAM} COMMAND --help' has options and examples.",
        formatter_class=_FORMAT,
    )
    parser.add_argument("--version", action="version", version=f"optlayers {installed_version()}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands"
    )
    for name, (text, examples) in _COMMANDS.items():
        others = ", ".join(other for other in _COMMANDS if other != name)
        command = commands.add_parser(
            name,
            help=text,
            description=f"Print {text}.",
            epilog=f"{_SETS}\n\n{examples}\n\n{_STATUS}\n\n"
            f"see also:\n  {others}; the page 'The command line' of the documentation",
            formatter_class=_FORMAT,
        )
        if name in _OPTIONS_OF:
            _add_set(command)
            _OPTIONS_OF[name](command)
        output = command.add_argument_group("output")
        output.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument("polytope", metavar="SET", help="a name from the list below, or file.npz")
    group = command.add_argument_group("the set, if it is named")
    add = group.add_argument
    add("--size", type=positive, default=10, help="words, variables or nodes (default 10)")
    add("--labels", type=positive, default=10, help="of label-sum and graphs (default 10)")
    add("--relaxation", metavar="NAME", help="of trees and graphs, as single-root or hull")
    add("--seed", type=natural, default=0, help="of random weights and points (default 0)")


def _add_explain(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("what to print")
    group.add_argument("--constraints", type=positive, metavar="N", help="the first N rows as well")


def _add_validate(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("points and references")
    _add_against(group, ["osqp", "cvxpy"])
    group.add_argument("--samples", type=positive, default=100, help="points (default 100)")


def _add_bench(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("what to time")
    add = group.add_argument
    add("--batch", type=positive, default=32, help="instances in a call (default 32)")
    _add_against(group, ["osqp"])
    add("--repeats", type=positive, default=30, help="calls at most; a second at most (default 30)")
    add("--scale", type=finite, default=1.0, help="standard deviation of points (default 1)")
    add("--dtype", choices=["float64", "float32"], default="float64", help="(default float64)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default cpu)")
    add("--threads", type=positive, default=1, help="threads of PyTorch and of maps (default 1)")


def _add_against(group, default: list[str]) -> None:
    group.add_argument(
        "--against",
        nargs="*",
        default=default,
        choices=["osqp", "cvxpy", "cvxpylayers"],
        metavar="SOLVER",
        help=f"any of osqp, cvxpy, cvxpylayers (default: {' '.join(default)})",
    )


_OPTIONS_OF = {"explain": _add_explain, "validate": _add_validate, "bench": _add_bench}


def natural(text: str) -> int:
    """Read zero or a positive integer from an argument."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be zero or a positive integer, not {_short(text)}")
    return _bounded(text)


def positive(text: str) -> int:
    """Read a positive integer from an argument."""
    if not (text.isascii() and text.isdecimal() and text.strip("0")):
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {_short(text)}")
    return _bounded(text)


def finite(text: str) -> float:
    """Read a finite number from an argument."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, not {_short(text)}")
    return value


def _bounded(text: str) -> int:
    """Read an integer that the generators of random numbers take."""
    if len(text.lstrip("0")) > 18:
        raise argparse.ArgumentTypeError(f"must have at most 18 digits, not {_short(text)}")
    return int(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 24 else text[:20] + "...")
