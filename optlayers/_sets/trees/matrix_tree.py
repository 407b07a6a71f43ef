r"""Sums over all trees: the matrix-tree theorem, $O(n^3)$, by an elimination without subtraction.

$$ Z = \sum_z \exp(z \cdot s) = \prod_k d_k, \qquad d_k = \sum_{h} w_{hk}, \qquad
   w_{hm} \leftarrow w_{hm} + \frac{w_{hk}}{d_k} w_{km} $$

for one word $k$ after the other and the heads $h$ and words $m$ left, from $w = e^s$: Gaussian
elimination of the Laplacian, whose pivots are sums of what is left in their column and are found
by adding it up. So $Z$ has a relative error of some $n$ roundings, whatever the condition of the
Laplacian, whose inverse need not exist in floats; and so have the marginals absolutely, as the
derivative of just these steps: what they subtract are probabilities. With a single root, the root
is left out of all $d_k$ but the last.

References:
    Tutte (1984), *Graph theory*; Koo, Globerson, Carreras and Collins (2007), *Structured
    prediction models via the matrix-tree theorem*; Smith and Smith (2007), *Probabilistic models
    of nonprojective dependency trees*; McDonald and Satta (2007), *On the complexity of
    non-projective data-driven dependency parsing*; Grassmann, Taksar and Heyman (1985),
    *Regenerative analysis and steady state distributions for Markov chains*.
"""

from typing import Any

import torch
from torch import Tensor

from ... import _kernels
from ..._kernels.arrays import array
from ..._kernels.scores import LOG_ZERO
from ..._kernels.threads import run
from .sums import TreeBatch, TreeSums, usable

_BROKEN = 2  # the state of a sentence with scores that are no numbers
_BEYOND = 3  # the state of a sentence whose sums leave the range of floats
_LOST = 1e-12  # of a vector, what rounding may take of its product with second derivatives


