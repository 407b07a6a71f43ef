"""Tours through all cities: two edges at each, and rows against the subtours that occur."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, maximum_flow

import optlayers as ol

SLACK = 1e-6
UNITS = 10**6  # SciPy's flows are integers


def tours(cities: int, edges: Sequence[tuple[int, int]]) -> ol.LazyRows:
    """Return the tours over undirected edges (Dantzig, Fulkerson and Johnson, 1954).

    Two edges meet at each city; a set of cities is left by two edges at least. Of those rows the
    violated ones are found: by components for decisions, by minimum cuts for fractional points.
    """
    ends = np.asarray(edges)
    degree = np.zeros((cities, len(ends)))
    degree[ends[:, 0], np.arange(len(ends))] = degree[ends[:, 1], np.arange(len(ends))] = 1
    base = ol.Polytope(A_eq=degree, b_eq=np.full(cities, 2.0))

    def separate(z: torch.Tensor) -> tuple[np.ndarray, np.ndarray] | None:
        inside = violated(cities, ends, z.numpy())
        if not inside:
            return None
        # As many edges within a set as cities make a cycle: one less at most.
        rows = [(side[ends[:, 0]] & side[ends[:, 1]]).astype(float) for side in inside]
        return np.array(rows), np.array([side.sum() - 1.0 for side in inside])

    return ol.LazyRows(base, separate)


def violated(cities: int, ends: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
    """Return sets of cities, as booleans, that fewer than two edges leave."""
    used = z > SLACK
    graph = coo_array((z[used], (ends[used, 0], ends[used, 1])), (cities, cities))
    count, of = connected_components(graph, directed=False)
    if count > 1:
        sides = [of == k for k in range(count)]
    elif ((z < SLACK) | (z > 1 - SLACK)).all():
        return []
    else:
        sides = [side for target in range(1, cities) if (side := cut(graph, target)) is not None]
    smaller = {(side if 2 * side.sum() <= cities else ~side).tobytes() for side in sides}
    return [np.frombuffer(side, dtype=bool) for side in sorted(smaller)]


def cut(graph: coo_array, target: int) -> np.ndarray | None:
    """Return the side of a minimum cut between city 0 and another, if it is less than two."""
    capacity = coo_array(graph + graph.T)
    whole = np.rint(capacity.data * UNITS).astype(np.int32)
    capacity = coo_array((whole, capacity.coords), capacity.shape).tocsr()
    found = maximum_flow(capacity, 0, target)
    if found.flow_value >= (2 - 10 * SLACK) * UNITS:
        return None
    left = capacity - found.flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = np.zeros(graph.shape[0], dtype=bool)
    front = [0]
    while front:
        city = front.pop()
        if not reached[city]:
            reached[city] = True
            front.extend(left.indices[left.indptr[city] : left.indptr[city + 1]])
    return reached
