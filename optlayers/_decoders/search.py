"""The time that HiGHS may take for one instance, and what becomes of it when that is out."""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._errors import OptLayersError, SolverFailed
from .._plan.failures import Report, TimeLimit
from .._solvers.highs import TIME, HighsSolver
from .common import HostInstance


class Refusal(NamedTuple):
    """Why there is no answer, and the error to raise where that is one."""

    reason: str
    kind: type[OptLayersError]


@dataclass
class Search:
    """The solves of one component of an instance, and the time they may take together.

    Attributes:
        end: When time is out, on the clock of `time.monotonic`.
        limit: What the user asked for, if anything.
        stopped: Whether time ran out.
        bound: What no point scores more than, where it did.
    """

    end: float = np.inf
    limit: TimeLimit | None = None
    stopped: bool = False
    bound: float = np.inf

    @classmethod
    def of(cls, limit: TimeLimit | None, number: int) -> "Search":
        """Begin one, with what is left of the time of instance `number`."""
        if limit is None:
            return cls()
        return cls(time.monotonic() + limit.seconds - limit.spent.get(number, 0.0), limit)

    def ask(self, solver: HighsSolver, at: HostInstance) -> tuple[np.ndarray | None, str]:
        """Return the best point, or the best one in time; None and the reason if there is none."""
        left = self.time_left()
        if not left > 0:
            self.stopped = True
            return None, TIME
        found = solver.solve(*at, left)
        if found.reason == TIME:
            self.stopped, self.bound = True, min(self.bound, found.bound)
        return found.point, "" if found.point is not None else found.reason

    def time_left(self) -> float:
        """Return how many seconds there are."""
        return self.end - time.monotonic()

    def gap(self, z: np.ndarray, scores: np.ndarray) -> float:
        """Return how much more the best point may score."""
        return max(0.0, self.bound - float(scores @ z)) if self.stopped else 0.0

    def refusal(self, z: np.ndarray | None, scores: np.ndarray) -> Refusal:
        """Say that time ran out, and what was found by then."""
        assert self.limit is not None
        words = f"HiGHS stopped at its time limit of {self.limit.seconds:g} s"
        if z is None:
            return Refusal(f"{words} without a point; give a larger `time_limit`", SolverFailed)
        share = self.gap(z, scores) / max(abs(float(scores @ z)), 1e-300)
        size = f"with a gap of {100 * share:.3g} %" if share < 1e6 else "with no useful bound"
        advice = "give a larger `time_limit`, or `on_time_limit='best'`"
        return Refusal(f"{words} {size}; {advice}", SolverFailed)

    def settle(
        self,
        found: np.ndarray | Refusal,
        scores: np.ndarray,
        largest: float,
        number: int,
        report: Report,
    ) -> np.ndarray | Refusal:
        """Note the time and the gap; refuse a point that is not the best if such are not wanted."""
        if self.limit is None:
            return found
        self.limit.spent[number] = self.limit.seconds - (self.end - time.monotonic())
        if not self.stopped or isinstance(found, Refusal):
            return found
        gap = self.gap(found, scores) * largest if largest > 0 else 0.0
        if gap == 0:
            return found  # it is proved to be the best
        if not self.limit.best:
            return self.refusal(found, scores)
        report.gaps[number] = report.gaps.get(number, 0.0) + gap
        return found
