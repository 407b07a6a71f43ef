"""One call of a verb: what is asked is made fit, what comes back meets the policies."""

import math
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from ._checks import floats, untraced
from ._errors import InputError
from ._kernels.arrays import is_ordinary
from ._kernels.untraced import has_no_numbers
from ._masks import Low, answer, answer_once, find_low, none_low
from ._needed import with_huge
from ._nonfinite import (
    Masked,
    OnNonfinite,
    check_half_range,
    drop_input_failures,
    mask_nonfinite,
    may_synchronise,
    refuse_vmap,
    report_entries,
    restore_nonfinite,
)
from ._plan.failures import (
    ACCURACY,
    Report,
    TimeLimit,
    index_of,
)
from ._status import Status

OnFailure = Literal["raise", "nan", "fallback"]
OnTimeLimit = Literal["fail", "best"]
ADVICE = " With on_failure='nan' the other instances keep their answers."


class Asked(Protocol):
    """Facts about a feasible set that a call needs, besides whom to ask."""

    event_dim: ClassVar[int]

    @property
    def decides_integers(self) -> bool:
        """Whether every decision is integers."""
        ...

    def time_limit(self) -> TimeLimit | None:
        """Return how long a solver may take for each instance of a new call that decides."""
        ...

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return `x` in the batch of the answer; refuse what has not the shape of the set."""
        ...

    def free_parts(self, device: torch.device) -> Tensor | None:
        """Booleans, true at parts that can be chosen; None: all."""
        ...

    def least_parts(self, like: Tensor, decides: bool) -> Tensor | float | None:
        """Return the least value of every part; None if the set alone knows what -inf means."""
        ...

    def project_needed(
        self, y: Tensor, low: Low, numbers: list[int], report: Report, first: bool
    ) -> dict[int, Tensor]:
        """Project instances that need masked parts, in the limit of masks, where it is known."""
        ...


class Answering(Asked, Protocol):
    """Questions of a call to a feasible set."""

    def at_once(self, x: Tensor, decides: bool, report: Report) -> Tensor | None:
        """Return an answer where nothing has to be prepared, settled or told."""
        ...

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode; NaN where `report` is told of a failure."""
        ...

    def answer_projection(self, y: Tensor, report: Report) -> Tensor:
        """Project; NaN where `report` is told of a failure."""
        ...


