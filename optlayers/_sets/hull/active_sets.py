"""The structures that the nearest points of a batch are made of, and how they change."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import _kernels
from ..._kernels.threads import run


class Arrays(NamedTuple):
    """Arrays that the compiled loops work on: N instances of d parts, with room for structures.

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
        slot: `(N, room)`, where each structure is kept in what follows.
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
    slot: np.ndarray
    where: np.ndarray
    value: np.ndarray
    width: np.ndarray


Best = Callable[[np.ndarray, np.ndarray], np.ndarray]  # structures for numbers and scores


class ActiveSets(ABC):
    """For each instance, its structures, their weights, and the point that these make.

    Attributes:
        arrays: What the compiled loops work on: at least those of `common_arrays`.
    """

    arrays: Any
    _of_structures: tuple[str, ...]  # arrays with room for what a structure is

    def open_rows(self) -> np.ndarray:
        """Return numbers of the instances that are not finished."""
        return np.flatnonzero(self.arrays.state == _kernels.hull.OPEN)

    def shift(self, rows: np.ndarray, step: np.ndarray) -> None:
        """Move the targets of `rows` by `step`, and open these instances again."""
        self.arrays.target[rows] += step
        self.arrays.state[rows], self.arrays.stalls[rows] = _kernels.hull.OPEN, 0
        self._retarget(rows)

    def point(self) -> np.ndarray:
        """Return the nearest points, `(N, d)`."""
        return self.arrays.origin + self.arrays.x

    @abstractmethod
    def search(self, best: Best, most: int) -> None:
        """Decode for the open instances until there are none, or `most` times for one."""

    @abstractmethod
    def structures(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weights `(N, M)` and structures `(N, M, d)`, zeros after the last."""

    @abstractmethod
    def _retarget(self, rows: np.ndarray) -> None: ...

    def _used(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return weights `(N, M)`, which of them count, and their slots."""
        number = self.arrays.number
        most = int(number.max()) if len(number) else 1
        used = np.arange(most) < number[:, None]
        return (
            np.where(used, self.arrays.weights[:, :most], 0.0),
            used,
            self.arrays.slot[:, :most],
        )

    def _work(self, rows: np.ndarray) -> int:
        """Return about how many operations a round costs."""
        return len(rows) * (
            8 * self.arrays.x.shape[1] + 2 * int(self.arrays.number[rows].max()) ** 2
        )

    def _make_room(self, rows: np.ndarray) -> None:
        """Make room for one structure more."""
        room = self.arrays.weights.shape[1]
        if self.arrays.number[rows].max() < room:
            return
        names = ("weights", "factor", "solved", *self._of_structures)
        grown = {v: _grown(getattr(self.arrays, v), 1, 2 * room) for v in names}
        grown["factor"] = _grown(grown["factor"], 2, 2 * room)
        grown["slot"] = _grown(self.arrays.slot, 1, 2 * room)
        grown["slot"][:, room:] = np.arange(room, 2 * room)
        self.arrays = self.arrays._replace(**grown)


class SparseSets(ActiveSets):
    """Structures of any kind, by what differs from the first one; decoded round by round.

    Args:
        y: `(N, d)`, the points to project.
        first: `(N, d)`, a structure for each; NaN where there is none.
    """

    arrays: Arrays
    _of_structures = ("where", "value", "width")

    def __init__(self, y: np.ndarray, first: np.ndarray):
        common = common_arrays(y, first)
        count, room = common["weights"].shape
        self.arrays = Arrays(
            **common,
            where=np.zeros((count, room, 1), dtype=np.int32),
            value=np.zeros((count, room, 1)),
            width=np.zeros((count, room), dtype=np.int32),
        )

    def search(self, best: Best, most: int) -> None:
        """Decode the open instances, in one call a round."""
        for left in range(most, 0, -1):
            rows = self.open_rows()
            if not len(rows):
                return
            self._take_in(rows, best(rows, self.arrays.away[rows]), left == 1)

    def _take_in(self, rows: np.ndarray, decoded: np.ndarray, last: bool) -> None:
        """Take in what was decoded for `rows`, `(M, d)`; if `last`, only judge the gap."""
        self._make_room(rows)
        most = self.arrays.where.shape[2]
        needed = int((decoded != self.arrays.origin[rows]).sum(-1).max(initial=1))
        if needed > most:
            most = min(2 * needed, max(decoded.shape[1], 1))
            grown = {v: _grown(getattr(self.arrays, v), 2, most) for v in ("where", "value")}
            self.arrays = self.arrays._replace(**grown)
        kernel = _kernels.hull_sparse.advance
        run(kernel, len(rows), self._work(rows), rows, decoded, self.arrays, last)

    def _retarget(self, rows: np.ndarray) -> None:
        run(_kernels.hull_sparse.retarget, len(rows), self._work(rows), rows, self.arrays)

    def structures(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weights `(N, M)` and structures `(N, M, d)`, zeros after the last."""
        weights, used, slot = self._used()
        found = np.where(used[..., None], self.arrays.origin[:, None], 0.0)
        instance = np.arange(len(slot))[:, None]
        where, value = self.arrays.where[instance, slot], self.arrays.value[instance, slot]
        differs = np.arange(where.shape[2]) < self.arrays.width[instance, slot][..., None]
        i, j, c = (used[..., None] & differs).nonzero()
        found[i, j, where[i, j, c]] += value[i, j, c]
        return weights, found


def common_arrays(y: np.ndarray, first: np.ndarray, room: int = 8) -> dict[str, np.ndarray]:
    """Return what all instances begin with: one structure each, if there is one."""
    count = len(y)
    found: dict[str, np.ndarray] = {
        "origin": first,
        "target": y - first,
        "x": np.zeros_like(y),
        "away": y - first,
        "gap": np.full(count, np.inf),
        "state": np.zeros(count, dtype=np.int8),
        "stalls": np.zeros(count, dtype=np.int8),
        "number": np.ones(count, dtype=np.int64),
        "sigma": np.zeros(count),
        "weights": np.zeros((count, room)),
        "factor": np.zeros((count, room, room)),
        "solved": np.zeros((count, room, 2)),
        "slot": np.tile(np.arange(room, dtype=np.int32), (count, 1)),
    }
    found["weights"][:, 0] = 1.0
    found["state"][~np.isfinite(first).all(-1)] = _kernels.hull.NO_STRUCTURE
    return found


def _grown(x: np.ndarray, axis: int, room: int) -> np.ndarray:
    """Return an array with more room along a dimension."""
    shape = list(x.shape)
    shape[axis] = room
    more = np.zeros(shape, dtype=x.dtype)
    more[tuple(slice(v) for v in x.shape)] = x
    return more
