"""Losses for supervised structures: hinge, perceptron and log-loss, over any feasible set."""

from typing import Literal

import torch
from torch import Tensor

from ._errors import InputError
from ._feasible_set import FeasibleSet, as_set
from ._functional import decode

Costs = float | Tensor | tuple[float | Tensor, float | Tensor]
Reduction = Literal["sum", "mean", "none"]


def cost_augmented(scores: Tensor, gold: Tensor, costs: Costs = 1.0) -> Tensor:
    r"""Scores whose argmax is the structure that a margin is most short of.

    $$ s' = s + c_{fp} \, (1 - z^*) - c_{fn} \, z^*, \qquad
       s' \cdot z = s \cdot z + \text{cost}(z, z^*) - c_{fn} \cdot z^* $$

    for $\text{cost}(z, z^*) = c_{fp} \cdot z (1 - z^*) + c_{fn} \cdot (1 - z) z^*$ and 0/1
    structures $z$. Any decoder of the set then decodes with costs.

    Args:
        scores: In the shape that the set asks for.
        gold: $z^*$, 0/1, in the same shape.
        costs: A number: the cost of every part that differs (Hamming). A pair
            `(false_positive, false_negative)` tells the two kinds of mistakes apart. Numbers, or
            tensors that broadcast against the scores: 0 for parts whose mistakes are free.

    Raises:
        InputError: If `gold` has another shape or a cost is negative.

    References:
        Taskar, Guestrin and Koller (2004), *Max-margin Markov networks*; Tsochantaridis et al.
        (2004); different costs for false positives and negatives: Martins and Almeida (2014),
        *Priberam: a turbo semantic parser with second order features*.

    Examples:
        >>> gold = torch.tensor([1.0, 0.0, 0.0])
        >>> cost_augmented(torch.tensor([2.0, 1.0, 0.0]), gold, costs=(0.4, 0.6))
        tensor([1.4000, 1.4000, 0.4000])
    """
    positive, negative = _costs(scores, gold, costs)
    gold = gold.to(scores.dtype)
    return scores + positive * (1 - gold) - negative * gold


def structured_hinge(
    feasible_set: FeasibleSet,
    scores: Tensor,
    gold: Tensor,
    costs: Costs = 1.0,
    *,
    reduction: Reduction = "sum",
) -> Tensor:
    r"""How far the best wrong structure comes within a margin: max-margin learning.

    $$ L(s) = \max_{z \in Z} \big[ s \cdot z + \text{cost}(z, z^*) \big] - s \cdot z^*, \qquad
       \nabla_s L = z' - z^* $$

    with $z'$ the maximiser, found by the decoder of the set. Non-negative if $z^* \in Z$ (see
    `contains`); else it means nothing.

    Args:
        feasible_set: Decodes; a `Polytope` or a structured set.
        scores: In the shape that the set asks for.
        gold: The true structures, 0/1, in the same shape.
        costs: As in `cost_augmented`.
        reduction: "sum" or "mean" over the batch, or "none".

    Returns:
        A number, or the batch shape with `reduction="none"`.

    Examples:
        >>> import optlayers as ol
        >>> scores = torch.tensor([2.0, 1.5, 0.0], requires_grad=True)
        >>> loss = structured_hinge(ol.simplex(3), scores, torch.tensor([1.0, 0.0, 0.0]))
        >>> loss.backward()
        >>> loss, scores.grad
        (tensor(1.5000, grad_fn=<SumBackward0>), tensor([-1.,  1.,  0.]))
    """
    with torch.no_grad():
        positive, negative = _costs(scores, gold, costs)
        gold = gold.to(scores.dtype)
        worst = decode(feasible_set, cost_augmented(scores, gold, costs))
        cost = positive * worst * (1 - gold) + negative * (1 - worst) * gold
    terms = _times(worst - gold, scores) + cost
    return _reduce(terms.sum(_event(feasible_set)), reduction)


def structured_perceptron(
    feasible_set: FeasibleSet, scores: Tensor, gold: Tensor, *, reduction: Reduction = "sum"
) -> Tensor:
    r"""$\max_{z \in Z} s \cdot z - s \cdot z^*$: the hinge loss without costs.

    References:
        Collins (2002), *Discriminative training methods for hidden Markov models*.
    """
    return structured_hinge(feasible_set, scores, gold, 0.0, reduction=reduction)


def log_loss(
    feasible_set: FeasibleSet,
    scores: Tensor,
    gold: Tensor,
    *,
    reduction: Reduction = "sum",
) -> Tensor:
    r"""$-\log p(z^*) = \log \sum_{z \in Z} \exp(s \cdot z) - s \cdot z^*$: a CRF.

    The gradient is the marginals less the gold structure. For sets that have a `log_partition`.

    Args:
        feasible_set: A structured set with a tractable sum over its structures.
        scores: In the shape that the set asks for.
        gold: The true structures, 0/1, in the same shape.
        reduction: "sum" or "mean" over the batch, or "none".

    Raises:
        InputError: If the set has no tractable sum.

    References:
        Lafferty, McCallum and Pereira (2001), *Conditional random fields*.
    """
    _same_shape(scores, gold)
    chosen = _times(gold.to(scores.dtype), scores).sum(_event(feasible_set))
    return _reduce(as_set(feasible_set).log_partition(scores) - chosen, reduction)


def _event(feasible_set: FeasibleSet) -> tuple[int, ...]:
    """The dimensions of one structure."""
    return tuple(range(-feasible_set.event_dim, 0))


def _times(weight: Tensor, scores: Tensor) -> Tensor:
    """The product, 0 where the weight is 0, whatever is at padding."""
    return torch.where(weight != 0, weight * torch.where(weight != 0, scores, 0), 0)


def _costs(scores: Tensor, gold: Tensor, costs: Costs) -> tuple[float | Tensor, float | Tensor]:
    """Costs of false positives and of false negatives."""
    _same_shape(scores, gold)
    pair = costs if isinstance(costs, tuple) else (costs, costs)
    if len(pair) != 2:
        raise InputError(
            f"`costs` must be a cost or a pair (false_positive, false_negative). Got {costs!r}."
        )
    for cost in pair:
        # Tensors are not looked at: that would be a device synchronisation in every step.
        if not isinstance(cost, Tensor) and not cost >= 0:
            raise InputError(f"`costs` must not be negative. Got {cost!r}.")
    positive, negative = (c.to(scores) if isinstance(c, Tensor) else c for c in pair)
    return positive, negative


def _same_shape(scores: Tensor, gold: Tensor) -> None:
    if scores.shape != gold.shape:
        raise InputError(
            f"`gold` must have the shape of the scores, {tuple(scores.shape)}. "
            f"Got {tuple(gold.shape)}."
        )


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    if reduction not in ("sum", "mean"):
        raise InputError(f"`reduction` must be 'sum', 'mean' or 'none'. Got {reduction!r}.")
    return losses.sum() if reduction == "sum" else losses.mean()
