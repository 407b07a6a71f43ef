"""Sorting numbers and putting pictures together: latent permutations, by a matching.

A network looks at each item alone and scores its places; the permuted items shall be the sorted
numbers, or the picture. Gumbel-Sinkhorn (Mena et al., 2018), whose tasks these are, relaxes the
permutation by rows and columns that are normalised in turn; the pictures here are made up.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import optlayers as ol

from .methods import SCALE_FREE, make, titles
from .search import Task, Trial

SIZES = {"train": 2000, "dev": 500, "test": 500}
BATCH, EPOCHS = 50, 15
NUMBERS, SIDE, PIXELS = 8, 3, 4
SINKHORN = 20


def numbers(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return uniform numbers in random order, `(size, n, 1)`, and sorted."""
    items = torch.rand(size, NUMBERS, 1, generator=generator)
    return items, items.sort(1).values


def pictures(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the shuffled pieces of smooth pictures, `(size, n, pixels)`, and the pieces in place.

    A picture is a bright spot and a slope in random directions, so that a piece tells its place
    with some noise.
    """
    side = SIDE * PIXELS
    line = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    random = torch.rand(size, 5, 1, 1, generator=generator)
    centre = 0.6 * (random[:, :2] - 0.5)
    width = 0.2 + 0.3 * random[:, 2]
    spot = torch.exp(-((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2) / width)
    picture = spot + (0.5 + random[:, 3]) * x + (0.5 + random[:, 4]) * y
    picture = picture + 0.1 * torch.randn(picture.shape, generator=generator)
    pieces = picture.unflatten(1, (SIDE, PIXELS)).unflatten(3, (SIDE, PIXELS))
    pieces = pieces.transpose(2, 3).flatten(1, 2).flatten(2)
    order = torch.rand(size, SIDE**2, generator=generator).argsort(1)
    return pieces.gather(1, order[..., None].expand_as(pieces)), pieces


def sinkhorn(scores: Tensor, temperature: float, noise: Tensor) -> Tensor:
    """Return a doubly stochastic matrix: rows and columns normalised in turn."""
    x = (scores + noise) / temperature
    for _ in range(SINKHORN):
        x = x - x.logsumexp(-1, keepdim=True)
        x = x - x.logsumexp(-2, keepdim=True)
    return x.exp()


class Network(torch.nn.Module):
    """An item at a time to scores of its places, then a permutation."""

    def __init__(self, features: int, places: int, method: str, strength: float, seed: int):
        super().__init__()
        self.method, self.strength = method, strength
        self.noise = torch.Generator().manual_seed(seed)
        self.score = torch.nn.Sequential(
            torch.nn.Linear(features, 64), torch.nn.ReLU(), torch.nn.Linear(64, places)
        )
        self.set = ol.assignment(places)
        self.layer = None
        if method != "gumbel-sinkhorn":
            self.layer = ol.StructuredArgmax(self.set, make(method, strength, seed))

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the permuted items, and the scores, items by places."""
        scores = self.score(items)
        if self.layer is not None:
            z = self.layer(scores.flatten(1)).view_as(scores)
        else:
            uniform = torch.rand(scores.shape, generator=self.noise).clamp(1e-9, 1 - 1e-9)
            z = sinkhorn(scores, self.strength, -torch.log(-torch.log(uniform)))
        return z.mT @ items, scores

    def decide(self, items: Tensor) -> Tensor:
        """Return the items permuted by the best matching, whatever was trained."""
        scores = self.score(items)
        return ol.decode(self.set, scores.flatten(1)).view_as(scores).mT @ items


def train(
    generate: Callable[[int, torch.Generator], tuple[Tensor, Tensor]], trial: Trial
) -> dict[str, float]:
    """Train one method; scores are those of the epoch that is best on the dev data."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(trial.seed)
    parts = {name: generate(size, generator) for name, size in SIZES.items()}
    items, wanted = parts["train"]
    torch.manual_seed(trial.seed)
    network = Network(items.shape[2], items.shape[1], trial.method, trial.strength, trial.seed)
    optimiser = torch.optim.Adam(network.parameters(), trial.learning_rate)

    @torch.no_grad()
    def right(name: str) -> float:
        found = network.decide(parts[name][0])
        return 100 * float((found == parts[name][1]).all(-1).float().mean())

    best = {"dev": -1.0}
    for epoch in range(1, EPOCHS + 1):
        for i in torch.randperm(len(items), generator=generator).split(BATCH):
            found, _ = network(items[i])
            loss = (found - wanted[i]).square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if (dev := right("dev")) > best["dev"]:
            best = {"dev": dev, "right": right("test"), "epoch": epoch}
    return best


METHODS = (
    "straight-through",
    "spigot",
    "spigot-projection",
    "sparsemap",
    "sparsemap-st",
    "lpgd",
    "blackbox",
    "identity",
    "imle",
)


def task(name: str, title: str, generate: Callable, what: str) -> Task:
    """Return the task with one kind of items."""
    return Task(
        name=name,
        title=title,
        train=partial(train, generate),
        methods=titles(*METHODS) | {"gumbel-sinkhorn": "Gumbel-Sinkhorn (relaxed)"},
        learning_rates=(1e-3, 1e-2),
        strengths={"": (0.1, 0.3, 1.0)},
        scale_free=SCALE_FREE,
        scores={"right": "places right, %"},
        setting=(
            f"{what}; {SIZES['train']} for training, {SIZES['dev']} each for development and "
            f"test; 64 hidden units, Adam, batches of {BATCH}, squared errors summed, {EPOCHS} "
            "epochs, the best on the development data. All are scored by their best matching."
        ),
    )


TASKS = [
    task("sorting", "Sorting", numbers, f"{NUMBERS} uniform numbers"),
    task(
        "jigsaw",
        "Jigsaw",
        pictures,
        f"made-up pictures in {SIDE} x {SIDE} pieces of {PIXELS} x {PIXELS} pixels",
    ),
]
