"""Values that need no care, in compiled passes: what sets made anew for every batch are.

Limits that cross or that no point reaches, by a hair or more, and rows without coefficients are
left to `reduce_values` and `make_consistent`, which find the same as what is found here elsewhere.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import _kernels
from .._polytope.polytope import Polytope
from .consistency import Dependences, misses
from .presolve import Reduction, Values

_HALF = 65504.0  # the largest number of float16


class Plain(NamedTuple):
    """Values of a polytope that stay as they are.

    Attributes:
        values: Reduced.
        for_integers: Whether that holds for decisions of integers too: no equality between
            integers is one by a hair.
    """

    values: Values
    for_integers: bool


def on_host(tensors: list[Tensor]) -> bool:
    """Tell whether compiled passes may read them."""
    return all(v.device.type == "cpu" for v in tensors)


def plain_values(
    polytope: Polytope, reduction: Reduction, dependences: Dependences
) -> Plain | None:
    """Return the values of a polytope in the memory of the CPU, if they stay as they are."""
    declared, batch = polytope.values, polytope.batch_shape
    if reduction.has_empty or not on_host(list(declared.values())):
        return None
    b, b_eq, lower, upper = (_flat(declared[k], batch) for k in ("b", "b_eq", "lower", "upper"))
    count = max(len(b), len(b_eq))
    low, high, tighter = lower, upper, reduction.has_bounds
    if tighter:
        most = max(count, len(lower), len(upper))
        low, high = (np.array(np.broadcast_to(v, (most, v.shape[1]))) for v in (lower, upper))
    rows = np.empty((2, count if tighter or reduction.R.shape[0] else 1, reduction.R.shape[0]))
    kernels = _kernels.limits
    if rows.size or tighter:
        kernels.reduce_limits(b, b_eq, *reduction.arrays, rows[0], rows[1], low, high)
    R = reduction.R
    found = kernels.looks_plain(R.indptr, R.indices, R.data, rows[0], rows[1], low, high)
    if found == kernels.ODD:
        return None
    row_lower, row_upper = torch.from_numpy(rows).unbind(0)
    if not _agree(rows, row_lower, dependences):
        return None
    if tighter:
        bounds = [torch.from_numpy(v) for v in (low, high)]
    else:  # those of the polytope itself, which nobody writes on
        given = ((declared["lower"], low), (declared["upper"], high))
        bounds = [v[None] if v.ndim == 1 else torch.from_numpy(a) for v, a in given]
    vary = declared["b"].ndim > 1 or declared["b_eq"].ndim > 1
    of_lower, of_upper = (declared[k].ndim > 1 or (vary and tighter) for k in ("lower", "upper"))
    values = Values(row_lower, row_upper, bounds[0], bounds[1], vary, of_lower, of_upper)
    return Plain(values, found == kernels.PLAIN)


def _flat(values: Tensor, batch: torch.Size) -> np.ndarray:
    """Return `(N or 1, size)`."""
    if values.ndim == 1:
        return values.numpy()[None]
    return values.expand(*batch, -1).reshape(math.prod(batch), values.shape[-1]).numpy()


def _agree(rows: np.ndarray, low: Tensor, dependences: Dependences) -> bool:
    """Tell whether dependent equalities have a common point up to rounding."""
    if rows.shape[2] < 2:
        return True
    found = dependences.of((rows[0] == rows[1]).all(0))
    return not any(bool(misses(low, *of)[2].any()) for of in found)


def bounds_of_parts(polytope: Polytope) -> tuple[bool, bool]:
    """Return whether float16 holds every bound of z, and whether lower ones are integers."""
    lower, upper = polytope.values["lower"], polytope.values["upper"]
    if on_host([lower, upper]):
        kernels = _kernels.limits
        flat = (v.reshape(-1, v.shape[-1]).numpy() for v in (lower, upper))
        found = kernels.facts_of_bounds(*flat, polytope.n, _HALF)
        return bool(found & kernels.FITS_HALF), bool(found & kernels.WHOLE)
    bounds = [v[..., : polytope.n] for v in (lower, upper)]
    return all(bool((v.abs() < _HALF).all()) for v in bounds), False
