"""The verbs of sums over structures: `log_partition`, `marginals`, `entropy`, `sample`."""

import torch
from torch import Tensor

from ._errors import InputError
from ._feasible_set import FeasibleSet, as_set


def log_partition(feasible_set: FeasibleSet, scores: Tensor) -> Tensor:
    r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, of the batch shape; differentiable twice.

    Exact, for sets with a tractable sum: polytopes that are products of simplices, of 0/1 parts and
    of 0/1 parts under one row of integers (`cardinality`: elementary symmetric polynomials,
    $O(n k)$; a `budget`: $O(n c)$), and structured sets that say so. Its derivative is `marginals`.

    Args:
        feasible_set: A `Polytope` or a structured set.
        scores: In the shape that the set asks for. Minus infinity takes a part out; where that
            leaves nothing, the sum is minus infinity.

    Raises:
        InputError: If the set has no tractable sum; says why.

    Examples:
        >>> import optlayers as ol
        >>> ol.log_partition(ol.cardinality(4, exactly=2), torch.zeros(4)).exp().round()
        tensor(6.)
    """
    return as_set(feasible_set, scores).log_partition(scores)


def marginals(feasible_set: FeasibleSet, scores: Tensor) -> Tensor:
    r"""Return $\mathbb{E}[z]$ under $p(z) \propto \exp(z \cdot s)$; differentiable.

    Args:
        feasible_set: A set with a tractable sum; see `log_partition`.
        scores: In the shape that the set asks for.

    Raises:
        InputError: If the set has no tractable sum; says why.

    Examples:
        >>> import optlayers as ol
        >>> ol.marginals(ol.cardinality(4, exactly=1), torch.tensor([0.0, 0.0, 0.0, -torch.inf]))
        tensor([0.3333, 0.3333, 0.3333, 0.0000])
    """
    return as_set(feasible_set, scores).marginals(scores)


def entropy(feasible_set: FeasibleSet, scores: Tensor) -> Tensor:
    r"""Return $-\sum_z p(z) \log p(z) = \log Z(s) - \mu \cdot s$, of the batch shape.

    In nats; differentiable. $p$ and $\mu$ are those of `marginals`.

    Raises:
        InputError: If the set has no tractable sum; says why.

    Examples:
        >>> import optlayers as ol
        >>> ol.entropy(ol.cardinality(4, exactly=2), torch.zeros(4)).exp().round()
        tensor(6.)
    """
    asked = as_set(feasible_set, scores)
    mu, total = asked.marginals(scores), asked.log_partition(scores)
    dims = tuple(range(-asked.event_dim, 0))
    return total - torch.where(mu == 0, 0, mu * torch.where(mu == 0, 0, scores)).sum(dims)


def sample(
    feasible_set: FeasibleSet,
    scores: Tensor,
    samples: int | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw structures from $p(z) \propto \exp(z \cdot s)$, exactly; not differentiable.

    Args:
        feasible_set: A set with exact samples.
        scores: In the shape that the set asks for.
        samples: How many for each instance, along a new first dimension; None: one, without it.
        generator: Of random numbers, on the device of the scores.

    Returns:
        Structures in the shape of the scores, after the samples. NaN where there is none.

    Raises:
        InputError: If the set has no exact samples, or `samples` is not positive.

    Examples:
        >>> import optlayers as ol
        >>> ol.sample(ol.cardinality(5, exactly=2), torch.zeros(5), 3).sum(-1)
        tensor([2., 2., 2.])
    """
    asked = as_set(feasible_set, scores)
    if samples is not None:
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise InputError(f"`samples` must be a positive integer. Got {samples!r}.")
        scores = scores.expand(samples, *scores.shape)
    return asked.sample(scores.detach(), generator)
