"""Blocks of (A, b): components of the variable-row graph, equal ones stacked, with their values.

Nothing is solved here; `presolve` says in which form rows and values arrive.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .. import _kernels
from .._errors import BlockRefused
from .._kernels.rounding import of_sum
from .._kernels.untraced import ordinary
from .._polytope.polytope import Polytope
from .components import ByRows, Stack, find_stacks
from .presolve import FAR_ANCHOR, Values, reduce_rows, reduce_values


@dataclass(frozen=True, eq=False)
class Block:
    """`count` components of equal structure, as one batched object.

    Attributes:
        index: `(count, size)` variable numbers.
        rows: `(count, num_rows)` reduced row numbers.
        weights: `(count, size)` coefficients of the row if there is one row, else None.
        matrix: `(num_rows, size)` sparse coefficients, equal for all, if there are several rows.
        is_aux: `(size,)` which variables are auxiliary.
        row_lower, row_upper: `(count, num_rows)` limits, or None where they vary in the batch.
        lower, upper: `(count, size)` bounds, or None where they vary in the batch.
        finite_bounds: Every bound is finite, in every instance.
        whole: `(size,)` which variables must be integers: none in a projection, or auxiliary.
        form: What `simplex_forms` found about the one row if values vary in the batch.
        by_rows: What maps worked out of the rows alone, shared with other values.
    """

    index: np.ndarray
    rows: np.ndarray
    weights: np.ndarray | None
    matrix: sp.csr_array
    is_aux: np.ndarray
    row_lower: np.ndarray | None
    row_upper: np.ndarray | None
    lower: np.ndarray | None
    upper: np.ndarray | None
    finite_bounds: bool
    whole: np.ndarray
    form: int = 0
    by_rows: ByRows = field(default_factory=ByRows)

    # Known ahead of `torch.compile`, which takes an array that it meets for a tensor.
    count: int = field(init=False)  # number of equal components
    size: int = field(init=False)  # number of variables of one component
    num_rows: int = field(init=False)  # number of reduced rows of one component

    def __post_init__(self):
        (count, size), num_rows = self.index.shape, self.rows.shape[1]
        vars(self).update(count=count, size=size, num_rows=num_rows)

    @cached_property
    def integral(self) -> bool:
        """Whether integers are asked for, at one variable at least."""
        return bool(self.whole.any())

    @cached_property
    def mixed(self) -> bool:
        """Whether some variables are integers and others, auxiliary ones apart, are not."""
        return self.integral and not (self.whole | self.is_aux).all()

    @cached_property
    def varying(self) -> str:
        """Which values vary between the instances of a batch, in words; empty if none."""
        names = ["right-hand sides"] * (self.row_lower is None)
        names += ["lower bounds"] * (self.lower is None) + ["upper bounds"] * (self.upper is None)
        return " and ".join(names)

    @property
    def static(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`row_lower, row_upper, lower, upper` of a block in which none of them varies."""
        values = (self.row_lower, self.row_upper, self.lower, self.upper)
        if any(v is None for v in values):
            raise BlockRefused(f"The {self.varying} of {self} vary in the batch.")
        return values  # type: ignore[return-value]

    @cached_property
    def simplex(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`simplex_form` of a block with one row in which nothing varies."""
        low, high, lower, upper = self.static
        return simplex_form(self.weights, low[:, 0], high[:, 0], lower, upper)

    @cached_property
    def magnitude(self) -> np.ndarray | None:
        """`(count,)` |coefficient| if all coefficients of the one row agree in size, else None."""
        weights = self.weights
        if weights is None:
            return None

        def make() -> tuple[np.ndarray | None]:
            size = np.abs(weights)
            return (size[:, 0] if (size == size[:, :1]).all() else None,)

        return self.by_rows.get("magnitude", make)[0]

    @cached_property
    def _kept(self) -> dict[Any, Any]:
        return {}

    @ordinary
    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` does, made once for this block, its values, and `key`."""
        found = self._kept.get(key)
        return self._kept.setdefault(key, make()) if found is None else found

    def on(self, name: str, device: torch.device) -> Tensor:
        """Return an array of the block as a tensor, copied to a device once.

        Args:
            name: "weights", "is_aux", "whole", or "matrix", which is made dense.
            device: Where.
        """

        def make() -> Tensor:
            found = self.matrix.toarray() if name == "matrix" else getattr(self, name)
            return torch.from_numpy(found).to(device, non_blocking=True)

        return self.by_rows.get((name, device), make)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_kept"}

    def uniform(self) -> list["Block"]:
        """Stack the same components so that coefficients are equal, for maps that need that."""
        if self.weights is None or (self.weights == self.weights[:1]).all():
            return [self]
        _, kind = np.unique(self.weights, axis=0, return_inverse=True)
        return [self._part(np.flatnonzero(kind.ravel() == k)) for k in range(kind.max() + 1)]

    def _part(self, chosen: np.ndarray) -> "Block":
        names = ("index", "rows", "weights", "row_lower", "row_upper", "lower", "upper")
        values = {k: v if (v := getattr(self, k)) is None else v[chosen] for k in names}
        matrix = sp.csr_array(self.weights[chosen[:1]])  # type: ignore[index]
        return replace(self, matrix=matrix, by_rows=ByRows(), **values)

    def __repr__(self) -> str:
        return f"Block({self.count} x {self.size} variables, {self.num_rows} rows)"


class _Sides:
    """Right-hand sides and bounds on the host: of what varies, only whether it is finite."""

    def __init__(self, values: Values):
        arrays = [None if varies else v[0].cpu().numpy() for v, varies in values.parts()]
        self.row_lower, self.row_upper, self.lower, self.upper = arrays
        finite = [
            v.isfinite().all(0).cpu().numpy() if own is None else np.isfinite(own)
            for v, own in zip((values.lower, values.upper), arrays[2:], strict=True)
        ]
        self.finite = finite[0] & finite[1]

    def block(self, stack: Stack, form: int = 0) -> Block:
        """Return the block of a stack of components."""
        index, rows = stack.index, stack.rows
        low, high = (None if v is None else v[rows] for v in (self.row_lower, self.row_upper))
        lower, upper = (None if v is None else v[index] for v in (self.lower, self.upper))
        return Block(
            index=index,
            rows=rows,
            weights=stack.weights,
            matrix=stack.matrix,
            is_aux=stack.is_aux,
            row_lower=low,
            row_upper=high,
            lower=lower,
            upper=upper,
            finite_bounds=bool(self.finite[index].all()),
            whole=stack.whole,
            form=form,
            by_rows=stack.by_rows,
        )


def split_into_blocks(values: Values, forms: np.ndarray | None, stacks: list[Stack]) -> list[Block]:
    """Return the blocks of a polytope, in order of variables.

    Args:
        values: Right-hand sides and bounds.
        forms: The result of `simplex_forms`; without it, nothing is known of varying values.
        stacks: Components of the rows.
    """
    sides, blocks = _Sides(values), []
    for stack in stacks:
        if stack.weights is None:
            blocks.append(sides.block(stack))
        else:
            blocks += _one_row_blocks(stack, sides, forms)
    return sorted(blocks, key=lambda block: int(block.index[0, 0]))


def _one_row_blocks(stack: Stack, sides: _Sides, forms: np.ndarray | None) -> list[Block]:
    """Divide components with a single row by what kind of row their values make it."""
    at = stack.rows[:, 0]
    form = np.zeros(len(at), dtype=np.int64) if forms is None else forms[at]
    if len(at) == 1:
        return [sides.block(stack, int(form[0]))]
    kind = _kind_of_row(stack, sides) * 5 + form + 2
    if (kind == kind[0]).all():
        return [sides.block(stack, int(form[0]))]
    parts = [np.flatnonzero(kind == code) for code in np.unique(kind)]
    return [sides.block(stack.part(chosen), int(form[chosen[0]])) for chosen in parts]


def _kind_of_row(stack: Stack, sides: _Sides) -> np.ndarray:
    """Return a code per component: one odd component must not slow a stack of plain ones down."""
    rows, weights = stack.rows[:, 0], stack.weights
    code = np.zeros(len(rows), dtype=np.int64)
    if sides.row_lower is None or sides.row_upper is None:
        return code
    low, high = sides.row_lower[rows], sides.row_upper[rows]
    code += 2 * (low == high) + 4 * np.isfinite(low) + 8 * np.isfinite(high)
    if sides.lower is not None and sides.upper is not None:
        lower, upper = sides.lower[stack.index], sides.upper[stack.index]
        code += 16 * sides.finite[stack.index].all(1)
        code += 32 * simplex_form(weights, low, high, lower, upper)[0]
        whole = (low == np.floor(low)) | ~np.isfinite(low)
        whole &= (high == np.floor(high)) | ~np.isfinite(high)
        code += 64 * whole
    return code


def simplex_form(weights, low, high, lower, upper):
    """Tell whether a one-row component is a simplex with some variables reflected about a bound.

    With all |coefficients| equal, write z = lower + x where the coefficient is positive and
    z = upper - x where it is negative. The row becomes sum(x) = total (or <= total), and if every
    x may grow to `total` or is fixed at 0, that is a simplex. A bound far from zero is no
    anchor: digits of the point would be lost between the two. So `sum(labels) = arc`, with
    x = 1 - arc, is one. The row may be read from either side, so both signs are tried.

    Returns:
        Per component: whether it is; the total; the signs (0 where it is none).
    """
    count, size = weights.shape
    fits, total, sign = np.empty(count, dtype=bool), np.empty(count), np.empty((count, size))
    found = fits, total, sign
    limits = (np.ascontiguousarray(v) for v in (low, high, lower, upper))
    _kernels.limits.simplex_form(weights, *limits, of_sum(size), FAR_ANCHOR, *found)
    return found


def canonical_block(polytope: Polytope) -> Block:
    """Return the block of a polytope of one component, which others are compared with."""
    reduction = reduce_rows(polytope.A, polytope.A_eq, polytope.num_aux)
    stacks = find_stacks(reduction.R, polytope.n, polytope.whole)
    (block,) = split_into_blocks(reduce_values(polytope, reduction), None, stacks)
    return block
