"""Compiled rounds of the minimum-norm-point method for any decoder: differences by nonzeros."""

import numba
import numpy as np

from .hull import (
    OPEN,
    append,
    begin,
    face_of,
    judge,
    nearest,
    polish,
    solve_reach,
    stalled,
)


@numba.njit(cache=True, nogil=True)
def store(i, k, new, sets):
    """Keep the nonzeros of a difference as those of structure number k."""
    at = sets.slot[i, k]
    where, value, width = sets.where[i, at], sets.value[i, at], 0
    for d in range(len(new)):
        if new[d] != 0:
            where[width], value[width] = d, new[d]
            width += 1
    sets.width[i, at] = width


@numba.njit(cache=True, nogil=True)
def products(i, k, vector, plus, sets):
    """Return the products of the differences with a vector, plus a number."""
    out = np.empty(k)
    for j in range(k):
        at = sets.slot[i, j]
        where, value, total = sets.where[i, at], sets.value[i, at], plus
        for c in range(sets.width[i, at]):
            total += value[c] * vector[where[c]]
        out[j] = total
    return out


@numba.njit(cache=True, nogil=True)
def place(i, sets):
    """Compute the point of the weights, and what is left to the target."""
    x, away, target = sets.x[i], sets.away[i], sets.target[i]
    x[:] = 0.0
    for j in range(sets.number[i]):
        at, weight = sets.slot[i, j], sets.weights[i, j]
        where, value = sets.where[i, at], sets.value[i, at]
        for c in range(sets.width[i, at]):
            x[where[c]] += weight * value[c]
    for d in range(len(x)):
        away[d] = target[d] - x[d]


@numba.njit(cache=True, nogil=True)
def join(i, new, least, sets):
    """Take a difference in and move to the nearest point; whether it brought something."""
    face, k = face_of(i, sets), sets.number[i]
    own = np.dot(new, new)
    if sets.sigma[i] == 0:
        sets.sigma[i] = own
        begin(own, face)
    row = products(i, k, new, sets.sigma[i], sets)
    if not append(row, own, np.dot(new, sets.target[i]), least, face, k, sets.sigma[i]):
        return False
    store(i, k, new, sets)
    sets.number[i], stuck = nearest(face, k + 1)
    return not stuck


@numba.njit(cache=True, nogil=True)
def advance(start, stop, rows, decoded, sets, last):
    """Go one round for each instance of `rows`: judge the structure it decoded, and take it in.

    `sets` is an `Arrays`. The last round only judges, so that the gap is that of the
    point.
    """
    for r in range(start, stop):
        i = rows[r]
        new = decoded[r] - sets.origin[i]
        least = judge(i, new, sets)
        if last or sets.state[i] != OPEN:
            continue
        if not join(i, new, least, sets):  # what remains is rounding, of the weights at first
            if stalled(i, sets):
                continue
            change = products(i, sets.number[i], sets.away[i], 0.0, sets)
            sets.number[i] = polish(change, face_of(i, sets), sets.number[i])
        place(i, sets)


@numba.njit(cache=True, nogil=True)
def retarget(start, stop, rows, sets):
    """Move to the nearest point of the structures at hand, after the targets have changed."""
    for r in range(start, stop):
        i = rows[r]
        if sets.sigma[i] > 0:  # else the origin alone, whose products are zero
            reach = products(i, sets.number[i], sets.target[i], 0.0, sets)
            sets.number[i] = solve_reach(reach, face_of(i, sets), sets.number[i])
        place(i, sets)
