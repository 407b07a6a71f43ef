"""Judges a projection: recomputes the multipliers by itself and trusts neither solver nor plan."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._errors import InputError
from .._polytope.joint import lead_of, tail_of
from .._polytope.polytope import Polytope, as_polytope
from .multipliers import find_auxiliary, recompute
from .problem import CertifiedProblem, flatten, problem_of
from .repair import feasible_near

# Times sqrt(tol) * scale: a distance bound above it is not "within tol". A duality gap is about as
# large as the residuals, and the bound its square root; beyond, small residuals prove nothing.
_FAR = 100.0
_SMALL, _NEAR = 1e-9, 1e-4  # a bound to be improved, and how far w may be for that
_ROUNDING = 4 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class Certificate:
    r"""How far a point is from satisfying the optimality conditions of the projection.

    All residuals are absolute, in the units of z, whatever rows and auxiliary variables are
    multiplied with; `scale` is what they are compared with, because rounding in a projection grows
    with the point. Tensors are float64 on the CPU and have the batch shape.

    Attributes:
        primal: Largest violation of a row, divided by the norm of its coefficients on z (of all,
            where it has none there), or of a bound.
        dual: Largest entry of $|z - \mathrm{clip}(y - A^\top\lambda - A_{eq}^\top\nu, l, u)|$, and
            of the same residual without y for auxiliary variables, each in units in which its
            largest coefficient is about 1.
        complementarity: Largest $\min(\lambda_i |a_i|, (b - Az)_i / |a_i|)$, which is zero where a
            row is active or its multiplier is.
        distance: Upper bound on $\|z - z^*\|_2$, exact arithmetic aside, whether z satisfies the
            constraints or not: inf where no point of the set was found near z. A set that is empty
            by less than about 1e-6 is read with the nearest right-hand sides that are not.
        scale: The largest of 1, |z| and those |y| that a bound does not make irrelevant.
        lam: Multipliers of the inequality rows, `(..., m)`, never negative.
        nu: Multipliers of the equality rows, `(..., m_eq)`.
    """

    primal: Tensor
    dual: Tensor
    complementarity: Tensor
    distance: Tensor
    scale: Tensor
    lam: Tensor
    nu: Tensor

    @property
    def residual(self) -> Tensor:
        """Largest of the three residuals divided by `scale`: what `holds` compares."""
        largest = torch.maximum(torch.maximum(self.primal, self.dual), self.complementarity)
        return largest / self.scale

    def within(self, tol: float) -> Tensor:
        """Return, per instance, whether residuals are at most `tol * scale`, and the point near.

        Near: `distance` is at most `100 sqrt(tol) scale`, about the square root of the gap that
        such residuals leave. Where it is larger or infinite, or anything is NaN: False. So a right
        point is refused where no distance is known: some sets with auxiliary variables that have
        no bound, and sets that two rows leave hardly any width.
        """
        near = self.distance <= _FAR * tol**0.5 * self.scale
        return (self.residual <= tol) & near & self.distance.isfinite()

    def holds(self, tol: float) -> bool:
        """Return whether every instance is `within(tol)`."""
        return bool(self.within(tol).all())

    def worst(self) -> tuple[int, ...]:
        """Return the index of the largest residual's instance, `()` without batch dimensions."""
        if not self.residual.numel():
            raise InputError("An empty batch has no worst instance.")
        residual = torch.where(self.residual.isnan(), torch.inf, self.residual)
        return tuple(int(i) for i in np.unravel_index(int(residual.argmax()), self.residual.shape))

    def __str__(self) -> str:
        names = ("primal", "dual", "complementarity", "distance")
        count = self.residual.numel()
        if not count:
            return "Certificate(no instances)"
        signs = dict.fromkeys(names, " ") | {"distance": " <= "}
        values = ", ".join(f"{n}{signs[n]}{float(getattr(self, n).max()):.1e}" for n in names)
        if not self.residual.shape:
            return f"Certificate({values})"
        return f"Certificate({values}; {count} instances, worst {list(self.worst())})"

    __repr__ = __str__


class Residuals(NamedTuple):
    """Result of `residuals`, each `(N,)`; see `Certificate`."""

    primal: np.ndarray
    dual: np.ndarray
    complementarity: np.ndarray
    distance: np.ndarray
    scale: np.ndarray


