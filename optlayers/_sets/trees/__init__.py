"""Dependency trees: their set, decoders, sums and polytopes."""
