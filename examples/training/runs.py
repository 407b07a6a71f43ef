"""A run: trains one model with one seed into a folder; resumes what was interrupted."""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from examples.data import Corpus, DataError, Sentence
from examples.data.text import output as whole_file
from examples.parsing.batches import Batches
from examples.parsing.vocabulary import Vocabulary

from .callbacks import BEST, LAST, WholeFiles, make_callbacks
from .module import JointModule
from .processes import is_first, strategy
from .settings import C, ConfigError, TrainingConfig

CONFIG, VOCABULARY, RESULT = "config.json", "vocabulary.json", "result.json"
IGNORED = (  # each is about a choice made here on purpose
    ".*does not have many workers.*",  # batches are made faster than they are used
    ".*Checkpoint directory .* exists and is not empty.*",  # it is resumed from
    ".*dataloader.*batch size.*",
    ".*GPU available but not used.*",
    ".*recommended to use `self.log.*sync_dist=True.*",  # all processes log the same numbers
    ".*find_unused_parameters=True was specified.*",  # only batches of some kinds leave some unused
    ".*isinstance.treespec, LeafSpec.*",  # Lightning, of torch 2.13
    ".*You're resuming from a checkpoint that ended before the epoch ended.*",  # it is exact
)

M = TypeVar("M", bound=JointModule[Any])


@dataclass(frozen=True)
class Recipe(Generic[C, M]):
    """What the runs of a pipeline are made of.

    Args:
        load_data: The corpus of a config.
        make_model: A new model for a config and a corpus.
        load_model: The model of a run's best epoch.
        prepare: Trains what has to be trained first, as runs of their own within the folder: gets
            the model, the folder, the corpus and the settings of `train`.
        banks: Sentences by kind of the batches, of "train" or a part to score.
        evaluate: Scores of a model on a part of a corpus.
        monitor: The score of the development part that decides which epoch was best.
        summary: What the result says about the config.
        shares: The share of the batches of a kind that an epoch sees, where it is not all.
    """

    load_data: Callable[[C], Corpus]
    make_model: Callable[[C, Corpus], M]
    load_model: Callable[[Path], M]
    prepare: Callable[[M, Path, Corpus, dict[str, Any]], None]
    banks: Callable[[C, Corpus, str], Mapping[str, Sequence[Sentence]]]
    evaluate: Callable[[M, Corpus, str], dict[str, float]]
    monitor: Callable[[C], str]
    summary: Callable[[C], dict[str, Any]]
    shares: Callable[[C], dict[str, float]] = lambda _: {}

    def train(
        self,
        config: C,
        output: str | Path,
        *,
        corpus: Corpus | None = None,
        accelerator: str = "auto",
        devices: int | str = 1,
        precision: Any = "32-true",
        save_every: int | None = None,
        tensorboard: bool = False,
        quiet: bool = False,
        **trainer_options: Any,
    ) -> dict[str, Any]:
        """Trains into a folder, and scores the best epoch on the development and test parts.

        If the folder has a checkpoint of the same config, training goes on from there, to the same
        result as if it had never stopped; if it has a result, that is it.

        Args:
            config: All settings.
            output: The folder.
            corpus: Instead of the one that the config names.
            accelerator: As of Lightning's Trainer.
            devices: Likewise.
            precision: Likewise; "bf16-mixed" for bfloat16.
            save_every: Steps between checkpoints within an epoch; else there is one per epoch.
            tensorboard: Whether to write logs for TensorBoard too, into `OUTPUT/tensorboard`.
            quiet: Shows no progress.
            **trainer_options: More for the Trainer.

        Returns:
            The scores; nothing in processes other than the first. Several processes need a program
            that Lightning can start again: this one as `python -m`, or a script.

        Raises:
            ConfigError: If the folder holds a run of another config.
        """
        output = Path(output)
        _check_config(output / CONFIG, config)
        if (output / RESULT).exists():
            return json.loads((output / RESULT).read_text(encoding="utf-8"))
        start = time.perf_counter()
        corpus = self.load_data(config) if corpus is None else corpus
        settings = {"accelerator": accelerator, "devices": devices, "precision": precision}
        settings |= {"quiet": quiet, "save_every": save_every, "tensorboard": tensorboard}
        settings |= trainer_options
        lightning.seed_everything(config.seed, verbose=False)
        model = self.make_model(config, corpus)
        _keep_config(output / CONFIG, config)
        self.prepare(model, output, corpus, settings)
        _keep_vocabulary(model.vocabulary, output / VOCABULARY)
        self._fit(model, corpus, output, **settings)
        if not is_first():
            return {}
        best = self.load_model(output)
        result = self.summary(config)
        result |= {part: self.evaluate(best, corpus, part) for part in ("dev", "test")}
        result["seconds"] = round(time.perf_counter() - start, 1)
        with whole_file(output / RESULT) as file:
            file.write(json.dumps(result, indent=1) + "\n")
        return result

    def _fit(
        self,
        model: M,
        corpus: Corpus,
        output: Path,
        *,
        save_every: int | None,
        tensorboard: bool,
        quiet: bool,
        **trainer_options: Any,
    ) -> None:
        config: Any = model.config
        train_part, dev_part = (self.banks(config, corpus, part) for part in ("train", "dev"))
        batches = Batches(
            train_part,
            model.vocabulary,
            config.batch_size,
            config.seed,
            pairs=config.pairs,
            shares=self.shares(config),
        )
        dev = Batches(dev_part, model.vocabulary, 2 * config.batch_size, pairs=config.pairs)
        callbacks = make_callbacks(
            config,
            output,
            monitor=self.monitor(config),
            batches=(batches, dev),
            save_every=save_every,
            tensorboard=tensorboard,
            quiet=quiet,
        )
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for message in IGNORED:
                warnings.filterwarnings("ignore", message)
            trainer = _trainer(trainer_options, config, callbacks, quiet)
            last = output / LAST
            trainer.fit(
                model, batches, dev, ckpt_path=last if last.exists() else None, weights_only=True
            )


