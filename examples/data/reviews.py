"""Reviews by name: `toy` and `sst`, sentences whose sentiment is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .conll import read_conllu
from .corpus import PARTS
from .load import VARIABLE, data_folder
from .sentence import DataError, Sentence
from .sst import read_sst, sst_file, tagged_file

Reviews = dict[str, list[Sentence]]
"""Reviews by part: train, dev and test."""


def load_reviews(name: str, **options: Any) -> Reviews:
    """The reviews of that name; options are those of `load_toy_reviews` and `load_sst`.

    Raises:
        DataError: If there are no such reviews, or their files are missing or malformed.
    """
    loaders: dict[str, Callable[..., Reviews]] = {"toy": load_toy_reviews, "sst": load_sst}
    if name not in loaders:
        raise DataError(f"There are no reviews {name!r}. Choose one of {', '.join(loaders)}.")
    return loaders[name](**options)


def load_toy_reviews(seed: int = 0, max_words: int | None = None, **options: Any) -> Reviews:
    """The generated reviews.

    Args:
        seed: Which reviews.
        max_words: Leaves longer sentences out, of all parts.
        **options: Those of `toy_reviews.generate`.
    """
    from . import toy_reviews

    return _limited(toy_reviews.generate(seed, **options), max_words)


def load_sst(
    data: str | Path | None = None, *, max_words: int | None = None, tagged: bool = False
) -> Reviews:
    """The Stanford Sentiment Treebank: whole sentences, positive or negative.

    Args:
        data: The data folder, which has `sst/`; else the one that OPTLAYERS_DATA names; else the
            one that `python -m examples.data fetch sst` fills.
        max_words: Leaves longer sentences out, of all parts.
        tagged: Whether they have the parts of speech and lemmas that `python -m
            examples.parsing.tagger sst` found; the treebank has none.
    """
    folder = data_folder(data)
    reviews = {part: read_sst(_existing(sst_file(folder, part))) for part in PARTS}
    if tagged:
        for part, sentences in reviews.items():
            _take_tags(sentences, tagged_file(folder, part))
    return _limited(reviews, max_words)


def _take_tags(sentences: list[Sentence], path: Path) -> None:
    """Gives sentences the tags and lemmas of a file of the same sentences."""
    again = f"Run `python -m examples.parsing.tagger sst`, or leave `tagged` out ({VARIABLE})."
    if not path.is_file():
        raise DataError(f"{path} does not exist. {again}")
    found = read_conllu(path, trees=False)
    if [s.words for s in found] != [s.words for s in sentences]:
        raise DataError(f"{path} is not of the sentences of the treebank. {again}")
    for sentence, other in zip(sentences, found, strict=True):
        sentence.tags, sentence.lemmas = other.tags, other.lemmas


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist. Fetch the treebank (python -m examples.data fetch sst), or "
            f"name the folder that has sst/ by `data` or by {VARIABLE}."
        )
    return path


def _limited(reviews: Reviews, max_words: int | None) -> Reviews:
    if max_words is None:
        return reviews
    return {part: [s for s in held if len(s) <= max_words] for part, held in reviews.items()}
