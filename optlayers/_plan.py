"""A plan sends every block of a polytope to the cheapest map of a table that accepts it."""

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._errors import BlockRefused, OptLayersError, SolverFailed
from ._polytope import Polytope
from ._structure import Block


class Limits(NamedTuple):
    """What may differ from call to call, in the layout of a block: `(N or 1, count, ...)`."""

    row_lower: Tensor
    row_upper: Tensor
    lower: Tensor
    upper: Tensor


@dataclass
class Report:
    """Which instances failed, and why; a map that gives up on an instance says so here."""

    failures: dict[int, str] = field(default_factory=dict)
    kinds: dict[int, type[OptLayersError]] = field(default_factory=dict)

    def fail(self, instance: int, reason: str, kind: type[OptLayersError] = SolverFailed) -> None:
        """Record the first reason for an instance of the flattened batch.

        Args:
            instance: Its number, the first index of the tensor given to `forward`.
            reason: What went wrong, as a clause: "no point satisfies all constraints".
            kind: The error to raise where failures are errors.
        """
        if instance not in self.failures:
            self.failures[int(instance)], self.kinds[int(instance)] = reason, kind


class AbstractBlockMap(ABC):
    """A map from the variables of a block to the variables of that block: the unit of a plan.

    To add one, write `why_not` and `forward`, and register the class:
    `optlayers.PROJECTIONS.register(MyMap)`. It must accept only blocks it is exact for.
    """

    shares_matrix: ClassVar[bool] = False  # True: every component must have the same coefficients
    wide_limits: ClassVar[bool] = False  # True: limits come in float64, whatever x is

    def __init__(self, block: Block):
        if reason := self.why_not(block):
            raise BlockRefused(f"{type(self).__name__} cannot take {block}: {reason}.")
        self.block = block
        self._constants: dict[tuple[torch.device, torch.dtype], tuple[Any, ...]] = {}

    @classmethod
    @abstractmethod
    def why_not(cls, block: Block) -> str | None:
        """Return None if this map is exact for `block`, else the reason, as half a sentence."""

    def remark(self) -> str:
        """How the block is treated, for `Plan.explain`; nothing by default."""
        return ""

    @abstractmethod
    def forward(self, x: Tensor, limits: Limits, report: Report) -> Tensor:
        """Map `(N, count, size)` to the same shape, dtype and device.

        Args:
            x: Points or scores in float32 or float64; zero at auxiliary variables.
            limits: Right-hand sides and bounds in the dtype (or in float64, where the class says
                `wide_limits = True`) and on the device of `x`.
            report: Call `report.fail(i, why)` for an instance that has no answer, and put NaN.
        """

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
        """What `constants` returns, made once per device and dtype, before the first call."""
        return ()

    def constants(self, device: torch.device, dtype: torch.dtype) -> Any:
        """Tensors that depend on the block alone."""
        key = (device, dtype)
        if key not in self._constants:
            self._constants[key] = self.make_constants(device, dtype)
        return self._constants[key]

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Vector-Jacobian product of `forward` at `x`, where `z = forward(x)`."""
        raise NotImplementedError(
            f"{type(self).__name__} has no derivative. Define `vjp` to differentiate through it."
        )

    def vjp_limits(self, z: Tensor, limits: Limits, grad: Tensor) -> Limits:
        """The same with respect to the limits, each in its own shape."""
        raise NotImplementedError(
            f"{type(self).__name__} has no derivative with respect to right-hand sides and bounds. "
            "Define `vjp_limits`, or detach them."
        )


class SolverMap(AbstractBlockMap):
    """The last map of a table: takes every block, and asks solvers, one instance at a time.

    Solvers are made on first use, used by one thread at a time, and left out of pickles.
    """

    shares_matrix: ClassVar[bool] = True
    wide_limits: ClassVar[bool] = True  # dependent rows that were rounded contradict each other

    def __init__(self, block: Block):
        super().__init__(block)
        self._start()

    _lock: threading.Lock
    _solvers: dict[Any, Any]

    def _start(self) -> None:
        self._lock, self._solvers = threading.Lock(), {}
        _SOLVER_MAPS.add(self)

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse nothing."""
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_lock", "_solvers")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()


_SOLVER_MAPS: "weakref.WeakSet[SolverMap]" = weakref.WeakSet()
_LOST: list[Any] = []  # solvers in the middle of something can be neither used nor freed


def _after_fork() -> None:
    """A child has one thread: what the others were using in the parent is lost to it."""
    for map_ in list(_SOLVER_MAPS):
        if map_._lock.locked():
            _LOST.append(map_._solvers)
            map_._solvers = {}
        # Even if it says that it is open: a thread that waited may have just been let in.
        map_._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Table:
    """An ordered table of maps, cheapest first; the last one refuses nothing."""

    def __init__(self, name: str, *maps: type[AbstractBlockMap]):
        self.name = name
        self._maps = list(maps)
        self.version = 0

    def __iter__(self) -> Iterator[type[AbstractBlockMap]]:
        return iter(tuple(self._maps))

    def __len__(self) -> int:
        return len(self._maps)

    def register(self, map_: type[AbstractBlockMap]) -> type[AbstractBlockMap]:
        """Put a map of your own first; usable as a class decorator. Plans are compiled anew."""
        if not (isinstance(map_, type) and issubclass(map_, AbstractBlockMap)):
            raise TypeError(f"Register a subclass of AbstractBlockMap. Got {map_!r}.")
        self._maps.insert(0, map_)
        self.version += 1
        return map_

    def unregister(self, map_: type[AbstractBlockMap]) -> None:
        """Take a registered map out again."""
        self._maps.remove(map_)
        self.version += 1

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(m.__name__ for m in self)})"


