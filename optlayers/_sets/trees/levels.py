r"""Scores of trees over hundreds of decades, moved together without changing any probability.

Every tree has one head per word, so a number may be taken off all arcs into a word. Where some arcs
are so far below the others that no sum of those can make up for one of them, all of them may be
raised by the same amount, as long as they stay far below: the trees that count have the same number
of them. What was taken off and added goes back into $\log Z$.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_CALM = 1e4  # scores up to here are summed as they are
_APART = 60.0  # exp of it is beyond the digits of float64
_MOST_LEVELS = 64
_WIDEST = 1e12  # beyond, the digits of float64 do not reach from the largest to one


class Moved(NamedTuple):
    """Scores that can be summed, and how their sums become those of the scores given.

    Attributes:
        x: `(N, n + 1, n + 1)`.
        scale: `(N,)`, what log Z is multiplied with.
        shift: `(N,)`, what is then added to it.
        levels: Masks of arcs, and what each of them was raised by, `(N, 1, 1)`.
    """

    x: Tensor
    scale: Tensor
    shift: Tensor
    levels: list[tuple[Tensor, Tensor]]

    def log_z(self, log_z: Tensor, mu: Tensor | None) -> Tensor:
        """Return log Z of the scores given, from that of `x` and the marginals of `x`."""
        result = log_z * self.scale + self.shift
        for members, raised in self.levels:
            assert mu is not None
            count = torch.where(members, mu.detach(), 0).sum((1, 2)).nan_to_num().round()
            result = result - torch.where(count == 0, 0, count * raised[:, 0, 0])
        return result


def move(x: Tensor, arcs: Callable[[], Tensor], look: bool) -> Moved | None:
    """Return the scores moved together; None if the host may look, and sees nothing to do.

    Args:
        x: `(N, n + 1, n + 1)`, heads by modifiers.
        arcs: Returns those that may be chosen, whatever their score.
        look: Whether the host may look at numbers.
    """
    given = x.detach()
    if look and not given.numel():
        return None
    if look:
        low, high = given.aminmax()
        if bool((low > -_CALM) & (high < _CALM)):
            return None
    used = arcs() & given.isfinite()
    if look and not bool((used & (given.abs() > _CALM)).any()):
        return None
    top = torch.where(used, given, -torch.inf).amax(1, keepdim=True)
    top = torch.where(top.isfinite(), top, 0)
    moved = torch.where(used, given - top, 0)
    words = x.shape[-1] - 1
    edges = _edges(moved, used, words, look)
    levels, raised_to = [], moved
    for edge in edges:
        members = used & (moved <= edge)
        above = torch.where(members | ~used, 0, -raised_to).amax((1, 2), keepdim=True)
        best = torch.where(members, raised_to, -torch.inf).amax((1, 2), keepdim=True)
        target = torch.maximum(-(words + 1) * above - _APART, best)
        by = torch.where(best.isfinite(), target - best, 0)
        # In this order: the digits of what lies between the members are all kept.
        raised_to = torch.where(members, (raised_to - best) + target, raised_to)
        levels.append((members, by))
    widest = torch.where(used, -raised_to, 0).amax((1, 2), keepdim=True)
    scale = (widest / _WIDEST).clamp(min=1)
    kept = torch.where(used, x, 0)
    asked = torch.where(used, raised_to / scale + (kept - kept.detach()), x)
    return Moved(asked, scale[:, 0, 0], top.sum((1, 2)), levels)


def _edges(moved: Tensor, used: Tensor, words: int, look: bool) -> list[Tensor]:
    """Return the greatest score of every level but the first, `(N, 1, 1)`; -inf: no such level."""
    flat = torch.where(used, moved, -torch.inf).flatten(1)
    ordered = flat.sort(-1, descending=True).values
    before, after = ordered[:, :-1], ordered[:, 1:]
    gap = before - after > words * before.abs() + _APART
    gap = gap & after.isfinite() & (after < -_CALM)
    edges = torch.where(gap, after, -torch.inf).sort(-1, descending=True).values
    most = min(3, edges.shape[-1])
    if look:
        most = int(gap.sum(-1).max()) if gap.numel() else 0
    return [edges[:, k, None, None] for k in range(min(most, _MOST_LEVELS))]
