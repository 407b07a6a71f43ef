"""What a trained model makes of the sentences of a file, by one process or more."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import torch

from examples.data import DataError, Sentence
from examples.data.text import output as whole_file

from .settings import ConfigError

CHUNK = 250
"""Sentences that are read, given to a model and written at once; batches are made of these."""

Texts = list[str]
"""What each of the files gets."""

M = TypeVar("M")

_texts: Callable[[list[Sentence]], Texts]  # of a process of a pool


@dataclass(frozen=True)
class Prediction(Generic[M]):
    """Sentences in, files out.

    Each process computes with one thread, so that the files do not depend on how many there are.
    They may depend on the size of the chunks, in the last digits: sums are rounded in the order
    that the longest sentence of a batch asks for.

    Args:
        folder: The run.
        load: Its model; a function of a module, as processes find it by its name.
        texts: What is written about some sentences; likewise.
        processes: How many compute.
        chunk: Sentences that each of them gets at once.

    Raises:
        ConfigError: If there is no process, or nothing in a chunk.
    """

    folder: str | Path
    load: Callable[[str | Path], M]
    texts: Callable[[M, list[Sentence]], Texts]
    processes: int = 1
    chunk: int = CHUNK

    def __post_init__(self):
        for name in ("processes", "chunk"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` must be positive. Got {getattr(self, name)}.")

    def write(self, model: M, sentences: Iterable[Sentence], files: Mapping[Path, str]) -> None:
        """Writes the files, which appear when they are complete.

        Args:
            model: That of the folder, for when there is one process.
            sentences: In the order of the files.
            files: The first lines of each; in the order of `texts`.
        """
        with ExitStack() as stack:
            opened = [stack.enter_context(whole_file(file)) for file in files]
            for file, text in zip(opened, files.values(), strict=True):
                file.write(text)
            parts = stack.enter_context(closing(self.parts(model, sentences)))
            for texts in parts:
                for file, text in zip(opened, texts, strict=True):
                    file.write(text)

    def parts(self, model: M, sentences: Iterable[Sentence]) -> Generator[Texts, None, None]:
        """What is written for each chunk, in order; at most two of each process are waiting."""
        if self.processes == 1:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                yield from (self.texts(model, chunk) for chunk in chunks(sentences, self.chunk))
            finally:
                torch.set_num_threads(threads)
            return
        context = multiprocessing.get_context("spawn")
        arguments = (self.folder, self.load, self.texts)
        pool = ProcessPoolExecutor(self.processes, context, initializer=_start, initargs=arguments)
        waiting: deque[Future[Texts]] = deque()
        try:
            for chunk in chunks(sentences, self.chunk):
                waiting.append(pool.submit(_texts_of, chunk))
                if len(waiting) > 2 * self.processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise ConfigError(
                "One of the processes was killed, perhaps for want of memory. Nothing was written. "
                f"Try fewer than {self.processes} --processes."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start(
    folder: str | Path,
    load: Callable[[str | Path], M],
    texts: Callable[[M, list[Sentence]], Texts],
) -> None:
    global _texts  # noqa: PLW0603  (what a process of a pool has to itself)
    torch.set_num_threads(1)
    _texts = partial(texts, load(folder))


def _texts_of(sentences: list[Sentence]) -> Texts:
    return _texts(sentences)


def chunks(sentences: Iterable[Sentence], size: int) -> Iterator[list[Sentence]]:
    """The sentences, so many at once."""
    sentences = iter(sentences)
    while chunk := list(islice(sentences, size)):
        yield chunk


# ---------------------------------------------------------------------- before anything is computed


def output_files(
    path: str | Path, output: str | Path | None, ending: str, suffixes: Sequence[str]
) -> list[Path]:
    """The files that are written about a file.

    Args:
        path: The file that is read.
        output: Their name without suffix; None for that of `path` and the ending.
        ending: Of that name.
        suffixes: Theirs.

    Raises:
        ConfigError: If one of them would replace the file.
    """
    target = Path(path).with_suffix("") if output is None else Path(output)
    stem = f"{target.name}{ending}" if output is None else target.name
    files = [target.with_name(f"{stem}{suffix}") for suffix in suffixes]
    for file in files:
        if file.resolve() == Path(path).resolve():
            raise ConfigError(f"The output would replace {path}. Choose another --output.")
    return files


def checked_ids(
    path: str | Path, sentences: Iterable[Sentence], write: Callable[[Sentence], object]
) -> set[str]:
    """The ids of a file. What is wrong with it is found now, not after hours of computing.

    Args:
        path: The file.
        sentences: Its sentences.
        write: Tries to write one, with what a model could find.

    Raises:
        DataError: If one cannot be written.
    """
    ids = set()
    for number, sentence in enumerate(sentences, start=1):
        ids.add(sentence.id)
        sentence.id = sentence.id or str(number)
        try:
            write(sentence)
        except DataError as error:
            raise DataError(f"{path}: sentence {number} cannot be written: {error}") from None
    return ids


def free_id(number: int, taken: Collection[str]) -> str:
    """An id for a sentence that has none: its number, or something like it that is not taken."""
    name = str(number)
    while name in taken:
        name = f"_{name}"
    return name
