"""Derivatives of maps and losses, as a backward pass asks for them: eager, or in one graph."""

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Decision


def pull_back(soft: Callable[[Tensor], Tensor], scores: Tensor, grad: Tensor) -> Tensor:
    """Return $J^T g$ of a soft map at `scores`; differentiable in both where grad is enabled."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        at = scores if again and scores.requires_grad else scores.detach().requires_grad_()
        (result,) = torch.autograd.grad(soft(at), at, grad, create_graph=again)
    return result


def carried(decision: Decision, soft: Tensor) -> Decision:
    """Return the decision with the derivative of a soft map.

    For `torch.compile`, which cannot hold `pull_back` in one graph.
    """
    z = decision.z + (soft - soft.detach()).to(decision.z.dtype)
    return Decision(z, decision.status, differentiable=True)


def gradient_of(loss: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return the gradient of a number at `z`, which is detached."""
    if torch.compiler.is_compiling():  # a graph holds transforms, and no `autograd.grad`
        return torch.func.grad(loss)(z.detach())
    with torch.enable_grad():
        at = z.detach().requires_grad_()
        (result,) = torch.autograd.grad(loss(at), at)
    return result
