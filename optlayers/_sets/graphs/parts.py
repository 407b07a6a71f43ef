"""Where the parts of semantic graphs lie in a flat vector."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..._errors import InputError
from ..._kernels.untraced import ordinary
from ..._plan.maps import send
from ..._polytope.arguments import as_host_tensor
from .marginals import Allowed

_MOST_SHAPED = 8  # copies for batches that a set was broadcast to


class SemanticParts(NamedTuple):
    """Views of the parts of semantic graphs, as `SemanticGraphs.unpack` returns them.

    Attributes:
        predicates: `(..., n)`, or None where predicates are no parts.
        arcs: `(..., K)`, one per slot.
        labels: `(..., K, L)`.
    """

    predicates: Tensor | None
    arcs: Tensor
    labels: Tensor


class Slots(NamedTuple):
    r"""The arcs that may be chosen, on the host.

    Attributes:
        position: `(..., K)`, $i n + j$ for the arc $i \to j$ of a slot; -1 at padding of the
            sparse layout. Without batch dimensions where all sentences have the same slots.
        allowed: `(..., K)` booleans, slots that may be chosen.
        first: `(..., n + 1)`: the slots of predicate i are `first[i]:first[i + 1]`.
        dense: Whether slot $i n + j$ is the arc $i \to j$.
    """

    position: Tensor
    allowed: Tensor
    first: Tensor
    dense: bool


class GraphLayout:
    """Where the parts of a batch of graphs lie, and copies of it for devices and batch shapes."""

    def __init__(self, lengths: Tensor, size: int, labels: int, predicates: bool, mask: Any):
        self.lengths, self.size, self.labels, self.predicates = lengths, size, labels, predicates
        self.slots = make_slots(lengths, size, mask)
        self.batch_shape = self.slots.allowed.shape[:-1]
        self.offset = size if predicates else 0
        self.num_slots = self.slots.position.shape[-1]
        self.num_parts = self.offset + self.num_slots * (1 + labels)
        self._copies: dict[Any, Any] = {}

    def split(self, z: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return views of the predicates, `(..., n)`, and of the slots, `(..., K, 1 + L)`."""
        slots = z[..., self.offset :].unflatten(-1, (self.num_slots, 1 + self.labels))
        return (z[..., : self.offset] if self.predicates else None), slots

    def join(self, predicates: Tensor | None, slots: Tensor) -> Tensor:
        """Join what `split` took apart."""
        slots = slots.flatten(-2)
        return slots if predicates is None else torch.cat([predicates, slots], -1)

    def pack(self, own: Tensor | None, arcs: Tensor | None, names: Tensor | None) -> Tensor:
        """Pack scores of predicates, arcs and labels in one vector; zeros where there are none."""
        if own is not None and not self.predicates:
            raise InputError("`predicates` are no parts of this set: predicates=False.")
        like = next((v for v in (own, arcs, names) if v is not None), None)
        if like is None:
            raise InputError("`pack` needs scores: `predicates`, `arcs` or `labels`.")
        size, slots, labels = self.size, self.num_slots, self.labels
        arcs = like.new_zeros(slots) if arcs is None else _in_slots(arcs, (), self.slots, "arcs")
        names = (
            like.new_zeros(slots, labels)
            if names is None
            else _in_slots(names, (labels,), self.slots, "labels")
        )
        own = like.new_zeros(size) if own is None else own
        if own.shape[-1:] != (size,):
            raise InputError(f"`predicates` must have shape (..., {size}). Got {tuple(own.shape)}.")
        leads = [own.shape[:-1], arcs.shape[:-1], names.shape[:-2]]
        batch = _common_batch(self.batch_shape, *leads)
        arcs, names = arcs.expand(*batch, slots)[..., None], names.expand(*batch, slots, labels)
        own = own.expand(*batch, size) if self.predicates else None
        return self.join(own, torch.cat([arcs, names], -1))

    @ordinary
    def allowed(self, device: torch.device) -> Allowed:
        """Return what may be chosen, on a device."""
        key = ("allowed", device)
        if key not in self._copies:
            words = torch.arange(self.size, device="cpu") < self.lengths[..., None]
            predicate = (
                None if self.slots.dense else self.slots.position.clamp(min=0) // max(self.size, 1)
            )
            self._copies[key] = Allowed(
                self.size,
                send(words, device),
                send(self.slots.allowed, device),
                None if predicate is None else send(predicate, device),
            )
        return self._copies[key]

    @ordinary
    def free(self, device: torch.device) -> Tensor:
        """Return booleans `(..., parts)`: what may be chosen, part by part."""
        key = ("free", device)
        if key not in self._copies:
            allowed = self.allowed(device)
            slots = allowed.slots[..., None].expand(*allowed.slots.shape, 1 + self.labels)
            words = allowed.words.expand(*self.batch_shape, -1) if self.predicates else None
            self._copies[key] = self.join(words, slots)
        return self._copies[key]

    @ordinary
    def chosen(self, batch: torch.Size, device: torch.device) -> Tensor:
        """Return numbers of the slots that may be chosen, in the flattened batch."""
        key = ("chosen", batch, device)
        if key not in self._copies:
            flat = self.slots.allowed.expand(*batch, -1).flatten()
            self._copies[key] = send(flat.nonzero()[:, 0], device)
            self._forget()
        return self._copies[key]

    def on_host(self, batch: torch.Size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Copy lengths `(N or 1,)`, first slots `(N or 1, n + 1)`, allowed slots `(N or 1, K)`."""
        key = ("host", batch)
        if key not in self._copies:
            found = []
            values = (self.lengths[..., None], self.slots.first, self.slots.allowed)
            for value in values:
                count = batch.numel() if value.ndim > 1 else 1
                full = value.expand(*batch, -1) if value.ndim > 1 else value
                found.append(full.reshape(count, value.shape[-1]).contiguous().numpy())
            self._copies[key] = (found[0][:, 0], found[1], found[2])
            self._forget()
        return self._copies[key]

    def _forget(self) -> None:
        """Keep copies of the latest batch shapes alone, however many a set is used with."""
        shaped = [key for key in self._copies if isinstance(key[1], torch.Size)]
        for key in shaped[:-_MOST_SHAPED]:
            self._copies.pop(key, None)

    def positions(self, batch: torch.Size) -> np.ndarray:
        """Return the place of every slot in the flattened batch, `(N, K)`."""
        position = self.slots.position.expand(*batch, -1)
        return position.reshape(batch.numel(), self.num_slots).numpy()

    def shared_position(self) -> Tensor:
        """Return the place of every slot, `(K,)`, where all sentences have the same."""
        rows = self.slots.position
        if rows.ndim == 1:
            return rows
        rows = rows.flatten(0, -2)
        if not len(rows) or not bool((rows == rows[0]).all()):
            raise InputError(
                "With `arcs`, a slot is another arc in another sentence, so a batch of sentences "
                "has no rows in common beyond 'label-sum'. Use relaxation='label-sum', or 'hull', "
                "which `optlayers.project` needs no rows for, or leave out `arcs` for the dense "
                "layout."
            )
        return rows[0]


def make_slots(lengths: Tensor, size: int, mask: Any) -> Slots:
    """Make a slot for every pair of words, or for every arc of a mask."""
    index = torch.arange(size, device="cpu")
    word = index < lengths[..., None]
    keep = word[..., :, None] & word[..., None, :] & (index[:, None] != index)
    if mask is None:
        position = torch.arange(size * size, device="cpu")
        return Slots(position, keep.flatten(-2), torch.arange(size + 1, device="cpu") * size, True)
    keep = keep & _mask(mask, lengths.shape, size)
    batch = keep.shape[:-2]
    flat = keep.reshape(batch.numel(), size * size)
    counts = flat.sum(-1)
    sentence, place = flat.nonzero(as_tuple=True)
    rank = torch.arange(len(place), device="cpu") - (counts.cumsum(0) - counts)[sentence]
    most = int(counts.max()) if len(counts) else 0
    position = torch.full((len(flat), most), -1, device="cpu")
    position[sentence, rank] = place
    position = position.reshape(*batch, most)
    first = torch.nn.functional.pad(keep.sum(-1).cumsum(-1), (1, 0))
    return Slots(position, position >= 0, first, False)


def _mask(mask: Any, batch: torch.Size, size: int) -> Tensor:
    """Return the mask of arcs on the host, refused if it does not fit."""
    mask = as_host_tensor(mask).detach().cpu()
    if mask.dtype != torch.bool or mask.ndim < 2 or mask.shape[-2:] != (size, size):
        raise InputError(
            f"`arcs` must be booleans of shape (..., {size}, {size}), predicates by arguments. "
            f"Got {mask.dtype}, {tuple(mask.shape)}."
        )
    try:
        torch.broadcast_shapes(mask.shape[:-2], batch)
    except RuntimeError:
        raise InputError(
            f"The batch of `arcs`, {tuple(mask.shape[:-2])}, does not broadcast against that of "
            f"the lengths, {tuple(batch)}."
        ) from None
    return mask


def _in_slots(values: Tensor, tail: tuple[int, ...], slots: Slots, name: str) -> Tensor:
    """Return `(..., K, *tail)` of scores per pair of words, `(..., n, n, *tail)`, or per slot."""
    size, count = slots.first.shape[-1] - 1, slots.position.shape[-1]
    shape, batch = tuple(values.shape), slots.allowed.shape[:-1]
    by_pair = shape[: -2 - len(tail)] if shape[-2 - len(tail) :] == (size, size, *tail) else None
    by_slot = shape[: -1 - len(tail)] if shape[-1 - len(tail) :] == (count, *tail) else None
    if by_pair is None and by_slot is None:
        more = "".join(f", {v}" for v in tail)
        raise InputError(
            f"`{name}` must have shape (..., {size}, {size}{more}), predicates by arguments, or "
            f"(..., {count}{more}), slot by slot. Got {shape}."
        )
    # Where both fit, the one whose leading dimensions are a batch of the set.
    if by_pair is None or (
        by_slot is not None and not _is_batch(by_pair, batch) and _is_batch(by_slot, batch)
    ):
        return values
    values = values.flatten(len(by_pair), len(by_pair) + 1)
    if slots.dense:
        return values
    full = _common_batch(batch, torch.Size(by_pair))
    position = slots.position.to(values.device).expand(*full, count).reshape(full.numel(), count)
    sentences = torch.arange(len(position), device=values.device)[:, None]
    pairs = (size * size, *tail)
    rows = values.expand(*full, *pairs).reshape(len(position), *pairs)
    rows = rows[sentences, position.clamp(min=0)].reshape(*full, count, *tail)
    allowed = slots.allowed.to(values.device)
    return torch.where(allowed[(..., *[None] * len(tail))], rows, 0)


def _common_batch(batch: torch.Size, *leads: torch.Size) -> torch.Size:
    """Return the batch that scores and the set have together."""
    try:
        return torch.broadcast_shapes(batch, *leads)
    except RuntimeError:
        raise InputError(
            f"The leading dimensions of the scores, {', '.join(str(tuple(v)) for v in leads)}, "
            f"and the batch of the set, {tuple(batch)}, do not broadcast."
        ) from None


def _is_batch(lead: tuple[int, ...], batch: torch.Size) -> bool:
    """Tell whether scores with these leading dimensions are a batch of the set."""
    try:
        return torch.broadcast_shapes(lead, batch) == torch.Size(lead)
    except RuntimeError:
        return False
