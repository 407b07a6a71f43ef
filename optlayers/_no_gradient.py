"""Right-hand sides, bounds and rows that require a gradient where there is none: said once."""

import warnings

import torch

from ._errors import NoGradientWarning
from ._feasible_set import FeasibleSet, as_set

_said: set[tuple[str, ...]] = set()  # who gives none, and the fields


def say_without_gradient(
    feasible_set: FeasibleSet,
    who: str,
    why: str = "it is a function of scores alone",
    stacklevel: int = 3,
    also: FeasibleSet | None = None,
) -> None:
    """Warn, once, where what a set was declared with requires a gradient and gets none.

    Args:
        feasible_set: A polytope or a structured set.
        who: Gives none: "the layer".
        why: Why so: "SPIGOT is a gradient of scores alone".
        stacklevel: Of the call of the user.
        also: Another set, or None.
    """
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return
    names = as_set(feasible_set).fields_with_graph()
    if also is not None:
        names = tuple(dict.fromkeys((*names, *as_set(also).fields_with_graph())))
    key = (who, why, *names)
    if not names or key in _said:
        return
    _said.add(key)
    fields = " and ".join(f"`{name}`" for name in names)
    warnings.warn(
        f"{fields} of the polytope: a gradient is required, and {who} gives none, because {why}. "
        "`SparseMAP()`, `sparsemap_loss` and `project` have one; or detach what the polytope is "
        "declared with.",
        NoGradientWarning,
        stacklevel=stacklevel,
    )
