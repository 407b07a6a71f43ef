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

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap, Limits
from .derivative_aux import free_auxiliaries
from .derivative_systems import Blocks, Saddle, beside, independent
from .units import Units, units_of
from .vertices import Basis, basis_of, one_row_basis, solve_basis

_DENSE = 4_000_000  # entries of one instance's system; beyond, it is kept sparse
_CHUNK = 32_000_000  # entries of a batch of systems made at a time
_ROUNDING = 1e-14  # of a slack, relative to the largest auxiliary variable
_RANK = 1e-9  # a smaller singular value is zero; the largest entry of each row is 1
_LOST = 1e-10  # the same of an eigenvalue of a Gram matrix, relative to the largest
_PULLED = 1e-10  # of a gradient, by multipliers on auxiliary variables: then by another way
_DAMPING, _PASSES = 1e-8, 4  # a dependent row costs accuracy only where these do not suffice
_MISSED = 1e-11  # of the rows by the derivative, relative to the gradient: then once more, slowly
_FAINT = 1e-15  # damping where nothing is squared
_SMALL = 2000  # variables up to which the multipliers at a vertex are looked for


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


class _Face(NamedTuple):
    """Where an answer lies, `(N, count, size)` and `(N, count, num_rows)`."""

    lower: Tensor
    upper: Tensor
    low: Tensor
    high: Tensor
    lone: bool  # one row, or none, and no auxiliary variable: closed forms
    system: Saddle | None  # of most instances, where there are auxiliary variables

    @property
    def free(self) -> Tensor:
        return ~(self.lower | self.upper)

    @property
    def active(self) -> Tensor:
        return self.low | self.high


class _Faced(NamedTuple):
    """An answer and its face, in units that suit auxiliary variables; what both products need."""

    block: Block
    r: Tensor
    face: _Face
    g: Tensor
    nu: Tensor
    units: Units | None
    dtype: torch.dtype


