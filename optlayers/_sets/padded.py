"""Common parts of sets with a batch of their own, and of those over padded sentences."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._abstract_set import AbstractFeasibleSet
from .._checks import tensor, untraced
from .._errors import InputError
from .._plan.failures import Report
from .._polytope.arguments import as_host_tensor


class BatchedSet(AbstractFeasibleSet):
    """A set of structures for every instance of a batch, which scores have to have."""

    batch_shape: torch.Size
    noun: ClassVar[str] = "instance"  # what an entry of the batch is

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one structure: the last `event_dim` dimensions of scores."""

    @abstractmethod
    def _layout_in_words(self) -> str:
        """Return what the dimensions of a structure are, for messages."""

    def _batch(self, x: Tensor, name: str = "scores") -> torch.Size:
        """Return the batch shape of scores or structures; refuse what is none."""
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            found = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"`{name}` must be a tensor of floats. Got {found}.")
        untraced(name)
        shape = self.event_shape
        if x.shape[-len(shape) :] != shape:
            wanted = ", ".join(str(v) for v in shape)
            raise InputError(
                f"`{name}` must have shape (..., {wanted}): {self._layout_in_words()}. "
                f"Got {tuple(x.shape)}."
            )
        batch = x.shape[: x.ndim - len(shape)]
        if batch == self.batch_shape:
            return batch
        try:
            fits = torch.broadcast_shapes(batch, self.batch_shape) == batch
        except RuntimeError:
            fits = False
        if not fits:
            raise InputError(
                f"The batch of `{name}` must be that of the set, {tuple(self.batch_shape)}. "
                f"Got {tuple(batch)}."
            )
        return batch

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return scores or points as they are, of the shape and the batch of the set."""
        self._batch(x, name)
        return x

    def _structures(self, z: Any) -> Tensor:
        """Return structures of the set, real numbers of any kind; refuse what has another shape."""
        given, shape = tensor(z, "z"), self.event_shape
        if given.shape[-len(shape) :] != shape or given.is_complex():
            wanted = ", ".join(map(str, shape))
            raise InputError(
                f"`z` must be real numbers of shape (..., {wanted}): {self._layout_in_words()}. "
                f"Got {given.dtype}, {tuple(given.shape)}."
            )
        return given

    def decode(self, scores: Tensor) -> Tensor:
        r"""Return the best structure of every instance, $\arg\max_{z \in Z} z \cdot s$.

        Scores of $-\infty$ forbid a part. Equal scores, equal answer.

        Raises:
            InputError: If a score in use is NaN or infinite; names the instance.
            InfeasibleError: If scores of $-\infty$ leave an instance without a structure.
        """
        report = Report()
        z_hat = self.decode_instances(scores, report)
        report.raise_first(self._batch(scores), self.noun)
        return z_hat

    def least_parts(self, like: Tensor, decides: bool) -> float:
        """Return 0: parts are chosen or not."""
        return 0.0

    @abstractmethod
    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode; NaN where `report` is told of a failure."""


class PaddedSentences(BatchedSet):
    """A set of structures for every sentence of a batch, of at most `size` words each."""

    lengths: Tensor
    device: torch.device
    size: int
    noun: ClassVar[str] = "sentence"

    def _read_lengths(self, lengths: int | Sequence[int] | Tensor, size: int | None) -> None:
        """Lengths as int64 on the host, and the size that holds them."""
        try:
            found = as_host_tensor(lengths)
        except (TypeError, ValueError):
            kind = type(lengths).__name__
            raise InputError(
                f"`lengths` must be integers, one each sentence. Got {kind}."
            ) from None
        if found.dtype == torch.bool or found.is_floating_point() or found.is_complex():
            if found.numel():
                raise InputError(f"`lengths` must be integers. Got {found.dtype}.")
            found = found.long()  # an empty list
        self.lengths = found.detach().to("cpu", torch.int64)
        if bool((self.lengths < 0).any()):
            raise InputError(f"`lengths` must not be negative. Got {int(self.lengths.min())}.")
        self.device = lengths.device if isinstance(lengths, Tensor) else torch.device("cpu")
        longest = int(self.lengths.max()) if self.lengths.numel() else 0
        self.size = longest if size is None else int(size)
        if longest > self.size:
            raise InputError(f"`size` must be at least the longest length, {longest}. Got {size}.")
