"""Common parts of maps that are tried before Newton's method, and hand on to it."""

from abc import abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .._plan.failures import Report
from .._plan.maps import Limits, SolverMap
from .._plan.operators import outside_graphs, with_operators
from .derivative import ByFace
from .newton.newton import GOOD, Newton


@with_operators
class BeforeNewton(SolverMap, ByFace):
    """A compiled projection on the CPU; Newton's method has what misses the accuracy.

    Other devices get Newton's method for everything.
    """

    @cached_property
    def newton(self) -> Newton:
        """Who is asked next; made when it is."""
        return Newton(self.block)

    @abstractmethod
    def on_host(self, y: Tensor, limits: Limits, near: Tensor | None) -> tuple[Tensor, Tensor]:
        """Project `(N, count, size)` in float64; the answers and the residual of each component.

        What is not known to be right has a residual of inf or nan.
        """

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
        """Return Newton's, which are needed on other devices than the CPU."""
        return () if device.type == "cpu" else self.newton.constants(device, torch.float64)

    @outside_graphs
    def forward(
        self, x: Tensor, limits: Limits, report: Report, near: Tensor | None = None
    ) -> Tensor:
        """Project; instances that miss the accuracy are handed on.

        Args:
            x: `(N, count, size)`.
            limits: In float64.
            report: Told which instances have no answer.
            near: Points like `x`, whose active limits are tried first by maps that can do that.
        """
        y, wide = x.detach().double(), Limits(*(v.double() for v in limits))
        if x.device.type != "cpu":
            return self.newton.forward(y, wide, report).to(x.dtype)
        z, quality = self.on_host(y, wide, None if near is None else near.detach().double())
        report.residuals.append((type(self).__name__.lower(), quality))
        late = ~(quality <= GOOD).all(-1)
        if bool(late.any()):
            self._hand_on(y, z, late, wide, report)
        return z.to(x.dtype)

    def at_once(self, x: Tensor, limits: Limits, report: Report) -> Tensor | None:
        """Return what the compiled loop finds for all instances; None if it misses one."""
        z, quality = self.on_host(x.double(), limits, None)
        if not (quality.numpy() <= GOOD).all():
            return None
        report.residuals.append((type(self).__name__.lower(), quality))
        return z.to(x.dtype)

    def _hand_on(self, y: Tensor, z: Tensor, late: Tensor, limits: Limits, report: Report) -> None:
        """Solve the instances that missed the accuracy by Newton's method."""
        chosen, inner = late.nonzero()[:, 0], Report(tolerance=report.tolerance)
        sides = Limits(*(v if len(v) == 1 else v[chosen] for v in limits))
        z[chosen] = self.newton.forward(y[chosen], sides, inner)
        for i, failure in inner.failures.items():
            report.add(int(chosen[i]), failure)
        answers, numbers = inner.answers_of(), chosen.tolist()
        residuals = answers.residual(inner.failures, len(numbers)).tolist()
        for i, name, residual in zip(numbers, answers.solver(len(numbers)), residuals, strict=True):
            report.answered(i, name, residual)
