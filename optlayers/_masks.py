r"""Parts that no solution can want: one rule for every set, before anything is scaled or judged.

Parts are forbidden by minus infinity, by -1e9 or by the lowest float. What is asked instead is a
number just below the others, which says the same and leaves them their digits:

- If an answer has such a part at its least value $l_i$, it is the answer for any lower score as
  well. Lowering $s_i$ by $\delta$ costs this answer $\delta l_i$ and every other at least as much;
  for a projection the derivative at the bound only grows.
- If not, the part may be needed. The same is asked with lower numbers, until the answer no longer
  changes: such parts are used as little as the set allows, and of those parts the best.
- Differences between low scores are kept, since where one of them is needed they decide.

Parts that minus infinity forbids and that are needed leave an instance without a point.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ._errors import InfeasibleError, UnboundedError
from ._kernels.arrays import CALM, HUGE
from ._plan.failures import FORBIDDEN, Failure, Report

_ALL = -1e8  # an instance without a score above this may have nothing else to be far below of
_ALIKE = 1e-6  # how far apart, relative, its scores are then; those of a large set are not alike
_FAR = 16.0  # how far below the others, in units of the largest, a score counts as low
_STEPS = (1.0, 1e3, 1e6, 1e9)  # how far below the parts are put, one after the other
_WIDER = 1e9  # times how far below the others masks are put: lower scores are not told apart
_LEFT = 1e-9  # what solvers leave at one
_SLACK = 1e-6  # what rounding may leave at a part that is at its bound
_ROUNDINGS = 16  # of a projection, in units of the last digit of what it was asked
_TOO_FAR = "its lowest scores are too far below the others to be weighed against them"


# From points, their low parts, numbers of instances, a report, and whether nothing else was tried,
# to the projections that are known in the limit of masks that fall for ever.
Needed = Callable[[Tensor, "Low", list[int], Report, bool], dict[int, Tensor]]


class Low(NamedTuple):
    """The low parts of a batch of instances, flattened to `(N, parts)`.

    Attributes:
        parts: Which they are.
        infinite: Those of minus infinity among them.
        least: The least value of every part.
        excess: How far each score is above or below the least value, or the score of a decision.
        size: `(N, 1)`, the largest of the other excesses, at least.
        total: `(N, 1)`, their sum.
    """

    parts: Tensor
    infinite: Tensor
    least: Tensor
    excess: Tensor
    size: Tensor
    total: Tensor


def calm(x: Tensor) -> bool:
    """Tell whether every entry is finite and none low or huge. One pass, one synchronisation."""
    if not x.numel():
        return True
    low, high = x.detach().aminmax()
    return bool((low > CALM) & (high < HUGE))  # both false for NaN


def all_finite(x: Tensor) -> bool:
    """Tell whether a CPU tensor holds finite numbers only; False where the host may not look.

    One pass that writes nothing. False also where the sum overflows: the caller looks closer.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return math.isfinite(x.detach().sum().item())


def low_parts(excess: Tensor, look: bool = True) -> Tensor:
    """Return which entries of `(N, parts)` are far below all the others of their instance.

    Where all are below -1e8, all of them are: such numbers have no digits left to tell how far.

    Args:
        excess: Scores, or points less the least value of their part; no NaN.
        look: Whether the gap is looked for anywhere, by sorting; else below -1e4 alone.
    """
    infinite = excess == -torch.inf
    if not look or not excess.shape[-1]:
        candidates = excess < -1e4
        size = torch.where(candidates, 0, excess.abs()).sum(-1, keepdim=True)
        some = (~candidates).any(-1, keepdim=True)
        masked = some | _all_low(excess)
        return infinite | (candidates & masked & (excess < -_FAR * (1 + size)))
    ordered = excess.sort(-1, descending=True).values
    sizes = torch.where(ordered == -torch.inf, 0, ordered.abs()).cummax(-1).values
    far = ordered[:, 1:] < -_FAR * (1 + sizes[:, :-1])
    first = torch.where(far, ordered[:, 1:], -torch.inf)
    top = ordered[:, :1]
    first = torch.cat([first, torch.where(_all_low(excess), top, -torch.inf)], -1)
    return infinite | (excess <= first.amax(-1, keepdim=True))


