"""Where compiled loops are kept: folders of the user, named after what the loops are compiled from.

They outlive an installation, and all installations of a user share them. numba compares a kept function with the file that it stands in, not
with those that this one imports, and takes global numbers for constants: so each file of loops has
a folder that is named after its text and the text of all files that it imports, and code that was
compiled from others is never taken for this. Where numba lets others name folders (from 0.62 on),
the folder does not depend on where the file lies; before, there is one more for each place.

`NUMBA_CACHE_DIR` comes first, then the folder of the user, then that of the package.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_IMPORTS = re.compile(r"^from \.(\w*) import (\([^)]*\)|.*)$", re.MULTILINE)
_FORGOTTEN = 60 * 86_400  # seconds after which what nobody used is removed
_one_at_a_time = threading.RLock()  # numba has one name for its folder
_named: list[Any] = []  # the folder that was named before we named ours


def places() -> list[Path]:
    """Return folders to keep loops in, the best first: for caches of the user, of the package."""
    found = [_HERE / "__pycache__"]
    if named := os.environ.get("XDG_CACHE_HOME"):
        return [Path(named), *found]
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return [Path(local), *found]
    with suppress(RuntimeError):  # there is no home
        return [Path.home() / ".cache", *found]
    return found


@cache
def _cache_of(folder: Path) -> Path | None:
    """Return the folder of this numba for our loops in a folder; None if it cannot be written."""
    import numba

    made = folder / "optlayers" / f"numba-{numba.__version__}"
    try:
        made.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=made).close()
    except OSError:
        return None
    return made


def cache_folder() -> Path | None:
    """Return where loops are kept; None where numba has to look for a place."""
    import numba

    config: Any = numba.config
    if named := _named[0] if _named else config.CACHE_DIR:
        return _cache_of(Path(named))
    return next((found for place in places() if (found := _cache_of(place))), None)


@cache
def imported_by(name: str) -> tuple[str, ...]:
    """Return the files of this folder that one imports, first those that import nothing; and it."""
    found: dict[str, None] = {}
    text = (_HERE / f"{name}.py").read_text(encoding="utf-8")
    for module, names in _IMPORTS.findall(text):
        for other in [module] if module else re.findall(r"\w+", names.partition("#")[0]):
            found |= dict.fromkeys(imported_by(other))
    return (*found, name)


def name_of(name: str) -> str:
    """Return the name of the folder of a file of loops."""
    import numba

    config: Any = numba.config
    digest = hashlib.sha256(repr(config.BOUNDSCHECK).encode())
    for each in sorted(imported_by(name)):
        digest.update(each.encode() + (_HERE / f"{each}.py").read_bytes())
    return f"{name}-{digest.hexdigest()[:12]}"


class OwnFolder:
    """Tells numba where a function is kept: in `CACHE_DIR`, whose name says what it was made of."""

    def __init__(self, function: Any):
        import numba

        config: Any = numba.config
        self._folder = str(config.CACHE_DIR)
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "OwnFolder | None":
        """Return where a function is kept; None where that cannot be written."""
        found = cls(py_func)
        try:
            found.ensure_cache_path()
        except OSError:
            return None
        return found

    def ensure_cache_path(self) -> None:
        """Make the folder; raises OSError where it cannot be written."""
        os.makedirs(self._folder, exist_ok=True)
        tempfile.TemporaryFile(dir=self._folder).close()

    def get_cache_path(self) -> str:
        """Return the folder."""
        return self._folder

    def get_source_stamp(self) -> str:
        """Return what the text is compared by: the name of the folder has a digest of it."""
        return os.path.basename(self._folder)

    def get_disambiguator(self) -> str:
        """Return what tells functions of one name apart."""
        return str(self._line)


@contextmanager
def kept_in_folder(name: str) -> Iterator[None]:
    """Let functions of a file, which are declared meanwhile, be kept in its folder."""
    import numba

    config: Any = numba.config
    with _one_at_a_time:
        folder, before = cache_folder(), config.CACHE_DIR
        if folder is None:
            yield
            return
        own = folder / name_of(name)
        locators = getattr(config, "CACHE_LOCATOR_CLASSES", "")
        config.CACHE_DIR = str(own)
        config.CACHE_LOCATOR_CLASSES = f"{__name__}.{OwnFolder.__name__}"
        _named.append(before)
        try:
            yield
        finally:
            config.CACHE_DIR = _named.pop()
            config.CACHE_LOCATOR_CLASSES = locators
        with suppress(OSError):  # not there yet, or not ours
            os.utime(own)


def tidy() -> None:
    """Remove folders that were not used for two months."""
    folder = cache_folder()
    if folder is None:
        return
    with suppress(OSError):  # another process was faster
        for other in folder.parent.glob("numba-*/*"):
            if time.time() - other.stat().st_mtime > _FORGOTTEN:
                shutil.rmtree(other, ignore_errors=True)
