"""Compiled decoder of semantic graphs; see `_sets/graphs/decoder.py` for its formula."""

from typing import NamedTuple

import numpy as np
from numba import njit


class Slots(NamedTuple):
    """The slots of one predicate, `(n,)`, numbered from its first."""

    value: np.ndarray  # of the best choice
    choice: np.ndarray  # its label; -1: no arc


class Arguments(NamedTuple):
    """Arguments that gain by a role, `(n,)`: the rows of the assignment."""

    slot: np.ndarray
    base: np.ndarray  # s_j - f_j
    dual: np.ndarray
    favourite: np.ndarray
    role: np.ndarray  # by position among the roles; -1: none


class Roles(NamedTuple):
    """Deterministic labels, by position: the columns of the assignment."""

    owner: np.ndarray
    came: np.ndarray  # the row from which a path came here
    price: np.ndarray
    distance: np.ndarray
    todo: np.ndarray
    done: np.ndarray


@njit(cache=True, nogil=True, inline="always")
def take_slots(row, own, begin, end, may, offset, width, free, roles, slots, rows):
    """Give every slot its best free label, and collect the arguments that gain by a role.

    Returns how many these are, and a bound on the predicate with all its arcs; NaN if a score is
    none, or infinite.
    """
    bound, count, fine = own, 0, True
    value, choice = slots
    slot, base, dual, favourite, _ = rows
    for k in range(begin, end):
        here = k - begin
        value[here], choice[here] = 0.0, -1
        if not may[k]:
            continue
        at = offset + k * width
        arc = np.float64(row[at])
        fine &= arc < np.inf
        if arc == -np.inf:
            continue
        best, which = -np.inf, -1
        for position in range(len(free)):
            s = row[at + 1 + free[position]]
            fine &= s < np.inf
            if s > best:
                best, which = np.float64(s), position
        if arc + best > 0:
            value[here], choice[here] = arc + best, free[which]
            bound += arc + best
        best, which = -np.inf, -1
        for position in range(len(roles)):
            s = row[at + 1 + roles[position]]
            fine &= s < np.inf
            if s > best:
                best, which = np.float64(s), position
        gain = (arc - value[here]) + best
        if gain > 0:
            slot[count], base[count] = k, arc - value[here]
            dual[count], favourite[count] = gain, which
            count += 1
            bound += gain
    return count, bound if fine else np.nan


@njit(cache=True, nogil=True, inline="always")
def search(row, root, offset, width, roles, rows, columns):
    """Return the shortest augmenting path from a row: target, row that stays alone, length, closed.

    Duals: dual_r + price_l >= gain_rl, dual >= 0, price >= 0, equal where assigned; roles without
    an owner have price 0, so dual_r is how far r is from staying alone. The target is -1 if a row
    on the path had better stay alone.
    """
    owner, came, price, distance, todo, done = columns
    slot, base, dual = rows[:3]
    open_roles, closed = len(roles), 0
    for position in range(open_roles):
        todo[position], distance[position] = position, np.inf
    r, length = root, 0.0
    alone, leaves = np.inf, root
    while True:
        if length + dual[r] < alone:
            alone, leaves = length + dual[r], r
        at = offset + slot[r] * width + 1
        shift = length + dual[r] - base[r]
        nearest, where = np.inf, -1
        for position in range(open_roles):
            label = todo[position]
            d = shift + price[label] - row[at + roles[label]]
            if d < distance[label]:
                distance[label], came[label] = d, r
            if distance[label] < nearest:
                nearest, where = distance[label], position
        if alone <= nearest:
            return -1, leaves, alone, closed
        length = max(nearest, length)
        label = todo[where]
        if owner[label] < 0:
            return label, leaves, length, closed
        open_roles -= 1
        todo[where] = todo[open_roles]
        done[closed] = label
        closed += 1
        r = owner[label]


