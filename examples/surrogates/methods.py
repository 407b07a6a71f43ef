"""The surrogates that every task tries, each made from one number: its strength."""

from collections.abc import Callable

import torch

import optlayers as ol

Maker = Callable[[float, torch.Generator], ol.AbstractSurrogate]

SURROGATES: dict[str, tuple[str, Maker]] = {
    "straight-through": ("straight-through", lambda scale, _: ol.StraightThrough(scale)),
    "spigot": (
        "SPIGOT (vertex)",
        lambda eta, _: ol.SPIGOT(eta, around="vertex", warn=False),
    ),
    "spigot-projection": (
        "SPIGOT (projection)",
        lambda eta, _: ol.SPIGOT(eta, around="projection", warn=False),
    ),
    "spigot-marginals": (
        "SPIGOT (marginals)",
        lambda eta, _: ol.SPIGOT(eta, around="marginals", warn=False),
    ),
    "spigot-eg": ("SPIGOT-EG", lambda eta, _: ol.SPIGOTEG(eta)),
    "softmax-st": (
        "straight-through, marginals",
        lambda temperature, _: ol.SoftmaxStraightThrough(temperature),
    ),
    "sparsemap": ("SparseMAP (relaxed)", lambda temperature, _: ol.SparseMAP(temperature)),
    "sparsemap-st": (
        "SparseMAP straight-through",
        lambda temperature, _: ol.SparseMAP(temperature, straight_through=True),
    ),
    "lpgd": ("LPGD", lambda tau, _: ol.LPGD(tau, side="average")),
    "blackbox": ("blackbox", lambda lam, _: ol.Blackbox(lam)),
    "identity": ("identity", lambda _, __: ol.Identity()),
    "imle": (
        "I-MLE",
        lambda lam, generator: ol.IMLE(lam, sigma=1.0, generator=generator),
    ),
    "gumbel-st": (
        "Gumbel straight-through",
        lambda temperature, generator: ol.GumbelStraightThrough(temperature, generator=generator),
    ),
    "perturbed": (
        "perturbed (relaxed)",
        lambda sigma, generator: ol.Perturbed(sigma, 4, generator=generator),
    ),
}
"""Titles and makers. A step eta, a scale, a temperature, a tau, a lambda, or a noise sigma."""


def make(method: str, strength: float, seed: int) -> ol.AbstractSurrogate:
    """Return the surrogate of that name; its noise is seeded."""
    return SURROGATES[method][1](strength, torch.Generator().manual_seed(seed))


def titles(*names: str) -> dict[str, str]:
    """Return the titles of some methods, or of all, by name."""
    return {name: SURROGATES[name][0] for name in names or SURROGATES}
