"""The corners of a polytope that lies in a plane, exactly: half-planes, or support functions.

A set with no auxiliary variables is cut out of a rectangle, a row at a time. A set with auxiliary
variables is the shadow of a larger one: linear programs find its corners, one per direction, and
an edge is done when nothing lies beyond it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np
import scipy.sparse as sp

from .._errors import InfeasibleError, InputError
from .._polytope.polytope import Polytope
from ._cutting import SAME, clip, without_flat_corners, without_short_edges

_FAR = 1e4  # times the size of the data: where sets without end are cut off before there is a view
_DRAWABLE = (
    "Drawable are polytopes of 2 variables, and of 3 whose points lie in one plane, such as "
    "`optlayers.simplex(3)`; auxiliary variables are allowed"
)


class Region(NamedTuple):
    """A convex set in a plane of the space of z.

    Attributes:
        polytope: The set.
        origin: A point of the plane, `(n,)`.
        frame: Two perpendicular directions of length 1 in it, `(n, 2)`: distances stay what they
            are.
        corners: `(k, 2)`, counter-clockwise from the lowest; two of a segment, one of a point.
        cut: `(k,)`, whether the edge that starts at a corner is no edge: the set goes on.
        finite_corners: Corners that are the set's own, not of where it was cut off.
        bounded: Whether the set ends somewhere in every direction.
        size: The largest number in the declaration, or of a much smaller set its extent.
    """

    polytope: Polytope
    origin: np.ndarray
    frame: np.ndarray
    corners: np.ndarray
    cut: np.ndarray
    finite_corners: np.ndarray
    bounded: bool
    size: float

    @property
    def edges(self) -> list[np.ndarray]:
        """The set's own edges, `(2, 2)` each."""
        ends = np.stack([self.corners, np.roll(self.corners, -1, 0)], 1)
        return list(ends[~self.cut]) if len(ends) > 1 else []

    def flat(self, z: Any) -> np.ndarray:
        """Convert points to coordinates in the plane, `(..., 2)`; those beside it drop onto it."""
        return (np.asarray(z, dtype=np.float64) - self.origin) @ self.frame

    def lifted(self, t: np.ndarray) -> np.ndarray:
        """Convert coordinates in the plane to points of the space of z."""
        return self.origin + np.asarray(t) @ self.frame.T

    def within(self, low: np.ndarray, high: np.ndarray) -> "Region":
        """Return what of the set is in a rectangle; edges along the rectangle are cuts."""
        corners, cut = self.corners, self.cut
        for axis in (0, 1):
            for sign, limit in ((1.0, high[axis]), (-1.0, low[axis])):
                normal = sign * np.eye(2)[axis]
                corners, cut = clip(corners, cut, normal, sign * limit, True, self.size)
        own = self.finite_corners
        own = own[((own >= low) & (own <= high)).all(1)]
        return self._replace(corners=corners, cut=cut, finite_corners=own)


