"""The score-function estimator: learn from samples and what they cost."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from .._checks import floats, function, tensor
from .._errors import InputError
from .._feasible_set import FeasibleSet, as_set
from .._no_gradient import say_without_gradient
from .._sums import draw, log_sum
from .common import Reduction, event_of, reduce, times


def reinforce(
    feasible_set: FeasibleSet,
    scores: Tensor,
    cost: Callable[[Tensor], Tensor],
    *,
    samples: int = 2,
    baseline: Literal["others"] | float | Tensor = "others",
    generator: torch.Generator | None = None,
    reduction: Reduction = "sum",
) -> Tensor:
    r"""Estimate the expected cost of structures drawn from the scores, and its gradient.

    $$ L(s) = \mathbb{E}_{z \sim p}[c(z)], \quad p(z) \propto \exp(z \cdot s), \qquad
       \nabla_s L \approx \frac1m \sum_i (c(z_i) - b_i)\, (z_i - \mathbb{E}[z]) $$

    Unbiased, and needs no derivative of the cost, which may be anything; if the cost has one in
    parameters of its own, these learn as well. The layer has no surrogate for it, since what
    arrives at a layer is a gradient and not a cost. For sets that can be sampled: products of
    simplices and of 0/1 parts, and sets with a method `sample`. Cost: `samples` draws and one sum.

    Args:
        feasible_set: Draws and sums.
        scores: In the shape that the set asks for.
        cost: From structures `(samples, ..., *event)` to their costs `(samples, ...)`.
        samples: $m$.
        baseline: $b_i$. "others": the mean cost of the other samples; a number or a tensor of the
            batch shape; it must not depend on the sample.
        generator: Where samples come from; None: torch's own.
        reduction: "sum" or "mean" over the batch, or "none".

    Raises:
        InputError: If the set cannot be sampled, or the costs have another shape.

    References:
        Williams (1992), *Simple statistical gradient-following algorithms for connectionist
        reinforcement learning*; the mean of the others: Kool, van Hoof and Welling (2019).
    """
    floats(scores, "scores")
    function(cost, "cost", "from structures to their costs")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise InputError(f"`samples` must be a positive integer. Got {samples!r}.")
    if isinstance(baseline, str) and (baseline != "others" or samples < 2):
        raise InputError(
            f"`baseline` must be 'others', with at least two samples, or a number. Got "
            f"{baseline!r} with {samples}."
        )
    say_without_gradient(feasible_set, "reinforce")
    event, of = event_of(feasible_set, scores), as_set(feasible_set, scores)
    drawn = draw(of, scores.expand(samples, *scores.shape), generator)
    costs = tensor(cost(drawn), "cost(z)")
    wanted = drawn.shape[: drawn.ndim - len(event)]
    if costs.shape != wanted:
        raise InputError(
            f"`cost` must return one cost per structure, {tuple(wanted)}. Got {tuple(costs.shape)}."
        )
    with torch.no_grad():
        if isinstance(baseline, str):
            gain = (costs - costs.mean(0)) * (samples / (samples - 1))
        else:
            gain = costs - baseline
    log_p = times(drawn, scores.expand_as(drawn)).sum(event) - log_sum(of, scores)
    surrogate = (gain * log_p).mean(0)
    value = costs.mean(0)
    return reduce(value + (surrogate - surrogate.detach()), reduction)
