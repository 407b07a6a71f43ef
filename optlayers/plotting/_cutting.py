"""Convex polygons: cutting them with a line, and what becomes of their corners.

A polygon is `(k, 2)` corners, counter-clockwise, and `(k,)` flags: whether the edge that starts at
a corner is a cut, where the set goes on, and no edge of the set. Segments have two corners and two
edges, points have one.
"""

import numpy as np

SAME = 1e-8  # times the size of the data: points that are one


def clip(
    corners: np.ndarray, cut: np.ndarray, row: np.ndarray, limit: float, is_cut: bool, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Keep the part of a convex polygon where row . t <= limit; the new edge is a cut or is not."""
    if not len(corners):
        return corners, cut
    beyond = corners @ row - limit
    slack = 1e-10 * size
    kept: list[np.ndarray] = []
    flags: list[bool] = []
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        inside, next_inside = beyond[i] <= slack, beyond[j] <= slack
        if inside:
            kept.append(corners[i])
            flags.append(bool(cut[i]))
        if inside != next_inside:
            share = beyond[i] / (beyond[i] - beyond[j])
            kept.append(corners[i] + share * (corners[j] - corners[i]))
            flags.append(is_cut if inside else bool(cut[i]))
    return without_short_edges(np.array(kept).reshape(-1, 2), np.array(flags, dtype=bool), size)


def without_short_edges(
    corners: np.ndarray, cut: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray]:
    while len(corners) > 1:
        lengths = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1)
        shortest = int(lengths.argmin())
        if lengths[shortest] > SAME * size:
            break
        corners, cut = np.delete(corners, shortest, 0), np.delete(cut, shortest)
    return corners, cut


def without_flat_corners(
    corners: np.ndarray, cut: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Drop corners on the line between their neighbours, unless one of their edges is a cut."""
    i = 0
    while len(corners) > 2 and i < len(corners):
        before, here, after = corners[i - 1], corners[i], corners[(i + 1) % len(corners)]
        one, other = here - before, after - before
        off = abs(one[0] * other[1] - one[1] * other[0]) / max(np.linalg.norm(other), 1e-300)
        if off < SAME * size and cut[i - 1] == cut[i]:
            corners, cut = np.delete(corners, i, 0), np.delete(cut, i)
            i = 0
        else:
            i += 1
    return corners, cut


def distance_outside(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Measure how far points lie outside a convex polygon, segment or point; 0 inside."""
    ends = np.roll(corners, -1, 0)
    along = ends - corners
    squared = np.maximum((along**2).sum(1), 1e-300)
    offset = points[:, None] - corners
    share = np.clip((offset * along).sum(-1) / squared, 0.0, 1.0)
    nearest = np.linalg.norm(offset - share[..., None] * along, axis=-1).min(1)
    left = along[:, 0] * offset[..., 1] - along[:, 1] * offset[..., 0]
    return np.where((left >= 0).all(1) & (len(corners) > 2), 0.0, nearest)