class Plan:
    """A compiled polytope: a list of maps, one per stack of equal blocks.

    Compilation looks at the constraints and costs time linear in their nonzeros; a call looks at
    scores and values alone.
    """

    def __init__(self, polytope: Polytope, table: Table, blocks: list[Block]):
        self.n, self.num_vars, self.table = polytope.n, polytope.num_vars, table
        self.maps: list[AbstractBlockMap] = []
        self.refusals: list[list[str]] = []
        # Nothing of a block of auxiliary variables alone is visible in z, but it may be infeasible.
        self.hidden = [b for b in blocks if b.is_aux.all() and b.num_rows > 1]
        for block in blocks:
            if block.is_aux.all():
                continue
            chosen, refusals = self._choose(block)
            for part in block.uniform() if chosen.shares_matrix else [block]:
                self.maps.append(chosen(part))
                self.refusals.append(refusals)
        self._index = [_as_index(m.block.index) for m in self.maps]
        self._on_device: dict[torch.device, list[Any]] = {}
        self.covers_in_order = len(self.maps) == 1 and self._index[0] == slice(0, self.num_vars)

    def _choose(self, block: Block) -> tuple[type[AbstractBlockMap], list[str]]:
        refusals = []
        for candidate in self.table:
            reason = candidate.why_not(block)
            if reason is None:
                return candidate, refusals
            refusals.append(f"not {candidate.__name__}: {reason}")
        raise BlockRefused(f"No map in {self.table} takes {block}. " + "; ".join(refusals))

    def explain(self) -> str:
        """What goes where, and why not somewhere cheaper.

        Examples:
            >>> import optlayers as ol
            >>> print(ol.plan(ol.simplex(3)).explain())
            Projection plan: 3 variables, 1 block
              1 x 3 variables, 1 row -> Simplex
                  not Box: it has coupling rows
        """
        total = sum(m.block.count for m in self.maps)
        name = self.table.name.capitalize()
        lines = [f"{name} plan: {self.n} variables, {total} block{'s' * (total != 1)}"]
        for map_, refusals in zip(self.maps, self.refusals, strict=True):
            block = map_.block
            rows = f"{block.num_rows} row{'s' * (block.num_rows != 1)}"
            lines.append(
                f"  {block.count} x {block.size} variables, {rows} -> {type(map_).__name__}"
            )
            remark = map_.remark()
            lines += [f"      {reason}" for reason in ([remark] if remark else []) + refusals]
        return "\n".join(lines)

    __str__ = explain

    # ------------------------------------------------------------------ calls

    def index(self, device: torch.device) -> list[Any]:
        """Per map, the slice or the index tensor of its variables."""
        if device not in self._on_device:
            self._on_device[device] = [
                i if isinstance(i, slice) else i.to(device) for i in self._index
            ]
        return self._on_device[device]

    def gather(self, x: Tensor, at: Any, map_: AbstractBlockMap) -> Tensor:
        """The `(N, count, size)` part of `(N, num_vars)` that belongs to a map."""
        part = x[:, at] if isinstance(at, slice) else x.index_select(1, at)
        return part.reshape(x.shape[0], map_.block.count, map_.block.size)

    def forward(self, x: Tensor, limits: list[Limits], report: Report) -> Tensor:
        """Apply every map to its part of `(N, n)`."""
        if self.num_vars > self.n:
            x = torch.cat([x, x.new_zeros(x.shape[0], self.num_vars - self.n)], 1)
        if self.covers_in_order:
            map_ = self.maps[0]
            part = x.reshape(x.shape[0], map_.block.count, map_.block.size)
            return map_.forward(part, limits[0], report).reshape(x.shape)[:, : self.n]
        out = torch.empty_like(x)
        for map_, at, limit in zip(self.maps, self.index(x.device), limits, strict=True):
            result = map_.forward(self.gather(x, at, map_), limit, report).flatten(1)
            if isinstance(at, slice):
                out[:, at] = result
            else:
                out.index_copy_(1, at, result)
        return out[:, : self.n]

    def vjp_limits(self, z: Tensor, limits: list[Limits], grad: Tensor) -> list[Limits]:
        """Vector-Jacobian product of `forward` with respect to the limits, map by map."""
        if self.num_vars > self.n:
            pad = z.new_zeros(z.shape[0], self.num_vars - self.n)
            z, grad = (torch.cat([v, pad], 1) for v in (z, grad))
        return [
            map_.vjp_limits(self.gather(z, at, map_), limit, self.gather(grad, at, map_))
            for map_, at, limit in zip(self.maps, self.index(z.device), limits, strict=True)
        ]

    def vjp(self, x: Tensor, z: Tensor, limits: list[Limits], grad: Tensor) -> Tensor:
        """Vector-Jacobian product of `forward`, map by map."""
        if self.num_vars > self.n:
            pad = x.new_zeros(x.shape[0], self.num_vars - self.n)
            x, z, grad = (torch.cat([v, pad], 1) for v in (x, z, grad))
        out = torch.zeros_like(x)
        for map_, at, limit in zip(self.maps, self.index(x.device), limits, strict=True):
            parts = (self.gather(v, at, map_) for v in (x, z, grad))
            px, pz, pg = parts
            result = map_.vjp(px, pz, limit, pg).flatten(1)
            if isinstance(at, slice):
                out[:, at] = result
            else:
                out.index_copy_(1, at, result)
        return out[:, : self.n]


def _as_index(index: np.ndarray) -> slice | Tensor:
    """A slice where the variables are consecutive (a view, no copy), else an index tensor."""
    flat = index.ravel()
    if (np.diff(flat) == 1).all():
        return slice(int(flat[0]), int(flat[-1]) + 1)
    return torch.from_numpy(flat)
