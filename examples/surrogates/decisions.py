"""Predict, then decide: PyEPO's paths, knapsacks and tours, with its methods and ours side by side.

Costs are a power of a linear function of five features, times noise; the model that predicts them
is linear, so that it has to choose where to be right. Data, models and methods of PyEPO (Tang and
Khalil, 2024) are its own code, with Gurobi behind; ours decide and project by optlayers.
"""

# pyright: reportMissingImports=false

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

import optlayers as ol

from .methods import SCALE_FREE, make, titles
from .search import Task, Trial
from .tours import tours

BATCH = 32
FEATURES, DEGREE, NOISE = 5, 4, 0.5
PEERS = "PyEPO's data and methods are its own code: `pip install pyepo gurobipy`."

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From predicted and true costs, best decisions and their objectives, to a number."""


@dataclass(frozen=True)
class Problem:
    """A family of instances that differ in their costs.

    Args:
        kind: "path", "knapsack" or "tour".
        size: Sides of the grid, rows of the knapsack, or number of cities.
        train: How many instances; a quarter as many for development, as many for the test.
        epochs: How long every method trains.
    """

    kind: str
    size: int
    train: int
    epochs: int

    @property
    def sign(self) -> int:
        """1 where costs are values, which are maximised; -1 where they are minimised."""
        return 1 if self.kind == "knapsack" else -1

    def data(self, seed: int) -> tuple[Any, Tensor, Tensor]:
        """Return weights of a knapsack, features and costs, by PyEPO's generators."""
        import pyepo.data as peer

        count = 2 * self.train + self.train // 4
        options = {"deg": DEGREE, "noise_width": NOISE, "seed": seed}
        weights = None
        if self.kind == "path":
            grid = (self.size, self.size)
            x, costs = peer.shortestpath.genData(count, FEATURES, grid, **options)
        elif self.kind == "knapsack":
            weights, x, costs = peer.knapsack.genData(count, FEATURES, 32, self.size, **options)
        else:
            x, costs = peer.tsp.genData(count, FEATURES, self.size, **options)
        return weights, torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(costs)

    def peer(self, weights: Any) -> Any:
        """Return PyEPO's model of the problem, on Gurobi."""
        import pyepo.model.grb as grb

        if self.kind == "path":
            return grb.shortestPathModel((self.size, self.size))
        if self.kind == "knapsack":
            return grb.knapsackModel(weights, [CAPACITY] * self.size)
        return grb.tspDFJModel(self.size, recycle_cuts=True)

    def ours(self, weights: Any, peer: Any) -> ol.Polytope | ol.AbstractFeasibleSet:
        """Return our set, over the same variables in the same order."""
        if self.kind == "path":
            return ol.dag_path(self.size**2, peer.arcs, 0, self.size**2 - 1)
        if self.kind == "knapsack":
            rows = torch.as_tensor(weights)
            if self.size == 1:
                return ol.budget(rows[0], CAPACITY)
            return ol.Polytope(rows, b=[CAPACITY] * self.size)
        return tours(self.size, peer.edges)


CAPACITY = 20.0
"""Of each row of a knapsack; items weigh 3 to 8, so that it holds four of the 32."""