def _all_low(excess: Tensor) -> Tensor:
    """Return `(..., 1)`, whether all scores of an instance are masks: low, and alike.

    Masks may have ordinary scores added to them, and lower masks beside them.
    """
    if not excess.shape[-1]:
        return excess.new_zeros((*excess.shape[:-1], 1), dtype=torch.bool)
    top = excess.amax(-1, keepdim=True)
    near = (excess > -torch.inf) & (excess >= _FAR * top)  # which may overflow
    lowest = torch.where(near, excess, top).amin(-1, keepdim=True)
    return (top < _ALL) & (top - lowest <= _ALIKE * top.abs())  # false for minus infinity alone


def find_low(
    x: Tensor, least: Tensor, free: Tensor | None, event_dim: int, decides: bool, look: bool
) -> Low | None:
    """Return the low parts of scores or points; None if there is none and one may look.

    Args:
        x: `(..., *event)`, without NaN.
        least: The least value of every part, in the same shape; -inf: none.
        free: Parts that count.
        event_dim: How many trailing dimensions are one instance.
        decides: Whether x is scores of a decision.
        look: Whether the host may look at numbers.
    """
    x = x.detach()
    kept = x if free is None else torch.where(free, x, 0)
    count = x.shape[: x.ndim - event_dim].numel()
    wide = torch.float32 if x.device.type == "mps" else torch.float64
    flat = kept.reshape(count, -1).to(wide)
    least = least.reshape(count, -1).to(wide)
    bounded = least.isfinite()
    excess = flat if decides else flat - torch.where(bounded, least, 0)
    infinite = flat == -torch.inf
    if free is None:
        parts = low_parts(excess, look) & (bounded | infinite)
    else:  # what does not count is no measure for the others, as a zero among low scores would be
        counts = free.expand(x.shape).reshape(count, -1)
        parts = low_parts(torch.where(counts, excess, -torch.inf), look) & (bounded | infinite)
        parts = parts & counts
    if look and not bool(parts.any()):
        return None
    others = torch.where(parts, 0, excess.abs())
    size = others.amax(-1, keepdim=True) if others.shape[-1] else others.sum(-1, keepdim=True)
    return Low(parts, infinite & parts, least, excess, size, others.sum(-1, keepdim=True))


def none_low(x: Tensor, event_dim: int) -> Low:
    """Return the low parts of points that have none."""
    count = x.shape[: x.ndim - event_dim].numel()
    flat = x.detach().reshape(count, -1).double()
    none, zero = torch.zeros_like(flat, dtype=torch.bool), torch.zeros_like(flat)
    size = flat.abs().amax(-1, keepdim=True) if flat.shape[-1] else flat.sum(-1, keepdim=True)
    return Low(none, none, zero, flat, size, flat.abs().sum(-1, keepdim=True))


def _below(low: Low, step: float, decides: bool) -> Tensor:
    """Return `(N, 1)`, how far below the others `replaced` puts low parts."""
    if decides and step > 1:
        return (_FAR * (1 + low.size) + 4 * low.total) * (step / 1e3)
    return _FAR * (1 + low.size) * step


def _apart(low: Low) -> Tensor:
    """Return how far each finite low score is below the highest one; 0 at other parts."""
    finite = low.parts & ~low.infinite
    top = torch.where(finite, low.excess, -torch.inf).amax(-1, keepdim=True)
    some = finite.any(-1, keepdim=True)
    return torch.where(finite, low.excess - torch.where(some, top, 0), 0)


def _keeps_apart(low: Low, step: float, decides: bool) -> Tensor:
    """Return `(N,)`, where `replaced` keeps all differences between finite low scores."""
    below = _below(low, step, decides)
    return ((_apart(low) >= -below) | (low.excess >= -2 * below)).all(-1)


