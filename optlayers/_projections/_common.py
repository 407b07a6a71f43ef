"""What projections share."""

from functools import cache
from types import ModuleType


@cache
def kernels() -> ModuleType:
    """The compiled loops; numba is imported here, on first use."""
    from . import _kernels

    return _kernels
