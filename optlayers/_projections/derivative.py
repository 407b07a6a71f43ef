r"""Derivative of any projection, by the face on which its answer lies.

Near a point where the projection is differentiable, the rows A and bounds active at the answer stay
active, and the others free (F):

$$ dz_F = (I - R_{AF}^+ R_{AF})\, dy_F + R_{AF}^+ (dc_A - R_{A\bar F}\, dz_{\bar F}), \qquad
   dz_{\bar F} = d(\text{bounds}) $$

At a kink everything active is kept for the derivative in y, which is the limit of derivatives from
inside the smallest face. Where more rows and bounds are active than are independent, as at
vertices, the derivative in c and in the bounds keeps those that the multipliers of $y - z$ need,
and of these as many as are independent (see `vertices.py`). The vector-Jacobian product needs one
vector per instance, $\nu = (R_{AF}^+)^\top g_F$.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap, Limits
from .derivative_face import Face, face_of
from .derivative_rows import rows_of, shortest, transposed
from .derivative_systems import Blocks, beside, independent
from .units import Units, units_of
from .vertices import SMALL, Basis, basis_of, one_row_basis, solve_basis

_LOST = 1e-10  # the same of an eigenvalue of a Gram matrix, relative to the largest


class Gradients(NamedTuple):
    """Gradients of the point and of the four limits, in the layout of a block."""

    y: Tensor
    row_lower: Tensor
    row_upper: Tensor
    lower: Tensor
    upper: Tensor


class Projection(AbstractBlockMap):
    """A projection, whose derivative with respect to the limits its active face tells."""

    def vjp_limits(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Limits:
        """Return the vector-Jacobian product of the limits, each in its own shape."""
        return self.vjp_face(x, z, limits, grad)[1]

    def vjp_face(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> tuple[Tensor, Limits]:
        """Return the products in the point and in the limits, by one basis at a vertex."""
        found = face_vjp(self.block, x, z, limits, grad)
        return found.y, _in_shape_of(limits, found)


class ByFace(Projection):
    """A projection whose derivative in the point, too, is told by the active face."""

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Project the gradient onto the directions in which the active face is free."""
        return tangent(self.block, x, z, limits, grad)

    def vjp_both(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> tuple[Tensor, Limits]:
        """Return `vjp` and `vjp_limits`, looking for the face once: most of their work."""
        found = _faced(self.block, x, z, limits, grad)
        return _tangent(found), _in_shape_of(limits, _of_face(found))


class _Faced(NamedTuple):
    """An answer and its face, in units that suit auxiliary variables; what both products need."""

    block: Block
    r: Tensor
    face: Face
    g: Tensor
    nu: Tensor
    units: Units | None
    dtype: torch.dtype


def _faced(block: Block, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> _Faced:
    # Which rows are active, and the rank of auxiliary columns, must not depend on their units.
    block, limits, units = _in_units(block, limits)
    r, z = _pulls(block, x, z, units)
    face, g = face_of(block, z, r, limits), _own(block, grad)
    nu = _multipliers(block, face, face.free, face.active, g)
    return _Faced(block, r, face, g, nu, units, grad.dtype)


def tangent(block: Block, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
    """Return the vector-Jacobian product of the projection with respect to its point.

    Args:
        block: Rows of any kind.
        x: `(N, count, size)`, the point that was projected.
        z: `(N, count, size)`, the answer; entries of auxiliary variables are a guess.
        limits: As the projection had them.
        grad: `(N, count, size)`, of the answer.
    """
    return _tangent(_faced(block, x, z, limits, grad))


def _tangent(found: _Faced) -> Tensor:
    v = found.g - _pull(found.block, found.nu)
    return torch.where(found.face.free, v, 0.0).to(found.dtype)


def face_vjp(block: Block, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Gradients:
    """Return the vector-Jacobian product of the projection and of its limits at its answer `z`.

    Args:
        block: Rows of any kind.
        x: `(N, count, size)`, the point that was projected.
        z: `(N, count, size)`, the answer; entries of auxiliary variables are a guess.
        limits: As the projection had them.
        grad: `(N, count, size)`, of the answer.
    """
    return _of_face(_faced(block, x, z, limits, grad))


def _of_face(faced: _Faced) -> Gradients:
    block, r, face, g, nu, units, dtype = faced
    if face.lone:
        lone = face.low, face.high
        basis = one_row_basis(block.weights, r, face.lower, face.upper, *lone)
        nu = _multipliers(block, face, basis.free, basis.active, g)
        # What holds both sides of a limit that is no equality: the multiplier tells which.
        tau = _multipliers(block, face, basis.free, basis.active, r)
    else:
        nu, tau = nu.clone(), torch.zeros_like(nu)
        basis = Basis(face.free.clone(), face.active.clone())
        for n, c, found in _vertices(block, face, r):
            basis.free[n, c], basis.active[n, c] = found.free, found.active
            nu[n, c] = solve_basis(block, found, g[n, c])
    nu = torch.where(basis.active, nu, 0.0)
    v = g - _pull(block, nu)
    rest = r - _pull(block, tau) if face.lone else torch.zeros_like(r)
    held = ~basis.free
    rows = _sides(face.low, face.high, tau, torch.where(basis.active, nu, 0.0))
    bounds = _sides(face.lower & held, face.upper & held, rest, torch.where(held, v, 0.0))
    parts = (torch.where(basis.free, v, 0.0), *rows, *bounds)
    made = Gradients(*(part.to(dtype) for part in parts))
    return made if units is None else Gradients(made.y, *units.limits(Limits(*made[1:])))


def _in_units(block: Block, limits: Limits) -> tuple[Block, Limits, Units | None]:
    """Return the block and its limits in units that suit its auxiliary variables, if it has any."""
    if not block.is_aux.any():
        return block, limits, None
    units = block.kept("units", lambda: units_of(block))
    return units.block, units.limits(Limits(*(v.double() for v in limits))), units


def _pulls(block: Block, x: Tensor, z: Tensor, units: Units | None) -> tuple[Tensor, Tensor]:
    """Return y - z, and what auxiliary variables are worth in its place; and z in the same units.

    Multipliers of what is active add up to that.
    """
    if units is None:
        return x.double() - z.double(), z
    aux, x, z = block.on("is_aux", z.device), x.double(), units.of(z)
    return torch.where(aux, units.worth(x), x - z.double()), z


def scored_tangent(block: Block, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
    r"""Return `tangent`, and at auxiliary variables the product in what those are worth.

    With $v$ the first on the free variables F, that is $w$ in $R_{A \psi} w = -R_{A z} v$: what
    auxiliary variables do while z moves along $v$ on its face. The shortest one, where the face
    leaves them a choice; nothing in z depends on that.
    """
    return _scored_tangent(_faced(block, x, z, limits, grad))


def both_scored(
    block: Block, x: Tensor, z: Tensor, limits: Limits, grad: Tensor
) -> tuple[Tensor, Limits]:
    """Return `scored_tangent` and the product in the limits."""
    found = _faced(block, x, z, limits, grad)
    return _scored_tangent(found), _in_shape_of(limits, _of_face(found))


def _in_shape_of(limits: Limits, found: Gradients) -> Limits:
    return Limits(*(g.sum_to_size(v.shape) for g, v in zip(found[1:], limits, strict=True)))


def _scored_tangent(found: _Faced) -> Tensor:
    block, face, units = found.block, found.face, found.units
    assert units is not None  # there are auxiliary variables
    v = torch.where(face.free, found.g - _pull(block, found.nu), 0.0)
    active, free, moves = (t.flatten(0, 1).cpu().numpy() for t in (face.active, face.free, v))
    moved = beside(block, active, free, moves)
    along = units.declared(torch.from_numpy(moved).to(v).reshape(v.shape))
    return torch.where(block.on("is_aux", v.device), along, v).to(found.dtype)


def _own(block: Block, v: Tensor) -> Tensor:
    if not block.is_aux.any():
        return v.double()
    return torch.where(block.on("is_aux", v.device), 0.0, v.double())


def _sides(low: Tensor, high: Tensor, multiplier: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """To the side that is active; where both are, to the one that pushes, or in halves."""
    both = low & high
    share = torch.where(multiplier < 0, 1.0, torch.where(multiplier > 0, 0.0, 0.5))
    of_low = torch.where(both, share, low.to(v)) * v
    of_high = torch.where(both, 1 - share, high.to(v)) * v
    return of_low, of_high


def _multipliers(block: Block, face: Face, free: Tensor, active: Tensor, g: Tensor) -> Tensor:
    """Return `(N, count, num_rows)`, the shortest nu with R_AF^T nu = g_F, in least squares."""
    if face.lone:
        if block.weights is None:
            return torch.zeros_like(active, dtype=torch.float64)
        return _one_row(block.on("weights", g.device).to(g.dtype), free, active, g)
    flat = (v.flatten(0, 1) for v in (free, active, g))
    nu = shortest(block, *flat, system=face.system)
    return torch.where(active, nu.reshape(active.shape), 0.0)


def _pull(block: Block, nu: Tensor) -> Tensor | float:
    if not block.num_rows:
        return 0.0
    if block.weights is not None:
        return block.on("weights", nu.device).to(nu.dtype) * nu
    return transposed(block, nu)


def _vertices(block: Block, face: Face, r: Tensor):
    """Instance, component and basis wherever rows are lost with the variables at bounds."""
    if block.size > SMALL:
        return
    if r.device.type == "cpu" and not bool((face.lower | face.upper).any()):
        return  # nothing to lose rows with
    if block.is_aux.any():
        masks = (v.flatten(0, 1).cpu().numpy() for v in (face.active, face.free))
        sure = independent(Blocks.of(block.matrix), *masks).reshape(r.shape[:2])
        if sure.all():
            return
    R = rows_of(block, r)
    unit = R / R.norm(dim=1, keepdim=True)
    rows = torch.where(face.active[..., None], unit, 0.0)

    def rank(chosen: Tensor) -> Tensor:
        part = torch.where(chosen[..., None, :], rows, 0.0)
        return (torch.linalg.eigvalsh(part @ part.mT) > _LOST).sum(-1)

    lost = rank(face.free) < rank(~(face.lower & face.upper))
    for n, c in lost.nonzero().tolist():
        masks = (v[n, c].cpu().numpy() for v in face[:4])
        yield n, c, basis_of(block, r[n, c].cpu().numpy(), *masks)


def _one_row(a: Tensor, free: Tensor, active: Tensor, g: Tensor) -> Tensor:
    a = torch.where(free, a, 0.0)
    norm = (a * a).sum(-1, keepdim=True)
    return torch.where(active & (norm > 0), (a * g).sum(-1, keepdim=True), 0.0) / torch.where(
        norm > 0, norm, 1.0
    )
