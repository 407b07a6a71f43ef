r"""Isotonic regression of many rows at once, and the projection onto permutahedra that it gives.

$$ v(x) = \arg\min_{v_1 \ge \dots \ge v_n} \tfrac12 \|v - x\|^2, \qquad
   \Pi(y)_\sigma = y_\sigma - v(y_\sigma - w) $$

where $\sigma$ sorts $y$ and $w$ falls. An entry of $v$ is the mean of its block, so the derivative
averages over blocks.

References:
    Ayer, Brunk, Ewing, Reid and Silverman (1955), *An empirical distribution function for sampling
    with incomplete information*; Negrinho and Martins (2014), *Orbit regularization*; Blondel,
    Teboul, Berthet and Djolonga (2020), *Fast differentiable sorting and ranking*.
"""

from typing import Any

import torch
from torch import Tensor

from ... import _kernels
from ..._kernels.arrays import array, use_kernels
from ..._kernels.threads import run


def falling_order(x: Tensor, allowed: Tensor | None) -> Tensor:
    """Return the numbers of allowed entries by falling value, stable, then those of the others.

    Args:
        x: `(N, n)`.
        allowed: `(N or 1, n)`; None: all.
    """
    if allowed is None:
        return x.argsort(dim=-1, descending=True, stable=True)
    order = torch.where(allowed, x, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    # Behind what is minus infinity itself.
    others = (~allowed).expand(x.shape).gather(-1, order)
    return order.gather(-1, others.to(torch.int8).argsort(dim=-1, stable=True))


def project_sorted(x: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """Return the nearest points of permutahedra to points that fall; differentiable twice.

    Args:
        x: `(N, n)`, each row falling up to its count.
        weights: `(N, n)`, float64, falling up to the count; zeros behind.
        counts: int64 `(N,)`, entries of each row; the others are zero in the answer.
    """
    used = torch.arange(x.shape[-1], device=x.device) < counts[:, None]
    gaps = torch.where(used, x.to(weights.dtype) - weights, 0)
    pooled: Tensor = _Falling.apply(gaps, counts, weights)[0]  # type: ignore[index]
    return torch.where(used, x.to(weights.dtype) - pooled, 0).to(x.dtype)


class _Falling(torch.autograd.Function):
    """The nearest non-increasing sequence; its derivative is the mean over blocks."""

    @staticmethod
    def forward(x: Tensor, counts: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        if use_kernels(x):
            v, block = torch.zeros_like(x), torch.zeros_like(x, dtype=torch.int64)
            arrays = [array(t) for t in (x, counts)]
            cost = 10 * x.numel()
            run(_kernels.isotonic.falling, len(x), cost, *arrays, v.numpy(), block.numpy())
            return v, block
        return falling(x, counts)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, None, None]:  # type: ignore[override]
        block, weights = ctx.saved_tensors
        return block_means(grad, _apart(block, weights)), None, None


def _apart(block: Tensor, weights: Tensor) -> Tensor:
    """Return blocks, with entries of equal weights alone: tied or not, each has its weight."""
    ends = [
        torch.zeros_like(weights).scatter_reduce(-1, block, weights, how, include_self=False)
        for how in ("amin", "amax")
    ]
    index = torch.arange(block.shape[-1], device=block.device)
    return torch.where((ends[0] == ends[1]).gather(-1, block), index, block)


def block_means(x: Tensor, block: Tensor) -> Tensor:
    """Return the mean of the block of every entry; linear in x.

    Args:
        x: `(N, n)`.
        block: `(N, n)`, equal numbers below n for entries of one block.
    """
    sums = torch.zeros_like(x).scatter_add(-1, block, x)
    sizes = torch.zeros_like(x).scatter_add(-1, block, torch.ones_like(x))
    return (sums / sizes.clamp(min=1)).gather(-1, block)


def falling(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the nearest non-increasing sequences, and blocks, by tensors; $O(n^2)$ memory.

    $$ v_i = \min_{j \le i} \max_{k \ge i} \frac{x_j + \dots + x_k}{k - j + 1} $$

    References:
        Robertson, Wright and Dykstra (1988), *Order restricted statistical inference*, Section 1.4.
    """
    n = x.shape[-1]
    index = torch.arange(n, device=x.device)
    total = torch.nn.functional.pad(x.cumsum(-1), (1, 0))
    size = index[None, :] - index[:, None] + 1  # [j, k]
    means = (total[:, None, 1:] - total[:, :-1, None]) / size.clamp(min=1)
    fits = (size > 0) & (index < counts[:, None, None])
    means = torch.where(fits, means, -torch.inf)
    above = means.flip(-1).cummax(-1).values.flip(-1)  # [j, i]: the largest of k >= i
    above = torch.where(index[:, None] <= index, above, torch.inf)
    v = above.amin(1)
    used = index < counts[:, None]
    v = torch.where(used, v, 0)
    new = torch.nn.functional.pad(v[:, 1:] != v[:, :-1], (1, 0), value=True)
    new = new | (index == counts[:, None])
    return v, torch.where(new, index, 0).cummax(-1).values
