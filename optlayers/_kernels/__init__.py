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
imports, and takes global numbers for constants. So each file has a folder of its own in the cache,
named after it and all that it imports: see `folder.py`.
"""

import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

from .folder import imported_by, kept_in_folder, tidy
from .progress import watch

_ready: list[bool] = []  # whether numba has been told what this process wants to know


def _cache_elsewhere(error: RuntimeError) -> None:
    """Keep compiled loops for this process alone, where numba finds no folder to write to.

    Happens in containers: the package is read-only, and there is no home folder.
    """
    import atexit
    import shutil
    import tempfile

    import numba

    advice = "Set NUMBA_CACHE_DIR to a folder that can be written."
    config: Any = numba.config
    if config.CACHE_DIR:  # chosen by the user, or by us before
        raise RuntimeError(f"{error} NUMBA_CACHE_DIR is {config.CACHE_DIR!r}. {advice}")
    try:
        folder = tempfile.mkdtemp(prefix="optlayers-")
    except OSError:
        raise RuntimeError(f"{error}, and there is no temporary folder either. {advice}") from None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config.CACHE_DIR = folder
    warnings.warn(
        f"Compiled loops cannot be kept, and are compiled anew by each process. {advice}",
        RuntimeWarning,
        stacklevel=4,
    )


def __getattr__(name: str) -> ModuleType:
    """Import a file of loops when it is first asked for."""
    try:
        files = imported_by(name)
    except OSError:
        raise AttributeError(f"There are no loops called {name!r}.", name=name) from None
    if not _ready:
        _ready.append(True)
        watch()
        tidy()
    # What it imports comes first, so that each is kept in a folder of its own.
    return [_loaded(each) for each in files][-1]


def _loaded(name: str) -> ModuleType:
    full = f"{__name__}.{name}"
    try:
        with kept_in_folder(name):
            return import_module(full)
    except RuntimeError as error:
        if "cannot cache function" not in str(error):
            raise
        _cache_elsewhere(error)
        return import_module(full)
