"""Paths through grids, from one corner to the opposite one."""

from typing import Any

from .._errors import PolytopeError
from .constructors import dag_path
from .polytope import Polytope


def grid_path(rows: int, columns: int, *, diagonal: bool = False, mask: Any = None) -> Polytope:
    r"""Build paths through a grid from the first to the last cell, to the right and down.

    Cells are numbered row by row, and the variables are the edges of `grid_edges`. A path of best
    score is found in $O(E)$; scores are gains, so lengths and costs enter with a minus. The
    polytope is `dag_path`'s, every vertex one path; for steps in all directions there is
    `GraphPaths.grid`.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        diagonal: Whether a step may go to the right and down at once.
        mask: Booleans `(..., edges)`, true at edges that may be taken.

    Raises:
        PolytopeError: If there are fewer than two cells.

    References:
        The grid of 5 x 5 of Elmachtoub and Grigas (2022), *Smart "predict, then optimize"*.

    Examples:
        >>> grid_path(5, 5)
        Polytope(n=40, equalities=25, integral)
        >>> import torch
        >>> import optlayers as ol
        >>> costs = torch.ones(2 * 3 * 2)
        >>> int(ol.decode(grid_path(3, 3), -costs).sum())
        4
    """
    edges = grid_edges(rows, columns, diagonal=diagonal)
    return dag_path(rows * columns, edges, 0, rows * columns - 1, mask=mask)


def grid_edges(
    rows: int, columns: int, *, diagonal: bool = False, both_ways: bool = False
) -> list[tuple[int, int]]:
    """Return the edges `(tail, head)` of a grid, whose cells are numbered row by row.

    Row after row: to the right, then down, then down to the right (and to the left, if both ways).

    Args:
        rows: Number of rows.
        columns: Number of columns.
        diagonal: Whether cells that share a corner are joined.
        both_ways: Whether each edge is followed by the one back.

    Raises:
        PolytopeError: If there are fewer than two cells.

    Examples:
        >>> grid_edges(2, 2)
        [(0, 1), (0, 2), (1, 3), (2, 3)]
    """
    if not (isinstance(rows, int) and isinstance(columns, int)) or min(rows, columns) < 1:
        raise PolytopeError(
            f"`rows` and `columns` must be positive integers. Got {rows}, {columns}."
        )
    if rows * columns < 2:
        raise PolytopeError("A grid needs two cells at least. Got one.")
    found = []
    for i in range(rows):
        here = range(i * columns, (i + 1) * columns)
        found += [(v, v + 1) for v in here[:-1]]
        if i + 1 < rows:
            found += [(v, v + columns) for v in here]
            if diagonal:
                found += [(v, v + columns + 1) for v in here[:-1]]
                found += [(v, v + columns - 1) for v in here[1:]] if both_ways else []
    if both_ways:
        return [edge for u, v in found for edge in ((u, v), (v, u))]
    return found