class MatrixTree(TreeSums):
    r"""Sums over all trees, in $O(n^3)$; samples cost $O(n^4)$.

    Examples:
        >>> scores, lengths = torch.zeros(1, 4, 4), torch.tensor([3])
        >>> SUMS.log_partition(scores, lengths, None, True).exp().round()
        tensor([9.])
    """

    def program(self, x: Tensor, batch: TreeBatch) -> tuple[Tensor, Tensor]:
        """Return log Z by elimination in logarithms, and the sentences where it is none."""
        lengths, _, single_root = batch
        arcs, broken = usable(x, batch)
        root, none = _last_word(arcs, lengths, single_root)
        bad = none | broken
        index = torch.arange(x.shape[-1], device=x.device)
        padding = index > lengths[:, None]
        # Whatever the answer is not for is replaced by a sentence of padding, which always has one.
        ends = padding | bad[:, None]
        x = torch.where(arcs & ~bad[:, None, None], x, LOG_ZERO)
        x = torch.where(ends[:, None, :] & (index == 0)[:, None], 0, x)
        if single_root:
            # A word that all others can hang below stays to the end: each other pivot is positive.
            order = torch.where(index == 1, root[:, None], index)
            order = torch.where(index == root[:, None], (index > 0).long(), order)
            x = x.gather(1, order[:, :, None].expand_as(x)).gather(2, order[:, None].expand_as(x))
        log_z = _eliminate(x, ends, single_root)
        return torch.where(broken, torch.nan, torch.where(none, -torch.inf, log_z)), bad

    def values(self, x: Tensor, batch: TreeBatch) -> Tensor:
        """Return log Z."""
        log_z = x.new_empty(len(x))
        state = _run(_kernels.matrix_tree.values, x, batch, log_z)
        for rows, part in _rest(state == _BEYOND, batch):
            log_z[rows] = self.program(x[rows], part)[0]
        return log_z

    def gradients(self, x: Tensor, batch: TreeBatch) -> Tensor:
        """Return the probability of every arc."""
        mu = torch.empty_like(x, memory_format=torch.contiguous_format)
        state = _run(_kernels.matrix_tree.marginals, x, batch, mu)
        for rows, part in _rest(state == _BEYOND, batch):
            mu[rows] = self.by_autograd(x[rows].detach(), part)
        return mu

    def gradients_and_more(self, x: Tensor, batch: TreeBatch) -> tuple[Tensor, ...]:
        """Return the probability of every arc, its weight, and the derivative of log Z by that."""
        weight, slope = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in "ws")
        state = _run(_kernels.matrix_tree.slopes, x, batch, weight, slope)
        mu = (weight * slope).clamp_(min=0)
        mu[state == _BROKEN] = torch.nan
        for rows, part in _rest(state == _BEYOND, batch):
            mu[rows] = self.by_autograd(x[rows].detach(), part)
            slope[rows] = torch.nan
        return mu, weight, slope

    def hessian_product(
        self, x: Tensor, batch: TreeBatch, vector: Tensor, kept: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """Return the product of the second derivatives with a vector.

        By the inverse of the Laplacian, of which the marginals are made, where that is small
        enough to be trusted; by the derivatives of the elimination, step by step, elsewhere.
        """
        _, weight, slope = (x, *kept) if kept else self.gradients_and_more(x, batch)
        out, sure = _by_inverse(weight, slope, vector, batch.single_root)
        for rows, part in _rest(~sure, batch):
            out[rows] = self._step_by_step(x[rows], part, vector[rows])
        return out

    def _step_by_step(self, x: Tensor, batch: TreeBatch, vector: Tensor) -> Tensor:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        state = _run(_kernels.matrix_tree_slopes.hessian_product, x, batch, vector, out)
        for rows, part in _rest(state == _BEYOND, batch):
            with torch.enable_grad():
                leaf = x[rows].detach().requires_grad_()
                mu = self.by_autograd(leaf, part)
                arcs = usable(leaf, part)[0] & mu.isfinite()
                product = (torch.where(arcs, mu, 0) * torch.where(arcs, vector[rows], 0)).sum()
            out[rows] = torch.autograd.grad(product, leaf)[0]
        return out


def _by_inverse(
    weight: Tensor, slope: Tensor, vector: Tensor, single_root: bool
) -> tuple[Tensor, Tensor]:
    r"""Return products with second derivatives, and which of them have not lost their digits.

    With $B = L^{-1}$, $\partial \log Z / \partial w_{hm} = B_{mm} - B_{mh}$, and $B_{mm}$ for the
    root; with a single root the first row of $L$ has the weights of its arcs instead, and the first
    column of $B$ is what they get (Koo et al., 2007). So $B$ can be read off the derivatives, and
    $dB = -B\, dL\, B$.

    Args:
        weight: `(N, n + 1, n + 1)`, w; zero at padding and where there is no arc.
        slope: The derivatives of log Z by them.
        vector: By whose entries scores move.
        single_root: As in `TreeBatch`.
    """
    moved, first = weight * torch.where(weight > 0, vector, 0), int(single_root)
    G = slope[:, first, None, 1:] - slope[:, 1:, 1:]  # B, transposed
    total = moved[:, first:, 1:].sum(1)
    dL = torch.diag_embed(total) - moved[:, 1:, 1:]
    if single_root:
        G[:, 0] = slope[:, 0, 1:]
        dL[:, 0] = moved[:, 0, 1:]
    dG = -(G @ dL.mT @ G)
    base = dG.diagonal(dim1=1, dim2=2).clone()
    change = torch.zeros_like(weight)
    change[:, 1:, 1:] = -dG
    if single_root:
        base[:, 0] = 0
        change[:, 1] = 0
    change[:, first:, 1:] += base[:, None]
    if single_root:
        change[:, 0, 1:] = dG[:, 0]
    n, size = weight.shape[-1], G.flatten(1).abs().amax(1)
    sure = n * torch.finfo(G.dtype).eps * size * size <= _LOST
    return weight * change + moved * slope, sure


def _last_word(arcs: Tensor, lengths: Tensor, single_root: bool) -> tuple[Tensor, Tensor]:
    """Return a word that may be the only one under the root, and the sentences without a tree."""
    size = arcs.shape[-1]
    index = torch.arange(size, device=arcs.device)
    beyond = (index > lengths[:, None]) | (index == 0)
    reach = (arcs | (index[:, None] == index)).float()
    for _ in range(max(size - 1, 1).bit_length()):
        reach = ((reach @ reach) > 0).float()
    reaches = reach > 0  # [h, m]: m hangs below h
    if not single_root:
        return lengths, ~(reaches[:, 0] | beyond).all(-1)
    above_all = (reaches | beyond[:, None, :]).all(-1) & arcs[:, 0]
    root = above_all.float().argmax(-1).clamp(min=1)
    return root, (lengths > 0) & ~above_all.any(-1)


def _eliminate(x: Tensor, ends: Tensor, single_root: bool) -> Tensor:
    """Return log Z of `(N, n + 1, n + 1)`; words in `ends` have the root for their only head."""
    log_z = x.new_zeros(len(x))
    for k in range(x.shape[-1] - 1, 0, -1):
        heads, row, x = x[:, :k, k], x[:, k, :k], x[:, :k, :k]
        counted = heads
        if single_root and k > 1:
            to_root = torch.where(ends[:, k, None], heads[:, :1], LOG_ZERO)
            counted = torch.cat([to_root, heads[:, 1:]], -1)
        d = counted.logsumexp(-1)
        log_z = log_z + d
        through = (heads - d[:, None])[:, :, None] + row[:, None, :]
        # Not `logaddexp`, whose second derivative is NaN where the terms are far apart. The sum
        # does not depend on `top`, so that derivatives need not see it.
        top = torch.maximum(x, through).detach()
        x = top + ((x - top).exp() + (through - top).exp()).log()
    return log_z


def _run(kernel: Any, x: Tensor, batch: TreeBatch, *more: Tensor) -> Tensor:
    lengths, allowed, single_root = batch
    state = torch.zeros(len(x), dtype=torch.int8, device="cpu")
    mask = x.new_zeros(1, 1, 1, dtype=torch.bool) if allowed is None else allowed
    cost = len(x) * x.shape[-1] ** 3
    masked = allowed is not None
    arrays = [array(v) for v in (x, lengths, mask)]
    results = [array(v) for v in (state, *more)]
    run(kernel, len(x), cost, *arrays, masked, single_root, *results)
    return state


def _rest(left: Tensor, batch: TreeBatch) -> list[tuple[Tensor, TreeBatch]]:
    """Return the sentences of a mask, by number and as a batch."""
    rows = left.nonzero()[:, 0]
    if not len(rows):
        return []
    lengths, allowed, single_root = batch
    if allowed is not None and len(allowed) > 1:
        allowed = allowed[rows]
    return [(rows, TreeBatch(lengths[rows], allowed, single_root))]


SUMS = MatrixTree()
