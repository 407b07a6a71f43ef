"""What a run keeps so that it can be killed, resumed and read."""

import csv
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.plugins.io import TorchCheckpointIO

from examples.data.text import output
from examples.parsing.batches import Batches

from .processes import Processes, gathered
from .settings import TrainingConfig

LAST, BEST = "last.ckpt", "best.ckpt"


class RandomStates(Callback):
    """Keeps the states of all generators of random numbers of all processes in the checkpoint.

    As tensors and plain numbers: the checkpoint loads without executing pickles.
    """

    def __init__(self):
        self._loaded: dict[str, Any] = {}

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Adds them."""
        name, keys, *rest = np.random.get_state()  # noqa: NPY002  (that of the global generator)
        own = {
            "python": random.getstate(),
            "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }
        checkpoint["random_states"] = gathered(own)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers them until everything that draws numbers is set up."""
        states = checkpoint.get("random_states", [])
        self._loaded = states[trainer.global_rank] if len(states) == trainer.world_size else {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Restores them; at the start of the training, each process draws numbers of its own."""
        if not self._loaded:
            if trainer.global_rank > 0:
                torch.manual_seed(torch.initial_seed() + trainer.global_rank)
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
        self._start = self._seconds = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Starts the clock, also in the middle of an epoch: with the seconds before the break."""
        self._start = time.perf_counter() - self._seconds

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Starts it anew."""
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Stops the clock."""
        self._seconds = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Adds a row."""
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row |= {name: round(float(v), 6) for name, v in trainer.callback_metrics.items()}
        # The module logs its losses after the callbacks have run.
        row |= {name: round(v, 6) for name, v in pl_module.mean_losses().items()}
        self.rows.append(row | {"seconds": round(self._seconds, 2)})
        self._start = time.perf_counter()
        if trainer.is_global_zero:
            write_rows(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, and the seconds of this epoch."""
        return {"rows": self.rows, "seconds": time.perf_counter() - self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back the rows of the checkpoint; later ones are forgotten."""
        self.rows, self._seconds = list(state_dict["rows"]), state_dict["seconds"]


class Board(Callback):
    """The rows of the history, for TensorBoard.

    A run that is resumed writes those of its checkpoint anew, and takes away what was written
    before: so each step is there once, whenever the run was killed.

    Args:
        folder: Where to write.
        history: Whose rows.
    """

    def __init__(self, folder: Path, history: History):
        self.folder, self.history = folder, history
        self._writer: Any = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Writes what the checkpoint has."""
        if not trainer.is_global_zero:
            return
        from torch.utils.tensorboard import SummaryWriter

        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(self.folder)
        for row in self.history.rows:
            self._write(row)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Writes the latest row."""
        if self._writer is not None:
            self._write(self.history.rows[-1])

    def teardown(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()


class Stopping(EarlyStopping):
    """Early stopping that a run remembers which was killed after it stopped."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Lightning would train one more epoch before it looks."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that take the place of older ones when they are complete.

    Lightning's own are written where the system keeps temporary files. If that is another disk,
    moving them is copying, and a run that is killed meanwhile is left with a part of a checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes beside the old file, then renames."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        torch.save(checkpoint, temporary)
        temporary.replace(path)


class Checkpoint(ModelCheckpoint):
    """A checkpoint that knows how good the best one is even if their folder was renamed."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning would forget the best score, and take a worse epoch for the best."""
        folder = str(self.dirpath)

        def here(path: str) -> str:
            return str(Path(folder) / Path(path).name) if path else path

        moved = {name: here(path) for name, path in state_dict.items() if name.endswith("_path")}
        best = {here(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"dirpath": folder, "best_k_models": best})


class WithinEpoch(Checkpoint):
    """Checkpoints every few steps, but not after the last step of an epoch.

    Lightning takes a run that goes on from there to be past the epoch, and skips its validation.
    The checkpoint of the whole epoch follows anyway.
    """

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves, unless the epoch is about to end."""
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class Lines(Callback):
    """A line per epoch, where no progress bar can be shown."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Prints the latest row of the history."""
        if not trainer.is_global_zero:
            return
        history = next(c for c in trainer.callbacks if isinstance(c, History))  # type: ignore[attr-defined]
        numbers = (f"{name} {value:g}" for name, value in history.rows[-1].items())
        print(", ".join(numbers), file=sys.stderr, flush=True)


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes a CSV file in one go: what is killed leaves the old file."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with output(path) as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make_callbacks(
    config: TrainingConfig,
    folder: Path,
    *,
    monitor: str,
    batches: Sequence[Batches],
    save_every: int | None,
    tensorboard: bool,
    quiet: bool,
) -> list[Callback]:
    """All callbacks of a run, the last of them the checkpoint to resume from.

    Args:
        config: Of the run.
        folder: Its folder.
        monitor: The score that decides which epoch was best and when to stop.
        batches: What is dealt out to the processes.
        save_every: Steps between checkpoints within an epoch.
        tensorboard: Whether to write for TensorBoard, into `FOLDER/tensorboard`.
        quiet: Whether to show no progress.
    """
    history = History(folder / "metrics.csv")
    callbacks: list[Callback] = [Processes(*batches), RandomStates(), history]
    if tensorboard:
        callbacks.append(Board(folder / "tensorboard", history))
    if not quiet:
        callbacks.append(RichProgressBar() if sys.stderr.isatty() else Lines())
    callbacks.append(Stopping(monitor, mode="max", patience=config.patience, min_delta=0.0))
    common: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    best = Checkpoint(filename=Path(BEST).stem, monitor=monitor, mode="max", **common)
    # No monitor: the latest replaces the one before.
    common["filename"] = Path(LAST).stem
    steps = [WithinEpoch(every_n_train_steps=save_every, **common)] if save_every else []
    last = Checkpoint(every_n_epochs=1, save_on_train_epoch_end=True, **common)
    return [*callbacks, best, *steps, last]
