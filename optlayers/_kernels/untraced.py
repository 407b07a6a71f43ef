"""Functions that stay out of `torch.compile`, without its price; tensors that hold no numbers."""

import functools
import sys
from collections.abc import Callable
from contextlib import nullcontext
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
    """Make ordinary tensors in inference mode too: decorates what fills a cache.

    A tensor that was made in inference mode can never be saved for a backward pass, and a set that
    was first used for inference may be trained with later.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        # The compiler cannot ask for the mode; what it reads was made before it traced.
        if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False):
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def has_no_numbers(x: Tensor) -> bool:
    """Tell whether a tensor is on the meta device: a shape, a dtype, and nothing to look at."""
    return x.is_meta and type(x) in (Tensor, torch.nn.Parameter)


def without_autocast(x: Tensor) -> Any:
    """Return a context in which operations keep the dtype of their arguments."""
    if has_no_numbers(x):  # torch knows no autocast there
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
