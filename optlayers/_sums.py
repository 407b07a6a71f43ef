"""The verbs of sums over structures: `log_partition`, `marginals`, `entropy`, `sample`.

Scores far below all the others exclude their parts, like minus infinity, but where the set needs
some of them they would leave the sum no digits for the rest. So it is asked with scores that are
only as low as excludes them, and told afterwards how much lower they were.
"""

from typing import Any

import torch
from torch import Tensor

from ._checks import floats
from ._errors import InputError
from ._feasible_set import AbstractFeasibleSet, FeasibleSet, as_set
from ._masks import Low, calm, find_low
from ._no_gradient import say_without_gradient
from ._paths.sums import in_range

_EXCLUDED = 1e3  # exp(-1e3) is zero in float64
_GAP = 16.0
_ALIKE = 1e5  # by how much low scores may differ, to be raised together
_ROUNDING = 1e-12  # of marginals that are zero


def log_sum(asked: AbstractFeasibleSet, scores: Tensor) -> Tensor:
    """Return `log_partition` of a set, with scores far below the others."""
    x, taken = _raised(asked, scores)
    total = asked.log_partition(x)
    if taken is None:
        return total
    needed = asked.marginals(x.detach())
    dims = tuple(range(-asked.event_dim, 0))
    missing = torch.where(needed.abs() > _ROUNDING, needed * taken, 0).sum(dims)
    return in_range(total + missing, scores)


def mean(asked: AbstractFeasibleSet, scores: Tensor) -> Tensor:
    """Return `marginals` of a set, with scores far below the others."""
    x, taken = _raised(asked, scores)
    mu = asked.marginals(x)
    return mu if taken is None else mu.to(scores.dtype)


def draw(asked: AbstractFeasibleSet, scores: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a `sample` of a set, with scores far below the others."""
    x, taken = _raised(asked, scores.detach())
    z = asked.sample(x, generator)
    return z if taken is None else z.to(scores.dtype)


def _raised(asked: AbstractFeasibleSet, scores: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return scores to ask with, and what was taken off them; None where nothing was.

    The derivative of the new scores in the old is one, and their differences stay as far as they
    matter. Nothing is looked at while a graph is traced.
    """
    functorch: Any = torch._C._functorch  # type: ignore[attr-defined]
    if torch.compiler.is_compiling() or functorch.peek_interpreter_stack() is not None:
        return scores, None
    if calm(scores):
        return scores, None
    x = asked.admit(scores, "scores")
    free = asked.free_parts(x.device)
    if free is not None:
        x = x.expand(torch.broadcast_shapes(x.shape, free.shape))
    known = torch.where(x.isnan() | (x == torch.inf), 0, x.detach())
    low = find_low(known, torch.zeros_like(known), free, asked.event_dim, True, True)
    if low is None:
        return scores, None
    finite = low.parts & ~low.infinite & (known > -torch.inf).reshape(low.parts.shape)
    top = torch.where(finite, low.excess, -torch.inf).amax(-1, keepdim=True)
    apart = torch.where(finite, low.excess - torch.where(top.isfinite(), top, 0), 0)
    spread = -apart.amin(-1, keepdim=True)
    alike = spread <= _ALIKE
    # Whoever needs fewer of them comes first, before and after.
    below = _EXCLUDED + _GAP * (1 + low.size) + 4 * low.total
    below = below + (1 + finite.sum(-1, keepdim=True)) * torch.where(alike, spread, 0)
    number = apart - below
    at = (finite & alike & (number > low.excess)).reshape(x.shape)
    out = (finite & ~alike).reshape(x.shape)
    out = _needless(asked, x, out, low) if bool(out.any()) else out
    if not bool((at | out).any()):
        return scores, None
    number = number.reshape(x.shape)
    wide = x.to(number.dtype)
    taken = torch.where(at, wide.detach() - number, 0)
    same = torch.where(at, wide, 0)
    raised = torch.where(at, number + (same - same.detach()), wide)
    return torch.where(out, -torch.inf, raised), taken


def _needless(asked: AbstractFeasibleSet, x: Tensor, out: Tensor, low: Low) -> Tensor:
    """Return which of the parts `out` no structure that counts has.

    There is one without them, and they cost more than all others can bring.
    """
    try:
        without = asked.log_partition(torch.where(out, -torch.inf, x.detach().to(low.excess)))
    except InputError:  # nothing is known; the set says why when it is asked
        return torch.zeros_like(out)
    number = torch.where(out.reshape(low.parts.shape), low.excess, -torch.inf).amax(-1)
    fine = number + 2 * low.total[:, 0] < -_EXCLUDED - 8 * low.parts.shape[-1]
    fine = fine.reshape(without.shape) & without.isfinite()
    return out & fine[(..., *[None] * asked.event_dim)]


def _asked(feasible_set: FeasibleSet, scores: Tensor) -> AbstractFeasibleSet:
    """Return the set that scores are of; refuse what are none."""
    asked = as_set(feasible_set, scores)
    asked.admit(floats(scores, "scores"), "scores")
    return asked


def log_partition(feasible_set: FeasibleSet, scores: Tensor) -> Tensor:
    r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, of the batch shape; differentiable twice.

    Exact, for sets with a tractable sum: polytopes that are products of simplices, of 0/1 parts and
    of 0/1 parts under one row of integers (`cardinality`: elementary symmetric polynomials,
    $O(n k)$; a `budget`: $O(n c)$), and structured sets that say so. Its derivative is `marginals`.

    Args:
        feasible_set: A `Polytope` or a structured set.
        scores: In the shape that the set asks for. Minus infinity takes a part out; where that
            leaves nothing, the sum is minus infinity. A number far below the others takes it out
            as well, as far as the set can do without it.

    Raises:
        InputError: If the set has no tractable sum; says why.

    Examples:
        >>> import optlayers as ol
        >>> ol.log_partition(ol.cardinality(4, exactly=2), torch.zeros(4)).exp().round()
        tensor(6.)
    """
    say_without_gradient(feasible_set, "log_partition")
    return log_sum(_asked(feasible_set, scores), scores)


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
    say_without_gradient(feasible_set, "marginals")
    return mean(_asked(feasible_set, scores), scores)


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
    say_without_gradient(feasible_set, "entropy")
    asked = _asked(feasible_set, scores)
    return asked.entropy(_raised(asked, scores)[0]).to(scores.dtype)


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
    asked = _asked(feasible_set, scores)
    if samples is not None:
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise InputError(f"`samples` must be a positive integer. Got {samples!r}.")
        scores = scores.expand(samples, *scores.shape)
    return draw(asked, scores, generator)
