"""Kernels and their parts: right wherever they are called from, and compiled once."""

import types

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from optlayers import _kernels
from optlayers._kernels import folder

FILES = [p.stem for p in sorted(folder.Path(folder.__file__).parent.glob("[a-z]*.py"))]
parts = _kernels.parts


@parts.part
def add(a, b):
    return a + b


@parts.part(forceinline=True)
def twice(a):
    return add(a, a)


@parts.kernel(cache=False)
def five_times(a):
    return add(twice(twice(a)), a)


@parts.kernel(cache=False)
def six_times(a):
    return add(five_times(a), a)  # a kernel that needs another one, and a part of both


@numba.njit
def as_numba_does(a):
    return add(twice(a), a)


@pytest.mark.parametrize("a", [3, 1.5, 2 + 1j])
def test_kernels_share_parts_in_every_type(a):
    assert five_times(a) == 5 * a
    assert six_times(a) == 6 * a
    assert as_numba_does(a) == 3 * a


def test_parts_are_arrays_functions_too():
    x = np.arange(3.0)
    assert (six_times(x) == 6 * x).all()


def test_python_calls_a_part_as_any_function():
    assert twice(4) == 8
    assert twice(0.25) == 0.5
    with pytest.raises(numba.TypingError):
        twice(None)
    with pytest.raises(TypeError, match="too many arguments"):
        twice(1, 2)


def test_an_error_within_a_part_leaves_no_kernel_open():
    with pytest.raises(numba.TypingError):
        five_times(None)
    assert five_times(1) == 5
    assert as_numba_does(1) == 3


@pytest.mark.parametrize("name", FILES)
def test_only_kernels_and_parts_call_parts(name):
    """What numba compiles in its own way inside of a kernel would not find their code."""
    loops = vars(getattr(_kernels, name))
    for found in loops.values():
        if not isinstance(found, Dispatcher) or isinstance(found, parts.Part):
            continue
        if getattr(found, "is_kernel", False):
            continue
        used = found.py_func.__code__.co_names
        seen = [found.py_func.__globals__.get(n) for n in used]
        seen += [getattr(m, n, None) for m in seen for n in used if isinstance(m, types.ModuleType)]
        assert not any(isinstance(v, parts.Part) for v in seen), found
