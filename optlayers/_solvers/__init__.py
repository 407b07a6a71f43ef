"""Exact QP and LP solvers, one file each, imported on first use; a table says which there are."""

from importlib.util import find_spec
from typing import NamedTuple

from .._errors import SolverNotInstalled


class Solver(NamedTuple):
    """Where a solver comes from: the module to look for, and what `pip install` is told."""

    module: str
    package: str


SOLVERS: dict[str, Solver] = {
    "osqp": Solver("osqp", "osqp"),
    "cvxpy": Solver("cvxpy", "cvxpy"),
    "clarabel": Solver("clarabel", "clarabel"),
    "cvxpylayers": Solver("cvxpylayers", "'optlayers[cvxpylayers]'"),  # of references alone
    "highs": Solver("highspy", "highspy"),
}


def is_installed(name: str) -> bool:
    """Return whether a solver of the table can be imported; nothing is imported to find out."""
    return find_spec(SOLVERS[name].module) is not None


def available_solvers() -> tuple[str, ...]:
    """Return the names of the solvers that are installed."""
    return tuple(name for name in SOLVERS if is_installed(name))


def require(name: str, instead: str = "") -> None:
    """Return if a solver is installed.

    Args:
        name: Of the table.
        instead: What else to do, for the message; other solvers unless it is given.

    Raises:
        ValueError: If there is no solver of that name.
        SolverNotInstalled: If it is missing; says how to install it.
    """
    if name not in SOLVERS:
        raise ValueError(f"A solver must be one of {', '.join(SOLVERS)}. Got {name!r}.")
    if not is_installed(name):
        others = f"use one of {', '.join(available_solvers()) or 'none that is installed'}"
        raise SolverNotInstalled(
            f"{name} is not installed. Install it with `pip install {SOLVERS[name].package}`, or "
            f"{instead or others}."
        )
