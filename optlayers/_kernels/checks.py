"""Compiled checks of the numbers of a call, in one pass."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def all_usual(x, other, lowest, highest):
    """Return whether both are finite, and every entry of `x` is usual; of one length."""
    fine = True
    for i in range(len(x)):
        fine &= (x[i] > lowest) & (x[i] < highest) & (abs(other[i]) < np.inf)
    return fine
