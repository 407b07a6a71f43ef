"""The problem that a point is judged by: rows in the units of z, taken apart; solves nothing."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._polytope.polytope import Polytope

DENSE_LIMIT = 400_000  # entries of a dense least-squares problem; beyond it, a sparse program
_MOST_FORMS = 32  # matrices whose equilibrated form is kept


class Component(NamedTuple):
    """A connected component of the variable-row graph with several rows."""

    rows: np.ndarray  # numbers in [A; A_eq]
    columns: np.ndarray
    matrix: np.ndarray | sp.csr_array  # dense if small
    norms: np.ndarray  # of its rows, as in `Equilibrated`


class Parts(NamedTuple):
    """Connected components of [A; A_eq]: those with one row, and the others."""

    single: np.ndarray  # numbers of the rows that are alone in their component
    entries: sp.csr_array  # these rows
    others: list[Component]


class Equilibrated(NamedTuple):
    """Rows in the units of z, by powers of two, which rounding does not see.

    A row is divided by about the norm of its part on z, or, where it has none, of all of it; then
    an auxiliary variable by what makes its largest coefficient about one. A violation, a slack and
    a gradient are then what they mean for z, whatever was declared.
    """

    rows: sp.csr_array  # [A; A_eq]
    row_scale: np.ndarray  # (m + m_eq,) row = row_scale * declared row
    aux_scale: np.ndarray  # (num_aux,) variable = aux_scale * declared variable
    norms: np.ndarray  # of the parts of the rows on z, or of all; 1 for rows without coefficients
    parts: Parts


_FORMS: dict[tuple[bytes, int], Equilibrated] = {}  # by the fingerprint of the rows


class CertifiedProblem(NamedTuple):
    """The problem a point is judged by: equilibrated rows, values flattened to `(N or 1, ...)`.

    Attributes:
        A: Inequality rows, `(m, num_vars)`.
        A_eq: Equality rows, `(m_eq, num_vars)`.
        b: `(N or 1, m)`; inf says nothing.
        b_eq: `(N or 1, m_eq)`.
        lower: `(N or 1, num_vars)`.
        upper: `(N or 1, num_vars)`.
        num_aux: How many of the last columns are auxiliary.
        form: Both kinds of rows in one matrix, their scales and their components.
    """

    A: sp.csr_array
    A_eq: sp.csr_array
    b: np.ndarray
    b_eq: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    num_aux: int
    form: Equilibrated

    def part(self, chosen: slice | np.ndarray) -> "CertifiedProblem":
        """Return the problem of some of the instances."""
        b, b_eq, lower, upper = (v if len(v) == 1 else v[chosen] for v in self.values)
        return self._replace(b=b, b_eq=b_eq, lower=lower, upper=upper)

    @property
    def values(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Values that may differ between instances: `b, b_eq, lower, upper`."""
        return self.b, self.b_eq, self.lower, self.upper

    def right_hand_side(self) -> np.ndarray:
        """Return `(N or 1, m + m_eq)`."""
        count = max(len(self.b), len(self.b_eq))
        both = [np.broadcast_to(v, (count, v.shape[1])) for v in (self.b, self.b_eq)]
        return np.concatenate(both, 1)


def problem_of(polytope: Polytope, batch: torch.Size) -> CertifiedProblem:
    """Return the values of a polytope for a batch; its rows are equilibrated once."""
    b, b_eq, lower, upper = (
        v.cpu().numpy()[None] if v.ndim == 1 else flatten(v.cpu(), batch)
        for v in (polytope.b, polytope.b_eq, polytope.lower, polytope.upper)
    )
    key = (polytope.fingerprint, polytope.num_aux)
    form = _FORMS.get(key)
    if form is None:  # it depends on the rows alone
        while len(_FORMS) >= _MOST_FORMS:
            _FORMS.pop(next(iter(_FORMS)), None)
        form = _FORMS[key] = _equilibrate(polytope.A, polytope.A_eq, polytope.num_aux)
    m = polytope.A.shape[0]
    columns = np.concatenate([np.ones(polytope.n), form.aux_scale])
    return CertifiedProblem(
        sp.csr_array(form.rows[:m]),
        sp.csr_array(form.rows[m:]),
        b * form.row_scale[:m],
        b_eq * form.row_scale[m:],
        lower * columns,
        upper * columns,
        polytope.num_aux,
        form,
    )


