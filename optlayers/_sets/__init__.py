"""Structured sets: each decodes exactly and names the polytope its gradient is projected onto."""

from .chains.linear_chain import LinearChain as LinearChain
from .chains.segmentation import Segmentation as Segmentation
from .graphs.semantic_graphs import SemanticGraphs as SemanticGraphs
from .graphs.semantic_graphs import SemanticParts as SemanticParts
from .graphs.semantic_graphs import deterministic_labels as deterministic_labels
from .hull.convex_hull import ConvexHull as ConvexHull
from .trees.dependency_trees import DependencyTrees as DependencyTrees
