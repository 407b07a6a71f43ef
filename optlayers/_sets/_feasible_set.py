"""The interface between a set of structures and the layer."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from .._polytope import Polytope


class AbstractFeasibleSet(ABC):
    r"""A set $Z$ of structures that can be decoded, and a polytope $P \supseteq Z$ to project onto.

    Subclass this when the exact decoder needs more than (A, b) can say: `decode` may be exact on
    $Z$ while the backward pass projects onto the coarser `relaxation`, as in the paper. A
    `Polytope` needs no subclass: it decodes by its plan and is its own relaxation.
    """

    event_dim: ClassVar[int] = 1  # how many trailing dimensions of scores are one structure

    @abstractmethod
    def decode(self, scores: Tensor) -> Tensor:
        r"""Return $\arg\max_{z \in Z} z \cdot s$, with the shape, dtype and device of `scores`."""

    @property
    @abstractmethod
    def relaxation(self) -> Polytope:
        """The polytope that the backward pass projects onto, over the flattened structure."""
