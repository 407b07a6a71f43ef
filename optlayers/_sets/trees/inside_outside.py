r"""Sums over projective trees: the inside-outside algorithm on Eisner's chart, $O(n^3)$.

$$ R_{ij} = \sum_{k=i+1}^{j} A_{ik} R_{kj}, \qquad L_{ij} = \sum_{k=i}^{j-1} L_{ik} A_{jk}, \qquad
   A_{ij} = e^{s_{ij}} \sum_{k} R_{ik} L_{k+1,j} $$

for the words that $i$ heads to its right up to $j$, those that $j$ heads to its left down to $i$,
and the arcs between the two ($A_{ji}$ alike). With several words under the root, the root is the
first position; with one, $Z = \sum_m e^{s_{0m}} L_{1m} R_{mn}$.

References:
    Eisner (1996), *Three new probabilistic models for dependency parsing*; Eisner (2016),
    *Inside-outside and forward-backward algorithms are just backprop*; Li and Eisner (2009),
    *First- and second-order expectation semirings*.
"""

from typing import Any

import torch
from torch import Tensor

from ... import _kernels
from ..._kernels.arrays import array
from ..._kernels.scores import LOG_ZERO
from ..._kernels.threads import run
from .sums import TreeBatch, TreeSums, usable


class InsideOutside(TreeSums):
    r"""Sums over projective trees, in $O(n^3)$; samples cost $O(n^4)$.

    Examples:
        >>> scores, lengths = torch.zeros(1, 4, 4), torch.tensor([3])
        >>> SUMS.log_partition(scores, lengths, None, True).exp().round()
        tensor([7.])
    """

    def program(self, x: Tensor, batch: TreeBatch) -> tuple[Tensor, Tensor]:
        """Return log Z by logarithms of whole diagonals, and the sentences where it is none."""
        lengths, _, single_root = batch
        arcs, broken = usable(x, batch)
        x = torch.where(arcs, x, LOG_ZERO)
        log_z = _single_root(x, lengths) if single_root else _any_root(x, lengths)
        log_z = torch.where(lengths > 0, log_z, 0)
        none = log_z < LOG_ZERO / 2
        log_z = torch.where(none, -torch.inf, log_z)
        return torch.where(broken, torch.nan, log_z), none | broken

    def values(self, x: Tensor, batch: TreeBatch) -> Tensor:
        """Return log Z."""
        log_z = x.new_empty(len(x))
        _run(_kernels.inside_outside.values, x, batch, log_z)
        return log_z

    def gradients(self, x: Tensor, batch: TreeBatch) -> Tensor:
        """Return the probability of every arc."""
        mu = torch.empty_like(x, memory_format=torch.contiguous_format)
        _run(_kernels.inside_outside.marginals, x, batch, mu)
        return mu

    def hessian_product(
        self, x: Tensor, batch: TreeBatch, vector: Tensor, kept: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """Return the product of the second derivatives with a vector."""
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        _run(_kernels.inside_outside_slopes.hessian_product, x, batch, vector, out)
        return out


def _any_root(x: Tensor, lengths: Tensor) -> Tensor:
    rights, _ = _chart(x)
    from_root = torch.stack([r[:, 0] for r in rights], -1)
    return from_root.gather(-1, lengths[:, None])[:, 0]


def _single_root(x: Tensor, lengths: Tensor) -> Tensor:
    n = x.shape[-1] - 1
    rights, lefts = _chart(x[:, 1:, 1:])
    first = torch.stack([left[:, 0] for left in lefts], -1)  # (N, n): word 1 to word m
    last = lengths[:, None] - 1
    # rights[w][:, i] spans i to i + w: those that end in the last word.
    to_end = [r.gather(-1, (last - w).clamp(min=0)) for w, r in enumerate(rights)]
    widths = last - torch.arange(n, device=x.device)
    to_end = torch.cat(to_end, -1).gather(-1, widths.clamp(min=0))
    terms = torch.where(widths >= 0, x[:, 0, 1:] + first + to_end, LOG_ZERO)
    return terms.logsumexp(-1)


def _chart(x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Sum complete spans to the right and to the left: for each width, one row of left ends."""
    n = x.shape[-1] - 1
    one = x.new_zeros(len(x), n + 1, 1)
    # By left end i or right end j, then by width. One step on, the last left end and the first
    # right end have no span any more, and so the rows of all charts belong together.
    right_i = right_j = left_i = left_j = one
    arc_i = arc_j = x.new_full((len(x), n + 1, 1), LOG_ZERO)
    rights, lefts = [one[..., 0]], [one[..., 0]]
    for width in range(1, n + 1):
        right_i, left_i, arc_i = right_i[:, :-1], left_i[:, :-1], arc_i[:, :-1]
        right_j, left_j, arc_j = right_j[:, 1:], left_j[:, 1:], arc_j[:, 1:]
        both = (right_i + left_j.flip(-1)).logsumexp(-1)
        arc_i = torch.cat([arc_i, (both + x.diagonal(width, 1, 2))[..., None]], -1)
        arc_j = torch.cat([arc_j, (both + x.diagonal(-width, 1, 2))[..., None]], -1)
        right = (arc_i[..., 1:] + right_j.flip(-1)).logsumexp(-1)
        left = (left_i + arc_j[..., 1:].flip(-1)).logsumexp(-1)
        right_i, right_j = (torch.cat([r, right[..., None]], -1) for r in (right_i, right_j))
        left_i, left_j = (torch.cat([r, left[..., None]], -1) for r in (left_i, left_j))
        rights.append(right)
        lefts.append(left)
    return rights, lefts


def _run(kernel: Any, x: Tensor, batch: TreeBatch, *more: Tensor) -> None:
    lengths, allowed, single_root = batch
    mask = x.new_zeros(1, 1, 1, dtype=torch.bool) if allowed is None else allowed
    cost = len(x) * x.shape[-1] ** 3
    masked = allowed is not None
    arrays = [array(v) for v in (x, lengths, mask)]
    run(kernel, len(x), cost, *arrays, masked, single_root, *map(array, more))


SUMS = InsideOutside()
