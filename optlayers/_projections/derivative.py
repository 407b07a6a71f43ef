r"""Derivative of any projection, by the face on which its answer lies.

Near a point where the projection is differentiable, the rows A and bounds active at the answer stay
active, and the others free (F):

$$ dz_F = (I - R_{AF}^+ R_{AF})\, dy_F + R_{AF}^+ (dc_A - R_{A\bar F}\, dz_{\bar F}), \qquad
   dz_{\bar F} = d(\text{bounds}) $$

At a kink everything active is kept, which is the limit of derivatives from inside the smallest
face. The vector-Jacobian product needs one vector per instance, $\nu = (R_{AF}^+)^\top g_F$.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._plan.blocks import Block
from .._plan.maps import AbstractBlockMap, Limits
from .derivative_aux import free_auxiliaries

_DENSE = 4_000_000  # entries of one instance's system; beyond, it is kept sparse
_CHUNK = 32_000_000  # entries of a batch of systems made at a time
_RANK = 1e-9  # a smaller singular value is zero; the largest entry of each row is 1
_DAMPING, _PASSES = 1e-8, 4  # a dependent row costs accuracy only where these do not suffice


class Gradients(NamedTuple):
    """Gradients of the point and of the four limits, in the layout of a block."""

    y: Tensor
    row_lower: Tensor
    row_upper: Tensor
    lower: Tensor
    upper: Tensor


class Projection(AbstractBlockMap):
    """A projection, whose derivative with respect to the limits its active face tells."""

    def vjp_limits(self, z: Tensor, limits: Limits, grad: Tensor) -> Limits:
        """Vector-Jacobian product of the limits, each in its own shape."""
        found = face_vjp(self.block, z, limits, grad)[1:]
        return Limits(*(g.sum_to_size(v.shape) for g, v in zip(found, limits, strict=True)))


def face_vjp(block: Block, z: Tensor, limits: Limits, grad: Tensor) -> Gradients:
    """Vector-Jacobian product of the projection onto a block at its answer `z`.

    Args:
        block: Rows of any kind.
        z: `(N, count, size)`, the answer; entries of auxiliary variables are not read.
        limits: As the projection had them.
        grad: `(N, count, size)`, of the answer.
    """
    count, m = block.count, block.num_rows
    points, limits = z.double(), Limits(*(v.double() for v in limits))
    g, near = grad.double(), 1e-8 if z.dtype == torch.float64 else 1e-5
    lone = block.weights is not None and not block.is_aux.any()
    if lone or not m:
        act = _one_row_act(block, points)
    elif block.is_aux.any():
        points, near = free_auxiliaries(block, points, limits, near), 20 * near
        g = torch.where(torch.from_numpy(block.is_aux).to(g.device), 0.0, g)
        act = _activity(block, points)
    else:
        act = _activity(block, points)
    near = near * (1 + points.abs().amax(-1, keepdim=True))
    at_low, at_high = act <= limits.row_lower + near, act >= limits.row_upper - near
    lower, upper = points <= limits.lower + near, points >= limits.upper - near
    free, active = ~(lower | upper), at_low | at_high
    if lone:
        a = torch.from_numpy(block.weights).to(g)
        nu = _one_row(a, free, active, g)
        v = g - a * nu
    elif m:
        nu = _many_rows(block, free.flatten(0, 1), active.flatten(0, 1), g.flatten(0, 1))
        nu = nu.reshape(-1, count, m)
        v = g - _transposed(block, nu)
    else:
        nu, v = act, g
    nu = torch.where(active, nu, 0.0)
    share = _halves(lower, upper, v, free), _halves(at_low, at_high, nu, ~active)
    return Gradients(
        *(part.to(grad.dtype) for part in (torch.where(free, v, 0.0), *share[1], *share[0]))
    )


def _halves(low: Tensor, high: Tensor, v: Tensor, neither: Tensor) -> tuple[Tensor, Tensor]:
    """To the side that is active; in halves where both are, as they move together."""
    half = torch.where(low & high, 0.5, 1.0) * torch.where(neither, 0.0, v)
    return torch.where(low, half, 0.0), torch.where(high, half, 0.0)


def _one_row_act(block: Block, points: Tensor) -> Tensor:
    if block.weights is None:
        return points.new_zeros(*points.shape[:2], 0)
    return (torch.from_numpy(block.weights).to(points) * points).sum(-1, keepdim=True)


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
    return torch.from_numpy(block.matrix.toarray()).to(like)


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
    return torch.from_numpy((matrix @ flat.T).T.reshape(*x.shape[:-1], -1).copy()).to(x.device)


def _many_rows(block: Block, free: Tensor, active: Tensor, g: Tensor) -> Tensor:
    """`(K, m)`: the shortest least-squares solution of R_AF^T nu = g_F, per instance."""
    if block.is_aux.any():
        return _with_auxiliaries(block, free, active, g)
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
        out[k, a] = nu
    return torch.from_numpy(out).to(g.device)


def _with_auxiliaries(block: Block, free: Tensor, active: Tensor, g: Tensor) -> Tensor:
    """As above, with nu in the null space of the columns of free auxiliary variables."""
    R, aux = block.matrix.toarray(), block.is_aux
    out = np.zeros((len(g), block.num_rows))
    for k, (f, a, v) in enumerate(zip(*(t.cpu().numpy() for t in (free, active, g)), strict=True)):
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
    return torch.from_numpy(out).to(g.device)
