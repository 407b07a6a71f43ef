"""Folders that one process at a time may write to."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .sentence import DataError

BUSY = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)


@contextmanager
def alone(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps a folder for this process; the system gives it back, however the process ends.

    The folder itself is locked, so nothing is left in it. Where the system or the disk has no locks
    (Windows, some network disks), nobody is kept out.

    Args:
        folder: Is made if it is not there.
        wait: For whoever has it; otherwise that is an error.

    Raises:
        DataError: If another process, or another part of this one, has it.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    handle = _locked(path, wait)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                os.close(handle)


def _locked(path: Path, wait: bool) -> int | None:
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(handle)
        if error.errno not in BUSY:
            return None
        raise DataError(
            f"{path} is in use: another process writes to it. Wait for that one to end, or choose "
            "another --output."
        ) from None
    return handle
