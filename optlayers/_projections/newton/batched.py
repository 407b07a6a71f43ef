"""Semismooth Newton for a whole batch as tensors: what `_kernels/newton.py` does, on any device.

The loop is over steps; in each of them every instance takes one, at its own stage and with its own
line search. Nothing in a step asks the host for a number: what does not apply to an instance is
masked, and those that are finished go through a few more steps unchanged. One synchronisation in
`_TOGETHER` steps tells which are left; the others then leave.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from ..._kernels.newton_constants import (
    DAMPING,
    FARTHEST,
    FIRST_STAGE,
    GROWTH,
    IDLE,
    LOOSE,
    MAX_STAGES,
    MAX_STEPS,
    PLAIN,
    ROUNDING,
    SHORT,
    WITH_AUX,
)
from ..._plan.maps import Limits
from .line_search import line_search

# A round of the loop is a step of an instance, or a change of its stage.
_MOST_ROUNDS = MAX_STEPS + MAX_STAGES
_TOGETHER = 8  # rounds between two looks at who is finished
# Of the diagonal: damping that rounding does not reach, and with which no factor breaks down.
_RANK, _SAFE = 1e-13, 1e-8
_CHUNK = 64_000_000  # entries of the systems made at a time


class Rows(NamedTuple):
    """Numbers of a block that are known before a call, on a device, in float64.

    Attributes:
        R: `(m, size)`, rows divided by their norms.
        norms: `(m,)`, their norms.
        is_aux: `(size,)`, which variables are auxiliary.
        aux: Their numbers; None if there are none.
    """

    R: Tensor
    norms: Tensor
    is_aux: Tensor
    aux: Tensor | None


def missed_rows(rows: Rows, x: Tensor, limits: Limits) -> Tensor:
    """Return `(N, count)`, what `_solvers.block.missed_rows` does, as tensors, without waiting."""
    norms = torch.where(rows.is_aux, 0.0, rows.R * rows.R).sum(1).sqrt()
    norms = torch.where(norms > 0, norms, 1.0)
    R, sides = rows.R / norms[:, None], rows.norms * norms
    own = torch.where(rows.is_aux, 0.0, x.abs()).amax(-1, keepdim=True)
    terms = torch.where(rows.is_aux, x.abs(), 0.0) @ R.abs().T
    act = x @ R.T
    miss = torch.maximum(act - limits.row_upper / sides, limits.row_lower / sides - act)
    return (miss.clamp(min=0) / (1.0 + own + terms)).amax(-1)


@dataclass
class State:
    """Everything of the instances at hand, `(K, ...)`; `number` says which ones they are."""

    number: Tensor
    y: Tensor
    worth: Tensor  # of a unit of each auxiliary variable
    low: Tensor
    high: Tensor
    lower: Tensor
    upper: Tensor
    centre: Tensor
    anchor: Tensor
    hold: Tensor
    mu: Tensor
    base: Tensor  # multipliers that `point` and `hold` have taken up already
    point: Tensor
    taken: Tensor
    unit: Tensor
    scale: Tensor
    share: Tensor
    end: Tensor  # share at which the last stage is
    prox: Tensor
    shrink: Tensor
    least: Tensor  # curvature at which the last stage is
    best: Tensor
    tries: Tensor
    before: Tensor
    most: Tensor  # largest gradient so far
    ease: Tensor  # what the damping is multiplied by; small where it held steps back
    move: Tensor  # length of the last step in x, relative to its size
    safe: Tensor  # whether the system broke down by rounding, and is damped
    done: Tensor  # whether `answer` and `quality` are there
    answer: Tensor
    quality: Tensor

    def keep(self, chosen: Tensor) -> "State":
        """Return some of the instances, by number."""
        return State(*(getattr(self, f.name).index_select(0, chosen) for f in fields(self)))


@dataclass
class Point:
    """Numbers at the multipliers of a state."""

    x: Tensor
    moved: Tensor
    free: Tensor
    act: Tensor
    slack: Tensor
    off: Tensor  # rows whose slack is free
    gradient: Tensor
    inverse: Tensor
    stiff: Tensor
    scale: Tensor
    size: Tensor


def newton(rows: Rows, y: Tensor, limits: Limits, tol: float) -> tuple[Tensor, Tensor]:
    """Project `(N, count, size)`; the answer and the residual of each component.

    Args:
        rows: Of the block.
        y: Points, float64.
        limits: Of the rows as they were before the division, and of the variables.
        tol: Residual at which nothing more is tried.
    """
    flat, R = y.reshape(-1, y.shape[-1]), rows.R
    sides = [v.expand(len(y), *v.shape[1:]).reshape(len(flat), -1) for v in limits]
    x, quality = torch.full_like(flat, torch.nan), flat.new_full((len(flat),), torch.nan)
    step = max(1, _CHUNK // max(R.numel(), len(R) ** 2))
    for start in range(0, len(flat), step):
        part = slice(start, start + step)
        own = (
            flat[part],
            sides[0][part] / rows.norms,
            sides[1][part] / rows.norms,
            *(v[part] for v in sides[2:]),
        )
        _climb(rows, own, tol, x[part], quality[part])
    return x.reshape(y.shape), quality.reshape(y.shape[:2])


def _climb(rows: Rows, own: tuple, tol: float, x: Tensor, quality: Tensor) -> None:
    state = _begin(rows, *own)
    for _ in range(-(-_MOST_ROUNDS // _TOGETHER)):
        for _ in range(_TOGETHER):
            _round(rows, state, tol)
        left = (~state.done).nonzero()[:, 0]  # the one synchronisation
        if len(left) < len(state.done):
            x.index_copy_(0, state.number, state.answer)
            quality.index_copy_(0, state.number, state.quality)
            state = state.keep(left)
        if not len(left):
            return
    # Out of steps: what there is is judged, and its residual decides.
    at = _evaluate(rows, state)
    x.index_copy_(0, state.number, at.x)
    quality.index_copy_(0, state.number, _way_left(state, _residual(rows, state, at)))


def _round(rows: Rows, state: State, tol: float) -> None:
    """Take a step in every instance, or change its stage."""
    at = _evaluate(rows, state)
    largest = at.gradient.abs().amax(-1)
    last = (state.share == state.end) & (state.prox <= state.least)
    state.tries = torch.where(largest < 0.5 * state.best, 0, state.tries + 1)
    state.best = torch.minimum(state.best, largest)
    loose = LOOSE * state.unit * torch.where(state.share == state.end, state.prox, 1.0)
    arrived = largest <= torch.maximum(2e-16 * at.size, torch.where(last, 0.0, loose))
    fresh = last & ~state.taken & (state.tries >= 2) & (largest <= 1e-6 * at.scale) & ~arrived
    near = (largest <= 1e-11 * at.scale) & (state.move <= SHORT) | (state.tries >= 40)
    state.move = torch.where(largest <= 2e-16 * at.size, 0.0, state.move)  # only rounding left
    arrived |= last & (state.tries >= 3) & near & ~fresh
    arrived |= ~last & (state.tries >= 3) & (state.move * at.scale <= IDLE * at.size)
    _advance(rows, state, at, arrived, last, tol)
    _step(rows, state, at, ~arrived & ~fresh, largest)
    _take_up(state, at, fresh)


def _begin(rows: Rows, y, low, high, lower, upper) -> State:
    R, is_aux = rows.R, rows.is_aux
    lost = ~y.isfinite().all(-1)
    y = torch.where(lost[:, None], 0.0, y)
    worth = torch.where(is_aux, y, 0.0)  # of auxiliary variables, which have no point
    scale, width = y.abs().amax(-1), upper - lower
    y = torch.where(is_aux, 0.0, y)
    centre = torch.minimum(torch.maximum(y, lower), upper)
    reach = (y - centre).abs().amax(-1)
    act = centre @ R.T
    hold = torch.minimum(torch.maximum(act, low), high)
    far = torch.maximum(reach, (hold - act).abs().amax(-1))  # where bounds do not say
    unit = torch.where(width.isfinite(), width, far[:, None]).amax(-1)
    unit = torch.where(unit > 0, unit, scale.clamp(min=1e-300))
    first, least, shrink = PLAIN if rows.aux is None else WITH_AUX
    soft = (low < high).any(-1) | (rows.aux is not None)
    widths = unit / reach.clamp(min=1e-300)
    end = (FARTHEST * widths).clamp(max=1.0)
    share = torch.minimum(FIRST_STAGE * widths, end)
    none, endless = torch.zeros_like(lost), torch.full_like(unit, torch.inf)
    prox = torch.where(soft, torch.full_like(unit, first), least)
    point = centre + share[:, None] * torch.where(is_aux, worth / prox[:, None], y - centre)
    return State(
        number=torch.arange(len(y), device=y.device),
        y=y,
        worth=worth,
        low=low,
        high=high,
        lower=lower,
        upper=upper,
        centre=centre,
        anchor=centre.clone(),
        hold=hold,
        mu=torch.zeros_like(low),
        base=torch.zeros_like(low),
        point=point,
        taken=none,
        unit=unit,
        scale=1 + scale,
        share=share,
        end=end,
        prox=prox,
        shrink=torch.full_like(unit, shrink),
        least=torch.full_like(unit, least),
        best=endless,
        tries=torch.zeros_like(lost, dtype=torch.long),
        before=endless,
        most=torch.zeros_like(unit),
        ease=torch.ones_like(unit),
        move=endless,
        safe=none,
        done=lost,
        answer=torch.full_like(y, torch.nan),
        quality=torch.full_like(unit, torch.nan),
    )


def _evaluate(rows: Rows, state: State) -> Point:
    R, is_aux = rows.R, rows.is_aux
    stiff = 1 / state.prox[:, None]
    inverse = torch.where(is_aux, stiff, 1.0)
    moved = state.point - (state.mu @ R) * inverse
    x = torch.minimum(torch.maximum(moved, state.lower), state.upper)
    size = 1 + x.abs().amax(-1)
    act, slack = x @ R.T, state.hold + state.mu * stiff
    held = torch.minimum(torch.maximum(slack, state.low), state.high)
    return Point(
        x=x,
        moved=moved,
        free=(moved > state.lower) & (moved < state.upper),
        act=act,
        slack=slack,
        off=(slack > state.low) & (slack < state.high),
        gradient=act - held,
        inverse=inverse,
        stiff=stiff,
        scale=torch.maximum(state.scale, size),
        size=size,
    )


def _residual(rows: Rows, state: State, at: Point) -> Tensor:
    """Return the residual, as `_kernels/newton_residual.py` does; NaN if anything is."""
    total = state.mu + state.base
    above, below = at.act - state.high, state.low - at.act
    slack = torch.where(total > 0, above, below).abs()
    mu = total.abs() / at.scale[:, None]
    either = torch.minimum(mu, slack / at.size[:, None])
    either = torch.where(total != 0, either, 0.0).amax(-1)
    violation = torch.maximum(above, below).amax(-1) / at.size
    result = torch.maximum(torch.maximum(violation, either), violation.new_zeros(()))
    if rows.aux is not None:
        gradient = _aux_gradient(rows.R, rows.aux, state, at, total) / at.scale
        result = torch.maximum(result, gradient)
    return result


def _way_left(state: State, result: Tensor) -> Tensor:
    """Return the residual of the last stage: at least the last step, where that was not short."""
    return torch.where(state.move > SHORT, torch.maximum(result, state.move), result)


def _aux_gradient(R: Tensor, aux: Tensor, state: State, at: Point, mu: Tensor) -> Tensor:
    """Return by how much the multipliers miss R_j . mu = 0, in units of multipliers, at most."""
    R = R.index_select(1, aux)
    worth = (state.share[:, None] * state.worth).index_select(1, aux)
    total, largest = mu @ R - worth, mu.abs() @ R.abs() + worth.abs()
    slack = -torch.maximum(at.act - state.high, state.low - at.act)
    active = (~(slack > 1e-8 * at.size[:, None])).to(R)
    norms = (active @ (R * R)).sqrt()
    x, lower, upper = (v.index_select(1, aux) for v in (at.x, state.lower, state.upper))
    fine = ((total > 0) & (x <= lower)) | ((total < 0) & (x >= upper))
    fine |= total.abs() <= 1e-15 * largest
    return torch.where(fine, 0.0, total.abs() / torch.where(norms > 0, norms, 1.0)).amax(-1)


def _advance(
    rows: Rows, state: State, at: Point, arrived: Tensor, last: Tensor, tol: float
) -> None:
    """Next stage of the instances that arrived; those that are finished are written down."""
    result = _residual(rows, state, at)
    lost = ~result.isfinite()
    result = torch.where(arrived & last, _way_left(state, result), result)
    stuck = last & (result > 0.5 * state.before) & (result <= 1e-9)
    finished = arrived & (state.share == state.end) & ((result <= tol) | stuck)
    finished = (finished | lost) & ~state.done
    state.answer = torch.where(finished[:, None], at.x, state.answer)
    state.quality = torch.where(finished, result, state.quality)
    state.done = state.done | finished
    here = arrived[:, None]
    state.anchor = torch.where(here & rows.is_aux, at.x, state.anchor)
    held = torch.minimum(torch.maximum(at.slack, state.low), state.high)
    state.hold = torch.where(here, held, state.hold)
    stuck = arrived & last & (result > 0.5 * state.before)
    state.before = torch.where(arrived & last, torch.where(stuck, torch.inf, result), state.before)
    # Rounding, divided by the curvature, is all that moves: more of it, more rounds.
    state.least = torch.where(stuck, 10 * state.least, state.least)
    state.mu = torch.where(here, state.mu + state.base, state.mu)
    state.base = torch.where(here, 0.0, state.base)
    state.taken = state.taken & ~arrived
    grown = torch.minimum(state.share * GROWTH, state.end)
    grown = torch.where(arrived, grown, state.share)
    state.mu = state.mu * (grown / state.share)[:, None]
    sharper = arrived & (state.share == state.end)
    sharp = torch.maximum(state.prox * state.shrink, state.least)
    state.prox = torch.where(sharper, sharp, state.prox)
    state.share = grown
    goal = state.centre + grown[:, None] * (state.y - state.centre)
    if rows.aux is not None:
        worth = state.anchor + (grown / state.prox)[:, None] * state.worth
        goal = torch.where(rows.is_aux, worth, goal)
    state.point = torch.where(here, goal, state.point)
    state.best = torch.where(arrived, torch.inf, state.best)
    state.move = torch.where(arrived, torch.inf, state.move)
    state.tries = torch.where(arrived, 0, state.tries)
    state.safe = state.safe & ~arrived


def _take_up(state: State, at: Point, fresh: Tensor) -> None:
    """Let the point and the slacks have the multipliers; see `take_up` in `_kernels/newton.py`."""
    here = fresh[:, None]
    state.point = torch.where(here, at.moved, state.point)
    state.hold = torch.where(here, at.slack, state.hold)
    state.base = torch.where(here, state.base + state.mu, state.base)
    state.mu = torch.where(here, 0.0, state.mu)
    state.taken = state.taken | fresh
    state.best = torch.where(fresh, torch.inf, state.best)
    state.tries = torch.where(fresh, 0, state.tries)


def _step(rows: Rows, state: State, at: Point, moving: Tensor, largest: Tensor) -> None:
    """Newton's step, where the instance did not just change its stage.

    Where rounding breaks a singular system down, the instance stays where it is and is damped
    enough from then on, until its next stage.
    """
    R = rows.R
    state.most = torch.maximum(state.most, torch.where(moving, largest, 0.0))
    damping = DAMPING * state.ease * (largest / state.most.clamp(min=1e-300)).clamp(max=1.0)
    weight = torch.where(at.free, at.inverse, 0.0)
    own = weight @ (R * R).T
    gram = (R * weight[:, None, :]) @ R.T
    gram = torch.where(at.off[:, :, None] | at.off[:, None, :], 0.0, gram)
    size = torch.where(own > 0, own, 1.0)
    rank = torch.where(state.safe, _RANK + _SAFE, _RANK)[:, None]
    diagonal = torch.where(at.off, at.stiff + own, damping[:, None] + rank * size)
    gram.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    factor, info = torch.linalg.cholesky_ex(gram)
    broken = (info > 0) & ~state.safe
    state.safe, moving = state.safe | (broken & moving), moving & ~broken
    d = torch.cholesky_solve(at.gradient[..., None], factor).squeeze(-1)
    t = _line_search(R, state, at, d)
    far = at.moved - (t[:, None] * d) @ R * at.inverse
    far = torch.minimum(torch.maximum(far, state.lower), state.upper) - at.x
    move = torch.where(rows.is_aux, 0.0, far.abs()).amax(-1) / at.scale
    eased = torch.where(t > 2, (state.ease / t**2).clamp(min=1e-16), state.ease)
    eased = torch.where(t < 0.5, (10 * eased).clamp(max=1.0), eased)
    state.ease = torch.where(moving, eased, state.ease)
    state.move = torch.where(moving, move, state.move)
    state.mu = torch.where(moving[:, None], state.mu + t[:, None] * d, state.mu)


def _line_search(R: Tensor, state: State, at: Point, d: Tensor) -> Tensor:
    """Return where the dual function is highest along d; 1 where that will do."""
    along = d @ R
    held = torch.minimum(torch.maximum(at.slack, state.low), state.high)
    return line_search(
        first=(d * at.gradient).sum(-1),
        start=torch.cat([at.moved, at.slack], 1),
        speed=torch.cat([-along * at.inverse, d * at.stiff], 1),
        lower=torch.cat([state.lower, state.low], 1),
        upper=torch.cat([state.upper, state.high], 1),
        before=torch.cat([at.x, held], 1),
        weight=torch.cat([along, -d], 1),
        noise=ROUNDING * at.scale * d.abs().sum(-1),
    )
