r"""Projections of points with entries far beyond the others: masks that are needed, and huge ones.

For $y = y_0 - M w$ with weights $w > 0$ at masked parts, and $M \to \infty$,

$$ \tfrac12 \|z - y\|^2 = M\, w \cdot z + \tfrac12 \|z - y_0\|^2 + \text{const}. $$

So first $w \cdot z$ is made as small as the set allows, a linear program whose optima are a face,
and then $y_0$ is projected onto that face. Masks at several levels (-1e9 beside the lowest float)
are linear programs one within the optima of the other. Which face it is, a method on numbers of
several levels says; the projection onto it is one like any other. Huge entries of either sign are
the same with $w$ of that sign; there the multipliers have to have their signs at the given $M$.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ._by_plan import by_plan
from ._errors import SolverFailed
from ._kernels.arrays import HUGE
from ._masks import Low, Needed
from ._plan.failures import CLOSED_FORM, Report, index_of
from ._polytope.polytope import Polytope
from ._projections import PROJECTIONS
from ._solvers.extended import CURVATURE, WIDE, constraints
from ._solvers.levels import nearest_in_levels

_SMALL = 60_000  # entries of a set for which extended precision is worth its time
_BELOW = 1e-9  # of the farthest entry: what is less far is of another level
_ALIKE = 1e3  # how far entries may be apart, in units of the others, to be one and a score each
_FARTHEST = 1e6  # but no farther than that
_ZERO = 1e-12  # of what a level leaves of a point
_ROUNDED = 1e10  # size from which the rounding of a point is seen in closed forms
_NO_DIGIT = 1e12  # times the answer, entries of a point leave it hardly a digit
_TOO_FAR = "its largest entries are too far from the others to be weighed against them"
_AGREED = 1e-6  # of two answers, which say that the face is the right one


class Levels(NamedTuple):
    """A point with entries far beyond the others as numbers of several levels.

    Attributes:
        weights: `(levels, n)`, at the parts of each level, the farthest first; negative where an
            entry is far above the others.
        sizes: `(levels,)`, by what they are multiplied.
        y: `(n,)`, what is left of the point.
        masks: Whether all of them are masks.
    """

    weights: np.ndarray
    sizes: np.ndarray
    y: np.ndarray
    masks: bool


def levels_of(x: np.ndarray, low: Low, number: int) -> Levels:
    """Return the levels of one instance: minus infinity, then entries of about the same size.

    Entries that differ by no more than scores do are one, and what they differ by is a score.

    Args:
        x: Its point, `(n,)`.
        low: Of the batch.
        number: Of the instance.
    """
    parts, infinite, least, excess = (v[number].cpu().numpy() for v in low[:4])
    huge = ~parts & (np.abs(x) > HUGE)
    y = np.where(parts, np.where(np.isfinite(least), least, 0.0), np.where(huge, 0.0, x))
    given, y = np.where(huge, x, excess), y.astype(float)
    others = float(np.abs(np.where(parts | huge, 0.0, x)).max(initial=0.0))
    near = min(_ALIKE * (1 + others), _FARTHEST)
    weights, sizes = ([infinite.astype(float)], [np.inf]) if infinite.any() else ([], [])
    left = (parts | huge) & ~infinite
    while left.any():
        size = float(np.abs(given[left]).max())
        level = left & (np.abs(given) >= _BELOW * size)
        weight, open_ = np.zeros_like(y), level.copy()
        while open_.any():  # those that are alike, from the highest on
            top = float(given[open_].max())
            alike = open_ & (given >= top - near)
            weight[alike] = -top / size
            y[alike] += given[alike] - top
            open_ &= ~alike
        weights.append(weight)
        sizes.append(size)
        left &= ~level
    weights = np.array(weights).reshape(-1, len(y))
    return Levels(weights, np.array(sizes), y, not huge.any())


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
    x, u, met = answer
    if not (found.masks or _is_far_enough(found, u[rows.equal :])):
        return None
    number, side = rows.number[met], rows.sign[met]
    at = np.zeros(len(R), dtype=bool)
    at[kept[number[number >= 0]]] = True
    face = _with_active(polytope, at[: len(b)], -1 - number[number < 0], side[number < 0] > 0)
    return face, (x[:n, -1] / unit[:n]).astype(float)


def _is_far_enough(found: Levels, u: np.ndarray) -> bool:
    """Tell whether multipliers have their sign at the size that entries have, not only beyond."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.where(u[:, :-1] == 0, 0, u[:, :-1] * found.sizes).sum(1) + u[:, -1]
    return bool((total >= -_ZERO * (1 + np.abs(u[:, -1]))).all())


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


def with_huge(
    needed: Needed, x: Tensor, low: Low, bad: Tensor | None, z: Tensor, report: Report
) -> Tensor:
    """Return projections, those of points with huge entries answered anew.

    What solvers are held to is relative to the point: beside entries of 1e30 that says nothing.
    What cannot be answered otherwise is a failure where no digit of it is known; but closed forms,
    which round the point alone, stay.

    Args:
        needed: Projects in levels.
        x: The points.
        low: Their low parts.
        bad: Instances that were taken out.
        z: What was answered.
        report: Told of failures.
    """
    sizes, flat = _sizes(x, low, bad), z.reshape(low.parts.shape)
    kinds = {i: failure.kind for i, failure in report.failures.items()}
    known = flat.detach().isfinite().all(-1).cpu()
    solvers = report.answers_of().solver(len(sizes))
    closed = {i for i, name in enumerate(solvers) if name == CLOSED_FORM and i not in kinds}
    numbers = [
        i
        for i in (sizes > HUGE).nonzero()[:, 0].tolist()
        if (kinds[i] is SolverFailed if i in kinds else known[i])
        and not (i in closed and sizes[i] < _ROUNDED)
    ]
    if not numbers:
        return z
    found, answers = needed(x, low, numbers, report, False), list(flat.unbind(0))
    beyond = sizes > _NO_DIGIT * (1 + flat.detach().abs().amax(-1).cpu())  # false for NaN
    for i in numbers:
        if i in found:
            answers[i] = found[i].reshape(-1).to(z.dtype)
            report.failures.pop(i, None)
        elif i not in closed and beyond[i]:
            answers[i] = torch.full_like(answers[i], torch.nan)
            report.fail(i, _TOO_FAR)
    return torch.stack(answers).reshape(z.shape)


def _sizes(x: Tensor, low: Low, bad: Tensor | None) -> Tensor:
    """Return how large the entries of every instance are that are no masks, on the CPU."""
    points = x.detach().reshape(low.parts.shape)
    left_out = low.parts | ~points.isfinite()
    left_out = left_out if bad is None else left_out | bad.reshape(-1, 1)
    return torch.where(left_out, 0, points.abs()).amax(-1).cpu()
