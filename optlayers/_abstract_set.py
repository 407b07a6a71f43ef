"""The interface between a set of structures and the layer."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from ._by_plan import admitted, by_plan, lowest
from ._deprecated import warn_deprecated
from ._errors import InputError
from ._masks import Low
from ._needed import project_needed
from ._plan.failures import Report, TimeLimit
from ._polytope.polytope import Polytope
from ._projections import PROJECTIONS


class AbstractFeasibleSet(ABC):
    r"""A set $Z$ of structures that can be decoded, and a polytope $P \supseteq Z$ to project onto.

    Subclass this when the exact decoder needs more than (A, b) can say: `decode` may be exact on
    $Z$ while the backward pass projects onto the coarser `relaxation`, as in the paper. A
    `Polytope` needs no subclass: it decodes by its plan and is its own relaxation.

    Two methods are all a set needs. The others are abilities that some sets have: sums over all
    structures (`log_partition`, `marginals`), a test of membership (`contains`), a projection
    faster than the plan of `relaxation` (`project_instances`), a decoder that names the instances
    it cannot decode (`decode_instances`), and one of some instances alone (`decode_rows`).
    Whoever overrides one may leave the rest to `super()`.
    """

    event_dim: ClassVar[int] = 1  # how many trailing dimensions of scores are one structure

    @abstractmethod
    def decode(self, scores: Tensor) -> Tensor:
        r"""Return $\arg\max_{z \in Z} z \cdot s$, with the shape, dtype and device of `scores`."""

    @property
    @abstractmethod
    def relaxation(self) -> Polytope:
        """The polytope that the backward pass projects onto, over the flattened structure."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one structure: the last `event_dim` dimensions of scores."""
        return (self.relaxation.n,)

    @property
    def decides_integers(self) -> bool:
        """Whether every decision is integers; structures are."""
        return True

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode, telling `report` which instances of the flattened batch have no answer.

        Those hold NaN in what is returned. What `optlayers.decode` and the layer call. A decoder
        of this kind knows what scores of minus infinity mean; one that is only a `decode` is
        checked afterwards, and structures that contain such a part are none.
        """
        report.lowest = 0.0
        return self.decode(scores)

    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor | None:
        """Decode some instances alone, `(M, *event)`; None: only whole batches.

        `ConvexHull` asks this, because instances are finished at different times.

        Args:
            scores: Those of the instances, `(M, *event)`.
            rows: Their numbers in the flattened batch, `(M,)`, on the CPU.
            batch: The batch that they are a part of.
            report: Of failures, by number in the flattened batch; NaN there.
        """
        return None

    def hull_search(self, batch: torch.Size) -> Callable[..., Any] | None:
        """Return compiled searches of the hull's nearest points; None: by `decode_rows`."""
        return None

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project `(..., *event)` onto the relaxation; here, by its plan.

        Instances of the flattened batch without an answer hold NaN, and `report` is told. Half
        precision may be answered in float32.
        """
        free, relaxation = self.free_parts(y.device), self.relaxation
        y = y if free is None else torch.where(free, y, 0)
        lead = y.ndim - self.event_dim
        flat = admitted(relaxation, y if self.event_dim == 1 else y.flatten(-self.event_dim), "y")
        report.spread(y.shape[:lead], flat.shape[:-1])
        z = by_plan(relaxation, PROJECTIONS, flat, report)
        return z.reshape(*z.shape[:-1], *y.shape[lead:])

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return scores or points in the batch of the answer, before anything is asked.

        Args:
            x: As the user gave it.
            name: What messages call it: "scores" or "y".

        Raises:
            InputError: If `x` has not the shape of the set. Here, nothing is looked at.
        """
        return x

    def own_decoder(self) -> Any:
        """Return the class or the function of a user that decides; None: the library does.

        Its first decisions are held to the rows of `relaxation`.
        """
        return None if is_built_in(type(self)) else type(self)

    def fields_with_graph(self) -> tuple[str, ...]:
        """Return which rows, right-hand sides and bounds require a gradient; here, none."""
        return ()

    def reading(self, x: Any) -> "AbstractFeasibleSet":
        """Return the set as scores or points of that shape mean it: vectors, or arrays; here, self.

        Args:
            x: A tensor; anything else is refused later.
        """
        return self

    def time_limit(self) -> TimeLimit | None:
        """Return how long a solver may take for each instance of a call; here, without end."""
        return None

    def prepare(self, like: Tensor, decides: bool) -> None:
        """Compile what a call needs on the device and in the dtype of `like`; here, nothing.

        Args:
            like: On that device, in that dtype.
            decides: Whether the call decodes; else it projects.
        """
        return None  # a set of structures has nothing that depends on the device

    def answer_projection(self, y: Tensor, report: Report) -> Tensor:
        """Return what `project_instances` does, or by the plan of `relaxation` if that is None.

        None was the rule before; it works for this version.
        """
        z = self.project_instances(y, report)
        if z is None:
            old = f"None from `{type(self).__name__}.project_instances`"
            warn_deprecated(old, "`return super().project_instances(y, report)`")
            z = AbstractFeasibleSet.project_instances(self, y, report)
        return z

    def at_once(self, x: Tensor, decides: bool, report: Report) -> Tensor | None:
        """Return decisions or projections where nothing has to be prepared, settled or told.

        Args:
            x: An ordinary tensor of floats in the memory of the CPU; whatever it holds.
            decides: Whether a decision is asked for; else a projection.
            report: Told who answered.

        Returns:
            None where a call has to be prepared after all; here, always.
        """
        return None

    def free_parts(self, device: torch.device) -> Tensor | None:
        """Booleans, true at parts that can be chosen, broadcasting against scores; None: all.

        The others (padding, pruned parts) get no gradient, whatever the surrogate.
        """
        return None

    def least_parts(self, like: Tensor, decides: bool) -> Tensor | float | None:
        """Return the least value of every part, where scores that forbid it leave it; here, 0.

        Args:
            like: Scores or points, in the batch of the answer.
            decides: Whether a decision is asked for; else a projection, onto the relaxation.

        Returns:
            A number, or a tensor that broadcasts against `like`; None if minus infinity is to be
            handed over as it is.
        """
        if decides:
            return 0.0
        flat = like if self.event_dim == 1 else like.flatten(-self.event_dim)
        least = lowest(self.relaxation, PROJECTIONS, admitted(self.relaxation, flat, "y"))
        return least.reshape(*least.shape[:-1], *like.shape[like.ndim - self.event_dim :])

    def project_needed(
        self, y: Tensor, low: Low, numbers: list[int], report: Report, first: bool
    ) -> dict[int, Tensor]:
        """Return projections that cannot do without masked parts, where they are known.

        In the limit of masks that fall for ever: as little of masked parts as there can be, and
        the nearest point of those; here, by the rows of `relaxation`.

        Args:
            y: Points with masks, in the batch of the answer.
            low: Its masked parts.
            numbers: Of the instances in the flattened batch.
            report: Told who answered.
            first: Whether nothing else was tried yet; numbers just below the others often do.
        """
        if first:
            return {}
        free = self.free_parts(y.device)
        y = y if free is None else torch.where(free, y, 0)
        flat = y if self.event_dim == 1 else y.flatten(-self.event_dim)
        return project_needed(self.relaxation, flat, low, numbers, report)

    def part_width(self) -> float | None:
        """Return by how much a part of two structures of integers differs at most; None: unknown.

        Here, 1 for sets of the library, whose parts are chosen or not.
        """
        return 1.0 if is_built_in(type(self)) and self.decides_integers else None

    def contains(self, z: Tensor) -> Tensor:
        """Tell whether each `z` of the batch is a structure of the set: booleans of the batch."""
        self._has_no("test of membership")

    def log_partition(self, scores: Tensor) -> Tensor:
        r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, of the batch shape; differentiable."""
        self._has_no("tractable sum over its structures")

    def marginals(self, scores: Tensor) -> Tensor:
        r"""Return $\mathbb{E}[z]$ under $p(z) \propto \exp(z \cdot s)$; differentiable."""
        self._has_no("tractable marginals")

    def entropy(self, scores: Tensor) -> Tensor:
        r"""Return $\log Z - \mu \cdot s$, of the batch shape; differentiable.

        Sets whose sums are exact for scores of any size say it without a difference of such.
        """
        mu, total = self.marginals(scores), self.log_partition(scores)
        dims = tuple(range(-self.event_dim, 0))
        return total - torch.where(mu == 0, 0, mu * torch.where(mu == 0, 0, scores)).sum(dims)

    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw a structure of every instance from $p(z) \propto \exp(z \cdot s)$."""
        self._has_no("exact samples")

    def _has_no(self, ability: str) -> NoReturn:
        raise InputError(f"{self!r} has no {ability}.")


def is_built_in(kind: type) -> bool:
    """Tell whether a class is one of the library's."""
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def hull_search_of(
    feasible_set: AbstractFeasibleSet, batch: torch.Size
) -> Callable[..., Any] | None:
    """Return the hull search of a set; none if a subclass decodes otherwise than it would."""
    for kind in type(feasible_set).__mro__:
        if "hull_search" in vars(kind):
            return feasible_set.hull_search(batch)
        if "decode_rows" in vars(kind):
            break
    return None
