"""Losses for predicted scores or costs whose true values are known: regret, and SPO+."""

from typing import Literal

import torch
from torch import Tensor

from .._errors import InputError
from .._feasible_set import FeasibleSet
from .._functional import decode
from .._no_gradient import say_without_gradient
from .common import Reduction, StructuredLoss, event_of, reduce, same_shape, times, with_gradient

Sense = Literal["scores", "costs"]


def spo_plus(
    feasible_set: FeasibleSet,
    predicted: Tensor,
    true: Tensor,
    *,
    sense: Sense,
    best: Tensor | None = None,
    reduction: Reduction = "sum",
) -> Tensor:
    r"""Bound the regret of deciding by predictions, by a convex loss: two decodings.

    For scores $s$, which are maximised, with true values $t$ and $z^* = \hat z(t)$:

    $$ L(s) = \max_{z \in Z}\, (2 s - t) \cdot z - 2\, s \cdot z^* + t \cdot z^*, \qquad
       \nabla_s L = 2 \bigl( \hat z(2 s - t) - z^* \bigr) $$

    For costs $\hat c = -s$ and $c = -t$, which are minimised, it is the loss of the paper,
    $\max_z (c - 2 \hat c) \cdot z + 2\, \hat c \cdot z^* - c \cdot z^*$, and
    $\nabla_{\hat c} L = 2 (z^* - \arg\min_z (2 \hat c - c) \cdot z)$. Not negative, and at least
    the regret.

    Args:
        feasible_set: Decodes; a `Polytope` or a structured set.
        predicted: In the shape that the set asks for.
        true: Their true values, in the same shape.
        sense: "scores": both are maximised, as everywhere else in optlayers. "costs": both are
            minimised, as in PyEPO's shortest paths. There is no default, since the wrong one
            trains in silence.
        best: $z^*$ where it is known, in the same shape; saves a decoding.
        reduction: "sum" or "mean" over the batch, or "none".

    References:
        Elmachtoub and Grigas (2022), *Smart "predict, then optimize"*.

    Examples:
        >>> import optlayers as ol
        >>> costs = torch.tensor([3.0, 1.0], requires_grad=True)
        >>> loss = spo_plus(ol.simplex(2), costs, torch.tensor([1.0, 2.0]), sense="costs")
        >>> loss.backward()
        >>> loss, costs.grad
        (tensor(5., grad_fn=<SumBackward0>), tensor([ 2., -2.]))
    """
    sign = _sign(sense)
    same_shape(predicted, true, "true")
    wide = predicted.to(torch.promote_types(predicted.dtype, torch.float32))
    say_without_gradient(feasible_set, "a loss of decisions")
    with torch.no_grad():
        s, t = sign * wide, sign * true.to(wide)
        best = decode(feasible_set, t) if best is None else _given(best, wide)
        margin = 2 * s - t
        change = decode(feasible_set, margin) - best
        value = times(change, margin).sum(event_of(feasible_set, t))
    found = with_gradient(wide, 2 * sign * change, value)
    return reduce(found.to(predicted.dtype), reduction)


def regret(
    feasible_set: FeasibleSet,
    predicted: Tensor,
    true: Tensor,
    *,
    sense: Sense,
    best: Tensor | None = None,
    normalised: bool = False,
    reduction: Reduction = "sum",
) -> Tensor:
    r"""Measure what deciding by predictions loses: $t \cdot \hat z(t) - t \cdot \hat z(s)$.

    A number to report, without a derivative: nothing can be trained with it. Two decodings.

    Args:
        feasible_set: Decodes; a `Polytope` or a structured set.
        predicted: In the shape that the set asks for.
        true: Their true values, in the same shape.
        sense: "scores" (maximised) or "costs" (minimised): both tensors.
        best: $\hat z(t)$ where it is known; saves a decoding.
        normalised: Divide by $\lvert t \cdot \hat z(t) \rvert$: of each instance with
            `reduction="none"`, else the sum of regrets by the sum of these, which is what PyEPO
            reports.
        reduction: "sum" or "mean" over the batch, or "none".

    Examples:
        >>> import optlayers as ol
        >>> true, predicted = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0])
        >>> regret(ol.simplex(2), predicted, true, sense="costs")
        tensor(1.)
    """
    sign = _sign(sense)
    same_shape(predicted, true, "true")
    with torch.no_grad():
        t = sign * true.to(torch.promote_types(true.dtype, torch.float32))
        best = decode(feasible_set, t) if best is None else _given(best, t)
        chosen = decode(feasible_set, sign * predicted).to(t)
        event = event_of(feasible_set, t)
        lost = times(best - chosen, t).sum(event)
        if not normalised:
            return reduce(lost, reduction).to(true.dtype)
        scale = times(best, t).sum(event).abs()
        if reduction != "none":
            lost, scale = reduce(lost, reduction), reduce(scale, reduction)
        return (lost / scale).to(true.dtype)


def _sign(sense: str) -> int:
    if sense not in ("scores", "costs"):
        raise InputError(
            f"`sense` must be 'scores' (maximised) or 'costs' (minimised). Got {sense!r}."
        )
    return 1 if sense == "scores" else -1


def _given(best: Tensor, like: Tensor) -> Tensor:
    same_shape(like, best, "best")
    return best.to(like)


class SPOPlusLoss(StructuredLoss):
    """`spo_plus` as a module."""

    def __init__(
        self,
        feasible_set: FeasibleSet | None = None,
        *,
        sense: Sense,
        reduction: Reduction = "sum",
    ):
        _sign(sense)
        super().__init__(feasible_set, reduction, sense=sense)

    def forward(
        self,
        predicted: Tensor,
        true: Tensor,
        feasible_set: FeasibleSet | None = None,
        *,
        best: Tensor | None = None,
    ) -> Tensor:
        """Return the loss; see `spo_plus`."""
        return spo_plus(
            self._set(feasible_set),
            predicted,
            true,
            best=best,
            reduction=self.reduction,
            **self.options,
        )
