"""Our side of the comparison of trees and graphs: name -> (inputs -> a Subject)."""

from typing import Any

import numpy as np
import torch

import optlayers as ol

from .structures_cases import DETERMINISTIC, LABELS
from .subject import Subject


def _trees(inputs: Any, projective: bool) -> tuple[ol.DependencyTrees, torch.Tensor]:
    scores = torch.from_numpy(inputs["scores"])
    lengths = torch.full((len(scores),), scores.shape[-1] - 1)
    return ol.DependencyTrees(lengths, projective), scores


def decode(inputs: Any, projective: bool) -> Subject:
    """A set made anew, as for every batch of training, and its best trees."""
    trees, scores = _trees(inputs, projective)

    def run() -> torch.Tensor:
        return ol.DependencyTrees(trees.lengths, projective).decode(scores)

    return Subject(run, lambda z: {"heads": trees.heads(z).numpy()})


def marginals(inputs: Any, projective: bool) -> Subject:
    """Probabilities of arcs."""
    trees, scores = _trees(inputs, projective)
    return Subject(lambda: trees.marginals(scores), lambda mu: {"marginals": mu.numpy()})


def attention(inputs: Any, projective: bool) -> Subject:
    """Marginals and their vector-Jacobian product."""
    trees, scores = _trees(inputs, projective)
    scores.requires_grad_()
    weight = torch.from_numpy(inputs["weight"])

    def run() -> torch.Tensor:
        return torch.autograd.grad((trees.marginals(scores) * weight).sum(), scores)[0]

    return Subject(run, lambda grad: {"gradient": grad.numpy()})


def step(inputs: Any, projective: bool, relaxation: str = "head-selection") -> Subject:
    """A layer: decode forward, SPIGOT backward, a set made anew."""
    trees, scores = _trees(inputs, projective)
    scores.requires_grad_()
    weight = torch.from_numpy(inputs["weight"])
    layer = ol.StructuredArgmax(surrogate=ol.SPIGOT(warn=False, around="vertex"))

    def run() -> torch.Tensor:
        z = layer(scores, ol.DependencyTrees(trees.lengths, projective, relaxation=relaxation))
        return torch.autograd.grad(z, scores, weight)[0]

    return Subject(run, lambda _: {})


def _graphs(inputs: Any) -> tuple[ol.SemanticGraphs, torch.Tensor]:
    n = int(inputs["words"])
    scores = torch.from_numpy(inputs["scores"])
    lengths = torch.full((len(scores),), n)
    options: Any = {"deterministic": list(range(DETERMINISTIC)), "relaxation": "determinism"}
    return ol.SemanticGraphs(lengths, LABELS, **options), scores


def graphs(inputs: Any) -> Subject:
    """Predicates, arcs and labels, each deterministic label once at a predicate."""
    some, scores = _graphs(inputs)
    return Subject(lambda: some.decode(scores), lambda z: {"value": _value(z, scores)})


def graphs_step(inputs: Any) -> Subject:
    """A layer: decode forward, SPIGOT on Eq. 6 backward."""
    some, scores = _graphs(inputs)
    some = ol.SemanticGraphs(some.lengths, LABELS, list(range(DETERMINISTIC)))
    scores.requires_grad_()
    weight = torch.from_numpy(inputs["weight"])
    layer = ol.StructuredArgmax(surrogate=ol.SPIGOT(warn=False, around="vertex"))

    def run() -> torch.Tensor:
        return torch.autograd.grad(layer(scores, some), scores, weight)[0]

    return Subject(run, lambda _: {})


def graphs_by_highs(inputs: Any) -> Subject:
    """The same as one integer program per sentence, by HiGHS; a part of the batch."""
    some, scores = _graphs(inputs)
    part = 1 if int(inputs["words"]) > 10 else 8
    polytope, instances = some.relaxation, scores[:part].double()
    single = polytope.with_(upper=polytope.upper[:1]) if polytope.upper.ndim > 1 else polytope
    return Subject(
        lambda: ol.decode(single, instances),
        lambda z: {"value": _value(z, instances)},
        scale=len(scores) / part,
    )


def _value(z: torch.Tensor, scores: torch.Tensor) -> np.ndarray:
    return (z.double() * scores.double()).sum(-1).numpy()


METHODS = {
    "optlayers": {
        "projective argmax": lambda i: decode(i, True),
        "argmax": lambda i: decode(i, False),
        "projective marginals": lambda i: marginals(i, True),
        "marginals": lambda i: marginals(i, False),
        "projective attention": lambda i: attention(i, True),
        "attention": lambda i: attention(i, False),
        "projective SPIGOT": lambda i: step(i, True),
        "projective SPIGOT, hull": lambda i: step(i, True, "hull"),
        "SPIGOT, hull": lambda i: step(i, False, "hull"),
        "semantic argmax": graphs,
        "semantic SPIGOT": graphs_step,
    },
    "HiGHS": {"semantic argmax": graphs_by_highs},
}
