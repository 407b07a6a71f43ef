"""The arrays of the dual active-set method, and room for them.

They are filled up to multiples of eight entries (see `lanes`), so that no loop over variables, rows
or active rows has a rest. What is behind the end is zero and stays so: variables that are fixed at
zero, rows without a limit, and at least one place behind the active rows.
"""

from typing import NamedTuple

import numpy as np

from .lanes import WIDTH, rounded_up
from .parts import part

ROUNDED = part(rounded_up)


class BlockArrays(NamedTuple):
    """Common arrays: rows R, normalised; `(start, index, value)` by rows, by columns.

    `by_row` is R as a matrix and `by_column` its transpose, both filled up, or both are empty.
    """

    rows: tuple
    columns: tuple
    by_row: np.ndarray
    by_column: np.ndarray


class Instance(NamedTuple):
    """The point and the limits of one instance, filled up."""

    y: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Work(NamedTuple):
    """Arrays of one thread: for each variable, then each row, then each active row."""

    x: np.ndarray
    nu: np.ndarray  # multipliers of bounds
    g: np.ndarray  # gradient of what is added, less its part along the active rows
    free: np.ndarray  # 1 or 0
    held: np.ndarray  # -1 at the lower bound, 1 at the upper, 0 if free or fixed
    act: np.ndarray  # R x
    out: np.ndarray  # 0 if active, else 1
    equal: np.ndarray  # 1 if both limits are the same
    mu: np.ndarray  # multipliers of active rows
    sign: np.ndarray  # of multipliers that must not change it, or 0
    v: np.ndarray  # products of the gradient that is added with the active rows
    r: np.ndarray  # inverse times v
    w: np.ndarray
    u: np.ndarray
    weight: np.ndarray  # argument of `combine`
    sums: np.ndarray  # what it returns
    inverse: np.ndarray
    own: np.ndarray  # R_A^T where R is dense
    active: np.ndarray  # rows, in the order of `inverse`
    place: np.ndarray  # number among the active rows, or -1
    numbers: np.ndarray  # 0, 1, 2, ...
    moving: np.ndarray  # free variables
    where: np.ndarray  # numbers among these
    counts: np.ndarray  # see below


# In `counts`: free variables, variables at a bound, equality rows that are not active, all of them.
FREE, HELD, EQUALITIES, EQUALITY_ROWS = range(4)


@part
def _zeros(count):
    """Return zeros that begin where a line of the cache does."""
    room = np.zeros(count + WIDTH)
    start = -(room.ctypes.data // 8) % WIDTH
    return room[start : start + count]


@part
def make_instance(m, size):
    """Make room for one instance; nothing violates what is behind its ends."""
    n, k = ROUNDED(size), ROUNDED(m)
    all_ = _zeros(3 * n + 2 * k)
    own = Instance(
        all_[:n], all_[n : 2 * n], all_[2 * n : 3 * n], all_[3 * n : 3 * n + k], all_[3 * n + k :]
    )
    own.low[m:], own.high[m:] = -np.inf, np.inf
    return own


@part
def make_work(m, size, dense):
    """Make room for one thread."""
    n, rows = ROUNDED(size), ROUNDED(m)
    most = min(m, size) + 1
    k = ROUNDED(most + 1)
    longest = max(n, rows, k)
    a = _zeros(5 * n).reshape((5, n))
    b = _zeros(3 * rows).reshape((3, rows))
    c = _zeros(6 * k).reshape((6, k))
    d = _zeros(2 * longest).reshape((2, longest))
    table = _zeros((k + (n if dense else 0)) * k).reshape((k + (n if dense else 0), k))
    whole = np.zeros(most + m + longest + 2 * size + 4, dtype=np.int64)
    at_numbers = most + m
    at_moving = at_numbers + longest
    for i in range(longest):
        whole[at_numbers + i] = i
    return Work(
        a[0], a[1], a[2], a[3], a[4], b[0], b[1], b[2], c[0], c[1], c[2], c[3], c[4], c[5],
        d[0], d[1], table[:k], table[k:],
        whole[:most], whole[most:at_numbers], whole[at_numbers:at_moving],
        whole[at_moving : at_moving + size], whole[at_moving + size : at_moving + 2 * size],
        whole[at_moving + 2 * size :],
    )  # fmt: skip
