"""Which instances of a batch have an answer, and how good it is."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ._plan.failures import (
    Answers,
    Failure,
    index_of,
    number_of,
)


@dataclass(frozen=True)
class Status:
    """Which instances of a batch have an answer.

    Attributes:
        batch_shape: Leading dimensions of the call.
        failures: Index of an instance (a tuple) -> what went wrong with it: a string, of which a
            `Failure` also has the `kind` of error, and `residual` and `solver` where known.
        answers: Who answered, of a projection; read `residual` and `solver` instead.
        gaps: Index of an instance -> how much more its best structure may score, where a time limit
            ended the search for it; see `gap`.
    """

    batch_shape: tuple[int, ...] = ()
    failures: dict[tuple[int, ...], Failure] = field(default_factory=dict)
    answers: Answers | None = field(default=None, repr=False, compare=False)
    gaps: dict[tuple[int, ...], float] = field(default_factory=dict)

    @property
    def ok(self) -> Tensor:
        """Boolean tensor of the batch shape, on the CPU: True where there is an answer."""
        result = torch.ones(self.batch_shape, dtype=torch.bool, device="cpu")
        for index in self.failures:
            result[index] = False
        return result

    @property
    def gap(self) -> Tensor:
        """How much more the best structure may score than the decision, in units of the scores.

        Of the batch shape, float64 on the CPU. Zero but where `on_time_limit="best"` returned the
        best structure found in time; NaN where an instance failed.
        """
        result = torch.zeros(self.batch_shape, dtype=torch.float64, device="cpu")
        for index, gap in self.gaps.items():
            result[index] = gap
        for index in self.failures:
            result[index] = torch.nan
        return result

    @property
    def residual(self) -> Tensor:
        """KKT residuals of projections, of the batch shape, float64 on the CPU.

        Relative to 1 + max(|y|, |z|), of the answer in float64, the largest where an instance falls
        into several blocks; for a hull, the distance that is proved. Zero for closed forms. An
        instance that failed has that of the best point found, or NaN if there was none; decisions
        have NaN everywhere.
        """
        count = math.prod(self.batch_shape)
        if self.answers is None:
            return torch.full(self.batch_shape, torch.nan, dtype=torch.float64)
        failures = {number_of(at, self.batch_shape): f for at, f in self.failures.items()}
        return self.answers.residual(failures, count).reshape(self.batch_shape)

    @property
    def solver(self) -> dict[tuple[int, ...], str]:
        """Index of an instance that was projected -> who answered it; failures are left out.

        "closed form", "newton", "activeset", "spans", "osqp", "cvxpy" (Clarabel), "extended
        precision" or "hull"; where an instance falls into several blocks, who answered the one
        with the largest residual.
        """
        if self.answers is None:
            return {}
        names = self.answers.solver(math.prod(self.batch_shape))
        every = {index_of(i, self.batch_shape): name for i, name in enumerate(names)}
        return {at: name for at, name in every.items() if at not in self.failures}
