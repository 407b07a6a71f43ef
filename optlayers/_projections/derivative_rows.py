r"""Multipliers of the rows of a face, $\nu = (R_{AF}^+)^\top g_F$, where there are several rows."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._plan.blocks import Block
from .derivative_systems import Blocks, Saddle

_DENSE = 4_000_000  # entries of one instance's system; beyond, it is kept sparse
_CHUNK = 32_000_000  # entries of a batch of systems made at a time
_RANK = 1e-9  # a smaller singular value is zero; the largest entry of each row is 1
_PULLED = 1e-10  # of a gradient, by multipliers on auxiliary variables: then by another way
_DAMPING, _PASSES = 1e-8, 4  # a dependent row costs accuracy only where these do not suffice
_MISSED = 1e-11  # of the rows by the derivative, relative to the gradient: then once more, slowly
_FAINT = 1e-15  # damping where nothing is squared


def is_dense(block: Block) -> bool:
    return block.num_rows * block.size <= _DENSE


def rows_of(block: Block, like: Tensor) -> Tensor:
    return block.on("matrix", like.device).to(like.dtype)


def activity(block: Block, points: Tensor) -> Tensor:
    if is_dense(block):
        return points @ rows_of(block, points).T
    return _by_host(block.matrix, points)


def transposed(block: Block, nu: Tensor) -> Tensor:
    if is_dense(block):
        return nu @ rows_of(block, nu)
    return _by_host(sp.csr_array(block.matrix.T), nu)


def _by_host(matrix: sp.csr_array, x: Tensor) -> Tensor:
    flat = x.cpu().numpy().reshape(-1, x.shape[-1])
    return torch.from_numpy((matrix @ flat.T).T.reshape(*x.shape[:-1], -1).copy()).to(
        x.device, non_blocking=True
    )


def shortest(
    block: Block, free: Tensor, active: Tensor, g: Tensor, system: Saddle | None
) -> Tensor:
    """Return `(K, m)`, the shortest least-squares solution of R_AF^T nu = g_F, per instance."""
    if block.is_aux.any():
        return _with_auxiliaries(block, free, active, g, system)
    if not is_dense(block):
        return _sparse(block, free, active, g)
    R, parts = rows_of(block, g), []
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
