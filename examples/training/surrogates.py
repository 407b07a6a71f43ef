"""How gradients pass a structure: the surrogates of the methods, and any other of the library."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

import optlayers as ol

from .settings import ConfigError, TrainingConfig

PREFIX = "surrogate:"
"""`surrogate:NAME` is a method for each surrogate of the library."""

T = TypeVar("T")
Maker = Callable[[TrainingConfig], ol.AbstractSurrogate]


def spigot(around: Literal["vertex", "projection", "marginals"]) -> Maker:
    """SPIGOT with the published step: at most T for each sentence."""

    def make(config: TrainingConfig) -> ol.AbstractSurrogate:
        temperature = config.temperature if around != "vertex" else 1.0
        # No warning about eta: with supervision beside it, its size counts even in the cone regime.
        return ol.SPIGOT(
            ol.NormClip(config.eta), around=around, temperature=temperature, warn=False
        )

    return make


SURROGATES: dict[str, tuple[str, Maker]] = {
    "straight-through": ("straight-through", lambda _: ol.StraightThrough()),
    # The same without the projection: what is left to `spigot` is what the projection does.
    "straight-through-clipped": (
        "straight-through (clipped)",
        lambda config: ol.StraightThrough(ol.NormClip(config.eta)),
    ),
    "spigot": ("SPIGOT", spigot("vertex")),
    "spigot-projection": ("SPIGOT (projection)", spigot("projection")),
    "spigot-marginals": ("SPIGOT (marginals)", spigot("marginals")),
}
"""Their titles and how they are made, by the names of the methods that have them."""


def named_surrogate(method: str) -> tuple[str, Maker] | None:
    """The title and the maker of the surrogate of `surrogate:NAME`; None for other methods."""
    if not method.startswith(PREFIX):
        return None
    kind = find_surrogate(method.removeprefix(PREFIX))
    return kind.__name__, lambda config: make_surrogate(kind, config.surrogate_options)


def check_surrogate(config: TrainingConfig) -> None:
    """Says what is wrong with `surrogate_options`, or that they are not wanted.

    Raises:
        ConfigError: If it is so.
    """
    found = named_surrogate(config.method)
    if found is not None:
        found[1](config)
    elif config.surrogate_options:
        raise ConfigError(
            f"`surrogate_options` are those of a method {PREFIX}NAME. Got {config.method!r}."
        )


def find(name: str, methods: Mapping[str, T], make: Callable[[str, Maker], T]) -> T:
    """The method of that name; `surrogate:NAME` is one for each surrogate of the library.

    Args:
        name: The name.
        methods: All others, by their names.
        make: A method with that title and that surrogate.

    Raises:
        ConfigError: If there is no such method or surrogate.
    """
    if found := named_surrogate(name):
        return make(*found)
    if name not in methods:
        names = ", ".join((*methods, f"{PREFIX}NAME"))
        raise ConfigError(f"`method` is one of {names}. Got {name!r}.")
    return methods[name]


def surrogates() -> dict[str, type[ol.AbstractSurrogate]]:
    """What the library exports and a line of settings can make, by the names of the classes.

    Those that take a function or an object, such as a loss, cannot be made so.
    """
    return {
        name: kind
        for name, kind in vars(ol).items()
        if inspect.isclass(kind)
        and issubclass(kind, ol.AbstractSurrogate)
        and not inspect.isabstract(kind)
        and not _needs_arguments(kind)
    }


def _needs_arguments(kind: type[ol.AbstractSurrogate]) -> bool:
    parameters = inspect.signature(kind).parameters.values()
    return any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)


def find_surrogate(name: str) -> type[ol.AbstractSurrogate]:
    """The surrogate of that name, spelled as its class (`BlackBox`) or `black-box`."""
    known = surrogates()
    spelled = {_plain(other): kind for other, kind in known.items()}
    if _plain(name) not in spelled:
        near = get_close_matches(_plain(name), spelled, 1)
        hint = f"Did you mean {spelled[near[0]].__name__!r}? " if near else ""
        raise ConfigError(
            f"optlayers has no surrogate {name!r}. {hint}Surrogates: {', '.join(sorted(known))}."
        )
    return spelled[_plain(name)]


def make_surrogate(
    kind: type[ol.AbstractSurrogate], options: dict[str, Any]
) -> ol.AbstractSurrogate:
    """A surrogate with options as they are read from a command line or a file.

    `NormClip(T)` is the step size of that name; everything else is a number, a word or a truth
    value. What a value may be is for the surrogate to say.

    Raises:
        ConfigError: If it has no such option.
    """
    _check_options(kind.__name__, options, inspect.signature(kind).parameters)
    values = {name: _value(value) for name, value in options.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"Options of the surrogate {kind.__name__}: {error}.") from None


def _check_options(kind: str, options: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"The surrogate {kind} has no option {name!r}. {hint}"
                f"Options: {', '.join(known) or 'none'}."
            )


def _value(value: Any) -> Any:
    clip = re.fullmatch(r"NormClip\(([\d.eE+-]+)\)", value) if isinstance(value, str) else None
    return value if clip is None else ol.NormClip(float(clip[1]))


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name).lower()
