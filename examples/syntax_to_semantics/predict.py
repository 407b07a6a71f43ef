"""Trees and graphs for new sentences."""

from pathlib import Path

from examples.data import read_conllu, write_conllu, write_sdp
from examples.training.prediction import Write, beside, predict_file

from .run import load_model


def predict(folder: str | Path, path: str | Path, output: str | Path | None = None) -> list[Path]:
    """Parses a CoNLL-U file; writes trees as .conllu and graphs as .sdp, in the order of the file.

    Args:
        folder: The run to parse with.
        path: The file; its heads and its enhanced graphs, if it has any, are not looked at, nor
            are they written.
        output: The files to write, without suffix; by default `PATH-parsed`.

    Returns:
        The files.

    Raises:
        DataError: If the file is malformed, or cannot be written as .sdp.
        ConfigError: If the output would replace the file.
    """
    model, path = load_model(folder), Path(path)
    files: dict[Path, Write] = {}
    if model.syntax is not None:
        files[beside(path, output, "-parsed", ".conllu")] = write_conllu
    if model.semantics is not None:
        files[beside(path, output, "-parsed", ".sdp")] = write_sdp
    sentences = read_conllu(path, trees=False)
    for sentence in sentences:
        sentence.deps = None  # the enhanced graph that the file had, and its empty nodes (8.1)
        sentence.skipped = [s for s in sentence.skipped if "." not in s[1].partition("\t")[0]]
    return predict_file(model, path, sentences, files)
