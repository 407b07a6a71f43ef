"""The reduced form of a polytope's constraints, in which everything downstream reads them.

    row_lower <= R x <= row_upper,    lower <= x <= upper

Rows with one coefficient have become bounds, rows are divided by their largest coefficient, and
rows that are multiples of one another are one row. Which row goes where depends on the coefficients
alone, so polytopes that differ in right-hand sides or bounds share it. Coefficients of auxiliary
variables that are nothing but rounding are zeros, see `_without_rounding`.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._polytope.consistency import CONSISTENT, crossing
from .._polytope.polytope import Polytope

# A point counted from a bound keeps its digits to the rounding of the bound: 1e-13 for this one.
FAR_ANCHOR = 1e3
_ROUNDED = 64 * 2.0**-52  # of the largest coefficient of an auxiliary variable, rows scaled to one


@dataclass(frozen=True, eq=False)
class Reduction:
    """Where every row of `[A; A_eq]` went: `target` is a reduced row, or a variable (a bound)."""

    R: sp.csr_array
    target: np.ndarray  # (m + m_eq,) reduced row, or variable for rows with one coefficient
    factor: np.ndarray  # (m + m_eq,) row = factor * reduced row (or factor * variable)
    is_bound: np.ndarray  # (m + m_eq,) True: target is a variable
    is_empty: np.ndarray  # (m + m_eq,) no coefficients: nothing to say
    num_inequalities: int

    @cached_property
    def has_bounds(self) -> bool:
        """Whether a row is a bound."""
        return bool(self.is_bound.any())

    @cached_property
    def has_empty(self) -> bool:
        """Whether a row has no coefficients."""
        return bool(self.is_empty.any())

    @cached_property
    def arrays(self) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
        """Targets and factors, which are coupling rows and which bounds, for compiled loops."""
        return (self.target, self.factor), ~self.is_bound & ~self.is_empty, self.is_bound


def reduce_rows(A: sp.csr_array, A_eq: sp.csr_array, num_aux: int = 0) -> Reduction:
    """Return the reduced form of the rows; linear in the nonzeros, plus one sort of the rows."""
    rows = sp.csr_array(sp.vstack([A, A_eq], format="csr")) if A_eq.shape[0] else A
    if num_aux and rows.nnz:
        rows = _without_rounding(rows, num_aux)
    counts = np.diff(rows.indptr)
    factor, target = np.ones(len(counts)), np.zeros(len(counts), dtype=np.int64)
    single = np.flatnonzero(counts == 1)
    target[single] = rows.indices[rows.indptr[single]]
    factor[single] = rows.data[rows.indptr[single]]
    coupled = np.flatnonzero(counts > 1)
    R = sp.csr_array(rows[coupled])
    if len(coupled):
        largest = np.maximum.reduceat(np.abs(R.data), R.indptr[:-1])
        factor[coupled] = largest * np.sign(R.data[R.indptr[:-1]])
        R.data = R.data / np.repeat(factor[coupled], np.diff(R.indptr))
        first, inverse = _merge_equal_rows(R)
        R, target[coupled] = sp.csr_array(R[first]), inverse
    return Reduction(R, target, factor, counts == 1, counts == 0, A.shape[0])


def _without_rounding(rows: sp.csr_array, num_aux: int) -> sp.csr_array:
    r"""Return the rows with zeros for coefficients of auxiliary variables that are rounding.

    With rows divided by their largest coefficient, one of at most $2^{-46}$ of the largest in its
    column is dropped: by it the variable moves its row less than rounding moves the row in which
    the variable counts most. Kept, it would set the unit of its row or column, seventeen decades
    off. The others have no unit to choose, and theirs stay whatever they are.
    """
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    size, per_row = np.abs(rows.data), np.zeros(rows.shape[0])
    np.maximum.at(per_row, row, size)
    size = size / np.where(per_row > 0, per_row, 1.0)[row]
    coupled = np.diff(rows.indptr)[row] > 1  # a row of one coefficient is a bound, in any unit
    per_column = np.zeros(rows.shape[1])
    np.maximum.at(per_column, rows.indices[coupled], size[coupled])
    own = coupled & (rows.indices >= rows.shape[1] - num_aux)
    rounded = own & (size <= _ROUNDED * per_column[rows.indices])
    if not rounded.any():
        return rows
    rows = rows.copy()
    rows.data[rounded] = 0.0
    rows.eliminate_zeros()
    return rows


def _merge_equal_rows(R: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Return the first of each kind of row, and the kind of every row; compared exactly."""
    # Two random weights per column: rows of equal fingerprint are then compared exactly.
    weights = np.random.default_rng(0).standard_normal(R.shape[1])
    prints = R @ weights
    _, first, inverse, counts = np.unique(
        prints, return_index=True, return_inverse=True, return_counts=True
    )
    if counts.max() > 1:
        keys = {}
        first_of, inverse = [], np.empty(R.shape[0], dtype=np.int64)
        for i in range(R.shape[0]):
            span = slice(R.indptr[i], R.indptr[i + 1])
            key = (R.indices[span].tobytes(), R.data[span].tobytes())
            if key not in keys:
                keys[key] = len(first_of)
                first_of.append(i)
            inverse[i] = keys[key]
        return np.array(first_of), inverse
    order = np.argsort(first)  # keep the user's order of rows
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


