"""Sequences: one tag for every position, or segments with labels."""
