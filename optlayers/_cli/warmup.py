"""Compiles the loops that most calls need, before the first of them."""

import time
from collections.abc import Callable
from typing import Any

import torch

from .._feasible_set import as_set
from .._kernels.folder import cache_folder
from .._layer import structured_argmax
from .._polytope.constructors import budget, cardinality, simplex, spans
from .._polytope.matrices import assignment
from .._polytope.polytope import Polytope
from .._sets import DependencyTrees, LinearChain, SemanticGraphs
from .._surrogates import SPIGOT


def _several_rows() -> Polytope:
    return Polytope([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], [1.0, 1.0])


SETS: dict[str, Callable[[], Any]] = {
    "simplex": lambda: simplex(4),
    "one row": lambda: cardinality(4, at_most=2),
    "knapsacks": lambda: budget([1.0, 2.0, 3.0], 3.0),
    "several rows": _several_rows,
    "many rows": lambda: assignment(26),
    "assignment": lambda: assignment(4),
    "spans": lambda: spans(4, 2, 1),
    "chains": lambda: LinearChain(4, 3),
    "trees": lambda: DependencyTrees(4),
    "trees, non-projective": lambda: DependencyTrees(4, projective=False),
    "graphs": lambda: SemanticGraphs(3, labels=2),
}
DTYPES = (torch.float32, torch.float64)


def warm_up(show: bool) -> dict[str, Any]:
    """Decide, project and differentiate once with each kind of set; the seconds each of them took.

    Args:
        show: Whether there is to be a bar on the standard error.
    """
    seconds = {}
    for name in _with_bar(list(SETS), show):
        start = time.perf_counter()
        for dtype in DTYPES:
            _once(SETS[name](), dtype)
        seconds[name] = time.perf_counter() - start
    return {"folder": str(cache_folder() or ""), "seconds": seconds, "total": sum(seconds.values())}


def _once(made: Any, dtype: torch.dtype) -> None:
    shape = (2, *as_set(made).event_shape)
    scores = torch.zeros(shape, dtype=dtype, device="cpu")
    scores += torch.linspace(-1, 1, scores[0].numel(), dtype=dtype, device="cpu").reshape(shape[1:])
    for surrogate in (SPIGOT(), SPIGOT(around="projection")):
        leaf = scores.clone().requires_grad_()
        structured_argmax(made, leaf, surrogate).sum().backward()


def _with_bar(names: list[str], show: bool) -> Any:
    if not show:
        return names
    from rich.console import Console
    from rich.progress import track

    return track(names, "Compiling", console=Console(stderr=True), transient=True)
