"""Losses for supervised structures: hinge, perceptron and log-loss, over any feasible set."""

import torch
from torch import Tensor

from .._checks import number
from .._errors import InputError
from .._feasible_set import FeasibleSet, as_set
from .._functional import decode
from .._no_gradient import say_without_gradient
from .._sums import log_sum
from .common import Reduction, StructuredLoss, event_of, reduce, same_shape, times

Costs = float | Tensor | tuple[float | Tensor, float | Tensor]


def cost_augmented(scores: Tensor, gold: Tensor, costs: Costs = 1.0) -> Tensor:
    r"""Return scores whose argmax is the structure that a margin is most short of.

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
    r"""Measure how far the best wrong structure comes within a margin: max-margin learning.

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
    say_without_gradient(feasible_set, "a loss of decisions")
    with torch.no_grad():
        positive, negative = _costs(scores, gold, costs)
        gold = gold.to(scores.dtype)
        worst = decode(feasible_set, cost_augmented(scores, gold, costs))
        cost = positive * worst * (1 - gold) + negative * (1 - worst) * gold
    terms = times(worst - gold, scores) + cost
    return reduce(terms.sum(event_of(feasible_set, scores)), reduction)


def structured_perceptron(
    feasible_set: FeasibleSet, scores: Tensor, gold: Tensor, *, reduction: Reduction = "sum"
) -> Tensor:
    r"""Return $\max_{z \in Z} s \cdot z - s \cdot z^*$: the hinge loss without costs.

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
    r"""Return $-\log p(z^*) = \log \sum_{z \in Z} \exp(s \cdot z) - s \cdot z^*$: a CRF.

    The gradient is the marginals less the gold structure. For sets that have a `log_partition`, and
    for polytopes that are products of simplices and of 0/1 parts, where it is cross-entropy.

    Args:
        feasible_set: A set with a tractable sum over its structures.
        scores: In the shape that the set asks for.
        gold: The true structures, 0/1, in the same shape.
        reduction: "sum" or "mean" over the batch, or "none".

    Raises:
        InputError: If the set has no tractable sum.

    References:
        Lafferty, McCallum and Pereira (2001), *Conditional random fields*.
    """
    same_shape(scores, gold)
    say_without_gradient(feasible_set, "log_loss")
    event = event_of(feasible_set, scores)
    terms = times(gold.to(scores.dtype), scores)
    log_z = log_sum(as_set(feasible_set, scores), scores)
    loss = log_z - terms.sum(event)
    # A probability is at most one: what is below zero by rounding alone is zero.
    sizes = log_z.detach().abs() + terms.detach().abs().sum(event)
    rounded = (loss < 0) & (loss >= -8 * torch.finfo(loss.dtype).eps * sizes)
    return reduce(loss - torch.where(rounded, loss, 0).detach(), reduction)


def _costs(scores: Tensor, gold: Tensor, costs: Costs) -> tuple[float | Tensor, float | Tensor]:
    """Return the costs of false positives and of false negatives."""
    same_shape(scores, gold)
    pair = costs if isinstance(costs, tuple) else (costs, costs)
    if len(pair) != 2:
        raise InputError(
            f"`costs` must be a cost or a pair (false_positive, false_negative). Got {costs!r}."
        )
    for cost in pair:
        # Tensors are not looked at: that would be a device synchronisation in every step.
        if not isinstance(cost, Tensor):
            number(cost, "costs", 0)
    positive, negative = (c.to(scores) if isinstance(c, Tensor) else c for c in pair)
    return positive, negative


class StructuredHingeLoss(StructuredLoss):
    """`structured_hinge` as a module."""

    def __init__(
        self,
        feasible_set: FeasibleSet | None = None,
        *,
        costs: Costs = 1.0,
        reduction: Reduction = "sum",
    ):
        super().__init__(feasible_set, reduction, costs=costs)

    def forward(
        self, scores: Tensor, gold: Tensor, feasible_set: FeasibleSet | None = None
    ) -> Tensor:
        """Return the loss; see `structured_hinge`."""
        chosen = self._set(feasible_set)
        return structured_hinge(chosen, scores, gold, reduction=self.reduction, **self.options)


class StructuredPerceptronLoss(StructuredLoss):
    """`structured_perceptron` as a module."""

    def __init__(self, feasible_set: FeasibleSet | None = None, *, reduction: Reduction = "sum"):
        super().__init__(feasible_set, reduction)

    def forward(
        self, scores: Tensor, gold: Tensor, feasible_set: FeasibleSet | None = None
    ) -> Tensor:
        """Return the loss; see `structured_perceptron`."""
        chosen = self._set(feasible_set)
        return structured_perceptron(chosen, scores, gold, reduction=self.reduction)


class LogLoss(StructuredLoss):
    """`log_loss` as a module."""

    def __init__(self, feasible_set: FeasibleSet | None = None, *, reduction: Reduction = "sum"):
        super().__init__(feasible_set, reduction)

    def forward(
        self, scores: Tensor, gold: Tensor, feasible_set: FeasibleSet | None = None
    ) -> Tensor:
        """Return the loss; see `log_loss`."""
        return log_loss(self._set(feasible_set), scores, gold, reduction=self.reduction)
