"""Rows as they were declared: one matrix for a batch, or one for every instance of it."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import PolytopeError
from .arguments import refuse_complex


class Rows(NamedTuple):
    """The rows of one kind, of a polytope.

    Attributes:
        matrix: `(N * m, num_vars)`, the rows of every instance below those of the one before; N = 1
            where all share them. Sorted indices, no stored zeros.
        batch: The batch dimensions of the rows, of N instances.
        source: The tensor that they were declared with, if it requires grad.
    """

    matrix: sp.csr_array
    batch: torch.Size = torch.Size()
    source: Tensor | None = None

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of rows of one instance."""
        return self.matrix.shape[0] // max(self.batch.numel(), 1)

    def freeze(self) -> None:
        """Let nobody write on the numbers: plans were compiled from them."""
        for part in (self.matrix.data, self.matrix.indices, self.matrix.indptr):
            part.flags.writeable = False

    def expanded(self, batch: torch.Size) -> "Rows":
        """Return the rows for a larger batch, instance by instance."""
        if self.batch == batch:
            return self
        of = torch.arange(self.batch.numel(), device="cpu").reshape(self.batch).expand(batch)
        matrix = instances_of(self.matrix, self.count, of.flatten().numpy())
        return self._replace(matrix=matrix, batch=batch)

    def of_instance(self, number: int) -> "Rows":
        """Return the rows of one instance, by its number in the flattened batch."""
        return Rows(instances_of(self.matrix, self.count, np.array([number])))

    def with_graph(self) -> Tensor:
        """Return `(*batch, m, num_vars)` in float64, attached to the graph of the source."""
        assert self.source is not None
        dense = self.source.to_dense() if self.source.layout != torch.strided else self.source
        return dense.to(torch.float64)


def instances_of(matrix: sp.csr_array, count: int, numbers: np.ndarray) -> sp.csr_array:
    """Return the rows of the instances `numbers`, of `count` rows each, one below the other."""
    rows = (numbers[:, None] * count + np.arange(count)).ravel()
    return sp.csr_array(matrix[rows]) if len(rows) else sp.csr_array((0, matrix.shape[1]))


def as_rows(matrix: Any, name: str) -> Rows | None:
    """Return finite float64 rows, a copy; None stays None.

    Raises:
        PolytopeError: If they are no matrix of finite real numbers, or batch of such.
    """
    if matrix is None:
        return None
    if isinstance(matrix, Rows):
        checked = as_rows(matrix.matrix, name)
        assert checked is not None
        return matrix._replace(matrix=checked.matrix)
    source = matrix if isinstance(matrix, Tensor) and matrix.requires_grad else None
    if isinstance(matrix, Tensor):
        matrix = matrix.detach().to_dense().cpu().numpy()
    refuse_complex(matrix, name)
    try:
        if not sp.issparse(matrix):
            matrix = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PolytopeError(
            f"`{name}` must be a matrix of numbers. Got {type(matrix).__name__}."
        ) from error
    if matrix.ndim < 2:
        raise PolytopeError(
            f"`{name}` must have shape (rows, variables), or (..., rows, variables) where rows "
            f"differ from instance to instance. Got {matrix.shape}."
        )
    batch = torch.Size(matrix.shape[:-2])
    if batch:
        matrix = matrix.reshape(-1, matrix.shape[-1])
    rows = sp.csr_array(matrix, dtype=np.float64, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    rows.sort_indices()
    _refuse_infinite(rows, name, batch)
    return Rows(rows, batch, source)


def _refuse_infinite(rows: sp.csr_array, name: str, batch: torch.Size) -> None:
    bad = np.flatnonzero(~np.isfinite(rows.data))
    if not len(bad):
        return
    row = int(np.searchsorted(rows.indptr, bad[0], side="right")) - 1
    each = rows.shape[0] // max(batch.numel(), 1)
    at = [*np.unravel_index(row // each, batch)] if batch else []
    where = ", ".join(str(int(k)) for k in [*at, row % each, rows.indices[bad[0]]])
    raise PolytopeError(f"`{name}` must be finite. Got {name}[{where}] = {rows.data[bad[0]]}.")


def join(A: Rows, A_eq: Rows) -> tuple[Rows, Rows, torch.Size]:
    """Return both kinds for the same instances, and their batch.

    Raises:
        PolytopeError: If their batch dimensions do not agree.
    """
    try:
        batch = torch.broadcast_shapes(A.batch, A_eq.batch)
    except RuntimeError:
        raise PolytopeError(
            "The batch dimensions of `A` and `A_eq` must agree. "
            f"Got {tuple(A.batch)} and {tuple(A_eq.batch)}."
        ) from None
    return A.expanded(batch), A_eq.expanded(batch), batch


def fingerprint(A: Rows, A_eq: Rows, num_aux: int) -> bytes:
    """Return a digest of the rows: polytopes with equal ones share what is compiled from them."""
    shapes = f"{A.matrix.shape} {A_eq.matrix.shape} {num_aux} {tuple(A.batch)}"
    digest = hashlib.blake2b(shapes.encode(), digest_size=16)
    for rows in (A.matrix, A_eq.matrix):
        for part in (rows.indptr, rows.indices, rows.data):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.digest()


def number_of_variables(A: Rows | None, A_eq: Rows | None, lower: Any, upper: Any) -> int:
    """Return the number of columns, from the rows, else from the bounds; all of them must agree."""
    widths = {}
    for name, rows in (("A", A), ("A_eq", A_eq)):
        if rows is not None:
            widths[name] = rows.matrix.shape[1]
    for name, bound in (("lower", lower), ("upper", upper)):
        if np.ndim(bound) > 0:
            widths[name] = int(np.shape(bound)[-1])
    if not widths:
        raise PolytopeError(
            "A polytope needs rows `A` or `A_eq`, or bounds with one entry per variable."
        )
    if len(set(widths.values())) > 1 or 0 in widths.values():
        found = ", ".join(f"`{name}` has {width}" for name, width in widths.items())
        raise PolytopeError(
            f"Rows and bounds must have the same number of columns, at least 1. Got: {found}."
        )
    return next(iter(widths.values()))