def _faced(block: Block, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> _Faced:
    # Which rows are active, and the rank of auxiliary columns, must not depend on their units.
    block, limits, units = _in_units(block, limits)
    r, z = _pulls(block, x, z, units)
    face, g = _face_of(block, z, r, limits), _own(block, grad)
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


def _face_of(block: Block, z: Tensor, r: Tensor, limits: Limits) -> _Face:
    """Activity of rows and bounds, by the rounding of closed forms or the accuracy of a solver."""
    points, wide = z.double(), Limits(*(v.double() for v in limits))
    lone = not block.num_rows or (block.weights is not None and not block.is_aux.any())
    eps, system = torch.finfo(z.dtype).eps, None
    if lone:
        near, size = 64 * eps, _one_row_act(block, points.abs(), absolute=True)
        act, slip = _one_row_act(block, points), torch.zeros_like(points)
    else:
        near = 1e-8 if z.dtype == torch.float64 else 1e-5
        if block.is_aux.any():
            points, system = free_auxiliaries(block, points, r, wide, near, 20 * near)
            near = 20 * near
        act = _activity(block, points)
        slip = size = _extent(block, points, _ROUNDING / near)
    lower, upper = wide.lower, wide.upper
    if lone:  # the answer of a closed form is a bound to the last digit, in its own precision
        lower, upper = (v.to(z.dtype).double() for v in (lower, upper))
    return _Face(
        points <= lower + near * slip,
        points >= upper - near * slip,
        act <= wide.row_lower + near * (size + _finite(wide.row_lower)),
        act >= wide.row_upper - near * (size + _finite(wide.row_upper)),
        lone,
        system,
    )


def _extent(block: Block, points: Tensor, rounding: float) -> Tensor:
    """Return `(N, count, 1)`, what slacks are compared with, times `near`.

    The size of the point: an auxiliary variable that may be huge says no more than its rounding.
    """
    size = points.abs()
    if not block.is_aux.any():
        return 1 + size.amax(-1, keepdim=True)
    aux = block.on("is_aux", points.device)
    own = torch.where(aux, 0.0, size).amax(-1, keepdim=True)
    return 1 + own + rounding * size.amax(-1, keepdim=True)


def _finite(v: Tensor) -> Tensor:
    return torch.where(v.isfinite(), v.abs(), 0.0)


def _multipliers(block: Block, face: _Face, free: Tensor, active: Tensor, g: Tensor) -> Tensor:
    """Return `(N, count, num_rows)`, the shortest nu with R_AF^T nu = g_F, in least squares."""
    if face.lone:
        if block.weights is None:
            return torch.zeros_like(active, dtype=torch.float64)
        return _one_row(block.on("weights", g.device).to(g.dtype), free, active, g)
    flat = (v.flatten(0, 1) for v in (free, active, g))
    nu = _many_rows(block, *flat, system=face.system)
    return torch.where(active, nu.reshape(active.shape), 0.0)


def _pull(block: Block, nu: Tensor) -> Tensor | float:
    if not block.num_rows:
        return 0.0
    if block.weights is not None:
        return block.on("weights", nu.device).to(nu.dtype) * nu
    return _transposed(block, nu)


def _vertices(block: Block, face: _Face, r: Tensor):
    """Instance, component and basis wherever rows are lost with the variables at bounds."""
    if block.size > _SMALL:
        return
    if r.device.type == "cpu" and not bool((face.lower | face.upper).any()):
        return  # nothing to lose rows with
    if block.is_aux.any():
        masks = (v.flatten(0, 1).cpu().numpy() for v in (face.active, face.free))
        sure = independent(Blocks.of(block.matrix), *masks).reshape(r.shape[:2])
        if sure.all():
            return
    R = _matrix(block, r)
    unit = R / R.norm(dim=1, keepdim=True)
    rows = torch.where(face.active[..., None], unit, 0.0)

    def rank(chosen: Tensor) -> Tensor:
        part = torch.where(chosen[..., None, :], rows, 0.0)
        return (torch.linalg.eigvalsh(part @ part.mT) > _LOST).sum(-1)

    lost = rank(face.free) < rank(~(face.lower & face.upper))
    for n, c in lost.nonzero().tolist():
        masks = (v[n, c].cpu().numpy() for v in face[:4])
        yield n, c, basis_of(block, r[n, c].cpu().numpy(), *masks)


def _one_row_act(block: Block, points: Tensor, absolute: bool = False) -> Tensor:
    if block.weights is None:
        return points.new_zeros(*points.shape[:2], 0)
    weights = block.on("weights", points.device).to(points.dtype)
    weights = weights.abs() if absolute else weights
    return (weights * points).sum(-1, keepdim=True)


def _one_row(a: Tensor, free: Tensor, active: Tensor, g: Tensor) -> Tensor:
    a = torch.where(free, a, 0.0)
    norm = (a * a).sum(-1, keepdim=True)
    return torch.where(active & (norm > 0), (a * g).sum(-1, keepdim=True), 0.0) / torch.where(
        norm > 0, norm, 1.0
    )


# ---------------------------------------------------------------------- several rows


def _is_dense(block: Block) -> bool:
    return block.num_rows * block.size <= _DENSE


def _matrix(block: Block, like: Tensor) -> Tensor:
    return block.on("matrix", like.device).to(like.dtype)


def _activity(block: Block, points: Tensor) -> Tensor:
    if _is_dense(block):
        return points @ _matrix(block, points).T
    return _by_host(block.matrix, points)


def _transposed(block: Block, nu: Tensor) -> Tensor:
    if _is_dense(block):
        return nu @ _matrix(block, nu)
    return _by_host(sp.csr_array(block.matrix.T), nu)


def _by_host(matrix: sp.csr_array, x: Tensor) -> Tensor:
    flat = x.cpu().numpy().reshape(-1, x.shape[-1])
    return torch.from_numpy((matrix @ flat.T).T.reshape(*x.shape[:-1], -1).copy()).to(
        x.device, non_blocking=True
    )


def _many_rows(
    block: Block, free: Tensor, active: Tensor, g: Tensor, system: Saddle | None
) -> Tensor:
    """Return `(K, m)`, the shortest least-squares solution of R_AF^T nu = g_F, per instance."""
    if block.is_aux.any():
        return _with_auxiliaries(block, free, active, g, system)
    if not _is_dense(block):
        return _sparse(block, free, active, g)
    R, parts = _matrix(block, g), []
    step = max(1, _CHUNK // R.numel())
    for start in range(0, len(g), step):
        chosen = slice(start, start + step)
        parts.append(_dense(R, free[chosen], active[chosen], g[chosen]))
    return torch.cat(parts) if parts else g.new_zeros(0, block.num_rows)


def _dense(R: Tensor, free: Tensor, active: Tensor, g: Tensor) -> Tensor:
    norms = R.norm(dim=1)
    rows = torch.where(active[:, :, None] & free[:, None, :], R / norms[:, None], 0.0)
    gram = rows @ rows.mT
    aim = (rows @ g[..., None]).squeeze(-1)
    factor = torch.linalg.cholesky(
        gram + _DAMPING * torch.eye(len(norms), dtype=gram.dtype, device=gram.device)
    )
    nu = torch.zeros_like(aim)
    for _ in range(_PASSES):  # the proximal point method: it removes the damping
        rest = aim - (gram @ nu[..., None]).squeeze(-1)
        nu = nu + torch.cholesky_solve(rest[..., None], factor).squeeze(-1)
    rest = aim - (gram @ nu[..., None]).squeeze(-1)
    slow = rest.abs().amax(-1) > _MISSED * g.abs().amax(-1)
    if bool(slow.any()):  # long chains: rows that depend on one another nearly, and not quite
        u, s, vt = torch.linalg.svd(rows[slow], full_matrices=False)
        along = (vt @ g[slow][..., None]).squeeze(-1) / torch.where(s > _RANK, s, torch.inf)
        nu[slow] = (u @ along[..., None]).squeeze(-1)
    return nu / norms


def _sparse(block: Block, free: Tensor, active: Tensor, g: Tensor) -> Tensor:
    from scipy.sparse.linalg import splu

    R = block.matrix
    out = np.zeros((len(g), block.num_rows))
    for k, (f, a, v) in enumerate(zip(*(t.cpu().numpy() for t in (free, active, g)), strict=True)):
        rows = sp.csr_array(R[np.flatnonzero(a)][:, np.flatnonzero(f)])
        if not rows.nnz:
            continue
        aim, nu = rows @ v[f], np.zeros(rows.shape[0])
        gram = sp.csc_matrix(rows @ rows.T)
        factor = splu(
            gram + _DAMPING * sp.eye(len(aim), format="csc"),
            permc_spec="MMD_AT_PLUS_A",
            options={"SymmetricMode": True},
        )
        for _ in range(_PASSES):
            nu += factor.solve(aim - gram @ nu)
        if np.abs(aim - gram @ nu).max() > _MISSED * np.abs(v).max():
            nu = _augmented(rows, v[f])
        out[k, a] = nu
    return torch.from_numpy(out).to(g.device, non_blocking=True)


def _augmented(rows: sp.csr_array, g: np.ndarray) -> np.ndarray:
    """Solve rows^T nu = g in least squares without squaring the condition number of the rows."""
    from scipy.sparse.linalg import splu

    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
    norms = np.where(norms > 0, norms, 1.0)
    unit = sp.csr_array(sp.diags_array(1 / norms) @ rows)
    m, n = unit.shape
    system = sp.block_array([[sp.eye_array(n), unit.T], [unit, -_FAINT * sp.eye_array(m)]])
    factor, nu = splu(sp.csc_matrix(system)), np.zeros(m)
    for _ in range(_PASSES):
        v = g - unit.T @ nu
        nu += factor.solve(np.append(np.zeros(n), -(unit @ v)))[n:]
    return nu / norms


def _with_auxiliaries(
    block: Block, free: Tensor, active: Tensor, g: Tensor, system: Saddle | None
) -> Tensor:
    """Return the same with nu in the null space of the columns of free auxiliary variables."""
    aux, (f, a, v) = block.is_aux, (t.cpu().numpy() for t in (free, active, g))
    aim = np.where(f & ~aux, v, 0.0)
    nu, right = np.zeros(a.shape), np.nan_to_num(aim)
    known = np.zeros(len(a), dtype=bool) if system is None else system.same(a, f)
    if system is not None and known.any():
        nu = np.where(known[:, None], system.solve(right, nu)[1], 0.0)
    if not known.all():
        a_, f_ = a[~known], f[~known]
        other = Saddle(Blocks.of(block.matrix), a_, f_, np.where(aux, 0.0, 1.0))
        nu[~known] = other.solve(right[~known], np.zeros(a_.shape))[1]
    nu = np.where(a, nu, 0.0)
    pull = (block.matrix.T @ nu.T).T
    along = (block.matrix @ np.where(f & ~aux, aim - pull, 0.0).T).T
    # Right up to rounding where auxiliary variables are pulled nowhere; else once more, slowly.
    size = _PULLED * np.abs(aim).max(1, initial=1e-300)
    missed = ~(np.abs(np.where(f & aux, pull, 0.0)).max(1) <= size)
    missed |= ~np.isfinite(along).all(1)
    if missed.any():
        nu[missed] = _by_vectors(block, f[missed], a[missed], v[missed])
    return torch.from_numpy(nu).to(g.device)


def _by_vectors(block: Block, free: np.ndarray, active: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Solve for the multipliers one instance after the other, by singular vectors."""
    R, aux = block.matrix.toarray(), block.is_aux
    out = np.zeros((len(g), block.num_rows))
    for k, (f, a, v) in enumerate(zip(free, active, g, strict=True)):
        own, other = R[np.ix_(a, f & ~aux)], R[np.ix_(a, f & aux)]
        if not own.size:
            continue
        if other.size:
            u, s, _ = np.linalg.svd(other)
            basis = u[:, int((s > _RANK).sum()) :]
        else:
            basis = np.eye(len(own))
        u, s, vt = np.linalg.svd(own.T @ basis, full_matrices=False)
        kept = s > _RANK
        out[k, a] = basis @ (vt[kept].T @ ((u[:, kept].T @ v[f & ~aux]) / s[kept]))
    return out
