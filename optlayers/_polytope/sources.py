"""Tensors that a polytope was declared with and that may change later."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .._errors import PolytopeError

_MOST_NODES = 64  # of a graph, looked at for the parameters behind a right-hand side


class Sources:
    """Watches the tensors that require grad among right-hand sides and bounds.

    An optimiser changes a parameter in place. One that was given as it is, is read again; what was
    computed from a parameter cannot be computed again here, and is refused once that has changed.

    Args:
        given: Name of a field -> what the user gave for it.
    """

    def __init__(self, given: Mapping[str, Any]):
        self._direct: dict[str, Tensor] = {}
        self._behind: dict[str, list[Tensor]] = {}
        for name, value in given.items():
            if isinstance(value, Tensor) and value.requires_grad:
                if value.is_leaf:
                    self._direct[name] = value
                else:
                    self._behind[name] = _leaves(value)
        self._versions = self._look()

    def __bool__(self) -> bool:
        return bool(self._direct or self._behind)

    def given(self, name: str) -> Tensor | None:
        """Return the parameter that a field was declared with, if it was."""
        return self._direct.get(name)

    def changed(self) -> dict[str, Tensor]:
        """Return the parameters to read again, by field; empty where nothing has changed.

        Raises:
            PolytopeError: If a field was computed from a parameter that has changed since.
        """
        if not self or (now := self._look()) == self._versions:
            return {}
        for name in self._behind:
            if now[name] != self._versions[name]:
                raise PolytopeError(
                    f"`{name}` was computed from a parameter that has changed since. Declare the "
                    "polytope anew after each step of the optimiser, or give the parameter itself."
                )
        return dict(self._direct)

    def _look(self) -> dict[str, list[tuple[int, int]]]:
        """Say how often each tensor was changed in place, and where its numbers lie."""
        watched = {name: [value] for name, value in self._direct.items()} | self._behind
        return {
            name: [(0 if v.is_inference() else v._version, v.data_ptr()) for v in values]
            for name, values in watched.items()
        }


def _leaves(value: Tensor) -> list[Tensor]:
    """Return the parameters that a small graph begins with."""
    nodes, leaves, at = [value.grad_fn], [], 0
    while at < len(nodes) and len(nodes) < _MOST_NODES:
        node = nodes[at]
        at += 1
        if node is None:
            continue
        leaf = getattr(node, "variable", None)  # of a node that accumulates gradients
        if isinstance(leaf, Tensor):
            leaves.append(leaf)
        nodes += [after for after, _ in node.next_functions]
    return leaves
