"""The structures that the nearest points of a batch are made of, and how they change."""

from typing import NamedTuple

import numpy as np

from ... import _kernels
from ..._kernels.threads import run


class Arrays(NamedTuple):
    """What the compiled loops work on: N instances of d parts, with room for structures.

    Attributes:
        origin: `(N, d)`, the first structure.
        target: `(N, d)`, from the origin to the point to project.
        x: `(N, d)`, from the origin to the point of the weights.
        away: `(N, d)`, target - x.
        gap: `(N,)`, the duality gap of the point; infinite before anything was decoded for it.
        state: `(N,)`, 0 while an instance is open; see `_kernels/hull.py`.
        stalls: `(N,)`, how often a structure brought nothing.
        number: `(N,)`, of structures.
        sigma: `(N,)`, what makes the matrix of products positive definite.
        weights: `(N, room)`.
        factor: `(N, room, room)`, Cholesky factor of the products, lower triangle.
        solved: `(N, room, 2)`, its inverse times the products with the target, and times ones.
        where: `(N, room, most)`, parts where a structure differs from the origin.
        value: `(N, room, most)`, by how much.
        width: `(N, room)`, at how many parts.
    """

    origin: np.ndarray
    target: np.ndarray
    x: np.ndarray
    away: np.ndarray
    gap: np.ndarray
    state: np.ndarray
    stalls: np.ndarray
    number: np.ndarray
    sigma: np.ndarray
    weights: np.ndarray
    factor: np.ndarray
    solved: np.ndarray
    where: np.ndarray
    value: np.ndarray
    width: np.ndarray


class ActiveSets:
    """For each instance, its structures, their weights, and the point that these make.

    Args:
        y: `(N, d)`, the points to project.
        first: `(N, d)`, a structure for each; NaN where there is none.
    """

    def __init__(self, y: np.ndarray, first: np.ndarray):
        (count, _), room = y.shape, 8
        self.arrays = Arrays(
            origin=first,
            target=y - first,
            x=np.zeros_like(y),
            away=y - first,
            gap=np.full(count, np.inf),
            state=np.zeros(count, dtype=np.int8),
            stalls=np.zeros(count, dtype=np.int8),
            number=np.ones(count, dtype=np.int64),
            sigma=np.zeros(count),
            weights=np.zeros((count, room)),
            factor=np.zeros((count, room, room)),
            solved=np.zeros((count, room, 2)),
            where=np.zeros((count, room, 1), dtype=np.int32),
            value=np.zeros((count, room, 1)),
            width=np.zeros((count, room), dtype=np.int32),
        )
        self.arrays.weights[:, 0] = 1.0
        self.arrays.state[~np.isfinite(first).all(-1)] = _kernels.hull.NO_STRUCTURE

    def open_rows(self) -> np.ndarray:
        """Return numbers of the instances that are not finished."""
        return np.flatnonzero(self.arrays.state == _kernels.hull.OPEN)

    def take_in(self, rows: np.ndarray, decoded: np.ndarray, last: bool) -> None:
        """Take in what was decoded for `rows`, `(M, d)`; if `last`, only judge the gap."""
        self._make_room(rows, decoded)
        run(_kernels.hull.advance, len(rows), self._work(rows), rows, decoded, self.arrays, last)

    def shift(self, rows: np.ndarray, step: np.ndarray) -> None:
        """Move the targets of `rows` by `step`, and open these instances again."""
        self.arrays.target[rows] += step
        self.arrays.state[rows], self.arrays.stalls[rows] = _kernels.hull.OPEN, 0
        run(_kernels.hull.retarget, len(rows), self._work(rows), rows, self.arrays)

    def point(self) -> np.ndarray:
        """Return the nearest points, `(N, d)`."""
        return self.arrays.origin + self.arrays.x

    def structures(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weights `(N, M)` and structures `(N, M, d)`, zeros after the last."""
        number, where = self.arrays.number, self.arrays.where
        most = int(number.max()) if len(number) else 1
        used = np.arange(most) < number[:, None]
        weights = np.where(used, self.arrays.weights[:, :most], 0.0)
        found = np.where(used[..., None], self.arrays.origin[:, None], 0.0)
        differs = np.arange(where.shape[2]) < self.arrays.width[:, :most, None]
        i, j, c = (used[..., None] & differs).nonzero()
        found[i, j, where[i, j, c]] += self.arrays.value[i, j, c]
        return weights, found

    def _work(self, rows: np.ndarray) -> int:
        """Return about how many operations a round costs."""
        return len(rows) * (
            8 * self.arrays.x.shape[1] + 2 * int(self.arrays.number[rows].max()) ** 2
        )

    def _make_room(self, rows: np.ndarray, decoded: np.ndarray) -> None:
        room, most = self.arrays.where.shape[1:]
        needed = int((decoded != self.arrays.origin[rows]).sum(-1).max(initial=1))
        if needed > most:
            most = min(2 * needed, max(decoded.shape[1], 1))
            grown = {v: _grown(getattr(self.arrays, v), 2, most) for v in ("where", "value")}
            self.arrays = self.arrays._replace(**grown)
        if self.arrays.number[rows].max() >= room:
            names = ("weights", "factor", "solved", "where", "value", "width")
            grown = {v: _grown(getattr(self.arrays, v), 1, 2 * room) for v in names}
            grown["factor"] = _grown(grown["factor"], 2, 2 * room)
            self.arrays = self.arrays._replace(**grown)


def _grown(x: np.ndarray, axis: int, room: int) -> np.ndarray:
    """Return an array with more room along a dimension."""
    shape = list(x.shape)
    shape[axis] = room
    more = np.zeros(shape, dtype=x.dtype)
    more[tuple(slice(v) for v in x.shape)] = x
    return more
