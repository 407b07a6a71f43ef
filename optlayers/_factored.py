"""Sums over products of choices: parts of simplices, bits, bits under one row, paths of a graph."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ._counted import Counted
from ._errors import InputError
from ._kernels.untraced import ordinary
from ._paths import sums as path_sums
from ._paths.rows import Ends, Network, find_ends, read_network
from ._plan.blocks import Block
from ._plan.compile import compile_plan, compiled_of, limits_of, ready
from ._plan.maps import AbstractBlockMap, Limits
from ._polytope.joint import joint_of, lead_of
from ._polytope.polytope import Polytope
from ._projections import PROJECTIONS
from ._projections.box import Box
from ._projections.one_row import OneRow
from ._projections.simplex import Simplex

_HAIR = 1e-9  # a total that is nearer to a whole number may be meant to be that one


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
    total = _by_block(polytope, scores, lambda block, s: block.log_sum(s), summed=True)
    return path_sums.in_range(total, scores)


def entropy(polytope: Polytope, scores: Tensor) -> Tensor:
    r"""Return $\log Z - \mu \cdot s$, of the batch shape: the sum of the entropies of the blocks.

    Raises:
        InputError: If the polytope is no product of choices.
    """
    total = _by_block(polytope, scores, lambda block, s: block.entropy(s), summed=True)
    return total.to(scores.dtype)


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
        self.closed = fixed | (total < 1)  # nothing to choose

    def _logits(self, s: Tensor) -> Tensor:
        """Append a last option: none of them."""
        # Minus infinity keeps z low: no step up, and from above a step that must be taken.
        out = s == -torch.inf
        must = self._must(s)
        some, clash = must.any(-1, keepdim=True), must.sum(-1, keepdim=True) > 1
        barred = self.closed | (out & ~must) | (some & ~must) | clash
        logits = torch.where(barred, -torch.inf, self.sign * torch.where(out, 0, s))
        nothing = torch.where(some, -torch.inf, torch.zeros_like(logits[..., :1]))
        if self.equality:
            nothing = torch.where(self.closed.all(-1, keepdim=True), nothing, -torch.inf)
        return torch.cat([logits, nothing.expand_as(logits[..., :1])], -1)

    def _must(self, s: Tensor) -> Tensor:
        return (s == -torch.inf) & (self.sign < 0) & ~self.closed

    def mean(self, s: Tensor) -> Tensor:
        return self.anchor + self.sign * self._logits(s).softmax(-1)[..., :-1]

    def log_sum(self, s: Tensor) -> Tensor:
        """Return entries that add up to the log of the sum over the block."""
        logits = self._logits(s)
        top = _finite(logits.detach().amax(-1, keepdim=True))
        # The derivative of the sum at its size would be that of a rounded one.
        lifted = torch.where(self._must(s), 0, s)
        base = torch.where(self.anchor == 0, 0, self.anchor * lifted).sum(-1, keepdim=True)
        # What is large in both goes first.
        return _first((base + top) + (logits - top).logsumexp(-1, keepdim=True), s)

    def entropy(self, s: Tensor) -> Tensor:
        """Return entries that add up to the entropy of the block."""
        logits = self._logits(s)
        logits = logits - _finite(logits.detach().amax(-1, keepdim=True))
        p = logits.softmax(-1)
        spent = torch.where(p == 0, 0, p * torch.where(p == 0, 0, logits)).sum(-1, keepdim=True)
        return _first(logits.logsumexp(-1, keepdim=True) - spent, s)

    def draw(self, s: Tensor, generator: torch.Generator | None) -> Tensor:
        logits = self._logits(s)
        top = logits.amax(-1, keepdim=True)
        noise = torch.empty_like(logits).exponential_(generator=generator).log()
        # Less the largest: beside large scores the noise would be rounded away.
        chosen = ((logits - _finite(top)) - noise).argmax(-1, keepdim=True)
        one = torch.zeros_like(logits).scatter(-1, chosen, 1.0)[..., :-1]
        return torch.where(top > -torch.inf, self.anchor + self.sign * one, torch.nan)


class _Bits:
    """A box of width one (or of zero): every part is chosen or not."""

    def __init__(self, limits: Limits):
        self.lower, self.width = limits.lower, limits.upper - limits.lower

    def mean(self, s: Tensor) -> Tensor:
        return self.lower + self.width * s.sigmoid()

    def log_sum(self, s: Tensor) -> Tensor:
        base = torch.where(self.lower == 0, 0, self.lower * s)
        # `softplus` cuts off at 20, which is wrong in float64.
        return base - self.width * torch.nn.functional.logsigmoid(-s)

    def entropy(self, s: Tensor) -> Tensor:
        """Return the entropy of every bit: that of the odds against it, too."""
        # abs has no derivative at zero, where that of the entropy is zero.
        odds = torch.where(s > 0, -s, s)
        low = odds.sigmoid()
        spent = torch.where(low == 0, 0, low * torch.where(low == 0, 0, odds))
        return self.width * (torch.nn.functional.softplus(odds) - spent)

    def draw(self, s: Tensor, generator: torch.Generator | None) -> Tensor:
        uniform = torch.empty_like(s).uniform_(generator=generator)
        return self.lower + self.width * (uniform < s.sigmoid())


class _Paths:
    """The flow of one unit through a graph without cycles: one path is chosen."""

    def __init__(self, block: Block, limits: Limits):
        network = _network(block)
        assert isinstance(network, Network)  # as `_why_not` said
        self.dag, self.ends = network.dag, _ends(block, limits)

    def _batch(self, s: Tensor) -> tuple[Tensor, path_sums.PathBatch]:
        return s.reshape(-1, s.shape[-1]), self.ends.batch(self.dag, len(s), s.device)

    def mean(self, s: Tensor) -> Tensor:
        return path_sums.marginals(*self._batch(s)).reshape(s.shape)

    def log_sum(self, s: Tensor) -> Tensor:
        """Return entries that add up to the log of the sum over the block."""
        return _first(path_sums.log_partition(*self._batch(s)).reshape(*s.shape[:-1], 1), s)

    def entropy(self, s: Tensor) -> Tensor:
        """Return entries that add up to the entropy of the block."""
        return _first(path_sums.entropy(*self._batch(s)).reshape(*s.shape[:-1], 1), s)

    def draw(self, s: Tensor, generator: torch.Generator | None) -> Tensor:
        return path_sums.sample(*self._batch(s), generator).reshape(s.shape)


def _finite(top: Tensor) -> Tensor:
    """Return the largest of some logits, zero where all are minus infinity."""
    return torch.where(top.isfinite(), top, 0)


def _first(total: Tensor, s: Tensor) -> Tensor:
    """Return entries like those of `s` that add up to `(..., 1)`."""
    return torch.cat([total, torch.zeros_like(s[..., 1:])], -1)


_network = lru_cache(maxsize=64)(read_network)


@ordinary
def _ends(block: Block, limits: Limits) -> Ends:
    """Return where paths begin and end; kept, because a plan hands over the same limits again."""
    place: list[tuple[Limits | None, Any]] = block.kept("latest ends", lambda: [(None, None)])
    of, ends = place[0]
    if of is not limits:
        network = _network(block)
        assert isinstance(network, Network)
        ends = find_ends(network, limits)
        place[0] = limits, ends  # at once: other threads may ask with other limits
    return ends


def _by_block(polytope: Polytope, scores: Tensor, compute, summed: bool = False) -> Tensor:
    """Apply to every block; refuse polytopes with another kind of block.

    With `summed`, the sum over all entries, in float64 where the device has it.
    """
    if polytope.rows_batch:
        batch = scores.shape[:-1]
        joint, lead = joint_of(polytope, batch), lead_of(polytope, batch)
        found = _by_block(joint, scores.reshape(*lead, joint.n), compute)
        found = found.reshape(scores.shape)
        return path_sums.wide(found).sum(-1) if summed else found
    _check(polytope)
    batch, dtype = scores.shape[:-1], torch.promote_types(scores.dtype, torch.float32)
    flat = scores.reshape(-1, polytope.n).to(dtype)
    found = ready(polytope, PROJECTIONS, flat.device, dtype).of_batch(polytope.batch_shape, batch)
    plan, out = found.plan, torch.zeros_like(path_sums.wide(flat) if summed else flat)
    for map_, at, limits in zip(plan.maps, plan.index(flat.device), found.limits, strict=True):
        part = plan.gather(flat, at, map_)
        # A map's constants are in float64.
        result = compute(_block_of(map_, limits, part), part).flatten(1).to(out.dtype)
        index = torch.arange(at.start, at.stop, device=flat.device) if isinstance(at, slice) else at
        out = out.index_copy(1, index, result)
    return out.sum(-1).reshape(batch) if summed else out.to(scores.dtype).reshape(scores.shape)


def _block_of(map_: AbstractBlockMap, limits: Limits, like: Tensor) -> Any:
    """Return how a block is summed over."""
    if isinstance(map_, Box):
        return _Bits(limits)
    if isinstance(map_, OneRow):
        return Counted(map_.block, limits)
    return _Choice(map_, limits, like) if isinstance(map_, Simplex) else _Paths(map_.block, limits)


def _check(polytope: Polytope) -> None:
    derived = compiled_of(polytope).derived
    if "no sums" not in derived:
        derived["no sums"] = _why_not(polytope)
    if reason := derived["no sums"]:
        raise InputError(
            f"{polytope!r} has no tractable sum over its structures: {reason}. Polytopes have one "
            "where every block is a simplex with a total of one, a box of width one, such a box "
            "under one row of integers (`cardinality`, a `budget`), or a path of a graph without "
            "cycles; structured sets have sums of their own."
        )


@ordinary
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
            if reason := _why_no_choice(map_, limits, like, polytope.integral is True):
                return reason
        elif isinstance(map_, OneRow):
            if reason := Counted.why_not(map_.block, limits):
                return reason
        elif reason := _why_no_path(map_.block, limits):
            return f"a block is no simplex and no path ({map_.block!r}): {reason}"
    return ""


def _why_no_choice(map_: Simplex, limits: Limits, like: Tensor, integral: bool) -> str:
    """Say why a simplex is no choice of one part, or at most one; empty if it is.

    Of integers whose sum may be at most 0.25 there is none; what is within rounding of a whole
    number is left to whoever declares it.
    """
    part = like.expand(len(limits.lower), map_.block.count, map_.block.size)
    _, anchor, total, _ = map_.form(part, limits)
    fine = (total == 0) | (total == 1)
    if integral and not map_.equality:
        fine = fine | ((total > _HAIR) & (total < 1 - _HAIR))
    if not bool(fine.all()):
        return "the total of a simplex is not one"
    if integral and not bool((anchor == anchor.round()).all()):
        return "the bounds of a simplex are no integers"
    return ""


def _why_no_path(block: Block, limits: Limits) -> str | None:
    network = _network(block)
    if isinstance(network, str):
        return network
    if find_ends(network, limits).plain.all():
        return None
    return "its limits are not those of one path from a source to a target"
