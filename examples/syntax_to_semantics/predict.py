"""Trees and graphs for new sentences."""

from collections.abc import Collection, Iterator
from io import StringIO
from pathlib import Path

from examples.data import Sentence, write_conllu, write_sdp
from examples.data.conll import stream_conllu
from examples.data.sdp import HEADER
from examples.training.prediction import (
    CHUNK,
    Prediction,
    Texts,
    checked_ids,
    free_id,
    output_files,
)

from .model import JointParser
from .run import load_model, parse


def predict(
    folder: str | Path,
    path: str | Path,
    output: str | Path | None = None,
    processes: int = 1,
    chunk: int = CHUNK,
) -> list[Path]:
    """Parses a CoNLL-U file; writes trees as .conllu and graphs as .sdp, in the order of the file.

    The whole file is looked through before anything is parsed; see `Prediction`.

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
    prediction = Prediction(folder, load_model, _texts, processes, chunk)
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
    prediction.write(model, _prepared(path, ids), dict(zip(files, headers.values(), strict=True)))
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
