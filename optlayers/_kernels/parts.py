"""Kernels, which Python calls, and their parts, of which machine code is made together.

numba optimises every function by itself and makes machine code of it, and then again of all that it
is inlined in: of a method in many functions that is most of the time until its first answer. A
part is translated for LLVM whenever a kernel that calls it is, and joins the kernel's code, which
is optimised once. Called from Python, or from a function that numba compiles in its own way, a part
is a function like others.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

import numba
from numba.core.compiler import Compiler, Flags
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering

from .folder import kept_in_folder


class _Flags(Flags):
    """Options of a compilation, which numba compares for every expression: a third of its time."""

    kept: dict[str, Any] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__("kept", None)
        super().__setattr__(name, value)

    def values(self) -> dict[str, Any]:
        """Return all options, put together when one has changed only."""
        if self.kept is None:
            super().__setattr__("kept", super().values())
        return self.kept or {}


class _Whole:
    """Holds a kernel and its parts while the kernel is compiled."""

    def __init__(self, library: Any):
        self.library = library
        self.modules: list[Any] = []  # of parts, as numba writes them; who is called comes first


_open: list[_Whole] = []  # under numba's lock: a kernel, and another one that it needs as a whole


class _Later:
    """Stands for the library of a kernel: keeps what is added until the kernel itself is there."""

    def __init__(self, whole: _Whole):
        self._whole = whole

    def add_ir_module(self, module: Any) -> None:
        """Keep the code of a part."""
        self._whole.modules.append(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole.library, name)


class _PartLower(Lower):
    """Translates a part, which LLVM may drop where it has been inlined."""

    def __init__(self, context: Any, library: Any, *args: Any, **kwargs: Any):
        super().__init__(context, library, *args, **kwargs)
        self.library = _Later(_open[-1])

    def lower_normal_function(self, fndesc: Any) -> None:
        super().lower_normal_function(fndesc)
        self.function.linkage = "linkonce_odr"


class _KernelLower(Lower):
    """Translates a kernel and adds its parts, callers first: what nobody asks for is not linked."""

    def lower(self) -> None:
        super().lower()
        for module in reversed(_open[-1].modules):
            self.library.add_ir_module(module)


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):
    """Ends the compilation of a part, of which there is no machine code and no address."""

    _name = "optlayers_part"

    @property
    def lowering_class(self) -> type[Lower]:
        return _PartLower

    def run_pass(self, state: Any) -> Any:
        state.flags.no_compile = True
        super().run_pass(state)
        name = (
            object().__dir__
        )  # a builtin like no other, by which numba finds the part; not called
        state.targetctx.insert_user_function(name, state.cr.fndesc, [])
        state.cr = state.cr._replace(cfunc=name)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    _name = "optlayers_kernel"

    @property
    def lowering_class(self) -> type[Lower]:
        return _KernelLower


class _PartCompiler(Compiler):
    lowering: type[NativeLowering] = _PartLowering

    def __init__(
        self, typing: Any, target: Any, library: Any, args: Any, result: Any, flags: Any, types: Any
    ):
        library = library or _open[-1].library
        super().__init__(typing, target, library, args, result, _Flags(flags), types)

    def define_pipelines(self) -> list[Any]:
        """Return numba's pipeline with a lowering of ours."""
        managers = super().define_pipelines()
        for manager in managers:
            passes = [(self.lowering if p is NativeLowering else p, d) for p, d in manager.passes]
            manager.passes = passes
            manager.finalize()
        return managers


class _KernelCompiler(_PartCompiler):
    lowering = _KernelLowering

    def __init__(self, typing: Any, target: Any, _: Any, *args: Any):
        library = target.codegen().create_library("kernel")
        library.enable_object_caching()
        self._whole = _Whole(library)
        super().__init__(typing, target, library, *args)

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        """Compile the kernel, and meanwhile its parts."""
        _open.append(self._whole)
        try:
            return super().compile_extra(func)
        finally:
            _open.pop()


class Part(CPUDispatcher):
    """A function that kernels call: translated anew for each of them."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]):
        wanted = options | {"nopython": True, "boundscheck": None}
        wanted |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        super().__init__(function, targetoptions=wanted, pipeline_class=_PartCompiler)
        self.options = options
        self._of_wholes: Any = WeakKeyDictionary()

    @cached_property
    def alone(self) -> Any:
        """The function for Python and for what numba compiles in its own way."""
        package, _, name = self.py_func.__module__.rpartition(".")
        if package == __package__:
            with suppress(RuntimeError), kept_in_folder(name):  # there may be nowhere to keep it
                return kernel(self.py_func, **self.options)
        return kernel(self.py_func, **self.options, cache=False)

    def _is_called_by_a_kernel(self) -> bool:
        """Return that, and look where overloads for the caller are."""
        if _open:
            self.overloads = self._of_wholes.setdefault(_open[-1], OrderedDict())
        else:
            self.overloads = self.alone.overloads
        return bool(_open)

    def compile(self, sig: Any) -> Any:
        """Translate the function for a caller."""
        return super().compile(sig) if self._is_called_by_a_kernel() else self.alone.compile(sig)

    def get_overload(self, sig: Any) -> Any:
        """Return by what name numba finds the translation for a caller."""
        self._is_called_by_a_kernel()
        return super().get_overload(sig)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.alone(*args, **kwargs)


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function that Python calls, or kernels as a whole; kept on disk.

    Args:
        function: What to compile; None returns a decorator.
        options: For `numba.njit`.
    """
    if function is None:
        return partial(kernel, **options)
    njit: Any = numba.njit
    wanted = {"nogil": True, "cache": True, "pipeline_class": _KernelCompiler}
    made = njit(**(wanted | options))(function)
    made.is_kernel = True
    return made


def part(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function that kernels call; arguments as of `kernel`."""
    if function is None:
        return partial(part, **options)
    config: Any = numba.config
    return function if config.DISABLE_JIT else Part(function, {"nogil": True} | options)
