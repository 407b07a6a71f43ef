"""Compares a projection with exact QPs on random points: residuals, distances, times; one table."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._errors import InputError, SolverFailed
from .._feasible_set import FeasibleSet, as_set
from .._functional import project
from .._polytope.polytope import Polytope
from .certificate import Certificate, certify
from .references import check_installed, solve


@dataclass(frozen=True)
class ValidationRow:
    """One method: its largest residuals, its largest distance to the projection, its time.

    Attributes:
        method: `project` (or `projection`, the user's), or the name of a solver.
        primal: Largest primal residual, as in `Certificate`.
        dual: Largest dual residual.
        complementarity: Largest complementarity residual.
        distance: Largest Euclidean distance between the projection and this solver's points; None
            in the row of the projection itself.
        ms: Milliseconds per sample, after a first call that is not counted.
        failed: Points that the solver did not find; they count in no other column.
    """

    method: str
    primal: float
    dual: float
    complementarity: float
    distance: float | None
    ms: float
    failed: int


@dataclass(frozen=True)
class Validation:
    """The table that `validate` returns; `print` it, or use `to_dict()` for JSON.

    Attributes:
        polytope: What was projected onto, in words.
        samples: Number of points.
        dtype: Their dtype.
        tol: Tolerance of the verdict.
        rows: The projection first, then one row per solver.
        problems: What speaks against the projection; empty if nothing does.
    """

    polytope: str
    samples: int
    dtype: str
    tol: float
    rows: tuple[ValidationRow, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether residuals and distances are within the tolerance."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and strings."""
        return asdict(self) | {"ok": self.ok}

    def __str__(self) -> str:
        head = ("method", "primal", "dual", "compl.", "distance", "ms/sample", "failed")
        table: list[tuple[str, ...]] = [head]
        for row in self.rows:
            numbers = (row.primal, row.dual, row.complementarity)
            distance = "-" if row.distance is None else f"{row.distance:.1e}"
            cells = (*(f"{v:.1e}" for v in numbers), distance, f"{row.ms:.4g}", str(row.failed))
            table.append((row.method, *cells))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [f"{self.polytope}: {self.samples} points, {self.dtype}, tolerance {self.tol:.1e}"]
        for cells in table:
            right = (c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))
            lines.append("  ".join([cells[0].ljust(widths[0]), *right]))
        return "\n".join([*lines, *(f"not ok: {p}" for p in self.problems), *["ok"] * self.ok])


