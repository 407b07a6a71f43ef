"""Segments with labels as paths of a graph, and their polytope; made once per size."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ..._kernels.untraced import ordinary
from ..._paths.dag import Dag
from ..._polytope.polytope import Polytope


class Size(NamedTuple):
    """Numbers that the rows depend on.

    Attributes:
        positions: Of the longest sequence there is room for.
        longest: Most positions of a segment.
        labels: Number of labels.
        transitions: Whether there are parts for pairs of neighbouring labels.
    """

    positions: int
    longest: int
    labels: int
    transitions: bool

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """Positions, by lengths and then labels before, by labels."""
        before = self.labels if self.transitions else 0
        return (self.positions, self.longest + before, self.labels)


class Parts(NamedTuple):
    """Numbers of the parts that exist, and what they say.

    Segment k begins at `start` with `length` positions and `label`, transition k joins `before`
    and `after` at the boundary `at`.
    """

    segment: np.ndarray
    start: np.ndarray
    length: np.ndarray
    label: np.ndarray
    transition: np.ndarray
    at: np.ndarray
    before: np.ndarray
    after: np.ndarray


@lru_cache(maxsize=64)
def parts_of(size: Size) -> Parts:
    """Return the parts of sequences that fill all positions."""
    number = np.arange(np.prod(size.event_shape)).reshape(size.event_shape)
    start, length, label = np.indices((size.positions, size.longest, size.labels)).reshape(3, -1)
    length = length + 1
    kept = start + length <= size.positions
    start, length, label = start[kept], length[kept], label[kept]
    segment = number[start, length - 1, label]
    count = size.labels if size.transitions else 0
    at, before, after = np.indices((size.positions, count, count)).reshape(3, -1)
    kept = at > 0
    at, before, after = at[kept], before[kept], after[kept]
    return Parts(
        segment, start, length, label, number[at, size.longest + before, after], at, before, after
    )


def free_parts(size: Size, lengths: Tensor) -> Tensor:
    """Return booleans `(..., *event)`, true at parts within each sequence, on the host."""
    parts = parts_of(size)
    end = np.zeros(int(np.prod(size.event_shape)), dtype=np.int64) + size.positions + 1
    end[parts.segment], end[parts.transition] = parts.start + parts.length, parts.at + 1
    within = torch.from_numpy(end) <= lengths[..., None]
    return within.reshape(*lengths.shape, *size.event_shape)


@lru_cache(maxsize=64)
def graph_of(size: Size) -> tuple[Dag, np.ndarray]:
    """Return the graph, and the node where sequences of each length end; all begin in node 0.

    With transitions, each boundary has a node for every label that ends there and for every label
    that begins, and one behind the former, where sequences of that length end; without, one node.
    """
    T, _, K, transitions = size
    parts = parts_of(size)
    none = np.full(0, -1)
    if not transitions:
        tails, heads, of = parts.start, parts.start + parts.length, parts.segment
        dag = Dag(T + 1, tails, heads, of, int(np.prod(size.event_shape)))
        return dag, dag.place
    ends, begins, done = (1 + np.arange(3) * (T + 1) * K).tolist()
    t, k = np.indices((T + 1, K)).reshape(2, -1)
    nodes = done + T + 1
    late = t > 0
    first = np.arange(K) if T else none
    edges = [
        (np.zeros(len(first)), begins + first, np.full(len(first), -1)),
        (begins + parts.start * K + parts.label,
         ends + (parts.start + parts.length) * K + parts.label, parts.segment),
        (ends + parts.at * K + parts.before, begins + parts.at * K + parts.after,
         parts.transition),
        ((ends + t * K + k)[late], (done + t)[late], np.full(int(late.sum()), -1)),
    ]  # fmt: skip
    tails, heads, of = (np.concatenate(v).astype(np.int64) for v in zip(*edges, strict=True))
    dag = Dag(nodes, tails, heads, of, int(np.prod(size.event_shape)))
    targets = done + np.arange(T + 1)
    targets[0] = 0  # nothing is the one sequence of length zero
    if size.longest == 1:
        lengths = np.zeros(nodes, dtype=np.int64)
        lengths[dag.place[targets]] = np.arange(T + 1)
        dag.tags = (lengths, K)
    return dag, dag.place[targets]


@lru_cache(maxsize=64)
def _rows(size: Size) -> tuple[Polytope, np.ndarray]:
    """Return the polytope of full sequences, and the boundary of every row that may be an end."""
    T, _, K, transitions = size
    parts, count = parts_of(size), int(np.prod(size.event_shape))
    width = K if transitions else 1
    label = parts.label if transitions else np.zeros_like(parts.label)
    end, later = parts.start + parts.length, parts.start > 0
    inner = end < T
    one, ones = np.ones(len(parts.segment)), np.ones(len(parts.at))
    # What ends at a boundary goes on, unless the sequence ends there.
    rows = [(end[inner] - 1) * width + label[inner]]
    columns, entries = [parts.segment[inner]], [one[inner]]
    if transitions:
        rows += [(parts.at - 1) * K + parts.before]
        columns, entries = [*columns, parts.transition], [*entries, -ones]
    else:
        rows += [parts.start[later] - 1]
        columns, entries = [*columns, parts.segment[later]], [*entries, -one[later]]
    size_of = ((T - 1) * width, count)
    flow = sp.csr_array(
        (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), size_of
    )
    first = parts.segment[~later]
    equal = [sp.csr_array((np.ones(len(first)), (np.zeros(len(first)), first)), (1, count))]
    if transitions:  # a segment begins where a transition leads to its label
        at = (parts.at - 1) * K + parts.after
        begin = (parts.start[later] - 1) * K + parts.label[later]
        data = np.concatenate([ones, -one[later]])
        index = (
            np.concatenate([at, begin]),
            np.concatenate([parts.transition, parts.segment[later]]),
        )
        equal.append(sp.csr_array((data, index), size_of))
    polytope = Polytope(
        sp.vstack([flow, -flow]),
        np.zeros(2 * size_of[0]),
        A_eq=sp.vstack(equal),
        b_eq=np.eye(1, 1 + (size_of[0] if transitions else 0))[0],
    )
    return polytope, np.repeat(np.arange(1, T), width)


@ordinary
def chain_polytope(size: Size, lengths: Tensor, free: Tensor) -> Polytope:
    """Return the convex hull of the sequences of each length, whose rows are shared.

    Args:
        size: What the rows depend on; at least one position.
        lengths: int64, any shape, on the device of the polytope.
        free: Parts that may be chosen, `(..., *event)`, on that device.
    """
    polytope, boundary = _rows(size)
    ends = torch.from_numpy(boundary).to(lengths.device)
    upper = free.flatten(-3).to(torch.float64)
    if bool((lengths == size.positions).all()) and not lengths.ndim:
        return polytope.with_(upper=upper)
    last = (ends == lengths[..., None]).to(torch.float64)
    b_eq = polytope.b_eq.to(lengths.device) * (lengths[..., None] > 0)
    return polytope.with_(b=torch.cat([last, torch.zeros_like(last)], -1), b_eq=b_eq, upper=upper)
