"""Trees and graphs for new sentences."""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from io import StringIO
from itertools import islice
from pathlib import Path

import torch

from examples.data import DataError, Sentence, write_conllu, write_sdp
from examples.data.conll import stream_conllu
from examples.data.sdp import HEADER
from examples.data.text import output as whole_file
from examples.training.settings import ConfigError

from .model import JointParser
from .run import load_model, parse

CHUNK = 250
"""Sentences that are read, parsed and written at once; batches are made of these."""

Texts = list[str]
"""What each of the files gets."""

_model: JointParser  # of a process of `predict`


def predict(
    folder: str | Path,
    path: str | Path,
    output: str | Path | None = None,
    processes: int = 1,
    chunk: int = CHUNK,
) -> list[Path]:
    """Parses a CoNLL-U file; writes trees as .conllu and graphs as .sdp, in the order of the file.

    Each process parses with one thread, so that the files do not depend on how many there are. The
    whole file is looked through before anything is parsed.

    Args:
        folder: The run to parse with.
        path: The file; its heads and its enhanced graphs, if it has any, are not looked at, nor
            are they written.
        output: The files to write, without suffix; by default `PATH-parsed`.
        processes: How many parse.
        chunk: Sentences that each of them gets at once.

    Returns:
        The files.

    Raises:
        DataError: If the file is malformed, or cannot be written as .sdp.
        ConfigError: If the output would replace the file, or there is no process.
    """
    if processes < 1:
        raise ConfigError(f"`processes` must be positive. Got {processes}.")
    model = load_model(folder)
    target = Path(path).with_suffix("") if output is None else Path(output)
    stem = f"{target.name}-parsed" if output is None else target.name
    kinds = {".conllu": model.syntax is not None, ".sdp": model.semantics is not None}
    written = [target.with_name(f"{stem}{kind}") for kind, wanted in kinds.items() if wanted]
    for file in written:
        if file.resolve() == Path(path).resolve():
            raise ConfigError(f"The output would replace {path}. Choose another --output.")
    names = _checked(path, kinds[".sdp"])
    chunks = _chunks(_prepared(path, names), chunk)
    with ExitStack() as stack:
        files = [stack.enter_context(whole_file(file)) for file in written]
        if model.semantics is not None:
            files[-1].write(f"{HEADER}\n")
        for texts in _parsed(model, folder, chunks, processes):
            for file, text in zip(files, texts, strict=True):
                file.write(text)
    return written


def _chunks(sentences: Iterable[Sentence], size: int) -> Iterator[list[Sentence]]:
    sentences = iter(sentences)
    while chunk := list(islice(sentences, size)):
        yield chunk


def _checked(path: str | Path, graphs: bool) -> set[str]:
    """The ids of the file. What is wrong with it is found now, not after hours of parsing."""
    names = set()
    for number, sentence in enumerate(stream_conllu(path, trees=False), start=1):
        names.add(sentence.id)
        sentence.id, sentence.arcs = sentence.id or str(number), []
        try:
            write_conllu(StringIO(), [sentence])
            if graphs:
                write_sdp(StringIO(), [sentence])
        except DataError as error:
            raise DataError(f"{path}: sentence {number} cannot be written: {error}") from None
    return names


def _prepared(path: str | Path, names: set[str]) -> Iterator[Sentence]:
    """The sentences with what is kept of them; graphs need an id, so all get one.

    Args:
        path: The file.
        names: Ids that are taken.
    """
    for number, sentence in enumerate(stream_conllu(path, trees=False), start=1):
        if not sentence.id:
            name = str(number)
            while name in names:
                name = f"_{name}"
            sentence.id = name
            sentence.comments = [f"# sent_id = {name}", *sentence.comments]
        sentence.deps = None  # the enhanced graph that the file had, and its empty nodes (8.1)
        sentence.skipped = [s for s in sentence.skipped if "." not in s[1].partition("\t")[0]]
        yield sentence


# ---------------------------------------------------------------------- processes


def _parsed(
    model: JointParser, folder: str | Path, chunks: Iterable[list[Sentence]], processes: int
) -> Iterator[Texts]:
    """What is written for each chunk, in order; at most two chunks for each process are waiting."""
    if processes == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from (_texts(model, chunk) for chunk in chunks)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=(folder,))
    waiting: deque[Future[Texts]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_texts_of, chunk))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ConfigError(
            "One of the processes that parsed was killed, perhaps for want of memory. Nothing was "
            f"written. Try fewer than {processes} --processes."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start(folder: str | Path) -> None:
    global _model  # noqa: PLW0603  (what a process of a pool has to itself)
    torch.set_num_threads(1)
    _model = load_model(folder)


def _texts_of(sentences: list[Sentence]) -> Texts:
    return _texts(_model, sentences)


def _texts(model: JointParser, sentences: list[Sentence]) -> Texts:
    parsed = parse(model, sentences)
    trees, graphs = StringIO(), StringIO()
    texts = []
    if model.syntax is not None:
        write_conllu(trees, parsed)
        texts.append(trees.getvalue())
    if model.semantics is not None:
        write_sdp(graphs, parsed)
        texts.append(graphs.getvalue().removeprefix(f"{HEADER}\n"))
    return texts