def _as_given(low: Low, step: float) -> Tensor:
    """Return `(N,)`, where `replaced` leaves finite low scores as they are, for decisions."""
    finite = low.parts & ~low.infinite
    return (~finite | (low.excess - _apart(low) >= -_below(low, step, True))).all(-1)


def _told_apart(low: Low, below: Tensor, apart: Tensor) -> Tensor:
    """Return numbers for one question: as few low parts as can be, and of those the best.

    Below the others by what any choice of low parts can differ in, if they are that low; else as
    they are, for then a part may cost less than the difference between two others.
    """
    finite = low.parts & ~low.infinite
    under = below - finite.sum(-1, keepdim=True) * apart.amin(-1, keepdim=True)
    top = (low.excess - apart).where(finite, torch.inf).amin(-1, keepdim=True)
    given = torch.maximum(low.excess, -_WIDER * below)
    return torch.where(top < -under, apart - under, given)


def replaced(x: Tensor, low: Low, step: float, decides: bool, once: bool = False) -> Tensor:
    """Return `x` with numbers just below the others at low parts; their derivative stays.

    Args:
        x: `(..., *event)`.
        low: Its low parts.
        step: How far below.
        decides: Whether x is scores; then a step above 1 goes below the sum of all others.
        once: Whether there is one question.
    """
    parts, infinite, least, excess, *_ = low
    below, apart = _below(low, step, decides), _apart(low)
    finite = parts & ~infinite
    some = finite.any(-1, keepdim=True)
    spread = finite.sum(-1, keepdim=True) if step > 1 else torch.ones_like(below)
    number = torch.where(finite, torch.maximum(excess, -below + apart.clamp(min=-below)), -below)
    if once:
        number = torch.where(finite, _told_apart(low, below, apart), number)
    number = torch.where(infinite & some, -2 * below * (1 + spread), number)
    if not decides:
        number = number + torch.where(least.isfinite(), least, 0)
    at = parts.reshape(x.shape)
    same = torch.where(at & (x > -torch.inf), x, 0)
    return torch.where(at, number.reshape(x.shape).to(x.dtype) + (same - same.detach()), x)


def _take_over(again: Report, own: Report, open_: Tensor) -> None:
    """Note who answered again, and how much better an answer may be, of instances that are open."""
    for i in open_.nonzero()[:, 0].tolist():
        if i in again.failures:
            continue
        if (worst := again.worst(i)) is not None:
            own.answers[i] = worst
        own.gaps[i] = again.gaps.get(i, 0.0)


def answer(
    ask: Callable[[Tensor, Report], Tensor],
    x: Tensor,
    low: Low,
    report: Report,
    event_dim: int,
    decides: bool,
    whole: bool,
    tell: bool,
    needed: Needed | None = None,
) -> Tensor:
    """Return what `ask` says of a batch with low parts, those that are not needed at their bound.

    Args:
        ask: Decodes or projects.
        x: What it is asked; in float32 at least.
        low: Its low parts.
        report: Told of failures.
        event_dim: How many trailing dimensions are one instance.
        decides: Whether `ask` decodes.
        whole: Whether decisions are integers, so that one more of a low part costs a step.
        tell: Whether instances without a point are failures; they hold NaN in any case.
        needed: Projects instances that need low parts, if a set can.
    """
    asked, own = replaced(x, low, _STEPS[0], decides), report.another()
    z = ask(asked, own)
    if z.shape != x.shape:
        return z  # the caller refuses it
    failures = own.failures
    open_ = _unsettled(z, low, failures, decides)
    batch = (*x.shape[: x.ndim - event_dim], *[1] * event_dim)
    if decides and not whole and bool(open_.any()):
        z = _vertices(ask, x, low, z, open_, failures, tell, own)
        open_ = torch.zeros_like(open_)
    if needed is not None:
        z, open_ = _by_limit(needed, x, low, z, open_, own, True)
    agreed = torch.zeros_like(open_, dtype=torch.int8)
    for step in (*_STEPS[1:], *[math.inf] * decides):  # decisions: at last, the scores as they are
        if not bool(open_.any()):
            break
        at, again = open_.reshape(batch), report.another()
        asked = torch.where(at, replaced(x, low, step, decides), asked)
        found = ask(asked, again)
        failed = _replace_failures(failures, again.failures, open_, agreed)
        _take_over(again, own, open_)
        same = _close(z, found, low, 0.0 if decides else step)
        if decides:  # what is worth less by the scores as they are is no better answer
            same = same | (_worth(found, low) < _worth(z, low))
        agreed = torch.where(same, agreed + 1, 0).to(torch.int8) + failed * agreed
        if decides:  # an answer to the scores as they are needs no other beside it
            agreed = torch.where(_as_given(low, step) & ~failed, agreed.clamp(min=1), agreed)
        z = torch.where(at & ~same.reshape(batch) & ~failed.reshape(batch), found, z)
        # One answer more for projections: what a part buys may be worth a million times its size.
        enough = agreed >= (1 if decides else 2)
        if decides:  # two answers to questions that both lost what tells low parts apart say little
            enough = enough & _keeps_apart(low, step, decides)
        open_ = open_ & ~failed & ~enough & _unsettled(z, low, failures, decides)
    left = open_ & (agreed == 0)
    if needed is not None:
        z, left = _by_limit(needed, x, low, z, left, own, False)
    _tell(own, report)
    return _settle(z, low, left, report, tell)


