"""Trees and graphs for new sentences."""

from collections.abc import Collection, Iterator
from functools import partial
from io import StringIO
from pathlib import Path

from examples.data import Sentence, write_conllu, write_sdp
from examples.data.conll import stream_conllu
from examples.data.sdp import HEADER
from examples.training.prediction import (
    CHUNK,
    checked_ids,
    free_id,
    output_files,
    write_predictions,
)

from .model import JointParser
from .run import load_model


def predict(
    folder: str | Path, path: str | Path, output: str | Path | None = None, chunk: int = CHUNK
) -> list[Path]:
    """Parses a CoNLL-U file; writes trees as .conllu and graphs as .sdp, in the order of the file.

    The whole file is looked through before anything is parsed.

    Args:
        folder: The run to parse with.
        path: The file; its heads and its enhanced graphs, if it has any, are not looked at, nor
            are they written.
        output: The files to write, without suffix; by default `PATH-parsed`.
        chunk: Sentences that are read, given to the model and written at once.

    Returns:
        The files.

    Raises:
        DataError: If the file is malformed, or cannot be written as .sdp.
        ConfigError: If the output would replace the file.
    """
    model = load_model(folder)
    headers = {".conllu": ""} if model.syntax is not None else {}
    if model.semantics is not None:
        headers[".sdp"] = f"{HEADER}\n"
    files = output_files(path, output, "-parsed", list(headers))

    def write(sentence: Sentence) -> None:
        sentence.arcs = []
        write_conllu(StringIO(), [sentence])
        if model.semantics is not None:
            write_sdp(StringIO(), [sentence])

    ids = checked_ids(path, stream_conllu(path, trees=False), write)
    found = dict(zip(files, headers.values(), strict=True))
    write_predictions(model, _prepared(path, ids), found, partial(_texts, model), chunk)
    return files


def _prepared(path: str | Path, ids: Collection[str]) -> Iterator[Sentence]:
    """The sentences with what is kept of them; graphs need an id, so all get one.

    Args:
        path: The file.
        ids: Ids that are taken.
    """
    for number, sentence in enumerate(stream_conllu(path, trees=False), start=1):
        if not sentence.id:
            sentence.id = free_id(number, ids)
            sentence.comments = [f"# sent_id = {sentence.id}", *sentence.comments]
        sentence.deps = None  # the enhanced graph that the file had, and its empty nodes (8.1)
        sentence.skipped = [s for s in sentence.skipped if "." not in s[1].partition("\t")[0]]
        yield sentence


def _texts(model: JointParser, parsed: list[Sentence]) -> list[str]:
    trees, graphs = StringIO(), StringIO()
    texts = []
    if model.syntax is not None:
        write_conllu(trees, parsed)
        texts.append(trees.getvalue())
    if model.semantics is not None:
        write_sdp(graphs, parsed)
        texts.append(graphs.getvalue().removeprefix(f"{HEADER}\n"))
    return texts
