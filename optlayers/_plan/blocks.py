"""Blocks of (A, b): connected components of the variable-row graph, equal ones stacked.

Nothing is solved here; `_reduction` says in which form rows and values arrive.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import BlockRefused
from .._kernels.rounding import of_sum
from .._kernels.untraced import ordinary
from .._polytope.polytope import Polytope
from .presolve import FAR_ANCHOR, Reduction, Values, reduce_rows, reduce_values


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
        if self.weights is None:
            return None
        size = np.abs(self.weights)
        return size[:, 0] if (size == size[:, :1]).all() else None

    @cached_property
    def _kept(self) -> dict[Any, Any]:
        return {}

    @ordinary
    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` does, made once for this block and `key`."""
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

        return self.kept((name, device), make)

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
        return replace(self, matrix=matrix, **values)

    def __repr__(self) -> str:
        return f"Block({self.count} x {self.size} variables, {self.num_rows} rows)"


def split_into_blocks(
    polytope: Polytope,
    reduction: Reduction,
    values: Values,
    forms: np.ndarray | None = None,
    whole: np.ndarray | None = None,
) -> list[Block]:
    """Find components of the variable-row graph, equal ones stacked, in order of variables.

    Args:
        polytope: As declared.
        reduction: Of its rows.
        values: Of its right-hand sides and bounds.
        forms: The result of `simplex_forms`; without it, nothing is known of varying values.
        whole: Which variables are to be integers; without it, those of the polytope.
    """
    from scipy.sparse.csgraph import connected_components

    R = reduction.R
    num_rows, num_vars = R.shape
    kinds = _Kinds(np.arange(num_vars) >= polytope.n, polytope.whole if whole is None else whole)
    in_row = np.zeros(num_vars, dtype=bool)
    in_row[R.indices] = True
    blocks = []
    if len(free := np.flatnonzero(~in_row)):
        blocks.append(_stack(kinds, values, free[None], np.zeros((1, 0), dtype=np.int64)))
    if num_rows:
        graph = sp.block_array([[None, R], [R.T, None]], format="csr")
        _, label = connected_components(graph, directed=False)
        row_label = label[:num_rows]
        sizes = np.bincount(row_label, minlength=label.max() + 1)
        alone = np.flatnonzero(sizes[row_label] == 1)
        forms = np.zeros(num_rows, dtype=np.int64) if forms is None else forms
        blocks += _one_row_blocks(kinds, values, R, alone, forms)
        blocks += _many_row_blocks(kinds, values, R, label, np.flatnonzero(sizes > 1))
    return sorted(blocks, key=lambda block: int(block.index[0, 0]))


class _Kinds(NamedTuple):
    """Which variables are auxiliary, and which are integers."""

    is_aux: np.ndarray
    whole: np.ndarray

    @property
    def differ(self) -> bool:
        """Whether variables are of more than one kind."""
        return bool(self.is_aux.any() or self.whole.any() != self.whole.all())

    def of(self, index: np.ndarray) -> bytes:
        """Return a key of the kinds of some variables."""
        return self.is_aux[index].tobytes() + self.whole[index].tobytes()


def _one_row_blocks(kinds, values, R, alone: np.ndarray, forms: np.ndarray) -> list[Block]:
    """Stack components with a single row by size and by what kind of row it is."""
    if not len(alone):
        return []
    counts = np.diff(R.indptr)[alone]
    place = np.zeros(R.shape[0], dtype=np.int64)
    if kinds.differ:  # which variables are of which kind must agree within a stack
        masks = {}
        for i in alone:
            key = kinds.of(R.indices[R.indptr[i] : R.indptr[i + 1]])
            place[i] = masks.setdefault(key, len(masks))
    blocks = []
    for size in np.unique(counts):
        rows = alone[counts == size]
        entries = R.indptr[rows][:, None] + np.arange(size)
        index, weights = R.indices[entries].astype(np.int64), R.data[entries]
        kind = _kind_of_row(values, index, rows, weights) * 5 + forms[rows] + 2
        kind = kind * (place.max() + 1) + place[rows]
        for code in np.unique(kind):
            chosen = kind == code
            order = np.argsort(index[chosen][:, 0], kind="stable")
            part = (index[chosen][order], rows[chosen][order][:, None], weights[chosen][order])
            block = _stack(kinds, values, *part)
            blocks.append(replace(block, form=int(forms[part[1][0, 0]])))
    return blocks