def _tell(own: Report, report: Report) -> None:
    """Tell a report what one of the same call was told."""
    report.polytope, report.lowest, report.fits_half = own.polytope, own.lowest, own.fits_half
    report.residuals, report.blocks, report.answers = own.residuals, own.blocks, own.answers
    report.unexplained |= own.unexplained & own.failures.keys()
    report.gaps |= own.gaps
    for i, failure in own.failures.items():
        report.add(i, failure)


def _by_limit(
    needed: Needed, x: Tensor, low: Low, z: Tensor, open_: Tensor, own: Report, first: bool
) -> tuple[Tensor, Tensor]:
    """Ask for open instances in the limit of low masks; return who is open after that."""
    numbers = open_.nonzero()[:, 0].tolist()
    found = needed(x, low, numbers, own, first) if numbers else {}
    if not found:
        return z, open_
    flat, open_ = list(z.reshape(low.parts.shape).unbind(0)), open_.clone()
    for i, answer in found.items():
        flat[i], open_[i] = answer.reshape(-1), False
        own.failures.pop(i, None)
    return torch.stack(flat).reshape(z.shape), open_


def _replace_failures(
    failures: dict[int, Failure], again: dict[int, Failure], open_: Tensor, agreed: Tensor
) -> Tensor:
    """Take over those of open instances; return which only failed after two equal answers."""
    kept = torch.zeros_like(open_)
    for i in open_.nonzero()[:, 0].tolist():
        failures.pop(i, None)
        if i in again and bool(agreed[i]):
            kept[i] = True
        elif i in again:
            failures[i] = again[i]
    return kept


def _vertices(
    ask: Callable[[Tensor, Report], Tensor],
    x: Tensor,
    low: Low,
    z: Tensor,
    open_: Tensor,
    failures: dict[int, Failure],
    tell: bool,
    report: Report,
) -> Tensor:
    """Return the best of what linear programs say of the open instances.

    A fraction of a low part may pay, however low it is. So candidates are asked for: without low
    parts at all, and without those that minus infinity forbids; where low scores are so far apart
    that numbers near the others do not tell them, as they are. The scores as given decide.
    """
    shape = low.parts.shape
    near, below, given = (replaced(x, low, step, True) for step in (*_STEPS[:2], math.inf))
    barred = [low.parts, low.infinite, low.infinite]
    asks = [near, below, near]
    if not bool(_keeps_apart(low, _STEPS[1], True).all()):
        barred, asks = [*barred, low.infinite], [*asks, given]
    scores = torch.where(low.infinite, 0, low.excess)
    tried = open_ & ~(low.infinite & ~low.least.isfinite()).any(-1)
    best = torch.full_like(scores[:, 0], -torch.inf)
    result, reasons = z.reshape(shape), dict[int, Failure]()
    for parts, asked in zip(barred, asks, strict=True):
        at = (tried[:, None] & parts).reshape(x.shape)
        own = report.another()
        found = ask(torch.where(at, -torch.inf, asked), own).reshape(shape)
        fine = tried & ~(low.infinite & (found > low.least + _SLACK)).any(-1)
        for i, failure in own.failures.items():
            fine[i] = False
            reasons[i] = failure
        value = (scores * torch.where(fine[:, None], found, 0)).sum(-1)
        better = fine & (value > best)
        best = torch.where(better, value, best)
        result = torch.where(better[:, None], found, result)
    for i in tried.nonzero()[:, 0].tolist():
        failures.pop(i, None)
        if best[i] == -torch.inf and i in reasons and (tell or reasons[i] != FORBIDDEN):
            failures[i] = reasons[i]
    return result.reshape(z.shape)