def validate(
    polytope: FeasibleSet,
    samples: int = 100,
    against: Sequence[str] = ("osqp", "cvxpy"),
    projection: Callable[[Tensor], Tensor] | None = None,
    scale: float = 2.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    tol: float | None = None,
) -> Validation:
    """Compare a projection with exact QPs on random points, half of them full of ties.

    Cost: one QP per sample and solver.

    Args:
        polytope: What to project onto; if it has batch dimensions, every instance gets `samples`.
            Of a structured set, its own projection onto its relaxation.
        samples: Number of points: normal around the middle of the bounds, every second one rounded
            to a grid of halves, because ties and boundary points are where projections go wrong.
        against: Solvers to compare with: `"osqp"`, `"cvxpy"` (Clarabel), `"cvxpylayers"` (SCS).
        projection: A callable `y -> z` of your own, on flat points `(..., n)`; by default
            `optlayers.project`.
        scale: Standard deviation of the points.
        seed: Seed of the points.
        dtype: Dtype in which the projection computes; the solvers always use float64.
        tol: Tolerance of the verdict `ok`: residuals at most `tol * max(1, max |y|)`, distances ten
            times that beyond what the solver's own certificate allows it to be off. By default
            1e-6, or 100 times the machine epsilon if that is more.

    Raises:
        InputError: If `against` names an unknown solver, or `samples` is not positive.
        SolverNotInstalled: If a solver is missing.
        SolverFailed: If a solver found none of the points.

    Examples:
        >>> import optlayers as ol
        >>> ol.validate(ol.simplex(4), samples=10, against=("osqp",)).ok
        True
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise InputError(f"`samples` must be an integer, at least 1. Got {_kind(samples)}.")
    feasible_set = as_set(polytope)
    against = (against,) if isinstance(against, str) else tuple(against)
    for name in against:
        check_installed(name)
    tol = max(1e-6, 100 * torch.finfo(dtype).eps) if tol is None else tol
    title, polytope = repr(polytope), feasible_set.relaxation
    y = _points(polytope, samples, scale, seed).to(dtype)
    z, ms = _timed(projection or partial(_project_flat, feasible_set), y)
    polytope = feasible_set.relaxation  # some sets find rows while they project
    certificate = certify(polytope, y, z)
    name = "project" if projection is None else "projection"
    rows, problems = [_row(name, certificate, None, ms, np.zeros(y.shape[:-1], dtype=bool))], []
    if not certificate.holds(tol):
        at = list(certificate.worst())
        problems.append(f"residual {float(certificate.residual.max()):.1e} at sample {at}")
    flat = y.reshape(-1, polytope.n).double()
    for name in against:
        reference, ms = solve(name, polytope, y)
        judged = certify(polytope, y, reference)
        failed = ~np.isfinite(judged.distance.numpy())
        if failed.all():
            raise SolverFailed(
                f"{name} found no projection onto {polytope} for any of {len(flat)} points."
            )
        distance = (z.detach().cpu().double() - reference).norm(dim=-1)
        rows.append(_row(name, judged, distance, ms, failed))
        allowed = 10 * tol * judged.scale + judged.distance
        if bool((~(distance <= allowed) & ~torch.from_numpy(failed)).any()):
            problems.append(f"distance {rows[-1].distance:.1e} to {name}")
    dtype_name = str(dtype).removeprefix("torch.")
    return Validation(title, len(flat), dtype_name, tol, tuple(rows), tuple(problems))


def _kind(given: Any) -> str:
    """Say what was given, without printing a tensor."""
    return repr(given) if isinstance(given, int | float | str) else type(given).__name__


def _project_flat(feasible_set: FeasibleSet, y: Tensor) -> Tensor:
    """Project flattened structures by `optlayers.project`."""
    shaped = y.reshape(*y.shape[:-1], *as_set(feasible_set).event_shape)
    return project(feasible_set, shaped).reshape(y.shape)


def _row(
    name, certificate: Certificate, distance: Tensor | None, ms: float, failed
) -> ValidationRow:
    kept = torch.from_numpy(~failed)
    primal, dual, complementarity = (
        float(values[kept].max())
        for values in (certificate.primal, certificate.dual, certificate.complementarity)
    )
    apart = None if distance is None else float(distance[kept].max())
    return ValidationRow(name, primal, dual, complementarity, apart, ms, int(failed.sum()))


def _points(polytope: Polytope, samples: int, scale: float, seed: int) -> Tensor:
    """Draw `(samples, *batch, n)` points around the middle of the bounds, half on a grid."""
    lower, upper = (v.cpu()[..., : polytope.n] for v in (polytope.lower, polytope.upper))
    middle = (lower + upper) / 2
    nearest = torch.zeros_like(middle).clamp(lower, upper)
    middle = torch.where((upper - lower).abs() <= 100, middle, nearest)
    generator = torch.Generator().manual_seed(seed)
    shape = (samples, *polytope.batch_shape, polytope.n)
    y = middle + scale * torch.randn(shape, dtype=torch.float64, generator=generator, device="cpu")
    y[1::2] = (2 * y[1::2]).round() / 2
    return y


def _timed(function: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Tensor, float]:
    """Return the result for all points, and milliseconds per point, compilation left out."""
    function(y)
    start = time.perf_counter()
    z = function(y)
    if z.is_cuda:
        torch.cuda.synchronize(z.device)
    return z, 1e3 * (time.perf_counter() - start) / y[..., 0].numel()
