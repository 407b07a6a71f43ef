"""Sums over polytopes that are products of choices: one part of each simplex, bits of a box."""

import weakref
from typing import Any

import torch
from torch import Tensor

from ._errors import InputError
from ._plan.compile import compile_plan, limits_of, ready
from ._plan.maps import Limits
from ._polytope.polytope import Polytope
from ._projections import PROJECTIONS
from ._projections.box import Box
from ._projections.simplex import Simplex

_refusals: "weakref.WeakKeyDictionary[Polytope, str]" = weakref.WeakKeyDictionary()


def marginals(polytope: Polytope, scores: Tensor) -> Tensor:
    r"""Return $\mathbb{E}[z]$ under $p(z) \propto \exp(z \cdot s)$; differentiable.

    Raises:
        InputError: If the polytope is no product of choices.
    """
    return _by_block(polytope, scores, lambda block, s: block.mean(s))


def log_partition(polytope: Polytope, scores: Tensor) -> Tensor:
    r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, of the batch shape; differentiable.

    Raises:
        InputError: If the polytope is no product of choices.
    """
    return _by_block(polytope, scores, lambda block, s: block.log_sum(s)).sum(-1)


def sample(polytope: Polytope, scores: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Return a structure of every instance, drawn from $p(z) \propto \exp(z \cdot s)$.

    Raises:
        InputError: If the polytope is no product of choices.
    """
    return _by_block(polytope, scores, lambda block, s: block.draw(s, generator))


class _Choice:
    """A simplex with a total of one (or of zero): one part is chosen, or at most one."""

    def __init__(self, map_: Simplex, limits: Limits, like: Tensor):
        self.sign, self.anchor, total, fixed = map_.form(like, limits)
        self.equality = map_.equality
        self.closed = fixed | (total < 0.5)  # nothing to choose

    def _logits(self, s: Tensor) -> Tensor:
        """Append a last option: none of them."""
        logits = torch.where(self.closed, -torch.inf, self.sign * s)
        nothing = torch.zeros_like(logits[..., :1])
        if self.equality:
            nothing = torch.where(self.closed.all(-1, keepdim=True), nothing, -torch.inf)
        return torch.cat([logits, nothing.expand_as(logits[..., :1])], -1)

    def mean(self, s: Tensor) -> Tensor:
        return self.anchor + self.sign * self._logits(s).softmax(-1)[..., :-1]

    def log_sum(self, s: Tensor) -> Tensor:
        """Return entries that add up to the log of the sum over the block."""
        total = self._logits(s).logsumexp(-1, keepdim=True)
        base = torch.where(self.anchor == 0, 0, self.anchor * s)
        return base + torch.cat([total, torch.zeros_like(s[..., 1:])], -1)

    def draw(self, s: Tensor, generator: torch.Generator | None) -> Tensor:
        logits = self._logits(s)
        noise = torch.empty_like(logits).exponential_(generator=generator).log()
        chosen = (logits - noise).argmax(-1, keepdim=True)
        one = torch.zeros_like(logits).scatter(-1, chosen, 1.0)[..., :-1]
        return self.anchor + self.sign * one


class _Bits:
    """A box of width one (or of zero): every part is chosen or not."""

    def __init__(self, limits: Limits):
        self.lower, self.width = limits.lower, limits.upper - limits.lower

    def mean(self, s: Tensor) -> Tensor:
        return self.lower + self.width * s.sigmoid()

    def log_sum(self, s: Tensor) -> Tensor:
        base = torch.where(self.lower == 0, 0, self.lower * s)
        return base + self.width * torch.nn.functional.softplus(s)

    def draw(self, s: Tensor, generator: torch.Generator | None) -> Tensor:
        uniform = torch.empty_like(s).uniform_(generator=generator)
        return self.lower + self.width * (uniform < s.sigmoid())


def _by_block(polytope: Polytope, scores: Tensor, compute) -> Tensor:
    """Apply to every block; refuse polytopes with another kind of block."""
    _check(polytope)
    batch, dtype = scores.shape[:-1], torch.promote_types(scores.dtype, torch.float32)
    flat = scores.reshape(-1, polytope.n).to(dtype)
    found = ready(polytope, PROJECTIONS, flat.device, dtype).of_batch(polytope.batch_shape, batch)
    plan, out = found.plan, torch.zeros_like(flat)
    for map_, at, limits in zip(plan.maps, plan.index(flat.device), found.limits, strict=True):
        part = plan.gather(flat, at, map_)
        block: Any = _Bits(limits) if isinstance(map_, Box) else _Choice(map_, limits, part)  # type: ignore[arg-type]
        result = compute(block, part).flatten(1).to(dtype)  # a map's constants are in float64
        index = torch.arange(at.start, at.stop, device=flat.device) if isinstance(at, slice) else at
        out = out.index_copy(1, index, result)
    return out.to(scores.dtype).reshape(*batch, polytope.n)


def _check(polytope: Polytope) -> None:
    if polytope not in _refusals:
        _refusals[polytope] = _why_not(polytope)
    if reason := _refusals[polytope]:
        raise InputError(
            f"{polytope!r} has no tractable sum over its structures: {reason}. Polytopes have one "
            "where every block is a simplex with a total of one or a box of width one; structured "
            "sets have `marginals` and `log_partition` of their own."
        )


def _why_not(polytope: Polytope) -> str:
    """Say why sums do not factor into blocks; empty if they do."""
    plan = compile_plan(polytope, PROJECTIONS)
    like = torch.zeros(1, dtype=torch.float64)
    for map_, limits in zip(
        plan.maps, limits_of(polytope, plan, like.device, like.dtype), strict=True
    ):
        if isinstance(map_, Box):
            widths = limits.upper - limits.lower
            if not bool(((widths == 0) | (widths == 1)).all()):
                return "a part has bounds other than 0 and 1"
        elif isinstance(map_, Simplex):
            part = like.expand(len(limits.lower), map_.block.count, map_.block.size)
            total = map_.form(part, limits)[2]
            if not bool(((total == 0) | (total == 1)).all()):
                return "the total of a simplex is not one"
        else:
            return f"a block is no simplex ({map_.block!r})"
    return ""