def weights(folder: str | Path, name: str = BEST) -> dict[str, torch.Tensor]:
    """The parameters of a run's best epoch.

    Raises:
        DataError: If the folder has no such checkpoint.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise DataError(f"{path} does not exist. Train a model into {folder} first.")
    return torch.load(path, map_location="cpu", weights_only=True)["state_dict"]


def _check_config(path: Path, config: TrainingConfig) -> None:
    """The folder is this run's, or the run says why not."""
    if path.exists() and type(config).load(path) != config:
        raise ConfigError(
            f"{path.parent} holds a run with other settings ({path.name}). Choose another "
            "--output, or delete it."
        )


def _keep_config(path: Path, config: TrainingConfig) -> None:
    """Writes it, once the config has made a model: what cannot be trained leaves no folder."""
    if is_first() and not path.exists():
        config.save(path)


def _keep_vocabulary(vocabulary: Vocabulary, path: Path) -> None:
    """Writes it, or says that a run to resume was of other data."""
    if path.exists() and Vocabulary.load(path) != vocabulary:
        raise ConfigError(
            f"{path} is the vocabulary of other data: the files have changed since this run began. "
            "Choose another --output, or delete it."
        )
    if is_first() and not path.exists():
        vocabulary.save(path)


def _trainer(
    options: dict[str, Any], config: TrainingConfig, callbacks: list[Callback], quiet: bool
) -> lightning.Trainer:
    defaults: dict[str, Any] = {"strategy": strategy(options["devices"])}
    try:
        return lightning.Trainer(
            **defaults | options,
            max_epochs=config.epochs,
            callbacks=callbacks,
            plugins=[WholeFiles()],
            logger=False,  # see `History` and `Board`
            use_distributed_sampler=False,  # see `Batches`
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_progress_bar=not quiet and sys.stderr.isatty(),
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"Lightning cannot train like this: {error}") from None
