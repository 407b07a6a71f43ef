"""Sums over all semantic graphs without deterministic labels, in closed form."""

from typing import NamedTuple

import torch
from torch import Tensor

# Stands for -inf and what is below: finite, so that no derivative is NaN, and sums of it stay in
# float32.
_LOW = -1e30


class Allowed(NamedTuple):
    """Which parts may be chosen, and where arcs belong; everything broadcasts over the batch."""

    size: int
    words: Tensor  # (..., n) predicates that may be chosen
    slots: Tensor  # (..., K) arcs that may be chosen
    predicate: Tensor | None  # (..., K) the predicate of each slot; None: slot i n + j


def log_partition(predicates: Tensor | None, slots: Tensor, allowed: Allowed) -> Tensor:
    r"""Return $\log Z$ of the batch shape, in $O(K L)$.

    $$ \log Z = \sum_i \log\Big(1 + \exp\big(s_i + \sum_j \log(1 + \exp(s_{ij} + \log \sum_\ell
       \exp s_{ij\ell}))\big)\Big) $$

    Without predicates, the inner sums alone: all choices are independent of each other.

    Args:
        predicates: `(..., n)` scores of predicates, or None where they are no parts.
        slots: `(..., K, 1 + L)` scores of arcs and their labels.
        allowed: Which of them may be chosen.
    """
    arcs = _arcs(slots, allowed)[0]
    if predicates is None:
        return _softplus(arcs).sum(-1)
    return _softplus(_totals(predicates, arcs, allowed)).sum(-1)


def marginals(
    predicates: Tensor | None, slots: Tensor, allowed: Allowed
) -> tuple[Tensor | None, Tensor]:
    """Return the gradients of `log_partition`, written out, to be differentiable cheaply."""
    arcs, labels = _arcs(slots, allowed)
    chosen, own = arcs.sigmoid(), None
    if predicates is not None:
        own = _totals(predicates, arcs, allowed).sigmoid()
        chosen = chosen * _of_slots(own, allowed, slots.shape[-2])
    chosen = chosen[..., None]
    return own, torch.cat([chosen, chosen * labels.softmax(-1)], -1)


def per_predicate(values: Tensor, allowed: Allowed) -> Tensor:
    """Sums of `(..., K)` over the slots of each predicate, `(..., n)`."""
    if allowed.predicate is None:
        return values.unflatten(-1, (allowed.size, allowed.size)).sum(-1)
    zeros = values.new_zeros(*values.shape[:-1], allowed.size)
    return zeros.scatter_add(-1, allowed.predicate.expand(values.shape), values)


def _of_slots(values: Tensor, allowed: Allowed, count: int) -> Tensor:
    """Return the entry of its predicate for every slot: `(..., n)` to `(..., K)`."""
    if allowed.predicate is None:
        return values.repeat_interleave(allowed.size, -1)
    return values.gather(-1, allowed.predicate.expand(*values.shape[:-1], count))


def _arcs(slots: Tensor, allowed: Allowed) -> tuple[Tensor, Tensor]:
    """Log-weight of every arc with all its labels, and scores of labels; finite."""
    scores = _finite(slots, allowed.slots[..., None])
    arcs, labels = scores[..., 0], scores[..., 1:]
    return arcs + labels.logsumexp(-1), labels


def _totals(predicates: Tensor, arcs: Tensor, allowed: Allowed) -> Tensor:
    """Log-weight of every predicate with all its arcs."""
    return _finite(predicates, allowed.words) + per_predicate(_softplus(arcs), allowed)


def _finite(scores: Tensor, allowed: Tensor) -> Tensor:
    """Return the scores, and `_LOW` below it and where a part may not be chosen."""
    return torch.where(allowed & ~(scores <= _LOW), scores, _LOW)


def _softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)); `torch.nn.functional.softplus` cuts off at 20, wrong in float64."""
    return -torch.nn.functional.logsigmoid(-x)
