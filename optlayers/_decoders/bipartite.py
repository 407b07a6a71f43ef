"""Blocks whose variables stand for pairs: each in one row of either of two sides."""

from typing import NamedTuple

import numpy as np

from .._plan.blocks import Block


class Pairs(NamedTuple):
    """Two sides of rows, and where every variable stands between them.

    Attributes:
        side: `(rows,)`, 0 or 1.
        row: `(size,)`, number within side 0.
        column: `(size,)`, number within side 1.
        shape: Rows of either side.
    """

    side: np.ndarray
    row: np.ndarray
    column: np.ndarray
    shape: tuple[int, int]


def pairs_of(block: Block) -> Pairs | str:
    """Return the two sides of a block, or why it has none; found once."""
    return block.kept("pairs", lambda: _find_pairs(block))


def _find_pairs(block: Block) -> Pairs | str:
    R = block.matrix
    if block.num_rows < 2:
        return "it needs one row per element of two sides"
    if block.is_aux.any():
        return "it has auxiliary variables"
    if not (R.data == 1).all() or (np.bincount(R.indices, minlength=block.size) != 2).any():
        return "not every variable is in two rows with coefficient 1"
    ends = R.tocsc().indices.reshape(-1, 2)  # the two rows of every variable
    side = _two_colours(ends, block.num_rows)
    if side is None:
        return "its rows do not fall into two sides"
    order = np.where(side[ends[:, :1]] == 0, ends, ends[:, ::-1])
    if len(np.unique(order @ [block.num_rows, 1])) < len(order):
        return "two variables stand for one pair"
    shape = (int((side == 0).sum()), int((side == 1).sum()))
    rank = np.where(side == 0, np.cumsum(side == 0), np.cumsum(side == 1)) - 1
    return Pairs(side, rank[order[:, 0]], rank[order[:, 1]], shape)


def _two_colours(ends: np.ndarray, num_rows: int) -> np.ndarray | None:
    """Return a colour 0 or 1 per row such that no variable joins two rows of one colour."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import breadth_first_order

    graph = sp.csr_array((np.ones(len(ends)), ends.T), (num_rows, num_rows))
    nodes, before = breadth_first_order(graph, int(ends[0].min()), directed=False)
    colour = np.zeros(num_rows, dtype=np.int64)
    for node in nodes[1:]:
        colour[node] = 1 - colour[before[node]]
    return colour if (colour[ends[:, 0]] != colour[ends[:, 1]]).all() else None
