"""How the semantic parser reads the syntactic one, and what it tells it: one switch."""

from dataclasses import dataclass
from typing import Literal

from examples.training.surrogates import SURROGATES, Maker, find


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
    surrogate: Maker | None = None
    semantics: bool = True
    syntax: bool = True
    pretrained: bool = False
    soft: bool = False
    loss: Literal["hinge", "log"] = "hinge"
    multitask: Literal["", "shared", "freda"] = ""
    pruner: bool = False


METHODS = {
    "none": Method("no syntax", syntax=False),
    "pipeline": Method("pipeline", pretrained=True),
    "attention": Method("structured attention", soft=True, loss="log"),
    **{name: Method(title, make) for name, (title, make) in SURROGATES.items()},
    "shared": Method("multitask (SHARED1)", syntax=False, multitask="shared"),
    "freda": Method("multitask (FREDA1)", syntax=False, multitask="freda"),
    # The parser of a pipeline is a run of its own, and so is a pruner.
    "syntax": Method("syntax alone", semantics=False),
    "pruner": Method("pruner of arcs", syntax=False, pruner=True),
}


def find_method(name: str) -> Method:
    """The method of that name."""
    return find(name, METHODS)
