"""A run: trains one model with one seed into a folder; resumes what was interrupted.

A run that was killed goes on from its last finished epoch, to the same digits as if it had never
stopped. Its folder has `config.yaml`, `vocabulary.json`, checkpoints that load without executing
pickles (`last.ckpt`, `best.ckpt`), Lightning's logs (`logs/`, and `tensorboard/`) and, once it has
ended, `metrics.csv`, a row per epoch, and `result.json`, the scores.
"""

import json
import logging
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from examples.data import Corpus, DataError, Sentence
from examples.data.alone import alone
from examples.data.text import output as whole_file
from examples.data.text import replacement
from examples.parsing.batches import Batches
from examples.parsing.vocabulary import Vocabulary

from .checkpoints import Checkpoint, RandomStates, Stopping, WholeFiles, checkpoint
from .module import JointModule
from .settings import ConfigError, TrainingConfig

CONFIG, VOCABULARY, RESULT = "config.yaml", "vocabulary.json", "result.json"
LAST, BEST = "last.ckpt", "best.ckpt"
LOGS, CURVE = "logs", "metrics.csv"
TAKEN = (VOCABULARY, BEST, RESULT, CURVE, CONFIG)
"""The files of a run that are copied; the config is last: it says that all are there."""

Banks = Mapping[str, Sequence[Sentence]]
"""Sentences by kind of their batches."""

IGNORED = (  # each is about a choice made here on purpose
    ".*does not have many workers.*",  # batches are made faster than they are used
    ".*Checkpoint directory .* exists and is not empty.*",  # it is resumed from
    ".*dataloader.*batch size.*",
    ".*GPU available but not used.*",
    ".*smaller than the logging interval.*",  # epochs are logged, not steps
    ".*isinstance.treespec, LeafSpec.*",  # Lightning, of torch 2.13
)


def ended(folder: Path, config: TrainingConfig) -> dict[str, Any] | None:
    """The result of a run, if it has ended; None if it is to begin, or to go on.

    Raises:
        ConfigError: If the folder holds a run of another config.
    """
    path = folder / CONFIG
    if path.exists() and type(config).load(path) != config:
        raise ConfigError(
            f"{folder} holds a run with other settings ({path.name}). Choose another --output, or "
            "delete it."
        )
    result = folder / RESULT
    return read_result(result) if result.exists() else None


