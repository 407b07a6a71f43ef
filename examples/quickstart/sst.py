"""The Stanford Sentiment Treebank as reviews: the binary task of whole sentences."""

from pathlib import Path

from examples.data import DataError, read_sst

from .data import Review, Splits

FILES = ("train.txt", "dev.txt", "test.txt")


def load(folder: str | Path) -> Splits:
    """The reviews in the `train.txt`, `dev.txt` and `test.txt` of `folder`.

    Raises:
        DataError: If a file is missing or malformed.
    """
    return Splits(*(read(Path(folder) / name) for name in FILES))


def read(path: Path) -> list[Review]:
    """The reviews of one file."""
    if not path.is_file():
        raise DataError(f"{path} does not exist. Expected a folder with {', '.join(FILES)}.")
    return [Review(s.words, int(s.sentiment == 1)) for s in read_sst(path)]
