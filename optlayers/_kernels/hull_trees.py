"""Compiled minimum-norm-point method over trees: all rounds of a sentence, without Python.

A tree is its arcs, as h (n + 1) + m for each word m: products of differences are counts of arcs
in common, exact and a vector instruction for several words.
"""

import numba
import numpy as np

from .arborescence import decode as arborescence
from .eisner import decode as eisner
from .hull import (
    NO_STRUCTURE,
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
def difference(arcs, first, n, new):
    """Write the arcs of a tree less those of the first one; return how many they share."""
    new[:] = 0.0
    shared = n
    for m in range(1, n + 1):
        if arcs[m] != first[m]:
            new[arcs[m]], new[first[m]] = 1.0, -1.0
            shared -= 1
    return shared


@numba.njit(cache=True, nogil=True)
def products_with_tree(i, n, k, arcs, plus, sets):
    """Return the products of the differences with another one, plus a number."""
    out = np.empty(k)
    for j in range(k):
        at = sets.slot[i, j]
        other, count = sets.arcs[i, at], np.int32(0)
        for m in range(1, n + 1):
            count += np.int32(arcs[m] == other[m])
        out[j] = count - sets.shared[i, at] + plus
    return out


@numba.njit(cache=True, nogil=True)
def products(i, n, k, vector, sets):
    """Return the products of the differences with a vector."""
    out, first = np.empty(k), sets.first[i]
    for j in range(k):
        arcs, total = sets.arcs[i, sets.slot[i, j]], 0.0
        for m in range(1, n + 1):
            total += vector[arcs[m]] - vector[first[m]] if arcs[m] != first[m] else 0.0
        out[j] = total
    return out


@numba.njit(cache=True, nogil=True)
def place(i, n, sets):
    """Compute the point of the weights, and what is left to the target."""
    x, away, target, first = sets.x[i], sets.away[i], sets.target[i], sets.first[i]
    x[:] = 0.0
    for j in range(sets.number[i]):
        at, weight = sets.slot[i, j], sets.weights[i, j]
        arcs, differs = sets.arcs[i, at], sets.differs[i, at]
        for c in range(n - sets.shared[i, at]):
            m = differs[c]
            x[arcs[m]] += weight
            x[first[m]] -= weight
    for d in range(len(x)):
        away[d] = target[d] - x[d]


@numba.njit(cache=True, nogil=True)
def join(i, n, arcs, shared, least, sets):
    """Take a tree in and move to the nearest point; whether it brought something."""
    face, k, own = face_of(i, sets), sets.number[i], 2.0 * (n - shared)
    if sets.sigma[i] == 0:
        sets.sigma[i] = own
        begin(own, face)
    row = products_with_tree(i, n, k, arcs, n - shared + sets.sigma[i], sets)
    reach, first = 0.0, sets.first[i]
    for m in range(1, n + 1):
        if arcs[m] != first[m]:
            reach += sets.target[i, arcs[m]] - sets.target[i, first[m]]
    if not append(row, own, reach, least, face, k, sets.sigma[i]):
        return False
    at = sets.slot[i, k]
    sets.arcs[i, at], sets.shared[i, at] = arcs, shared
    differs, c = sets.differs[i, at], 0
    for m in range(1, n + 1):
        if arcs[m] != first[m]:
            differs[c] = m
            c += 1
    sets.number[i], stuck = nearest(face, k + 1)
    return not stuck


@numba.njit(cache=True, nogil=True)
def decode(i, lengths, allowed, projective, single_root, sets, heads, state):
    """Decode what is left to the target of sentence i; whether there is a tree."""
    side, state[0] = heads.shape[1], 0
    scores, n = sets.away[i].reshape(1, side, side), lengths[i : i + 1]
    at = 0 if allowed is None else i % len(allowed)
    own = None if allowed is None else allowed[at : at + 1]
    if projective:
        eisner(0, 1, scores, n, own, single_root, heads, state)
    else:
        arborescence(0, 1, scores, n, own, single_root, heads, state)
    return state[0] == 0


@numba.njit(cache=True, nogil=True)
def take_in(i, n, arcs, shared, least, sets):
    """Add a tree to the structures of sentence i, and find the new point; whether that went on."""
    if not join(i, n, arcs, shared, least, sets):
        if stalled(i, sets):
            return False
        change = products(i, n, sets.number[i], sets.away[i], sets)
        sets.number[i] = polish(change, face_of(i, sets), sets.number[i])
    place(i, n, sets)
    return True


@numba.njit(cache=True, nogil=True)
def advance(start, stop, rows, trees, sets, most):
    """Go round after round for each sentence of `rows`, until it is done or out of room.

    `sets` is a `TreeArrays`, `trees` a `Trees`. The last of at most `most` rounds only judges, so
    that the gap is that of the point.
    """
    side, room = sets.first.shape[1], sets.weights.shape[1]
    heads, state = np.zeros((1, side), dtype=np.int64), np.zeros(1, dtype=np.int8)
    arcs, new = np.zeros(side, dtype=np.int32), np.empty(side * side)
    for r in range(start, stop):
        i = rows[r]
        n = trees.lengths[i]
        while sets.state[i] == OPEN and sets.calls[i] < most and sets.number[i] < room:
            sets.calls[i] += 1
            if not decode(
                i,
                trees.lengths,
                trees.allowed,
                trees.projective,
                trees.single_root,
                sets,
                heads,
                state,
            ):
                sets.state[i] = NO_STRUCTURE
                break
            for m in range(1, n + 1):
                arcs[m] = heads[0, m] * side + m
            shared = difference(arcs, sets.first[i], n, new)
            least = judge(i, new, sets)
            if sets.state[i] != OPEN or sets.calls[i] == most:
                break
            if not take_in(i, n, arcs, shared, least, sets):
                break


@numba.njit(cache=True, nogil=True)
def retarget(start, stop, rows, trees, sets):
    """Move to the nearest point of the trees at hand, after the targets have changed."""
    for r in range(start, stop):
        i = rows[r]
        n = trees.lengths[i]
        sets.calls[i] = 0
        if sets.sigma[i] > 0:
            reach = products(i, n, sets.number[i], sets.target[i], sets)
            sets.number[i] = solve_reach(reach, face_of(i, sets), sets.number[i])
        place(i, n, sets)
