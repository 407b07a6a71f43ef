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

SCALE_FREE = frozenset({"straight-through", "identity"})
"""Under Adam their strength changes nothing: it scales the gradient, or they have none."""


def make(method: str, strength: float, seed: int, parts: int = 5) -> ol.AbstractSurrogate:
    """Return the surrogate of that name; its noise is seeded.

    Args:
        method: A key of SURROGATES.
        strength: The one number that it has.
        seed: Of its noise.
        parts: How many parts of a structure are 1, which the noise of I-MLE depends on.
    """
    if method == "imle" and parts == 1:  # the sum of Gammas of one part is a Gumbel
        generator = torch.Generator().manual_seed(seed)
        return ol.IMLE(strength, sigma=1.0, noise="gumbel", generator=generator)
    return SURROGATES[method][1](strength, torch.Generator().manual_seed(seed))


def titles(*names: str) -> dict[str, str]:
    """Return the titles of some methods, or of all, by name."""
    return {name: SURROGATES[name][0] for name in names or SURROGATES}
