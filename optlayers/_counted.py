"""Sums over the 0/1 points of one row of integers: subsets of some size, knapsacks."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._decoders.knapsack import integer_row
from ._paths import sums as paths
from ._paths.dag import Dag, PathBatch
from ._plan.blocks import Block
from ._plan.maps import Limits
from ._polytope.consistency import inward

_NOTHING = -1e200  # the log of a sum without terms, at most; minus infinity has no derivative
_CALM, _CALM_ENTROPY = 1e6, 1e4  # scores up to here are summed by tables
_MOST = 4_000_000  # entries of the table of one component


class _Group(NamedTuple):
    """Components with the same sizes of coefficients.

    Attributes:
        at: Their numbers.
        weights: `(size,)`, integers.
        sign: `(components, size)`: a step of a variable from its anchor adds its weight to the row.
        scale: What the row was multiplied by.
    """

    at: np.ndarray
    weights: tuple[int, ...]
    sign: Tensor
    scale: float


class Counted:
    r"""One row of integers over bits: $\underline c \le a \cdot z \le \bar c$, $z \in \{0, 1\}^n$.

    $$ \beta_i(w) = \log\bigl(e^{\beta_{i+1}(w)} + e^{s_i + \beta_{i+1}(w + a_i)}\bigr), \qquad
       \beta_{n+1}(w) = 0 \text{ if } \underline c \le w \le \bar c, \text{ else } -\infty $$

    so that $\beta_1(0)$ is the log of the sum over all points: with $a = 1$ and $\underline c =
    \bar c = k$ an elementary symmetric polynomial of $e^s$. Steps are counted from the end at which
    a coefficient adds to the row. $O(n \bar c)$, in float64.

    Args:
        block: With one row.
        limits: Of this batch.

    References:
        Kulesza and Taskar (2012), *Determinantal point processes for machine learning*, Section 5.2
        (elementary symmetric polynomials); Ahmed et al. (2023), *SIMPLE: a gradient estimator for
        k-subset sampling*.
    """

    def __init__(self, block: Block, limits: Limits):
        self.limits = limits
        self.groups = _groups(block, limits.lower.device)

    @staticmethod
    def why_not(block: Block, limits: Limits) -> str:
        """Say why there is no sum that is small enough; empty if there is."""
        widths = limits.upper - limits.lower
        if not bool(((widths == 0) | (widths == 1)).all()):
            return "a part has bounds other than 0 and 1"
        assert block.weights is not None
        for row in np.unique(np.abs(block.weights), axis=0):
            found = integer_row(row.tolist())
            if isinstance(found, str):
                return f"a row is no row of integers: {found}"
            if (found[0].sum() + 1) * len(row) > _MOST:
                return f"a table of more than {_MOST:,} entries"
        return ""

    def mean(self, s: Tensor) -> Tensor:
        """Return the expectation of z."""
        return self._by_group(s, _mean)

    def log_sum(self, s: Tensor) -> Tensor:
        """Return entries that add up to the log of the sum over the block."""
        return self._by_group(s, _log_sum)

    def entropy(self, s: Tensor) -> Tensor:
        """Return entries that add up to the entropy of the block."""
        return self._by_group(s, _entropy)

    def draw(self, s: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return a point of every instance."""
        return self._by_group(s, lambda group, steps: _draw(group, steps, generator))

    def _by_group(self, s: Tensor, compute) -> Tensor:
        out = torch.zeros_like(s)
        for group in self.groups:
            at = torch.from_numpy(group.at).to(s.device)
            part = [v.double()[:, at.to(v.device)].to(s.device) for v in (s, *self.limits)]
            out = out.index_copy(1, at, compute(group, _Steps.of(group, *part)).to(s.dtype))
        return out


