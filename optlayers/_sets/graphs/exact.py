r"""Scores of graphs of any size as scores near zero, without losing a digit that counts.

Labels are counted from the best of their arc, which takes what that has. An arc of more than 1e4 is
chosen whenever its predicate is, and hands the rest to that; what is left of a predicate beyond 1e4
is in every graph that counts. All of it in integers over one power of two.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..._paths.exact import as_float, integers
from .marginals import Allowed

CALM = 1e6  # what positive scores may add up to, to be summed as they are
_NOTHING = 10_000  # exp(-1e4) is zero in float64


class Reduced(NamedTuple):
    """Scores near zero, and what all graphs that count had more, of the batch shape."""

    predicates: Tensor | None
    slots: Tensor
    shift: Tensor | None  # None: nothing


def calmed(
    predicates: Tensor | None, slots: Tensor, allowed: Allowed, most: float = CALM
) -> Reduced | None:
    """Return scores with the same sums, in float64; None where those given will do.

    Args:
        predicates: `(..., n)` or None, on the host.
        slots: `(..., K, 1 + L)`.
        allowed: Which may be chosen.
        most: What positive scores may add up to.
    """
    own = slots.new_zeros(*slots.shape[:-2], 0) if predicates is None else predicates
    words = allowed.words if predicates is not None else allowed.words[..., :0]
    parts = ((own, words, -1), (slots, allowed.slots[..., None], (-2, -1)))
    large = sum((_positive(x, free).sum(dims) for x, free, dims in parts), slots.new_zeros(()))
    broken = sum((free & ~(x < torch.inf)).sum(dims) for x, free, dims in parts)
    wild = (large > most) & (broken == 0)
    if not bool(wild.any()):
        return None
    batch = wild.shape
    given = [v.detach().double().expand(*batch, *v.shape[len(v.shape) - k :]).clone()
             for v, k in ((own, 1), (slots, 2))]  # fmt: skip
    shift, count = slots.new_zeros(batch, dtype=torch.float64), allowed.slots.shape[-1]
    free = (words.expand(*batch, -1), allowed.slots.expand(*batch, -1))
    predicate = allowed.predicate
    if predicate is None:
        predicate = torch.arange(count) // max(allowed.size, 1)
    predicate = predicate.expand(*batch, -1)
    for i in zip(*np.nonzero(wild.numpy()), strict=True):
        one = [v[i].numpy() for v in (*given, *free, predicate)]
        shift[i] = _reduce(*one)
    kept = [torch.where(v.isfinite(), v, 0).double() for v in (own, slots)]
    own, slots = (v + (k - k.detach()) for v, k in zip(given, kept, strict=True))
    return Reduced(None if predicates is None else own, slots, shift)


def _positive(x: Tensor, allowed: Tensor) -> Tensor:
    return torch.where(allowed & (x > 0), x.detach(), 0).double()


def _reduce(own, slots, words, free, predicate) -> float:
    """Replace the scores of one instance, arrays, by their reduced ones; return the shift."""
    numbers, shift = integers([*own.tolist(), *slots.ravel().tolist()])
    most = _NOTHING << shift
    scores, handed = numbers[len(own) :], [0] * max(len(own), 1)
    width = slots.shape[1]
    for k in np.flatnonzero(free).tolist():
        arc, labels = scores[k * width], scores[k * width + 1 : (k + 1) * width]
        known = [v for v in labels if v is not None]
        if arc is None or not known:
            slots[k] = -np.inf
            continue
        best = max(known)
        arc += best
        slots[k, 0] = as_float(min(max(arc, -most), most), shift)
        slots[k, 1:] = [
            -np.inf if v is None else as_float(max(v - best, -most), shift) for v in labels
        ]
        handed[predicate[k] if len(own) else 0] += max(arc - most, 0)
    if not len(own):
        return as_float(handed[0], shift)
    over, least = 0, -2 * most * (len(slots) + 1)
    for i in np.flatnonzero(words).tolist():
        score = numbers[i]
        if score is not None:
            score += handed[i]
            over += max(score - most, 0)
            own[i] = as_float(min(max(score, least), most), shift)
    return as_float(over, shift)
