"""Auxiliary variables in the middle of what a point leaves them."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import SolverFailed
from .._plan.blocks import Block
from .._plan.maps import Limits
from .derivative_middle import Sides, middle
from .derivative_systems import Saddle
from .vertices import support

_REACH = 1e4  # of an auxiliary variable, in units where coefficients are near one


def free_auxiliaries(
    block: Block, z: Tensor, r: Tensor, limits: Limits, near: float, seen: float
) -> tuple[Tensor, Saddle]:
    r"""Move auxiliary variables to where no more rows and bounds are active than must be.

    The face of a projected polytope at z is what lies above it, seen from the relative interior of
    $\{\psi : (z, \psi) \in L\}$. Multipliers of y - z find most such points, a batch at a time (see
    `derivative_middle.py`); a linear program the others: the sum of $s_k \le 1$, each at most its
    slack, is largest where every slack that can be positive is, once the set may be scaled up.
    The system that gave the multipliers comes along, for who has the same face.

    Args:
        block: A block with auxiliary variables.
        z: `(N, count, size)`, float64; entries of auxiliary variables are a guess.
        r: y - z; at auxiliary variables what a unit of each is worth.
        limits: As the projection had them, float64.
        near: By how much z may violate rows; a slack below 100 times that counts as none.
        seen: Up to which slack, relative to 1 + |z|, what is found is read as active.
    """
    points = z.cpu().numpy().copy()
    sides = [v.cpu().numpy() for v in limits]
    guess = np.nan_to_num(points)
    flat = Sides(*(_flat(v, points.shape[:2]) for v in sides))
    moved = middle(
        block, _flat(guess, points.shape[:2]), _flat(r.cpu().numpy(), points.shape[:2]), flat, seen
    )
    known = moved.found.reshape(points.shape[:2])
    found = moved.points.reshape(points.shape)
    points[..., block.is_aux] = np.where(known[..., None], found, points)[..., block.is_aux]
    for n, c in zip(*np.nonzero(~known), strict=True):
        if np.isfinite(points[n, c][~block.is_aux]).all():
            own = tuple(v[n % len(v), c] for v in sides)
            pull = r[n, c].cpu().numpy()
            if pull[block.is_aux].any():
                own = best_face(block, points[n, c], pull, *own, near=seen).limits
            found = _middle(block, points[n, c], *own, near=near)
            points[n, c, block.is_aux] = found
    return torch.from_numpy(points).to(z.device, non_blocking=True), moved.system


class BestFace(NamedTuple):
    """Constraints that hold wherever auxiliary variables are worth most.

    Attributes:
        limits: Those of one component, both sides equal where a row or a bound holds.
        miss: By how much multipliers miss what they should add up to, relative to its size.
    """

    limits: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    miss: float


def best_face(block: Block, x, r, low, high, lower, upper, near: float) -> BestFace:
    """Find multipliers of a point; what has one holds for all best auxiliary variables.

    Args:
        block: With auxiliary variables.
        x: `(size,)`, the point, with some of the best ones.
        r: y - z; at auxiliary variables what a unit of each is worth.
        low: Lower sides of the rows.
        high: Upper sides of the rows.
        lower: Lower bounds.
        upper: Upper bounds.
        near: By how much, relative to 1 + |x|, a limit may be missed by what is active at it.
    """
    R = block.matrix.toarray()
    norms = np.linalg.norm(R, axis=1)
    act, reach = R @ x, near * (1 + np.abs(x).max())
    masks = (x <= lower + reach, x >= upper - reach, act <= low + reach, act >= high - reach)
    rows, bounds, miss = support(R / norms[:, None], r, *masks)
    at_high, at_low = rows & masks[3], rows & ~masks[3]
    up, down = bounds & masks[1], bounds & ~masks[1]
    return BestFace(
        (
            np.where(at_high, high, low),
            np.where(at_low, low, high),
            np.where(up, upper, lower),
            np.where(down, lower, upper),
        ),
        miss,
    )


def _flat(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return one row for every component of every instance."""
    return np.broadcast_to(values, (*shape, values.shape[-1])).reshape(-1, values.shape[-1])


def _middle(block: Block, x: np.ndarray, low, high, lower, upper, near: float) -> np.ndarray:
    """Auxiliary variables of one point, small ones where there is a choice.

    Bounds beyond reach are left out at first: a variable at one of them would round off the rest.
    """
    size = 1 + np.abs(x[~block.is_aux]).max(initial=0.0)
    ends = (
        np.where(lower < -_REACH * size, -np.inf, lower),
        np.where(upper > _REACH * size, np.inf, upper),
    )
    found, message = _program(block, x, low, high, *ends, near * size)
    aux = block.is_aux
    if found is None or (found < lower[aux]).any() or (found > upper[aux]).any():
        found, message = _program(block, x, low, high, lower, upper, near * size)
    if found is None:
        raise SolverFailed(
            "The derivative needs auxiliary variables that complete the projected point, and the "
            f"linear program found none: {message}"
        )
    return found


def _program(
    block: Block, x: np.ndarray, low, high, lower, upper, near: float
) -> tuple[np.ndarray | None, str]:
    """Return the linear program, if it has an answer, and what the solver says."""
    from scipy.optimize import linprog

    aux = np.flatnonzero(block.is_aux)
    R = block.matrix
    used = np.flatnonzero(np.diff(sp.csr_array(R[:, aux]).indptr))
    inner = sp.csr_array(R[used][:, aux])
    fixed = R[used] @ np.where(block.is_aux, 0.0, x)
    eye = sp.eye_array(len(aux), format="csr")
    # Each side as  rows . psi + offset >= 0, with a slack variable if it can be one.
    sides = [
        (inner, fixed - low[used], low[used] < high[used]),
        (-inner, high[used] - fixed, low[used] < high[used]),
        (eye, -lower[aux], lower[aux] < upper[aux]),
        (-eye, upper[aux], lower[aux] < upper[aux]),
    ]
    rows = sp.vstack([r for r, _, _ in sides], format="csr")
    offset = np.concatenate([o for _, o, _ in sides])
    wide = np.concatenate([w for _, _, w in sides])
    said, free = np.isfinite(offset), [(None, None)] * len(aux)
    rows, offset, wide = sp.csr_array(rows[said]), offset[said], wide[said]
    slack = sp.csr_array(
        (np.ones(int(wide.sum())), (np.flatnonzero(wide), np.arange(int(wide.sum())))),
        (len(offset), int(wide.sum())),
    )
    # As little slip as z needs: what is let go adds up, and must not look like a slack.
    for slip in (0.01 * near, near):
        scale = sp.csr_array((offset + slip)[:, None])
        # Variables: psi times the scale, the slacks, the scale.
        found = linprog(
            np.concatenate([np.zeros(len(aux)), -np.ones(slack.shape[1]), [0.0]]),
            A_ub=sp.hstack([-rows, slack, -scale]),
            b_ub=np.zeros(len(offset)),
            bounds=[*free, *[(0, 1)] * slack.shape[1], (1, max(1.0, 0.01 / near))],
            method="highs",
        )
        if found.x is not None:
            return found.x[: len(aux)] / found.x[-1], found.message
    return None, found.message
