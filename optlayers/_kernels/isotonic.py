"""Compiled sorting and isotonic regression: merge sort, pool adjacent violators."""

import numpy as np
from numba import njit

_RUN = 8  # what is sorted by insertion, before runs are merged


@njit(cache=True, nogil=True, inline="always")
def insert(key, begin, end, order):
    """Sort a short run by insertion."""
    for i in range(begin + 1, end):
        item, k = order[i], i
        while k > begin and key[order[k - 1]] < key[item]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = item


@njit(cache=True, nogil=True, inline="always")
def merge(key, begin, middle, end, order, other):
    """Merge two sorted runs that stand side by side."""
    i, j = begin, middle
    for k in range(begin, end):
        if j >= end or (i < middle and key[order[i]] >= key[order[j]]):
            other[k] = order[i]
            i += 1
        else:
            other[k] = order[j]
            j += 1


@njit(cache=True, nogil=True)
def sort(key, count, order, other):
    """Sort the numbers in `order` by falling key; of equals, the one that stands first stays so."""
    for begin in range(0, count, _RUN):
        insert(key, begin, min(begin + _RUN, count), order)
    width = _RUN
    while width < count:
        for begin in range(0, count, 2 * width):
            end = min(begin + 2 * width, count)
            merge(key, begin, min(begin + width, count), end, order, other)
        order[:count] = other[:count]
        width *= 2


@njit(cache=True, nogil=True)
def orders(start, stop, x, allowed, order):
    """Write the numbers of allowed entries by falling value, then those of the others.

    Args:
        start: First row.
        stop: After the last one.
        x: `(N, n)`.
        allowed: `(N or 1, n)`.
        order: `(N, n)` int64.
    """
    n = x.shape[1]
    other = np.empty(n, dtype=np.int64)
    for b in range(start, stop):
        mask, own, count = allowed[b % allowed.shape[0]], order[b], 0
        for i in range(n):
            if mask[i]:
                own[count] = i
                count += 1
        last = count
        for i in range(n):
            if not mask[i]:
                own[last] = i
                last += 1
        sort(x[b], count, own, other)


@njit(cache=True, nogil=True, inline="always")
def pool(x, b, length, first, total):
    """Write the first entry and the sum of every block of a row; return how many there are."""
    count = 0
    for i in range(length):
        first[count], total[count] = i, x[b, i]
        size = 1
        while count > 0:
            before = first[count] - first[count - 1]
            # The mean before is to be above this one.
            if total[count - 1] * size > total[count] * before:
                break
            total[count - 1] += total[count]
            size += before
            count -= 1
        count += 1
    return count


@njit(cache=True, nogil=True)
def falling(start, stop, x, lengths, v, block):
    """Write the nearest non-increasing sequences, and which entries were pooled.

    Each block is the mean of its entries, summed from the left. $O(n)$ per row.

    Args:
        start: First row.
        stop: After the last one.
        x: `(N, n)`, float64.
        lengths: `(N,)`, entries of each row; those behind are blocks of their own.
        v: `(N, n)`, the answer.
        block: `(N, n)` int64, the number of the first entry of the block of each.
    """
    n = x.shape[1]
    first, total = np.empty(n + 1, dtype=np.int64), np.empty(n)
    for b in range(start, stop):
        count = pool(x, b, lengths[b], first, total)
        first[count] = lengths[b]
        for i in range(lengths[b], n):
            block[b, i] = i
        for k in range(count):
            mean = total[k] / (first[k + 1] - first[k])
            for i in range(first[k], first[k + 1]):
                v[b, i], block[b, i] = mean, first[k]
