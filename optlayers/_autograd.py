"""A plan as a function of autograd: of the points, and of right-hand sides and bounds."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._errors import InfeasibleError
from ._kernels.untraced import without_autocast
from ._nonfinite import refuse_vmap
from ._plan.compile import limits_with_graph
from ._plan.failures import Report
from ._plan.limits import Ready
from ._plan.maps import Limits
from ._polytope.polytope import Polytope

_GRAD = "the gradient of a projection"


def decide(ready: Ready, x: Tensor, report: Report) -> Tensor:
    """Return the decisions for scores `(N, n)`; NaN where `report` is told of a failure."""
    with without_autocast(x):
        return _without_point(ready.plan.forward(x, ready.limits, report), ready, report)


def project(
    ready: Ready,
    polytope: Polytope,
    batch: torch.Size,
    y: Tensor,
    report: Report,
    twice: bool = True,
) -> Tensor:
    """Return the projections of points `(N, n)`, differentiable; NaN where one failed.

    Args:
        ready: Of the polytope, for this batch.
        polytope: Its right-hand sides and bounds may require grad.
        batch: The batch that is flattened in `y`.
        y: Points.
        report: Told of failures.
        twice: Whether a derivative has one itself; not where auxiliary variables are scored.
    """
    plan, n = ready.plan, y.shape[1]
    with without_autocast(y):
        if plan.num_vars > n and torch.is_grad_enabled():  # what completes a point has a use later
            y = torch.cat([y, y.new_zeros(len(y), plan.num_vars - n)], 1)
        if torch.is_grad_enabled() and polytope.requires_grad:
            limits = limits_with_graph(polytope, plan, batch, y.device, y.dtype)
            values = [v for limit in limits for v in limit]
            z: Tensor = ProjectWithLimits.apply(y, plan, report, *values)  # type: ignore[assignment]
        elif torch.is_grad_enabled() and y.requires_grad:
            function = Project if twice else ProjectOnce
            z = function.apply(y, plan, ready.limits, report)  # type: ignore[assignment]
        else:
            z = plan.complete(y, ready.limits, report, expected(y, report))
        return _without_point(z[:, :n], ready, report)


def known(y: Tensor, z: Tensor, ready: Ready) -> Tensor:
    """Return projections `z` of points, found already, differentiable in the points."""
    return Known.apply(y, z, ready.plan, ready.limits)  # type: ignore[return-value]


def expected(y: Tensor, report: Report) -> Tensor | None:
    """Return where the projections of points `(N, n)` are expected; numbers alone.

    Where there is none, the point itself says as little.
    """
    near = report.near
    if near is None or near.numel() != y.numel():  # another question was asked on the way
        return None
    near = near.detach().to(y).reshape(y.shape)
    return torch.where(near.isfinite(), near, y.detach())


def _without_point(z: Tensor, ready: Ready, report: Report) -> Tensor:
    """Return NaN, and a failure, for instances whose constraints are known to be in conflict."""
    if ready.bad is None:
        return z
    every = len(ready.bad) == 1
    failed = range(len(z)) if every else ready.failed
    if torch.compiler.is_compiling():  # nobody to tell
        failed = ()
    for i in failed:
        report.fail(i, "no point satisfies all constraints", InfeasibleError)
    return torch.where(ready.bad[:, None], torch.nan, z)


class Project(torch.autograd.Function):
    """The projections of a plan, differentiable in the points, also twice."""

    @staticmethod
    def forward(y, plan, limits, report):
        return plan.complete(y, limits, report, expected(y, report))

    @staticmethod
    def setup_context(ctx, inputs, output):
        y, ctx.plan, ctx.limits, _ = inputs
        ctx.save_for_backward(y, output)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        _refuse_legacy_vmap(grad)
        y, z = ctx.saved_tensors
        return ProjectBackward.apply(grad, y, z, ctx.plan, ctx.limits), None, None, None


class ProjectOnce(Project):
    """The projections of a plan, differentiable once."""

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        refuse_vmap(grad, _GRAD)
        y, z = ctx.saved_tensors
        return ctx.plan.vjp(y, z, ctx.limits, grad.contiguous()), None, None, None


class Known(torch.autograd.Function):
    """Projections of a plan that are known already, differentiable as those of `Project`.

    Not for transforms of `torch.func`: what those need, torch finds out at every call, which takes
    longer than the projection.
    """

    @staticmethod
    def forward(ctx, y, z, plan, limits):  # type: ignore[override]
        ctx.plan, ctx.limits = plan, limits
        ctx.save_for_backward(y, z)
        return z

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        return Project.backward(ctx, grad)


class ProjectBackward(torch.autograd.Function):
    """The Jacobian is symmetric and constant near the point, so it is its own derivative."""

    @staticmethod
    def forward(grad, y, z, plan, limits):
        return plan.vjp(y, z, limits, grad.contiguous())

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, y, z, ctx.plan, ctx.limits = inputs
        ctx.save_for_backward(y, z)

    @staticmethod
    def vmap(info, in_dims, grad, y, z, plan, limits):  # type: ignore[override]
        """Gradients by the batch (is_grads_batched, torch.func.jacrev), one after the other."""
        parts = [
            [
                v if at is None else v.select(at, i)
                for v, at in zip((grad, y, z), in_dims, strict=False)
            ]
            for i in range(info.batch_size)
        ]
        return torch.stack([ProjectBackward.apply(*part, plan, limits) for part in parts]), 0

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        y, z = ctx.saved_tensors
        again = ProjectBackward.apply(grad, y, z, ctx.plan, ctx.limits)
        return again, None, None, None, None


class ProjectWithLimits(torch.autograd.Function):
    """Where right-hand sides or bounds require grad: they are inputs, four tensors per map."""

    @staticmethod
    def forward(y, plan, report, *values):
        return plan.complete(y, _as_limits(values), report, expected(y, report))

    @staticmethod
    def setup_context(ctx, inputs, output):
        y, ctx.plan, _, *values = inputs
        ctx.save_for_backward(y, output, *values)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        refuse_vmap(grad, _GRAD)
        y, z, *values = ctx.saved_tensors
        limits, grad = _as_limits(values), grad.contiguous()
        if ctx.needs_input_grad[0]:
            of_y, found = ctx.plan.vjp_both(y, z, limits, grad)
        else:
            of_y, found = None, ctx.plan.vjp_limits(y, z, limits, grad)
        return of_y, None, None, *(part for map_ in found for part in map_)


def _refuse_legacy_vmap(grad: Tensor) -> None:
    """Refuse gradients of is_grads_batched; those of torch.func have a rule, `vmap` above."""
    if torch.compiler.is_compiling():  # the compiler cannot ask this, and meets none
        return
    if torch._C._functorch.is_legacy_batchedtensor(grad):  # type: ignore[attr-defined]
        refuse_vmap(grad, _GRAD)


def _as_limits(values) -> list[Limits]:
    return [Limits(*values[i : i + 4]) for i in range(0, len(values), 4)]