@dataclass(frozen=True, eq=False)
class Values:
    """Right-hand sides and bounds of the reduced form, each `(N or 1, size)` on one device.

    What varies is what was declared with batch dimensions, be it a batch of one: a plan must not
    depend on it, or it would be made anew for every batch.
    """

    row_lower: Tensor
    row_upper: Tensor
    lower: Tensor
    upper: Tensor
    rows_vary: bool = False
    lower_varies: bool = False
    upper_varies: bool = False

    def parts(self) -> tuple[tuple[Tensor, bool], ...]:
        """Return the four tensors, each with whether it varies."""
        rows, lower, upper = self.rows_vary, self.lower_varies, self.upper_varies
        return (
            (self.row_lower, rows),
            (self.row_upper, rows),
            (self.lower, lower),
            (self.upper, upper),
        )


def reduce_values(polytope: Polytope, reduction: Reduction, graph: bool = False) -> Values:
    """Right-hand sides and bounds of the reduced rows, in float64, on the polytope's device.

    With `graph`, attached to the graph of those that were declared with one.
    """
    names = ("b", "b_eq", "lower", "upper")
    declared = [polytope.with_graph(k) if graph else polytope.values[k] for k in names]
    devices = [v.device for v in declared]
    device = next((d for d in devices if d.type != "cpu"), devices[0])
    batch = polytope.batch_shape

    def flat(values: Tensor) -> Tensor:
        values = values.to(device)
        if values.ndim == 1:
            return values[None]
        return values.expand(*batch, -1).reshape(math.prod(batch), values.shape[-1])

    red = reduction
    b, b_eq, lower, upper = (flat(v) for v in declared)
    if red.is_bound.any() or red.R.shape[0]:
        count = max(len(b), len(b_eq))
        high = torch.cat([b.expand(count, -1), b_eq.expand(count, -1)], -1)
        low = high.clone()
        low[:, : red.num_inequalities] = -torch.inf
        rows_low = torch.full(
            (count, red.R.shape[0]), -torch.inf, dtype=torch.float64, device=device
        )
        rows_low, rows_high = _tighten(
            low, high, rows_low, -rows_low, ~red.is_bound & ~red.is_empty, red
        )
        if red.is_bound.any():
            count = max(count, len(lower), len(upper))
            lower, upper = lower.expand(count, -1), upper.expand(count, -1)
            lower, upper = _tighten(
                low.expand(count, -1), high.expand(count, -1), lower, upper, red.is_bound, red
            )
        rows_low, rows_high = _uncross(rows_low, rows_high)
    else:
        rows_low = rows_high = lower.new_zeros(1, 0)
    lower, upper = _uncross(lower, upper)
    rows, as_bounds = any(v.ndim > 1 for v in declared[:2]), bool(red.is_bound.any())
    varies = [v.ndim > 1 or (rows and as_bounds) for v in declared[2:]]
    return Values(rows_low, rows_high, lower, upper, rows, *varies)


def _tighten(low, high, target_low, target_high, chosen, red: Reduction):
    """Fold rows `low <= factor * target <= high` into the two-sided limits of their targets."""
    numbers = np.flatnonzero(chosen)
    rows = torch.from_numpy(numbers).to(low.device)
    factor = torch.from_numpy(red.factor[chosen]).to(low.device)
    index = torch.from_numpy(red.target[chosen]).to(low.device).expand(len(low), -1)
    low, high = low[:, rows] / factor, high[:, rows] / factor
    low, high = torch.where(factor > 0, low, high), torch.where(factor > 0, high, low)
    if not any(v.requires_grad for v in (low, high, target_low, target_high)):
        target_low = target_low.scatter_reduce(-1, index, low, "amax")
        return target_low, target_high.scatter_reduce(-1, index, high, "amin")
    equal = numbers >= red.num_inequalities
    # The last row for `high`; for `low` the first equality, lest both are the same one of several.
    order = np.where(equal, 2 * len(red.target) - numbers, numbers)
    low = _largest(target_low, index, low, torch.from_numpy(order).to(low.device))
    high = -_largest(-target_high, index, -high, rows)
    twice = np.bincount(red.target[chosen][equal], minlength=target_low.shape[-1]) > 1
    if not twice.any():
        return low, high
    # Equality rows that say the same: what moves one of them by a hair moves their middle.
    twice = torch.from_numpy(twice).to(low.device)
    near = twice & (crossing(low, high) <= CONSISTENT)
    middle = (low + high) / 2
    return torch.where(near, middle, low), torch.where(near, middle, high)


