"""Which variables are integers: one answer for all of them, or one for each."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from .._errors import PolytopeError

Integral = bool | tuple[bool, ...]  # a tuple where some are and others are not: true as a condition


def read_integral(given: Any, n: int, shape: tuple[int, ...]) -> Integral:
    """Return True or False if that holds for all variables, else one boolean for each.

    Args:
        given: True, False, or booleans `(n,)` or of the shape of a point.
        n: Number of variables z.
        shape: Of a point.

    Raises:
        PolytopeError: If it is something else. Numbers are: they may be meant as positions.
    """
    if isinstance(given, bool | np.bool_):
        return bool(given)
    found = _as_array(given)
    if found is None or found.dtype != np.bool_ or found.shape not in ((), (n,), shape):
        also = f" or {shape}" if len(shape) > 1 else ""
        what = repr(given) if found is None else _words(given, found)
        raise PolytopeError(
            "`integral` must be True or False, whether decisions are integers, or booleans of "
            f"shape ({n},){also}, one for each variable of z (auxiliary variables may always be "
            f"fractional). Got {what}."
        )
    if found.all() or not found.any():
        return bool(found.all())
    return tuple(found.ravel().tolist())


def _as_array(given: Any) -> np.ndarray | None:
    if isinstance(given, Tensor):
        return given.detach().cpu().numpy()
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str):
        return None
    try:
        return np.asarray(given)
    except ValueError:  # lists of different lengths
        return None


def _words(given: Any, found: np.ndarray) -> str:
    """Say what was given; how large it is, if that is what is wrong."""
    if found.dtype == np.bool_:
        return f"shape {found.shape}"
    return repr(given) if found.size <= 8 else f"entries of type {found.dtype}"


@lru_cache(maxsize=64)
def whole_variables(integral: Integral, n: int, num_aux: int = 0) -> np.ndarray:
    """Return `(n + num_aux,)`, which variables are integers; auxiliary ones never. Read only."""
    own = np.broadcast_to(np.array(integral, dtype=bool), n)
    found = np.append(own, np.zeros(num_aux, bool))
    found.flags.writeable = False
    return found


def alternating(integral: Integral, count: int) -> Integral:
    """Return the integrality of `count` copies side by side."""
    return integral if isinstance(integral, bool) else integral * count


def side_by_side(parts: Sequence[tuple[Integral, int]]) -> Integral:
    """Return the integrality of parts, each given with its number of variables."""
    both = np.concatenate([whole_variables(integral, n) for integral, n in parts])
    return read_integral(both, len(both), (len(both),))


def in_words(integral: Integral) -> str:
    """Say it in a few words."""
    if isinstance(integral, bool):
        return "integral" if integral else "continuous"
    return f"{sum(integral)} of {len(integral)} integral"
