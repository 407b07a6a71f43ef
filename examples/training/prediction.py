"""What a trained model makes of the sentences of a file, by Lightning's `predict`."""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import lightning
from lightning.pytorch.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, IterableDataset

from examples.data import DataError, Sentence
from examples.data.text import output as whole_file

from .module import JointModule
from .settings import ConfigError

CHUNK = 250
"""Sentences that are read, given to a model and written at once; batches are made of these."""

IGNORED = (  # each is about a choice made here on purpose
    ".*Couldn't infer the batch indices.*",  # the writer does not ask for them
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*isinstance.treespec, LeafSpec.*",  # Lightning, of torch 2.13
)

Texts = Callable[[list[Sentence]], list[str]]
"""What each of the files gets about some sentences."""


class Writer(BasePredictionWriter):
    """Writes what is found as it is found.

    Args:
        files: One for each text.
        texts: What is written.
    """

    def __init__(self, files: Sequence[TextIO], texts: Texts):
        super().__init__("batch")
        self.files, self.texts = files, texts

    def write_on_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: Any,
        prediction: list[Sentence],
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Writes the answers to some sentences."""
        for file, text in zip(self.files, self.texts(prediction), strict=True):
            file.write(text)


class Chunks(IterableDataset):
    """The sentences, so many at once."""

    def __init__(self, sentences: Iterable[Sentence], size: int):
        self.sentences, self.size = sentences, size

    def __iter__(self) -> Iterator[list[Sentence]]:
        sentences = iter(self.sentences)
        while chunk := list(islice(sentences, self.size)):
            yield chunk


def write_predictions(
    model: JointModule[Any],
    sentences: Iterable[Sentence],
    files: Mapping[Path, str],
    texts: Texts,
    chunk: int = CHUNK,
) -> None:
    """Writes the files, which appear when they are complete.

    Args:
        model: A trained model.
        sentences: In the order of the files.
        files: The first lines of each.
        texts: What is written about some sentences, in the order of the files.
        chunk: Sentences that are read, given to the model and written at once.
    """
    chunks = DataLoader(Chunks(sentences, chunk), batch_size=None)
    with ExitStack() as stack:
        opened = [stack.enter_context(whole_file(file)) for file in files]
        for file, text in zip(opened, files.values(), strict=True):
            file.write(text)
        stack.enter_context(warnings.catch_warnings())
        for message in IGNORED:
            warnings.filterwarnings("ignore", message)
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            callbacks=[Writer(opened, texts)],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.predict(model, chunks, return_predictions=False)


# ---------------------------------------------------------------------- before anything is computed


def output_files(
    path: str | Path, output: str | Path | None, ending: str, suffixes: Sequence[str]
) -> list[Path]:
    """The files that are written about a file.

    Args:
        path: The file that is read.
        output: Their name without suffix; None for that of `path` and the ending.
        ending: Of that name.
        suffixes: Theirs.

    Raises:
        ConfigError: If one of them would replace the file.
    """
    target = Path(path).with_suffix("") if output is None else Path(output)
    stem = f"{target.name}{ending}" if output is None else target.name
    files = [target.with_name(f"{stem}{suffix}") for suffix in suffixes]
    for file in files:
        if file.resolve() == Path(path).resolve():
            raise ConfigError(f"The output would replace {path}. Choose another --output.")
    return files


def checked_ids(
    path: str | Path, sentences: Iterable[Sentence], write: Callable[[Sentence], object]
) -> set[str]:
    """The ids of a file. What is wrong with it is found now, not after hours of computing.

    Args:
        path: The file.
        sentences: Its sentences.
        write: Tries to write one, with what a model could find.

    Raises:
        DataError: If one cannot be written.
    """
    ids = set()
    for number, sentence in enumerate(sentences, start=1):
        ids.add(sentence.id)
        sentence.id = sentence.id or str(number)
        try:
            write(sentence)
        except DataError as error:
            raise DataError(f"{path}: sentence {number} cannot be written: {error}") from None
    return ids


def free_id(number: int, taken: Collection[str]) -> str:
    """An id for a sentence that has none: its number, or something like it that is not taken."""
    name = str(number)
    while name in taken:
        name = f"_{name}"
    return name
