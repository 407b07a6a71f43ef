"""What a model makes of sentences, in their order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from examples.data import Sentence
from examples.parsing.batches import Batches

from .module import JointModule


def answers(
    model: JointModule[Any], sentences: Sequence[Sentence], kind: str, empty: Mapping[str, Any]
) -> list[Sentence]:
    """The sentences with what the model finds, in their order.

    Args:
        model: What to parse with.
        sentences: What is known about them, besides their words, is not looked at.
        kind: Of the batches.
        empty: What is found of sentences without words, which no model sees.
    """
    found: list[Sentence | None] = [None] * len(sentences)
    for indices, parsed in _answers(model, [s for s in sentences if len(s)], kind):
        for i, sentence in zip(indices, parsed, strict=True):
            found[i] = sentence
    filled = iter([sentence for sentence in found if sentence is not None])
    return [next(filled) if len(s) else replace(s, **empty) for s in sentences]


def _answers(
    model: JointModule[Any], sentences: Sequence[Sentence], kind: str
) -> Iterator[tuple[list[int], list[Sentence]]]:
    config = model.config
    training = model.training
    model.eval()
    for batch in Batches(
        {kind: sentences}, model.vocabulary, 2 * config.batch_size, pairs=config.pairs
    ):
        yield batch.indices, model.parse(batch.to(model.device))
    model.train(training)
