"""Loops compiled by numba on first use, and how they are called."""
