r"""The exponential in vector instructions: $e^x = 2^k e^r$ with $|r| \le \log(2) / 2$.

What stands here once is shared by sums over paths, over sequences of tags and over trees.
"""

import numpy as np
from numba import njit

from .lean import in_order

PER_LN2 = 1.4426950408889634  # 1 / log(2)
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_MAGIC = 1.5 * 2.0**52 + 1023  # adding it leaves an integer + 1023 in the lowest bits
_ONE_ROUNDING = {"contract"}  # multiply and add


def _series(r):
    """Return the exponential of a small number, by Horner's rule."""
    e = 1.0 / 6227020800 * r + 1.0 / 479001600
    e = e * r + 1.0 / 39916800
    e = e * r + 1.0 / 3628800
    e = e * r + 1.0 / 362880
    e = e * r + 1.0 / 40320
    e = e * r + 1.0 / 5040
    e = e * r + 1.0 / 720
    e = e * r + 1.0 / 120
    e = e * r + 1.0 / 24
    e = e * r + 1.0 / 6
    e = e * r + 0.5
    e = e * r + 1.0
    return e * r + 1.0


series = in_order(_series)  # a part of kernels, which only those and parts may call
_inlined_series = njit(inline="always")(_series)


@njit(cache=True, nogil=True)
def power(x):
    """Return 2^x for integers up to 1000; below the range of floats, too little to matter.

    The lowest bits of x + 1023 are the exponent.
    """
    x = x if x > -1022.0 else -1022.0
    return np.int64(np.float64(x + _MAGIC).view(np.int64) << 52).view(np.float64)


@njit(cache=True, nogil=True, fastmath=_ONE_ROUNDING)
def exponential(x):
    """Return the exponential of x up to 0, in vector instructions; 0 below -700."""
    none = x < -700.0
    x = -700.0 if none else x
    k = np.rint(x * PER_LN2)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    return 0.0 if none else _inlined_series(r) * power(k)
