"""Compiled isotonic regression: pool adjacent violators."""

import numpy as np
from numba import njit


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
