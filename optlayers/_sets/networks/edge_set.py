"""Parts of sets over the edges of a graph: edges, masks, and a batch that goes to the host."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..._decoders.common import NOT_FINITE
from ..._errors import InfeasibleError, InputError
from ..._kernels.untraced import eager, ordinary
from ..._plan.failures import Report
from ..._plan.maps import send
from ..._polytope.arguments import as_host_tensor
from ..padded import BatchedSet


class EdgeSet(BatchedSet):
    """Structures that are subsets of the edges of one graph, `(..., edges)`.

    Attributes:
        num_nodes: Number of nodes.
        edges: `(edges, 2)`, the nodes that each joins.
        allowed: Booleans `(..., edges)` on the host, edges that may be chosen.
    """

    event_dim: ClassVar[int] = 1
    none_left: ClassVar[str]  # the reason where no structure is left

    num_nodes: int
    edges: np.ndarray
    allowed: Tensor

    @ordinary
    def _read(self, num_nodes: Any, edges: Any, mask: Any) -> None:
        """Read the graph and the mask; refuse what is none."""
        if isinstance(num_nodes, bool) or not isinstance(num_nodes, int | np.integer):
            raise InputError(f"`num_nodes` must be an integer. Got {num_nodes!r}.")
        pairs = np.asarray(edges)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
            raise InputError("`edges` must be pairs of node numbers, at least one.")
        if pairs.min() < 0 or pairs.max() >= num_nodes:
            raise InputError(
                f"`edges` must name nodes from 0 to {num_nodes - 1}. Got "
                f"{pairs[((pairs < 0) | (pairs >= num_nodes)).any(1)][0].tolist()}."
            )
        if (pairs[:, 0] == pairs[:, 1]).any():
            loop = int(pairs[pairs[:, 0] == pairs[:, 1]][0, 0])
            raise InputError(f"`edges` must join different nodes. Got {[loop, loop]}.")
        self.num_nodes, self.edges = int(num_nodes), pairs.astype(np.int64)
        self.device = mask.device if isinstance(mask, Tensor) else torch.device("cpu")
        if mask is None:
            self.allowed = torch.ones(len(pairs), dtype=torch.bool, device="cpu")
        else:
            given = as_host_tensor(mask)
            if given.dtype != torch.bool or given.shape[-1:] != (len(pairs),):
                raise InputError(
                    f"`mask` must be booleans of shape (..., {len(pairs)}), one per edge. Got "
                    f"{given.dtype}, {tuple(given.shape)}."
                )
            self.allowed = given.cpu()
        self.batch_shape = self.allowed.shape[:-1]
        self._masks: dict[torch.device, Tensor] = {}

    @property
    def event_shape(self) -> tuple[int]:
        """Number of edges."""
        return (len(self.edges),)

    def _layout_in_words(self) -> str:
        return "one entry per edge"

    @ordinary
    def free_parts(self, device: torch.device) -> Tensor:
        """Return the edges that may be chosen."""
        if device not in self._masks:
            self._masks[device] = send(self.allowed, device)
        return self._masks[device]

    # ------------------------------------------------------------------ decoding

    @abstractmethod
    def _best(self, scores: np.ndarray, allowed: np.ndarray, rows: np.ndarray) -> tuple:
        """Return the best structures, `(M, edges)`, and their states `(M,)`.

        Args:
            scores: `(M, edges)`, float32 or float64.
            allowed: `(M or 1, edges)`.
            rows: Numbers of the instances in the flattened batch of the set, `(M,)`.
        """

    @eager
    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode; NaN where `report` is told of a failure."""
        batch = self._batch(scores)
        rows = torch.arange(batch.numel(), device="cpu")
        flat = scores.reshape(-1, len(self.edges))
        return self.decode_rows(flat, rows, batch, report).reshape(scores.shape)

    @eager
    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor:
        """Decode some instances of a batch alone."""
        wide = torch.float64 if scores.dtype == torch.float64 else torch.float32
        flat = scores.detach().to("cpu", wide).contiguous().numpy()
        allowed, own = self._rows_of(batch, rows)
        found, state = self._best(flat, allowed, own)
        for i in np.flatnonzero(state).tolist():
            reason, kind = self._failure(int(state[i]), flat[i], allowed[i % len(allowed)], own[i])
            report.fail(int(rows[i]), reason, kind)
            found[i] = np.nan
        return torch.from_numpy(found).to(scores.device, scores.dtype)

    def _rows_of(self, batch: torch.Size, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the masks of some instances of a batch, and their numbers in that of the set."""
        count = self.batch_shape.numel()
        if not self.batch_shape:
            return self.allowed[None].numpy(), np.zeros(len(rows), dtype=np.int64)
        own = (
            torch.arange(count, device="cpu")
            .reshape(self.batch_shape)
            .expand(batch)
            .reshape(-1)[rows]
        )
        allowed = self.allowed.expand(*self.batch_shape, -1).reshape(count, -1)
        return allowed[own].contiguous().numpy(), own.numpy()

    def _failure(self, state: int, scores: np.ndarray, allowed: np.ndarray, row: int) -> tuple:
        """Return why an instance has no answer, and the kind of error."""
        return (self.none_left, InfeasibleError) if state == 1 else (NOT_FINITE, InputError)
