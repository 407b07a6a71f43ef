"""Sizes of scores that compiled loops and tensor programs tell apart; without numba."""

HUGE = 1e60  # a finite score beyond this counts as infinite: sums would leave the range of float64
FAR = 1e4  # scores of paths beyond this are kept apart from the others, whose digits they leave
LOG_ZERO = -1e100  # the logarithm of zero in tensor programs: finite, so that no derivative is NaN