def certify(
    polytope: Polytope,
    y: Any,
    z: Any,
    *,
    multipliers: tuple[Any, Any] | None = None,
    psi: Any = None,
) -> Certificate:
    r"""Judge z as the projection of y, without asking how it was computed.

    The multipliers are recomputed from z: in closed form for components of the constraints with one
    row, else by nonnegative least squares on the rows and bounds active at z. The objective is
    1-strongly convex, so for a feasible point $z_f$ and any dual value d (here with the bounds
    minimised over exactly), $\|z_f - z^*\| \le \sqrt{2 (f(z_f) - d)}$; where z violates a row, a
    feasible $z_f$ is found nearby and $\|z - z_f\|$ added. Auxiliary variables are found by a
    linear program. Cost: linear in the nonzeros for one-row components, a small dense problem per
    instance and component otherwise, and a linear program for points far outside. Computed in
    float64 on the CPU.

    Args:
        polytope: What was projected onto; batch dimensions broadcast with those of y and z.
        y: Points that were projected, `(..., n)` or arrays, of any floating dtype and device.
        z: What is claimed to be their projection, likewise.
        multipliers: `(lam, nu)` to be used instead of recomputing, `(..., m)` and `(..., m_eq)`;
            negative entries of lam count as zero. Wrong multipliers cannot make a wrong point pass.
        psi: Auxiliary variables `(..., num_aux)`, if known.

    Raises:
        InputError: If shapes do not fit.

    Examples:
        >>> P = Polytope([[1.0, 1.0]], [1.0])
        >>> certify(P, [2.0, 1.0], [1.0, 0.0]).holds(1e-12)
        True
        >>> certify(P, [2.0, 1.0], [0.5, 0.5]).holds(1e-3)
        False
    """
    as_polytope(polytope, "certify")
    dtype = z.dtype if isinstance(z, Tensor) and z.is_floating_point() else torch.float64
    eps = torch.finfo(dtype).eps
    y, z = (_as_points(v, polytope.n, name, polytope) for v, name in ((y, "y"), (z, "z")))
    try:
        batch = torch.broadcast_shapes(y.shape[:-1], z.shape[:-1], polytope.batch_shape)
    except RuntimeError:
        raise InputError(
            "The batch dimensions of `y`, `z` and the polytope must agree. Got "
            f"{tuple(y.shape[:-1])}, {tuple(z.shape[:-1])} and {tuple(polytope.batch_shape)}."
        ) from None
    if polytope.rows_batch:
        y, z = (v.expand(*batch, -1) for v in (y, z.to(dtype)))
        return _by_rows(polytope, batch, y, z, multipliers, psi)
    problem = problem_of(polytope, batch)
    y, z = flatten(y, batch), flatten(z, batch)
    # An instance that is not finite is judged at zero, and then told that it is infinitely wrong.
    bad = ~(np.isfinite(y).all(1) & np.isfinite(z).all(1))
    y, z = np.where(bad[:, None], 0.0, y), np.where(bad[:, None], 0.0, z)
    if psi is None:
        psi = find_auxiliary(problem, z)
    else:
        psi = flatten(_as_points(psi, polytope.num_aux, "psi"), batch) * problem.form.aux_scale
    x, row_scale = np.concatenate([z, psi], 1), problem.form.row_scale
    m = polytope.A.shape[0]
    if multipliers is None:
        lam, nu = recompute(problem, _shortened(problem, y, z, eps), x, eps)
    else:
        lam, nu = _given(multipliers, polytope, batch, row_scale)
    found = residuals(problem, y, x, lam, nu)
    scale = found.scale
    found = [np.where(bad | np.isnan(v), np.inf, v) for v in found[:4]]
    primal, dual, complementarity, distance, scale = (
        torch.from_numpy(np.ascontiguousarray(v)).reshape(batch) for v in (*found, scale)
    )
    lam, nu = (
        torch.from_numpy(v * s).reshape(*batch, v.shape[1])
        for v, s in ((lam, row_scale[:m]), (nu, row_scale[m:]))
    )
    return Certificate(primal, dual, complementarity, distance, scale, lam, nu)


