"""Functions that stay out of `torch.compile`, without its price; tensors that hold no numbers."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def eager(function: F) -> F:
    """Disable the compiler for a function, importing it only where it is in use already.

    `torch.compiler.disable` itself imports `torch._dynamo`, which doubles the time of
    `import torch`; a decorated module-level function would charge that to everybody.
    """
    disabled: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if disabled is None and "torch._dynamo" in sys.modules:
            disabled = torch.compiler.disable(function)
        return (disabled or function)(*args, **kwargs)

    # What `torch.compiler.disable` sets as well: tracing stops here, and `call` runs as it is.
    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def ordinary(function: F) -> F:
    """Make ordinary tensors in inference mode and under transforms: decorates what fills a cache.

    A tensor that was made in inference mode can never be saved for a backward pass, and a set that
    was first used for inference may be trained with later. Whatever operations make inside a
    function of `torch.func` belongs to that call, and shows no numbers.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        # The compiler cannot ask for the mode; what it reads was made before it traced.
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        functorch: Any = torch._C._functorch  # type: ignore[attr-defined]
        if functorch.peek_interpreter_stack() is None and not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), _outside_transforms(functorch):
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]


@contextmanager
def _outside_transforms(functorch: Any) -> Iterator[None]:
    """Leave the transforms of `torch.func` for a while."""
    left = []
    try:
        while functorch.peek_interpreter_stack() is not None:
            left.append(functorch.pop_dynamic_layer_stack())
        yield
    finally:
        while left:
            functorch.push_dynamic_layer_stack(left.pop())


def has_no_numbers(x: Tensor) -> bool:
    """Tell whether a tensor is on the meta device: a shape, a dtype, and nothing to look at."""
    return x.is_meta and type(x) in (Tensor, torch.nn.Parameter)


def without_autocast(x: Tensor) -> Any:
    """Return a context in which operations keep the dtype of their arguments."""
    if has_no_numbers(x):  # torch knows no autocast there
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
