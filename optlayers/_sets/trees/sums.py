"""What both kinds of trees share: the autograd functions around the compiled loops."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..._kernels.threads import use_kernels

# Finite scores beyond this count as infinite: sums of them would leave the range of float64.
HUGE = 1e60
# The logarithm of zero in the tensor programs: finite, so that no derivative is NaN.
LOG_ZERO = -1e100

Problem = tuple[Tensor, Tensor | None, bool]  # lengths, allowed, single_root


@dataclass(frozen=True)
class Sums:
    """One family of trees.

    `program` is a tensor program, `(scores, problem) -> (log Z, bad)`; the other three are
    compiled loops on float64 CPU tensors: values, first derivatives, and the product of the
    second derivatives with a vector.
    """

    program: Callable[[Tensor, Problem], tuple[Tensor, Tensor]]
    values: Callable[[Tensor, Problem], Tensor]
    gradients: Callable[[Tensor, Problem], Tensor]
    hessian_product: Callable[[Tensor, Problem, Tensor], Tensor]

    def log_partition(self, scores: Tensor, problem: Problem) -> Tensor:
        """Log Z in the dtype of the scores."""
        x = _wide(scores)
        if x.shape[-1] == 1:
            return _nothing(scores).sum((1, 2))
        if use_kernels(scores):
            return _LogPartition.apply(x, problem, self).to(scores.dtype)  # type: ignore[union-attr]
        return self.program(x, problem)[0].to(scores.dtype)

    def marginals(self, scores: Tensor, problem: Problem) -> Tensor:
        """The gradient of log Z in the dtype of the scores."""
        x = _wide(scores)
        if x.shape[-1] == 1:
            return _nothing(scores)
        if use_kernels(scores):
            return _Marginals.apply(x, problem, self).to(scores.dtype)  # type: ignore[union-attr]
        return self.by_autograd(x, problem).to(scores.dtype)

    def by_autograd(self, x: Tensor, problem: Problem) -> Tensor:
        """The gradient of the tensor program; NaN where there is no tree."""

        def total(x: Tensor) -> tuple[Tensor, Tensor]:
            value, bad = self.program(x, problem)
            return value.sum(), bad

        # Of `torch.func`, because `torch.compile` can trace it, and no caller's mode turns it off.
        mu, bad = torch.func.grad(total, has_aux=True)(x)
        return torch.where(bad[:, None, None], torch.nan, mu.clamp(min=0))

    @torch.no_grad()
    def sample(
        self, scores: Tensor, problem: Problem, generator: torch.Generator | None = None
    ) -> Tensor:
        """Heads `(N, n + 1)` of one tree each: one word after the other, given those before."""
        x, (lengths, allowed, single_root) = _wide(scores), problem
        count, side = x.shape[:2]
        free = x.new_ones(x.shape, dtype=torch.bool) if allowed is None else allowed.expand(x.shape)
        heads = lengths.new_full((count, side), -1)
        draws = torch.rand(count, side, generator=generator, dtype=x.dtype, device=x.device)
        index = torch.arange(side, device=x.device)
        for m in range(1, side):
            mu = self.marginals(x, (lengths, free, single_root))[:, :, m]
            # What is impossible but for rounding must not be drawn: nothing could follow it.
            below = torch.where(mu > 1e-12, mu, 0).cumsum(-1)
            chosen = (below > draws[:, m, None] * below[:, -1:]).to(torch.int8).argmax(-1)
            heads[:, m] = torch.where((m <= lengths) & (below[:, -1] > 0), chosen, -1)
            free = free & ((index != m) | (index[:, None] == chosen[:, None, None]))
        return heads


class _LogPartition(torch.autograd.Function):
    """Log Z by compiled loops."""

    @staticmethod
    def forward(x: Tensor, problem: Problem, sums: Sums) -> Tensor:
        return sums.values(x, problem)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Problem, Sums], output: Tensor) -> None:
        x, ctx.problem, ctx.sums = inputs
        ctx.save_for_backward(x, output.isfinite())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        x, fine = ctx.saved_tensors
        mu = _Marginals.apply(x, ctx.problem, ctx.sums)
        # A sentence without a tree has no gradient; its loss says so, the others still learn.
        return grad[:, None, None] * torch.where(fine[:, None, None], mu, 0), None, None  # type: ignore[arg-type]


class _Marginals(torch.autograd.Function):
    """Marginals by compiled loops."""

    @staticmethod
    def forward(x: Tensor, problem: Problem, sums: Sums) -> Tensor:
        return sums.gradients(x, problem)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Problem, Sums], output: Tensor) -> None:
        x, ctx.problem, ctx.sums = inputs
        ctx.save_for_backward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        # The Hessian of log Z is symmetric: what is asked for is its product with `grad`.
        return ctx.sums.hessian_product(x, ctx.problem, grad), None, None


def usable(x: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """Arcs that may be chosen, `(N, n + 1, n + 1)`, and sentences whose scores are not numbers."""
    lengths, allowed, _ = problem
    index = torch.arange(x.shape[-1], device=x.device)
    word = index <= lengths[:, None]
    arcs = word[:, :, None] & word[:, None, :] & (index[:, None] != index) & (index > 0)
    if allowed is not None:
        arcs = arcs & allowed
    broken = (arcs & (x.isnan() | (x >= HUGE))).flatten(1).any(-1)
    return arcs & (x > -HUGE) & (x < HUGE), broken


def _wide(scores: Tensor) -> Tensor:
    """Float64, where the device has it."""
    return scores.to(torch.float32 if scores.device.type == "mps" else torch.float64)


def _nothing(scores: Tensor) -> Tensor:
    """Zeros that depend on the scores, for batches without a word."""
    return torch.where(torch.ones_like(scores, dtype=torch.bool), 0, scores)
