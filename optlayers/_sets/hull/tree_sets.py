"""Nearest points of hulls of dependency trees: whole searches in compiled loops."""

from typing import NamedTuple

import numpy as np

from ... import _kernels
from ..._kernels.threads import run
from .active_sets import ActiveSets, Best, common_arrays


class Trees(NamedTuple):
    """Which trees a batch has.

    Attributes:
        lengths: int64 `(N,)`, words of each sentence.
        allowed: `(N or 1, n + 1, n + 1)` booleans, or None for all arcs.
        projective: Whether no arcs may cross.
        single_root: Whether exactly one word hangs on the root.
    """

    lengths: np.ndarray
    allowed: np.ndarray | None
    projective: bool
    single_root: bool


class TreeArrays(NamedTuple):
    """As `Arrays`, with trees as their arcs, numbered h (n + 1) + m, instead of differences.

    Attributes:
        first: `(N, n + 1)`, the arcs of the origin.
        arcs: `(N, room, n + 1)`, those of every tree; entry 0 means nothing.
        shared: `(N, room)`, how many of them are arcs of the origin.
        differs: `(N, room, n + 1)`, the words whose arcs are others, at first.
        calls: `(N,)`, how often was decoded.
    """

    origin: np.ndarray
    target: np.ndarray
    x: np.ndarray
    away: np.ndarray
    gap: np.ndarray
    state: np.ndarray
    stalls: np.ndarray
    number: np.ndarray
    sigma: np.ndarray
    weights: np.ndarray
    factor: np.ndarray
    solved: np.ndarray
    slot: np.ndarray
    first: np.ndarray
    arcs: np.ndarray
    shared: np.ndarray
    differs: np.ndarray
    calls: np.ndarray


class TreeSets(ActiveSets):
    """Trees of sentences, decoded and taken in sentence by sentence, over threads.

    Args:
        y: `(N, d)`, the points to project.
        first: `(N, d)`, a tree for each; NaN where there is none.
        trees: Of the whole batch.
    """

    arrays: TreeArrays
    _of_structures = ("arcs", "shared", "differs")

    def __init__(self, y: np.ndarray, first: np.ndarray, trees: Trees):
        self._trees = trees
        count, side = len(y), int(np.sqrt(y.shape[1]))
        common = common_arrays(y, first)
        room = common["weights"].shape[1]
        tables = np.nan_to_num(first).reshape(count, side, side)
        arcs = (tables.argmax(1) * side + np.arange(side)).astype(np.int32)
        self.arrays = TreeArrays(
            **common,
            first=arcs,
            arcs=np.zeros((count, room, side), dtype=np.int32),
            shared=np.zeros((count, room), dtype=np.int32),
            differs=np.zeros((count, room, side), dtype=np.int32),
            calls=np.zeros(count, dtype=np.int64),
        )
        self.arrays.arcs[:, 0] = arcs
        self.arrays.shared[:, 0] = trees.lengths

    def search(self, best: Best, most: int) -> None:
        """Go on with each sentence until it is finished; only room is made in between."""
        kernel, calls = _kernels.hull_trees.advance, self.arrays.calls
        while len(rows := self.open_rows()[calls[self.open_rows()] < most]):
            self._make_room(rows)
            run(kernel, len(rows), 20 * self._work(rows), rows, self._trees, self.arrays, most)

    def _retarget(self, rows: np.ndarray) -> None:
        kernel = _kernels.hull_trees.retarget
        run(kernel, len(rows), self._work(rows), rows, self._trees, self.arrays)

    def structures(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weights `(N, M)` and structures `(N, M, d)`, zeros after the last."""
        weights, used, slot = self._used()
        found = np.zeros((*weights.shape, self.arrays.x.shape[1]))
        arcs = self.arrays.arcs[np.arange(len(slot))[:, None], slot]
        side = arcs.shape[2]
        words = (np.arange(side) > 0) & (np.arange(side) <= self._trees.lengths[:, None])
        i, j, m = (used[..., None] & words[:, None]).nonzero()
        found[i, j, arcs[i, j, m]] = 1.0
        return weights, found
