"""A folder in which one process trains at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .settings import ConfigError

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None

LOCK = "run.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from training into a folder.

    The system frees a lock when its process ends, however it ends. Where it knows no such locks,
    the file is the lock, and stays if the process is killed.

    Raises:
        ConfigError: If another process trains there.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    handle = _acquire(path)
    try:
        yield
    finally:
        if fcntl is None:  # an open file cannot be removed there
            os.close(handle)
        with suppress(OSError):
            path.unlink()
        if fcntl is not None:
            os.close(handle)
        if new:
            with suppress(OSError):  # something was written into it
                folder.rmdir()


def _acquire(path: Path) -> int:
    """The open file that is locked."""
    busy = f"Another process trains into {path.parent}. Wait for it, or choose another --output."
    if fcntl is None:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            raise ConfigError(f"{busy} If there is none, delete {path}.") from None
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise ConfigError(busy) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # it was removed by the process that held it until now


def _is(handle: int, path: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
