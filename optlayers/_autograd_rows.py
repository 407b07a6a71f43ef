"""Projections as functions of the coefficients of their rows."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._nonfinite import refuse_vmap
from ._plan.compile import compile_plan, limits_with_graph
from ._plan.maps import Limits, Report
from ._polytope.joint import joint_of, lead_of
from ._polytope.polytope import Polytope
from ._projections import PROJECTIONS


def with_rows(polytope: Polytope, y: Tensor, z: Tensor) -> Tensor:
    """Return the projections `(*batch, n)`, attached to the graph of the rows.

    Args:
        polytope: Declared with an `A` or `A_eq` that requires grad.
        y: Points that were projected, `(*batch, n)`.
        z: Their projections.
    """
    both = (polytope.rows, polytope.rows_eq)
    graphs = (None if rows.source is None else rows.with_graph() for rows in both)
    found: Tensor = OfRows.apply(z, y.detach(), polytope, *graphs)  # type: ignore[assignment]
    return found


class OfRows(torch.autograd.Function):
    """Projections as functions of the coefficients; in everything else, the identity."""

    @staticmethod
    def forward(z, y, polytope, A, A_eq):
        return z.view_as(z)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, y, ctx.polytope, *rows = inputs
        ctx.like = [None if r is None else (r.shape, r.device) for r in rows]
        ctx.save_for_backward(y, output)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        refuse_vmap(grad, "the gradient of a projection")
        y, z = ctx.saved_tensors
        found = rows_vjp(ctx.polytope, y, z, grad)
        of_rows = [
            None if like is None else f.to(like[1]).sum_to_size(like[0])
            for f, like in zip(found, ctx.like, strict=True)
        ]
        return grad, None, None, *of_rows


@torch.no_grad()
def rows_vjp(polytope: Polytope, y: Tensor, z: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the vector-Jacobian products of the projection in the rows of every instance.

    With $\lambda$ the multipliers of $y - z$, $v$ and $\nu$ the products in the point and in the
    right-hand sides, all three by the same face,

    $$ \frac{\partial L}{\partial A_{ij}} = -(\lambda_i v_j + \nu_i z_j) $$

    which follows from $z - y + A^\top \lambda = 0$ and $A z = b$ on the active rows. At a kink it
    is the derivative to one side, that of the face of `vertices.py`.

    Returns:
        Of `A` and `A_eq`, `(*batch, m, n)` in float64; zero for instances without an answer.
    """
    batch, sizes = y.shape[:-1], (polytope.rows.count, polytope.rows_eq.count)
    lost, rounded = ~z.isfinite().all(-1, keepdim=True), z.dtype != torch.float64
    z, y, grad = (torch.where(lost, 0, v.double()) for v in (z, y, grad))
    onto, lead = polytope, batch
    if polytope.rows_batch:
        onto, lead = joint_of(polytope, batch), lead_of(polytope, batch)
    products = _Products(onto, lead, y.reshape(-1, onto.n), z.reshape(-1, onto.n))
    if rounded:  # what is rounded to single precision lies on no face, as double precision sees it
        z = torch.where(lost, 0, products.project_again().reshape(y.shape))
        lost = ~z.isfinite().all(-1, keepdim=True)
    v, *nu = (p.reshape(*batch, -1) for p in products.of(grad.reshape(-1, onto.n)))
    _, *lam = (p.reshape(*batch, -1) for p in products.of((y - z).reshape(-1, onto.n)))
    out = [
        -(a[..., None] * v[..., None, :] + b[..., None] * z[..., None, :])
        for a, b in zip(lam, nu, strict=True)
    ]
    return tuple(  # type: ignore[return-value]
        torch.where(lost[..., None], 0, f.reshape(*batch, m, polytope.n))
        for f, m in zip(out, sizes, strict=True)
    )


class _Products:
    """Vector-Jacobian products of a projection in its points and its declared right-hand sides.

    Args:
        polytope: Whose instances share rows.
        batch: The batch that is flattened in the points.
        y: Points, `(N, n)`, float64.
        z: Their projections.
    """

    def __init__(self, polytope: Polytope, batch: torch.Size, y: Tensor, z: Tensor):
        self.y, self.z = y, z
        self.plan = compile_plan(polytope, PROJECTIONS)
        b, b_eq = (v.expand(*batch, -1).clone() for v in (polytope.b, polytope.b_eq))
        self.sides = [b.requires_grad_(), b_eq.requires_grad_()]
        with torch.enable_grad():
            own = polytope.with_(b=b, b_eq=b_eq)
            self.limits = limits_with_graph(own, self.plan, batch, y.device, y.dtype)

    def project_again(self) -> Tensor:
        """Project in float64, for answers that were rounded."""
        fixed = [Limits(*(v.detach() for v in limit)) for limit in self.limits]
        self.z = self.plan.forward(self.y, fixed, Report())
        return self.z

    def of(self, grad: Tensor) -> list[Tensor]:
        """Return the products of `(N, n)` in the points, in `b` and in `b_eq`."""
        fixed = [Limits(*(v.detach() for v in limit)) for limit in self.limits]
        v, found = self.plan.vjp_face(self.y, self.z, fixed, grad)
        pairs = [
            (limit, part)
            for limits, parts in zip(self.limits, found, strict=True)
            for limit, part in zip(limits, parts, strict=True)
            if limit.requires_grad
        ]
        if not pairs:
            return [v, *(torch.zeros_like(s) for s in self.sides)]
        of_sides = torch.autograd.grad(
            [limit for limit, _ in pairs],
            self.sides,
            [part for _, part in pairs],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return [v, *(g.to(v.device) for g in of_sides)]
