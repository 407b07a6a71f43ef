"""Polytopes around the semantic graphs of a padded batch.

Rows are made once per shape; lengths and masks enter the upper bounds alone, so a polytope made
anew for every batch costs little and shares its plan with the others.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..._functional import project
from ..._polytope.constructors import label_sum, simplex
from ..._polytope.polytope import Polytope

RELAXATIONS = ("label-sum", "arc-predicate", "determinism", "hull")


def graph_polytope(
    relaxation: str,
    size: int,
    labels: int,
    predicates: bool,
    deterministic: tuple[int, ...],
    position: np.ndarray,
    allowed: Tensor,
) -> Polytope:
    r"""Build a polytope that holds every graph of each sentence, over all parts.

    Always $0 \le z \le allowed$, and

    | `relaxation` | rows |
    |---|---|
    | "label-sum" | $\sum_\ell z_{ij\ell} = z_{ij}$ |
    | "arc-predicate" | and $z_{ij} \le z_i$ |
    | "determinism" | and $\sum_j z_{ij\ell} \le z_i$ (without predicates, 1) for $\ell \in D$ |

    Args:
        relaxation: One of the names above.
        size: n, words that there is room for.
        labels: Number of labels.
        predicates: Whether the first n parts are predicates.
        deterministic: Numbers of the deterministic labels.
        position: `(K,)`, $i n + j$ for the arc $i \to j$ of each slot, -1 at padding; for
            "label-sum", only its last dimension matters.
        allowed: Booleans `(..., parts)`, parts that may be chosen.
    """
    key = b"" if relaxation == "label-sum" else np.asarray(position, dtype=np.int64).tobytes()
    shape = (size, position.shape[-1], labels, predicates)
    template = _template(relaxation, shape, deterministic if key else (), key)
    return template.with_(upper=allowed.to(template.upper.dtype))


@lru_cache(maxsize=32)
def one_slot(labels: int) -> Polytope:
    """Build one arc with its labels; a batch of them projects without rows of whole sentences."""
    return label_sum(1, labels)


class Sequential(torch.autograd.Function):
    """The rule of the published code on slots `(M, 1 + L)`, and its derivative."""

    @staticmethod
    def forward(slots: Tensor) -> Tensor:
        arcs, labels = slots[:, :1].clamp(0, 1), slots[:, 1:]
        # Onto sum = 1 after division by the arc. What lies more than the arc below the largest
        # label gets nothing anyway; cut off there, no quotient overflows.
        below = (labels - labels.amax(-1, keepdim=True)) / torch.where(arcs > 0, arcs, 1)
        labels = arcs * project(_one_choice(slots.shape[1] - 1), below.clamp(min=-1))
        return torch.cat([arcs, labels], -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0][:, :1], output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        arcs, z = ctx.saved_tensors
        support = z[:, 1:] > 0
        labels = torch.where(support, grad[:, 1:], 0)
        mean = labels.sum(-1, keepdim=True) / support.sum(-1, keepdim=True).clamp(min=1)
        # A larger arc raises all labels of the support alike.
        through = torch.where((arcs > 0) & (arcs < 1), grad[:, :1] + mean, 0)
        return torch.cat([through, torch.where(support, labels - mean, 0)], -1)


@lru_cache(maxsize=32)
def _one_choice(labels: int) -> Polytope:
    return simplex(labels)


@lru_cache(maxsize=64)
def _template(
    relaxation: str,
    shape: tuple[int, int, int, bool],
    deterministic: tuple[int, ...],
    position: bytes,
) -> Polytope:
    """Build the rows, which depend on nothing else."""
    size, slots, labels, predicates = shape
    offset = size if predicates else 0
    parts = offset + slots * (1 + labels)
    arcs = offset + np.arange(slots) * (1 + labels)
    columns = np.arange(offset, parts).reshape(slots, 1 + labels)
    weights = np.ones_like(columns, dtype=np.float64)
    weights[:, 0] = -1.0
    sums = _rows([(np.arange(slots)[:, None], columns, weights)], (slots, parts))
    if relaxation == "label-sum":
        return Polytope(A_eq=sums, b_eq=np.zeros(slots), upper=np.ones(parts))
    place = np.frombuffer(position, dtype=np.int64)
    used = np.flatnonzero(place >= 0)
    owner, arcs = place[used] // size, arcs[used]
    entries, limits, count = [], [], 0
    if predicates:
        number = np.arange(len(used))
        entries += [(number, arcs, 1.0), (number, owner, -1.0)]
        limits, count = [np.zeros(len(used))], len(used)
    if relaxation == "determinism":
        heads, head = np.unique(owner, return_inverse=True)
        for label in deterministic:
            entries.append((count + head, arcs + 1 + label, 1.0))
            if predicates:
                entries.append((count + np.arange(len(heads)), heads, -1.0))
            limits.append(np.full(len(heads), 0.0 if predicates else 1.0))
            count += len(heads)
    rows = _rows(entries, (count, parts)) if entries else None
    limit = np.concatenate([*limits, np.zeros(0)])
    return Polytope(rows, limit, A_eq=sums, b_eq=np.zeros(slots), upper=np.ones(parts))


def _rows(entries: list[tuple], shape: tuple[int, int]) -> sp.csr_array:
    """Build a matrix from rows, columns and weights that broadcast against each other."""
    parts = [[v.ravel() for v in np.broadcast_arrays(*entry)] for entry in entries]
    rows, columns, weights = (np.concatenate(v) for v in zip(*parts, strict=True))
    return sp.csr_array(sp.coo_array((weights, (rows, columns)), shape))
