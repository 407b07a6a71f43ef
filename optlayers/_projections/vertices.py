"""Which of the rows and bounds active at a vertex hold it, and which have nothing to do there.

Where more constraints are active than are independent, the derivative in right-hand sides and
bounds depends on which of them are kept. Kept are those whose multipliers explain y - z, and of the
others as many as are independent: moved limits make any such basis the whole active set of a point
nearby, so the derivative is a limit of derivatives.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._plan.blocks import Block

SMALL = 2000  # variables up to which multipliers at a vertex are looked for
_TIE = 1e-12  # relative difference of two thresholds that are one
_SUPPORT = 1e-10  # a smaller multiplier, relative to the largest of y - z, is none
_RANK = 1e-9  # a smaller singular value is zero; rows have norm one
_REACH = 1e3  # times the others: what a variable far beyond its bound can be shortened to


class Basis(NamedTuple):
    """Variables that no kept bound holds, and the rows that are kept."""

    free: Tensor
    active: Tensor


def one_row_basis(weights, r: Tensor, lower: Tensor, upper: Tensor, low: Tensor, high: Tensor):
    r"""Return the basis of one row with bounds, `(N, count, size)`, at $y - z = r$.

    With a free variable all that is active is independent. Without one, the multiplier of the row
    may be anything between the thresholds at which a variable would leave its bound, and the basis
    has the variables at one of the two ends free: the derivative is then that to one side, exactly.

    Args:
        weights: `(count, size)`, the coefficients; None without a row.
        r: y - z.
        lower: Which lower bounds are active.
        upper: Which upper bounds are active.
        low: `(N, count, 1)`, whether the row is at its lower side.
        high: The same of its upper side.
    """
    free, active = ~(lower | upper), low | high
    if weights is None:
        return Basis(free, active)
    a = torch.from_numpy(weights).to(r)
    fixed, rising = lower & upper, torch.where(a > 0, lower, upper)
    ratio = r / a
    least = torch.where(rising & ~fixed, ratio, -torch.inf).amax(-1, keepdim=True)
    most = torch.where(~rising & ~fixed & ~free, ratio, torch.inf).amin(-1, keepdim=True)
    nearer = (least.abs() <= most.abs()) | ~most.isfinite()
    # A row with one side has a multiplier of one sign: the end at which it can be.
    by_least = torch.where(low & high, nearer, torch.where(high, least > 0, ~(most < 0)))
    end = torch.where(by_least & least.isfinite(), least, most)
    end = torch.where(end.isfinite(), end, torch.nan)
    tie = (ratio - end).abs() <= _TIE * (1 + end.abs())
    alone = active & ~free.any(-1, keepdim=True)
    leaves = alone & tie & ~fixed & torch.where(end == least, rising, ~rising)
    return Basis(free | leaves, active & (free | leaves).any(-1, keepdim=True))


def basis_of(
    block: Block,
    r: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> Basis:
    """Return the basis of one component of one instance, masks `(size,)` and `(num_rows,)`."""
    R = block.matrix.toarray()
    norms = np.linalg.norm(R, axis=1)
    R = R / norms[:, None]
    fixed, active = lower & upper, low | high
    short = _shortened(r, lower, upper)
    row_support, bound_support, _ = support(R, short, lower, upper, low, high)
    order = np.concatenate(
        [
            np.flatnonzero(low & high),
            np.flatnonzero(row_support),
            np.flatnonzero(active & ~row_support & (low != high)),
        ]
    )
    may = ~(bound_support | fixed)
    kept = _independent(R[order][:, may])
    rows, free = order[kept], ~(lower | upper)
    rest = np.flatnonzero(may & ~free)
    free = free | _leaving(R[rows], free, rest)
    chosen = np.zeros(len(R), dtype=bool)
    chosen[rows] = True
    return Basis(torch.from_numpy(free), torch.from_numpy(chosen))


def solve_basis(block: Block, basis: Basis, g: Tensor) -> Tensor:
    """Return nu with R_AF^T nu = g_F on z, and in the null space of free auxiliary variables."""
    rows, free = (v.cpu().numpy() for v in (basis.active, basis.free))
    R, out = block.matrix.toarray(), np.zeros(block.num_rows)
    own, other = R[np.ix_(rows, free & ~block.is_aux)], R[np.ix_(rows, free & block.is_aux)]
    null = np.eye(len(own))
    if other.size:
        u, s, _ = np.linalg.svd(other)
        null = u[:, int((s > _RANK).sum()) :]
    if own.size and null.size:
        wanted = g.cpu().numpy()[free & ~block.is_aux]
        out[rows] = null @ np.linalg.lstsq(own.T @ null, wanted, rcond=_RANK)[0]
    return torch.from_numpy(out).to(g.device)


def _shortened(r: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Shorten what masks: -1e30 at a bound says no more than a moderate number does."""
    beyond = (lower & (r < 0)) | (upper & (r > 0))
    reach = _REACH * (1 + np.abs(np.where(beyond, 0.0, r)).max(initial=0.0))
    return np.where(beyond, np.clip(r, -reach, reach), r)


