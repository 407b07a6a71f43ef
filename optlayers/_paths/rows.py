"""Blocks whose rows are the flow of one unit through a graph without cycles, whoever wrote them."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from .._plan.blocks import Block
from .._plan.maps import Limits
from .dag import Dag, depths
from .sums import PathBatch


class Network(NamedTuple):
    """A graph in the rows of a block: a node for each, an edge for each variable.

    A row with one coefficient has become a bound, and its variable is in one row alone: such an
    edge has a loose end, with a node of its own behind the others.

    Attributes:
        dag: The graph; parts are variables.
        sign: `(rows,)`, what rows are multiplied with so that leaving edges count 1.
        loose: Variables with a loose end.
        toward: Of those, 1 if they leave a row, -1 if they enter one.
    """

    dag: Dag
    sign: np.ndarray
    loose: np.ndarray
    toward: np.ndarray


class Ends(NamedTuple):
    """Where paths begin and end, for limits of `(M, count)` components.

    Attributes:
        sources: `(M, count)`, inside numbers.
        targets: `(M, count)`.
        allowed: `(M, count, size)`, edges that may be used.
        plain: `(M, count)`, whether the limits are those of one path.
    """

    sources: np.ndarray
    targets: np.ndarray
    allowed: np.ndarray
    plain: np.ndarray

    def batch(self, dag: Dag, instances: int, device: torch.device) -> PathBatch:
        """Return the paths of all components of so many instances."""
        shape = (instances, self.plain.shape[1])
        ends = [np.broadcast_to(v, shape).reshape(-1) for v in (self.sources, self.targets)]
        allowed = self.allowed.reshape(-1, self.allowed.shape[-1])
        arrays = (
            np.array(v, order="C") for v in (*ends, allowed)
        )  # what is broadcast is read-only
        return PathBatch(dag, *(torch.from_numpy(v).to(device) for v in arrays))


def read_network(block: Block) -> Network | str:
    """Return the graph in the rows of a block, or why there is none, as half a sentence."""
    R = block.matrix
    if block.num_rows < 2 or block.is_aux.any():
        return "it needs one row per node, and no auxiliary variables"
    counts = np.bincount(R.indices, minlength=block.size)
    if not (np.abs(R.data) == 1).all() or counts.max() > 2:
        return "not every variable is an edge, with 1 in one row and -1 in another"
    columns = sp.csc_array(R)
    columns.sort_indices()
    twice = np.flatnonzero(counts == 2)
    at = columns.indptr[twice]
    rows = np.stack([columns.indices[at], columns.indices[at + 1]], -1)
    product = columns.data[at] * columns.data[at + 1]
    sign = _signs(rows, product, block.num_rows)
    if sign is None:
        return "not every variable is an edge, with 1 in one row and -1 in another"
    leaves = columns.data[at] * sign[rows[:, 0]] > 0
    tails, heads = np.empty((2, block.size), dtype=np.int64)
    tails[twice] = np.where(leaves, rows[:, 0], rows[:, 1])
    heads[twice] = np.where(leaves, rows[:, 1], rows[:, 0])
    loose = np.flatnonzero(counts == 1)
    own = columns.indptr[loose]
    row, end = columns.indices[own], block.num_rows + np.arange(len(loose))
    toward = columns.data[own] * sign[row]
    tails[loose], heads[loose] = np.where(toward > 0, row, end), np.where(toward > 0, end, row)
    nodes = block.num_rows + len(loose)
    depth = depths(nodes, tails, heads)
    if depth is None:
        return "its edges form a cycle"
    if depth.max() < 2:
        return "its edges join two sides and no path has two of them"
    dag = Dag(nodes, tails, heads, np.arange(block.size), block.size)
    return Network(dag, sign, loose, toward)


def why_no_paths(block: Block) -> str | None:
    """Say why the decisions of a block are not known to be paths; None if they are."""
    found = read_network(block)
    if isinstance(found, str):
        return found
    if block.varying or find_ends(found, _static(block)).plain.all():
        return None
    return "its limits are not those of one path from a source to a target"


def _static(block: Block) -> Limits:
    return Limits(*(torch.from_numpy(np.asarray(v, dtype=np.float64))[None] for v in block.static))


def find_ends(network: Network, limits: Limits) -> Ends:
    """Return where paths begin and end by the limits of a call."""
    low, high, lower, upper = (v.detach().cpu().double().numpy() for v in limits)
    shape = np.broadcast_shapes(*(v.shape[:2] for v in (low, high, lower, upper)))
    low, high, lower, upper = (
        np.broadcast_to(v, (*shape, v.shape[-1])) for v in (low, high, lower, upper)
    )
    loose, toward = network.loose, network.toward
    fixed = lower[..., loose]
    supply = np.concatenate([low * network.sign, -toward * fixed], -1)
    plain = (low == high).all(-1) & (fixed == upper[..., loose]).all(-1)
    plain &= ((supply == 0) | (np.abs(supply) == 1)).all(-1)
    plain &= ((supply == 1).sum(-1) == 1) & ((supply == -1).sum(-1) == 1)
    inner = np.ones(lower.shape[-1], dtype=bool)
    inner[loose] = False
    plain &= (lower[..., inner] == 0).all(-1)
    plain &= ((upper >= 1) | (upper == 0)).all(-1)
    sources = network.dag.place[(supply == 1).argmax(-1)]
    targets = network.dag.place[(supply == -1).argmax(-1)]
    return Ends(sources, targets, upper > 0, plain)


def _signs(rows: np.ndarray, product: np.ndarray, num_rows: int) -> np.ndarray | None:
    """Return signs of rows such that every variable has 1 and -1; None if there are none."""
    from scipy.sparse.csgraph import breadth_first_order

    if not len(rows):
        return None
    graph = sp.csr_array((np.ones(len(rows)), rows.T), (num_rows, num_rows))
    nodes, before = breadth_first_order(graph, 0, directed=False)
    of = {(int(u), int(v)): p for (u, v), p in zip(rows, product, strict=True)}
    sign = np.ones(num_rows)
    for node in nodes[1:].tolist():
        pair = (min(node, int(before[node])), max(node, int(before[node])))
        sign[node] = -of[pair] * sign[before[node]]
    fits = sign[rows[:, 0]] * sign[rows[:, 1]] * product == -1
    return sign if fits.all() else None
