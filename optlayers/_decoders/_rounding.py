"""Limits of integer variables: rounded inwards, forgiving the rounding of the arithmetic before."""

from torch import Tensor

_SLACK = 1e-6


def inwards(lower: Tensor, upper: Tensor, integral: bool) -> tuple[Tensor, Tensor]:
    """The integers between two limits, or the limits themselves for continuous variables."""
    if not integral:
        return lower, upper
    return (lower - _SLACK).ceil(), (upper + _SLACK).floor()
