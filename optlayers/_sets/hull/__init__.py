"""Convex hulls that only a decoder describes."""
