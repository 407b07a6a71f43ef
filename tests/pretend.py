"""A GPU that is none: tensors that say they are elsewhere, and count what the host would wait for.

They are computed on the CPU. Code that asks for the device takes the path of other devices, tensors
of two devices cannot be mixed, as on a real one, and what makes the host wait for a GPU is written
down: numbers that are read (`item`, `bool`), shapes that depend on numbers (`nonzero`, indexing
with booleans), copies to the host, and copies from it that are waited for.

    with PretendDevice() as gpu:
        x = gpu.put(torch.randn(4, 5))
        gpu.reset()
        ol.project(P, x)
    print(gpu.count)
"""

from collections import Counter
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only

# A device that torch knows without having it; nothing of its own is ever reached.
DEVICE = torch.device("meta")
READ, SHAPE, TO_HOST, FROM_HOST = (
    "reads a number",
    "shape by numbers",
    "to the host",
    "from the host",
)

SENT = "sent without waiting"

aten = torch.ops.aten
_SHAPES = {aten.nonzero.default, aten.masked_select.default, aten._unique2.default}
_SHAPES |= {aten.unique_dim.default, aten.repeat_interleave.Tensor, aten.nonzero_numpy.default}
_INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
_INDEXED |= {aten._index_put_impl_.default, aten._unsafe_index.Tensor}


_real_autocast = torch.autocast


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
    return _real_autocast("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)


def forget() -> None:
    """Forget what was compiled for `DEVICE`: for tests in which it is the meta device after all."""
    from optlayers._plan import compile as compiled
    from optlayers._polytope import constructors
    from optlayers._sets.graphs import polytopes as graphs
    from optlayers._sets.trees import polytopes as trees

    compiled._SMALL.clear()
    compiled._ROWS.clear()
    for module in (constructors, graphs, trees):
        for kept in vars(module).values():
            if hasattr(kept, "cache_clear"):
                kept.cache_clear()


class _Pretended(Tensor):
    """A tensor of the CPU that says it is on `DEVICE`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "_Pretended":
        self = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
        )
        self.held = held
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self) -> str:  # type: ignore[override]
        return f"pretended({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of PretendDevice()")

    # What reads a tensor without asking the dispatcher:
    def tolist(self) -> Any:
        """As on a GPU: a copy first."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """As on a GPU: refused."""
        raise TypeError("can't convert a device type tensor to numpy. Use Tensor.cpu() first.")


class PretendDevice(TorchDispatchMode):
    """While it is on, tensors of `DEVICE` are made and computed with; see the head of this file.

    Attributes:
        count: What would have made the host wait, by kind.
        where: The same by operator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()
        self.where: Counter[str] = Counter()

    def __enter__(self) -> Self:
        # torch knows no autocast on this device, and the host has the same rules.
        self._patch = patch.object(torch, "autocast", _autocast)
        self._patch.start()
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._patch.stop()

    def put(self, x: Tensor) -> Tensor:
        """Return `x` on the device, uncounted; a leaf that requires grad if `x` does."""
        return _Pretended(x.detach().clone()).requires_grad_(x.requires_grad)

    @staticmethod
    def take(x: Tensor) -> Tensor:
        """Return what a tensor of the device holds, uncounted."""
        return x.detach().held if isinstance(x, _Pretended) else x  # type: ignore[attr-defined]

    def reset(self) -> None:
        """Count from zero."""
        self.count.clear()
        self.where.clear()

    @property
    def total(self) -> int:
        """How often the host would have waited."""
        return sum(self.count.values()) - self.count[SENT]

    def _note(self, kind: str, func: Any) -> None:
        self.count[kind] += 1
        self.where[f"{kind}: {func}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        flat, _ = tree_flatten((args, kwargs))
        ours = [v for v in flat if isinstance(v, _Pretended)]
        wanted = kwargs.get("device")
        to_gpu = wanted is not None and torch.device(wanted).type == DEVICE.type
        if not ours and not to_gpu:
            return func(*args, **kwargs)
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        if func is aten._to_copy.default and wanted is not None:
            return self._copied(func, args, kwargs, to_gpu)
        self._count(func, args, kwargs, ours)
        if func not in (aten.copy_.default, aten._to_copy.default):
            self._refuse_mixed(func, flat)
        held = tree_map_only(_Pretended, lambda v: v.held, (args, kwargs))
        result = func(*held[0], **held[1])
        if func is aten.copy_.default and not isinstance(args[0], _Pretended):
            return args[0]
        return self._as_pretended(func, result, args, held[0])

    def _copied(self, func: Any, args: Any, kwargs: Any, to_gpu: bool) -> Tensor:
        on_gpu = isinstance(args[0], _Pretended)
        held = args[0].held if on_gpu else args[0]
        result = func(held, *args[1:], **kwargs)
        if result is held:  # nobody may write on it from both sides
            result = held.clone()
        if on_gpu and not to_gpu:
            self._note(TO_HOST, func)
        if to_gpu and not on_gpu:  # else the host goes on as soon as its memory is read
            self._note(SENT if kwargs.get("non_blocking") else FROM_HOST, func)
        return _Pretended(result) if to_gpu else result

    def _count(self, func: Any, args: Any, kwargs: Any, ours: list[Any]) -> None:
        if not ours:
            return
        if func in (aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default):
            self._note(READ, func)
        elif func in _SHAPES:
            self._note(SHAPE, func)
        elif func in _INDEXED:
            kinds = [v.dtype for v in args[1] if isinstance(v, Tensor)]
            if torch.bool in kinds or torch.uint8 in kinds:
                self._note(SHAPE, func)
            if any(isinstance(v, Tensor) and not isinstance(v, _Pretended) for v in args[1]):
                self._note(FROM_HOST, func)
        elif func is aten.copy_.default:
            on = [isinstance(v, _Pretended) for v in args[:2]]
            if on == [True, False] and args[1].ndim:
                self._note(FROM_HOST, func)
            if on == [False, True]:
                self._note(TO_HOST, func)
        elif func in (aten.linalg_solve_ex.default, aten._linalg_eigh.default):
            pass  # they wait inside of the library; nothing of ours decides that

    @staticmethod
    def _refuse_mixed(func: Any, flat: list[Any]) -> None:
        """As on a GPU: of the host, only numbers and indices may take part."""
        foreign = [
            v for v in flat if isinstance(v, Tensor) and not isinstance(v, _Pretended) and v.ndim
        ]
        if any(v.device == DEVICE for v in foreign):
            raise RuntimeError(f"A tensor of the device was made from numbers of the host ({func})")
        if foreign and func not in _INDEXED and any(isinstance(v, _Pretended) for v in flat):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, "
                f"{DEVICE} and cpu! ({func})"
            )

    @staticmethod
    def _as_pretended(func: Any, result: Any, args: Any, held: Any) -> Any:
        same = {id(h): a for a, h in zip(args, held, strict=False) if isinstance(a, _Pretended)}

        def wrap(v: Any) -> Any:
            if not isinstance(v, Tensor):
                return v
            return same[id(v)] if id(v) in same else _Pretended(v)

        return tree_map(wrap, result)