class _Steps(NamedTuple):
    """Instances of a group: bits x, `z = anchor + sign x`, and what their row may add up to."""

    s: Tensor
    anchor: Tensor
    logit: Tensor  # of a step; `nothing` where there is none
    free: Tensor  # whether there is one
    nothing: Tensor  # (N, components, 1), below anything that scores add up to
    low: Tensor  # (N, components, 1)
    high: Tensor

    @classmethod
    def of(cls, group: _Group, s, row_low, row_high, lower, upper) -> "_Steps":
        upper = torch.where(s == -torch.inf, lower, upper)
        anchor = torch.where(group.sign > 0, lower, upper)
        weights = torch.tensor(group.weights, dtype=s.dtype, device=s.device)
        offset = (group.sign * weights * anchor).sum(-1, keepdim=True)
        low, high = inward(row_low * group.scale, row_high * group.scale)
        logit = group.sign * s
        free = upper > lower
        sums = torch.where(free, logit.detach().abs(), 0.0).sum(-1, keepdim=True)
        nothing = _NOTHING - 4 * sums
        logit = torch.where(free, logit, nothing)
        batch = torch.broadcast_shapes(s.shape[:1], anchor.shape[:1])
        s, anchor, logit, free, nothing = (
            v.expand(*batch, *v.shape[1:]) for v in (s, anchor, logit, free, nothing)
        )
        return cls(s, anchor, logit, free, nothing, low - offset, high - offset)

    def beyond(self, size: float) -> bool:
        """Tell whether numbers may be looked at, and some are so large that a table is inexact."""
        if not paths.may_look(self.s):
            return False
        return bool((self.free & ~(self.logit.detach().abs() <= size)).any())


def _groups(block: Block, device: torch.device) -> list[_Group]:
    assert block.weights is not None
    sizes, kind = np.unique(np.abs(block.weights), axis=0, return_inverse=True)
    groups = []
    for k, row in enumerate(sizes):
        found = integer_row(row.tolist())
        assert not isinstance(found, str)
        at = np.flatnonzero(kind.ravel() == k)
        sign = torch.from_numpy(np.sign(block.weights[at])).to(device)
        groups.append(_Group(at, tuple(found[0].tolist()), sign, float(found[1])))
    return groups


def _suffixes(group: _Group, steps: _Steps) -> list[Tensor]:
    r"""Return $\beta$ for 1 to n + 1, each `(N, components, width)`."""
    total = sum(group.weights)
    most = steps.high.detach().clamp(max=total)
    width = total + 1
    if not torch.compiler.is_compiling() and most.numel():
        width = int(most.max().clamp(min=0)) + 1
    w = torch.arange(width, device=steps.s.device)
    inside = (w >= steps.low) & (w <= steps.high)
    last = torch.where(inside, 0.0, steps.nothing)
    table = [last.expand(*steps.s.shape[:-1], width)]
    for k in range(len(group.weights) - 1, -1, -1):
        after = table[-1]
        taken = steps.logit[..., k : k + 1] + _moved(after, -group.weights[k], steps)
        table.append(_log_add(after, taken))
    return table[::-1]


def _moved(table: Tensor, by: int, steps: _Steps) -> Tensor:
    """Return a table by so many units to the right; nothing comes in."""
    width = table.shape[-1]
    if abs(by) >= width:
        return steps.nothing.expand_as(table)
    pad = steps.nothing.expand(*table.shape[:-1], abs(by))
    parts = [pad, table[..., : width - by]] if by > 0 else [table[..., -by:], pad]
    return torch.cat(parts, -1)


def _log_add(a: Tensor, b: Tensor) -> Tensor:
    """Return the log of a sum, with derivatives of every order where one term is nothing."""
    larger = a >= b
    high, low = torch.where(larger, a, b), torch.where(larger, b, a)
    return high + torch.nn.functional.softplus(low - high)


# ---------------------------------------------------------------------- as paths of a graph


@lru_cache(maxsize=64)
def _network(weights: tuple[int, ...], width: int) -> Dag:
    """Return the table as a graph: what is left and what is taken of each bit, what it ends in.

    Node (k, w) has decided k bits, which add up to w. Parts are 2 k for a bit that stays at its
    anchor, 2 k + 1 for one that is moved, and 2 n + w for the last edge.
    """
    n, w = len(weights), np.arange(width)
    tails, heads, parts = [], [], []
    for k, a in enumerate(weights):
        for part, there in ((2 * k, w), (2 * k + 1, w + a)):
            inside = there < width
            tails.append((k * width + w)[inside])
            heads.append(((k + 1) * width + there)[inside])
            parts.append(np.full(int(inside.sum()), part))
    tails, heads, parts = (
        np.concatenate(v)
        for v in (
            [*tails, n * width + w],
            [*heads, np.full(width, (n + 1) * width)],
            [*parts, 2 * n + w],
        )
    )
    return Dag((n + 1) * width + 1, tails, heads, parts, 2 * n + width)


