"""What a run keeps so that it can be resumed and read."""

import csv
import random
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar

from .config import Config

LAST, BEST = "last.ckpt", "best.ckpt"


class RandomStates(Callback):
    """Keeps the states of all generators of random numbers in the checkpoint.

    As tensors and plain numbers: the checkpoint loads without executing pickles.
    """

    def __init__(self):
        self._loaded: dict[str, Any] = {}

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module, checkpoint: dict[str, Any]
    ) -> None:
        """Adds them."""
        name, keys, *rest = np.random.get_state()  # noqa: NPY002  (that of the global generator)
        checkpoint["random_states"] = {
            "python": random.getstate(),
            "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers them until everything that draws numbers is set up."""
        self._loaded = checkpoint.get("random_states", {})

    def on_train_start(self, trainer: lightning.Trainer, pl_module) -> None:
        """Restores them."""
        if not self._loaded:
            return
        version, state, gauss = self._loaded["python"]
        random.setstate((version, tuple(state), gauss))
        name, keys, *rest = self._loaded["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(self._loaded["torch"].cpu())
        if self._loaded["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._loaded["cuda"]])
        self._loaded = {}


class History(Callback):
    """One row of numbers per epoch, in `metrics.csv`; resumes where the checkpoint was.

    Args:
        path: The file, written anew after each epoch.
    """

    def __init__(self, path: Path):
        self.path, self.rows = path, []
        self._start = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module) -> None:
        """Stops the clock."""
        self._seconds = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module) -> None:
        """Adds a row."""
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row |= {name: round(float(v), 6) for name, v in trainer.callback_metrics.items()}
        # The module logs its losses after the callbacks have run.
        for kind, (total, count) in pl_module.totals.items():  # type: ignore[operator, union-attr]
            if count:
                row[f"train/{kind}_loss"] = round(total / count, 6)
        self.rows.append(row | {"seconds": round(self._seconds, 2)})
        if trainer.is_global_zero:
            write_rows(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back the rows of the checkpoint; later ones are forgotten."""
        self.rows = list(state_dict["rows"])


class Lines(Callback):
    """A line per epoch, where no progress bar can be shown."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module) -> None:
        """Prints the latest row of the history."""
        history = next(c for c in trainer.callbacks if isinstance(c, History))  # type: ignore[attr-defined]
        numbers = (f"{name} {value:g}" for name, value in history.rows[-1].items())
        print(", ".join(numbers), file=sys.stderr, flush=True)


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes a CSV file in one go: what is killed leaves the old file."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def make_callbacks(
    config: Config, output: Path, monitor: str, save_every: int | None, quiet: bool
) -> list[Callback]:
    """All callbacks of a run, the last of them the checkpoint to resume from.

    Args:
        config: Of the run.
        output: Its folder.
        monitor: The score that decides which epoch was best and when to stop.
        save_every: Steps between checkpoints within an epoch.
        quiet: Whether to show no progress.
    """
    callbacks: list[Callback] = [RandomStates(), History(output / "metrics.csv")]
    if not quiet:
        callbacks.append(RichProgressBar() if sys.stderr.isatty() else Lines())
    callbacks.append(EarlyStopping(monitor, mode="max", patience=config.patience, min_delta=0.0))
    common: dict[str, Any] = {"dirpath": output, "enable_version_counter": False}
    best = ModelCheckpoint(filename=Path(BEST).stem, monitor=monitor, mode="max", **common)
    # No monitor: the latest replaces the one before.
    last = ModelCheckpoint(
        filename=Path(LAST).stem,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        **common,
    )
    steps = [ModelCheckpoint(filename="last", every_n_train_steps=save_every, **common)]
    return [*callbacks, best, *(steps if save_every else []), last]
