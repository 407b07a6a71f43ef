"""Arguments of public functions: what is of another type is refused in words."""

import math
from typing import Any

import torch
from torch import Tensor

from ._errors import InputError


def floats(x: Any, name: str) -> Tensor:
    """Return a tensor of floats.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(x, Tensor):
        raise InputError(f"`{name}` must be a tensor of floats. Got {type(x).__name__}.")
    if not x.dtype.is_floating_point:
        raise InputError(f"`{name}` must be a tensor of floats. Got {x.dtype}.")
    return x


def tensor(x: Any, name: str) -> Tensor:
    """Return a tensor of any numbers.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(x, Tensor):
        raise InputError(f"`{name}` must be a tensor. Got {type(x).__name__}.")
    return x


def function(given: Any, name: str, what: str) -> Any:
    """Return something that can be called.

    Args:
        given: By the user.
        name: Of the argument.
        what: It does, for the message: "from scores to structures".

    Raises:
        InputError: If it cannot.
    """
    if not callable(given):
        raise InputError(f"`{name}` must be a function {what}. Got {given!r}.")
    return given


def number(value: Any, name: str, least: float = -math.inf, below: float = math.inf) -> float:
    """Return a number that is at least `least` and smaller than `below`.

    Raises:
        InputError: If it is none, or out of range.
    """
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not (fits and least <= value < below):  # NaN too
        if least == 0 and below == math.inf:
            raise InputError(f"`{name}` must be a number and must not be negative. Got {value!r}.")
        raise InputError(f"`{name}` must be at least {least:g} and below {below:g}. Got {value!r}.")
    return value


def positive(value: Any, name: str) -> float:
    """Return a positive, finite number.

    Raises:
        InputError: If it is none.
    """
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not (fits and 0 < value < math.inf):
        raise InputError(f"`{name}` must be a positive number. Got {value!r}.")
    return value


def untraced(name: str) -> None:
    """Refuse `torch.jit.trace`, which would keep the answer to its example for ever.

    Args:
        name: What messages call the tensor: "scores".

    Raises:
        InputError: While it traces.
    """
    if torch.jit.is_tracing():
        raise InputError(
            f"torch.jit.trace would replay the answer to these `{name}` whatever it is given "
            "later: decisions and projections look at numbers. Use torch.compile or torch.export."
        )
