"""What projections share."""

from functools import cache
from types import ModuleType


@cache
def kernels() -> ModuleType:
    """The compiled loops; numba is imported here, on first use."""
    from .._kernels import thresholds as _kernels

    return _kernels
