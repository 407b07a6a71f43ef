"""Trees and graphs for new sentences."""

from pathlib import Path

from examples.data import Sentence, read_conllu, write_conllu, write_sdp

from .model import JointParser
from .run import parse


def predict(model: JointParser, path: str | Path, output: str | Path | None = None) -> list[Path]:
    """Parses a CoNLL-U file; writes trees as .conllu and graphs as .sdp, in the order of the file.

    Args:
        model: What to parse with.
        path: The file; its heads, if it has any, are not looked at.
        output: The files to write, without suffix; by default `PATH-parsed`.

    Returns:
        The files.
    """
    sentences = read_conllu(path, trees=False)
    target = Path(path).with_suffix("") if output is None else Path(output)
    stem = f"{target.name}-parsed" if output is None else target.name
    parsed = [_named(s, number) for number, s in enumerate(parse(model, sentences), start=1)]
    written = []
    if model.syntax is not None:
        written.append(target.with_name(f"{stem}.conllu"))
        write_conllu(written[-1], parsed)
    if model.semantics is not None:
        written.append(target.with_name(f"{stem}.sdp"))
        write_sdp(written[-1], parsed)
    return written


def _named(sentence: Sentence, number: int) -> Sentence:
    """Graphs need an id; sentences without one get their number."""
    if not sentence.id:
        sentence.id = str(number)
    sentence.deps = None  # the enhanced graph that the file had
    return sentence
