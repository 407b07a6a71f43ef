"""Failures of instances: one value, from the map that gives up to the user."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from .._deprecated import warn_deprecated
from .._errors import (
    InfeasibleError,
    OptLayersError,
    SolverFailed,
    UnboundedError,
    name_of,
)
from .._polytope.polytope import Polytope
from .blocks import Block

ACCURACY = 1e-9  # KKT residual, relative to 1 + max(|y|, |z|), above which an answer is a failure
FORBIDDEN = "scores of -inf forbid every point"
CLOSED_FORM = "closed form"  # the solver of an instance that needed none


@dataclass(frozen=True, eq=False, repr=False)
class Failure(str):
    """Why an instance has no answer: a sentence that also knows what a program asks of it.

    It is a `str`, the reason, so that it prints, compares and pickles as one.

    Attributes:
        reason: What went wrong, as a clause: "no point satisfies all constraints".
        kind: The error to raise where failures are errors.
        residual: How far the best answer found was from being accepted, if that is known.
        solver: Who gave up, if that is known.
    """

    reason: str
    kind: type[OptLayersError] = SolverFailed
    residual: float | None = None
    solver: str | None = None

    def __new__(cls, reason: str, *details: object, **named: object) -> "Failure":
        """Make the string; the other fields are set by the dataclass."""
        return super().__new__(cls, reason)


@dataclass(frozen=True)
class Answers:
    """Who answered the instances of a flattened batch, and how well; see `Report`."""

    residuals: list[tuple[str, Tensor]] = field(default_factory=list)
    others: dict[int, tuple[str, float]] = field(default_factory=dict)

    def residual(self, failures: Mapping[int, Failure], count: int) -> Tensor:
        """Return `(count,)`, float64 on the CPU; NaN for failures that do not tell theirs."""
        worst = torch.zeros(count, dtype=torch.float64)
        for each in self._each(count):
            worst = torch.maximum(worst, each)
        for i, (_, residual) in self.others.items():
            worst[i] = residual
        for i, failure in failures.items():
            worst[i] = torch.nan if failure.residual is None else failure.residual
        return worst

    def solver(self, count: int) -> list[str]:
        """Return the names, of the worst answer where an instance has several."""
        names, each = [CLOSED_FORM] * count, self._each(count)
        if each:
            worst, which = torch.stack(each).max(0)
            known = zip(which.tolist(), (worst < 0).tolist(), strict=True)
            names = [CLOSED_FORM if other else self.residuals[k][0] for k, other in known]
        for i, (solver, _) in self.others.items():
            names[i] = solver
        return names

    def _each(self, count: int) -> list[Tensor]:
        """Return the worst of the components, map by map."""
        return [r.detach().cpu().double().reshape(count, -1).amax(1) for _, r in self.residuals]


@dataclass
class TimeLimit:
    """How long the solver may take for each instance of one call.

    Attributes:
        seconds: For each instance, over all its blocks.
        best: Whether the best point found by then is an answer; else there is none.
        spent: Number of an instance -> seconds that it has taken.
    """

    seconds: float
    best: bool = False
    spent: dict[int, float] = field(default_factory=dict)


@dataclass
class Report:
    """Which instances of a flattened batch failed, and why; who gives up on one says so here.

    Attributes:
        failures: Number of an instance -> the first `Failure` it was reported with.
        lowest: Told by decoders that do not look for scores of minus infinity: the least value
            that each part can be decided to have, against which the decision is then checked.
        polytope: Told by plans: the polytope whose rows an infeasible instance contradicts.
        fits_half: Told by plans: whether float16 holds every point of the polytope.
        tolerance: Residual that an answer must reach, unless it has a closed form.
        may_look: Whether the host may look at numbers on a GPU, which waits for them.
        residuals: Who answered, and the residual of each instance and component, `(N, count)`;
            negative for instances that it was not asked about.
        blocks: Of which block each of `residuals` is, told by plans.
        answers: Of instances that went on to other solvers: the name of the one that answered,
            and its residual, which counts in place of the above.
        unexplained: Instances that failed only because their answer is NaN.
        limit: How long the solver may take, if there is a limit; shared by all that is asked again.
        gaps: Of instances whose time ran out: how much more the best structure may score.
        near: Where projections are expected, one point for each that is asked for, if anywhere.
    """

    failures: dict[int, Failure] = field(default_factory=dict)
    lowest: Tensor | float | None = None
    polytope: Polytope | None = None
    fits_half: bool = True
    tolerance: float = ACCURACY
    may_look: bool = True
    residuals: list[tuple[str, Tensor]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    answers: dict[int, tuple[str, float]] = field(default_factory=dict)
    unexplained: set[int] = field(default_factory=set)
    limit: TimeLimit | None = None
    gaps: dict[int, float] = field(default_factory=dict)
    near: Tensor | None = None

    def fail(
        self,
        instance: int,
        reason: str,
        kind: type[OptLayersError] = SolverFailed,
        *,
        residual: float | None = None,
        solver: str | None = None,
    ) -> None:
        """Record a reason for an instance of the flattened batch; the first one stays.

        But that a set has no point is never hidden by another block that is unbounded or unsolved.

        Args:
            instance: Its number, the first index of the tensor given to `forward`.
            reason: What went wrong, as a clause: "no point satisfies all constraints".
            kind: The error to raise where failures are errors.
            residual: How far the best answer found was from being accepted.
            solver: Who gave up.
        """
        self.add(instance, Failure(reason, kind, residual, solver))

    def add(self, instance: int, failure: Failure) -> None:
        """Record a failure that another report has, by the rule of `fail`."""
        before = self.failures.get(int(instance))
        empty = failure.kind is InfeasibleError
        if (
            before is None
            or instance in self.unexplained
            or (empty and before.kind in (UnboundedError, SolverFailed))
        ):
            self.failures[int(instance)] = failure
            self.unexplained.discard(int(instance))

    def another(self) -> "Report":
        """Return an empty one for the same question, asked again."""
        return Report(tolerance=self.tolerance, may_look=self.may_look, limit=self.limit)

    def worst(self, instance: int) -> tuple[str, float] | None:
        """Return who answered an instance least well, and its residual; None where nobody says."""
        if instance in self.answers:
            return self.answers[instance]
        found = [
            (who, float(r[instance].max())) for who, r in self.residuals if r[instance].numel()
        ]
        return max(found, key=lambda pair: pair[1], default=None)

    def answered(self, instance: int, solver: str, residual: float) -> None:
        """Note who answered an instance that its map had to hand on: the worst, if several did."""
        if not residual <= self.answers.get(instance, ("", -1.0))[1]:
            self.answers[instance] = solver, residual

    def refuse_nan(self, x: Tensor, z: Tensor) -> None:
        """Let instances fail whose answer holds a NaN that their input `x` does not explain.

        One pass over `(N, n)` on the CPU; elsewhere also one synchronisation, or nothing if the
        host may not look.
        """
        if torch.compiler.is_compiling() or not (self.may_look or z.device.type == "cpu"):
            return
        if math.isfinite(z.sum().item()):  # in Python, which is quicker for one number
            return
        lost = z.isnan().any(-1) & x.isfinite().all(-1)
        for i in lost.nonzero()[:, 0].tolist():
            if i not in self.failures:
                self.fail(i, "its answer is not a number")
                self.unexplained.add(i)

    def answers_of(self) -> Answers:
        """Return who answered, apart from the rest of the report."""
        return Answers(self.residuals, self.answers)

    @property
    def kinds(self) -> dict[int, type[OptLayersError]]:
        """The errors by instance; deprecated, `failures[i].kind` is the same."""
        warn_deprecated("`Report.kinds`", "`report.failures[i].kind`")
        return {i: failure.kind for i, failure in self.failures.items()}

    def at(self, batch: Sequence[int]) -> dict[tuple[int, ...], Failure]:
        """Return the failures by index into the batch, in its order."""
        return {index_of(i, batch): failure for i, failure in sorted(self.failures.items())}

    def spread(self, batch: torch.Size, wider: torch.Size) -> None:
        """Renumber failures for a batch that the present one is broadcast to."""
        if self.failures and batch != wider:
            of = (
                torch.arange(batch.numel(), device="cpu")
                .reshape(batch)
                .expand(wider)
                .reshape(-1)
                .tolist()
            )
            old = self.failures
            self.failures = {i: old[k] for i, k in enumerate(of) if k in old}

    def raise_first(self, batch: Sequence[int], noun: str = "instance", advice: str = "") -> None:
        """Raise for the first instance that failed, if one did.

        An infeasible one is told which rows are in conflict, where it was asked of a polytope.

        Args:
            batch: Shape of the batch.
            noun: What its entries are called.
            advice: Another sentence, for the end.
        """
        if self.failures:
            self._raise(self.at(batch), noun, advice)

    def _raise(self, failures: dict[tuple[int, ...], Failure], noun: str, advice: str) -> NoReturn:
        where, failure = next(iter(failures.items()))
        name, others = name_of(where, noun), len(failures) - 1
        more = f" {others} more {noun}{'s' * (others != 1)} failed." if others else ""
        if failure.kind is InfeasibleError and self.polytope is not None:
            try:
                self.polytope.instance(where).check_feasible()
            except InfeasibleError as error:
                raise InfeasibleError(f"{name}: {error}{more}") from None
            # The relaxation has points: what is missing is an integral one, or one that the
            # scores allow.
        raise failure.kind(f"{name}: {failure}.{more}{advice}")


def index_of(number: int, batch: Sequence[int]) -> tuple[int, ...]:
    """Return the index into a batch of an instance of the flattened batch."""
    return tuple(int(k) for k in np.unravel_index(number, batch)) if len(batch) else ()


def number_of(index: Sequence[int], batch: Sequence[int]) -> int:
    """Return the number in the flattened batch of an index into it."""
    return int(np.ravel_multi_index(tuple(index), tuple(batch))) if len(batch) else 0
