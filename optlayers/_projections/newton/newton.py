"""Blocks with several rows: semismooth Newton on the dual, all instances of a batch at once."""

from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ... import _kernels
from ..._errors import InfeasibleError
from ..._kernels.progress import Clock
from ..._kernels.threads import run
from ..._plan.blocks import Block
from ..._plan.maps import ACCURACY, Limits, Report, SolverMap, send
from ..._plan.operators import outside_graphs, with_operators
from ..._polytope.consistency import within
from ..._solvers.block import ProjectionProblem, missed_rows
from ..derivative import ByFace
from ..qp import QP
from . import batched
from .large import project_large
from .ordering import OrderedRows, rows_of

GOOD = ACCURACY  # residual at which an answer is taken
_AIM = 1e-12  # residual at which nothing more is tried
_MANY_STEPS = 400  # rows up to which OSQP is faster where most variables are auxiliary
_FAR = 1e3  # how much larger than the point an answer may be before its rows are looked at again
_SAME, _MOVED, _EMPTY = range(3)  # what the linear program says of limits
# Operations of a complete factor, at most.
_LARGE = 5e6  # above, an interior-point method, whose factor has dense parts, is faster
_WORTH_SAYING = 1e5  # above, `explain` tells them
_STEPS = 15  # that an instance takes, as a guess
_PART = 2e9  # operations between two looks at signals and at the clock
_ON_DEVICE = 1500  # rows up to which a batch off the CPU is solved there, by dense factors


