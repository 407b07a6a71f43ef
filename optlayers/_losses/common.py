"""Common parts of losses: reductions, shapes, padding, and a gradient that is known."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from .._checks import floats, tensor, untraced
from .._errors import InputError
from .._feasible_set import FeasibleSet, as_set
from .._kernels.arrays import is_ordinary

Reduction = Literal["sum", "mean", "none"]


class _Known(torch.autograd.Function):
    """A loss whose gradient in the scores is a tensor at hand, which may itself have a graph."""

    @staticmethod
    def forward(scores, gradient, value):
        return value.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[1])
        ctx.event_dim = inputs[1].ndim - output.ndim

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        weight = grad[(..., *[None] * ctx.event_dim)]
        # Zero times a gradient that failed is zero: a loss that is not used says nothing.
        return torch.where(weight == 0, 0, weight * gradient), None, None


class _PlainKnown(torch.autograd.Function):
    """`_Known` for ordinary tensors, which spares what torch looks up for `torch.func`."""

    @staticmethod
    def forward(ctx, scores, gradient, value):  # type: ignore[override]
        _Known.setup_context(ctx, (scores, gradient, value), value)
        return value.clone()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        return _Known.backward(ctx, grad)


def with_gradient(scores: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """Return `value`, of the batch shape, with `gradient` as its derivative in `scores`.

    Differentiable twice where `gradient` depends on the scores.
    """
    function = _PlainKnown if is_ordinary(scores) else _Known
    return function.apply(scores, gradient, value.detach())  # type: ignore[return-value]


def event_of(feasible_set: FeasibleSet, x: Tensor) -> tuple[int, ...]:
    """Return the dimensions of one structure in tensors like `x`."""
    return tuple(range(-as_set(feasible_set, x).event_dim, 0))


def times(weight: Tensor, scores: Tensor) -> Tensor:
    """Return the product, 0 where the weight is 0, whatever is at padding."""
    return torch.where(weight != 0, weight * torch.where(weight != 0, scores, 0), 0)


def same_shape(scores: Tensor, gold: Tensor, name: str = "gold") -> None:
    """Refuse what is no tensor, or has another shape than the scores."""
    floats(scores, "predicted" if name in ("true", "best") else "scores")
    tensor(gold, name)
    untraced("scores")
    if scores.shape != gold.shape:
        raise InputError(
            f"`{name}` must have the shape of the scores, {tuple(scores.shape)}. "
            f"Got {tuple(gold.shape)}."
        )


def reduce(losses: Tensor, reduction: str) -> Tensor:
    """Return the sum or the mean over the batch, or the losses themselves."""
    check_reduction(reduction)
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.mean()


def check_reduction(reduction: str) -> None:
    """Raises InputError unless it is one."""
    if reduction not in ("sum", "mean", "none"):
        raise InputError(f"`reduction` must be 'sum', 'mean' or 'none'. Got {reduction!r}.")


class StructuredLoss(nn.Module):
    """A loss as a module: the function of the same name, with its options kept.

    `module(scores, gold, feasible_set=None)`; a set that depends on the batch is given to the call.
    """

    def __init__(self, feasible_set: FeasibleSet | None, reduction: Reduction, **options: Any):
        super().__init__()
        check_reduction(reduction)
        self.reduction: Reduction = reduction
        self.feasible_set, self.options = feasible_set, options

    def _set(self, feasible_set: FeasibleSet | None) -> FeasibleSet:
        chosen = self.feasible_set if feasible_set is None else feasible_set
        if chosen is None:
            raise InputError("Give a feasible set to the loss or to this call.")
        return chosen

    def extra_repr(self) -> str:
        """Return what `print(loss)` shows."""
        options = self.options | {"reduction": self.reduction}
        return f"{self.feasible_set}, " + ", ".join(f"{k}={v!r}" for k, v in options.items())
