"""Judges a projection: recomputes the multipliers by itself and trusts neither solver nor plan."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import InputError
from .._polytope.polytope import Polytope
from .multipliers import find_auxiliary, flatten, problem_of, recompute, row_norms

_FEASIBLE = 1e-6  # above this violation (or sqrt(eps), if larger) there is no distance bound


@dataclass(frozen=True, eq=False)
class Certificate:
    r"""How far a point is from satisfying the optimality conditions of the projection.

    All residuals are absolute; `scale` = max(1, max |y|, max |z|) is what they are compared with,
    because rounding in a projection grows with both. Tensors are float64 on the CPU and have the
    batch shape.

    Attributes:
        primal: Largest violation of a row, divided by max(1, norm of the row), or of a bound.
        dual: Largest entry of $|z - \mathrm{clip}(y - A^\top\lambda - A_{eq}^\top\nu, l, u)|$, and
            of the same residual without y for auxiliary variables.
        complementarity: Largest $\min(\lambda_i |a_i|, (b - Az)_i / |a_i|)$, which is zero where a
            row is active or its multiplier is; in the units of z, as the others are.
        distance: Upper bound on $\|z - z^*\|_2$. Exact arithmetic aside, it holds for feasible z;
            for a violation of at most 1e-6 (relative to `scale`), it is for the polytope whose
            right-hand sides are moved onto z, plus the norm of the violation; else it is inf.
        scale: max(1, max |y|, max |z|).
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
        """Per instance, whether all residuals are at most `tol * scale`; NaN is not."""
        return self.residual <= tol

    def holds(self, tol: float) -> bool:
        """Whether all residuals of all instances are at most `tol * scale`."""
        return bool(self.within(tol).all())

    def worst(self) -> tuple[int, ...]:
        """Index of the instance with the largest residual, `()` without batch dimensions."""
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
    """What `residuals` returns, each `(N,)`; see `Certificate`."""

    primal: np.ndarray
    dual: np.ndarray
    complementarity: np.ndarray
    distance: np.ndarray


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
    1-strongly convex, so for feasible z and any dual value d (here with the bounds minimised over
    exactly), $\|z - z^*\| \le \sqrt{2 (f(z) - d)}$. Auxiliary variables are found by a linear
    program. Cost: linear in the nonzeros for one-row components, a small dense problem per instance
    and component otherwise. Computed in float64 on the CPU.

    Args:
        polytope: What was projected onto; batch dimensions broadcast with those of y and z.
        y: Points that were projected, `(..., n)`, of any floating dtype and device.
        z: What is claimed to be their projection, `(..., n)`.
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
    eps = torch.finfo(
        z.dtype if isinstance(z, Tensor) and z.is_floating_point() else torch.float64
    ).eps
    y, z = (_as_points(v, polytope.n, name) for v, name in ((y, "y"), (z, "z")))
    try:
        batch = torch.broadcast_shapes(y.shape[:-1], z.shape[:-1], polytope.batch_shape)
    except RuntimeError:
        raise InputError(
            "The batch dimensions of `y`, `z` and the polytope must agree. Got "
            f"{tuple(y.shape[:-1])}, {tuple(z.shape[:-1])} and {tuple(polytope.batch_shape)}."
        ) from None
    problem = problem_of(polytope, batch)
    y, z = flatten(y, batch), flatten(z, batch)
    # An instance that is not finite is judged at zero, and then told that it is infinitely wrong.
    bad = ~(np.isfinite(y).all(1) & np.isfinite(z).all(1))
    y, z = np.where(bad[:, None], 0.0, y), np.where(bad[:, None], 0.0, z)
    if psi is None:
        psi = find_auxiliary(problem, z)
    else:
        psi = flatten(_as_points(psi, polytope.num_aux, "psi"), batch)
    x = np.concatenate([z, psi], 1)
    if multipliers is None:
        lam, nu = recompute(problem, y, x, eps)
    else:
        sizes = (polytope.A.shape[0], polytope.A_eq.shape[0])
        given = zip(multipliers, sizes, ("lam", "nu"), strict=True)
        lam, nu = (flatten(_as_points(v, size, name), batch) for v, size, name in given)
        lam = np.maximum(lam, 0.0)
    found = residuals(*problem[:7], y, x, lam, nu, max(_FEASIBLE, eps**0.5))
    found = [np.where(bad, np.inf, v) for v in found]
    scale = np.maximum(np.abs(y).max(1, initial=1.0), np.abs(z).max(1, initial=1.0))
    primal, dual, complementarity, distance, scale = (
        torch.from_numpy(np.ascontiguousarray(v)).reshape(batch) for v in (*found, scale)
    )
    lam, nu = (torch.from_numpy(v).reshape(*batch, v.shape[1]) for v in (lam, nu))
    return Certificate(primal, dual, complementarity, distance, scale, lam, nu)


