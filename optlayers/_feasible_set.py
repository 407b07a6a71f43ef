"""The interface between a set of structures and the layer."""

from abc import ABC, abstractmethod
from typing import ClassVar, NoReturn

import torch
from torch import Tensor

from ._errors import InputError
from ._plan.maps import Report
from ._polytope.polytope import Polytope


class AbstractFeasibleSet(ABC):
    r"""A set $Z$ of structures that can be decoded, and a polytope $P \supseteq Z$ to project onto.

    Subclass this when the exact decoder needs more than (A, b) can say: `decode` may be exact on
    $Z$ while the backward pass projects onto the coarser `relaxation`, as in the paper. A
    `Polytope` needs no subclass: it decodes by its plan and is its own relaxation.

    Two methods are all a set needs. The others are abilities that some sets have: sums over all
    structures (`log_partition`, `marginals`), a test of membership (`contains`), a projection
    faster than the plan of `relaxation` (`project_instances`), a decoder that names the instances
    it cannot decode (`decode_instances`), and one of some instances alone (`decode_rows`).
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

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode, telling `report` which instances of the flattened batch have no answer.

        Those hold NaN in what is returned. What `optlayers.decode` and the layer call.
        """
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

    def project_instances(self, y: Tensor, report: Report) -> Tensor | None:
        """Project `(..., *event)` onto the relaxation; None: by the plan of `relaxation`."""
        return None

    def free_parts(self, device: torch.device) -> Tensor | None:
        """Booleans, true at parts that can be chosen, broadcasting against scores; None: all.

        The others (padding, pruned parts) get no gradient, whatever the surrogate.
        """
        return None

    def contains(self, z: Tensor) -> Tensor:
        """Whether each `z` of the batch is a structure of the set: booleans of the batch shape."""
        self._has_no("test of membership")

    def log_partition(self, scores: Tensor) -> Tensor:
        r"""$\log \sum_{z \in Z} \exp(z \cdot s)$, of the batch shape; differentiable."""
        self._has_no("tractable sum over its structures")

    def marginals(self, scores: Tensor) -> Tensor:
        r"""$\mathbb{E}[z]$ under $p(z) \propto \exp(z \cdot s)$; differentiable."""
        self._has_no("tractable marginals")

    def _has_no(self, ability: str) -> NoReturn:
        raise InputError(f"{self!r} has no {ability}.")
