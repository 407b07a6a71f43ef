"""Constraints of cvxpy in the layout of a polytope, as affine functions of their parameters."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .cvxpy_program import Named, Parameter, Program


@dataclass(frozen=True, eq=False)
class Side:
    """Rows and right-hand sides of one kind: constants, and what each parameter entry adds.

    Attributes:
        A: `(m, num_vars)`.
        b: `(m,)`.
        of_b: `(m, P)`, over all parameter entries.
        at: `(K,)` place in the flattened `(m, num_vars)`, of coefficients that parameters add to.
        entry: `(K,)`, which parameter entry adds to it.
        weight: `(K,)`, how many times.
    """

    A: sp.csr_array
    b: np.ndarray
    of_b: sp.csr_array
    at: np.ndarray
    entry: np.ndarray
    weight: np.ndarray

    def used(self, what: str) -> np.ndarray:
        """Return the parameter entries that occur in `A` or in `b`."""
        return np.unique(self.entry) if what == "A" else np.unique(self.of_b.indices)

    def rows(self, values: Tensor) -> Any:
        """Return `(..., m, num_vars)` at parameters `(..., P)`; sparse where they have none."""
        if not len(self.entry):
            return self.A
        flat = torch.from_numpy(self.A.toarray().ravel()).to(values.device)
        flat = flat.expand(*values.shape[:-1], -1).clone()
        at, entry, weight = (
            torch.from_numpy(v).to(values.device) for v in (self.at, self.entry, self.weight)
        )
        added = values.index_select(-1, entry) * weight
        return flat.index_add(-1, at, added).reshape(*values.shape[:-1], *self.A.shape)

    def right(self, values: Tensor) -> Tensor:
        """Return `(..., m)`."""
        b = torch.from_numpy(self.b)
        if not self.of_b.nnz:
            return b
        own = self.of_b.tocoo()
        row, entry = (torch.from_numpy(v.astype(np.int64)).to(values.device) for v in own.coords)
        added = values.index_select(-1, entry) * torch.from_numpy(own.data).to(values.device)
        b = b.to(values.device).expand(*values.shape[:-1], -1).clone()
        return b.index_add(-1, row, added)


def _in_c_order(shape: tuple[int, ...]) -> np.ndarray:
    """Return the place by rows (C order) of each entry that cvxpy counts by columns (F order)."""
    by_columns = np.arange(math.prod(shape)).reshape(shape, order="F").ravel(order="C")
    place = np.empty_like(by_columns)
    place[by_columns] = np.arange(len(place))
    return place


def sides_of(
    program: Program, variables: list[Named], parameters: tuple[Parameter, ...]
) -> tuple[tuple[Side, Side], int]:
    """Return inequalities and equalities, and the number of variables that atoms added."""
    column, extra = _columns(program, variables)
    width = sum(v.size for v in variables) + extra
    if program.tensor is None:
        nowhere = np.zeros(0, dtype=np.int64)
        none = _side(0, width, 0, nowhere, nowhere, nowhere, np.zeros(0))
        return (none, none), 0
    total = program.tensor.shape[0] // (program.width + 1)
    place, entry = program.tensor.coords
    at, of = place % total, place // total
    row, equal = _rows(program)
    count = int((~equal).sum())
    # The column behind all variables holds what is constant in them.
    own = np.append(column, width)[of]
    sign = np.where(own == width, -1.0, 1.0) * np.where(equal[at], 1.0, -1.0)
    size = sum(p.of.size for p in parameters)
    rows = _Sparse(
        np.where(equal, count + row, row)[at],
        own,
        _entries(program, parameters)[entry],
        program.tensor.data * sign,
        (count, int(equal.sum()), width, extra, size),
    )
    rows = _without_defined(rows)
    return rows.sides(), rows.shape[3]


class _Sparse(NamedTuple):
    """Entries of rows: coefficients, and what is right of them in the column behind all variables.

    Attributes:
        row: Inequalities, then equalities.
        column: Variables, those that cvxpy added last.
        parameter: Number of a parameter entry; -1 where there is none.
        value: What it is, or how many times the parameter.
        shape: Numbers of inequalities, equalities, variables, added ones, parameter entries.
    """

    row: np.ndarray
    column: np.ndarray
    parameter: np.ndarray
    value: np.ndarray
    shape: tuple[int, int, int, int, int]

    def sides(self) -> tuple[Side, Side]:
        """Return the inequalities and the equalities."""
        count, count_eq, width, _, size = self.shape
        equal = self.row >= count
        parts = (self.row - count * equal, self.column, self.parameter, self.value)
        return (
            _side(count, width, size, *(v[~equal] for v in parts)),
            _side(count_eq, width, size, *(v[equal] for v in parts)),
        )


def _without_defined(rows: _Sparse) -> _Sparse:
    """Take out variables that cvxpy has added and equations define, as those of cumsum.

    With E_x x + E_y y = e for as many equations as variables y, y is put into the other rows.
    """
    count, count_eq, width, extra, size = rows.shape
    added = (rows.column >= width - extra) & (rows.column < width)
    chosen = added & (rows.row >= count)
    used, columns = np.unique(rows.row[chosen]), np.unique(rows.column[chosen])
    fixed = not (rows.parameter[added & np.isin(rows.column, columns)] >= 0).any()
    if not len(used) or len(used) != len(columns) or not fixed:
        return rows
    depth = size + 1
    at = (rows.row, rows.column * depth + rows.parameter + 1)
    whole = sp.csr_array((rows.value, at), shape=(count + count_eq, (width + 1) * depth))
    own = sp.csr_array(sp.csc_array(whole)[:, columns * depth])
    inverse = np.linalg.pinv(own[used].toarray())
    if np.abs(inverse @ own[used].toarray() - np.eye(len(used))).max() > 1e-9:
        return rows
    inverse[np.abs(inverse) < 1e-12] = 0.0
    inverse = np.where(np.abs(inverse - inverse.round()) < 1e-12, inverse.round(), inverse)
    kept = np.setdiff1d(np.arange(count + count_eq), used)
    moved = whole[kept] - sp.csr_array(own[kept] @ sp.csr_array(inverse)) @ whole[used]
    moved = sp.coo_array(moved)
    column, parameter = moved.coords[1] // depth, moved.coords[1] % depth - 1
    said = ~np.isin(column, columns) & (moved.data != 0)
    place = np.cumsum(~np.isin(np.arange(width + 1), columns)) - 1
    return _Sparse(
        moved.coords[0][said],
        place[column[said]],
        parameter[said],
        moved.data[said],
        (count, count_eq - len(used), width - len(columns), extra - len(columns), size),
    )


def _columns(program: Program, variables: list[Named]) -> tuple[np.ndarray, int]:
    """Return our column of each of cvxpy's; those that atoms added come last."""
    column, start = np.full(program.width, -1), 0
    for v in variables:
        if v.number in program.columns:
            first = program.columns[v.number]
            column[first : first + v.size] = start + _in_c_order(v.shape)
        start += v.size
    added = np.flatnonzero(column < 0)
    column[added] = start + np.arange(len(added))
    return column, len(added)


