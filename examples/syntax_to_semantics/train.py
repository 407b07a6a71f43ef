"""Trains one model with one seed; resumes what was interrupted."""

import json
import logging
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from examples.data import Corpus
from examples.data.text import output as whole_file
from examples.parsing.batches import Batches
from examples.parsing.vocabulary import Vocabulary

from .callbacks import LAST, WholeFiles, make_callbacks
from .config import Config, ConfigError
from .evaluate import evaluate
from .model import JointParser
from .multitask import banks
from .processes import is_first, strategy
from .pruner import FOLDER as PRUNER
from .pruner import train_pruner
from .run import CONFIG, PARSER, RESULT, VOCABULARY, load_data, load_model, make_model

IGNORED = (  # each is about a choice made here on purpose
    ".*does not have many workers.*",  # batches are made faster than they are used
    ".*Checkpoint directory .* exists and is not empty.*",  # it is resumed from
    ".*dataloader.*batch size.*",
    ".*GPU available but not used.*",
    ".*recommended to use `self.log.*sync_dist=True.*",  # all processes log the same numbers
    ".*find_unused_parameters=True was specified.*",  # only batches of trees leave some unused
    ".*isinstance.treespec, LeafSpec.*",  # Lightning, of torch 2.13
    ".*You're resuming from a checkpoint that ended before the epoch ended.*",  # it is exact
)


def train(
    config: Config,
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
    _claim(output, config)
    if (output / RESULT).exists():
        return json.loads((output / RESULT).read_text(encoding="utf-8"))
    start = time.perf_counter()
    corpus = load_data(config) if corpus is None else corpus
    settings = {"accelerator": accelerator, "devices": devices, "precision": precision}
    settings |= {"quiet": quiet, "save_every": save_every, "tensorboard": tensorboard}
    settings |= trainer_options
    lightning.seed_everything(config.seed, verbose=False)
    model = make_model(config, corpus)
    if model.method.pretrained or config.pretrain:
        _pretrain(model, output / PARSER, corpus, settings)
    if model.pruner is not None:
        train_pruner(model, output / PRUNER, corpus, settings)
    _keep_vocabulary(model, output / VOCABULARY)
    _fit(model, corpus, output, **settings)
    if not is_first():
        return {}
    best = load_model(output)
    result = {"config": config.method, "seed": config.seed, "treebank": config.treebank}
    result |= {part: evaluate(best, corpus, part) for part in ("dev", "test")}
    result["seconds"] = round(time.perf_counter() - start, 1)
    with whole_file(output / RESULT) as file:
        file.write(json.dumps(result, indent=1) + "\n")
    return result


def _claim(output: Path, config: Config) -> None:
    """The folder is this run's, or the run says why not."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / CONFIG
    if path.exists() and Config.load(path) != config:
        raise ConfigError(
            f"{output} holds a run with other settings ({path.name}). Choose another --output, or "
            "delete it."
        )
    if is_first() and not path.exists():
        config.save(path)


def _keep_vocabulary(model: JointParser, path: Path) -> None:
    """Writes it, or says that a run to resume was of other data."""
    if path.exists() and Vocabulary.load(path) != model.vocabulary:
        raise ConfigError(
            f"{path} is the vocabulary of other data: the files have changed since this run began. "
            "Choose another --output, or delete it."
        )
    if is_first() and not path.exists():
        model.vocabulary.save(path)


def _pretrain(model: JointParser, folder: Path, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Trains the syntactic parser as a run of its own, and takes its best epoch."""
    alone = replace(model.config, method="syntax", pretrain=False, surrogate_options={})
    train(alone, folder, corpus=corpus, **settings)
    parser = load_model(folder)
    if parser.vocabulary != model.vocabulary:
        raise ConfigError(f"{folder} has the vocabulary of other data. Delete it.")
    assert model.syntax is not None
    assert parser.syntax is not None
    model.syntax.load_state_dict(parser.syntax.state_dict())
    lightning.seed_everything(model.config.seed, verbose=False)


def _fit(
    model: JointParser,
    corpus: Corpus,
    output: Path,
    *,
    save_every: int | None,
    tensorboard: bool,
    quiet: bool,
    **trainer_options: Any,
) -> None:
    config, method = model.config, model.method
    train_part, dev_part = banks(method, corpus, "train"), banks(method, corpus, "dev")
    batches = Batches(
        train_part, model.vocabulary, config.batch_size, config.seed, pairs=config.pairs
    )
    dev = Batches(dev_part, model.vocabulary, 2 * config.batch_size, pairs=config.pairs)
    callbacks = make_callbacks(
        config,
        output,
        monitor="dev/LF" if method.semantics else "dev/UAS",
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


def _trainer(
    options: dict[str, Any], config: Config, callbacks: list[Callback], quiet: bool
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