def needed_rows(block: Block, r: np.ndarray, *masks: np.ndarray) -> np.ndarray:
    """Return which of the rows with one side have a multiplier; arguments as of `basis_of`."""
    R = block.matrix.toarray()
    R = R / np.linalg.norm(R, axis=1)[:, None]
    return support(R, _shortened(r, *masks[:2]), *masks)[0]


def support(R, r, lower, upper, low, high) -> tuple[np.ndarray, np.ndarray, float]:
    """Find inequalities with a multiplier, by nonnegative least squares: its support is a basis.

    What holds both sides, equality rows and fixed variables, is kept in any case, so that the rest
    has to be independent up to that only: it is looked at orthogonally to it.

    Returns:
        Rows, bounds, and by how much multipliers miss r, relative to its size.
    """
    from scipy.optimize import nnls

    eye, one = np.eye(len(r)), lower != upper
    _, s, vt = np.linalg.svd(np.vstack([R[low & high], eye[lower & upper]]), full_matrices=False)
    basis = vt[s > _RANK]
    masks = (high & ~low, low & ~high, upper & one, lower & one)
    signed = zip((R, -R, eye, -eye), masks, strict=True)
    system = np.vstack([rows[mask] for rows, mask in signed]).T
    if not system.shape[1]:
        rest = r - basis.T @ (basis @ r)
        return masks[0], masks[2], float(np.linalg.norm(rest) / (1 + np.abs(r).max(initial=0.0)))
    try:
        found, miss = nnls(system - basis.T @ (basis @ system), r - basis.T @ (basis @ r))
    except RuntimeError:  # too many iterations: nothing is known, and rows come first
        return masks[0] | masks[1], np.zeros(len(r), dtype=bool), np.inf
    used = found > _SUPPORT * (1 + np.abs(r).max(initial=0.0))
    ends = np.cumsum([int(mask.sum()) for mask in masks])[:-1]
    full = [np.zeros(len(mask), dtype=bool) for mask in masks]
    for out, mask, part in zip(full, masks, np.split(used, ends), strict=True):
        out[mask] = part
    return full[0] | full[1], full[2] | full[3], float(miss / (1 + np.abs(r).max(initial=0.0)))


def _independent(rows: np.ndarray) -> np.ndarray:
    """Return the numbers of the rows that do not depend on rows before them."""
    basis, kept = np.zeros((0, rows.shape[1])), []
    for i, row in enumerate(rows):
        rest = row - basis.T @ (basis @ row)
        rest = rest - basis.T @ (basis @ rest)
        size = np.linalg.norm(rest)
        if size > _RANK:
            basis = np.vstack([basis, rest / size])
            kept.append(i)
    return np.array(kept, dtype=np.int64)


def _leaving(rows: np.ndarray, free: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Free as few variables at bounds as make the rows independent on what is free."""
    from scipy.linalg import qr

    leaves = np.zeros(len(free), dtype=bool)
    if not len(rows) or not len(rest):
        return leaves
    own = rows[:, free]
    if own.shape[1]:
        u, s, _ = np.linalg.svd(own, full_matrices=True)
        null = u[:, int((s > _RANK).sum()) :]
    else:
        null = np.eye(len(rows))
    if null.shape[1]:
        _, r, order = qr(null.T @ rows[:, rest], mode="economic", pivoting=True)
        count = int((np.abs(np.diag(r)) > _RANK).sum())
        leaves[rest[order[:count]]] = True
    return leaves