def _rows(program: Program) -> tuple[np.ndarray, np.ndarray]:
    """Return our row of each of cvxpy's within its kind, and whether it is an equality."""
    row, equal, counts = [], [], {True: 0, False: 0}
    for shape, kind in zip(program.shapes, program.equal, strict=True):
        place = _in_c_order(shape)
        row.append(counts[kind] + place)
        equal.append(np.full(len(place), kind))
        counts[kind] += len(place)
    return np.concatenate(row), np.concatenate(equal)


def _entries(program: Program, parameters: tuple[Parameter, ...]) -> np.ndarray:
    """Return our number of each parameter entry of cvxpy; -1 for the constants."""
    assert program.tensor is not None
    number, start = np.full(program.tensor.shape[1], -1), 0
    for p in parameters:
        first = program.starts[p.of.number]
        number[first : first + p.of.size] = start + np.arange(p.of.size)
        start += p.of.size
    return number


def _side(count: int, width: int, size: int, row, column, entry, value) -> Side:
    """Sort the entries of one kind: coefficients or right-hand sides, constant or not."""
    constant, right = entry < 0, column == width
    A, b = constant & ~right, constant & right
    of_A, of_b = ~constant & ~right, ~constant & right
    matrix = sp.csr_array((value[A], (row[A], column[A])), shape=(count, width))
    return Side(
        matrix,
        np.bincount(row[b], value[b], minlength=count).astype(np.float64),
        sp.csr_array((value[of_b], (row[of_b], entry[of_b])), shape=(count, size)),
        row[of_A] * width + column[of_A],
        entry[of_A].astype(np.int64),
        value[of_A],
    )
