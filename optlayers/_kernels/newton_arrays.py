"""Arrays of the compiled Newton method, and products with the rows."""

from typing import NamedTuple

import numpy as np

from .lean import called, exact, inlined
from .parts import part


class BlockArrays(NamedTuple):
    """Common arrays: rows R, normalised; `(start, index, value)` by rows, by columns.

    `dense` is the transpose of R as a matrix, or empty; `pattern` is what `_ordering.pairs` found,
    or empty.
    """

    rows: tuple
    columns: tuple
    dense: np.ndarray
    pattern: tuple
    is_aux: np.ndarray


class Instance(NamedTuple):
    """The point and the limits of one instance."""

    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class Work(NamedTuple):
    """Arrays of one thread; `(size,)`, then `(m,)`, then what the factors need."""

    centre: np.ndarray  # y within its bounds: where the continuation starts
    point: np.ndarray  # what is projected in this stage
    anchor: np.ndarray  # centre of the curvature of auxiliary variables
    moved: np.ndarray  # point - R^T mu / curvature, before clipping
    along: np.ndarray  # R^T d
    inverse: np.ndarray  # 1 / curvature
    free: np.ndarray
    mu: np.ndarray
    base: np.ndarray  # multipliers that `point` and `hold` have taken up already
    act: np.ndarray  # R x
    slack: np.ndarray  # centre of the slack + mu / curvature, before clipping
    hold: np.ndarray  # centre of the curvature of slacks
    gradient: np.ndarray
    d: np.ndarray
    place: np.ndarray  # number among the active rows, or -1
    factor: np.ndarray
    gram: np.ndarray
    weight: np.ndarray
    compact: np.ndarray
    values: np.ndarray
    diagonal: np.ndarray
    on: np.ndarray
    tree: tuple
    ints: tuple
    floats: tuple
    ease: np.ndarray  # `(1,)`: what the damping is multiplied by; small where it held steps back


@part
def make_work(block, m, size):
    """Make room for one thread."""
    large = m if len(block.pattern[3]) else 0
    small, wide = m - large, m if len(block.dense) else 0
    v, r, s = np.empty((6, size)), np.empty((7, m)), np.empty((7, large), dtype=np.int64)
    return Work(
        v[0], v[1], v[2], v[3], v[4], v[5], np.empty(size, dtype=np.bool_),
        r[0], r[1], r[2], r[3], r[4], r[5], r[6], np.empty(m, dtype=np.int64),
        np.empty((small, small)), np.empty((wide, wide)), np.empty(size), np.empty(m),
        np.empty(len(block.pattern[4]) + large), np.empty(large), np.empty(large, dtype=np.bool_),
        (s[0], s[1], s[2]), (np.empty(large + 1, dtype=np.int64), s[3], s[4], s[5]),
        (np.empty(large), np.empty(large)), np.ones(1),
    )  # fmt: skip


@inlined
def add_columns(columns, x, out):
    """Write the sum of x[j] columns[j] to `out`."""
    out[:] = 0.0
    for j in range(len(x)):
        if x[j] != 0.0:
            column, own = columns[j], x[j]
            for i in range(len(out)):
                out[i] += own * column[i]


@called
def activity(block, x, out):
    """Write R x to `out`."""
    start, index, value = block.rows
    if len(block.dense):
        add_columns(block.dense, x, out)
        return
    for i in range(len(out)):
        total = 0.0
        for e in range(start[i], start[i + 1]):
            total += value[e] * x[index[e]]
        out[i] = total


@called
def pull_back(block, mu, out):
    """Write R^T mu to `out`."""
    start, index, value = block.columns
    for j in range(len(out)):
        total = 0.0
        if len(block.dense):
            column = block.dense[j]
            for i in range(len(mu)):
                total += column[i] * mu[i]
        else:
            for e in range(start[j], start[j + 1]):
                total += value[e] * mu[index[e]]
        out[j] = total


@exact
def worse(worst, value):
    """Return the larger one, and NaN if either is."""
    return worst if value <= worst or worst != worst else value
