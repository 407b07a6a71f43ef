"""Head selection over padded sentences, straight from scores: no polytope to be made per batch."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ... import _kernels
from ..._kernels.arrays import array, use_kernels
from ..._kernels.threads import run
from ..._kernels.untraced import without_autocast
from ..._projections.simplex import simplex_threshold


def project_heads(y: Tensor, allowed: Tensor) -> Tensor:
    r"""Project onto the points at which heads of every word sum to one, among the allowed arcs.

    $$ \Pi(y)_{\cdot m} = \arg\min \{\tfrac12 \|z - y_{\cdot m}\|^2 : z \ge 0,\ \textstyle\sum_h z_h
       = 1,\ z_h = 0 \text{ where } h \to m \text{ is not allowed}\} $$

    The same as projecting onto the relaxation "head-selection" by its plan, for sets that are
    made anew for every batch: $O(n^2)$ per sentence, nothing to prepare. Modifiers without an
    allowed arc (padding, the root) get zeros; the entries of arcs that are not allowed do not
    matter. NaN where an allowed entry is NaN, or none is finite. Differentiable once.

    Args:
        y: `(N, n + 1, n + 1)`, heads by modifiers; half precision is computed in float32.
        allowed: Booleans `(N or 1, n + 1, n + 1)` on the device of `y`.

    References:
        Peng, Thomson and Smith (2018), Eq. 5 and Algorithm 2.

    Examples:
        >>> allowed = torch.tensor([[[False, True, True], [False, False, True], [False] * 3]])
        >>> y = torch.tensor([[[0.0, 0.2, 1.0], [0.0, 0.0, 0.5], [9.0, 9.0, 9.0]]])
        >>> project_heads(y, allowed)[0]
        tensor([[0.0000, 1.0000, 0.7500],
                [0.0000, 0.0000, 0.2500],
                [0.0000, 0.0000, 0.0000]])
    """
    wide = y if y.dtype in (torch.float32, torch.float64) else y.float()
    with without_autocast(y):
        if torch.is_grad_enabled() and y.requires_grad:
            z: Tensor = _Heads.apply(wide, allowed)  # type: ignore[assignment]
        else:
            z = _forward(wide, allowed)
    return z.to(y.dtype)


class _Heads(torch.autograd.Function):
    @staticmethod
    def forward(y, allowed):
        return _forward(y, allowed)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        """Subtract the mean over the support."""
        (z,) = ctx.saved_tensors
        support = z > 0
        mean = torch.where(support, grad, 0).sum(-2, keepdim=True)
        mean = mean / support.sum(-2, keepdim=True).clamp(min=1)
        return torch.where(support, grad - mean, 0), None


def _forward(y: Tensor, allowed: Tensor) -> Tensor:
    if not use_kernels(y):
        return _by_sorting(y, allowed)
    z = torch.zeros_like(y, memory_format=torch.contiguous_format)
    run(_kernels.thresholds.heads, len(y), y.numel(), array(y), array(allowed), z.numpy())
    return z


def _by_sorting(y: Tensor, allowed: Tensor) -> Tensor:
    x = torch.where(allowed, y.double(), -torch.inf).transpose(-1, -2)
    largest = x.amax(-1, keepdim=True)
    shifted = x - torch.where(largest.isfinite(), largest, torch.nan)
    z = (shifted - simplex_threshold(shifted, 1.0)).clamp(min=0)
    return torch.where(allowed, z.transpose(-1, -2), 0).to(y.dtype)