def check_policies(on_failure: str, on_nonfinite: str, projecting: bool = False) -> None:
    """Refuse policies that do not exist, whether or not anything is going to fail.

    Args:
        on_failure: "raise", "nan" or, where a decision is made, "fallback".
        on_nonfinite: "raise" or "propagate".
        projecting: Whether this is a projection, which has nothing to fall back to.
    """
    if projecting and on_failure == "fallback":
        raise InputError(
            "`on_failure` must be 'raise' or 'nan' for a projection. Got 'fallback': zeros need "
            "not lie in the set. Use 'nan', and replace what the status names."
        )
    if on_failure not in ("raise", "nan", "fallback"):
        known = "'raise' or 'nan'" if projecting else "'raise', 'nan' or 'fallback'"
        raise InputError(f"`on_failure` must be {known}. Got {on_failure!r}.")
    if on_nonfinite not in ("raise", "propagate"):
        raise InputError(f"`on_nonfinite` must be 'raise' or 'propagate'. Got {on_nonfinite!r}.")


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that is none, or that no solver aims at."""
    fits = isinstance(tolerance, (int, float)) and ACCURACY <= tolerance < 1
    if not fits:  # NaN too
        raise InputError(
            "`tolerance` must be a number from 1e-9, which solvers aim at, to less than 1. "
            f"Got {tolerance!r}."
        )


def as_time_limit(time_limit: float | None, on_time_limit: str) -> TimeLimit | None:
    """Return the time limit of a call, if there is one; refuse what is none."""
    if on_time_limit not in ("fail", "best"):
        raise InputError(f"`on_time_limit` must be 'fail' or 'best'. Got {on_time_limit!r}.")
    if time_limit is None:
        return None
    number = isinstance(time_limit, (int, float)) and not isinstance(time_limit, bool)
    if not (number and time_limit > 0):  # NaN too
        raise InputError(
            f"`time_limit` must be a positive number of seconds, or None. Got {time_limit!r}."
        )
    return TimeLimit(float(time_limit), on_time_limit == "best")


def decision(
    feasible_set: "Answering",
    scores: Tensor,
    on_failure: OnFailure,
    on_nonfinite: OnNonfinite,
    ask: Callable[[Tensor, Report], Tensor] | None = None,
) -> tuple[Tensor, Status]:
    """Decide a batch under the policies: at once where nothing can fail, else by a `Call`.

    With `ask`, by that in place of the `decode_instances` of the set, never at once.
    """
    check_policies(on_failure, on_nonfinite)
    if ask is None and is_ordinary(scores):
        z = feasible_set.at_once(scores, True, Report())
        if z is not None:
            return z, Status(tuple(scores.shape[: scores.ndim - feasible_set.event_dim]))
    call = Call(feasible_set, scores, True, on_failure, on_nonfinite)
    return call.decision(ask or feasible_set.decode_instances)


def projection(
    feasible_set: "Answering",
    y: Tensor,
    on_failure: OnFailure,
    on_nonfinite: OnNonfinite,
    tolerance: float = ACCURACY,
    near: Tensor | None = None,
    limit: TimeLimit | None = None,
) -> tuple[Tensor, Status]:
    """Project a batch under the policies: at once where nothing can fail, else by a `Call`."""
    check_tolerance(tolerance)
    check_policies(on_failure, on_nonfinite, True)
    if near is None and is_ordinary(y):
        report = Report(tolerance=tolerance)
        z = feasible_set.at_once(y, False, report)
        if z is not None:
            batch = y.shape[: y.ndim - feasible_set.event_dim]
            return z, Status(tuple(batch), answers=report.answers_of())
    call = Call(feasible_set, y, False, on_failure, on_nonfinite, tolerance)
    call.report.limit = limit
    if near is not None:
        call.expect(near)
    return call.projection(feasible_set.answer_projection)


class Call:
    """One batch on its way through a verb.

    Building it checks the policies, admits the tensor and takes out the instances that are not
    finite; `decision` and `projection` ask a function, and settle what it says.

    Args:
        feasible_set: Whose verb it is.
        x: Scores, or points.
        decides: Whether a decision is asked for; else a projection.
        on_failure: Policy.
        on_nonfinite: Policy.
        tolerance: Residual up to which an answer is one.
    """

    def __init__(
        self,
        feasible_set: Asked,
        x: Tensor,
        decides: bool,
        on_failure: OnFailure,
        on_nonfinite: OnNonfinite,
        tolerance: float = ACCURACY,
    ):
        name = "scores" if decides else "y"
        floats(x, name)
        refuse_vmap(x, name)
        untraced(name)
        if has_no_numbers(x):  # shapes alone: there is nothing to look at
            on_nonfinite = "propagate"
        self.on_failure, self.on_nonfinite = on_failure, on_nonfinite
        self.like, self.event_dim = x, feasible_set.event_dim
        self.decides, self.report = decides, Report(tolerance=tolerance)
        self.needed = feasible_set.project_needed
        self.report.limit = feasible_set.time_limit() if decides else None
        self.report.may_look = may_synchronise(on_nonfinite)
        x = feasible_set.admit(x.detach() if decides else x, name)
        free = self.free = feasible_set.free_parts(x.device)
        self.masked = mask_nonfinite(x, self.event_dim, name, on_nonfinite, self.report, free)
        self.low = None if self.masked.calm else self._low_parts(feasible_set, free, decides)
        if self.report.failures and on_failure == "raise":
            self.report.raise_first(self._batch(self.masked.x), advice=ADVICE)

    def _low_parts(self, feasible_set: Asked, free: Tensor | None, decides: bool) -> Low | None:
        """Parts that are to stay at their bound, and what is asked in float32 at least then."""
        x, bad, neg_inf, _ = self.masked
        tracing = torch.compiler.is_compiling()
        self.may_look = not tracing and (self.on_nonfinite == "raise" or x.device.type == "cpu")
        self.whole = feasible_set.decides_integers
        least = feasible_set.least_parts(x, decides)
        if least is None or not x.numel():
            return None
        shape = x.shape
        if isinstance(least, Tensor):  # a relaxation may have a larger batch than the points
            shape = torch.broadcast_shapes(shape, least.shape)
        if shape != x.shape:
            self.report.spread(self._batch(x), shape[: len(shape) - self.event_dim])
            x, neg_inf = x.expand(shape), None if neg_inf is None else neg_inf.expand(shape)
            bad = None if bad is None else bad.expand(self._batch(x))
        least = least.to(x) if isinstance(least, Tensor) else x.new_full((), least)
        least = least.expand(x.shape)
        if neg_inf is not None and bad is not None and not decides:
            x, bad, neg_inf, _ = self.masked = self._without_endless(x, bad, neg_inf, least)
        low = find_low(x, least, free, self.event_dim, decides, self.may_look)
        if low is not None:
            wide = torch.promote_types(x.dtype, torch.float32)
            self.masked = Masked(x.to(wide), bad, neg_inf)
        return low

    def _without_endless(self, x: Tensor, bad: Tensor, neg_inf: Tensor, least: Tensor) -> Masked:
        """Take out the points at minus infinity of parts that no bound keeps."""
        event = x.shape[x.ndim - self.event_dim :]
        endless = neg_inf & ~least.isfinite()
        if may_synchronise(self.on_nonfinite):
            report_entries(x, endless, event, "y", self.report)
        bad = bad | endless.reshape(*bad.shape, event.numel()).any(-1)
        over = bad[(..., *[None] * self.event_dim)]
        return Masked(torch.where(over, 0, x), bad, neg_inf & ~over)

    def _answer(self, ask: Callable[[Tensor, Report], Tensor], decides: bool) -> Tensor:
        if not has_no_numbers(self.masked.x):
            return self._asked(ask, decides)
        try:
            return self._asked(ask, decides)
        except (NotImplementedError, RuntimeError) as error:
            raise InputError(
                f"`{'scores' if decides else 'y'}` is on the meta device, which has shapes and no "
                "numbers, and the method of this set looks at them. Give a tensor with numbers, or "
                "ask a set with a closed form (see the page Devices)."
            ) from error

    def _asked(self, ask: Callable[[Tensor, Report], Tensor], decides: bool) -> Tensor:
        x, bad, _, _ = self.masked
        if self.low is None:
            z = ask(x, self.report)
            return z if decides or self.masked.calm else self._far(z)
        if not self.may_look:
            z = answer_once(ask, x, self.low, self.report, decides)
        else:
            tell = may_synchronise(self.on_nonfinite)
            needed = None if decides else self.needed
            flags = (self.event_dim, decides, self.whole, tell)
            z = answer(ask, x, self.low, self.report, *flags, needed)
            z = z if decides else self._far(z)
        if bad is None or z.shape != x.shape:
            return z
        return torch.where(bad[(..., *[None] * self.event_dim)], torch.nan, z)

    def _far(self, z: Tensor) -> Tensor:
        """Answer points with huge entries anew, where what solvers are held to says nothing."""
        x, bad, _, _ = self.masked
        if not self.may_look or z.shape != x.shape or not x.numel():
            return z
        x = x if self.free is None else torch.where(self.free, x, 0)  # padding may hold anything
        low = none_low(x, self.event_dim) if self.low is None else self.low
        return with_huge(self.needed, x, low, bad, z, self.report)

    def decision(self, ask: Callable[[Tensor, Report], Tensor]) -> tuple[Tensor, Status]:
        """Return the structures that `ask` decodes, and which instances have one."""
        z, shape = self._answer(ask, True), self.masked.x.shape
        if z.shape != shape:
            raise InputError(
                f"The decoder must return the shape of the scores, {tuple(shape)}. "
                f"Got {tuple(z.shape)}."
            )
        # Who says nothing about a lowest decision knows what minus infinity means.
        lowest = math.inf if self.report.lowest is None else self.report.lowest
        if z.device != self.like.device:
            z = z.to(self.like.device)  # a decoder of one's own on the host
        return self._settle(z, lowest)

    def expect(self, near: Tensor) -> None:
        """Note where projections are expected; refuse what cannot be points of this batch."""
        shape = tuple(self.masked.x.shape)
        if not isinstance(near, Tensor) or not near.is_floating_point():
            found = near.dtype if isinstance(near, Tensor) else type(near).__name__
            raise InputError(f"`near` must be a tensor of floats. Got {found}.")
        refuse_vmap(near, "near")
        try:
            self.report.near = near.expand(shape)
        except RuntimeError:
            raise InputError(
                f"`near` must have the shape of the answer, {shape}, or one that broadcasts to it. "
                f"Got {tuple(near.shape)}."
            ) from None

    def projection(self, ask: Callable[[Tensor, Report], Tensor]) -> tuple[Tensor, Status]:
        """Return the points that `ask` projects onto, and which instances have one."""
        z, (x, bad, neg_inf, _) = self._answer(ask, False), self.masked
        if z.shape != x.shape:  # a relaxation may have a larger batch than the points
            if z.shape[z.ndim - self.event_dim :] != x.shape[x.ndim - self.event_dim :]:
                raise InputError(
                    f"The projection must return the shape of the points, {tuple(x.shape)}. "
                    f"Got {tuple(z.shape)}."
                )
            self.masked = Masked(x.expand(z.shape), bad, neg_inf)
        return self._settle(z, None)

    def _settle(self, z: Tensor, lowest: Tensor | float | None) -> tuple[Tensor, Status]:
        report, rule = self.report, self.on_nonfinite
        if self.low is None:
            z = restore_nonfinite(z, self.masked, self.event_dim, rule, report, lowest)
        dtype = self.like.dtype
        if dtype == torch.float16 and not report.fits_half and may_synchronise(rule):
            z = check_half_range(z, self.event_dim, report)
        batch = self._batch(z)
        if report.failures:
            drop_input_failures(report, rule, self.masked.x, self.event_dim)
        if report.failures:
            return self._apply_policy(z, batch)
        return z if z.dtype == dtype else z.to(dtype), self._status(batch)

    def _apply_policy(self, z: Tensor, batch: torch.Size) -> tuple[Tensor, Status]:
        report = self.report
        if self.on_failure == "raise":
            report.raise_first(batch, advice=ADVICE)
        if self.on_failure == "fallback":
            keep = torch.ones(batch.numel(), dtype=torch.bool, device="cpu")
            keep[list(report.failures)] = False
            keep = keep.to(z.device).reshape(*batch, *[1] * self.event_dim)
            z = torch.where(keep, z, 0)
        else:  # the whole instance, also where other blocks of it have an answer
            lost = z.detach().isnan().flatten(len(batch)).any(-1)
            z = torch.where(lost[(..., *[None] * self.event_dim)], torch.nan, z)
        return z.to(self.like.dtype), self._status(batch)

    def _status(self, batch: torch.Size) -> Status:
        report = self.report
        failures = report.at(batch) if report.failures else {}
        answers = None if self.decides else report.answers_of()
        gaps = {
            index_of(i, batch): gap
            for i, gap in sorted(report.gaps.items())
            if gap > 0 and i not in report.failures
        }
        return Status(tuple(batch), failures, answers, gaps)

    def _batch(self, x: Tensor) -> torch.Size:
        return x.shape[: x.ndim - self.event_dim]