def _largest(target: Tensor, index: Tensor, values: Tensor, order: Tensor) -> Tensor:
    """Return the largest of a target and its values, attached to one of them where several are.

    Rows that say the same have derivatives to both sides that differ; a share for each of them is
    none of their limits. `order` says which is taken: equality rows first, then other rows.
    """
    best = target.scatter_reduce(-1, index, values, "amax").detach()
    nobody = torch.full_like(best, -1, dtype=torch.int64)
    ranks = torch.where(values >= best.gather(-1, index), order, -1)
    first = nobody.scatter_reduce(-1, index, ranks, "amax")
    place = torch.arange(values.shape[-1], device=values.device)
    taken = (ranks >= 0) & (ranks == first.gather(-1, index))
    place = nobody.scatter_reduce(-1, index, torch.where(taken, place, -1), "amax")
    return torch.where(place >= 0, values.gather(-1, place.clamp(min=0)), target)


def _uncross(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Make limits equal that cross by a hair (an equality stated as two scaled rows).

    A side that is the same for the whole batch stays where it is if the other is not.
    """
    apart = crossing(low, high)
    hair = (apart > 0) & (apart <= CONSISTENT)
    if not bool(hair.any()):
        return low, high
    middle = (low + high) / 2
    middle = middle if len(low) == len(high) else low if len(low) < len(high) else high
    low, high = (v if len(v) < len(hair) else torch.where(hair, middle, v) for v in (low, high))
    return low, high


def lone_rows(R: sp.csr_array) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows that share no variable and have equal |coefficients|, by size: index, rows, weights."""
    counts = np.diff(R.indptr)
    if not len(counts):
        return []
    shared = np.bincount(R.indices, minlength=R.shape[1])[R.indices] > 1
    odd = np.add.reduceat(shared | (np.abs(R.data) != 1), R.indptr[:-1]) > 0  # the largest is 1
    groups = []
    for size in np.unique(counts[~odd]):
        rows = np.flatnonzero(~odd & (counts == size))
        entries = R.indptr[rows][:, None] + np.arange(size)
        groups.append((R.indices[entries].astype(np.int64), rows, R.data[entries]))
    return groups


def simplex_forms(
    values: Values, groups: list[tuple[np.ndarray, np.ndarray, np.ndarray]], num_rows: int
) -> np.ndarray:
    """Return, per reduced row, whether it is a simplex in every instance of this batch.

    1: an equality, 2: an inequality, negative: after a change of all signs; 0: in some instance
    another bound can be active, or the row is none of `lone_rows`. Instances without a point may
    be anything.
    """
    forms = np.zeros(num_rows, dtype=np.int64)
    device = values.lower.device
    for index, rows, weights in groups:
        at, of = torch.from_numpy(index).to(device), torch.from_numpy(rows).to(device)
        lower, upper = values.lower[:, at], values.upper[:, at]
        low, high = values.row_lower[:, of], values.row_upper[:, of]
        positive = torch.from_numpy(weights > 0).to(device)
        found = _simplex_in_batch(positive, low, high, lower, upper)
        if (found == 0).any():
            flipped = _simplex_in_batch(~positive, -high, -low, lower, upper)
            found = np.where(found, found, -flipped)
        forms[rows] = found
    return forms


def _simplex_in_batch(positive, low, high, lower, upper) -> np.ndarray:
    """Return 1, 2 or 0 per row, as in `simplex_forms`, for the signs as they stand."""
    anchor = torch.where(positive, lower, upper)
    offset = torch.where(positive, anchor, -anchor).sum(-1)
    total, equality = high - offset, low == high
    span = upper - lower
    room = (span >= total[..., None] * (1 - 1e-12)) | (span <= 0)
    fits = room.all(-1) & total.isfinite() & offset.isfinite() & (equality | (low <= offset))
    fits &= (anchor.abs() <= FAR_ANCHOR).all(-1)
    fits, some, every = fits.all(0), equality.any(0), equality.all(0)
    code = torch.where(every, 1, torch.where(some, 0, 2))
    return torch.where(fits, code, 0).cpu().numpy()
