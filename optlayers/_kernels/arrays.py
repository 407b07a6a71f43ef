"""Tensors as compiled loops read them: which they may read, and what they find."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from .. import _kernels

_SMALL = 1 << 15  # entries up to which an answer at once is tried first
CALM = -100.0  # an instance without a score below this is well scaled as it is
HUGE = 1e8  # entries of points beyond it leave the others too few digits to stand beside them


def use_kernels(x: Tensor) -> bool:
    """Tell whether the compiled loops apply: a CPU tensor outside of tracing."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def array(x: Tensor) -> np.ndarray:
    """Return the memory of a contiguous CPU tensor as an array."""
    x = x.detach() if x.requires_grad else x
    return (x if x.is_contiguous() else x.contiguous()).numpy()


def is_ordinary(x: Tensor) -> bool:
    """Tell whether compiled loops may read a tensor: on the CPU, neither traced nor wrapped.

    Large ones are none: what a call costs beside the work is nothing there, and nothing is asked
    twice.
    """
    if torch.jit.is_tracing() or type(x) not in (Tensor, Parameter):
        return False
    if not x.is_cpu or not 0 < x.numel() <= _SMALL:
        return False
    if x.dtype not in (torch.float32, torch.float64) or torch.compiler.is_compiling():
        return False
    functorch: Any = torch._C._functorch  # type: ignore[attr-defined]
    if functorch.peek_interpreter_stack() is not None or functorch.is_legacy_batchedtensor(x):
        return False  # within a transform of torch.func
    plain = x.layout is torch.strided and not x.is_neg()
    return plain and not torch.is_autocast_enabled("cpu")


def usual(x: Tensor, other: Tensor) -> bool:
    """Tell whether both are finite and no entry of `x` is low or huge. For CPU tensors."""
    x = x.detach() if x.requires_grad else x
    other = other.detach() if other.requires_grad else other
    return _kernels.checks.all_usual(x.numpy().ravel(), other.numpy().ravel(), CALM, HUGE)
