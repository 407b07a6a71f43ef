"""Feasible sets around others: decided by a callable, within a time, or with a look at each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._abstract_set import AbstractFeasibleSet, hull_search_of
from ._checks import function, tensor
from ._masks import Low
from ._plan.failures import Report, TimeLimit
from ._polytope.polytope import Polytope


class Wrapped(AbstractFeasibleSet):
    """A feasible set that answers as another one does.

    Args:
        feasible_set: The other one.
    """

    def __init__(self, feasible_set: AbstractFeasibleSet):
        self.feasible_set = feasible_set
        self.event_dim = feasible_set.event_dim  # type: ignore[misc]

    def __repr__(self) -> str:
        return repr(self.feasible_set)

    def fields_with_graph(self) -> tuple[str, ...]:
        """Return those of the set."""
        return self.feasible_set.fields_with_graph()

    def own_decoder(self) -> Any:
        """Return that of the set."""
        return self.feasible_set.own_decoder()

    @property
    def relaxation(self) -> Polytope:
        """The relaxation of the set."""
        return self.feasible_set.relaxation

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one structure of the set."""
        return self.feasible_set.event_shape

    @property
    def decides_integers(self) -> bool:
        """Whether every decision of the set is integers."""
        return self.feasible_set.decides_integers

    def decode(self, scores: Tensor) -> Tensor:
        """Return the best structures of the set."""
        return self.feasible_set.decode(scores)

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode as the set does; the limit is in the report."""
        return self.feasible_set.decode_instances(scores, report)

    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor | None:
        """Decode some instances as the set does."""
        return self.feasible_set.decode_rows(scores, rows, batch, report)

    def hull_search(self, batch: torch.Size) -> Callable[..., Any] | None:
        """Return that of the set."""
        return hull_search_of(self.feasible_set, batch)

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project as the set does."""
        return self.feasible_set.answer_projection(y, report)

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return what the set makes of scores or points."""
        return self.feasible_set.admit(x, name)

    def prepare(self, like: Tensor, decides: bool) -> None:
        """Compile what the set needs."""
        self.feasible_set.prepare(like, decides)

    def free_parts(self, device: torch.device) -> Tensor | None:
        """Return the free parts of the set."""
        return self.feasible_set.free_parts(device)

    def least_parts(self, like: Tensor, decides: bool) -> Tensor | float | None:
        """Return those of the set."""
        return self.feasible_set.least_parts(like, decides)

    def project_needed(
        self, y: Tensor, low: Low, numbers: list[int], report: Report, first: bool
    ) -> dict[int, Tensor]:
        """Project as the set does."""
        return self.feasible_set.project_needed(y, low, numbers, report, first)

    def part_width(self) -> float | None:
        """Return that of the set."""
        return self.feasible_set.part_width()

    def contains(self, z: Tensor) -> Tensor:
        """Tell whether each `z` is a structure of the set."""
        return self.feasible_set.contains(z)

    def log_partition(self, scores: Tensor) -> Tensor:
        """Return that of the set."""
        return self.feasible_set.log_partition(scores)

    def marginals(self, scores: Tensor) -> Tensor:
        """Return those of the set."""
        return self.feasible_set.marginals(scores)

    def entropy(self, scores: Tensor) -> Tensor:
        """Return that of the set."""
        return self.feasible_set.entropy(scores)

    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return samples of the set."""
        return self.feasible_set.sample(scores, generator)


class DecodedBy(Wrapped):
    """A feasible set whose structures are found by a callable of the user.

    Args:
        feasible_set: The set, which projects and sums as before.
        decoder: From scores to structures; it knows what minus infinity means.
    """

    def __init__(self, feasible_set: AbstractFeasibleSet, decoder: Callable[[Tensor], Tensor]):
        function(decoder, "decoder", "from scores to structures")
        super().__init__(feasible_set)
        self.decoder = decoder

    def own_decoder(self) -> Any:
        """Return the callable."""
        return self.decoder

    def decode(self, scores: Tensor) -> Tensor:
        """Return what the callable returns."""
        return tensor(self.decoder(scores), "decoder(scores)")

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Return what the callable returns."""
        return self.decode(scores)

    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor | None:
        """Return None: the callable is asked for whole batches."""
        return None

    def hull_search(self, batch: torch.Size) -> Callable[..., Any] | None:
        """Return None: a compiled search cannot ask the callable."""
        return None

    def least_parts(self, like: Tensor, decides: bool) -> Tensor | float | None:
        """Return those of the set, but leave minus infinity in scores to the callable."""
        return None if decides else super().least_parts(like, False)


class Limited(Wrapped):
    """A feasible set with a time limit, or with a look at every decision.

    Surrogates that decode in their backward pass so keep to the limit of their layer.

    Args:
        feasible_set: The set.
        limit: Of each call; None: without end.
        check: Whether every decision is held to the rows of the relaxation.
    """

    def __init__(
        self, feasible_set: AbstractFeasibleSet, limit: TimeLimit | None, check: bool = False
    ):
        super().__init__(feasible_set)
        self.limit, self.check = limit, check

    def time_limit(self) -> TimeLimit | None:
        """Return the limit, nothing of it spent."""
        return None if self.limit is None else TimeLimit(self.limit.seconds, self.limit.best)


def limited(
    feasible_set: AbstractFeasibleSet, limit: TimeLimit | None, check: bool = False
) -> AbstractFeasibleSet:
    """Return a set that keeps to a limit, and is checked; the set itself if neither is asked."""
    return feasible_set if limit is None and not check else Limited(feasible_set, limit, check)


def is_checked(feasible_set: AbstractFeasibleSet) -> bool:
    """Tell whether a user asked to have every decision of a set looked at."""
    return isinstance(feasible_set, Limited) and feasible_set.check
