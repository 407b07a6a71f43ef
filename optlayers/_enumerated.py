"""Points of small polytopes, all of them: what decoders are compared with."""

import itertools

import numpy as np
import torch
from torch import Tensor

from ._errors import InputError, PolytopeError
from ._judge.multipliers import find_auxiliary
from ._judge.problem import problem_of
from ._polytope.polytope import Polytope

_VALUES = ("lower", "upper", "b", "b_eq")
_LIMIT = 1 << 20  # points that an enumeration may look at


def vertices(polytope: Polytope) -> Tensor:
    """List all integral points of a small polytope without batch dimensions, `(count, n)`.

    Every integral combination within the bounds is tested, so n is at most about 16 for boolean
    variables. With auxiliary variables, a linear program per candidate decides whether they exist.

    Raises:
        InputError: If the polytope is batched, unbounded, or has too many candidates; if only some
            of its variables are integers.
    """
    if polytope.batch_shape:
        raise InputError(
            f"`vertices` takes one polytope. Got the batch {tuple(polytope.batch_shape)}."
        )
    if isinstance(polytope.integral, tuple):
        raise InputError(
            "`vertices` lists points whose variables are all integers. "
            f"Got {polytope!r}; `P.with_(integral=True)` has such points alone."
        )
    lower, upper = (v.cpu().numpy() for v in (polytope.lower, polytope.upper))
    n, first, last = polytope.n, np.ceil(lower[: polytope.n]), np.floor(upper[: polytope.n])
    total = np.prod(np.maximum(last - first + 1, 0))
    if not total <= _LIMIT:
        raise InputError(f"`vertices` looks at up to {_LIMIT} candidates. Got {total:g}.")
    ranges = [np.arange(a, b + 1) for a, b in zip(first, last, strict=True)]
    points = np.array(list(itertools.product(*ranges)), dtype=np.float64).reshape(-1, n)
    for rows, values, equality in (
        (polytope.A, polytope.b, False),
        (polytope.A_eq, polytope.b_eq, True),
    ):
        # What the auxiliary variables can contribute at best, and at worst for an equality.
        own, other, right = rows[:, :n], rows[:, n:], values.cpu().numpy()
        positive, negative = other.maximum(0), other.minimum(0)
        least = _times(positive, lower[n:]) + _times(negative, upper[n:])
        most = _times(positive, upper[n:]) + _times(negative, lower[n:])
        sums = (own @ points.T).T
        slack = 1e-9 * np.maximum(1.0, np.abs(sums))
        keep = (sums + least <= right + slack).all(1)
        if equality:
            keep &= (sums + most >= right - slack).all(1)
        points = points[keep]
    if polytope.num_aux and len(points):
        points = points[_completable(polytope, points)]
    return torch.from_numpy(points)


def _times(rows, values: np.ndarray) -> np.ndarray:
    """Sum rows * values by row, where a coefficient of zero silences an infinite value."""
    dense = rows.toarray()
    return np.where(dense != 0, dense, 0.0) @ np.nan_to_num(values, posinf=1e30, neginf=-1e30)


def _completable(polytope: Polytope, points: np.ndarray) -> np.ndarray:
    problem = problem_of(polytope, torch.Size([len(points)]))
    x = np.concatenate([points, find_auxiliary(problem, points)], 1)
    over = (problem.A @ x.T).T - problem.b
    off = np.abs((problem.A_eq @ x.T).T - problem.b_eq)
    return (over <= 1e-7).all(1) & (off <= 1e-7).all(1)


def best_mixed(polytope: Polytope, s: np.ndarray) -> float:
    """Return the best score: a linear program for every combination of the integers."""
    from scipy.optimize import linprog

    lower, upper, b, b_eq = (getattr(polytope, k).cpu().numpy() for k in _VALUES)
    at = np.flatnonzero(polytope.whole)
    first, last = np.ceil(lower[at]), np.floor(upper[at])
    if not np.prod(np.maximum(last - first + 1, 0)) <= _LIMIT:
        raise InputError(f"{polytope!r} has more than {_LIMIT} combinations of its integers.")
    kept, best = np.isfinite(b), -np.inf
    cost = -np.append(s, np.zeros(polytope.num_aux))
    for integers in itertools.product(*map(np.arange, first, last + 1)):
        lower[at] = upper[at] = integers
        bounds = np.stack([lower, upper], 1)
        found = linprog(cost, polytope.A[kept], b[kept], polytope.A_eq, b_eq, bounds)
        best = max(best, -found.fun) if found.status == 0 else best
    if best == -np.inf:
        raise PolytopeError(f"{polytope} has no such point, so there is nothing to decode.")
    return float(best)
