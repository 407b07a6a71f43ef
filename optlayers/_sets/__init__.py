"""Structured sets: each decodes exactly and names the polytope its gradient is projected onto."""

from .chains.linear_chain import LinearChain as LinearChain
from .chains.segmentation import Segmentation as Segmentation
from .graphs.lists import deterministic_labels as deterministic_labels
from .graphs.parts import SemanticParts as SemanticParts
from .graphs.semantic_graphs import SemanticGraphs as SemanticGraphs
from .hull.convex_hull import ConvexHull as ConvexHull
from .lazy_rows import LazyRows as LazyRows
from .networks.graph_paths import GraphPaths as GraphPaths
from .networks.spanning_trees import SpanningTrees as SpanningTrees
from .rankings.rankings import Rankings as Rankings
from .trees.dependency_trees import DependencyTrees as DependencyTrees
