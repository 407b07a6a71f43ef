"""Compiled checks of the numbers of a call, in one pass."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def all_usual(x, z, lowest):
    """Return whether `x` is finite and above `lowest` and `z` is no NaN; both of one length."""
    fine = True
    for i in range(len(x)):
        fine &= (x[i] > lowest) & (x[i] < np.inf) & (z[i] == z[i])
    return fine
