"""A directed graph without cycles, in the order that dynamic programs pass through it."""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._errors import InputError
from .._kernels.untraced import ordinary


@dataclass(frozen=True, eq=False)
class Level:
    """Nodes that no edge joins, with all edges that enter them; padded to equal numbers.

    Attributes:
        tails: `(nodes, most)`, where the edges come from; 0 at padding.
        parts: `(nodes, most)`, whose scores they have; one more than there are parts: none, two
            more: padding.
    """

    tails: Tensor
    parts: Tensor


class Dag:
    """A directed graph without cycles, whose edges may have a score.

    Nodes keep their names outside and have a number inside, so that edges lead upwards.

    Args:
        num_nodes: Number of nodes.
        tails: `(edges,)`, where edges begin.
        heads: `(edges,)`, where they end.
        parts: `(edges,)`, the number of the score of each edge; -1: none. Several edges may share
            one if no path has two of them.
        num_parts: Number of scores.

    Attributes:
        place: `(num_nodes,)`, the number inside of every node.
        first: `(num_nodes + 1,)`, the edges into node v are `first[v]` to `first[v + 1]`.
        tails: Of the edges in that order, inside numbers.
        parts: Of the edges in that order; `num_parts`: none.

    Raises:
        InputError: If the edges form a cycle.
    """

    def __init__(
        self,
        num_nodes: int,
        tails: np.ndarray,
        heads: np.ndarray,
        parts: np.ndarray,
        num_parts: int,
    ):
        self.num_nodes, self.num_parts = num_nodes, num_parts
        depth = depths(num_nodes, tails, heads)
        if depth is None:
            raise InputError("The edges must not form a cycle.")
        self._depth: np.ndarray = depth
        # Nodes of equal depth side by side; a stable sort keeps the order of the names.
        order = np.argsort(self._depth, kind="stable")
        self.place = np.empty(num_nodes, dtype=np.int64)
        self.place[order] = np.arange(num_nodes)
        inner = self.place[heads]
        by_head = np.argsort(inner, kind="stable")
        counts = np.bincount(inner, minlength=num_nodes)
        self.first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.tails = self.place[tails[by_head]].astype(np.int64)
        own = np.where(parts < 0, num_parts, parts)
        self.parts = own[by_head].astype(np.int64)
        sizes = np.bincount(depth) if num_nodes else np.zeros(0, dtype=np.int64)
        self._levels = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._moved: dict[torch.device, list[Level]] = {}
        # Of sequences of tags: by node, how many positions end there; and the number of tags.
        self.tags: tuple[np.ndarray, int] | None = None

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Return what compiled loops take first."""
        return self.first, self.tails, self.parts, self._levels

    @cached_property
    def by_edge(self) -> "Dag":
        """Return the same graph with a score of its own for every edge, in the order of edges."""
        made = copy.copy(self)
        for name in ("arrays", "by_edge"):
            vars(made).pop(name, None)
        made.num_parts, made._moved, made.tags = len(self.tails), {}, None
        made.parts = np.arange(len(self.tails))
        return made

    @ordinary
    def levels(self, device: torch.device) -> list[Level]:
        """Return the nodes level by level, from the second level on, on a device."""
        if device not in self._moved:
            self._moved[device] = self._make_levels(device)
        return self._moved[device]

    def _make_levels(self, device: torch.device) -> list[Level]:
        depth = np.sort(self._depth)
        found = []
        for level in range(1, int(depth.max(initial=0)) + 1):
            nodes = np.flatnonzero(depth == level)
            starts, counts = self.first[nodes], self.first[nodes + 1] - self.first[nodes]
            edge = np.arange(counts.max())[None, :]
            real = edge < counts[:, None]
            at = np.where(real, starts[:, None] + edge, 0)
            tails = np.where(real, self.tails[at], 0)
            parts = np.where(real, self.parts[at], self.num_parts + 1)
            found.append(
                Level(*(torch.from_numpy(v).to(device, non_blocking=True) for v in (tails, parts)))
            )
        return found

    @property
    def roots(self) -> int:
        """Return the number of nodes that no edge enters; they are numbered first."""
        return int((self._depth == 0).sum())


class PathBatch(NamedTuple):
    """The paths of a batch.

    Attributes:
        dag: The graph, the same for all.
        sources: int64 `(N,)`, inside numbers of the nodes where paths begin.
        targets: int64 `(N,)`, and where they end.
        allowed: Parts that may be chosen, `(N or 1, parts)`.
    """

    dag: Dag
    sources: Tensor
    targets: Tensor
    allowed: Tensor

    def by_edge(self) -> "PathBatch":
        """Return the same paths with a score of its own for every edge."""
        more = torch.ones_like(self.allowed[:, :1])
        parts = torch.from_numpy(self.dag.parts).to(self.allowed.device)
        allowed = torch.cat([self.allowed, more], -1)[:, parts]
        return self._replace(dag=self.dag.by_edge, allowed=allowed)


def depths(num_nodes: int, tails: np.ndarray, heads: np.ndarray) -> np.ndarray | None:
    """Return the length of the longest way to every node (Kahn, 1962); None: there is a cycle."""
    depth = np.zeros(num_nodes, dtype=np.int64)
    entering = np.bincount(heads, minlength=num_nodes)
    order = np.argsort(tails, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(tails, minlength=num_nodes))])
    front, seen, level = np.flatnonzero(entering == 0), 0, 0
    while len(front):
        depth[front] = level
        seen += len(front)
        counts = first[front + 1] - first[front]
        leaving = np.repeat(first[front] - np.cumsum(counts) + counts, counts)
        reached = heads[order[leaving + np.arange(counts.sum())]]
        np.subtract.at(entering, reached, 1)
        front = np.unique(reached[entering[reached] == 0])
        level += 1
    return depth if seen == num_nodes else None
