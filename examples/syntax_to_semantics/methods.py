"""How the semantic parser reads the syntactic one, and what it tells it: one switch."""

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import optlayers as ol

if TYPE_CHECKING:
    from .config import Config

SURROGATE = "surrogate:"


class ConfigError(ValueError):
    """A setting that does not exist or has an impossible value."""


@dataclass(frozen=True)
class Method:
    """A row of the paper's table.

    Args:
        title: What it is called in tables.
        surrogate: The backward pass of the tree; None where there is none to pass.
        semantics: Whether graphs are parsed.
        syntax: Whether trees are parsed.
        pretrained: Whether the syntactic parser is trained first and then frozen.
        soft: Whether the semantic parser reads marginals instead of a tree.
        loss: Of the syntactic parser, on trees.
        multitask: Whether graphs of several formalisms are parsed, and by which encoders: one that
            they share, or that and one for each.
        pruner: Whether it parses arcs without labels, to prune those of another model.
    """

    title: str
    surrogate: "Callable[[Config], ol.AbstractSurrogate] | None" = None
    semantics: bool = True
    syntax: bool = True
    pretrained: bool = False
    soft: bool = False
    loss: Literal["hinge", "log"] = "hinge"
    multitask: Literal["", "shared", "freda"] = ""
    pruner: bool = False


def spigot(around: Literal["vertex", "projection", "marginals"]):
    """SPIGOT with the published step: at most T for each sentence."""

    def make(config: "Config") -> ol.AbstractSurrogate:
        temperature = config.temperature if around != "vertex" else 1.0
        # No warning about eta: with supervision beside it, its size counts even in the cone regime.
        return ol.SPIGOT(
            ol.NormClip(config.eta), around=around, temperature=temperature, warn=False
        )

    return make


METHODS = {
    "none": Method("no syntax", syntax=False),
    "pipeline": Method("pipeline", pretrained=True),
    "attention": Method("structured attention", soft=True, loss="log"),
    "straight-through": Method("straight-through", lambda _: ol.StraightThrough()),
    # The same without the projection: what is left to `spigot` is what the projection does.
    "straight-through-clipped": Method(
        "straight-through (clipped)", lambda config: ol.StraightThrough(ol.NormClip(config.eta))
    ),
    "spigot": Method("SPIGOT", spigot("vertex")),
    "spigot-projection": Method("SPIGOT (projection)", spigot("projection")),
    "spigot-marginals": Method("SPIGOT (marginals)", spigot("marginals")),
    "shared": Method("multitask (SHARED1)", syntax=False, multitask="shared"),
    "freda": Method("multitask (FREDA1)", syntax=False, multitask="freda"),
    # The parser of a pipeline is a run of its own, and so is a pruner.
    "syntax": Method("syntax alone", semantics=False),
    "pruner": Method("pruner of arcs", syntax=False, pruner=True),
}


def find_method(name: str) -> Method:
    """The method of that name; `surrogate:NAME` is one for each surrogate of the library.

    Raises:
        ConfigError: If there is no such method or surrogate.
    """
    if name.startswith(SURROGATE):
        kind = find_surrogate(name.removeprefix(SURROGATE))
        return Method(kind.__name__, lambda config: make_surrogate(kind, config.surrogate_options))
    if name not in METHODS:
        known = ", ".join((*METHODS, f"{SURROGATE}NAME"))
        raise ConfigError(f"`method` is one of {known}. Got {name!r}.")
    return METHODS[name]


def surrogates() -> dict[str, type[ol.AbstractSurrogate]]:
    """What the library exports, by the names of the classes."""
    return {
        name: kind
        for name, kind in vars(ol).items()
        if inspect.isclass(kind)
        and issubclass(kind, ol.AbstractSurrogate)
        and not inspect.isabstract(kind)
    }


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
