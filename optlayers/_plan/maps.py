"""The unit of a plan: a map of one block, and the ordered tables that maps stand in."""

import itertools
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from .._errors import BlockRefused
from .._kernels.untraced import ordinary
from .blocks import Block
from .failures import ACCURACY as ACCURACY
from .failures import Report as Report


def send(x: Any, device: torch.device) -> Any:
    """Return a tensor on a device, without waiting for that; anything else as it is."""
    return x.to(device, non_blocking=x.device.type == "cpu") if isinstance(x, Tensor) else x


class Limits(NamedTuple):
    """Limits, which may differ by call, in the layout of a block: `(N or 1, count, ...)`."""

    row_lower: Tensor
    row_upper: Tensor
    lower: Tensor
    upper: Tensor


class AbstractBlockMap(ABC):
    """A map from the variables of a block to the variables of that block: the unit of a plan.

    To add one, write `why_not` and `forward`, and register the class:
    `optlayers.maps.PROJECTIONS.register(MyMap)`. It must accept only blocks it is exact for.
    """

    shares_matrix: ClassVar[bool] = False  # True: every component must have the same coefficients
    wide_limits: ClassVar[bool] = False  # True: limits come in float64, whatever x is
    uses_near: ClassVar[bool] = False  # True: `forward` takes `near`, where answers are expected
    cheap: ClassVar[bool] = False  # True: a closed form, which on the CPU may be asked twice
    prompt: ClassVar[bool] = False  # True: takes little for usual numbers, and is asked at once too
    takes_mixed: ClassVar[bool] = False  # True: a decoder of some integers beside other numbers

    def __init__(self, block: Block):
        if reason := self.why_not(block):
            raise BlockRefused(f"{type(self).__name__} cannot take {block}: {reason}.")
        self.block, self.key = block, ""
        self._constants: dict[tuple[torch.device, torch.dtype], tuple[Any, ...]] = {}

    @classmethod
    @abstractmethod
    def why_not(cls, block: Block) -> str | None:
        """Return None if this map is exact for `block`, else the reason, as half a sentence."""

    def remark(self) -> str:
        """Say how the block is treated, for `Plan.explain`; nothing by default."""
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

    def at_once(self, x: Tensor, limits: Limits, report: Report) -> Tensor | None:
        """Return what `forward` does, where that takes little; None where it would not.

        What a call asks first on the CPU of a map that is not `cheap`, because then nothing else
        has to be prepared. If it fails, or a number is not finite, everything is asked again.
        """
        return None

    def make_constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
        """Make what `constants` returns, once per device and dtype, before the first call.

        Tensors may lie on the host: they are moved, without waiting for the device.
        """
        return ()

    @ordinary
    def constants(self, device: torch.device, dtype: torch.dtype) -> Any:
        """Return tensors that depend on the block alone."""
        key = (device, dtype)
        if key not in self._constants:
            made = self.make_constants(device, dtype)
            self._constants[key] = tuple(send(v, device) for v in made)
        return self._constants[key]

    def vjp(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        """Return the vector-Jacobian product of `forward` at `x`, where `z = forward(x)`."""
        raise NotImplementedError(
            f"{type(self).__name__} has no derivative. Define `vjp` to differentiate through it."
        )

    def vjp_limits(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Limits:
        """Return the vector-Jacobian product of `forward` in the limits, each in its own shape."""
        raise NotImplementedError(
            f"{type(self).__name__} has no derivative with respect to right-hand sides and bounds. "
            "Define `vjp_limits`, or detach them."
        )

    def vjp_both(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> tuple[Tensor, Limits]:
        """Return `vjp` and `vjp_limits`, in one go where they have work in common."""
        return self.vjp(x, z, limits, grad), self.vjp_limits(x, z, limits, grad)

    def vjp_face(self, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> tuple[Tensor, Limits]:
        """Return `vjp` and `vjp_limits`; both of the same face, where a point lies on several."""
        return self.vjp(x, z, limits, grad), self.vjp_limits(x, z, limits, grad)


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
    """Give up what other threads of the parent were using: a child has one thread."""
    for map_ in list(_SOLVER_MAPS):
        if map_._lock.locked():
            _LOST.append(map_._solvers)
            map_._solvers = {}
        # Even if it says that it is open: a thread that waited may have just been let in.
        map_._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


_VERSIONS = itertools.count()  # no two tables, and no two states of one, share a number


class Table:
    """An ordered table of maps, cheapest first; the last one refuses nothing."""

    def __init__(self, name: str, *maps: type[AbstractBlockMap]):
        self.name = name
        self._maps = list(maps)
        self.completes = False  # True: blocks of auxiliary variables alone are answered as well
        self.version = next(_VERSIONS)

    def __iter__(self) -> Iterator[type[AbstractBlockMap]]:
        return iter(tuple(self._maps))

    def __len__(self) -> int:
        return len(self._maps)

    def register(self, map_: type[AbstractBlockMap]) -> type[AbstractBlockMap]:
        """Put a map of your own first; usable as a class decorator. Plans are compiled anew."""
        if not (isinstance(map_, type) and issubclass(map_, AbstractBlockMap)):
            raise TypeError(f"Register a subclass of AbstractBlockMap. Got {map_!r}.")
        self._maps.insert(0, map_)
        self.version = next(_VERSIONS)
        return map_

    def unregister(self, map_: type[AbstractBlockMap]) -> None:
        """Take a registered map out again."""
        self._maps.remove(map_)
        self.version = next(_VERSIONS)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(m.__name__ for m in self)})"