class Instances:
    """Everything that the methods of one run share: data, sets, best decisions."""

    def __init__(self, problem: Problem, seed: int):
        self.problem = problem
        weights, x, costs = problem.data(seed)
        self.peer = problem.peer(weights)
        self.set = problem.ours(weights, self.peer)
        ends = {"train": problem.train, "dev": problem.train // 4, "test": problem.train}
        self.parts, start = {}, 0
        for name, size in ends.items():
            part = slice(start, start + size)
            best = ol.decode(self.set, problem.sign * costs[part])
            value = (best * costs[part]).sum(-1, keepdim=True)
            self.parts[name] = (x[part], costs[part], best, value)
            start += size

    def batches(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield the training instances in random order."""
        generator = torch.Generator().manual_seed(seed)
        for chosen in torch.randperm(self.problem.train, generator=generator).split(BATCH):
            yield tuple(each[chosen] for each in self.parts["train"])

    @torch.no_grad()
    def regret(self, model: torch.nn.Module, name: str) -> float:
        """Return what decisions by predictions lose, in percent of the best objectives."""
        x, costs, _, value = self.parts[name]
        sign = self.problem.sign
        z = ol.decode(self.set, sign * model(x))
        lost = sign * (value.sum() - (z * costs).sum())
        return 100 * float(lost / value.abs().sum())

    @cached_property
    def dataset(self) -> Any:
        """What some of PyEPO's losses want: its own data set, with a pool of solutions."""
        import pyepo.data.dataset as peer

        x, costs, _, _ = self.parts["train"]
        return peer.optDataset(self.peer, x.numpy(), costs.numpy())


# ---------------------------------------------------------------------------------------- methods


def supervised(name: str, strength: float, data: Instances, seed: int) -> Loss:
    """Return one of our losses on predicted and true costs."""
    sign, where = data.problem.sign, data.set
    noise = torch.Generator().manual_seed(seed)
    if name == "spo-plus":
        sense = "scores" if sign == 1 else "costs"
        return lambda predicted, true, best, _: ol.spo_plus(
            where, predicted, true, sense=sense, best=best
        )
    if name == "sparsemap-loss":
        return lambda predicted, _, best, __: ol.sparsemap_loss(
            where, sign * predicted, best, temperature=strength
        )
    return lambda predicted, _, best, __: ol.perturbed_fenchel_young(
        where, sign * predicted, best, sigma=strength, samples=1, generator=noise
    )


def end_to_end(name: str, strength: float, data: Instances, seed: int) -> Loss:
    """Return the true cost of the decision, through a layer."""
    layer = ol.StructuredArgmax(data.set, make(name, strength, seed))
    sign = data.problem.sign
    return lambda predicted, true, _, __: -sign * (layer(sign * predicted) * true).sum()


def peers(name: str, strength: float, data: Instances, seed: int) -> Loss:
    """Return a loss of PyEPO, summed as ours are."""
    from pyepo import func

    model = data.peer
    if name == "pyepo-spo-plus":
        return func.SPOPlus(model, reduction="sum")
    if name == "pyepo-pfy":
        found = func.perturbedFenchelYoung(
            model, n_samples=1, sigma=strength, reduction="sum", seed=seed
        )
        return lambda predicted, _, best, __: found(predicted, best)
    layers = {
        "pyepo-blackbox": lambda: func.blackboxOpt(model, lambd=10 * strength),
        "pyepo-identity": lambda: func.negativeIdentity(model),
        "pyepo-dpo": lambda: func.perturbedOpt(model, n_samples=1, sigma=strength, seed=seed),
        "pyepo-imle": lambda: func.implicitMLE(model, n_samples=1, sigma=strength),
        "pyepo-aimle": lambda: func.adaptiveImplicitMLE(model, n_samples=1, sigma=strength),
    }
    layer = layers[name]()
    sign = data.problem.sign
    return lambda predicted, true, _, __: -sign * (layer(predicted) * true).sum()


def regression(*_: Any) -> Loss:
    """Return the squared error of the costs: decisions are not looked at."""
    return lambda predicted, true, _, __: (predicted - true).square().sum()


LOSSES = {
    "regression": ("regression", regression),
    "spo-plus": ("SPO+", supervised),
    "sparsemap-loss": ("SparseMAP loss", supervised),
    "perturbed-fy": ("perturbed Fenchel-Young", supervised),
    **{
        name: (title, end_to_end)
        for name, title in titles(
            "spigot-projection",
            "spigot",
            "straight-through",
            "identity",
            "lpgd",
            "blackbox",
            "imle",
        ).items()
    },
    "pyepo-spo-plus": ("PyEPO: SPO+", peers),
    "pyepo-pfy": ("PyEPO: perturbed Fenchel-Young", peers),
    "pyepo-dpo": ("PyEPO: perturbed", peers),
    "pyepo-blackbox": ("PyEPO: blackbox", peers),
    "pyepo-identity": ("PyEPO: negative identity", peers),
    "pyepo-imle": ("PyEPO: I-MLE", peers),
    "pyepo-aimle": ("PyEPO: AI-MLE", peers),
}
"""Titles and makers by name; PyEPO's ask Gurobi, an instance at a time."""


def train(problem: Problem, trial: Trial) -> dict[str, float]:
    """Train a linear model; regrets are those of the epoch that is best on the dev instances.

    Seconds are CPU time of the training steps alone, without deciding for the dev regret.
    """
    torch.set_num_threads(1)
    data = Instances(problem, trial.seed)
    torch.manual_seed(trial.seed)
    x, costs, _, _ = data.parts["train"]
    model = torch.nn.Linear(FEATURES, costs.shape[-1])
    loss = LOSSES[trial.method][1](trial.method, trial.strength, data, trial.seed)
    optimiser = torch.optim.Adam(model.parameters(), trial.learning_rate)
    best, seconds = {"dev": float("inf")}, []
    for epoch in range(1, problem.epochs + 1):
        start = time.process_time()
        for x, true, z, value in data.batches(trial.seed + epoch):
            optimiser.zero_grad()
            loss(model(x), true, z, value).backward()
            optimiser.step()
        seconds.append(time.process_time() - start)
        if (dev := data.regret(model, "dev")) < best["dev"]:
            best = {"dev": dev, "regret": data.regret(model, "test"), "epoch": epoch}
    return best | {"seconds": min(seconds)}


def task(name: str, title: str, problem: Problem) -> Task:
    """Return the task of one problem."""
    return Task(
        name=name,
        title=title,
        train=partial(train, problem),
        methods={key: title for key, (title, _) in LOSSES.items()},
        learning_rates=(1e-2, 1e-1),
        strengths={"": (0.3, 1.0, 3.0)},
        scale_free=SCALE_FREE | {"regression", "spo-plus", "pyepo-spo-plus", "pyepo-identity"},
        scores={"regret": "regret, %", "seconds": "seconds an epoch"},
        setting=(
            f"{problem.train} training and test instances, {problem.train // 4} for development; "
            f"{FEATURES} features, degree {DEGREE}, noise {NOISE}; a linear model, Adam, batches "
            f"of {BATCH}, losses summed, {problem.epochs} epochs, the best on the development ones."
        ),
        larger_is_better=False,
    )


TASKS = [
    task("path", "Shortest paths, 5 x 5", Problem("path", 5, 1000, 10)),
    task("knapsack-1", "Knapsacks of 32 items", Problem("knapsack", 1, 400, 10)),
    task("knapsack-2", "Knapsacks of 32 items, two rows", Problem("knapsack", 2, 400, 10)),
    task("tour-10", "Tours of 10 cities", Problem("tour", 10, 200, 5)),
    task("tour-20", "Tours of 20 cities", Problem("tour", 20, 100, 5)),
]
