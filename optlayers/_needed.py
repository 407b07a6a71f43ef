r"""Projections that cannot do without masked parts: the limit of masks that fall for ever.

For $y = y_0 - M w$ with weights $w > 0$ at masked parts, and $M \to \infty$,

$$ \tfrac12 \|z - y\|^2 = M\, w \cdot z + \tfrac12 \|z - y_0\|^2 + \text{const}. $$

So first $w \cdot z$ is made as small as the set allows, a linear program whose optima are a face,
and then $y_0$ is projected onto that face. Masks at several levels (-1e9 beside the lowest float)
are linear programs one within the optima of the other. Which face it is, a method on numbers of
several levels says; the projection onto it is one like any other.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ._by_plan import by_plan
from ._masks import Low
from ._plan.failures import Report, index_of
from ._polytope.polytope import Polytope
from ._projections import PROJECTIONS
from ._solvers.extended import CURVATURE, WIDE, constraints
from ._solvers.levels import nearest_in_levels

_SMALL = 60_000  # entries of a set for which extended precision is worth its time
_BELOW = 1e-4  # of the lowest mask: what is above is of another level
_ALIKE = 1e3  # how far masks may be apart, in units of the others, to be one mask and a score each
_ZERO = 1e-12  # of what a level leaves of a point
_AGREED = 1e-6  # of two answers, which say that the face is the right one


class Levels(NamedTuple):
    """A point with masks as numbers of several levels.

    Attributes:
        weights: `(levels, n)`, positive at the masked parts of each level, the lowest masks first.
        y: `(n,)`, what is left of the point.
    """

    weights: np.ndarray
    y: np.ndarray


def levels_of(x: np.ndarray, low: Low, number: int) -> Levels:
    """Return the levels of one instance: minus infinity, then masks of about the same size.

    Masks that differ by no more than scores do are one mask, and what they differ by is a score.

    Args:
        x: Its point, `(n,)`.
        low: Of the batch.
        number: Of the instance.
    """
    parts, infinite, least, excess = (v[number].cpu().numpy() for v in low[:4])
    near = _ALIKE * (1 + float(low.size[number]))
    y = np.where(parts, np.where(np.isfinite(least), least, 0.0), x).astype(float)
    weights = [infinite.astype(float)] if infinite.any() else []
    left = parts & ~infinite
    while left.any():
        lowest = float(excess[left].min())
        level = left & (excess <= _BELOW * lowest)
        weight, open_ = np.zeros_like(y), level.copy()
        while open_.any():  # those that are alike, from the highest on
            top = float(excess[open_].max())
            alike = open_ & (excess >= top - near)
            weight[alike] = top / lowest
            y[alike] += excess[alike] - top
            open_ &= ~alike
        weights.append(weight)
        left &= ~level
    return Levels(np.array(weights), y)


def face_of(polytope: Polytope, found: Levels) -> tuple[Polytope, np.ndarray] | None:
    """Return the face of a set with as little of masked parts as can be, and the nearest point.

    Args:
        polytope: Without batch dimensions.
        found: The point.

    Returns:
        None where it is not known for sure, or the set is too large.
    """
    n, num_vars = polytope.n, polytope.num_vars
    R = sp.vstack([polytope.A, polytope.A_eq]).toarray()
    if num_vars * (num_vars + len(R)) > _SMALL:
        return None
    arrays = (getattr(polytope, k).detach().cpu().numpy() for k in ("b", "b_eq", "lower", "upper"))
    b, b_eq, lower, upper = arrays
    low, high = np.concatenate([np.full(len(b), -np.inf), b_eq]), np.concatenate([b, b_eq])
    kept = np.flatnonzero((R != 0).any(1) & ((low > -np.inf) | (high < np.inf)))
    unit = np.sqrt(np.where(np.arange(num_vars) < n, 1.0, CURVATURE).astype(WIDE))
    rows = constraints(R[kept].astype(WIDE) / unit, unit, low[kept], high[kept], lower, upper)
    y = np.zeros((num_vars, len(found.weights) + 1), dtype=WIDE)
    y[:n, :-1], y[:n, -1] = -found.weights.T, found.y
    answer = nearest_in_levels(rows, y)
    if answer is None or np.abs(answer[0][:, :-1]).max(initial=0.0) > _ZERO:
        return None
    x, _, met = answer
    number, side = rows.number[met], rows.sign[met]
    at = np.zeros(len(R), dtype=bool)
    at[kept[number[number >= 0]]] = True
    face = _with_active(polytope, at[: len(b)], -1 - number[number < 0], side[number < 0] > 0)
    return face, (x[:n, -1] / unit[:n]).astype(float)


def _with_active(
    polytope: Polytope, rows: np.ndarray, variables: np.ndarray, above: np.ndarray
) -> Polytope:
    """Return the points that meet some of the rows, and some of the bounds, with equality."""
    b, b_eq, lower, upper = (polytope.with_graph(k) for k in ("b", "b_eq", "lower", "upper"))
    up, down = (torch.zeros(len(lower), dtype=torch.bool, device=lower.device) for _ in range(2))
    up[torch.from_numpy(variables[above])] = True
    down[torch.from_numpy(variables[~above])] = True
    at = torch.from_numpy(rows).to(b.device)
    return Polytope(
        polytope.A[~rows],
        b[~at],
        A_eq=sp.vstack([polytope.A_eq, polytope.A[rows]]),
        b_eq=torch.cat([b_eq, b[at]]),
        lower=torch.where(up & ~down, upper, lower),
        upper=torch.where(down & ~up, lower, upper),
        num_aux=polytope.num_aux,
        integral=polytope.integral,
    )


def project_needed(
    polytope: Polytope, y: Tensor, low: Low, numbers: list[int], report: Report
) -> dict[int, Tensor]:
    """Return the projections of instances that need masked parts, as far as they are known.

    Args:
        polytope: Whose batch broadcasts to that of `y`.
        y: `(..., n)`.
        low: Its low parts.
        numbers: Of these instances in the flattened batch.
        report: Told who answered.
    """
    batch, flat, answers = y.shape[:-1], y.reshape(-1, y.shape[-1]), dict[int, Tensor]()
    for i in numbers:
        own = flat[i].double()
        found = levels_of(own.detach().cpu().numpy(), low, i)
        made = face_of(polytope.instance(index_of(i, batch), graph=True), found)
        if made is None:
            continue
        face, point = made
        same = torch.where(own > -torch.inf, own, 0)
        asked = torch.from_numpy(found.y).to(own.device) + (same - same.detach())
        single = report.another()
        z = by_plan(face, PROJECTIONS, asked[None], single)[0]
        apart = np.abs(z.detach().cpu().numpy() - point).max(initial=0.0)
        size = 1 + np.abs(found.y).max(initial=0.0)
        if single.failures or not apart <= _AGREED * size:
            continue
        if (worst := single.worst(0)) is not None:
            report.answers[i] = worst
        answers[i] = z.to(y.dtype)
    return answers
