r"""The middle of what a point leaves its auxiliary variables, without a linear program.

The face of a projected polytope at z is what lies above z in the relative interior of
$\{\psi : (z, \psi) \in L\}$, or of those of them that are worth most. Multipliers
$\lambda \ge 0$ of y - z, and of what $\psi$ is worth, tell it: the sum of
multipliers times slacks is the same wherever $\psi$ is above z, so rows and bounds with a positive
multiplier are active everywhere in it. Where every other one has a slack, $\psi$ is in the middle;
where some have none, one least-squares step away from all of them gives it to them, or nothing is
said about the instance.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from .._plan.blocks import Block
from .derivative_systems import Blocks, Saddle

_HELD = 1e-7  # a multiplier is positive above it, relative to the largest
_INWARD = 0.1  # of the slack asked for, what a step must give to every row that has none
_ROOM = 50.0  # times the tolerance of activity, which a slack must have to be one


class Middle(NamedTuple):
    """Points of every instance, and whether their auxiliary parts are the middle."""

    points: np.ndarray
    found: np.ndarray
    system: Saddle  # of the face that was seen first


class Sides(NamedTuple):
    """Limits of every instance, `(K or 1, ...)`."""

    low: np.ndarray
    high: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def middle(block: Block, x: np.ndarray, r: np.ndarray, sides: Sides, near: float) -> Middle:
    """Move auxiliary variables to the middle of what completes the point, if that is known to do.

    Args:
        block: With auxiliary variables.
        x: `(K, size)`, points with a guess of the auxiliary variables.
        r: `(K, size)`, y - z; what they are worth at auxiliary variables.
        sides: Limits.
        near: By how much, relative to 1 + |z|, a limit may be missed by what is active at it.
    """
    return _Search(block, x, r, sides, near).run()


class _Search:
    def __init__(self, block: Block, x, r, sides: Sides, near: float):
        self.aux, self.R = block.is_aux, sp.csr_array(block.matrix)
        self.blocks = Blocks.of(self.R)
        lower, upper = (np.broadcast_to(v, x.shape) for v in (sides.lower, sides.upper))
        self.sides = Sides(sides.low, sides.high, lower, upper)
        self.x = np.where(self.aux, np.clip(x, lower, upper), x)
        self.r = r
        self.reach = near * (1 + np.abs(x[:, ~self.aux]).max(1, initial=0.0))[:, None]
        self.over_aux = np.asarray(abs(self.R[:, self.aux]).sum(1)).ravel() > 0

    def run(self) -> Middle:
        below, above, down, up = self._slacks(self.x)
        reach = self.reach
        found = np.isfinite(self.x).all(1) & np.isfinite(self.r).all(1)
        for slack in (below, above):
            found &= ~(slack < -reach).any(1)
        low, high, lower, upper = (v <= reach for v in (below, above, down, up))
        active = low | high
        equal, fixed = low & high, lower & upper
        free = ~(lower | upper)
        x = np.where(found[:, None], self.x, 0.0)
        r = np.where(found[:, None], self.r, 0.0)
        weight = np.where(self.aux, 0.0, 1.0)
        system = Saddle(self.blocks, active, free, weight)
        _, lam = system.solve(np.where(free, r, 0.0), np.zeros(active.shape))
        found &= np.isfinite(lam).all(1)
        lam = np.where(active & found[:, None], lam, 0.0)
        rest = np.where(free, 0.0, r - (self.R.T @ lam.T).T)  # multipliers of bounds
        size = _HELD * np.abs(r).max(1, initial=1e-300)[:, None]
        size = np.maximum(size, 1e-14 * (1 + np.abs(x[:, ~self.aux]).max(1, initial=0.0))[:, None])
        # What pushes the wrong way tells that the face is another one.
        wrong = active & ~equal & np.where(high, lam < -size, lam > size)
        wrong_bound = ~free & ~fixed & np.where(upper, rest < -size, rest > size)
        found &= ~wrong.any(1) & ~wrong_bound.any(1)
        held = active & (equal | (np.abs(lam) > size))
        held_bound = ~free & (fixed | (np.abs(rest) > size))
        # What is nearly active has to leave as well: a step may not end beside it.
        near = 2 * _ROOM * reach
        loose = ((below <= near) | (above <= near)) & ~held & self.over_aux
        loose_bound = ((down <= near) | (up <= near)) & ~held_bound & self.aux
        late = found & (loose.any(1) | loose_bound.any(1))
        if late.any():
            signs = np.where(above < below, -1.0, 1.0), np.where(up < down, -1.0, 1.0)
            parts = (held & self.over_aux, loose, loose_bound, held_bound)
            x[late], found[late] = self._away(late, x[late], *(v[late] for v in (*signs, *parts)))
        return Middle(x, found, system)

    def _slacks(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the slacks of rows to both sides, then those of bounds."""
        act = (self.R @ x.T).T
        low, high, lower, upper = self.sides
        return act - low, high - act, x - lower, upper - x

    def _away(self, late, x, sign, sign_bound, held, loose, loose_bound, held_bound):
        """Step away from everything without a multiplier at once; whether that succeeds."""
        movable = self.aux & ~held_bound
        size = len(self.aux)
        both = sp.csr_array(sp.vstack([self.R, sp.eye_array(size)], format="csr"))
        kept = np.concatenate([held | loose, loose_bound], 1)
        soft = np.concatenate([loose, loose_bound], 1).astype(float)
        signs = np.concatenate([sign, sign_bound], 1)
        system = Saddle(Blocks.of(both), kept, movable, np.full(size, 1e-4), soft)
        step, _ = system.solve(np.zeros_like(x), np.where(soft > 0, signs, 0.0))
        solved = np.asarray(np.isfinite(step).all(1))
        step = np.where(movable & solved[:, None], step, 0.0)
        change = (both @ step.T).T
        inward = np.where(soft > 0, change * signs, np.inf).min(1)
        lower, upper = self.sides.lower[late], self.sides.upper[late]
        low, high = (v if len(v) == 1 else v[late] for v in self.sides[:2])
        act = (self.R @ x.T).T
        slack = (
            np.concatenate([act - low, x - lower], 1),
            np.concatenate([high - act, upper - x], 1),
        )
        far = np.full(len(x), np.inf)
        for room, speed in zip(slack, (-change, change), strict=True):
            shrinks = (soft == 0) & ~np.concatenate([held, held_bound], 1) & (speed > 1e-12)
            with np.errstate(divide="ignore", invalid="ignore"):
                ends = np.where(shrinks, room / np.where(shrinks, speed, 1.0), np.inf)
            far = np.minimum(far, ends.min(1))
        scale = 1 + np.abs(x[:, ~self.aux]).max(1, initial=0.0)
        far = np.minimum(0.5 * far, scale)
        fits = (inward >= _INWARD) & (far * inward >= _ROOM * self.reach[late][:, 0])
        fits &= np.abs((self.R @ (step * far[:, None]).T).T * held).max(1) <= self.reach[late][:, 0]
        return np.where(fits[:, None], x + far[:, None] * step, x), fits
