"""Parameters of the standard polytopes, read from what a user hands over; refused in words."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import PolytopeError
from .arguments import as_values


def as_size(value: Any, name: str) -> int:
    """Read a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise PolytopeError(f"`{name}` must be a positive integer. Got {value!r}.")
    return int(value)


def as_numbers(values: Any, name: str) -> Tensor:
    """Read a finite float64 tensor on the device it came on."""
    try:
        if not isinstance(values, Tensor):  # torch would read numbers as float32
            values = torch.tensor(np.array(values, dtype=np.float64, order="C"), device="cpu")
        tensor = values.to(torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PolytopeError(f"`{name}` must be numbers. Got {type(values).__name__}.") from error
    if not bool(tensor.isfinite().all()):
        raise PolytopeError(f"`{name}` must be finite. Got {tensor[~tensor.isfinite()][0]:g}.")
    return tensor


def as_count(values: Any, name: str, least: float, most: float) -> Tensor:
    """Read a number within the range in which a point exists; a batch, whatever it holds.

    In a batch an instance without a point is a matter of `on_failure`, when it is met.
    """
    tensor = as_numbers(values, name)
    if tensor.ndim:
        return tensor
    outside = (tensor < least) | (tensor > most)
    if bool(outside.any()):
        wanted = f"at least {least:g}" if most == np.inf else f"at most {most:g}"
        wanted = f"from {least:g} to {most:g}" if np.isfinite([least, most]).all() else wanted
        raise PolytopeError(f"`{name}` must be {wanted}. Got {tensor[outside][0]:g}.")
    return tensor


def same_shape(tensors: list[Tensor], what: str = "limits") -> list[Tensor]:
    """Broadcast on one device."""
    device = next((t.device for t in tensors if t.device.type != "cpu"), tensors[0].device)
    try:
        return list(torch.broadcast_tensors(*(t.to(device) for t in tensors)))
    except RuntimeError:
        shapes = " and ".join(str(tuple(t.shape)) for t in tensors)
        raise PolytopeError(f"The {what} must have shapes that agree. Got {shapes}.") from None


def full_rows(count: int, size: int) -> sp.csr_array:
    """Build `count` rows of ones over consecutive groups of `size` variables."""
    total = count * size
    return sp.csr_array(
        (np.ones(total), np.arange(total), np.arange(count + 1) * size), (count, total)
    )


def as_mask(mask: Any, shape: tuple[int, ...]) -> Tensor:
    """Read booleans `(..., *shape)`, or `(..., n)` in the order of the variables, as the latter."""
    tensor = as_numbers(mask, "mask")
    n = int(np.prod(shape))
    if tensor.ndim >= len(shape) > 1 and tensor.shape[-len(shape) :] == shape:
        tensor = tensor.flatten(-len(shape))
    if tensor.ndim == 0 or tensor.shape[-1] != n:
        wanted = f"(..., {', '.join(map(str, shape))})" + f" or (..., {n})" * (len(shape) > 1)
        raise PolytopeError(f"`mask` must have shape {wanted}. Got {tuple(tensor.shape)}.")
    if bool(((tensor != 0) & (tensor != 1)).any()):
        raise PolytopeError(
            "`mask` must be booleans, true at parts that may be chosen. "
            f"Got {tensor[(tensor != 0) & (tensor != 1)][0]:g}."
        )
    return tensor.bool()


def masked(upper: Any, mask: Any, shape: tuple[int, ...], lower: Any = 0.0) -> Any:
    """Return upper bounds with the lower ones in place of them where the mask forbids a part.

    A fixed part is what a score of minus infinity makes of it, in every verb, unless integers are
    to be decided and its lower bound is none.
    """
    if mask is None:
        return upper
    allowed, n = as_mask(mask, shape), int(np.prod(shape))
    upper, lower = as_values(upper, n, "upper"), as_values(lower, n, "lower")
    low, high, allowed = same_shape([lower, upper, allowed], "bounds and `mask`")
    odd = ~allowed & (low != low.round())
    if bool(odd.any()):
        raise PolytopeError(
            "`mask` keeps parts at their lower bound, which must be an integer there. "
            f"Got {low[odd][0]:g}. Mask these parts by scores of -inf."
        )
    return torch.where(allowed, high, low)
