"""Names and signatures of the last version, which work for one more, with a warning."""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def warn_deprecated(old: str, new: str) -> None:
    """Warn the caller of the caller that `old` goes away in the next version."""
    warnings.warn(
        f"{old} is deprecated and goes away in the next version. Use {new}.",
        DeprecationWarning,
        stacklevel=3,
    )


def keyword_only(function: F) -> F:
    """Accept, with a warning, by position what the signature of `function` asks for by keyword.

    What is too much for the last version as well is a TypeError, as ever: only the first
    keyword-only argument was positional.
    """
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    name = next(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) == len(positional) + 1 and name not in kwargs:
            warn_deprecated(f"`{name}` by position", f"`{name}={args[-1]!r}`")
            kwargs[name] = args[-1]
            args = args[:-1]
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]
