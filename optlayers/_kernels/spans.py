"""Compiled dynamic program over words, chosen words and spans; see `_decoders/spans.py`."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, inline="always")
def fill(i, c, W, K, scores, may, must, best, came):
    """Take in one word after the other: `best[w, k, chosen]`, `came[t]`: whether t - 1 was chosen.

    Downwards, so that best[w - 1] and best[., k - 1] still belong to the word before.
    """
    n = len(came)
    for t in range(n):
        s = scores[i, c, t]
        for w in range(W, -1, -1):
            for k in range(K, -1, -1):
                out, inside = best[w, k, 0], best[w, k, 1]
                came[t, w, k, 0] = inside > out
                best[w, k, 0] = -np.inf if must[i, c, t] else max(out, inside)
                take = w > 0 and may[i, c, t]
                go = best[w - 1, k, 1] if take else -np.inf
                enter = take and k > 0 and may[i, c, n + t]
                begin = best[w - 1, k - 1, 0] if enter else -np.inf
                came[t, w, k, 1] = go > begin
                best[w, k, 1] = s + max(go, begin) if take else -np.inf


@njit(cache=True, nogil=True, inline="always")
def trace(came, inside, w, k, z):
    """Write the chosen words and the starts of their spans, from the last word back."""
    n = len(came)
    for t in range(n - 1, -1, -1):
        chosen = inside
        inside = came[t, w, k, 1 if chosen else 0]
        if chosen:
            z[t] = 1.0
            w -= 1
            if not inside:
                z[n + t] = 1.0
                k -= 1


@njit(cache=True, nogil=True)
def decode(scores, words, starts, may, must, plain, z, score):
    """Write the best selections of the components that are `plain`, and their scores."""
    instances, count, size = scores.shape
    n = size // 2
    for i in range(instances):
        for c in range(count):
            W, K = words[i, c], starts[i, c]
            if not plain[i, c] or W < 0 or K < 0:
                continue
            best = np.full((W + 1, K + 1, 2), -np.inf)
            best[:, :, 0] = 0.0
            came = np.zeros((n, W + 1, K + 1, 2), dtype=np.bool_)
            fill(i, c, W, K, scores, may, must, best, came)
            out, inside = best[W, K, 0], best[W, K, 1]
            score[i, c] = max(out, inside)
            if score[i, c] > -np.inf:
                trace(came, inside > out, W, K, z[i, c])