def read_result(path: Path) -> dict[str, Any]:
    """The scores of a run.

    Raises:
        DataError: If the file is not complete.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        found = error
    if not isinstance(found, dict):
        raise DataError(
            f"{path}: no complete result: {found}. Delete it and train into {path.parent} again: "
            "the scores are computed anew, from the checkpoints."
        )
    return found


def train_into(
    folder: Path,
    config: TrainingConfig,
    prepare: Callable[[], tuple[JointModule[Any], Corpus]],
    steps: Callable[[Any, Path, Corpus], Mapping[str, Any]],
) -> dict[str, Any]:
    """The result of a run: what it has ended with, or what training gives, from where it stopped.

    Args:
        folder: Of the run; one process at a time.
        config: Its config.
        prepare: Makes a new model, after the seed is set, and the data.
        steps: Trains the model, and scores it.

    Raises:
        ConfigError: If the folder holds a run of another config.
        DataError: If another process trains into the folder.
    """
    start = time.perf_counter()
    if (result := ended(folder, config)) is not None:
        return result
    model, corpus = prepare()
    with alone(folder):
        if (result := ended(folder, config)) is not None:  # by whoever had the folder until now
            return result
        begin(folder, model)
        scores = steps(model, folder, corpus)
        return finish(folder, config, scores, time.perf_counter() - start)


def begin(folder: Path, model: JointModule[Any]) -> None:
    """Writes what a model is made from, or says that a run to resume was of other data."""
    path = folder / VOCABULARY
    if path.exists() and Vocabulary.load(path) != model.vocabulary:
        raise ConfigError(
            f"{path} is the vocabulary of other data: the files have changed since this run began. "
            "Choose another --output, or delete it."
        )
    if not path.exists():
        model.vocabulary.save(path)
    if not (folder / CONFIG).exists():
        model.config.save(folder / CONFIG)


def fit(
    model: JointModule[Any],
    train: Banks,
    dev: Banks,
    folder: Path,
    shares: Mapping[str, float] | None = None,
    *,
    tensorboard: bool = False,
    quiet: bool = False,
    **options: Any,
) -> None:
    """Trains a model from the folder's last checkpoint, if it has one.

    Args:
        model: The model.
        train: What it is trained on: batches of all banks, in an order that its seed fixes.
        dev: What decides which epoch is best.
        folder: Where checkpoints and logs go.
        shares: Of a bank, of which an epoch sees so much, another part each time.
        tensorboard: Whether to write logs for TensorBoard too.
        quiet: Shows no progress.
        **options: More of Lightning's Trainer.

    Raises:
        ConfigError: If Lightning refuses the options, or there is nothing to train on or to judge
            by.
    """
    for part, banks in (("training", train), ("development", dev)):
        if not any(len(bank) for bank in banks.values()):
            raise ConfigError(f"There are no {part} sentences. Look at the options of the data.")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    config, known = model.config, model.vocabulary
    union = Batches(train, known, config.batch_size, config.seed, pairs=config.pairs, shares=shares)
    judges = Batches(dev, known, 2 * config.batch_size, pairs=config.pairs)
    loggers = [CSVLogger(folder, name=LOGS)]
    loggers += [TensorBoardLogger(folder, name="", version="tensorboard")] if tensorboard else []
    chosen: dict[str, Any] = {"devices": 1} | options
    common: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    best = Checkpoint(folder, Path(BEST).stem, monitor=model.monitor, mode="max", **common)
    # Not `save_last=True`, which saves the epochs that are the best so far, and no others.
    last = Checkpoint(folder, Path(LAST).stem, every_n_epochs=1, **common)
    stopping = Stopping(model.monitor, mode="max", patience=config.patience, min_delta=0.0)
    with warnings.catch_warnings():
        for message in IGNORED:
            warnings.filterwarnings("ignore", message)
        try:
            trainer = lightning.Trainer(
                max_epochs=config.epochs,
                logger=loggers,
                callbacks=[RandomStates(), stopping, best, last],
                plugins=[WholeFiles()],
                use_distributed_sampler=False,
                num_sanity_val_steps=0,
                enable_model_summary=False,
                enable_progress_bar=not quiet and sys.stderr.isatty(),
                **chosen,
            )
        except (MisconfigurationException, ValueError) as error:
            raise ConfigError(f"Lightning cannot train like this: {error}") from None
        path = folder / LAST
        known_run = path if path.exists() else None
        try:
            trainer.fit(model, union, judges, ckpt_path=known_run, weights_only=True)
        except RuntimeError as error:
            if "Early stopping conditioned on metric" not in str(error):
                raise
            raise ConfigError(
                f"There is no {model.monitor} to choose an epoch by: no development sentence has "
                "what it scores. Look at the options of the data."
            ) from None


def finish(
    folder: Path, config: TrainingConfig, scores: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """Writes the curve and the scores, the last file of a run; returns them."""
    result = {"config": config.method, "seed": config.seed, **scores, "seconds": round(seconds, 1)}
    with whole_file(folder / CURVE) as file:
        history(folder).to_csv(file, index=False)
    with whole_file(folder / RESULT) as file:
        file.write(json.dumps(result, indent=1) + "\n")
    return result


def take_run(source: Path, folder: Path) -> None:
    """Copies a trained model, so that a run that starts from it does not depend on its folder."""
    if not (folder / CONFIG).exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in TAKEN:
            if (source / name).is_file():
                with replacement(folder / name) as file:
                    shutil.copyfile(source / name, file)


def read_curve(folder: Path) -> pd.DataFrame:
    """A row per epoch of a run that has ended."""
    return pd.read_csv(folder / CURVE)


def history(folder: str | Path) -> pd.DataFrame:
    """A row per epoch, from the logs of a run; an epoch that was broken off counts when it ended.

    Lightning begins a new log whenever a run is resumed.
    """
    logs = sorted(
        Path(folder, LOGS).glob("version_*/metrics.csv"),
        key=lambda path: int(path.parent.name.rpartition("_")[2]),
    )
    if not logs:
        raise DataError(f"{Path(folder, LOGS)} has no log. Delete {folder} and train again.")
    rows = pd.concat([_whole_rows(log) for log in logs])
    rows["epoch"] = rows["epoch"].astype(int) + 1
    return rows.groupby("epoch", as_index=False).last()


def _whole_rows(log: Path) -> pd.DataFrame:
    """A log without the line, if any, at which a full disk or a kill broke it off."""
    text = log.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    try:
        return pd.read_csv(StringIO(whole)) if whole else pd.DataFrame({"epoch": []})
    except ValueError as error:
        raise DataError(f"{log}: no log of a run: {error}.") from None


def weights(folder: str | Path, name: str = BEST) -> dict[str, torch.Tensor]:
    """The parameters of a run's best epoch.

    Raises:
        DataError: If the folder has no such checkpoint.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise DataError(f"{path} does not exist. Train a model into {folder} first.")
    return checkpoint(path)["state_dict"]


def restore(model: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Gives a model its parameters.

    Args:
        model: The model.
        state: Its parameters.
        path: The checkpoint that they are from.

    Raises:
        DataError: If they are those of another model.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        why = str(error).partition("\n\t")[2].partition("\n")[0].strip()
        raise DataError(f"{path} is not of the model of {CONFIG} and {VOCABULARY}: {why}") from None