def region(polytope: Any) -> Region:
    """Return the polytope, or the relaxation of a structured set, as a set in a plane.

    Raises:
        InputError: If it is no set of 2 variables, or of 3 in one plane, or a batch of sets.
        InfeasibleError: If it is empty.
    """
    polytope = getattr(polytope, "relaxation", polytope)
    if not isinstance(polytope, Polytope):
        raise InputError(f"{_DRAWABLE}. Got {type(polytope).__name__}.")
    if polytope.n not in (2, 3):
        raise InputError(f"{_DRAWABLE}. Got {polytope!r}.")
    if polytope.rows_batch:
        raise InputError(
            "One set is drawn at a time: take an instance of the batch, such as "
            f"`P.instance({(0,) * len(polytope.batch_shape)})`."
        )
    if polytope.batch_shape:
        names = [k for k in ("b", "b_eq", "lower", "upper") if getattr(polytope, k).ndim > 1]
        index = "".join(", 0" * (len(polytope.batch_shape) - 1))
        one = ", ".join(f"{k}=P.{k}[0{index}]" for k in names)
        raise InputError(
            f"One set is drawn at a time: take an instance of the batch, `P.with_({one})`. "
            f"Got {polytope!r}."
        )
    rows, right = _as_inequalities(polytope)
    size = float(np.abs(right).max(initial=0.0)) or 1.0
    origin, frame = np.zeros(polytope.n), np.eye(polytope.n)[:, :2]
    if polytope.n == 3:
        origin, frame = _plane(polytope, rows, right, size)
    corners, cut = _corners(rows, right, origin, frame, size)
    own = np.abs(corners).max(1, initial=0.0) < 0.5 * _FAR * size
    if len(corners) and own.all() and np.ptp(corners, axis=0).max() < 0.1 * size:
        # Small for its numbers: again, around its middle, in its own size.
        size = max(float(np.ptp(corners, axis=0).max()), 1e-5 * size)
        middle = corners.mean(0)
        corners, cut = _corners(rows, right, origin + frame @ middle, frame, size)
        corners, own = corners + middle, np.ones(len(corners), dtype=bool)
    if not len(corners):
        _say_empty(polytope)
    corners = _tidy(corners)
    lowest = -int(np.lexsort(corners.T)[0])
    corners, cut, own = (np.roll(v, lowest, 0) for v in (corners, cut, own))
    return Region(polytope, origin, frame, corners, cut, corners[own], bool(own.all()), size)


def _corners(
    rows: sp.csr_array, right: np.ndarray, origin: np.ndarray, frame: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray]:
    if rows.shape[1] > len(origin):
        return _shadow(rows, right, origin, frame, size)
    return _cut_out(rows.toarray(), right, origin, frame, size)


# ---------------------------------------------------------------------- the declaration


def _as_inequalities(polytope: Polytope) -> tuple[sp.csr_array, np.ndarray]:
    """Return rows G x <= h of everything, each of length 1; bounds first."""
    lower, upper, b, b_eq = (
        getattr(polytope, k).detach().cpu().numpy().astype(np.float64)
        for k in ("lower", "upper", "b", "b_eq")
    )
    eye = sp.eye_array(polytope.num_vars, format="csr")
    finite = [np.flatnonzero(np.isfinite(v)) for v in (lower, upper, b)]
    rows = sp.vstack(
        [-eye[finite[0]], eye[finite[1]], polytope.A[finite[2]], polytope.A_eq, -polytope.A_eq],
        format="csr",
    )
    right = np.concatenate([-lower[finite[0]], upper[finite[1]], b[finite[2]], b_eq, -b_eq])
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
    length[length == 0] = 1.0
    return sp.csr_array(sp.diags_array(1 / length) @ rows), right / length


def _say_empty(polytope: Polytope) -> NoReturn:
    polytope.check_feasible()
    raise InfeasibleError(f"No point satisfies all constraints: {polytope!r} has nothing to draw.")


def _tidy(points: np.ndarray) -> np.ndarray:
    """Round a coordinate that is nearly a number with few digits to it, and -0 to 0."""
    near = np.round(points, 9)
    return np.where(np.abs(points - near) < 1e-11 * (1 + np.abs(points)), near, points) + 0.0


# ---------------------------------------------------------------------- the plane


