"""Checkpoints that are whole, that load without pickles, and that lack nothing of a run's state.

What Lightning does not do: random states, a run that is killed after it stopped early or moved to
another folder, files that appear when they are complete.
"""

import random
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from examples.data import DataError
from examples.data.text import replacement


def checkpoint(path: str | Path, where: Any = "cpu") -> dict[str, Any]:
    """What a checkpoint holds, loaded without executing pickles.

    Raises:
        DataError: If it is not complete, or something else.
    """
    content = BytesIO(Path(path).read_bytes())
    try:
        found = torch.load(content, map_location=where, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, UnpicklingError) as error:
        found = str(error).partition("\n")[0]
    if not isinstance(found, dict) or "state_dict" not in found:
        found = found if isinstance(found, str) else "it has no state_dict"
        raise DataError(
            f"{path}: no complete checkpoint: {found}. Delete {Path(path).parent} and train again."
        )
    return found


class RandomStates(Callback):
    """Keeps the states of all generators of random numbers in the checkpoint.

    As tensors and plain numbers: the checkpoint loads without executing pickles.
    """

    def __init__(self):
        self._loaded: dict[str, Any] = {}

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
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
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers them until everything that draws numbers is set up."""
        self._loaded = checkpoint["random_states"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
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


class Stopping(EarlyStopping):
    """Early stopping that a run remembers which was killed after it stopped."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Lightning would train one more epoch before it looks."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Checkpoint(ModelCheckpoint):
    """Checkpoints of a folder that may be renamed, or moved, between two parts of a run."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """With the files where they are now: Lightning forgets the best score if they moved."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        moved = {name: here(state_dict[name]) for name in state_dict if name.endswith("_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(
            state_dict | moved | {"best_k_models": best, "dirpath": self.dirpath}
        )


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that take the place of older ones when they are complete.

    Lightning's own are written where the system keeps temporary files. If that is another disk,
    moving them is copying, and a run that is killed meanwhile is left with a part of a checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes beside the old file, then renames."""
        buffer = BytesIO()  # torch's own writing hides what the system says, such as a full disk
        torch.save(checkpoint, buffer)
        with replacement(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The same, and says so if the file is not complete."""
        return checkpoint(path, map_location)
