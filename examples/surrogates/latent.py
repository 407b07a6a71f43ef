r"""Latent categories, as Mihaylova, Niculae and Martins (2020) generate them.

$x = \mu_z + \epsilon$ belongs to one of K clusters, and its class is
$\operatorname{sign}(w_z x - b_z)$. An encoder chooses the cluster, a decoder has one linear
classifier per cluster, and only the class is known. Does the hard choice find the clusters?
"""

import torch
from scipy.stats import contingency, entropy
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

import optlayers as ol

from .methods import SCALE_FREE, make, titles
from .search import Task, Trial

FEATURES, SPREAD = 100, 0.1
SIZES = {"train": 5000, "dev": 1000, "test": 1000}
STEPS = 2000
EVERY = 100


def generate(clusters: int, seed: int) -> dict[str, tuple[torch.Tensor, ...]]:
    """Return x, z and y of each part; centres and classifiers are standard normal."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    centres, weights = normal(clusters, FEATURES), normal(clusters, FEATURES)
    # The boundary passes the centre: both classes are likely in each cluster.
    offsets = (weights * centres).sum(-1)
    parts = {}
    for name, size in SIZES.items():
        z = torch.randint(clusters, (size,), generator=generator)
        x = centres[z] + SPREAD * normal(size, FEATURES)
        y = ((weights[z] * x).sum(-1) > offsets[z]).float()
        parts[name] = (x, z, y)
    return parts


class Network(torch.nn.Module):
    """A linear encoder of clusters, a layer, and a bilinear decoder."""

    def __init__(self, clusters: int, surrogate: ol.AbstractSurrogate | None):
        super().__init__()
        self.encoder = torch.nn.Linear(FEATURES, clusters)
        self.classifiers = torch.nn.Linear(FEATURES, clusters)
        self.layer = None
        if surrogate is not None:
            self.layer = ol.StructuredArgmax(ol.simplex(clusters), surrogate)

    def forward(
        self, x: torch.Tensor, gold: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits of the class, and the choice; `gold` replaces the choice."""
        scores = self.encoder(x)
        z = scores.softmax(-1) if self.layer is None else self.layer(scores)
        z = z if gold is None else gold
        return (z * self.classifiers(x)).sum(-1), z


def train(clusters: int, trial: Trial) -> dict[str, float]:
    """Train by full-batch Adam; scores are those of the step that is best on the dev data."""
    torch.set_num_threads(1)
    parts = generate(clusters, trial.seed)
    torch.manual_seed(trial.seed)
    surrogate = None
    if trial.method not in ("gold", "attention", "frozen"):
        surrogate = make(trial.method, trial.strength, trial.seed, parts=1)
    network = Network(clusters, surrogate)
    if trial.method == "frozen":
        network = Network(clusters, ol.StraightThrough())
        network.encoder.requires_grad_(False)
    free = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(free, trial.learning_rate)
    x, z, y = parts["train"]
    gold = one_hot(z, clusters).float() if trial.method == "gold" else None
    best = {"dev": -1.0}
    for step in range(1, STEPS + 1):
        logits, _ = network.train()(x, gold)
        # Summed: a step of eta is one of each instance, whatever the size of the batch.
        loss = binary_cross_entropy_with_logits(logits, y, reduction="sum")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % EVERY == 0:
            dev, _ = score(network, parts["dev"], trial.method == "gold")
            if dev > best["dev"]:
                test, found = score(network, parts["test"], trial.method == "gold")
                best = {"dev": dev, "accuracy": test, "v_measure": found, "step": step}
    return best


@torch.no_grad()
def score(network: Network, part: tuple[torch.Tensor, ...], knows: bool) -> tuple[float, float]:
    """Return accuracy and V-measure of the choice, in percent."""
    x, z, y = part
    gold = one_hot(z, network.encoder.out_features).float() if knows else None
    logits, choice = network.eval()(x, gold)
    accuracy = 100 * float(((logits > 0) == (y > 0.5)).float().mean())
    return accuracy, 100 * v_measure(z, choice.argmax(-1))


def v_measure(z: torch.Tensor, found: torch.Tensor) -> float:
    r"""Return $2 I / (H(z) + H(found))$, the harmonic mean of homogeneity and completeness.

    1 if both are the same clusters under any names (Rosenberg and Hirschberg, 2007).
    """
    joint = contingency.crosstab(z.numpy(), found.numpy()).count
    apart = entropy(joint.sum(0)) + entropy(joint.sum(1))
    return float(2 * (apart - entropy(joint, axis=None)) / apart) if apart > 0 else 1.0


def task(clusters: int) -> Task:
    """Return the task with that many clusters."""
    return Task(
        name=f"latent-{clusters}",
        title=f"Latent categories, K = {clusters}",
        train=Train(clusters),
        methods=titles()
        | {"attention": "soft attention", "frozen": "encoder at random", "gold": "clusters given"},
        learning_rates=(1e-4, 1e-3, 2e-3),
        strengths={"": (0.1, 1.0, 2.0)},
        scores={"accuracy": "accuracy", "v_measure": "V-measure"},
        setting=(
            f"{FEATURES} features, centres N(0, 1), standard deviation {SPREAD}, 5,000 training, "
            "1,000 development and 1,000 test points; linear encoder, bilinear decoder, full-batch "
            f"Adam, {STEPS} steps, the best of every {EVERY}th on the development points."
        ),
        seeds=10,
        scale_free=SCALE_FREE | {"attention", "frozen", "gold"},
    )


class Train:
    """`train` with a number of clusters, for other processes."""

    def __init__(self, clusters: int):
        self.clusters = clusters

    def __call__(self, trial: Trial) -> dict[str, float]:
        """Train once."""
        return train(self.clusters, trial)
