"""Exact QP and LP solvers, one file each, imported on first use; a table says which there are."""

from importlib.util import find_spec

from .._errors import SolverNotInstalled

# name -> (module to probe, how to install it)
SOLVERS: dict[str, tuple[str, str]] = {
    "osqp": ("osqp", "osqp"),
    "cvxpy": ("cvxpy", "cvxpy"),
    "cvxpylayers": ("cvxpylayers", "optlayers[cvxpylayers]"),
    "highs": ("highspy", "highspy"),
}


def available_solvers() -> tuple[str, ...]:
    """Names of the solvers that are installed; nothing is imported to find out."""
    return tuple(name for name, (module, _) in SOLVERS.items() if find_spec(module) is not None)


def require(name: str) -> None:
    """Return if a solver is installed.

    Raises:
        ValueError: If there is no solver of that name.
        SolverNotInstalled: If it is missing; says how to install it.
    """
    if name not in SOLVERS:
        raise ValueError(f"A solver must be one of {', '.join(SOLVERS)}. Got {name!r}.")
    module, package = SOLVERS[name]
    if find_spec(module) is None:
        raise SolverNotInstalled(
            f"Solver {name!r} is not installed. Install it with `pip install {package}`, or use "
            f"one of {', '.join(available_solvers()) or 'none that is installed'}."
        )
