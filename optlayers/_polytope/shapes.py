"""Points that are arrays: their declared shape, and whether a tensor holds arrays or vectors."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from .._errors import InputError, PolytopeError


def read_shape(shape: Any, n: int) -> tuple[int, ...]:
    """Read what a point is an array of."""
    if shape is None:
        return (n,)
    found = tuple(int(k) for k in shape)
    if any(k < 1 for k in found) or math.prod(found) != n:
        raise PolytopeError(
            f"`shape` must be sizes whose product is the number of variables, {n}. Got {found}."
        )
    return found


def holds_arrays(shape: tuple[int, ...], own: tuple[int, ...], batch: Sequence[int]) -> bool:
    """Tell whether a tensor of some shape holds arrays of a declared shape; see `Polytope`.

    Args:
        shape: Of the tensor.
        own: As declared.
        batch: Of the polytope.

    Raises:
        InputError: If both readings fit, and the batch of the polytope tells two answers apart.
    """
    if len(own) == 1 or shape[-len(own) :] != own:
        return False
    n = math.prod(own)
    if shape[-1] != n:
        return True
    if batch and _differ(shape[: len(shape) - len(own)], len(own) - 1, batch):
        raise InputError(
            f"A tensor of shape {shape} may be arrays of shape {own} or vectors of {n} entries, "
            f"and against the batch {tuple(batch)} these differ. Give vectors (..., {n}) without "
            "the dimensions of size 1 that are not of the batch."
        )
    return False


def _differ(lead: Sequence[int], ones: int, batch: Sequence[int]) -> bool:
    """Tell whether a batch broadcasts otherwise against dimensions with ones behind them."""
    shapes = []
    for tried in ((*lead, *[1] * ones), tuple(lead)):
        try:
            shapes.append(torch.broadcast_shapes(tried, batch))
        except RuntimeError:
            shapes.append(None)
    return shapes[0] != (None if shapes[1] is None else (*shapes[1], *[1] * ones))