def _as_paths(group: _Group, steps: _Steps) -> tuple[Tensor, PathBatch]:
    """Return the same sum as one over paths, which is exact for scores of any size."""
    width = sum(group.weights) + 1
    network = _network(group.weights, width)
    s = torch.where(steps.s == -torch.inf, 0, steps.s)
    left = torch.where(steps.anchor == 0, 0, steps.anchor * s)
    end = steps.anchor + group.sign
    taken = torch.where(end == 0, 0, end * s)
    w = torch.arange(width, device=s.device)
    inside = ((w >= steps.low) & (w <= steps.high)).expand(*s.shape[:-1], width)
    scores = torch.cat(
        [torch.stack([left, taken], -1).flatten(-2), torch.zeros_like(inside * 1.0)], -1
    )
    free = torch.stack([torch.ones_like(steps.free), steps.free], -1).flatten(-2)
    allowed = torch.cat([free, inside], -1).flatten(0, -2)
    begins, ends = (torch.full((len(allowed),), int(network.place[v])) for v in (0, -1))
    return scores.flatten(0, -2), PathBatch(network, begins, ends, allowed)


def _entropy(group: _Group, steps: _Steps) -> Tensor:
    if steps.beyond(_CALM_ENTROPY):
        total = paths.entropy(*_as_paths(group, steps)).reshape(*steps.s.shape[:-1], 1)
    else:
        total = _log_total(group, steps)
        moved = group.sign * (_mean(group, steps) - steps.anchor)
        total = total - torch.where(moved == 0, 0, moved * steps.logit).sum(-1, keepdim=True)
    return torch.cat([total, torch.zeros_like(steps.s[..., 1:])], -1)


def _log_total(group: _Group, steps: _Steps) -> Tensor:
    """Return the log of the sum of exponentials of steps from the anchor, `(N, components, 1)`."""
    total = _suffixes(group, steps)[0][..., :1]
    return torch.where(total > steps.nothing / 2, total, -torch.inf)


def _log_sum(group: _Group, steps: _Steps) -> Tensor:
    if steps.beyond(_CALM):
        total = paths.log_partition(*_as_paths(group, steps)).reshape(*steps.s.shape[:-1], 1)
        must = (steps.anchor != 0) & (steps.s == -torch.inf)
        return torch.cat([total, torch.zeros_like(steps.s[..., 1:])], -1) + torch.where(
            must, -torch.inf, 0
        )
    total = _log_total(group, steps)
    base = torch.where(steps.anchor == 0, 0, steps.anchor * steps.s)
    return base + torch.cat([total, torch.zeros_like(steps.s[..., 1:])], -1)


def _mean(group: _Group, steps: _Steps) -> Tensor:
    if steps.beyond(_CALM):
        mu = paths.marginals(*_as_paths(group, steps))[:, 1 : 2 * len(group.weights) : 2]
        return steps.anchor + group.sign * mu.reshape(steps.s.shape)
    after = _suffixes(group, steps)
    total = after[0][..., :1]
    total = torch.where(total > steps.nothing / 2, total, torch.nan)
    before = steps.nothing.expand_as(after[0])
    before = torch.cat([torch.zeros_like(before[..., :1]), before[..., 1:]], -1)
    means = []
    for k, a in enumerate(group.weights):
        logit = steps.logit[..., k : k + 1]
        chosen = logit + before + _moved(after[k + 1], -a, steps)
        means.append((chosen - total).exp().sum(-1))
        before = _log_add(before, logit + _moved(before, a, steps))
    return steps.anchor + group.sign * torch.stack(means, -1)


def _draw(group: _Group, steps: _Steps, generator: torch.Generator | None) -> Tensor:
    if steps.beyond(_CALM):
        taken = paths.sample(*_as_paths(group, steps), generator)[:, 1 : 2 * len(group.weights) : 2]
        return steps.anchor + group.sign * taken.reshape(steps.s.shape)
    after = _suffixes(group, steps)
    fine = after[0][..., :1] > steps.nothing / 2
    uniform = torch.empty_like(steps.s).uniform_(generator=generator)
    w = torch.zeros_like(fine, dtype=torch.int64)
    width, bits = after[0].shape[-1], []
    for k, a in enumerate(group.weights):
        there = w + a
        taken = after[k + 1].gather(-1, there.clamp(max=width - 1)) + steps.logit[..., k : k + 1]
        taken = torch.where(there < width, taken, steps.nothing)
        odds = (taken - after[k].gather(-1, w)).exp()
        bit = (uniform[..., k : k + 1] < odds) & (taken > steps.nothing / 2)
        w = torch.where(bit, there, w)
        bits.append(bit)
    z = steps.anchor + group.sign * torch.cat(bits, -1)
    return torch.where(fine, z, torch.nan)
