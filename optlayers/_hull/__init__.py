"""Projection onto a convex hull that only a decoder describes."""

from .project_hull import HullProjection as HullProjection
from .project_hull import project_hull as project_hull
