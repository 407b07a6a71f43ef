"""Compiled loops: the one place that imports numba, and on first use only.

    from .. import _kernels
    from .._kernels.threads import run

    run(_kernels.eisner.decode, count, cost, *arrays)

Every compiled function stands at the top level of a file here and is kept in numba's cache on
disk: a function that closes over another compiled one is never found there again. Long loops are
made of small functions. What is called for every entry or short row has `inline="always"` or is
written out, because a plain call counts every array that it is handed; what is called once per
sentence may be either, whichever was measured to be faster.

numba compares a cached function with the file that it stands in, not with the files that this one
imports, and takes global numbers for constants: while developing, remove `_kernels/__pycache__`
after changing what another file uses. The tests do.
"""

from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """Import a file of loops when it is first asked for."""
    full = f"{__name__}.{name}"
    try:
        return import_module(full)
    except ModuleNotFoundError as error:
        if error.name != full:  # numba is missing, say
            raise
        raise AttributeError(f"There are no loops called {name!r}.", name=name) from None
