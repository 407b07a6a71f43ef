"""Compiled functions that allocate nothing, for loops in which a step takes well below 1 us."""

from collections.abc import Callable
from typing import Any

from .parts import part

# Lets sums use vector instructions; inf and NaN keep their meaning.
REASSOCIATE = {"reassoc", "nsz", "contract"}
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": REASSOCIATE,
    "error_model": "numpy",  # a division by zero is inf, and no branch
}


def lean(function: Callable[..., Any]) -> Any:
    """Compile without reference counts: they are half of the time where arrays are short.

    The function gets all its arrays from its caller. Where numba does not know the option, which
    it does not document, reference counts stay.
    """
    return _compile(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a part of a lean function: inlined where it is called, by LLVM and not by numba.

    Numba's own inlining takes minutes for what LLVM does in seconds.
    """
    return _compile(function, forceinline=True)


def in_order(function: Callable[..., Any]) -> Any:
    """Compile an inlined part in which no sum is reordered."""
    return _compile(function, forceinline=True, fastmath={"contract"})


def without_nan(function: Callable[..., Any]) -> Any:
    """Compile an inlined part in which no sum is reordered, and that never sees NaN."""
    return _compile(function, forceinline=True, fastmath={"nnan", "nsz"})


def called(function: Callable[..., Any]) -> Any:
    """Compile a part of a lean function that is needed once or rarely, and is called."""
    return _compile(function)


def exact(function: Callable[..., Any]) -> Any:
    """Compile a part of a lean function in which no sum is reordered."""
    return _compile(function, fastmath=False)


def exact_inlined(function: Callable[..., Any]) -> Any:
    """Compile a part of a lean function as `exact` does, inlined where it is called."""
    return _compile(function, fastmath=False, forceinline=True)


def _compile(function: Callable[..., Any], **more: Any) -> Any:
    try:
        return part(function, _nrt=False, **(_OPTIONS | more))
    except (KeyError, TypeError):
        return part(function, **(_OPTIONS | more))
