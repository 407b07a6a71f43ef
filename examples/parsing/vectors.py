"""Pretrained word vectors in the text format of GloVe, read line by line.

Only the vectors of wanted words are kept: the file of 6 billion tokens (400,000 words of 300
numbers, 1 GB) takes the memory of the words of the corpus.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from examples.data import DataError, Sentence
from examples.data.text import lines

from .vocabulary import Numbering


def read_vectors(path: str | Path, wanted: Collection[str], size: int) -> dict[str, np.ndarray]:
    """The vectors of the wanted words that the file has.

    Args:
        path: Lines of a word and `size` numbers, with spaces between them. A first line of two
            numbers (the header of word2vec) is skipped.
        wanted: The words, as the file spells them.
        size: Numbers per word.

    Raises:
        DataError: If the file is missing, is no UTF-8, or a wanted line has another number of
            numbers.
    """
    found: dict[str, np.ndarray] = {}
    if not Path(path).exists():
        raise DataError(f"{path} does not exist. Give word vectors in GloVe's text format.")
    for number, line in lines(path, ended=False):
        word, _, rest = line.partition(" ")
        if word not in wanted or word in found:
            continue
        try:
            vector = np.array(rest.split(), dtype=np.float32)
        except ValueError:
            raise DataError.at(path, number, f"the vector of {word!r} is no numbers.") from None
        if number == 1 and len(vector) == 1:
            continue
        if len(vector) != size or not np.isfinite(vector).all():
            raise DataError.at(
                path,
                number,
                f"the vector of {word!r} needs {size} finite numbers, as many as `word_size`. "
                f"Found {len(vector)}.",
            )
        found[word] = vector
    return found


def known_vectors(
    path: str | Path | None, banks: Iterable[Iterable[Sentence]], size: int
) -> dict[str, np.ndarray]:
    """The vectors that a file has of the words of some sentences; none without a file."""
    if path is None:
        return {}
    return read_vectors(path, {w.lower() for bank in banks for s in bank for w in s.words}, size)


def put_vectors(
    weight: Tensor, words: Numbering, vectors: dict[str, np.ndarray], constant: bool = False
) -> None:
    """Writes vectors into a table of embeddings, as they are.

    Args:
        weight: The table.
        words: Its rows.
        vectors: By word.
        constant: Whether they stay so: their rows get no gradient.
    """
    known = [word for word in vectors if word in words]
    if not known:
        return
    rows = torch.from_numpy(np.stack([vectors[word] for word in known])).to(weight)
    numbers = torch.tensor([words[word] for word in known])
    with torch.no_grad():
        weight[numbers] = rows
    if constant:
        weight.register_hook(lambda grad: grad.index_fill(0, numbers.to(grad.device), 0))