def answer_once(
    ask: Callable[[Tensor, Report], Tensor], x: Tensor, low: Low, report: Report, decides: bool
) -> Tensor:
    """Return the same where nobody may look at numbers: one question, NaN where it was too few."""
    z = ask(replaced(x, low, _STEPS[1], decides, once=decides), report)
    return _settle(z, low, None, report, False) if z.shape == x.shape else z


def _settle(z: Tensor, low: Low, open_: Tensor | None, report: Report, tell: bool) -> Tensor:
    """Put low parts exactly at their bound; NaN, and a failure, where they cannot be."""
    flat, bounded = z.reshape(low.parts.shape), low.least.isfinite()
    least = torch.where(bounded, low.least, 0).to(z.dtype)
    lost = (low.infinite & ((flat > least + _SLACK) | ~bounded)).any(-1)
    kept = torch.where(low.infinite & (flat <= least + _SLACK), least, flat)
    if tell:
        for i in lost.nonzero()[:, 0].tolist():
            report.fail(i, FORBIDDEN, InfeasibleError)
    if open_ is not None:
        lost = lost | open_
        if tell:
            for i in open_.nonzero()[:, 0].tolist():
                report.fail(i, _TOO_FAR)
    return torch.where(lost[:, None], torch.nan, kept).reshape(z.shape)


def _unsettled(z: Tensor, low: Low, failures: dict[int, Failure], decides: bool) -> Tensor:
    """Instances with a low part above its least value, or that low scores do not bound yet.

    A projection is above it by more than solvers leave: numbers farther below cost digits.
    """
    flat, least = z.detach().reshape(low.parts.shape), low.least.to(z.dtype)
    left = 0.0 if decides else _LEFT if z.dtype == torch.float64 else _SLACK
    above = low.parts & least.isfinite() & (flat > least + left * (1 + least.abs()))
    found = above.any(-1)
    endless = [i for i, failure in failures.items() if failure.kind is UnboundedError]
    if endless:
        found[endless] = low.parts.any(-1)[endless]
    return found


def _worth(z: Tensor, low: Low) -> Tensor:
    """Return `(N,)`, the scores of decisions, rounded as large ones are; -inf for none."""
    flat = z.detach().reshape(low.parts.shape).to(low.excess.dtype)
    forbidden = (low.infinite & (flat > low.least + _SLACK)).any(-1)
    terms = torch.where(low.infinite, 0, low.excess) * flat
    total = terms.sum(-1) + 1e-12 * terms.abs().sum(-1)
    return torch.where(forbidden | total.isnan(), -torch.inf, total)


def _close(z: Tensor, other: Tensor, low: Low, step: float) -> Tensor:
    """Instances whose two answers are the same but for rounding.

    A projection is rounded like the numbers it was asked with, which are larger by the step.
    """
    eps = torch.finfo(low.size.dtype).eps
    tolerance = 1e-8 if z.dtype == torch.float64 else 1e-5
    rounding = (_ROUNDINGS * eps * _FAR * (1 + low.size) * step).clamp(max=_SLACK)
    z, other = (v.detach().reshape(low.parts.shape) for v in (z, other))
    return ((z - other).abs() <= (tolerance + rounding) * (1 + z.abs())).all(-1)
