"""What a trained model makes of the sentences of a file, by Lightning's `predict`."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

import lightning
from lightning.pytorch.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader

from examples.data import DataError, Sentence
from examples.data.text import output as whole_file

from .module import JointModule
from .settings import ConfigError

CHUNK = 250
"""Sentences that are given to a model at once; batches are made of these."""

IGNORED = (  # each is about a choice made here on purpose
    ".*Couldn't infer the batch indices.*",  # the writer does not ask for them
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*isinstance.treespec, LeafSpec.*",  # Lightning, of torch 2.13
)

Write = Callable[[TextIO, list[Sentence]], None]


class Writer(BasePredictionWriter):
    """Writes what is found, in the order of the file; the files appear when all are complete."""

    def __init__(self, files: Mapping[Path, Write]):
        super().__init__("epoch")
        self.files = files

    def write_on_epoch_end(
        self, trainer: Any, pl_module: Any, predictions: Sequence[Any], batch_indices: Any
    ) -> None:
        """Writes what was found in all chunks."""
        self.write([sentence for chunk in predictions for sentence in chunk])

    def write(self, sentences: list[Sentence]) -> None:
        """Writes every file."""
        with ExitStack() as stack:
            for path, write in self.files.items():
                write(stack.enter_context(whole_file(path)), sentences)


def predict_file(
    model: JointModule[Any], path: Path, sentences: list[Sentence], files: Mapping[Path, Write]
) -> list[Path]:
    """Writes what a model finds in the sentences of a file; returns the files that it wrote.

    Args:
        model: A trained model.
        path: The file.
        sentences: Those of it; where one has no id, it gets one.
        files: What is written, and how.

    Raises:
        DataError: If one of them could not be written, whatever is found in it. That is said now,
            not after hours of computing.
        ConfigError: If the file would be replaced.
    """
    for file in files:
        if file.resolve() == path.resolve():
            raise ConfigError(f"The output would replace {path}. Choose another --output.")
    give_ids(sentences)
    for number, sentence in enumerate(sentences, start=1):
        sentence.arcs, sentence.sentiment = [], 0.5
        try:
            for write in files.values():
                write(StringIO(), [sentence])
        except DataError as error:
            raise DataError(f"{path}: sentence {number} cannot be written: {error}") from None
    writer = Writer(files)
    if not sentences:  # Lightning would do nothing
        writer.write([])
        return list(files)
    chunks = [sentences[i : i + CHUNK] for i in range(0, len(sentences), CHUNK)]
    with warnings.catch_warnings():
        for message in IGNORED:
            warnings.filterwarnings("ignore", message)
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            callbacks=[writer],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.predict(model, DataLoader(chunks, batch_size=None))  # type: ignore[arg-type]
    return list(files)


def beside(path: Path, output: str | Path | None, ending: str, suffix: str) -> Path:
    """The file that is written about a file: that of `output`, or beside it."""
    target = path.with_name(f"{path.stem}{ending}") if output is None else Path(output)
    return target.with_name(f"{target.name}{suffix}")


def give_ids(sentences: Sequence[Sentence]) -> None:
    """Numbers the sentences that have no id; a number that is taken gets an underscore."""
    taken = {sentence.id for sentence in sentences}
    for number, sentence in enumerate(sentences, start=1):
        if not sentence.id:
            sentence.id = str(number)
            while sentence.id in taken:
                sentence.id = f"_{sentence.id}"
            sentence.comments = [f"# sent_id = {sentence.id}", *sentence.comments]