def _equilibrate(A: sp.csr_array, A_eq: sp.csr_array, num_aux: int) -> Equilibrated:
    rows = sp.csr_array(sp.vstack([A, A_eq], format="csr"), dtype=np.float64)
    n = rows.shape[1] - num_aux
    own = np.diff(sp.csr_array(rows[:, :n]).indptr) > 0

    def sizes() -> np.ndarray:
        return np.where(own, row_norms(sp.csr_array(rows[:, :n])), row_norms(rows))

    row_scale, aux_scale = _towards_one(sizes()), np.ones(num_aux)
    rows = sp.csr_array(sp.diags_array(row_scale) @ rows)
    if num_aux and rows.shape[0]:
        columns = _towards_one(abs(rows[:, n:]).max(axis=0).toarray().ravel())
        rows = sp.csr_array(rows @ sp.diags_array(np.concatenate([np.ones(n), columns])))
        again = np.where(own, 1.0, _towards_one(sizes()))
        rows = sp.csr_array(sp.diags_array(again) @ rows)
        row_scale, aux_scale = row_scale * again, 1 / columns
    norms = sizes()
    norms = np.where(norms > 0, norms, 1.0)
    return Equilibrated(rows, row_scale, aux_scale, norms, _split(rows, norms))


def _towards_one(sizes: np.ndarray) -> np.ndarray:
    """Return the powers of two that bring positive sizes near one; 1 for zero."""
    return np.where(sizes > 0, np.exp2(-np.round(np.log2(np.where(sizes > 0, sizes, 1.0)))), 1.0)


def flatten(values: Tensor, batch: torch.Size) -> np.ndarray:
    """Return `(..., size)` as `(N, size)` in numpy."""
    return values.expand(*batch, -1).reshape(batch.numel(), values.shape[-1]).numpy()


def _split(rows: sp.csr_array, norms: np.ndarray) -> Parts:
    from scipy.sparse.csgraph import connected_components

    m = rows.shape[0]
    if not m:
        return Parts(np.zeros(0, dtype=int), rows, [])
    graph = sp.block_array([[None, rows], [rows.T, None]], format="csr")
    total, label = connected_components(graph, directed=False)
    count = np.bincount(label[:m], minlength=total)
    single = np.flatnonzero((count[label[:m]] == 1) & (np.diff(rows.indptr) > 0))
    by_row, by_column = (np.argsort(v, kind="stable") for v in (label[:m], label[m:]))
    several = np.flatnonzero(count > 1)
    row_at, column_at = (
        np.searchsorted(v[order], [several, several + 1])
        for v, order in ((label[:m], by_row), (label[m:], by_column))
    )
    others = []
    for k in range(len(several)):
        own = by_row[row_at[0, k] : row_at[1, k]]
        columns = by_column[column_at[0, k] : column_at[1, k]]
        local = sp.csr_array(rows[own])
        local = sp.csr_array(
            (local.data, np.searchsorted(columns, local.indices), local.indptr),
            (len(own), len(columns)),
        )
        dense = local.shape[0] * local.shape[1] <= DENSE_LIMIT
        others.append(Component(own, columns, local.toarray() if dense else local, norms[own]))
    return Parts(single, sp.csr_array(rows[single]), others)


def row_norms(rows: sp.csr_array) -> np.ndarray:
    """Return the Euclidean norm of every row, whatever its size."""
    if not rows.nnz:
        return np.zeros(rows.shape[0])
    largest = abs(rows).max(axis=1).toarray().ravel()
    unit = sp.csr_array(sp.diags_array(1 / np.where(largest > 0, largest, 1.0)) @ rows)
    return largest * np.sqrt(np.asarray(unit.multiply(unit).sum(axis=1)).ravel())