@njit(cache=True, nogil=True, inline="always")
def augment(root, target, leaves, length, closed, rows, columns):
    """Change the duals, and let every argument on the path move on to the next role."""
    rows.dual[root] -= length
    for position in range(closed):
        label = columns.done[position]
        rows.dual[columns.owner[label]] -= length - columns.distance[label]
        columns.price[label] += length - columns.distance[label]
    if target < 0:  # `leaves` stays alone, and its role becomes free
        target = rows.role[leaves]
        rows.role[leaves] = -1
    while target >= 0:
        r = columns.came[target]
        columns.owner[target] = r
        target, rows.role[r] = rows.role[r], target
        if r == root:
            break


@njit(cache=True, nogil=True)
def assign(row, count, offset, width, roles, rows, columns):
    """Assign roles to arguments: favourites first, then those that lost theirs to another one."""
    if count > 0:
        columns.owner[:] = -1
        columns.price[:] = 0.0
    for r in range(count):
        rows.role[r] = -1
        if columns.owner[rows.favourite[r]] < 0:
            columns.owner[rows.favourite[r]], rows.role[r] = r, rows.favourite[r]
    for root in range(count):
        if rows.role[root] < 0:
            target, leaves, length, closed = search(row, root, offset, width, roles, rows, columns)
            augment(root, target, leaves, length, closed, rows, columns)


@njit(cache=True, nogil=True, inline="always")
def take_roles(row, begin, count, offset, width, roles, slots, rows):
    """Give the arguments that have a role its label, and add what it is worth."""
    value, choice = slots
    slot, base, _, _, role = rows
    for r in range(count):
        if role[r] >= 0:
            label = roles[role[r]]
            here = slot[r] - begin
            s = np.float64(row[offset + slot[r] * width + 1 + label])
            value[here] += base[r] + s
            choice[here] = label


@njit(cache=True, nogil=True, inline="always")
def write(i, own, begin, end, offset, width, predicates, slots, z):
    """Write the arcs of a predicate, and the predicate, unless all of it is worth nothing."""
    value, choice = slots
    total = own
    for k in range(end - begin):
        total += value[k]
    if predicates and not total > 0:
        return
    if predicates:
        z[i] = 1.0
    for k in range(end - begin):
        if choice[k] >= 0:
            at = offset + (begin + k) * width
            z[at] = z[at + 1 + choice[k]] = 1.0


@njit(cache=True, nogil=True)
def decode(start, stop, scores, lengths, first, allowed, free, roles, predicates, z, state):
    """Write the best graphs, NaN and 2 where a score in use is none."""
    size, most = first.shape[1] - 1, len(roles)
    offset, width = size if predicates else 0, 1 + len(free) + most
    slots = Slots(np.empty(size), np.empty(size, dtype=np.int64))
    rows = Arguments(
        np.empty(size, dtype=np.int64),
        np.empty(size),
        np.empty(size),
        np.empty(size, dtype=np.int64),
        np.empty(size, dtype=np.int64),
    )
    columns = Roles(
        np.empty(most, dtype=np.int64),
        np.empty(most, dtype=np.int64),
        np.empty(most),
        np.empty(most),
        np.empty(most, dtype=np.int64),
        np.empty(most, dtype=np.int64),
    )
    for b in range(start, stop):
        row, ends, may = scores[b], first[b % len(first)], allowed[b % len(allowed)]
        for i in range(lengths[b % len(lengths)]):
            begin, end = ends[i], ends[i + 1]
            own = np.float64(row[i]) if predicates else 0.0
            count, bound = take_slots(
                row, own, begin, end, may, offset, width, free, roles, slots, rows
            )
            if not bound < np.inf:  # sums that overflow are of no use either
                state[b] = 2
                z[b] = np.nan
                break
            if predicates and not bound > 0:
                continue
            assign(row, count, offset, width, roles, rows, columns)
            take_roles(row, begin, count, offset, width, roles, slots, rows)
            write(i, own, begin, end, offset, width, predicates, slots, z[b])
