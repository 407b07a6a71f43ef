"""Semantic graphs over padded sentences: their parts, masks, and graphs as lists."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..._errors import InputError
from ..._kernels.untraced import eager
from ..masked import PartMask
from ..padded import PaddedSentences
from . import marginals as sums
from .lists import Arc, arcs_of_labels, as_deterministic, parts_of_arcs
from .parts import GraphLayout, SemanticParts


class SentenceGraphs(PaddedSentences):
    """Predicates, arcs and labelled arcs of every sentence; what is not allowed is never chosen.

    The constructor of a subclass calls `_start_with`.
    """

    event_dim: ClassVar[int] = 1

    def _start_with(
        self, labels: int, deterministic: Any, predicates: bool, arcs: Any, mask: Any
    ) -> None:
        """Lay the parts out; lengths have been read."""
        if isinstance(labels, bool) or not isinstance(labels, int | np.integer) or labels < 1:
            raise InputError(f"`labels` must be a positive number of labels. Got {labels!r}.")
        self.num_labels, self.predicates = int(labels), bool(predicates)
        self.deterministic = as_deterministic(deterministic, self.num_labels)
        self._layout = GraphLayout(self.lengths, self.size, int(labels), self.predicates, arcs)
        self.batch_shape = self._layout.batch_shape
        self.num_slots, self.num_parts = self._layout.num_slots, self._layout.num_parts
        self._mask = None if mask is None else self._read_mask(mask)

    def _read_mask(self, mask: Any) -> PartMask:
        found = PartMask(mask, self.event_shape)
        self.batch_shape = found.joined(self.batch_shape)
        return found

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return scores or points with minus infinity at parts that the mask forbids."""
        x = super().admit(x, name)
        return x if self._mask is None else self._mask.on(x)

    def _open_parts(self) -> Tensor:
        free = self.free_parts(self.device)
        return free if self._mask is None else self._mask.among(free)

    def free_parts(self, device: torch.device) -> Tensor:
        """Return the predicates, arcs and labels that can be chosen."""
        return self._layout.free(device)

    @property
    def event_shape(self) -> tuple[int]:
        """The parts, side by side."""
        return (self.num_parts,)

    def _layout_in_words(self) -> str:
        return (
            f"{self._layout.offset} predicates, {self.num_slots} slots of an arc and "
            f"{self.num_labels} labels (see `pack`)"
        )

    def indicator(
        self, *kinds: Literal["predicates", "arcs", "labels"], device: Any = None
    ) -> Tensor:
        """Return 1 at parts of the given kinds, else 0, `(num_parts,)`; to weigh costs.

        Examples:
            >>> import optlayers as ol
            >>> graphs = ol.SemanticGraphs(2, labels=2)
            >>> counted = graphs.indicator("labels")  # mistakes in labelled arcs count
            >>> costs = (0.4 * counted, 0.6 * counted)  # for `structured_hinge`
        """
        if unknown := sorted(set(kinds) - set(SemanticParts._fields)):
            raise InputError(f"Parts are {', '.join(SemanticParts._fields)}. Got {unknown[0]!r}.")
        found = torch.zeros(self.num_parts, device=self.device if device is None else device)
        own, slots = self._layout.split(found)  # views
        parts = {"predicates": own, "arcs": slots[:, :1], "labels": slots[:, 1:]}
        for kind in kinds:
            if (part := parts[kind]) is not None:
                part.fill_(1)
        return found

    @property
    def arc_index(self) -> Tensor:
        """`(..., K, 2)`: predicate and argument of every slot; -1 where none may be chosen."""
        position = self._layout.slots.position
        pairs = torch.stack([position // max(self.size, 1), position % max(self.size, 1)], -1)
        return torch.where(self._layout.slots.allowed[..., None], pairs, -1).to(self.device)

    @property
    def arc_mask(self) -> Tensor:
        """Booleans `(..., K)`: slots that may be chosen."""
        return self._layout.slots.allowed.to(self.device)

    @property
    def part_names(self) -> list[str]:
        """Names of the parts, for printing, of a set whose sentences share their slots.

        Predicates by number, "0->1" for arcs, "0-[2]->1" for arcs with label 2.
        """
        names = [f"{i}" for i in range(self._layout.offset)]
        for place in self._layout.shared_position().tolist():
            i, j = divmod(place, self.size) if place >= 0 else (-1, -1)
            names += [f"{i}->{j}", *(f"{i}-[{label}]->{j}" for label in range(self.num_labels))]
        return names

    def pack(
        self,
        predicates: Tensor | None = None,
        arcs: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Pack scores of the parts side by side, as the set wants them; differentiable.

        Args:
            predicates: `(..., n)`. Zeros if not given.
            arcs: `(..., n, n)`, predicates by arguments, or already in slots, `(..., K)`. Zeros if
                not given.
            labels: `(..., n, n, L)`, or already in slots, `(..., K, L)`. Zeros if not given.

        Raises:
            InputError: If a tensor has another shape, or predicates are given that are no parts.
        """
        return self._layout.pack(predicates, arcs, labels)

    def unpack(self, z: Tensor) -> SemanticParts:
        """Return views of the parts of scores or structures, without a copy."""
        self._batch(z, "z")
        own, slots = self._layout.split(z)
        return SemanticParts(own, slots[..., 0], slots[..., 1:])

    # ------------------------------------------------------------------ graphs as lists

    def from_arcs(
        self,
        graphs: Sequence[Sequence[Arc]],
        missing: Literal["raise", "drop"] = "raise",
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Return the 0/1 tensor `(*batch, num_parts)` of graphs given as lists of arcs.

        Predicates are the words with an arc.

        Args:
            graphs: For each sentence of the flattened batch, its triples
                `(predicate, argument, label)`.
            missing: What to do about a pruned arc: "raise", or "drop" it.
            dtype: The default dtype if not given.
            device: The device of the lengths if not given.

        Raises:
            InputError: If an arc is not between two words of its sentence, is there twice, has
                no such label, or was pruned.
        """
        sentence, part = parts_of_arcs(graphs, self._layout, missing)
        device = self.device if device is None else torch.device(device)
        z = torch.zeros(len(graphs) * self.num_parts, dtype=dtype, device=device)
        z[torch.from_numpy(sentence * self.num_parts + part).to(device)] = 1
        return z.reshape(*self.batch_shape, self.num_parts)

    def to_arcs(self, z: Tensor) -> list[list[Arc]]:
        """List the triples `(predicate, argument, label)` of each sentence of the flat batch."""
        batch = self._batch(z, "z")
        _, arcs, labels = self.unpack(z.detach())
        chosen = (labels != 0) & (arcs != 0)[..., None]
        chosen = chosen.reshape(batch.numel(), *labels.shape[-2:])
        return arcs_of_labels(chosen, self._layout.positions(batch), self.size)

    @eager
    def contains(self, z: Tensor) -> Tensor:
        """Tell whether each `z` is a graph of the set: booleans of the batch shape."""
        self._batch(z, "z")
        parts, allowed = self.unpack(z.detach()), self._layout.allowed(z.device)
        free = self.free_parts(z.device)
        free = free if self._mask is None else self._mask.among(free)
        inside = ((z == 0) | ((z == 1) & free)).all(-1)
        arcs, labels = parts.arcs != 0, parts.labels != 0
        inside &= (labels.sum(-1) == arcs).all(-1)
        if parts.predicates is not None:
            used = sums.per_predicate(arcs.long(), allowed) > 0
            inside &= (~used | (parts.predicates != 0)).all(-1)
        if self.deterministic:
            roles = labels[..., list(self.deterministic)].transpose(-1, -2).long()
            if allowed.predicate is not None:
                allowed = allowed._replace(predicate=allowed.predicate[..., None, :])
            inside &= (sums.per_predicate(roles, allowed) <= 1).all(-1).all(-1)
        return inside
