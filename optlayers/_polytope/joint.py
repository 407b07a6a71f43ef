"""Instances with rows of their own, side by side in one polytope."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._kernels.untraced import ordinary
from .polytope import Polytope
from .rows import Rows

_MOST = 8  # kept for larger batches than that of the polytope


def joint_of(polytope: Polytope, batch: torch.Size | None = None) -> Polytope:
    r"""Return the product of the instances that have rows of their own, made once.

    Its variables are those of all these instances, instance by instance, then their auxiliary
    variables likewise; its components are theirs, equal ones stacked, so that one plan answers the
    whole batch. Dimensions of the batch before those of the rows stay dimensions of its batch.

    Args:
        polytope: With `rows_batch`.
        batch: A batch that it is broadcast to; its own if not given.
    """
    polytope.read_again()
    tail = tail_of(polytope, polytope.batch_shape if batch is None else batch)
    kept: dict[torch.Size, Polytope] | None = getattr(polytope, "joint", None)
    if kept is None:
        kept = {}
        object.__setattr__(polytope, "joint", kept)
    found = kept.get(tail)
    if found is None:
        while len(kept) >= _MOST:
            kept.pop(next(iter(kept)))
        found = kept[tail] = _make(polytope, tail)
    return found


def tail_of(polytope: Polytope, batch: torch.Size) -> torch.Size:
    """Return the last dimensions of a batch, those over which rows differ."""
    return batch[len(batch) - len(polytope.rows_batch) :]


def lead_of(polytope: Polytope, batch: torch.Size) -> torch.Size:
    """Return the dimensions of a batch before those of the rows."""
    return batch[: len(batch) - len(polytope.rows_batch)]


@ordinary
def _make(polytope: Polytope, tail: torch.Size) -> Polytope:
    fields = {name: _flat(polytope.with_graph(name), tail) for name in ("b", "b_eq")}
    n = polytope.n
    for name in ("lower", "upper"):
        both = polytope.with_graph(name)
        parts = [_flat(v, tail) for v in (both[..., :n], both[..., n:])]
        fields[name] = torch.cat(parts, -1) if polytope.num_aux else parts[0]
    both = (polytope.rows, polytope.rows_eq)
    rows = (_block_diagonal(kind.expanded(tail), n) for kind in both)
    return polytope.beside(*rows, count=tail.numel(), **fields)


def instance_of_variable(polytope: Polytope, count: int, variables: np.ndarray) -> np.ndarray:
    """Return which of `count` instances each variable of the joint polytope belongs to."""
    own, aux = variables // polytope.n, variables - count * polytope.n
    return np.where(aux < 0, own, aux // max(polytope.num_aux, 1))


def _flat(values: Tensor, tail: torch.Size) -> Tensor:
    """Return `(*lead, N * size)` of values `(..., size)` for instances of shape `tail`."""
    lead = values.shape[: max(values.ndim - 1 - len(tail), 0)]
    wide = values.expand(*lead, *tail, values.shape[-1])
    return wide.reshape(*lead, tail.numel() * values.shape[-1])


def _block_diagonal(rows: Rows, n: int) -> Rows:
    """Put the rows of each instance over its own variables."""
    matrix, count = rows.matrix, rows.batch.numel()
    aux = matrix.shape[1] - n
    number = np.repeat(np.arange(matrix.shape[0]) // max(rows.count, 1), np.diff(matrix.indptr))
    column = matrix.indices.astype(np.int64)
    moved = np.where(column < n, number * n + column, count * n + number * aux + column - n)
    shape = (matrix.shape[0], count * matrix.shape[1])
    return Rows(sp.csr_array((matrix.data, moved, matrix.indptr), shape=shape))
