"""Sentiments and graphs for new sentences."""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from io import StringIO
from itertools import islice
from pathlib import Path

from examples.data import DataError, Sentence, read_sst, write_sdp
from examples.data.conll import stream_conllu
from examples.data.plain import TABLE_HEADER, stream_text, write_sentiments
from examples.data.sdp import HEADER
from examples.data.sst import read_tree
from examples.data.text import lines
from examples.training.prediction import (
    CHUNK,
    checked_ids,
    free_id,
    output_files,
    write_predictions,
)

from .model import SentimentModel
from .run import load_model

TREES, TEXT = (".conllu", ".conllx", ".conll"), ".txt"
HEADERS = {".tsv": f"{TABLE_HEADER}\n", ".sdp": f"{HEADER}\n"}


def predict(
    folder: str | Path, path: str | Path, output: str | Path | None = None, chunk: int = CHUNK
) -> list[Path]:
    """Judges the sentences of a file; writes sentiments as .tsv and graphs as .sdp, in its order.

    The whole file is looked through before anything is computed. The columns of the table are those
    of `write_sentiments`. A method without a parser writes no graphs.

    Args:
        folder: The run to judge with.
        path: The file: .conllu (.conllx, .conll), with lemmas and parts of speech, of which the
            parser reads what it was trained with; or .txt, a sentence in each line, its words
            separated by spaces (`stream_text`); or .txt with trees of the Stanford Sentiment
            Treebank, of which those that are not neutral are judged.
        output: The files to write, without suffix; by default `PATH-predicted`.
        chunk: Sentences that are read, given to the model and written at once.

    Returns:
        The files.

    Raises:
        DataError: If the file is malformed, or cannot be written as .tsv or .sdp.
        ConfigError: If the output would replace the file.
    """
    read = _reader(path)
    model = load_model(folder)
    kinds = [".tsv"] if model.parser is None else [".tsv", ".sdp"]
    files = output_files(path, output, "-predicted", kinds)
    found = {"lemmas": False, "tags": False}

    def write(sentence: Sentence) -> None:
        sentence.sentiment, sentence.arcs = 0.5, []
        _written(model, [sentence])
        for column in found:
            found[column] |= any(name != "_" for name in getattr(sentence, column))

    ids = checked_ids(path, read(), write)
    _warn(model, path, [column for column, there in found.items() if ids and not there])
    headers = {file: HEADERS[file.suffix] for file in files}
    write_predictions(model, _named(read(), ids), headers, partial(_written, model), chunk)
    return files


def _reader(path: str | Path) -> Callable[[], Iterable[Sentence]]:
    """What reads the sentences of the file, as often as it is called."""
    kind = Path(path).suffix
    if kind in TREES:
        return partial(stream_conllu, path, trees=False)
    if kind == TEXT:
        return partial(read_sst if _has_trees(path) else stream_text, path)
    raise DataError(f"{path}: wanted a file {', '.join(TREES)} or {TEXT}.")


def _has_trees(path: str | Path) -> bool:
    """Whether the first line of a text is a tree, `(3 (2 A) (3 film))`, not words."""
    for _, line in islice(lines(path, ended=False), 1):
        try:
            read_tree(line)
        except ValueError:
            return False
        return True
    return False


def _warn(model: SentimentModel, path: str | Path, missing: Collection[str]) -> None:
    """Says so if the parser reads what the file does not have."""
    if model.parser is None:
        return
    sizes = {"lemmas": model.parser.config.lemma_size, "tags": model.parser.config.tag_size}
    if wanted := [column for column in missing if sizes[column]]:
        warnings.warn(
            f"{path} has no {' and no '.join(wanted)}, and the parser was trained with them: its "
            "graphs will be worse. Predict from a .conllu file that has them, or train a parser "
            "without: --parser_options.tag_size 0 --parser_options.lemma_size 0.",
            stacklevel=3,
        )


def _named(sentences: Iterable[Sentence], ids: Collection[str]) -> Iterator[Sentence]:
    """The sentences, each with an id."""
    for number, sentence in enumerate(sentences, start=1):
        sentence.id = sentence.id or free_id(number, ids)
        yield sentence


def _written(model: SentimentModel, sentences: list[Sentence]) -> list[str]:
    """What the files get about sentences that have been judged."""
    table, graphs = StringIO(), StringIO()
    write_sentiments(table, sentences)
    texts = [table.getvalue().removeprefix(HEADERS[".tsv"])]
    if model.parser is not None:
        write_sdp(graphs, sentences)
        texts.append(graphs.getvalue().removeprefix(HEADERS[".sdp"]))
    return texts
