"""Step sizes of surrogates, as they are given."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._errors import InputError


@dataclass(frozen=True)
class NormClip:
    r"""The step size of the published code, $\eta = \min(1, T / \|g\|_2)$, $g = \nabla_{\hat z}L$.

    One per instance. The published pipelines use T = 1 (syntactic to semantic parsing) and
    T = 5/32 (sentiment).
    """

    T: float

    def __post_init__(self):
        fits = isinstance(self.T, int | float) and not isinstance(self.T, bool)
        if not (fits and self.T > 0):
            raise InputError(f"`NormClip` takes a positive norm. Got {self.T!r}.")

    def step_size(self, grad: Tensor, event_dim: int = 1) -> Tensor:
        """Return the step size of each instance, with trailing dimensions of size 1."""
        norm = torch.linalg.vector_norm(grad, dim=tuple(range(-event_dim, 0)), keepdim=True)
        return (self.T / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(max=1)


def check_step(name: str, eta: Any) -> None:
    """Raises InputError unless `step_size` can use it."""
    if isinstance(eta, bool) or not isinstance(eta, int | float | Tensor | NormClip):
        raise InputError(
            f"`{name}` must be a number, a tensor with one entry per instance, or NormClip(T). "
            f"Got {eta!r}."
        )


def check_positive(name: str, value: Any) -> None:
    """Raises InputError unless it is a positive number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"`{name}` must be a positive number. Got {value!r}.")


def check_positive_step(name: str, eta: Any) -> None:
    """Raises InputError unless `step_size` can use it, and where it is a number, it is positive."""
    check_step(name, eta)
    if isinstance(eta, int | float) and not 0 < eta < math.inf:
        raise InputError(f"`{name}` must be positive and finite. Got {eta}.")
