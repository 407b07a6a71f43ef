"""Maps as operators of torch, so that graphs hold them whole: `torch.compile`, `torch.export`.

A map that runs compiled loops or a solver cannot be traced. In a graph it is one of three
operators, which is given points, limits and the key of the map: a digest of what it was made of, so
that equal blocks have equal keys, in every process. A process that runs a graph has to have made
the set.
"""

import functools
import hashlib
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from .._errors import SolverFailed
from .failures import Report
from .maps import AbstractBlockMap, Limits

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=type[AbstractBlockMap])

_MAPS: "weakref.WeakValueDictionary[str, AbstractBlockMap]" = weakref.WeakValueDictionary()
_IN_GRAPHS: dict[str, AbstractBlockMap] = {}  # a graph may outlive the polytope that it was made of


def outside_graphs(forward: F) -> F:
    """Decorate a map's `forward` that cannot be traced: in a graph, it is an operator."""

    @functools.wraps(forward)
    def call(self: AbstractBlockMap, x: Tensor, limits: Limits, report: Report, *rest: Any) -> Any:
        if not torch.compiler.is_compiling():
            return forward(self, x, limits, report, *rest)
        return torch.ops.optlayers.answer(x.detach(), *_four(limits), self.key)

    call.is_operator = True  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def with_operators(kind: M) -> M:
    """Decorate a projection: its derivatives are operators in a graph as well."""
    vjp, vjp_limits = kind.vjp, kind.vjp_limits

    @functools.wraps(vjp)
    def of_points(self: Any, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return vjp(self, x, z, limits, grad)
        return torch.ops.optlayers.vjp(x, z, *_four(limits), grad, self.key)

    @functools.wraps(vjp_limits)
    def of_limits(self: Any, x: Tensor, z: Tensor, limits: Limits, grad: Tensor) -> Limits:
        if not torch.compiler.is_compiling():
            return vjp_limits(self, x, z, limits, grad)
        found = torch.ops.optlayers.vjp_limits(x, z, *_four(limits), grad, self.key)
        return Limits(*found)

    kind.vjp, kind.vjp_limits = of_points, of_limits  # type: ignore[method-assign]
    return kind


def register(map_: AbstractBlockMap) -> None:
    """Give a map its key, ahead of a graph that may ask for it."""
    if map_.key or not hasattr(type(map_).forward, "is_operator"):
        return
    block = map_.block
    digest = hashlib.blake2b(type(map_).__qualname__.encode(), digest_size=16)
    arrays = (block.index, block.weights, block.is_aux, block.whole, *_static(block))
    matrix = block.matrix
    for part in (*arrays, matrix.indptr, matrix.indices, matrix.data):
        if part is None:
            digest.update(b"none")
        else:
            digest.update(str((part.dtype, part.shape)).encode())
            numbers: Any = part.copy(order="C")
            digest.update(memoryview(numbers).cast("B") if part.size else b"")
    map_.key = digest.hexdigest()
    _MAPS[map_.key] = map_


def _static(block: Any) -> tuple[Any, ...]:
    return block.row_lower, block.row_upper, block.lower, block.upper


def _four(limits: Limits) -> tuple[Tensor, ...]:
    return tuple(v.detach() for v in limits)


def _map_of(key: str) -> AbstractBlockMap:
    found = _IN_GRAPHS.get(key) or _MAPS.get(key)
    if found is None:
        raise SolverFailed(
            "A graph asks for a set that this process has not made. Make the same polytope, and "
            "project or decode once in the dtype and on the device of the graph, before it runs."
        )
    return found


def _kept(key: str) -> None:
    """Keep the map of a graph that is being traced."""
    _IN_GRAPHS[key] = _map_of(key)


# ---------------------------------------------------------------------- the operators

_SIDES = "Tensor row_lower, Tensor row_upper, Tensor lower, Tensor upper"


def _answer(
    x: Tensor, row_lower: Tensor, row_upper: Tensor, lower: Tensor, upper: Tensor, key: str
) -> Tensor:
    """Return what the map answers; NaN where there is none, and nobody to tell."""
    limits = Limits(row_lower, row_upper, lower, upper)
    return _fresh(_map_of(key).forward(x, limits, Report(may_look=False)), x)


def _vjp(x, z, row_lower, row_upper, lower, upper, grad, key: str) -> Tensor:
    limits = Limits(row_lower, row_upper, lower, upper)
    return _fresh(_map_of(key).vjp(x, z, limits, grad), grad)


def _vjp_limits(x, z, row_lower, row_upper, lower, upper, grad, key: str) -> list[Tensor]:
    limits = Limits(row_lower, row_upper, lower, upper)
    found = _map_of(key).vjp_limits(x, z, limits, grad)
    return [_fresh(v.to(like.dtype), like) for v, like in zip(found, limits, strict=True)]


def _fresh(found: Tensor, like: Tensor) -> Tensor:
    """Return a tensor of its own memory, contiguous: what an operator has to return."""
    return torch.empty(like.shape, dtype=found.dtype, device=like.device).copy_(found)


_LIBRARY = torch.library.Library("optlayers", "DEF")
_LIBRARY.define(f"answer(Tensor x, {_SIDES}, str key) -> Tensor")
_LIBRARY.define(f"vjp(Tensor x, Tensor z, {_SIDES}, Tensor grad, str key) -> Tensor")
_LIBRARY.define(f"vjp_limits(Tensor x, Tensor z, {_SIDES}, Tensor grad, str key) -> Tensor[]")
for _name, _function in (("answer", _answer), ("vjp", _vjp), ("vjp_limits", _vjp_limits)):
    _LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")


@torch.library.register_fake("optlayers::answer", lib=_LIBRARY)
def _fake_answer(x, *others):
    _kept(others[-1])
    return x.new_empty(x.shape)


@torch.library.register_fake("optlayers::vjp", lib=_LIBRARY)
def _fake_vjp(*given):
    *_, grad, key = given
    _kept(key)
    return grad.new_empty(grad.shape)


@torch.library.register_fake("optlayers::vjp_limits", lib=_LIBRARY)
def _fake_vjp_limits(*given):
    _, _, *limits, _, key = given
    _kept(key)
    return [v.new_empty(v.shape) for v in limits]


def _save_inputs(ctx, inputs, output) -> None:
    *tensors, ctx.key = inputs
    ctx.save_for_backward(*tensors, output)


def _backward(ctx, grad):
    x, *limits, z = ctx.saved_tensors
    of_x = torch.ops.optlayers.vjp(x, z, *limits, grad, ctx.key)
    of_limits = [None] * 4
    if any(ctx.needs_input_grad[1:5]):
        of_limits = torch.ops.optlayers.vjp_limits(x, z, *limits, grad, ctx.key)
    return (of_x, *of_limits, None)


torch.library.register_autograd(
    "optlayers::answer", _backward, setup_context=_save_inputs, lib=_LIBRARY
)
