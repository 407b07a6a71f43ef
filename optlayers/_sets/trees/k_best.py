"""The k best trees of every sentence, by parting what is left after each one found."""

import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# From scores `(M, n + 1, n + 1)`, lengths and allowed arcs to heads `(M, n + 1)` and states `(M,)`.
_CALM = 1e4  # scores up to here are compared as floats
Decode = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class _Part(NamedTuple):
    """Trees that share the heads of the first words; ordered by the score of the best of them."""

    loss: Any  # a float, or a fraction
    number: int  # of equal parts the one found first comes first
    heads: np.ndarray  # of the best tree
    allowed: np.ndarray
    fixed: int  # words with a head that is given


def k_best(
    decode: Decode,
    exactly: Decode,
    scores: np.ndarray,
    lengths: np.ndarray,
    allowed: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the k best trees of every sentence, exactly.

    The trees other than the best fall into parts: those that agree with it in the heads of words 1
    to $m - 1$ and not in that of word $m$. Each part is decoded with its arcs alone; the best of
    all is the next tree, whose part is divided in turn. So $k n$ decodings for n words, of all
    sentences together.

    Args:
        decode: The decoder.
        exactly: One for scores of which a float has not all digits that decide.
        scores: `(N, n + 1, n + 1)`, float64.
        lengths: `(N,)`.
        allowed: `(N, n + 1, n + 1)`.
        k: How many.

    Returns:
        heads: `(N, k, n + 1)` int64, -1 where there is none.
        state: `(N,)`, that of the first decoding.

    References:
        Lawler (1972), *A procedure for computing the k best solutions to discrete optimization
        problems*; Camerini, Fratta and Maffioli (1980), *The k best spanning arborescences of a
        network*.
    """
    used = allowed & np.isfinite(scores)
    large = (np.abs(np.where(used, scores, 0.0)) > _CALM).any((1, 2))
    if not large.any():
        return _search(decode, scores, lengths, allowed, k)
    _, state = decode(scores, lengths, allowed)
    if (state == 2).any():  # the caller refuses it
        return np.full((*scores.shape[:1], k, scores.shape[1]), -1), state
    low = used & (scores < -_CALM)
    found, state = _search(decode, scores, lengths, allowed & ~low, k)
    for b in np.flatnonzero(large & ~_settled(scores, lengths, used, low, found)).tolist():
        at = slice(b, b + 1)
        found[at], state[at] = _search(exactly, scores[at], lengths[at], allowed[at], k)
    return found, state


def _settled(scores, lengths, used, low, found) -> np.ndarray:
    """Return the sentences with k trees, none of which a tree with a low arc can beat."""
    fine = ~(used & (scores > _CALM)).any((1, 2)) & (found[:, -1, 1:] >= 0).any(-1)
    for b in np.flatnonzero(fine).tolist():
        worst = _value(scores[b], found[b, -1], int(lengths[b]))
        most = np.where(used[b] & ~low[b], scores[b], 0.0).clip(min=0.0).max(0).sum()
        fine[b] = float(np.where(low[b], scores[b], -np.inf).max()) + most < worst - 1.0
    return fine


def _search(
    decode: Decode, scores: np.ndarray, lengths: np.ndarray, allowed: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same by one decoder."""
    count, side = scores.shape[:2]
    found = np.full((count, k, side), -1, dtype=np.int64)
    heads, state = decode(scores, lengths, allowed)
    queues: list[list[_Part]] = [[] for _ in range(count)]
    for b in np.flatnonzero(state == 0):
        loss = -_value(scores[b], heads[b], int(lengths[b]))
        queues[b].append(_Part(loss, 0, heads[b], allowed[b], 0))
    made = 1
    for rank in range(k):
        owners, parts, masks = [], [], []
        for b, queue in enumerate(queues):
            if not queue:
                continue
            best = heapq.heappop(queue)
            found[b, rank] = best.heads
            if rank + 1 < k:
                inner = _divide(best, lengths[b])
                masks += inner
                owners += [b] * len(inner)
                parts += range(best.fixed, lengths[b])
        if not masks:
            continue
        own = np.array(owners)
        heads, states = decode(scores[own], lengths[own], np.stack(masks))
        for i in np.flatnonzero(states == 0).tolist():
            b = owners[i]
            loss = -_value(scores[b], heads[i], int(lengths[b]))
            heapq.heappush(queues[b], _Part(loss, made + i, heads[i], masks[i], parts[i]))
        made += len(masks)
    return found, state


def _divide(part: _Part, length: int) -> list[np.ndarray]:
    """Return the arcs of the parts that the other trees fall into."""
    masks, kept = [], part.allowed
    for m in range(part.fixed + 1, length + 1):
        other = kept.copy()
        other[part.heads[m], m] = False
        masks.append(other)
        kept = kept.copy()
        kept[:, m] = False
        kept[part.heads[m], m] = True
    return masks


def _value(scores: np.ndarray, heads: np.ndarray, length: int) -> Any:
    """Return the score of a tree, as a fraction where it is so large that digits would be lost."""
    from fractions import Fraction

    words = np.arange(1, length + 1)
    found = scores[heads[words], words]
    if np.abs(found).max(initial=0.0) > _CALM:
        return sum(map(Fraction, found.tolist()), Fraction(0))
    return float(found.sum())
