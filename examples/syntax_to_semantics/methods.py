"""How the semantic parser reads the syntactic one, and what it tells it: one switch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import optlayers as ol

if TYPE_CHECKING:
    from .config import Config


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
    """

    title: str
    surrogate: "Callable[[Config], ol.AbstractSurrogate] | None" = None
    semantics: bool = True
    syntax: bool = True
    pretrained: bool = False
    soft: bool = False
    loss: Literal["hinge", "log"] = "hinge"


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
    "spigot": Method("SPIGOT", spigot("vertex")),
    "spigot-projection": Method("SPIGOT (projection)", spigot("projection")),
    "spigot-marginals": Method("SPIGOT (marginals)", spigot("marginals")),
    # The parser of a pipeline is a run of its own.
    "syntax": Method("syntax alone", semantics=False),
}
