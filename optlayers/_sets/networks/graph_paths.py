"""Paths of directed graphs, which may have cycles."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ... import _kernels
from ..._errors import InfeasibleError, InputError, UnboundedError
from ..._kernels.threads import run
from ..._kernels.untraced import eager, ordinary
from ..._paths import sums
from ..._paths.dag import Dag, depths
from ..._plan.maps import send
from ..._polytope.arguments import as_host_tensor
from ..._polytope.grids import grid_edges
from ..._polytope.polytope import Polytope
from .edge_set import EdgeSet


class GraphPaths(EdgeSet):
    r"""Paths from a source to a target in a directed graph, one part per edge.

    Scores are gains, `(..., edges)`: for lengths, costs or times give them with a minus. The best
    path is found exactly, by

    - a dynamic program if the graph has no cycle, $O(E)$; then sums over all paths exist as well,
    - Dijkstra's algorithm if no score is positive, $O(E \log V)$,
    - the algorithm of Bellman and Ford otherwise, $O(E V)$ at worst.

    Where a cycle gains, the longest path is a hard problem: such an instance has no answer, and the
    message names the cycle. `relaxation` is the flow of one unit with at most 1 on an edge; in a
    graph with cycles its vertices are a path and maybe cycles apart from it.

    Args:
        num_nodes: Number of nodes.
        edges: Pairs `(tail, head)` of node numbers, in the order of the parts.
        source: Where paths begin: a node, or a tensor with one per instance.
        target: Where they end, likewise.
        mask: Booleans `(..., edges)`, true at edges that may be used. None: all. An instance that
            is left without a path fails when it is met.

    Attributes:
        num_nodes: As given.
        edges: `(edges, 2)`, as given.
        source: Tensor of nodes, on the host.
        target: Tensor of nodes, on the host.

    Raises:
        InputError: If a node does not exist, or an argument has another shape.
        InfeasibleError: If no path leads from a source to its target.

    References:
        Dijkstra (1959); Bellman (1958), *On a routing problem*; Ahuja, Magnanti and Orlin (1993),
        *Network Flows*, Theorem 11.12.

    Examples:
        >>> paths = GraphPaths(4, [(0, 1), (1, 0), (0, 2), (1, 3), (2, 3), (2, 1)], 0, 3)
        >>> costs = torch.tensor([4.0, 1.0, 1.0, 1.0, 5.0, 2.0])
        >>> paths.nodes(paths.decode(-costs))
        [0, 2, 1, 3]
    """

    none_left: ClassVar[str] = "no path is left among the allowed edges"

    @ordinary
    def __init__(
        self,
        num_nodes: int,
        edges: Sequence[tuple[int, int]] | np.ndarray,
        source: int | Tensor,
        target: int | Tensor,
        *,
        mask: Any = None,
    ):
        self._read(num_nodes, edges, mask)
        self.source, self.target = (
            self._read_nodes(v, name) for v, name in ((source, "source"), (target, "target"))
        )
        shapes = (self.batch_shape, self.source.shape, self.target.shape)
        try:
            self.batch_shape = torch.broadcast_shapes(*shapes)
        except RuntimeError:
            raise InputError(
                "The batches of `mask`, `source` and `target` must agree. Got "
                f"{', '.join(str(tuple(v)) for v in shapes)}."
            ) from None
        if bool((self.source == self.target).any()):
            same = int(self.source.expand(self.batch_shape)[self.source == self.target][0])
            raise InputError(f"`source` and `target` must differ. Got {same} for both.")
        self._relaxation: Polytope | None = None
        self._check_some()

    @classmethod
    def grid(
        cls,
        rows: int,
        columns: int,
        *,
        diagonal: bool = False,
        source: int | Tensor = 0,
        target: int | Tensor | None = None,
        mask: Any = None,
    ) -> "GraphPaths":
        """Return paths through a grid with steps in all directions.

        Args:
            rows: Number of rows.
            columns: Number of columns.
            diagonal: Whether cells that share a corner are neighbours.
            source: Where paths begin; the first cell.
            target: Where they end; the last cell if not given.
            mask: As above, in the order of the attribute `edges`.

        Examples:
            >>> GraphPaths.grid(12, 12, diagonal=True)
            GraphPaths(nodes=144, edges=1012)
        """
        edges = grid_edges(rows, columns, diagonal=diagonal, both_ways=True)
        target = rows * columns - 1 if target is None else target
        return cls(rows * columns, edges, source, target, mask=mask)

    def __repr__(self) -> str:
        batch = f", batch={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"GraphPaths(nodes={self.num_nodes}, edges={len(self.edges)}{batch})"

    # ------------------------------------------------------------------ the set

    def _read_nodes(self, nodes: Any, name: str) -> Tensor:
        found = as_host_tensor(nodes)
        if found.is_floating_point() or found.dtype == torch.bool:
            raise InputError(f"`{name}` must be numbers of nodes. Got {found.dtype}.")
        if found.device.type != "cpu":
            self.device = found.device
        found = found.to("cpu", torch.int64)
        wrong = (found < 0) | (found >= self.num_nodes)
        if bool(wrong.any()):
            raise InputError(
                f"`{name}` must name nodes from 0 to {self.num_nodes - 1}. "
                f"Got {int(found[wrong][0])}."
            )
        return found

    def _check_some(self) -> None:
        """Refuse targets out of reach; what a mask leaves is seen when paths are asked for."""
        own = np.arange(self.batch_shape.numel())
        every = np.ones((1, len(self.edges)), dtype=np.bool_)
        state = self._best(np.zeros((len(own), len(self.edges))), every, own)[1]
        if state.any():
            first = int(state.argmax())
            source, target = (v[first] for v in self._ends(own))
            raise InfeasibleError(f"No path leads from node {source} to node {target}.")

    def _ends(self, rows: np.ndarray) -> list[np.ndarray]:
        both = (self.source, self.target)
        return [v.expand(self.batch_shape).reshape(-1).numpy()[rows] for v in both]

    def _rows_of(self, batch: torch.Size, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
        allowed, own = super()._rows_of(batch, rows)
        return (self.allowed[None].numpy(), own) if self.allowed.ndim == 1 else (allowed, own)

    @cached_property
    def _dag(self) -> Dag | None:
        """The graph in order, if it has no cycle."""
        tails, heads = self.edges.T
        if depths(self.num_nodes, tails, heads) is None:
            return None
        return Dag(self.num_nodes, tails, heads, np.arange(len(tails)), len(tails))

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        """Edges by the node that they leave."""
        tails, heads = (np.ascontiguousarray(v) for v in self.edges.T)
        counts = np.bincount(tails, minlength=self.num_nodes)
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return first, np.argsort(tails, kind="stable").astype(np.int64), tails, heads

    @property
    @ordinary
    def relaxation(self) -> Polytope:
        """Return the flow of one unit, at most 1 on an edge."""
        if self._relaxation is None:
            count, tails_heads = len(self.edges), self.edges.T.ravel()
            entries = np.repeat([1.0, -1.0], count)
            shape = (self.num_nodes, count)
            rows = sp.coo_array((entries, (tails_heads, np.tile(np.arange(count), 2))), shape)
            ends = [
                torch.nn.functional.one_hot(v, self.num_nodes) for v in (self.source, self.target)
            ]
            b_eq = send((ends[0] - ends[1]).double(), self.device)
            upper = send(self.allowed.double(), self.device)
            self._relaxation = Polytope(A_eq=rows, b_eq=b_eq, upper=upper)
        return self._relaxation

    # ------------------------------------------------------------------ decoding

    def _best(self, scores: np.ndarray, allowed: np.ndarray, rows: np.ndarray) -> tuple:
        sources, targets = self._ends(rows)
        if self._dag is not None:
            return sums.decode(scores, self._batch_of(sources, targets, allowed))
        z, state = np.zeros(scores.shape), np.zeros(len(scores), dtype=np.int8)
        cost = 20 * len(scores) * len(self.edges)
        ends = (np.ascontiguousarray(sources), np.ascontiguousarray(targets))
        kernel = _kernels.shortest_paths.decode
        run(kernel, len(scores), cost, *self._arrays, *ends, scores, allowed, z, state)
        return z, state

    def _batch_of(self, sources: Any, targets: Any, allowed: Any) -> sums.PathBatch:
        dag = self._dag
        assert dag is not None
        begins, ends = (torch.from_numpy(dag.place[v]) for v in (sources, targets))
        return sums.PathBatch(dag, begins, ends, torch.from_numpy(allowed))

    def _failure(self, state: int, scores: np.ndarray, allowed: np.ndarray, row: int) -> tuple:
        if state != 3:
            return super()._failure(state, scores, allowed, row)
        own = np.where(allowed, scores, -np.inf).astype(np.float64)
        source = int(self._ends(np.array([row]))[0][0])
        tails, heads = self._arrays[2:]
        walk = _kernels.shortest_paths.gaining_cycle(source, tails, heads, own, self.num_nodes)
        nodes = [int(tails[walk[0][0]]), *(int(heads[e]) for e in walk[0])]
        shown = nodes if len(nodes) <= 8 else [*nodes[:6], "...", nodes[-1]]
        return (
            f"its scores gain {walk[1]:.3g} on the cycle {' -> '.join(map(str, shown))}, and so "
            "no path is the best: give scores that no cycle gains by, such as negative costs",
            UnboundedError,
        )

    @eager
    def contains(self, z: Tensor) -> Tensor:
        """Return whether each `z` is a path of the set: booleans of the batch shape."""
        batch = self._batch(z, "z")
        given = z.detach().cpu()
        binary = ((given == 0) | ((given == 1) & self.allowed)).all(-1)
        rows = self._rows_of(batch, torch.arange(batch.numel(), device="cpu"))[1]
        sources, targets = (np.ascontiguousarray(v) for v in self._ends(rows))
        chosen = (given == 1).reshape(-1, len(self.edges)).contiguous().numpy()
        answer = np.zeros(len(chosen), dtype=np.bool_)
        tails, heads = self._arrays[2:]
        kernel, cost = _kernels.shortest_paths.contains, chosen.size
        run(kernel, len(chosen), cost, tails, sources, targets, heads, chosen, answer)
        return (binary & torch.from_numpy(answer).reshape(batch)).to(z.device)

    def nodes(self, z: Tensor) -> list:
        """Return the nodes that the path of each `z` passes, in order, in nested lists."""
        batch = self._batch(z, "z")
        chosen = (z.detach().cpu() > 0).reshape(-1, len(self.edges))
        rows = self._rows_of(batch, torch.arange(batch.numel(), device="cpu"))[1]
        found = []
        for one, source in zip(chosen, self._ends(rows)[0].tolist(), strict=True):
            after = dict(self.edges[one.numpy()].tolist())
            path = [source]
            while path[-1] in after and len(path) <= len(after):
                path.append(after[path[-1]])
            found.append(path)
        for size in reversed(batch[1:]):
            found = [found[k : k + size] for k in range(0, len(found), size)]
        return found if batch else found[0]

    # ------------------------------------------------------------------ sums over all paths

    def log_partition(self, scores: Tensor) -> Tensor:
        r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, `(...)`, if the graph has no cycle."""
        flat, paths, batch = self._flat(scores)
        return sums.log_partition(flat, paths).reshape(batch)

    def marginals(self, scores: Tensor) -> Tensor:
        r"""Return probabilities of edges under $p(z) \propto \exp(z \cdot s)$; differentiable."""
        flat, paths, _ = self._flat(scores)
        return sums.marginals(flat, paths).reshape(scores.shape)

    def entropy(self, scores: Tensor) -> Tensor:
        r"""Return $\log Z - \mu \cdot s$, `(...)`; differentiable."""
        flat, paths, batch = self._flat(scores)
        return sums.entropy(flat, paths).reshape(batch)

    @torch.no_grad()
    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw a path of every instance from $p(z) \propto \exp(z \cdot s)$, exactly."""
        flat, paths, _ = self._flat(scores)
        return sums.sample(flat, paths, generator).reshape(scores.shape)

    def _flat(self, scores: Tensor) -> tuple[Tensor, sums.PathBatch, torch.Size]:
        batch = self._batch(scores)
        if self._dag is None:
            self._has_no("tractable sum over its structures: the graph has cycles")
        allowed, rows = self._rows_of(batch, torch.arange(batch.numel(), device="cpu"))
        begins, ends = self._ends(rows)
        paths = self._batch_of(begins, ends, allowed)
        begins, ends, mask = (v.to(scores.device) for v in paths[1:])
        moved = sums.PathBatch(paths.dag, begins, ends, mask)
        return scores.reshape(-1, len(self.edges)), moved, batch
