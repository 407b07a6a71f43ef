"""The standard polytopes whose points are matrices: heads, matchings, transport plans."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import PolytopeError
from .parameters import as_numbers, as_size, full_rows, masked, same_shape
from .polytope import Polytope


def head_selection(n: int, *, mask: Any = None) -> Polytope:
    r"""Build dependency heads for `n` words: one simplex per modifier over its candidate heads.

    $$ \sum_{i=0}^{n} z_{i \to j} = 1 \;\; (j = 1 \dots n), \qquad z \ge 0, \quad z_{j \to j} = 0 $$

    Scores are `(..., n + 1, n + 1)`, heads by modifiers, index 0 the root, or that flattened: the
    layout of `DependencyTrees`. Self-loops and arcs into the root are fixed at 0. This is the
    relaxation that the paper projects trees onto; it leaves cycles in. Argmax and projection cost
    $O(n^2)$.

    Args:
        n: Number of words.
        mask: Booleans `(..., n + 1, n + 1)`, or that flattened, true at arcs that may be chosen.

    Raises:
        PolytopeError: If `n < 1` or `mask` has another shape.

    References:
        Peng, Thomson and Smith (2018), Eq. 5 and Algorithm 2.

    Examples:
        >>> head_selection(25)
        Polytope(n=676, equalities=25, integral)
    """
    n = as_size(n, "n")
    size = n + 1
    arcs = np.arange(size * size).reshape(size, size)
    rows = sp.csr_array(
        (np.ones(n * size), arcs[:, 1:].T.ravel(), np.arange(n + 1) * size), (n, size * size)
    )
    upper = 1.0 - torch.eye(size, dtype=torch.float64, device="cpu")
    upper[:, 0] = 0
    upper = masked(upper.flatten(), mask, (size, size))
    return Polytope(A_eq=rows, b_eq=np.ones(n), upper=upper, shape=(size, size))


def assignment(
    n: int, m: int | None = None, partial: bool = False, *, mask: Any = None
) -> Polytope:
    r"""Build matchings of `n` agents with `m` tasks: scores `(..., n, m)`, or that flattened.

    $$ \sum_j z_{ij} = 1, \qquad \sum_i z_{ij} = 1, \qquad z \ge 0 $$

    If $n \ne m$, the larger side has $\le$; with `partial`, both sides have. The argmax is one
    linear assignment, $O(n^2 m)$. Every vertex is integral (Birkhoff, 1946).

    Args:
        n: Number of agents.
        m: Number of tasks; `n` if not given.
        partial: Leave agents and tasks unmatched where that pays.
        mask: Booleans `(..., n, m)`, or that flattened, true at pairs that may be chosen.

    Raises:
        PolytopeError: If `n < 1` or `m < 1`, or `mask` has another shape.

    Examples:
        >>> assignment(3)
        Polytope(n=9, equalities=6, integral)
        >>> assignment(2, 3)
        Polytope(n=6, rows=3, equalities=2, integral)
    """
    n, m = as_size(n, "n"), as_size(n if m is None else m, "m")
    agents, tasks = full_rows(n, m), _columns(n, m)
    equal = [] if partial else [rows for rows, fits in ((agents, n <= m), (tasks, m <= n)) if fits]
    at_most = [rows for rows in (agents, tasks) if not any(rows is other for other in equal)]
    stacked = [sp.vstack(part) if part else sp.csr_array((0, n * m)) for part in (at_most, equal)]
    values = [np.ones(part.shape[0]) for part in stacked]
    upper = masked(1.0, mask, (n, m))
    return Polytope(
        stacked[0], values[0], A_eq=stacked[1], b_eq=values[1], upper=upper, shape=(n, m)
    )


def transport(
    supply: Any,
    demand: Any,
    *,
    least_supply: Any = None,
    least_demand: Any = None,
    capacity: Any = None,
    mask: Any = None,
) -> Polytope:
    r"""Build transport plans and b-matchings: scores are `(..., n, m)`, or that flattened.

    $$ \underline a_i \le \sum_j z_{ij} \le a_i, \qquad \underline b_j \le \sum_i z_{ij} \le b_j,
       \qquad 0 \le z_{ij} \le c_{ij} $$

    Without `least_supply` all that is supplied is sent, $\underline a = a$; without `least_demand`
    every demand is met exactly. Tokens that each choose `k` different experts of limited capacity
    are `transport(k for every token, capacities, least_demand=0, capacity=1)`; balanced loads leave
    `least_demand` out. With integers for limits every vertex is integral; transport plans of other
    masses are `transport(...).with_(integral=False)`. The argmax is found along shortest paths,
    $O(n m)$ each (see `maps.Transport`).

    Args:
        supply: $a$, `(..., n)`.
        demand: $b$, `(..., m)`.
        least_supply: $\underline a$: a number, or `(..., n)`; `supply` if not given.
        least_demand: $\underline b$: a number, or `(..., m)`; `demand` if not given.
        capacity: $c$: a number, `(..., n, m)`, or that flattened; without end if not given.
        mask: Booleans `(..., n, m)`, or that flattened, true at pairs that may be chosen.

    Limits may carry batch dimensions, and may require grad: `project` is differentiable in them. An
    instance whose limits leave no plan fails when it is met, as everywhere.

    Raises:
        PolytopeError: If shapes disagree, or a limit that is no batch is negative.

    Examples:
        >>> transport([2.0, 1.0], [1.0, 1.0, 1.0])
        Polytope(n=6, equalities=5, integral)
        >>> transport([2.0] * 6, [5.0, 5.0, 5.0], least_demand=0.0, capacity=1.0)
        Polytope(n=18, rows=3, equalities=6, integral)
    """
    sides = [_Side.read(supply, least_supply, "supply"), _Side.read(demand, least_demand, "demand")]
    n, m = (side.most.shape[-1] for side in sides)
    rows = [full_rows(n, m), _columns(n, m)]
    above = [_Part(r, side.most) for r, side in zip(rows, sides, strict=True) if not side.exact]
    below = [
        _Part(-r, -side.least)
        for r, side in zip(rows, sides, strict=True)
        if not side.exact and side.needs_least
    ]
    equal = [_Part(r, side.most) for r, side in zip(rows, sides, strict=True) if side.exact]
    A, b = _stack(above + below, n * m)
    A_eq, b_eq = _stack(equal, n * m)
    upper = masked(_capacity(capacity, n, m), mask, (n, m))
    return Polytope(A, b, A_eq=A_eq, b_eq=b_eq, upper=upper, shape=(n, m))


class _Part(NamedTuple):
    """Rows with their right-hand sides."""

    rows: sp.csr_array
    values: Tensor


class _Side(NamedTuple):
    """Amounts that one side of a transport problem sends or gets, `(..., n)`."""

    most: Tensor
    least: Tensor
    exact: bool
    needs_least: bool

    @classmethod
    def read(cls, most: Any, least: Any, name: str) -> "_Side":
        high = as_numbers(most, name)
        if not high.ndim or not high.shape[-1]:
            raise PolytopeError(
                f"`{name}` must have shape (..., n), n >= 1: one entry per element of this side. "
                f"Got {tuple(high.shape)}."
            )
        if high.ndim == 1 and bool((high < 0).any()):
            raise PolytopeError(f"`{name}` must not be negative. Got {float(high.min()):g}.")
        if least is None:
            return cls(high, high, True, False)
        low = as_numbers(least, f"least_{name}")
        if low.ndim and low.shape[-1] != high.shape[-1]:
            raise PolytopeError(
                f"`least_{name}` must be a number or have shape (..., {high.shape[-1]}), as "
                f"`{name}`. Got {tuple(low.shape)}."
            )
        if low.ndim < 2 and high.ndim == 1 and bool((low > high).any()):
            raise PolytopeError(f"`least_{name}` must not exceed `{name}`.")
        low, high = same_shape([low, high])
        needed = low.requires_grad or bool((low > 0).any())
        return cls(high, low, False, needed)


def _columns(n: int, m: int) -> sp.csr_array:
    """Build the sums over the columns of `n` x `m` matrices."""
    index = np.arange(n * m).reshape(n, m).T.ravel()
    return sp.csr_array((np.ones(n * m), index, np.arange(m + 1) * n), (m, n * m))


def _stack(parts: list[_Part], width: int) -> tuple[sp.csr_array, Tensor]:
    """Stack rows, and right-hand sides with one batch."""
    if not parts:
        return sp.csr_array((0, width)), torch.zeros(0, dtype=torch.float64, device="cpu")
    batch = same_shape([part.values[..., 0] for part in parts], "supplies and demands")[0]
    values = [part.values.to(batch.device).expand(*batch.shape, -1) for part in parts]
    return sp.csr_array(sp.vstack([part.rows for part in parts])), torch.cat(values, -1)


def _capacity(capacity: Any, n: int, m: int) -> Any:
    """Read upper bounds `(..., n * m)`, or one number for all."""
    if capacity is None:
        return torch.full((n * m,), torch.inf, dtype=torch.float64, device="cpu")
    values = as_numbers(capacity, "capacity")
    if bool((values < 0).any()):
        raise PolytopeError(f"`capacity` must not be negative. Got {float(values.min()):g}.")
    if not values.ndim:
        return values.expand(n * m)
    if values.ndim > 1 and values.shape[-2:] == (n, m):
        values = values.flatten(-2)
    if values.shape[-1] != n * m:
        raise PolytopeError(
            f"`capacity` must be a number or have shape (..., {n}, {m}) or (..., {n * m}). "
            f"Got {tuple(values.shape)}."
        )
    return values