def _kind_of_row(values: Values, index, rows, weights) -> np.ndarray:
    """Return a code per component: one odd component must not slow a stack of plain ones down."""
    size = np.abs(weights)
    code = (size == size[:, :1]).all(1).astype(np.int64)
    if not values.rows_vary:
        low, high = (v[0].cpu().numpy()[rows] for v in (values.row_lower, values.row_upper))
        code += 2 * (low == high) + 4 * np.isfinite(low) + 8 * np.isfinite(high)
        if not values.lower_varies and not values.upper_varies:
            lower, upper = (v[0].cpu().numpy()[index] for v in (values.lower, values.upper))
            finite = np.isfinite(lower).all(1) & np.isfinite(upper).all(1)
            code += 16 * finite + 32 * simplex_form(weights, low, high, lower, upper)[0]
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
    fits, total = _simplex_form(weights, low, high, lower, upper)
    fits_flipped, total_flipped = _simplex_form(-weights, -high, -low, lower, upper)
    sign = np.where(fits, 1, np.where(fits_flipped, -1, 0))
    return sign != 0, np.where(fits, total, total_flipped), sign[:, None] * np.sign(weights)


def _simplex_form(weights, low, high, lower, upper):
    size = np.abs(weights)
    anchor = np.where(weights > 0, lower, upper)
    span = upper - lower
    with np.errstate(invalid="ignore"):
        offset = (weights * anchor).sum(1)
        total = (high - offset) / size[:, 0]
        least = (low - offset) / size[:, 0]
        fits = (size == size[:, :1]).all(1) & np.isfinite(anchor).all(1) & np.isfinite(total)
        rounding = of_sum(weights.shape[1]) * np.abs(anchor).sum(1)  # of a total of zero
        fits &= (total > rounding) & ((low == high) | (least <= 0))
        fits &= (np.abs(anchor) <= FAR_ANCHOR).all(1)
        room = (span >= total[:, None] * (1 - 1e-12)) | (span == 0)
    return fits & room.all(1) & (span > 0).any(1), total


def _many_row_blocks(kinds, values, R, label, components) -> list[Block]:
    """Stack components with several rows that are equal (rows in any order)."""
    num_rows = R.shape[0]
    by_row, by_var = label[:num_rows], label[num_rows:]
    row_order, var_order = np.argsort(by_row, kind="stable"), np.argsort(by_var, kind="stable")
    row_start = np.searchsorted(by_row[row_order], components)
    var_start = np.searchsorted(by_var[var_order], components)
    row_end = np.searchsorted(by_row[row_order], components, side="right")
    var_end = np.searchsorted(by_var[var_order], components, side="right")
    stacks: dict[bytes, list] = {}
    for i in range(len(components)):
        rows, index = row_order[row_start[i] : row_end[i]], var_order[var_start[i] : var_end[i]]
        local = sp.csr_array(R[rows])
        local = sp.csr_array(
            (local.data, np.searchsorted(index, local.indices), local.indptr),
            (len(rows), len(index)),
        )
        order = _canonical_order(local)
        rows, local = rows[order], sp.csr_array(local[order])
        parts = (local.indptr, local.indices, local.data)
        key = b"|".join([*(part.tobytes() for part in parts), kinds.of(index)])
        stacks.setdefault(key, []).append((index, rows, local))
    return [
        _stack(
            kinds,
            values,
            np.stack([index for index, _, _ in stack]),
            np.stack([rows for _, rows, _ in stack]),
            matrix=stack[0][2],
        )
        for stack in stacks.values()
    ]


def canonical_block(polytope: Polytope) -> Block:
    """Return the block of a polytope of one component, which others are compared with."""
    reduction = reduce_rows(polytope.A, polytope.A_eq, polytope.num_aux)
    (block,) = split_into_blocks(polytope, reduction, reduce_values(polytope, reduction))
    return block


def _canonical_order(local: sp.csr_array) -> list[int]:
    """Order of rows that does not depend on the order in which the user wrote them."""
    parts = [slice(local.indptr[i], local.indptr[i + 1]) for i in range(local.shape[0])]
    return sorted(
        range(local.shape[0]),
        key=lambda i: (tuple(local.indices[parts[i]]), tuple(local.data[parts[i]])),
    )


def _stack(kinds: _Kinds, values: Values, index, rows, weights=None, matrix=None) -> Block:
    low, high, lower, upper = (
        None if varies else v[0].cpu().numpy() for v, varies in values.parts()
    )
    at = torch.from_numpy(index.ravel()).to(values.lower.device)
    finite = values.lower[:, at].isfinite().all() & values.upper[:, at].isfinite().all()
    if matrix is None:
        empty = sp.csr_array((0, index.shape[1]), dtype=np.float64)
        matrix = empty if weights is None else sp.csr_array(weights[:1])
    return Block(
        index=index,
        rows=rows,
        weights=weights,
        matrix=matrix,
        is_aux=kinds.is_aux[index[0]],
        row_lower=None if low is None else low[rows],
        row_upper=None if high is None else high[rows],
        lower=None if lower is None else lower[index],
        upper=None if upper is None else upper[index],
        finite_bounds=bool(finite),
        whole=kinds.whole[index[0]],
    )
