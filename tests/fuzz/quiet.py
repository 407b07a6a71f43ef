"""Catches what a call prints or warns, compiled code included."""

import contextlib
import ctypes
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """The lines printed to both streams while inside, and the warnings; filled at the end."""
    lines: list[str] = []
    with tempfile.TemporaryFile() as file, warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        _flush()
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield lines
        finally:
            _flush()
            for copy, stream in zip(kept, (1, 2), strict=True):
                os.dup2(copy, stream)
                os.close(copy)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()
            lines += [f"{w.category.__name__}: {w.message}" for w in given]


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)  # what C code has printed and not yet written
