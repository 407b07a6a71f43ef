"""Sums over all structures of a set, where they are tractable."""
