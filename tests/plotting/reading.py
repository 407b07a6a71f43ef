"""What a picture holds: artists by the name of their role, and where they are."""

from typing import Any

import numpy as np
from matplotlib.patches import FancyArrowPatch


def same_points(one, other, tolerance=1e-8):
    order = [np.lexsort(np.round(points, 6).T) for points in (one, other)]
    assert len(one) == len(other), (one, other)
    np.testing.assert_allclose(one[order[0]], other[order[1]], atol=tolerance)


def drawn(axes: Any, name: str) -> list[Any]:
    return [artist for artist in [*axes.lines, *axes.patches] if artist.get_gid() == name]


def arrows(axes: Any) -> dict[str, np.ndarray]:
    """Both ends of each arrow, by name."""
    found: list[Any] = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    return {patch.get_gid(): np.array(patch._posA_posB) for patch in found}


def marks(axes: Any) -> dict[str, np.ndarray]:
    return {line.get_gid(): line.get_xydata() for line in axes.lines if line.get_marker() != "None"}


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def boxes(axes: Any) -> dict[Any, Any]:
    axes.figure.draw_without_rendering()
    renderer = axes.figure._get_renderer()
    return {text: text.get_window_extent(renderer) for text in axes.texts}
