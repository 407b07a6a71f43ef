"""The verbs: `project`, `decode` and `plan`, as plain functions over tensors."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._decoders import DECODERS
from ._errors import (
    InfeasibleError,
    InputError,
    OptLayersError,
)
from ._feasible_set import AbstractFeasibleSet
from ._kernels.untraced import eager
from ._nonfinite import OnNonfinite, beyond_half, forget, screen, settle, tells
from ._plan.compile import compile_plan, infeasible_instances, limits_of, limits_with_graph
from ._plan.maps import Limits, Report, Table
from ._plan.plan import Plan
from ._polytope.polytope import Polytope
from ._projections import PROJECTIONS

OnFailure = Literal["raise", "nan", "fallback"]
FeasibleSet = Polytope | AbstractFeasibleSet
_TABLES = {"projection": PROJECTIONS, "decoder": DECODERS}


@dataclass(frozen=True)
class Status:
    """Which instances of a batch have an answer.

    Attributes:
        batch_shape: Leading dimensions of the call.
        failures: Index of an instance (a tuple) -> what went wrong with it.
    """

    batch_shape: tuple[int, ...] = ()
    failures: dict[tuple[int, ...], str] = field(default_factory=dict)

    @property
    def ok(self) -> Tensor:
        """Boolean tensor of the batch shape, on the CPU: True where there is an answer."""
        result = torch.ones(self.batch_shape, dtype=torch.bool)
        for index in self.failures:
            result[index] = False
        return result


def plan(polytope: Polytope, kind: Literal["projection", "decoder"] = "projection") -> Plan:
    """The compiled plan of a polytope: which block goes to which map. Compiled once, then cached.

    Examples:
        >>> import optlayers as ol
        >>> print(ol.plan(ol.cardinality(4, at_most=2)).explain())
        Projection plan: 4 variables, 1 block
          1 x 4 variables, 1 row -> OneRow
              not Box: it has coupling rows
              not Simplex: a bound other than those of a simplex can be active
    """
    if kind not in _TABLES:
        raise InputError(f"`kind` must be one of {tuple(_TABLES)}. Got {kind!r}.")
    return compile_plan(polytope, _TABLES[kind])


def project(
    feasible_set: FeasibleSet,
    y: Tensor,
    *,
    on_failure: Literal["raise", "nan"] = "raise",
    on_nonfinite: OnNonfinite = "raise",
    return_status: bool = False,
) -> Any:
    r"""The point of a polytope nearest to `y`; for a structured set, of its relaxation.

    $$ \Pi_P(y) = \arg\min_{z \in P} \tfrac12 \|z - y\|_2^2 $$

    Exact: closed forms where the structure of (A, b) allows (see `plan`), else a QP accepted by
    its residual. Differentiable by the active face: in `y`, also twice, and in those of `b`,
    `b_eq`, `lower` and `upper` that were declared with tensors that require grad. At a kink, where
    the derivative jumps, it is that of the smallest face, a limit of derivatives nearby. Blocks
    with auxiliary variables cost one linear program per instance for it.

    Args:
        feasible_set: A polytope, whose batch dimensions broadcast against those of `y`, or a
            structured set.
        y: `(..., n)`, any float type; structured sets name their own shape. Half precision is
            computed in float32.
        on_failure: "raise", or "nan": put NaN for the instances without an answer.
        on_nonfinite: What NaN and inf in `y` are. "raise": failures, subject to `on_failure`; the
            check is one pass, and one synchronisation on CUDA. "propagate": NaN for that instance,
            with a zero gradient, nothing is raised and nothing synchronised; also under
            `torch.compile`. Minus infinity is read as a limit by boxes, simplices and single rows
            with a finite answer, and is not finite elsewhere.
        return_status: Also return a `Status`.

    Returns:
        The shape, dtype and device of `y`; with `return_status`, also the status.

    Raises:
        InputError: If `y` has another last dimension, is not a float tensor, or is not finite; if
            float16 cannot hold the answer.
        InfeasibleError: If an instance has no point; names the instance and rows in conflict.
        SolverFailed: If no exact solver reached its accuracy; names the instance, with residuals.

    Examples:
        >>> import optlayers as ol
        >>> ol.project(ol.simplex(3), torch.tensor([1.0, 0.5, -1.0]))
        tensor([0.7500, 0.2500, 0.0000])
    """
    if isinstance(feasible_set, AbstractFeasibleSet):
        z, status = _project_structured(feasible_set, y, on_failure, on_nonfinite)
    else:
        z, status = _call(feasible_set, PROJECTIONS, y, "y", on_failure, on_nonfinite)
    return (z, status) if return_status else z


def decode(
    feasible_set: FeasibleSet,
    scores: Tensor,
    *,
    decoder: Callable[[Tensor], Tensor] | None = None,
    on_failure: OnFailure = "raise",
    on_nonfinite: OnNonfinite = "raise",
    return_status: bool = False,
) -> Any:
    r"""The best structure, $\hat z \in \arg\max_{z \in Z} z \cdot s$; equal scores, equal answer.

    Integral polytopes return integers, others a vertex. Not differentiable: see `StructuredArgmax`.

    Args:
        feasible_set: A `Polytope` or a structured set.
        scores: `(..., n)` for a polytope; structured sets name their own shape.
        decoder: A callable to use instead, from scores to structures of the same shape.
        on_failure: "raise"; "nan": NaN for instances without an answer; "fallback": zeros there.
        on_nonfinite: What NaN and inf in `scores` are, as for `project`. Minus infinity marks what
            must not be chosen, and where it leaves nothing to choose the instance is infeasible;
            with "propagate", NaN unless a solver on the host finds out. Padding of structured sets
            may hold anything.
        return_status: Also return a `Status`.

    Raises:
        InputError: If `scores` has another last dimension, is not a float tensor, or is not finite;
            if float16 cannot hold the answer.
        InfeasibleError: If an instance has no point; names the instance and rows in conflict.
        UnboundedError: If the scores of an instance can grow without limit.

    Examples:
        >>> import optlayers as ol
        >>> ol.decode(ol.cardinality(4, at_most=2), torch.tensor([0.1, 0.3, -0.2, 0.2]))
        tensor([0., 1., 0., 1.])
    """
    scores = scores.detach()
    if decoder is None and isinstance(feasible_set, Polytope):
        z_hat, status = _call(feasible_set, DECODERS, scores, "scores", on_failure, on_nonfinite)
        return (z_hat, status) if return_status else z_hat
    if not isinstance(feasible_set, Polytope | AbstractFeasibleSet):
        raise InputError(
            f"Expected a Polytope or a structured set. Got {type(feasible_set).__name__}."
        )
    event_dim, report = feasible_set.event_dim, Report()
    batch = scores.shape[: scores.ndim - event_dim]
    free = None if isinstance(feasible_set, Polytope) else feasible_set.free_parts(scores.device)
    screened = screen(scores, event_dim, "scores", on_nonfinite, report, free)
    if report.failures and on_failure == "raise":
        _handle(None, scores, report, batch, on_failure)
    if decoder is not None:
        z_hat = decoder(screened.x)
    else:
        assert isinstance(feasible_set, AbstractFeasibleSet)
        z_hat = feasible_set.decode_instances(screened.x, report)
    if z_hat.shape != scores.shape:
        raise InputError(
            f"The decoder must return the shape of the scores, {tuple(scores.shape)}. "
            f"Got {tuple(z_hat.shape)}."
        )
    # A decoder of one's own, and a set that names its failures, know what minus infinity means.
    least = 0.0 if decoder is None and _tells_nothing(feasible_set) else torch.inf
    z_hat = settle(z_hat.to(scores), screened, event_dim, on_nonfinite, report, least)
    status = Status(tuple(batch))
    forget(report, on_nonfinite, screened.x, event_dim)
    if report.failures:
        z_hat, status = _handle(None, z_hat, report, batch, on_failure)
    return (z_hat, status) if return_status else z_hat


def _tells_nothing(feasible_set: FeasibleSet) -> bool:
    return type(feasible_set).decode_instances is AbstractFeasibleSet.decode_instances  # type: ignore[union-attr]


def _project_structured(
    feasible_set: AbstractFeasibleSet, y: Tensor, on_failure: str, on_nonfinite: str
):
    """By the projection of the set, if it has one of its own, else by its relaxation."""
    event_dim, report = feasible_set.event_dim, Report()
    batch, free = y.shape[: y.ndim - event_dim], feasible_set.free_parts(y.device)
    screened = screen(y, event_dim, "y", on_nonfinite, report, free)
    if report.failures and on_failure == "raise":
        _handle(None, y, report, batch, on_failure)
    z = feasible_set.project_instances(screened.x, report)
    if z is None:
        flat = y if event_dim == 1 else y.flatten(-event_dim)
        if free is not None:
            flat = torch.where(free if event_dim == 1 else free.flatten(-event_dim), flat, 0)
        relaxation = feasible_set.relaxation
        z, status = _call(relaxation, PROJECTIONS, flat, "y", on_failure, on_nonfinite)
        return z.reshape(*z.shape[:-1], *y.shape[y.ndim - event_dim :]), status
    z = settle(z, screened, event_dim, on_nonfinite, report)
    forget(report, on_nonfinite, screened.x, event_dim)
    if report.failures:
        return _handle(None, z, report, batch, on_failure)
    return z, Status(tuple(batch))


# ---------------------------------------------------------------------- one call of a plan


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(y, plan, limits, report):
        return plan.forward(y, limits, report)

    @staticmethod
    def setup_context(ctx, inputs, output):
        y, ctx.plan, ctx.limits, _ = inputs
        ctx.save_for_backward(y, output)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        y, z = ctx.saved_tensors
        return _ProjectBackward.apply(grad, y, z, ctx.plan, ctx.limits), None, None, None


class _ProjectBackward(torch.autograd.Function):
    """The Jacobian is symmetric and constant near the point, so it is its own derivative."""

    @staticmethod
    def forward(grad, y, z, plan, limits):
        return plan.vjp(y, z, limits, grad.contiguous())

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, y, z, ctx.plan, ctx.limits = inputs
        ctx.save_for_backward(y, z)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        y, z = ctx.saved_tensors
        again = _ProjectBackward.apply(grad, y, z, ctx.plan, ctx.limits)
        return again, None, None, None, None


class _ProjectWithLimits(torch.autograd.Function):
    """Where right-hand sides or bounds require grad: they are inputs, four tensors per map."""

    @staticmethod
    def forward(y, plan, report, *values):
        return plan.forward(y, _as_limits(values), report)

    @staticmethod
    def setup_context(ctx, inputs, output):
        y, ctx.plan, _, *values = inputs
        ctx.save_for_backward(y, output, *values)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        y, z, *values = ctx.saved_tensors
        limits, grad = _as_limits(values), grad.contiguous()
        of_y = ctx.plan.vjp(y, z, limits, grad) if ctx.needs_input_grad[0] else None
        of_limits = [part for map_ in ctx.plan.vjp_limits(y, z, limits, grad) for part in map_]
        return of_y, None, None, *of_limits


def _as_limits(values) -> list[Limits]:
    return [Limits(*values[i : i + 4]) for i in range(0, len(values), 4)]


def _check(polytope: Polytope, x: Tensor, name: str) -> None:
    if not isinstance(polytope, Polytope):
        raise InputError(f"Expected a Polytope. Got {type(polytope).__name__}.")
    if not (isinstance(x, Tensor) and x.is_floating_point()):
        found = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"`{name}` must be a tensor of floats. Got {found}.")
    if x.ndim == 0 or x.shape[-1] != polytope.n:
        raise InputError(
            f"`{name}` must have shape (..., {polytope.n}), one entry per variable of the "
            f"polytope. Got {tuple(x.shape)}."
        )


def _batched_like(polytope: Polytope, batch: torch.Size) -> Polytope:
    """The polytope with its batch dimensions expanded to those of the call."""
    if polytope.batch_shape in (torch.Size(), batch):
        return polytope
    key = ("expanded", batch)
    if key not in polytope._local:
        names = ("b", "b_eq", "lower", "upper")
        values = {k: v.expand(*batch, -1) for k in names if (v := polytope._with_graph(k)).ndim > 1}
        polytope._local[key] = polytope.with_(**values)
    return polytope._local[key]


@eager
def _compile(polytope: Polytope, table: Table, device: torch.device, dtype: torch.dtype) -> None:
    """Everything that looks at constraints, ahead of a call; not part of a traced graph."""
    compiled = compile_plan(polytope, table)
    limits = limits_of(polytope, compiled, device, dtype)
    compiled.index(device)
    for map_ in compiled.maps:
        map_.constants(device, dtype)
    bad = infeasible_instances(polytope, compiled)
    bad = None if bad is None else bad.to(device)
    bounds = torch.stack(torch.broadcast_tensors(polytope.lower, polytope.upper))[..., : polytope.n]
    fits_half = bool((bounds.abs() < 65504.0).all())
    least = _least(polytope).to(device, dtype) if table is DECODERS else None
    key = (table.name, str(device), dtype)
    polytope._local[key] = (table.version, compiled, limits, bad, least, fits_half)


def _least(polytope: Polytope) -> Tensor:
    """`(N or 1, n)`: the least value that each variable can be decided to have."""
    lower = (
        polytope.lower
        if polytope.lower.ndim == 1
        else polytope.lower.expand(*polytope.batch_shape, -1)
    )
    lower = lower[..., : polytope.n].reshape(-1, polytope.n)
    return torch.ceil(lower - 1e-9) if polytope.integral else lower


def prepare(feasible_set: FeasibleSet, relaxation: Polytope | None, like: Tensor) -> None:
    """Compile what a layer needs on the device and in the dtype of `like`, before it is traced."""
    polytopes = [(relaxation, PROJECTIONS)] if relaxation is not None else []
    if isinstance(feasible_set, Polytope):
        polytopes.append((feasible_set, DECODERS))
    for polytope, table in polytopes:
        if 0 in polytope.batch_shape:
            continue
        _prepared(polytope, table, like)


def _prepared(polytope: Polytope, table: Table, x: Tensor) -> tuple:
    dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    key = (table.name, str(x.device), dtype)
    if key not in polytope._local or polytope._local[key][0] != table.version:
        _compile(polytope, table, x.device, dtype)
    return polytope._local[key]


def _call(
    polytope: Polytope, table: Table, x: Tensor, name: str, on_failure: str, on_nonfinite: str
):
    _check(polytope, x, name)
    try:
        batch = torch.broadcast_shapes(x.shape[:-1], polytope.batch_shape)
    except torch.OutOfMemoryError:  # it is a RuntimeError too
        raise
    except RuntimeError:
        raise InputError(
            f"The leading dimensions of `{name}`, {tuple(x.shape[:-1])}, do not broadcast against "
            f"the batch of the polytope, {tuple(polytope.batch_shape)}."
        ) from None
    if 0 in batch:
        return x.expand(*batch, -1).clone(), Status(tuple(batch))
    polytope = _batched_like(polytope, batch)
    _, compiled, limits, bad, least, fits_half = _prepared(polytope, table, x)
    dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    flat = x.expand(*batch, -1).reshape(-1, polytope.n).to(dtype)
    report = Report()
    screened = screen(flat, 1, name, on_nonfinite, report)
    flat = screened.x
    if report.failures and on_failure == "raise":
        _handle(polytope, flat, report, batch, on_failure)
    with torch.autocast(x.device.type, enabled=False):
        if torch.is_grad_enabled() and polytope._graphs and table is PROJECTIONS:
            parts = limits_with_graph(polytope, compiled, x.device, dtype)
            z = _ProjectWithLimits.apply(
                flat, compiled, report, *(v for limit in parts for v in limit)
            )
        elif torch.is_grad_enabled() and x.requires_grad:
            z = _Project.apply(flat, compiled, limits, report)
        else:
            z = compiled.forward(flat, limits, report)
        if bad is not None:
            z = torch.where(bad[:, None], torch.nan, z)
            failed = torch.arange(len(flat)) if len(bad) == 1 else bad.nonzero()[:, 0].cpu()
            for i in failed.tolist():
                report.fail(i, "no point satisfies all constraints", InfeasibleError)
    z = settle(z, screened, 1, on_nonfinite, report, least)
    if x.dtype == torch.float16 and not fits_half and tells(on_nonfinite):
        z = beyond_half(z, report)
    forget(report, on_nonfinite, flat, 1)
    status = Status(tuple(batch))
    if report.failures:
        z, status = _handle(polytope, z, report, batch, on_failure)
    return z.to(x.dtype).reshape(*batch, polytope.n), status


# ---------------------------------------------------------------------- failures


def _handle(
    polytope: Polytope | None, z: Tensor, report: Report, batch: torch.Size, on_failure: str
):
    """Apply the policy to the instances that failed."""
    index = {i: tuple(int(k) for k in np.unravel_index(i, batch)) for i in report.failures}
    failures = {index[i]: reason for i, reason in sorted(report.failures.items())}
    if on_failure == "raise":
        _raise(polytope, failures, report.kinds[min(report.failures)])
    if on_failure not in ("nan", "fallback"):
        raise InputError(f"`on_failure` must be 'raise', 'nan' or 'fallback'. Got {on_failure!r}.")
    if on_failure == "fallback":
        keep = torch.ones(math.prod(batch), 1, dtype=torch.bool)
        keep[list(report.failures)] = False
        z = torch.where(keep.to(z.device), z.reshape(len(keep), -1), 0).reshape(z.shape)
    return z, Status(tuple(batch), failures)


def _raise(
    polytope: Polytope | None, failures: dict[tuple[int, ...], str], kind: type[OptLayersError]
) -> NoReturn:
    """Raise for the first failure; an infeasible instance is told which rows are in conflict."""
    where, reason = next(iter(failures.items()))
    name = f"Instance {where[0] if len(where) == 1 else where}" if where else "The instance"
    more = f" {len(failures) - 1} more instances failed." if len(failures) > 1 else ""
    if kind is InfeasibleError and polytope is not None:
        try:
            _instance(polytope, where).check_feasible()
        except InfeasibleError as error:
            raise InfeasibleError(f"{name}: {error}{more}") from None
        # The relaxation has points, so what is missing is an integral one, or one the scores allow.
    raise kind(
        f"{name}: {reason}.{more} With on_failure='nan' the other instances keep their answers."
    )


def _instance(polytope: Polytope, where: tuple[int, ...]) -> Polytope:
    """One instance of a batched polytope."""
    if not polytope.batch_shape:
        return polytope
    values = {
        k: getattr(polytope, k).expand(*polytope.batch_shape, -1)[where]
        for k in ("b", "b_eq", "lower", "upper")
    }
    return polytope.with_(**values)
