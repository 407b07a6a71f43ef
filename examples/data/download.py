"""Downloads a file: checked, atomic, and continued where a broken download stopped."""

import hashlib
import os
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from .sentence import DataError

CHUNK = 1 << 16
ATTEMPTS = 4
TIMEOUT = 60.0  # seconds without a byte
RANGE_NOT_SATISFIABLE = 416
SERVER_ERROR = 500

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes there will be, if the server says so."""


class _BrokenError(Exception):
    """The connection broke: trying again may help."""


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    url: str,
    path: str | Path,
    digest: str | None = None,
    progress: Progress | None = None,
    pause: float = 2.0,
) -> bool:
    """Fetches `url` into `path`, unless it is there already; returns whether it was fetched.

    What arrives is kept in `path` + `.part`, and a later call continues it (HTTP Range). `path`
    itself appears only when it is complete and has the right SHA-256.

    Args:
        url: The address.
        path: Where the file goes.
        digest: The SHA-256 it must have; None accepts any.
        progress: Told about each piece.
        pause: Seconds before the second attempt, doubled before each of the next.

    Raises:
        DataError: If the server cannot be reached, refuses, breaks off too often, or sends
            something else than the file with that SHA-256.
    """
    path = Path(path)
    if path.is_file() and digest in (None, sha256(path)):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(ATTEMPTS):
        try:
            _receive(url, part, progress)
            break
        except _BrokenError as broken:
            if attempt == ATTEMPTS - 1:
                raise DataError(
                    f"{url}: {broken} ({ATTEMPTS} attempts). "
                    f"{_kept(part)}Run the same command again to continue; it needs a network."
                ) from None
            time.sleep(pause * 2**attempt)
    found = sha256(part)
    if digest is not None and found != digest:
        part.unlink()
        raise DataError(
            f"{url}: wanted SHA-256 {digest}, found {found}. The download was removed. Run the "
            f"same command again; if the figures stay, the file has changed at its source."
        )
    os.replace(part, path)
    return True


def _kept(part: Path) -> str:
    size = part.stat().st_size if part.exists() else 0
    return f"{size:,} bytes are kept in {part}. " if size else ""


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Appends to `part` what it lacks."""
    start = part.stat().st_size if part.exists() else 0
    # identity: the length and the ranges are those of the file itself.
    headers = {"User-Agent": "optlayers-examples", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code == RANGE_NOT_SATISFIABLE and start:
                if _complete(error.headers.get("Content-Range"), start):
                    return
                part.unlink()
                raise _BrokenError(
                    "the part that was there is not the beginning of the file"
                ) from None
            if error.code >= SERVER_ERROR:
                raise _BrokenError(f"the server answers {error.code} {error.reason}") from None
            raise DataError(f"{url}: the server answers {error.code} {error.reason}.") from None
    except (URLError, OSError, HTTPException) as error:
        raise _BrokenError(f"cannot be reached: {getattr(error, 'reason', error)}") from None
    with response:
        if response.status != 206:  # the server sends the file from its beginning
            start = 0
        _append(response, part, start, progress)


def _complete(content_range: str | None, size: int) -> bool:
    """Whether a 416 (`bytes */SIZE`) says that there is nothing left to send."""
    return content_range is not None and content_range.rpartition("/")[2] == str(size)


def _append(response: HTTPResponse, part: Path, start: int, progress: Progress | None) -> None:
    length = response.headers.get("Content-Length")
    total = None if length is None else start + int(length)
    done = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        while True:
            try:
                piece = response.read(CHUNK)
            except (OSError, HTTPException) as error:
                raise _BrokenError(f"the connection broke after {done:,} bytes: {error}") from None
            if not piece:
                break
            file.write(piece)
            done += len(piece)
            if progress is not None:
                progress(done, total)
    if total is not None and done != total:
        raise _BrokenError(f"the connection broke after {done:,} of {total:,} bytes")
