"""What a surrogate gradient is."""

from abc import ABC, abstractmethod

from torch import Tensor

from .._calls import OnFailure, Status
from .._feasible_set import FeasibleSet


class AbstractSurrogate(ABC):
    """A formula for the gradient of the scores, used in place of the true one, which is zero."""

    @abstractmethod
    def backward(
        self,
        feasible_set: FeasibleSet,
        scores: Tensor,
        z_hat: Tensor,
        grad: Tensor,
        on_failure: OnFailure = "raise",
    ) -> tuple[Tensor, Status]:
        """Return the surrogate gradient of `scores`, and which instances have one.

        Args:
            feasible_set: The set that was decoded.
            scores: `(..., n)`, as given to the layer.
            z_hat: `(..., n)`, the decoded structure.
            grad: `(..., n)`, the gradient of the loss with respect to `z_hat`.
            on_failure: What to do with an instance whose backward pass fails.
        """
