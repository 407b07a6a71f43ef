"""Lines and blank-line separated blocks of a text file, with errors that name the line."""

import codecs
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from .sentence import DataError

Line = tuple[int, str]
"""The number of a line, from 1, and its text."""


def lines(path: str | Path, *, ended: bool = True) -> Iterator[Line]:
    """The lines of a UTF-8 file, split at newlines only (a word may hold any other separator).

    A byte order mark, which some editors put first, is passed over.

    Args:
        path: The file.
        ended: Whether the last line, too, has to end with a newline.

    Raises:
        DataError: If the file cannot be read or a line is no UTF-8, ends as on Windows, or breaks
            off at the end of the file.
    """
    try:
        with Path(path).open("rb") as file:
            for number, raw in enumerate(file, start=1):
                raw = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                complete = raw if ended or raw.endswith(b"\n") else raw + b"\n"
                yield number, _decode(path, number, complete)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _decode(path: str | Path, number: int, raw: bytes) -> str:
    if number == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError.at(
            path, number, "the file is UTF-16. Convert it: iconv -f utf-16 -t utf-8."
        )
    if not raw.endswith(b"\n"):
        raise DataError.at(
            path,
            number,
            "the file breaks off within this line: a missing blank line, or an incomplete copy. "
            "End the file with the sentence and a blank line.",
        )
    if raw.endswith(b"\r\n"):
        raise DataError.at(path, number, "Windows line ends. Save the file with Unix ones.")
    try:
        return raw[:-1].decode()
    except UnicodeDecodeError as error:
        raise DataError.at(
            path,
            number,
            f"byte {error.start + 1} of the line ({raw[error.start]:#04x}) is not UTF-8. "
            f"Convert the file: iconv -f latin1 -t utf-8.",
        ) from None


def blocks(path: str | Path) -> Iterator[list[Line]]:
    """The sentences of a file: runs of lines, each followed by a blank one."""
    block: list[Line] = []
    for number, line in lines(path):
        if line:
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        raise DataError.at(
            path, block[-1][0], "missing blank line after the last sentence. Add one, unless the "
            "file is an incomplete copy."
        )  # fmt: skip


class Ids:
    """Remembers where the ids of a file stand, so that none occurs twice."""

    def __init__(self, path: str | Path):
        self.path = path
        self.seen: dict[str, int] = {}

    def add(self, name: str, line: int) -> None:
        """Notes an id.

        Raises:
            DataError: If it occurred before.
        """
        if name in self.seen:
            raise DataError.at(
                self.path, line, f"duplicate id {name!r}: it is on line {self.seen[name]} too."
            )
        self.seen[name] = line


def check_filled(path: str | Path, line: int, columns: Sequence[str], names: Sequence[str]) -> None:
    """Checks that no column is empty; what is not known is `_` in all these formats.

    Raises:
        DataError: Naming the column.
    """
    for column, name in zip(columns, names, strict=False):
        if not column.strip(" "):  # a word may be any other separator
            raise DataError.at(path, line, f"{name} is empty. Write _ where it is not known.")


def check_heads(
    path: str | Path, block: Iterable[Line], heads: list[int], *, single_root: bool = False
) -> None:
    """Checks that heads form a tree; the lines of `block` are those of the words.

    Raises:
        DataError: At a head that is no word of the sentence, or is the word itself, or from which
            no path leads to the root; with `single_root`, at the second word under the root.
    """
    numbers = [number for number, _ in block]
    n = len(heads)
    for word, head in enumerate(heads, start=1):
        if not 0 <= head <= n or head == word:
            raise DataError.at(
                path,
                numbers[word - 1],
                f"bad head {head} of word {word}: wanted another word of 1..{n}, or 0.",
            )
    reaches_root = [True] + [False] * n
    for word in range(1, n + 1):
        path_up: list[int] = []
        node = word
        while not reaches_root[node]:
            if node in path_up:
                circle = " -> ".join(map(str, [*path_up[path_up.index(node) :], node]))
                raise DataError.at(
                    path, numbers[word - 1], f"bad head: words go round in a circle, {circle}."
                )
            path_up.append(node)
            node = heads[node - 1]
        for node in path_up:
            reaches_root[node] = True
    roots = [word for word, head in enumerate(heads, start=1) if head == 0]
    if single_root and len(roots) > 1:
        raise DataError.at(
            path,
            numbers[roots[1] - 1],
            f"words {roots[0]} and {roots[1]} both hang on the root, and a parser whose trees have "
            "a single root cannot learn this tree. Read it, and train, with single_root=False.",
        )


@contextmanager
def output(target: str | Path | TextIO) -> Iterator[TextIO]:
    """An open file as it is; a path as a file that appears only when it is complete."""
    if not isinstance(target, str | Path):
        yield target
        return
    with replacement(target) as name, open(name, "w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def replacement(target: str | Path) -> Iterator[Path]:
    """The name of an empty file to write beside `target`, which takes its place when all is well.

    Raises:
        OSError: If it cannot be written; then `target` is as it was, and is the name in the error.
    """
    path, name = Path(target), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's files are private
        os.replace(name, path)
    except OSError as error:
        about_it = name is None or error.filename is None or str(error.filename) == name
        if error.errno is None or not about_it:
            raise  # about another file, which was read for this one
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        if name is not None:
            with suppress(OSError):  # it has taken its place, or its folder is gone
                os.unlink(name)


def told(error: OSError) -> str:
    """What the system refused, as a sentence, and what to do about it."""
    if error.strerror is None:
        return str(error)
    name = "" if error.filename is None else f"{error.filename}: "
    hints = {
        errno.ENOSPC: " Make room and run the same command again; what was complete is kept.",
        errno.EDQUOT: " Make room and run the same command again; what was complete is kept.",
        errno.EACCES: " Choose a folder that you may write to, and files that you may read.",
        errno.EROFS: " Choose a folder that you may write to, and files that you may read.",
    }
    return f"{name}{error.strerror}.{hints.get(error.errno or 0, '')}"


NO_MEMORY = "The memory does not suffice. Choose a smaller model, or smaller batches."


def is_lack_of_memory(error: Exception) -> bool:
    """Whether an error, perhaps of torch, says that memory does not suffice."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(w in str(error) for w in ("can't allocate memory", "out of memory"))
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def row(columns: Iterable[str]) -> str:
    """A line of columns.

    Raises:
        DataError: If a column is empty, or holds what separates columns or lines.
    """
    columns = list(columns)
    for column in columns:
        if not column or "\t" in column or "\n" in column:
            raise DataError(
                f"A column must not be empty nor hold tabs or newlines. Got {column!r}."
            )
    return "\t".join(columns) + "\n"
