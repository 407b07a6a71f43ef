"""Rounding of sums and differences in float64; without numba, for all who compute."""

from math import sqrt

ROUNDING = 2.3e-16  # of a sum or a difference, relative to the size of its terms
LARGEST = 1e-10  # rounding that may be taken away from an answer beside a bound
BESIDE = 1e-11  # of an answer beside a bound, relative to its largest entry: nobody means it


def of_sum(many: int) -> float:
    """Return the rounding of a sum of `many` terms, relative to the sum of their sizes."""
    return (8.0 + sqrt(many)) * ROUNDING
