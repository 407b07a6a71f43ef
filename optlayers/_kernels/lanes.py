"""Eight numbers at once: vectors that compiled loops load, combine and store.

The compiler makes such vectors of ordinary loops only where these are long, and asks first whether
their arrays overlap: with ten or fifty entries that is most of the time. An array of lanes has a
length that is a multiple of `WIDTH`, filled up with zeros, or with limits that nothing violates.
Where the processor has shorter vectors, the compiler takes several.
"""

# ruff: noqa: ARG001  (numba goes by the number and the names of arguments)

import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from .lean import inlined

WIDTH = 8
_DOUBLES = ir.VectorType(ir.DoubleType(), WIDTH)


def _in_loops(declared: Callable[..., Any]) -> Callable[..., Any]:
    """Return what loops call, without the context of types that it is declared with."""
    return intrinsic(declared)


class Lanes(types.Type):
    """Numba's type of such a vector."""

    def __init__(self):
        super().__init__(name="Lanes")


_LANES = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any):
        super().__init__(dmm, fe_type, _DOUBLES)


def rounded_up(length: int) -> int:
    """Return the least multiple of `WIDTH` that is not below a length."""
    return -(-length // WIDTH) * WIDTH


def filled_up(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix with zeros behind its rows, which begin where a line of the cache does."""
    shape = (len(matrix), rounded_up(matrix.shape[1]))
    room = np.zeros(shape[0] * shape[1] + WIDTH)
    start = -(room.ctypes.data // 8) % WIDTH
    table = room[start : start + shape[0] * shape[1]].reshape(shape)
    table[:, : matrix.shape[1]] = matrix
    return table


# ---------------------------------------------------------------------- memory


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    struct = context.make_array(array_type)(context, builder, array)
    strides = cgutils.unpack_tuple(builder, struct.strides)
    position = index[-1]
    if len(index) == 2:
        row = builder.mul(index[0], builder.udiv(strides[0], ir.Constant(strides[0].type, 8)))
        position = builder.add(row, position)
    entry = builder.gep(struct.data, [position])
    return builder.bitcast(entry, _DOUBLES.as_pointer())


def _check(array: Any, *index: Any) -> None:
    fits = isinstance(array, types.Array) and array.layout == "C" and array.dtype == types.float64
    if not fits or array.ndim != len(index):
        raise TypingError(f"lanes need a contiguous array of float64. Got {array}, {index}.")


@_in_loops
def _load(typingctx: Any, array: Any, i: Any):
    """Return entries i to i + 7."""
    _check(array, i)

    def build(context: Any, builder: Any, _: Any, args: Any):
        return builder.load(_pointer(context, builder, array, args[0], args[1:]), align=8)

    return _LANES(array, types.intp), build


@_in_loops
def _load_row(typingctx: Any, table: Any, i: Any, j: Any):
    """Return entries j to j + 7 of row i."""
    _check(table, i, j)

    def build(context: Any, builder: Any, _: Any, args: Any):
        return builder.load(_pointer(context, builder, table, args[0], args[1:]), align=8)

    return _LANES(table, types.intp, types.intp), build


@_in_loops
def _store(typingctx: Any, array: Any, i: Any, value: Any):
    """Write entries i to i + 7."""
    _check(array, i)

    def build(context: Any, builder: Any, _: Any, args: Any):
        builder.store(args[2], _pointer(context, builder, array, args[0], args[1:2]), align=8)

    return types.void(array, types.intp, _LANES), build


@_in_loops
def _store_row(typingctx: Any, table: Any, i: Any, j: Any, value: Any):
    """Write entries j to j + 7 of row i."""
    _check(table, i, j)

    def build(context: Any, builder: Any, _: Any, args: Any):
        builder.store(args[3], _pointer(context, builder, table, args[0], args[1:3]), align=8)

    return types.void(table, types.intp, types.intp, _LANES), build


@inlined
def _looked_for(array, i):
    array[i], array[i + 7] = array[i], array[i + 7]
    return _load(array, i)


@inlined
def _looked_for_row(table, i, j):
    table[i, j], table[i, j + 7] = table[i, j], table[i, j + 7]
    return _load_row(table, i, j)


@inlined
def _put(array, i, value):
    array[i], array[i + 7] = 0.0, 0.0
    _store(array, i, value)


@inlined
def _put_row(table, i, j, value):
    table[i, j], table[i, j + 7] = 0.0, 0.0
    _store_row(table, i, j, value)


if numba.config.BOUNDSCHECK:  # type: ignore[attr-defined]
    load, load_row, store, store_row = _looked_for, _looked_for_row, _put, _put_row
else:
    load, load_row, store, store_row = _load, _load_row, _store, _store_row


# ---------------------------------------------------------------------- arithmetic


@_in_loops
def splat(typingctx: Any, number: Any):
    """Return one number in all lanes."""

    def build(context: Any, builder: Any, _: Any, args: Any):
        one = builder.insert_element(
            ir.Constant(_DOUBLES, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0)
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return builder.shuffle_vector(one, ir.Constant(_DOUBLES, ir.Undefined), zeros)

    return _LANES(types.float64), build


@_in_loops
def count_up(typingctx: Any):
    """Return 0, 1, ..., 7."""

    def build(context: Any, builder: Any, _: Any, args: Any):
        return ir.Constant(_DOUBLES, [float(v) for v in range(WIDTH)])

    return _LANES(), build


@_in_loops
def muladd(typingctx: Any, a: Any, b: Any, c: Any):
    """Return a b + c."""

    def build(context: Any, builder: Any, _: Any, args: Any):
        name = f"llvm.fmuladd.v{WIDTH}f64"
        kind = ir.FunctionType(_DOUBLES, [_DOUBLES] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return _LANES(_LANES, _LANES, _LANES), build


@_in_loops
def where_greater(typingctx: Any, a: Any, b: Any, c: Any, d: Any):
    """Return c where a > b, else d; d where one of a and b is nan."""

    def build(context: Any, builder: Any, _: Any, args: Any):
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return _LANES(_LANES, _LANES, _LANES, _LANES), build


@_in_loops
def lane(typingctx: Any, a: Any, i: Any):
    """Return the number in lane i, a constant."""

    def build(context: Any, builder: Any, _: Any, args: Any):
        return builder.extract_element(args[0], builder.trunc(args[1], ir.IntType(32)))

    return types.float64(_LANES, types.intp), build


@inlined
def larger(a, b):
    """Return the larger of two, b where one is nan."""
    return where_greater(a, b, a, b)


@inlined
def total(a):
    """Return the sum of all lanes."""
    left = (lane(a, 0) + lane(a, 4)) + (lane(a, 1) + lane(a, 5))
    return left + ((lane(a, 2) + lane(a, 6)) + (lane(a, 3) + lane(a, 7)))


@inlined
def largest(a):
    """Return the largest of all lanes."""
    left, right = max(lane(a, 0), lane(a, 4)), max(lane(a, 1), lane(a, 5))
    more, rest = max(lane(a, 2), lane(a, 6)), max(lane(a, 3), lane(a, 7))
    left, right = max(left, right), max(more, rest)
    return max(left, right)


def _define(operation: Any, instruction: str) -> None:
    @type_callable(operation)
    def of_type(context: Any):
        def typer(a: Any, b: Any):
            return _LANES if a is _LANES and b is _LANES else None

        return typer

    @lower_builtin(operation, Lanes, Lanes)
    def build(context: Any, builder: Any, _: Any, args: Any):
        return getattr(builder, instruction)(*args)


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_operation, _instruction)