def _given(multipliers: tuple[Any, Any], polytope: Polytope, batch: torch.Size, scale: np.ndarray):
    """Return the multipliers of the user, `(N, m)` and `(N, m_eq)`, of rows that were scaled."""
    m, m_eq = polytope.A.shape[0], polytope.A_eq.shape[0]
    given = zip(multipliers, (m, m_eq), ("lam", "nu"), strict=True)
    lam, nu = (flatten(_as_points(v, size, name), batch) for v, size, name in given)
    return np.maximum(lam, 0.0) / scale[:m], nu / scale[m:]


def _by_rows(polytope: Polytope, batch: torch.Size, y: Tensor, z: Tensor, multipliers, psi):
    """Judge the instances of each matrix of rows on their own."""
    tail, lead = tail_of(polytope, batch), lead_of(polytope, batch)
    sizes = (polytope.rows.count, polytope.rows_eq.count)
    if multipliers is not None:
        pairs = zip(multipliers, sizes, ("lam", "nu"), strict=True)
        multipliers = [_as_points(v, m, name).expand(*batch, -1) for v, m, name in pairs]
    if psi is not None:
        psi = _as_points(psi, polytope.num_aux, "psi").expand(*batch, -1)
    found: list[Certificate] = []
    for index in np.ndindex(*tail):
        at = (..., *index, slice(None))
        given = None if multipliers is None else (multipliers[0][at], multipliers[1][at])
        own = None if psi is None else psi[at]
        single = certify(polytope.of_rows(index), y[at], z[at], multipliers=given, psi=own)
        found.append(single)
    per_instance = (
        torch.stack([getattr(c, name) for c in found], len(lead)).reshape(batch)
        for name in ("primal", "dual", "complementarity", "distance", "scale")
    )
    of_rows = (
        torch.stack([getattr(c, name) for c in found], len(lead)).reshape(*batch, m)
        for name, m in zip(("lam", "nu"), sizes, strict=True)
    )
    return Certificate(*per_instance, *of_rows)


def _shortened(problem: CertifiedProblem, y: np.ndarray, z: np.ndarray, eps: float) -> np.ndarray:
    """Points whose masks are no larger than others can make them matter.

    An entry far beyond the bound at which z has it says no more than one that is a bit beyond: what
    explains z for the nearer point explains it for y. Tolerances that grow with the point then do
    not grow with a mask of -1e30. The residuals are those of y itself.
    """
    n, near = z.shape[1], 16 * eps * (1 + np.abs(z))
    below = (y < z) & (z <= problem.lower[:, :n] + near)
    above = (y > z) & (z >= problem.upper[:, :n] - near)
    masked = below | above
    reach = 1 + 1e3 * np.where(masked, 0.0, np.abs(y - z)).max(1, initial=0.0)[:, None]
    reach = np.maximum(reach, 1e3 * (1 + np.abs(z).max(1, initial=0.0)[:, None]))
    return np.where(masked, np.clip(y, z - reach, z + reach), y)


def residuals(
    problem: CertifiedProblem, y: np.ndarray, x: np.ndarray, lam: np.ndarray, nu: np.ndarray
) -> Residuals:
    """Compute the residuals of `(x, lam, nu)`, where x = [z; psi], for `N` instances in float64.

    Args:
        problem: Equilibrated rows and values; x, lam and nu are in its units.
        y: `(N, n)`.
        x: `(N, num_vars)`.
        lam: `(N, m)`, not negative.
        nu: `(N, m_eq)`.
    """
    n, (lower, upper) = y.shape[1], (problem.lower, problem.upper)
    norms, norms_eq = np.split(problem.form.norms, [problem.A.shape[0]])
    slack = (problem.b - (problem.A @ x.T).T) / norms
    gap_eq = np.abs(problem.b_eq - (problem.A_eq @ x.T).T) / norms_eq
    primal = np.maximum(np.maximum(-slack, 0.0).max(1, initial=0.0), gap_eq.max(1, initial=0.0))
    primal = np.maximum(primal, np.abs(x - np.clip(x, lower, upper)).max(1, initial=0.0))
    g = (problem.A.T @ lam.T).T + (problem.A_eq.T @ nu.T).T
    best = np.concatenate([y - g[:, :n], x[:, n:] - g[:, n:]], 1)
    w = np.clip(best, lower, upper)
    dual = np.abs(x - w).max(1, initial=0.0)
    either = np.maximum(np.minimum(lam * norms, slack), 0.0)
    # An entry of y that lies beyond a bound, and not because rows pull it there, does not matter.
    matters = np.abs(best - w)[:, :n] <= np.abs(y) / 2
    scale = np.where(matters, np.abs(y), 1.0).max(1, initial=1.0)
    scale = np.maximum(scale, np.abs(x[:, :n]).max(1, initial=1.0))
    distance = _distance(problem, y, x, lam, nu, g)
    return Residuals(primal, dual, either.max(1, initial=0.0), distance, scale)