def _plane(
    polytope: Polytope, rows: sp.csr_array, right: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a point of the plane and two perpendicular directions, the last variable upwards."""
    fixed = (polytope.lower == polytope.upper).cpu().numpy()
    if polytope.num_aux == 0 and polytope.A_eq.nnz:
        dense = polytope.A_eq.toarray()
        row = int(np.flatnonzero(np.abs(dense).max(1) > 0)[0])
        normal, level = dense[row], float(polytope.b_eq[row])
    elif fixed[:3].any():
        axis = int(np.flatnonzero(fixed[:3])[0])
        normal, level = np.eye(3)[axis], float(polytope.lower[axis])
    else:
        normal, level = _normal(polytope, rows, right, size)
    length = np.linalg.norm(normal)
    normal, level = normal / length, level / length
    up = np.array([0.0, 0.0, 1.0]) - normal[2] * normal
    if np.linalg.norm(up) < 1e-6:
        up = np.array([0.0, 1.0, 0.0]) - normal[1] * normal
    up /= np.linalg.norm(up)
    across = np.cross(up, normal)
    if across[1 if abs(across[1]) > 1e-6 else 0] < 0:  # the second to the right, else the first
        across = -across
    return level * normal, np.column_stack([across, up])


def _normal(
    polytope: Polytope, rows: sp.csr_array, right: np.ndarray, size: float
) -> tuple[np.ndarray, float]:
    """Return the normal of a plane of three variables, if the rows imply that there is one."""
    support = _oracle(rows, right, np.eye(3), np.zeros(3), size)
    start = support(np.array([1.0, 0.3, 0.1]))
    if start is None:
        _say_empty(polytope)
    differences = np.zeros((0, 3))
    for _ in range(3):
        direction = np.linalg.svd(np.vstack([differences, np.zeros((1, 3))]))[2][-1]
        ends = [np.asarray(support(sign * direction)) for sign in (1.0, -1.0)]
        width = direction @ (ends[0] - ends[1])
        if width < SAME * size:
            return direction, float(direction @ start)
        far = max(ends, key=lambda end: abs(direction @ (end - start)))
        differences = np.vstack([differences, far - start])
    raise InputError(f"{_DRAWABLE}. Got {polytope!r}, whose points lie in no plane.")


# ---------------------------------------------------------------------- cutting


def _cut_out(
    rows: np.ndarray, right: np.ndarray, origin: np.ndarray, frame: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a square that reaches far out by one row after the other."""
    far = _FAR * size
    corners = far * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    cut = np.ones(4, dtype=bool)
    for row, limit in zip(rows @ frame, right - rows @ origin, strict=True):
        corners, cut = clip(corners, cut, row, limit, False, size)
    return without_flat_corners(corners, cut, size)


# ---------------------------------------------------------------------- shadows


def _oracle(
    rows: sp.csr_array, right: np.ndarray, frame: np.ndarray, origin: np.ndarray, size: float
) -> Callable[[np.ndarray], np.ndarray | None]:
    """Make a function that finds the furthest point in a direction, in the frame; or None."""
    from scipy.optimize import linprog

    n, num_vars = len(origin), rows.shape[1]
    far = [(at - _FAR * size, at + _FAR * size) for at in origin]
    far += [(None, None)] * (num_vars - n)

    def support(direction: np.ndarray) -> np.ndarray | None:
        cost = np.concatenate([-frame @ direction, np.zeros(num_vars - n)])
        options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
        found = linprog(cost, rows, right, bounds=far, method="highs-ds", options=options)
        return None if found.x is None else (found.x[:n] - origin) @ frame

    return support


def _shadow(
    rows: sp.csr_array, right: np.ndarray, origin: np.ndarray, frame: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find corners by linear programs, between neighbours until nothing lies beyond their edge."""
    support = _oracle(rows, right, frame, origin, size)
    start = [support(d) for d in np.array([[1.0, 0.1], [-0.1, 1.0], [-1.0, -0.1], [0.1, -1.0]])]
    if start[0] is None:
        return np.zeros((0, 2)), np.zeros(0, dtype=bool)
    corners, _ = without_short_edges(np.array(start), np.zeros(4, dtype=bool), size)
    i = 0
    while i < len(corners) and len(corners) < 500:
        here, after = corners[i], corners[(i + 1) % len(corners)]
        normal = np.array([after[1] - here[1], here[0] - after[0]])
        normal /= max(np.linalg.norm(normal), 1e-300)
        found = support(normal) if len(corners) > 1 else None
        if found is not None and normal @ (found - here) > SAME * size:
            corners = np.insert(corners, i + 1, found, 0)
        else:
            i += 1
    middle = (corners + np.roll(corners, -1, 0)) / 2 @ frame.T
    cut = np.asarray((np.abs(middle) > 0.999 * _FAR * size).any(1) & (len(corners) > 1))
    return without_flat_corners(corners, cut, size)
