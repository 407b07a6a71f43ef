"""Sentiments and graphs for new sentences."""

import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from examples.data import DataError, Sentence, read_conllu, read_sst, write_sdp
from examples.data.plain import stream_text, write_sentiments
from examples.data.sst import read_tree
from examples.data.text import lines
from examples.training.prediction import Write, beside, predict_file

from .model import SentimentModel
from .run import load_model

TREES, TEXT = (".conllu", ".conllx", ".conll"), ".txt"


def predict(folder: str | Path, path: str | Path, output: str | Path | None = None) -> list[Path]:
    """Judges the sentences of a file; writes sentiments as .tsv and graphs as .sdp, in its order.

    The columns of the table are those of `write_sentiments`. A method without a parser writes no
    graphs.

    Args:
        folder: The run to judge with.
        path: The file: .conllu (.conllx, .conll), with lemmas and parts of speech, of which the
            parser reads what it was trained with; or .txt, a sentence in each line, its words
            separated by spaces (`stream_text`); or .txt with trees of the Stanford Sentiment
            Treebank, of which those that are not neutral are judged.
        output: The files to write, without suffix; by default `PATH-predicted`.

    Returns:
        The files.

    Raises:
        DataError: If the file is malformed, or cannot be written as .tsv or .sdp.
        ConfigError: If the output would replace the file.
    """
    path = Path(path)
    sentences = read(path)
    model = load_model(folder)
    files: dict[Path, Write] = {beside(path, output, "-predicted", ".tsv"): write_sentiments}
    if model.parser is not None:
        files[beside(path, output, "-predicted", ".sdp")] = write_sdp
        warn(model, path, sentences)
    return predict_file(model, path, sentences, files)


def read(path: Path) -> list[Sentence]:
    """The sentences of a file of any kind."""
    if path.suffix in TREES:
        return read_conllu(path, trees=False)
    if path.suffix != TEXT:
        raise DataError(f"{path}: wanted a file {', '.join(TREES)} or {TEXT}.")
    for _, line in islice(lines(path, ended=False), 1):
        try:  # whether it begins with a tree, `(3 (2 A) (3 film))`, or with words
            read_tree(line)
        except ValueError:
            break
        return read_sst(path)
    return list(stream_text(path))


def warn(model: SentimentModel, path: Path, sentences: Sequence[Sentence]) -> None:
    """Says so if the parser reads what the file does not have."""
    assert model.parser is not None
    config = model.parser.config
    wanted = [n for n in ("lemmas", "tags") if getattr(config, f"{n.removesuffix('s')}_size")]
    missing = [n for n in wanted if all(x == "_" for s in sentences for x in getattr(s, n))]
    if missing and sentences:
        warnings.warn(
            f"{path} has no {' and no '.join(missing)}, and the parser was trained with them: its "
            "graphs will be worse. Predict from a .conllu file that has them, or train a parser "
            "without: --parser_options.tag_size 0 --parser_options.lemma_size 0.",
            stacklevel=3,
        )
