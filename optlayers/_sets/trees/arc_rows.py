"""Rows over the arcs of padded sentences and auxiliary variables, collected as arrays."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ..._polytope.polytope import Polytope


class Template(NamedTuple):
    """Rows of all batches of one padded size; arrays, so that no call changes it."""

    polytope: Polytope
    b_eq: np.ndarray  # (n + 1, m_eq) right-hand sides for every length
    arc: np.ndarray  # (num_vars,) the arc without which a variable is zero; (n + 1)^2 for none
    last: np.ndarray  # (num_vars,) the word without which a variable is zero; 0 for none


class ArcRows:
    """Collects variables and rows, given as arrays of equal shape."""

    def __init__(self, n: int):
        self.n, self.side = n, n + 1
        self.num_vars = self.num_arcs = (n + 1) ** 2
        self.arc, self.last = [np.arange(self.num_arcs)], [np.zeros(self.num_arcs, dtype=np.int64)]
        self.entries: dict[str, list[tuple[np.ndarray, ...]]] = {"A": [], "A_eq": []}
        self.counts = {"A": 0, "A_eq": 0}
        self.right: list[np.ndarray] = []

    def z(self, heads, modifiers) -> np.ndarray:
        """Return the variables of arcs."""
        return np.asarray(heads) * self.side + np.asarray(modifiers)

    def variables(self, count: int, last, arcs=None) -> np.ndarray:
        """Add auxiliary variables, in [0, 1], or 0 without their last word or their arc."""
        self.arc.append(np.full(count, self.num_arcs) if arcs is None else arcs)
        self.last.append(np.broadcast_to(last, (count,)))
        self.num_vars += count
        return np.arange(self.num_vars - count, self.num_vars)

    def at_most_zero(self, count: int) -> np.ndarray:
        """Add rows `... <= 0`."""
        self.counts["A"] += count
        return np.arange(self.counts["A"] - count, self.counts["A"])

    def equal(self, right: np.ndarray) -> np.ndarray:
        """Add rows `... = right[length]`, from `(n + 1, count)` right-hand sides."""
        self.right.append(right)
        self.counts["A_eq"] += right.shape[1]
        return np.arange(self.counts["A_eq"] - right.shape[1], self.counts["A_eq"])

    def conserve(self, count: int) -> np.ndarray:
        """Add rows `... = 0`."""
        return self.equal(np.zeros((self.side, count)))

    def add(self, name: str, rows, variables, weight: float) -> None:
        """Add coefficients of variables in rows."""
        rows, variables = np.broadcast_arrays(rows, variables)
        self.entries[name].append((rows, variables, np.full(rows.shape, weight)))

    def _matrix(self, name: str) -> sp.csr_array:
        shape = (self.counts[name], self.num_vars)
        if not self.entries[name]:
            return sp.csr_array(shape, dtype=np.float64)
        rows, columns, weights = (np.concatenate(v) for v in zip(*self.entries[name], strict=True))
        return sp.csr_array(sp.coo_array((weights, (rows, columns)), shape))

    def template(self) -> Template:
        """Return everything collected so far."""
        b_eq = np.concatenate(self.right, 1)
        polytope = Polytope(
            self._matrix("A"),
            np.zeros(self.counts["A"]),
            A_eq=self._matrix("A_eq"),
            b_eq=np.zeros(self.counts["A_eq"]),
            num_aux=self.num_vars - self.num_arcs,
        )
        arrays = (np.concatenate(v).astype(np.int64) for v in (self.arc, self.last))
        return Template(polytope, b_eq, *arrays)


def tuples(n: int, dims: int, condition: Callable[..., np.ndarray]) -> tuple[np.ndarray, ...]:
    """List tuples of `dims` numbers from 0 to n that satisfy a condition, one array per place."""
    grid = np.ogrid[(slice(n + 1),) * dims]
    return np.nonzero(np.broadcast_to(condition(*grid), (n + 1,) * dims))
