"""Segments with labels: semi-Markov chains."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..._decoders.common import NOT_FINITE
from ..._errors import InfeasibleError, InputError, name_of
from ..._kernels.untraced import eager, ordinary
from ..._paths import sums
from ..._plan.failures import Report, index_of
from ..._plan.maps import send
from ..._polytope.arguments import as_host_tensor
from ..._polytope.polytope import Polytope
from ..padded import PaddedSentences
from .layout import Size, chain_polytope, free_parts, graph_of

_NONE = "no sequence is left among the allowed parts"


class Segmentation(PaddedSentences):
    r"""Segmentations of padded sequences, every segment with a label: semi-Markov chains.

    Scores are `(..., n, L + K, K)` for n positions, segments of at most L positions and K labels:

    | entry | part |
    |---|---|
    | `[t, l - 1, k]` | a segment of l positions with label k begins at t |
    | `[t, L + j, k]` | a segment of label j ends before t, and one of label k begins there |

    A structure is a 0/1 tensor of that shape; its segments cover the sequence. With
    `transitions=False` the last K rows are left out, and labels are independent. Padding and
    transitions at the first position are never chosen and get zero gradient.

    Decoding (Viterbi's algorithm), sums over all segmentations and samples are exact and cost
    $O(n K (L + K))$, compiled. `relaxation` is the marginal polytope, whose vertices are the
    segmentations: one unit of flow from the start to the end.

    Args:
        lengths: Number of positions of each sequence: an int, or a list or tensor of batch shape.
            A CUDA tensor is copied to the host, once, here.
        max_length: L, most positions of a segment.
        labels: K.
        transitions: Whether there are parts for pairs of neighbouring labels.
        mask: Booleans that broadcast against `(..., n, L + K, K)`: parts that may be chosen. None:
            all. A sequence that is left without a structure fails when it is met.
        size: n, the positions that scores have room for; `max(lengths)` if not given.

    Raises:
        InputError: If a length is negative or exceeds `size`, or an argument has another shape.

    References:
        Sarawagi and Cohen (2004), *Semi-Markov conditional random fields for information
        extraction*; Kim, Denton, Hoang and Rush (2017), *Structured attention networks*; Wainwright
        and Jordan (2008), *Graphical models, exponential families, and variational inference*.

    Examples:
        >>> runs = Segmentation(4, max_length=3, labels=2, transitions=False)
        >>> scores = torch.zeros(4, 3, 2)
        >>> scores[0, 2, 1] = scores[3, 0, 0] = 1.0
        >>> runs.segments(runs.decode(scores))
        [(0, 3, 1), (3, 1, 0)]
        >>> runs.log_partition(torch.zeros(4, 3, 2)).exp().round()  # how many there are
        tensor(52.)
    """

    event_dim: ClassVar[int] = 3
    noun: ClassVar[str] = "sequence"
    _labels_are: ClassVar[str] = "labels"

    @ordinary
    def __init__(
        self,
        lengths: int | Sequence[int] | Tensor,
        max_length: int,
        labels: int,
        *,
        transitions: bool = True,
        mask: Any = None,
        size: int | None = None,
    ):
        self._read_lengths(lengths, size)
        longest, labels = _count(max_length, "max_length"), _count(labels, self._labels_are)
        self._size = Size(self.size, longest, labels, bool(transitions))
        self.batch_shape = self.lengths.shape
        self._relaxation: Polytope | None = None
        self._moved: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}
        self.allowed = free_parts(self._size, self.lengths)
        if mask is not None:
            self.allowed = self.allowed & self._read_mask(mask)
            self.batch_shape = self.allowed.shape[:-3]

    def __repr__(self) -> str:
        batch = f"batch={tuple(self.batch_shape)}, " if self.batch_shape else ""
        size = f"n={self.size}, {batch}max_length={self._size.longest}"
        more = "" if self._size.transitions else ", no transitions"
        return f"Segmentation({size}, labels={self._size.labels}{more})"

    # ------------------------------------------------------------------ the set

    def _read_mask(self, mask: Any) -> Tensor:
        """Return the mask on the host, refused if it does not fit."""
        mask = as_host_tensor(mask)
        wanted = ", ".join(str(v) for v in self.event_shape)
        try:
            shape = torch.broadcast_shapes(mask.shape, self.allowed.shape)
        except RuntimeError:
            shape = torch.Size()
        if mask.dtype != torch.bool or shape[-3:] != self.event_shape:
            raise InputError(
                f"`mask` must be booleans that broadcast against (..., {wanted}), with the batch "
                f"of `lengths`, {tuple(self.lengths.shape)}. Got {mask.dtype}, "
                f"{tuple(mask.shape)}."
            )
        self.device = mask.device if self.device.type == "cpu" else self.device
        return mask.cpu()

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """Positions, by lengths and labels before, by labels."""
        return self._size.event_shape

    @property
    @ordinary
    def relaxation(self) -> Polytope:
        """Return the marginal polytope, the convex hull of the set, over the flattened parts."""
        if self._relaxation is None:
            if not self.size:
                raise InputError(f"{self!r} has no positions, and so no polytope.")
            lengths, allowed = (send(v, self.device) for v in (self.lengths, self.allowed))
            self._relaxation = chain_polytope(self._size, lengths, allowed)
        return self._relaxation

    def free_parts(self, device: torch.device) -> Tensor:
        """Return the parts within each sequence that may be chosen."""
        return self._on(device)[2]

    @ordinary
    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return where sequences begin and end and the free parts on a device, copied once."""
        if device not in self._moved:
            dag, targets = graph_of(self._size)
            ends = torch.from_numpy(targets)[self.lengths]
            begins = torch.full_like(ends, int(dag.place[0]))
            begins, ends = send(begins, device), send(ends, device)
            self._moved[device] = (begins, ends, send(self.allowed, device))
        return self._moved[device]

    def _paths(self, batch: torch.Size, device: torch.device) -> sums.PathBatch:
        """Return the paths that are the structures of a batch."""
        begins, ends, allowed = self._on(device)
        if allowed.ndim > 3:
            allowed = allowed.expand(*batch, *self.event_shape)
        allowed = allowed.reshape(-1, int(np.prod(self.event_shape)))
        ends = [v.expand(batch).reshape(-1) for v in (begins, ends)]
        return sums.PathBatch(graph_of(self._size)[0], *ends, allowed)

    def _layout_in_words(self) -> str:
        after = " and labels before" if self._size.transitions else ""
        return (
            f"positions by lengths{after} by labels, for up to {self.size} positions (`size=` sets "
            "another number)"
        )

    # ------------------------------------------------------------------ decoding

    @eager
    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode; NaN where `report` is told of a failure."""
        batch = self._batch(scores)
        rows = torch.arange(batch.numel(), device="cpu")
        return self.decode_rows(scores.reshape(-1, *self.event_shape), rows, batch, report).reshape(
            scores.shape
        )

    @eager
    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor:
        """Decode some sequences of a batch alone."""
        paths = self._paths(batch, torch.device("cpu"))
        if len(rows) < batch.numel():
            allowed = paths.allowed if len(paths.allowed) == 1 else paths.allowed[rows]
            ends = (paths.sources[rows], paths.targets[rows])
            paths = sums.PathBatch(paths.dag, *ends, allowed)
        wide = torch.float64 if scores.dtype == torch.float64 else torch.float32
        flat = scores.detach().to("cpu", wide).reshape(len(rows), math.prod(self.event_shape))
        flat = flat.contiguous()
        found, state = sums.decode(flat.numpy(), paths)
        for i in np.flatnonzero(state).tolist():
            reason, kind = (_NONE, InfeasibleError) if state[i] == 1 else (NOT_FINITE, InputError)
            report.fail(int(rows[i]), reason, kind)
            found[i] = np.nan
        return torch.from_numpy(found).to(scores.device, scores.dtype).reshape(scores.shape)

    @eager
    def contains(self, z: Tensor) -> Tensor:
        """Return whether each `z` is a structure of the set: booleans of the batch shape."""
        batch = self._batch(z, "z")
        given = z.detach().cpu()
        allowed = self.allowed.expand(*batch, *self.event_shape)
        binary = ((given == 0) | ((given == 1) & allowed)).flatten(len(batch)).all(-1)
        # The best one for scores of +1 at its parts and -1 elsewhere: itself, if it is one.
        wanted = torch.where(given == 1, 1.0, -1.0).double()
        best = self.decode_instances(wanted, Report())
        return (binary & (best == given).flatten(len(batch)).all(-1)).to(z.device)

    # ------------------------------------------------------------------ other forms

    def segments(self, z: Tensor) -> list:
        """Return `(start, length, label)` of the segments of each `z`, in nested lists."""
        batch, longest = self._batch(z, "z"), self._size.longest
        flat = z.detach().cpu().reshape(-1, *self.event_shape)[:, :, :longest]
        found: list[list[tuple[int, int, int]]] = [[] for _ in range(len(flat))]
        for b, start, length, label in (flat > 0).nonzero().tolist():
            found[b].append((start, length + 1, label))
        return _nested(found, batch)

    def from_segments(self, segments: Sequence, dtype: torch.dtype | None = None) -> Tensor:
        """Return the 0/1 tensor of `(start, length, label)` of the segments, in nested lists.

        Raises:
            InputError: If the segments do not cover their sequence, one after the other.
        """
        z = torch.zeros(*self.batch_shape, *self.event_shape, dtype=dtype, device="cpu")
        longest, labels = self._size.longest, self._size.labels
        for number in range(self.batch_shape.numel()):
            at = index_of(number, self.batch_shape)
            own, reached, before = segments, 0, None
            for k in at:
                own = own[k]
            for start, length, label in own:
                fits = start == reached and 1 <= length <= longest and 0 <= label < labels
                if not fits:
                    raise InputError(
                        f"{name_of(at, 'sequence')}: segments are (start, length, label), one "
                        f"after the other, of 1 to {longest} positions, with labels from 0 to "
                        f"{labels - 1}. "
                        f"Got {(start, length, label)} after {reached} positions."
                    )
                z[(*at, start, length - 1, label)] = 1
                if before is not None and self._size.transitions:
                    z[(*at, start, longest + before, label)] = 1
                reached, before = start + length, label
            wanted = int(self.lengths.expand(self.batch_shape)[at])
            if reached != wanted:
                raise InputError(
                    f"{name_of(at, 'sequence')}: the segments cover {reached} positions, not "
                    f"{wanted}."
                )
        return z.to(self.device)

    # ------------------------------------------------------------------ sums over all structures

    def log_partition(self, scores: Tensor) -> Tensor:
        r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, of the batch shape; differentiable twice.

        In float64 inside on the CPU; the dtype of the scores out.
        """
        batch = self._batch(scores)
        return sums.log_partition(*self._flat(scores, batch)).reshape(batch)

    def marginals(self, scores: Tensor) -> Tensor:
        r"""Return probabilities of the parts under $p(z) \propto \exp(z \cdot s)$; differentiable.

        The gradient of `log_partition`: structured attention.
        """
        batch = self._batch(scores)
        return sums.marginals(*self._flat(scores, batch)).reshape(scores.shape)

    def entropy(self, scores: Tensor) -> Tensor:
        r"""Return $-\sum_z p(z) \log p(z) = \log Z - \mu \cdot s$, `(...)`; differentiable."""
        batch = self._batch(scores)
        return sums.entropy(*self._flat(scores, batch)).reshape(batch)

    @torch.no_grad()
    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw one structure of every sequence from $p(z) \propto \exp(z \cdot s)$, exactly.

        Forward sums, then one choice after the other from the end. NaN for a sequence without a
        structure.

        Args:
            scores: As for `decode`.
            generator: Of random numbers, on the device of the scores.
        """
        flat, paths = self._flat(scores, self._batch(scores))
        return sums.sample(flat, paths, generator).reshape(scores.shape)

    def _flat(self, scores: Tensor, batch: torch.Size) -> tuple[Tensor, sums.PathBatch]:
        count = int(np.prod(self.event_shape))
        return scores.reshape(batch.numel(), count), self._paths(batch, scores.device)


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"`{name}` must be a positive integer. Got {value!r}.")
    return int(value)


def _nested(found: list, batch: torch.Size) -> list:
    """Return a flat list in nested ones of the batch shape."""
    if not batch:
        return found[0]
    inner = batch[1:].numel()
    return [_nested(found[k * inner : (k + 1) * inner], batch[1:]) for k in range(batch[0])]
