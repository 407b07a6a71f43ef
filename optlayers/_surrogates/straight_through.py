"""The straight-through estimator."""

from torch import Tensor

from .._calls import OnFailure
from .._feasible_set import FeasibleSet
from .._status import Status
from .base import AbstractSurrogate, stepped
from .steps import NormClip, check_step


class StraightThrough(AbstractSurrogate):
    r"""Pretend that the argmax is the identity: $\tilde\nabla_s = c\,\nabla_{\hat z}L$.

    SPIGOT without constraints. Cost: none.

    Args:
        scale: The factor $c$: a number, a tensor with one entry per instance, or `NormClip(T)`,
            which shortens long gradients as SPIGOT's published step does. With it, SPIGOT and this
            differ by the projection alone.

    References:
        Bengio, Léonard and Courville (2013), *Estimating or propagating gradients through
        stochastic neurons for conditional computation*.
    """

    def __init__(self, scale: float | Tensor | NormClip = 1.0):
        check_step("scale", scale)
        self.scale = scale

    def backward(
        self,
        feasible_set: FeasibleSet,
        scores: Tensor,
        z_hat: Tensor,
        grad: Tensor,
        on_failure: OnFailure = "raise",
    ) -> tuple[Tensor, Status]:
        """Return the gradient of the loss, scaled."""
        dims = feasible_set.event_dim
        return stepped(self.scale, grad, dims), Status(tuple(grad.shape[: grad.ndim - dims]))

    def __repr__(self) -> str:
        return f"StraightThrough(scale={self.scale})"
