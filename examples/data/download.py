"""Downloads a file by pooch: checked, and there only when it is complete."""

import hashlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .sentence import DataError

if TYPE_CHECKING:
    from requests import Response

ATTEMPTS = 4
TIMEOUT = 60  # seconds without a byte


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: str | Path, digest: str | None = None) -> bool:
    """Fetches `url` into `path`, unless it is there already; returns whether it was fetched.

    Args:
        url: The address.
        path: Where the file goes.
        digest: The SHA-256 it must have; None accepts any.

    Raises:
        DataError: If the server cannot be reached, refuses, breaks off, or sends something else
            than the file with that SHA-256; nothing is left of it then.
        OSError: If it cannot be written.
    """
    import pooch
    from requests import RequestException

    path = Path(path)
    if path.is_file() and digest in (None, sha256(path)):
        return False
    pooch.get_logger().setLevel(logging.WARNING)
    keeper = pooch.create(
        path.parent,
        base_url="",
        registry={path.name: digest},
        urls={path.name: url},
        retry_if_failed=ATTEMPTS - 1,
    )
    get = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT, hooks=HOOKS)
    try:
        keeper.fetch(path.name, downloader=get)
    except RequestException as error:
        raise DataError(
            f"{url}: {error}. Run the same command again; it needs a network."
        ) from None
    except ValueError:
        raise DataError(
            f"{url}: wanted SHA-256 {digest}, and something else arrived. Run the same command "
            "again; if it stays so, the file has changed at its source."
        ) from None
    return True


def _without_false_length(response: "Response", *_: Any, **__: Any) -> None:
    """Forgets a `Content-Length` that is no number: the SHA-256 judges what arrives."""
    if not response.headers.get("Content-Length", "0").isdecimal():
        del response.headers["Content-Length"]


HOOKS = {"response": _without_false_length}
