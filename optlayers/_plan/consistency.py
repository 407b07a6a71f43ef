"""Which instances have no point, and the nearest limits of those that lack one by a hair.

Of what is looked for here, a batch is told at once: limits of one row or variable that cross, rows
out of the reach of their variables, equalities whose coefficients add up to nothing and whose
right-hand sides do not. Whatever involves several rows and bounds is left to the solver that meets
it. The rule is the one of `_polytope.consistency`.
"""

import math
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .._polytope.consistency import CONSISTENT, gap_of_empty
from .._polytope.polytope import Polytope
from .presolve import Reduction, Values

_EPS = 2.0**-52
_MOST_ROWS = 500  # equalities of one component up to which their dependences are looked for
_RANK = 1e-10  # squared, relative: singular values above the root of it are not looked at twice
_NULL = 1e-13  # what a dependence may leave of rows whose largest coefficient is 1, times the rows


class Dependences:
    """The linear dependences of the rows of a matrix, component by component; made when needed."""

    def __init__(self, R: sp.csr_array):
        self.R = R
        self._of: dict[bytes, list[tuple[np.ndarray, np.ndarray]]] = {}

    def of(self, chosen: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return, for the rows `chosen` (booleans), the dependent components.

        Returns:
            Pairs of row numbers `(m,)` and an orthonormal basis `(m, k)` of the left null space.
        """
        key = np.packbits(chosen).tobytes()
        if key not in self._of:
            if len(self._of) > 8:
                self._of.clear()
            self._of[key] = _dependent_components(self.R, np.flatnonzero(chosen))
        return self._of[key]


def _dependent_components(R: sp.csr_array, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    if len(rows) < 2:
        return []
    part = sp.csr_array(R[rows])
    graph = sp.block_array([[None, part], [part.T, None]], format="csr")
    label = connected_components(graph, directed=False)[1][: len(rows)]
    order = np.argsort(label, kind="stable")
    ends = np.flatnonzero(np.diff(label[order])) + 1
    found = []
    for own in np.split(order, ends):
        if 1 < len(own) <= _MOST_ROWS:
            basis = _left_null_space(sp.csr_array(part[own]))
            if basis.shape[1]:
                found.append((rows[own], basis))
    return found


def _left_null_space(R: sp.csr_array) -> np.ndarray:
    """Return an orthonormal basis `(m, k)` of {v : v R = 0}; O(m^3).

    The Gram matrix gives candidates, a singular value decomposition of what they leave decides:
    rows that are nearly dependent, with singular values above rounding, are independent.
    """
    values, vectors = np.linalg.eigh((R @ R.T).toarray())
    candidates = vectors[:, values <= _RANK * values[-1]]
    if not candidates.shape[1]:
        return candidates
    left = R[:, np.unique(R.indices)].T @ candidates  # the other columns are zero, and many
    short = candidates.shape[1] - len(left)
    if short > 0:
        left = np.vstack([left, np.zeros((short, candidates.shape[1]))])
    _, sizes, turn = np.linalg.svd(left, full_matrices=False)
    return candidates @ turn[sizes <= _NULL * len(values)].T


def make_consistent(values: Values, dependences: Dependences) -> tuple[Values, Tensor]:
    """Return limits with a point where they miss it by a hair, and `(N or 1,)`, who has none.

    Args:
        values: Of all instances; their limits of one row or variable that cross by a hair have been
            made equal already.
        dependences: Of the reduced rows.
    """
    bad = (values.lower > values.upper).any(1) | (values.row_lower > values.row_upper).any(1)
    if not dependences.R.shape[0]:
        return values, bad
    terms = _Terms(values, dependences.R)
    scales = [1 + torch.maximum(_size(v), terms.sure) for v in (values.row_lower, values.row_upper)]
    low, high, out = terms.reach(values, scales)
    for rows, basis in dependences.of(_equalities(values)):
        low, high, apart = _onto_range(low, high, scales[1], rows, basis)
        out = out | apart
    bad = bad | out
    if all(bool((v == w).all()) for v, w in ((low, values.row_lower), (high, values.row_upper))):
        return values, bad
    return replace(
        values, row_lower=low, row_upper=high, rows_vary=values.rows_vary or len(low) > 1
    ), bad


def shifted_like(values: Values, consistent: Values) -> Values:
    """Return values with a graph, moved by constants to where those without one were moved."""
    moved = {}
    for name in ("row_lower", "row_upper"):
        given, wanted = getattr(values, name), getattr(consistent, name)
        same = given.detach() == wanted
        moved[name] = torch.where(same, given, given + (wanted - given.detach()))
    return replace(values, rows_vary=consistent.rows_vary, **moved)


def impossible_empty_rows(polytope: Polytope, reduction: Reduction) -> Tensor:
    """Return `(N or 1,)`: instances with a row without coefficients that nothing satisfies."""
    if not reduction.is_empty.any():
        return torch.zeros(1, dtype=torch.bool, device="cpu")
    empty = torch.from_numpy(np.flatnonzero(reduction.is_empty))
    cut = int((empty < reduction.num_inequalities).sum())
    b = polytope.b[..., empty[:cut].to(polytope.b.device)]
    b_eq = polytope.b_eq[..., (empty[cut:] - reduction.num_inequalities).to(polytope.b_eq.device)]
    bad = [(gap > CONSISTENT).any(-1) for gap in (gap_of_empty(b, False), gap_of_empty(b_eq, True))]
    out = bad[0].to(polytope.lower.device) | bad[1].to(polytope.lower.device)
    return out.expand(polytope.batch_shape).reshape(-1) if out.ndim else out[None]


def _size(limit: Tensor) -> Tensor:
    return torch.where(limit.isfinite(), limit.abs(), 0)


def _equalities(values: Values) -> np.ndarray:
    return (values.row_lower == values.row_upper).all(0).cpu().numpy()


class _Terms:
    """The terms a_j x_j of every row at the ends of the bounds."""

    def __init__(self, values: Values, R: sp.csr_array):
        self.num_rows = R.shape[0]
        device = values.lower.device
        at_row = np.repeat(np.arange(R.shape[0]), np.diff(R.indptr))
        self.at_row = torch.from_numpy(at_row).to(device)
        at = torch.from_numpy(R.indices.astype(np.int64)).to(device)
        self.counts = torch.from_numpy(np.diff(R.indptr).astype(np.float64)).to(device)
        weight = torch.from_numpy(R.data.copy()).to(device)
        lower, upper = values.lower[:, at], values.upper[:, at]
        sure = torch.maximum(lower, -upper).clamp(min=0)
        sure = torch.where(sure.isfinite(), sure, 0) * weight.abs()
        index = self.at_row.expand(len(sure), -1)
        zero = sure.new_zeros(len(sure), self.num_rows)
        self.sure = zero.scatter_reduce(1, index, sure, "amax")
        self.least = torch.where(weight > 0, lower, upper) * weight
        self.most = torch.where(weight > 0, upper, lower) * weight

    def _sum(self, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over every row, and what rounding may have done to them."""
        endless = ends.isinf()
        ends = torch.where(endless, 0, ends)
        zero = ends.new_zeros(len(ends), self.num_rows)
        total, size = (zero.index_add(1, self.at_row, v) for v in (ends, ends.abs()))
        never = zero.index_add(1, self.at_row, endless.to(ends.dtype)) > 0
        return torch.where(never, torch.inf, total), self.counts * _EPS * size

    def reach(self, values: Values, scales: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return limits of the rows moved into reach, and the instances that are too far out."""
        (least, error), (most, other) = self._sum(self.least), self._sum(self.most)
        low, high = values.row_lower, values.row_upper
        least = torch.where(least == torch.inf, -torch.inf, least)
        below, above = low - most, least - high  # how far out, where positive
        out = (below > CONSISTENT * scales[0] + other) | (above > CONSISTENT * scales[1] + error)
        to_low = torch.where((below > 0) & ~out, most, low)
        to_high = torch.where((above > 0) & ~out, least, high)
        # An equality stays one.
        equal = low == high
        low = torch.where(equal & (above > 0) & ~out, least, to_low)
        high = torch.where(equal & (below > 0) & ~out, most, to_high)
        return low, high, out.any(1)


def misses(low: Tensor, rows: np.ndarray, basis: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Return what sums of dependent rows miss, their rounding, and where they miss by more.

    Args:
        low: `(N, m)`, limits of all rows; those meant are equalities.
        rows: Numbers of the dependent rows.
        basis: `(len(rows), k)`, the sums whose coefficients are zero.
    """
    b, V = low[:, torch.from_numpy(rows).to(low.device)], torch.from_numpy(basis).to(low.device)
    miss = b @ V
    noise = len(rows) * _EPS * (b.abs() @ V.abs())
    return miss, noise, (miss.abs() > noise).any(1, keepdim=True)


def _onto_range(low, high, scale: Tensor, rows: np.ndarray, basis: np.ndarray):
    """Move right-hand sides of equalities to where their rows have a solution, if that is near.

    The shortest move in units of `scale`, b - S V (V' S V)^-1 V' b with S = scale squared. If
    another would be near enough, and this one is not, it is left to the solvers.

    Returns:
        Both limits, and the instances in which some sum of the rows is too far from its own.
    """
    device = low.device
    at, V = torch.from_numpy(rows).to(device), torch.from_numpy(basis).to(device)
    b, s = low[:, at], scale[:, at]
    miss, noise, off = misses(low, rows, basis)
    if not bool(off.any()):
        return low, high, off[:, 0]
    count = max(len(b), len(s))
    b, s, miss = b.expand(count, -1), s.expand(count, -1), miss.expand(count, -1)
    weighted = (s * s)[..., None] * V
    move = (weighted @ torch.linalg.solve(V.T @ weighted, miss[..., None])).squeeze(-1)
    near = ((move.abs() / s).amax(1, keepdim=True) <= CONSISTENT) & off
    moved = torch.where(near, b - move, b)
    low, high = (v.expand(count, -1).clone() for v in (low, high))
    low[:, at] = high[:, at] = moved
    # Whatever the move, it closes each miss: then the largest of its entries is at least this.
    apart = (miss.abs() > CONSISTENT * (s @ V.abs()) + noise).any(1)
    return low, high, apart


# ---------------------------------------------------------------------- integral decisions


def whole_limits(given: Values, moved: Values, polytope: Polytope, reduction: Reduction) -> Values:
    """Return the limits that integral decisions are held to.

    Integers carry no rounding, so rows of integers are not moved: a budget of a thousand million is
    not exceeded by one. Other equalities between integers, whose right-hand side is one but for a
    hair, ask for that integer.
    """
    R = reduction.R
    if not R.shape[0]:
        return moved
    whole_rows = _all_in_row(R, polytope.whole[R.indices] & (R.data == np.round(R.data)))
    device = moved.row_lower.device
    low, high = moved.row_lower, moved.row_upper
    near = low.round()
    snaps = (low == high) & (low != near) & ((low - near).abs() <= CONSISTENT * (1 + low.abs()))
    snaps = snaps & torch.from_numpy(whole_rows).to(device)
    if moved is given and not bool(snaps.any()):
        return moved
    exact = _exact_rows(polytope, reduction).to(device)
    near = torch.where(snaps & ~exact, near, 0)
    low, high = (torch.where(snaps & ~exact, near, v) for v in (low, high))
    low = torch.where(exact, given.row_lower, low)
    high = torch.where(exact, given.row_upper, high)
    vary = moved.rows_vary or given.rows_vary or len(low) > 1
    return replace(moved, row_lower=low, row_upper=high, rows_vary=vary)


def _all_in_row(R: sp.csr_array, what: np.ndarray) -> np.ndarray:
    """Return `(m,)` whether something is true of all entries of a row, if any."""
    out = np.ones(R.shape[0], dtype=bool)
    np.logical_and.at(out, np.repeat(np.arange(R.shape[0]), np.diff(R.indptr)), what)
    return out


def _exact_rows(polytope: Polytope, reduction: Reduction) -> Tensor:
    """Return `(N or 1, reduced rows)`, those declared with integers, over integers, and only so."""
    rows = sp.csr_array(sp.vstack([polytope.A, polytope.A_eq], format="csr"))
    whole = _all_in_row(rows, polytope.whole[rows.indices] & (rows.data == np.round(rows.data)))
    batch = polytope.batch_shape
    count, sides = math.prod(batch), (polytope.b, polytope.b_eq)
    sides = [v.expand(*batch, -1).reshape(count, v.shape[-1]).cpu() for v in sides]
    limits = torch.cat(sides, 1)
    exact = (limits == limits.round()) & torch.from_numpy(whole)
    coupled = np.flatnonzero(~reduction.is_bound & ~reduction.is_empty)
    at = torch.from_numpy(reduction.target[coupled]).expand(len(exact), -1)
    out = torch.ones(len(exact), reduction.R.shape[0], device="cpu")
    found = out.scatter_reduce(1, at, exact[:, torch.from_numpy(coupled)].float(), "amin") > 0
    return found[:1] if bool((found == found[:1]).all()) else found
