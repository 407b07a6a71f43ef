"""How gradients pass a structure: the surrogates of the methods."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

import optlayers as ol

from .settings import ConfigError, TrainingConfig, make_surrogate

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


def make_layer(config: TrainingConfig, maker: Maker | None) -> ol.StructuredArgmax:
    """The argmax of a method, with the config's surrogate instead of the method's if it has one.

    Raises:
        ConfigError: If the config has a surrogate, and the method nothing for it to pass.
    """
    if config.surrogate is not None and maker is None:
        raise ConfigError(
            f"`surrogate` is for methods whose gradients pass a structure: "
            f"{', '.join(SURROGATES)}. Got {config.method!r}."
        )
    made = maker(config) if maker else ol.StraightThrough()
    return ol.StructuredArgmax(surrogate=make_surrogate(config) or made)


def find(name: str, methods: Mapping[str, T]) -> T:
    """The method of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in methods:
        raise ConfigError(f"`method` is one of {', '.join(methods)}. Got {name!r}.")
    return methods[name]
