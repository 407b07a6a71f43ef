"""Spanning trees of an undirected graph."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ... import _kernels
from ..._errors import InfeasibleError, InputError
from ..._kernels.threads import run
from ..._kernels.untraced import eager, ordinary
from ..._masks import Low
from ..._plan.failures import Report
from ..._plan.maps import send
from ..._polytope.polytope import Polytope
from ..hull.onto_hull import project_onto_face, project_onto_hull
from ..trees.matrix_tree import SUMS
from .edge_set import EdgeSet


class SpanningTrees(EdgeSet):
    r"""Spanning trees of an undirected graph, one part per edge.

    Scores are `(..., edges)`; the tree of best score is found by Kruskal's algorithm, exactly,
    $O(E \log E)$, compiled. Sums over all trees are determinants (Kirchhoff), computed as those of
    directed trees that hang on node 0, by an elimination without subtraction, $O(V^3)$.

    The projection is onto the convex hull of the trees, by calls to the decoder
    (`project_hull`). `relaxation` is the same polytope in rows, with $2VE$ auxiliary variables:
    for small graphs, and to check the other.

    Args:
        num_nodes: Number of nodes.
        edges: Pairs of nodes in the order of the parts; all pairs `(0, 1), (0, 2), ...` if not
            given.
        mask: Booleans `(..., edges)`, true at edges that may be chosen. None: all. An instance
            that is left without a tree fails when it is met.

    Attributes:
        num_nodes: As given.
        edges: `(edges, 2)`.

    Raises:
        InputError: If a node does not exist, an edge is given twice or joins a node with itself.
        InfeasibleError: If `edges` do not connect all nodes.

    References:
        Kruskal (1956); Kirchhoff (1847); Martin (1991), *Using separation algorithms to generate
        mixed integer model reformulations*; Edmonds (1971), *Matroids and the greedy algorithm*.

    Examples:
        >>> trees = SpanningTrees(3)
        >>> scores = torch.tensor([1.0, 3.0, 2.0])  # of 0-1, 0-2 and 1-2
        >>> trees.decode(scores)
        tensor([0., 1., 1.])
        >>> trees.log_partition(torch.zeros(3)).exp()
        tensor(3.)
    """

    none_left: ClassVar[str] = "no spanning tree is left among the allowed edges"

    @ordinary
    def __init__(
        self,
        num_nodes: int,
        edges: Sequence[tuple[int, int]] | np.ndarray | None = None,
        *,
        mask: Any = None,
    ):
        if edges is None and isinstance(num_nodes, int) and num_nodes > 1:
            edges = np.stack(np.triu_indices(num_nodes, 1), -1)
        self._read(num_nodes, edges, mask)
        pairs = np.sort(self.edges, 1)
        _, first, counts = np.unique(pairs, axis=0, return_index=True, return_counts=True)
        if counts.max() > 1:
            twice = self.edges[first[counts > 1][0]].tolist()
            raise InputError(f"`edges` must differ from each other. Got {twice} more than once.")
        self._relaxation: Polytope | None = None
        self._check_some()

    def __repr__(self) -> str:
        batch = f", batch={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"SpanningTrees(nodes={self.num_nodes}, edges={len(self.edges)}{batch})"

    def _check_some(self) -> None:
        """Refuse edges without a tree; what a mask leaves is seen when trees are asked for."""
        every = np.ones((1, len(self.edges)), dtype=np.bool_)
        if self._best(np.zeros(every.shape), every, np.zeros(1, dtype=np.int64))[1].any():
            raise InfeasibleError(
                f"`edges` must connect all {self.num_nodes} nodes: they have no spanning tree."
            )

    # ------------------------------------------------------------------ decoding and projecting

    def _best(self, scores: np.ndarray, allowed: np.ndarray, rows: np.ndarray) -> tuple:
        z, state = np.zeros(scores.shape), np.zeros(len(scores), dtype=np.int8)
        order = np.argsort(-scores, axis=-1, kind="stable")  # of equals, the first edge
        cost = 20 * len(scores) * len(self.edges)
        kernel, nodes = _kernels.spanning.kruskal, self.num_nodes
        run(kernel, len(scores), cost, nodes, self.edges, scores, order, allowed, z, state)
        return z, state

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project onto the convex hull by calls to the decoder."""
        self._batch(y, "y")
        return project_onto_hull(self, y, report).z

    def project_needed(
        self, y: Tensor, low: Low, numbers: list[int], report: Report, first: bool
    ) -> dict[int, Tensor]:
        """Project onto the face of the hull with the fewest masked parts."""
        return project_onto_face(self, y, low, numbers, 1.0, report)

    def least_parts(self, like: Tensor, decides: bool) -> float:
        """Return 0: edges are chosen or not."""
        return 0.0

    @property
    @ordinary
    def relaxation(self) -> Polytope:
        r"""Return the convex hull in rows: for every node $k$, the edges as arcs away from it.

        $$ z_e = \lambda^k_{uv} + \lambda^k_{vu}, \qquad
           \sum_u \lambda^k_{uv} = [v \ne k] \qquad (e = \{u, v\},\ \lambda \ge 0) $$

        References:
            Martin (1991).
        """
        if self._relaxation is None:
            upper = send(self.allowed.double(), self.device)
            more = upper.new_ones(*upper.shape[:-1], 2 * self.num_nodes * len(self.edges))
            self._relaxation = self._rows.with_(upper=torch.cat([upper, more], -1))
        return self._relaxation

    @cached_property
    def _rows(self) -> Polytope:
        nodes, count = self.num_nodes, len(self.edges)
        eye, each = sp.eye_array(count), sp.eye_array(nodes)
        both = np.ones((1, 2))
        of_edges = sp.kron(each, sp.kron(both, eye))  # of each k: the two arcs of every edge
        heads = np.concatenate([self.edges[:, 1], self.edges[:, 0]])
        into = sp.coo_array((np.ones(2 * count), (heads, np.arange(2 * count))), (nodes, 2 * count))
        A_eq = sp.block_array(
            [[-sp.kron(np.ones((nodes, 1)), eye), of_edges], [None, sp.kron(each, into)]]
        )
        b_eq = np.concatenate([np.zeros(nodes * count), 1 - np.eye(nodes).ravel()])
        return Polytope(A_eq=A_eq, b_eq=b_eq, num_aux=2 * nodes * count)

    @eager
    def contains(self, z: Tensor) -> Tensor:
        """Return whether each `z` is a spanning tree of the set: booleans of the batch shape."""
        batch = self._batch(z, "z")
        given = z.detach().cpu()
        binary = ((given == 0) | ((given == 1) & self.allowed)).all(-1)
        chosen = (given == 1).reshape(-1, len(self.edges)).contiguous().numpy()
        answer = np.zeros(len(chosen), dtype=np.bool_)
        kernel = _kernels.spanning.check
        run(kernel, len(chosen), chosen.size, self.num_nodes, self.edges, chosen, answer)
        return (binary & torch.from_numpy(answer).reshape(batch)).to(z.device)

    # ------------------------------------------------------------------ sums over all trees

    def log_partition(self, scores: Tensor) -> Tensor:
        r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, `(...)`; differentiable twice."""
        batch = self._batch(scores)
        return SUMS.log_partition(*self._arcs(scores, batch)).reshape(batch)

    def marginals(self, scores: Tensor) -> Tensor:
        r"""Return probabilities of edges under $p(z) \propto \exp(z \cdot s)$; differentiable."""
        batch = self._batch(scores)
        arcs = SUMS.marginals(*self._arcs(scores, batch))
        u, v = self._ends(scores.device)
        return (arcs[:, u, v] + arcs[:, v, u]).reshape(scores.shape)

    def entropy(self, scores: Tensor) -> Tensor:
        r"""Return $-\sum_z p(z) \log p(z) = \log Z - \mu \cdot s$, `(...)`; differentiable."""
        batch = self._batch(scores)
        return SUMS.entropy(*self._arcs(scores, batch)).reshape(batch)

    @torch.no_grad()
    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw one tree of every instance from $p(z) \propto \exp(z \cdot s)$; $O(V^4)$.

        NaN for an instance without a tree.

        Args:
            scores: As for `decode`.
            generator: Of random numbers, on the device of the scores.
        """
        batch = self._batch(scores)
        arcs = self._arcs(scores, batch)
        heads = SUMS.sample(*arcs, generator)
        u, v = self._ends(scores.device)
        z = ((heads[:, u] == v) | (heads[:, v] == u)).to(scores.dtype)
        fine = SUMS.log_partition(*arcs).isfinite()
        return torch.where(fine[:, None], z, torch.nan).reshape(scores.shape)

    @ordinary
    def _ends(self, device: torch.device) -> tuple[Tensor, Tensor]:
        u, v = send(torch.from_numpy(self.edges), device).unbind(-1)
        return u, v

    def _arcs(self, scores: Tensor, batch: torch.Size) -> tuple[Tensor, Tensor, Tensor, bool]:
        """Return the scores of arcs away from node 0: each spanning tree is one such tree."""
        nodes, count = self.num_nodes, batch.numel()
        u, v = self._ends(scores.device)
        at = torch.cat([u * nodes + v, v * nodes + u])
        flat = scores.reshape(count, -1)
        free = self.free_parts(scores.device).expand(scores.shape).reshape(count, -1)
        x = flat.new_zeros(count, nodes * nodes).index_copy(1, at, torch.cat([flat, flat], -1))
        allowed = free.new_zeros(count, nodes * nodes).index_copy(
            1, at, torch.cat([free, free], -1)
        )
        lengths = torch.full((count,), nodes - 1, dtype=torch.int64, device=scores.device)
        shape = (count, nodes, nodes)
        return x.reshape(shape), lengths, allowed.reshape(shape), False
