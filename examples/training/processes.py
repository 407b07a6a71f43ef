"""Training by several processes: what each does alone, and what they tell each other.

Lightning starts them and averages their gradients. Each batch is dealt out to all of them, so that
they take the steps that one process would take; scores and losses are of all sentences together.
"""

from typing import TYPE_CHECKING, Any, TypeVar

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, distributed

from examples.parsing.batches import Batch, Batches

if TYPE_CHECKING:
    from .module import JointModule, Parsed

T = TypeVar("T")
Totals = dict[str, tuple[float, int]]


def is_first() -> bool:
    """Whether this process is the one that writes files and prints."""
    return getattr(rank_zero_only, "rank", 0) == 0


def gathered(value: T) -> list[T]:
    """The values of all processes, in their order; in a process alone just its own."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def strategy(devices: int | str) -> DDPStrategy | str:
    """How Lightning trains on so many devices.

    A batch of one kind has no gradients for what only batches of another kind reach. Several
    processes have to look for parameters without any; else they would wait for each other for ever.
    """
    return "auto" if str(devices) == "1" else DDPStrategy(find_unused_parameters=True)


def no_loss(model: "JointModule[Any]", batch: Batch) -> Tensor:
    """Zero, of the same parameters as the loss of a batch: gradients of zero for just these.

    Not zero times the loss: what a surrogate gives back for a gradient of zero need not be zero.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(model.loss(batch), parameters, allow_unused=True)
    used = [p for p, grad in zip(parameters, found, strict=True) if grad is not None]
    return torch.stack([p.flatten()[:0].sum() for p in used]).sum()


class Processes(Callback):
    """Deals out batches, and puts together what the processes have.

    The first of the callbacks, as the others read what it puts together.

    Args:
        batches: Those to deal out.
    """

    def __init__(self, *batches: Batches):
        self.batches = batches
        self._totals: list[Totals] = []

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Tells the batches which part of them is wanted."""
        for batches in self.batches:
            batches.rank, batches.world = trainer.global_rank, trainer.world_size

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Takes back this process's losses of an unfinished epoch."""
        if len(self._totals) == trainer.world_size:
            pl_module.totals = dict(self._totals[trainer.global_rank])
        self._totals = []

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The sentences of all processes, for scores that are exact."""
        together: Parsed = {}
        for parsed in gathered(pl_module.parsed):
            for kind, (gold, system) in parsed.items():
                golds, systems = together.setdefault(kind, ([], []))
                golds += gold
                systems += system
        pl_module.parsed = together

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The losses of all processes."""
        together: Totals = {}
        for totals in gathered(pl_module.totals):
            for kind, (total, count) in totals.items():
                known, counted = together.get(kind, (0.0, 0))
                together[kind] = (known + total, counted + count)
        pl_module.totals = together

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the losses that each process has seen in this epoch."""
        checkpoint["totals_of_processes"] = gathered(dict(pl_module.totals))

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers them until the training starts."""
        self._totals = checkpoint.get("totals_of_processes", [])
