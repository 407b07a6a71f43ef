"""Structured sets: each decodes exactly and names the polytope its gradient is projected onto."""

from .convex_hull import ConvexHull as ConvexHull
from .dependency_trees import DependencyTrees as DependencyTrees
from .semantic_graphs import SemanticGraphs as SemanticGraphs
from .semantic_graphs import SemanticParts as SemanticParts
from .semantic_graphs import deterministic_labels as deterministic_labels