def residuals(
    A: sp.csr_array,
    A_eq: sp.csr_array,
    b: np.ndarray,
    b_eq: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    num_aux: int,
    y: np.ndarray,
    x: np.ndarray,
    lam: np.ndarray,
    nu: np.ndarray,
    feasible: float = _FEASIBLE,
) -> Residuals:
    """Residuals of `(x, lam, nu)`, where x = [z; psi], for `N` instances in float64.

    Args:
        A: Inequality rows, `(m, num_vars)`.
        A_eq: Equality rows, `(m_eq, num_vars)`.
        b: `(N or 1, m)`; inf says nothing.
        b_eq: `(N or 1, m_eq)`.
        lower: `(N or 1, num_vars)`.
        upper: `(N or 1, num_vars)`.
        num_aux: How many of the last columns are auxiliary.
        y: `(N, n)`.
        x: `(N, num_vars)`.
        lam: `(N, m)`, not negative.
        nu: `(N, m_eq)`.
        feasible: Violation, relative to max(1, max |y|, max |z|), above which there is no distance
            bound.
    """
    n = x.shape[1] - num_aux
    slack, gap_eq = b - (A @ x.T).T, b_eq - (A_eq @ x.T).T
    inside = np.clip(x, lower, upper)
    violation = np.concatenate(
        [
            np.maximum(-slack, 0.0) / np.maximum(1.0, row_norms(A)),
            np.abs(gap_eq) / np.maximum(1.0, row_norms(A_eq)),
        ],
        1,
    )
    primal = np.maximum(violation.max(1, initial=0.0), np.abs(x - inside).max(1, initial=0.0))
    g = (A.T @ lam.T).T + (A_eq.T @ nu.T).T
    best = np.concatenate([y - g[:, :n], x[:, n:] - g[:, n:]], 1)
    dual = np.abs(x - np.clip(best, lower, upper)).max(1, initial=0.0)
    norms = row_norms(A)
    norms = np.where(norms > 0, norms, 1.0)
    either = np.minimum(lam * norms, slack / norms)
    complementarity = np.maximum(either, 0.0).max(1, initial=0.0)

    # f(z) - d, from terms that are each nonnegative so that nothing cancels. With w the minimiser
    # of the Lagrangian over the bounds, f(z) + g.z - f(w) - g.w = (z - w).((z + w)/2 - y + g).
    z, w = inside[:, :n], np.clip(y - g[:, :n], lower[:, :n], upper[:, :n])
    gap = ((z - w) * ((z + w) / 2 - y + g[:, :n])).sum(1)
    slack_inside = b - (A @ inside.T).T if num_aux or (inside != x).any() else slack
    gap += np.multiply(
        lam, np.maximum(slack_inside, 0.0), out=np.zeros_like(lam), where=lam > 0
    ).sum(1)
    scale = np.maximum(np.abs(y).max(1, initial=1.0), np.abs(x[:, :n]).max(1, initial=1.0))
    if num_aux:
        gap += _auxiliary_gap(g[:, n:], inside[:, n:], lower[:, n:], upper[:, n:], scale)
    moved = np.linalg.norm(violation, axis=1) + np.linalg.norm(x[:, :n] - z, axis=1)
    distance = np.sqrt(2 * np.maximum(gap, 0.0)) + moved
    distance = np.where(primal <= feasible * scale, distance, np.inf)
    return Residuals(primal, dual, complementarity, distance)


def _auxiliary_gap(g, psi, lower, upper, scale) -> np.ndarray:
    """g.psi minus its minimum over the bounds; inf where a coefficient meets an infinite bound."""
    tiny = np.abs(g) <= 1e-12 * scale[:, None]
    end = np.where(g > 0, lower, upper)
    unbounded = ~np.isfinite(end)
    terms = g * (psi - np.where(unbounded, psi, end))
    return np.where(unbounded & ~tiny, np.inf, terms).sum(1)


def _as_points(values: Any, size: int, name: str) -> Tensor:
    if not isinstance(values, Tensor):
        values = torch.tensor(np.array(values, dtype=np.float64, order="C"), device="cpu")
    values = values.detach().to("cpu", torch.float64)
    if values.ndim == 0 or values.shape[-1] != size:
        raise InputError(f"`{name}` must have shape (..., {size}). Got {tuple(values.shape)}.")
    return values