@with_operators
class Newton(SolverMap, ByFace):
    r"""Projection onto $\{\underline c \le Rx \le \bar c,\ l \le x \le u\}$, $x = [z; \psi]$.

    The dual of the projection is concave, piecewise quadratic and has one variable per row:

    $$ x(\mu) = \min(\max(y - R^\top \mu, l), u), \qquad
       g(\mu) = R\,x(\mu) - w(\mu), \qquad
       (R_{\cdot F} R_{\cdot F}^\top)\, d = g, \quad F = \{j : l_j < x_j(\mu) < u_j\} $$

    and Newton's step $d$, with an exact line search, ends on the right face after about ten
    steps, from where the answer is exact to rounding. Three devices make it robust: slacks $w$ of
    inequalities and auxiliary variables get a curvature that is reduced, and a centre that follows
    them (the proximal point method), so the limit is the projection itself; a far point is
    approached in stages, each ten times as far; the step is damped in proportion to $g$, less where
    that holds it back, and where $R_F$ loses rank by a hair. Equality rows, dependent rows,
    infinite bounds, fixed variables, badly scaled rows, auxiliary variables in any unit and long
    chains (nearly dependent rows) need no care of the user.

    CPU: compiled, an instance at a time over threads, with a dense factor of the active rows or a
    sparse one where that has fewer entries. Elsewhere: the whole batch as tensors (see
    `batched.py`). Both work in float64 and are accepted by KKT residual, 1e-9 relative to
    1 + max(|y|, |z|), and by the length of the last step, which nearly dependent rows need; an
    instance that misses it goes to the solvers of `QP`, and then fails.

    References:
        Li, Sun and Toh (2020), *On the efficient computation of a generalized Jacobian of the
        projector over the Birkhoff polytope*; Rockafellar (1976), *Augmented Lagrangians and
        applications of the proximal point algorithm in convex programming*.
    """

    def __init__(self, block: Block):
        super().__init__(block)
        self.exact = QP(block)
        self.units = self.exact.units
        self.rows: OrderedRows = rows_of(self.units.block.matrix)

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse what OSQP was measured to be faster at."""
        if not block.num_rows:
            return "it has no rows"
        mostly = 2 * int(block.is_aux.sum()) > block.size
        if mostly and block.size <= block.num_rows <= _MANY_STEPS:
            return "as many rows as variables, most of them auxiliary, take it many steps"
        return None

    def remark(self) -> str:
        """Return which factor, what it costs, and who is asked next."""
        if self.large:
            return (
                f"Clarabel, then exact steps: a factor of its rows has {self.rows.entries:,} "
                f"entries, and a step of Newton's {self.rows.operations:.0e} operations"
            )
        kind = "sparse" if self.rows.is_sparse else "dense"
        kind += " factor"
        if self.rows.operations > _WORTH_SAYING:
            entries, work = self.rows.entries, self.rows.operations
            kind += f" of {entries:,} entries, {work:.0e} operations a step"
        return f"Newton's method, {kind}; what misses {GOOD:g} goes to OSQP, then Clarabel"

    @property
    def large(self) -> bool:
        """Whether an interior-point method, whose factor has dense parts, is faster."""
        return self.rows.is_sparse and self.rows.operations > _LARGE and not self.block.is_aux.any()

    @outside_graphs
    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Project; instances that miss the accuracy are handed on."""
        return self.solve(x, limits, report)[0].to(x.dtype)

    def solve(self, x: Tensor, limits: Limits, report: Report) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, and the residual of each component of each instance."""
        wide = self.units.limits(Limits(*(v.double() for v in limits)))
        on_device = x.device.type != "cpu" and self.block.num_rows <= _ON_DEVICE
        name, x = "newton", self.units.worth(x.detach().double())
        if on_device:
            z, quality = self._on_device(x, wide)
        elif self.large:
            name = "clarabel"
            z, quality = self._by_interior_point(x, wide, report)
        else:
            z, quality = self._on_host(x, wide)
        report.residuals.append((name, quality))
        late = ~(quality <= GOOD) | _far(z, x)
        if report.limit is not None and report.failures:  # who is out of time is not asked again
            late[[i for i in report.failures if i < len(late)]] = False
        if bool(late.any()):
            self._hand_on(late.nonzero().cpu().numpy(), x, z, quality, wide, report)
        return self.units.declared(z), quality

    def _hand_on(
        self, chosen: np.ndarray, x: Tensor, z: Tensor, quality: Tensor, limits: Limits, report
    ) -> None:
        """Answer the components `chosen`, pairs of instance and component, which missed it.

        A linear program tells which of them have no point, and which have one as soon as limits
        that contradict each other by a hair agree. Those are solved again; what is still missed,
        the solvers of `QP` get. All in its units.
        """
        at = torch.from_numpy(chosen).to(z.device).unbind(1)
        found = z[at].double().cpu().numpy()[:, None]
        y = x.detach().double()[at][:, None]
        residual = quality[at].cpu().numpy()[:, None].copy()
        sides = [
            v.cpu().numpy()[chosen[:, 0] % len(v), chosen[:, 1]][:, None].copy() for v in limits
        ]
        state = self._made_consistent(sides, residual, report, chosen)
        inner = Report(tolerance=report.tolerance)
        again = np.flatnonzero(state == _MOVED)
        if len(again):
            some = Limits(*(torch.from_numpy(v[again]) for v in sides))
            if self.large:
                better, of_better = self._by_interior_point(y[again].cpu(), some, inner)
            else:
                better, of_better = self._on_host(y[again].cpu(), some)
            found[again], residual[again] = better.numpy(), of_better.numpy()
            for k in again[residual[again, 0] <= GOOD]:
                report.answered(int(chosen[k, 0]), "newton", float(residual[k, 0]))
        missed = np.flatnonzero((state != _EMPTY) & ~(residual[:, 0] <= GOOD))
        rest = np.column_stack([missed, np.zeros_like(missed)])
        self.exact.project_some(rest, y.cpu().numpy(), sides, found, inner, residual)
        for k, (solver, reached) in inner.answers.items():
            report.answered(int(chosen[k, 0]), solver, reached)
        for k, failure in inner.failures.items():
            report.add(int(chosen[k, 0]), failure)
        z[at] = torch.from_numpy(found[:, 0]).to(z.device)
        failed = [i for i in np.unique(chosen[:, 0]).tolist() if i in report.failures]
        z[failed] = torch.nan

    def _made_consistent(self, sides, residual, report: Report, chosen: np.ndarray) -> np.ndarray:
        """Move the limits of the components `chosen` where that is needed; who has a point."""
        state = np.full(len(chosen), _SAME)
        for k, (n, _) in enumerate(chosen):
            given = ProjectionProblem(np.zeros(self.block.size), *(v[k, 0] for v in sides))
            crossed = (given.row_lower > given.row_upper).any()
            if crossed or (given.lower > given.upper).any():
                gap, problem = np.inf, given
            else:
                problem, gap = self.exact.consistent(given)
            if not within(gap):
                report.fail(int(n), "no point satisfies all constraints", InfeasibleError)
                state[k], residual[k] = _EMPTY, np.inf
            elif problem is not given:
                sides[0][k, 0], sides[1][k, 0] = problem.row_lower, problem.row_upper
                state[k] = _MOVED
        return state

    def _by_interior_point(
        self, y: Tensor, limits: Limits, report: Report
    ) -> tuple[Tensor, Tensor]:
        sides = [v.cpu().numpy() for v in limits]
        z, quality = project_large(self.exact, y.cpu().numpy(), sides, report)
        return torch.from_numpy(z).to(y.device), torch.from_numpy(quality).to(y.device)

    def _on_host(self, y: Tensor, limits: Limits) -> tuple[Tensor, Tensor]:
        rows, size = self.rows, self.block.size
        points = np.ascontiguousarray(y.cpu().numpy()).reshape(-1, size)
        low, high = (rows.ordered(v.cpu().numpy()) for v in limits[:2])
        lower, upper = (np.ascontiguousarray(v.cpu().numpy()) for v in limits[2:])
        x, quality = np.empty_like(points), np.empty(len(points))
        block = _kernels.newton.BlockArrays(*rows.arrays, self.block.is_aux)
        args = (block, rows.norms, points, low, high, lower, upper, x, quality, _AIM)
        cost = len(points) * (200 * size + 20 * rows.matrix.nnz)
        # Python is asked between parts: for Ctrl-C, and for a line about what takes long.
        each = _STEPS * self.rows.operations + 200 * size
        together, clock = max(1, int(_PART / each)), Clock("projecting", len(points))
        for start in range(0, len(points), together):
            stop = min(start + together, len(points))
            part = partial(_part_of, _kernels.newton.newton, start)
            run(part, stop - start, cost * (stop - start) // len(points), *args)
            clock.tick(stop)
        shape = y.shape
        x, reached = torch.from_numpy(x).reshape(shape), torch.from_numpy(quality)
        quality = self._measured(x, reached.reshape(shape[:2]), limits)
        return x.to(y.device), quality.to(y.device)

    def _on_device(self, y: Tensor, limits: Limits) -> tuple[Tensor, Tensor]:
        rows = batched.Rows(*self.constants(y.device, torch.float64))
        x, quality = batched.newton(rows, y, limits, _AIM)
        if rows.aux is None:
            return x, quality
        return x, torch.maximum(quality, batched.missed_rows(rows, x, limits))

    def _measured(self, x: Tensor, quality: Tensor, limits: Limits) -> Tensor:
        """Return the residuals, at least by what rows are missed in units of their own part."""
        if not self.block.is_aux.any():
            return quality
        sides = (v.expand(*x.shape[:2], -1).flatten(0, 1).cpu().numpy() for v in limits[:2])
        missed = missed_rows(self.units.block, x.flatten(0, 1).numpy(), *sides)
        return torch.maximum(quality, torch.from_numpy(missed).reshape(quality.shape))

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
        """Normalised rows, their norms, and which variables are auxiliary; not used on the CPU."""
        if device.type == "cpu" or self.block.num_rows > _ON_DEVICE:
            return ()
        return self.tensors(device)

    def tensors(self, device: torch.device) -> batched.Rows:
        """Return what `batched.newton` needs to know of the block."""
        matrix = self.units.block.matrix
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
        R = sp.csr_array(sp.diags_array(1 / norms) @ matrix).toarray()
        aux = np.flatnonzero(self.block.is_aux)
        arrays = (R, norms, self.block.is_aux, aux)
        R, norms, is_aux, aux = (send(torch.from_numpy(v), device) for v in arrays)
        return batched.Rows(R, norms, is_aux, aux if len(aux) else None)


def _part_of(kernel: Any, at: int, start: int, stop: int, *args: Any) -> None:
    kernel(at + start, at + stop, *args)


def _far(z: Tensor, y: Tensor) -> Tensor:
    """Return where a point is so far from what it is nearest to that it may hide a missed row."""
    return z.abs().amax(-1) > _FAR * (1 + y.abs().amax(-1))
