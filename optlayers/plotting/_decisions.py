"""The points of a drawn set that decoding may choose."""

import numpy as np

from ._cutting import distance_outside
from ._regions import Region


def decisions(found: Region) -> np.ndarray:
    """List what decoding may choose, `(k, 2)`: integral points, corners, or ends of segments.

    Where only some variables are integers, the set of decisions is points or segments of the
    region, and a linear function is largest at an end of one of them.
    """
    if isinstance(found.polytope.integral, bool):
        return lattice(found) if found.polytope.integral else found.finite_corners
    whole = found.polytope.whole[: found.polytope.n]
    normals = found.frame[whole]
    steep = int(np.abs(normals).sum(1).argmax())
    turned = normals @ np.array([-normals[steep, 1], normals[steep, 0]])
    other = int(np.abs(turned).argmax())
    if abs(turned[other]) > 1e-9:  # two of them fix a point
        pair = np.flatnonzero(whole)[[steep, other]]
        corners = found.lifted(found.corners)[:, pair]
        low, high = np.ceil(corners.min(0) - 1e-6), np.floor(corners.max(0) + 1e-6)
        grid = np.stack(np.meshgrid(*map(np.arange, low, high + 1), indexing="ij"), -1)
        flat = np.linalg.solve(found.frame[pair], (grid.reshape(-1, 2) - found.origin[pair]).T).T
        flat = flat[distance_outside(found.corners, flat) < 1e-6]
    else:
        flat = _crossings(found, int(np.flatnonzero(whole)[steep]))
    own = found.lifted(flat)[:, whole]
    return flat[(np.abs(own - np.round(own)) < 1e-6).all(1)]


def _crossings(found: Region, variable: int) -> np.ndarray:
    """List points of edges at which a variable is an integer, each once."""
    points = []
    for ends in found.edges:
        first, last = found.lifted(ends)[:, variable]
        levels = np.arange(np.ceil(min(first, last) - 1e-9), max(first, last) + 1e-9)
        if abs(last - first) < 1e-9:
            points += list(ends)
        else:
            points += list(
                ends[0] + (levels - first)[:, None] / (last - first) * (ends[1] - ends[0])
            )
    return np.unique(np.round(np.reshape(points, (-1, 2)), 9), axis=0)


def lattice(found: Region, most: int = 4000) -> np.ndarray:
    """List integral points of the set, `(k, 2)` coordinates in the plane; none if too many."""
    points = found.lifted(found.corners)
    low, high = np.ceil(points.min(0) - 1e-6), np.floor(points.max(0) + 1e-6)
    if not np.isfinite(high - low).all() or np.prod(np.maximum(high - low + 1, 0)) > most:
        return np.zeros((0, 2))
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    whole = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    flat = found.flat(whole)
    inside = np.abs(found.lifted(flat) - whole).max(1, initial=0.0) < 1e-6
    inside &= distance_outside(found.corners, flat) < 1e-6
    return flat[inside]
