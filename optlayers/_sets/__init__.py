"""Structured sets: each decodes exactly and names the polytope its gradient is projected onto."""

from .dependency_trees import DependencyTrees as DependencyTrees