def _distance(problem: CertifiedProblem, y, x, lam, nu, g) -> np.ndarray:
    """Return `(N,)`, the distance from x to a feasible point and on, at most, to the projection.

    A point beside a vertex that large multipliers hold has a large gap, as has the feasible point
    nearest to it, and w below none: where the bound is not small, it is found from there as well.
    """
    bound, w = _distance_by(problem, y, x, lam, nu, g, x)
    far = np.flatnonzero((bound > _SMALL) & (np.abs(x - w).max(1, initial=0.0) <= _NEAR))
    if len(far):
        some, rest = problem.part(far), (v[far] for v in (y, x, lam, nu, g, w))
        bound[far] = np.fmin(bound[far], _distance_by(some, *rest)[0])
    return bound


def _distance_by(problem: CertifiedProblem, y, x, lam, nu, g, start):
    """Return the bound on the distance by a feasible point near `start`, and w with psi of x.

    f(z) - d is a sum of terms that are each nonnegative, so that nothing cancels. With w the
    minimiser of the Lagrangian over the bounds,
    f(z) + g.z - f(w) - g.w = (z - w).((z + w)/2 - y + g).
    """
    n, (lower, upper) = y.shape[1], (problem.lower, problem.upper)
    near = feasible_near(problem, start, np.concatenate([lam > 0, nu != 0], 1))
    z, w = near.x[:, :n], np.clip(y - g[:, :n], lower[:, :n], upper[:, :n])
    gap = ((z - w) * ((z + w) / 2 - y + g[:, :n])).sum(1)
    slack = np.maximum(problem.b - (problem.A @ near.x.T).T, 0.0)
    gap += np.multiply(lam, slack, out=np.zeros_like(lam), where=lam > 0).sum(1)
    if problem.num_aux:
        gap += _auxiliary_gap(problem, near.x, lam, nu, g)
    distance = np.sqrt(2 * np.maximum(gap, 0.0)) + np.linalg.norm(x[:, :n] - z, axis=1)
    distance = np.where(near.found & ~np.isnan(distance), distance, np.inf)
    return distance, np.concatenate([w, x[:, n:]], 1)


def _auxiliary_gap(problem: CertifiedProblem, x, lam, nu, g) -> np.ndarray:
    """Subtract the minimum over the bounds from g.psi; inf where g meets an infinite bound.

    A coefficient that may be nothing but the rounding of its own sum is zero.
    """
    n = x.shape[1] - problem.num_aux
    terms = (abs(problem.A.T) @ lam.T).T + (abs(problem.A_eq.T) @ np.abs(nu).T).T
    count = np.diff(problem.form.rows.tocsc().indptr)[n:]
    g, psi = g[:, n:], x[:, n:]
    tiny = np.abs(g) <= _ROUNDING * (4 + count) * terms[:, n:]
    end = np.where(g > 0, problem.lower[:, n:], problem.upper[:, n:])
    unbounded = ~np.isfinite(end)
    gaps = g * (psi - np.where(unbounded, psi, end))
    return np.where(unbounded & ~tiny, np.inf, gaps).sum(1)


def _as_points(values: Any, size: int, name: str, arrays: Polytope | None = None) -> Tensor:
    if not isinstance(values, Tensor):
        try:
            values = torch.tensor(np.array(values, dtype=np.float64, order="C"), device="cpu")
        except (TypeError, ValueError):
            raise InputError(
                f"`{name}` must be numbers of shape (..., {size}). Got {type(values).__name__}."
            ) from None
    values = values.detach().to("cpu", torch.float64)
    values = values if arrays is None else arrays.flat(values)
    if values.ndim == 0 or values.shape[-1] != size:
        raise InputError(f"`{name}` must have shape (..., {size}). Got {tuple(values.shape)}.")
    return values
