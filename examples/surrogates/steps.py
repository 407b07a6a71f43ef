"""What the step size does: the forms of SPIGOT over three decades of eta, on two tasks."""

from pathlib import Path

from . import decisions, latent
from .search import Task, Trial, run_all

ETAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
FORMS = ("spigot", "spigot-projection", "straight-through")
TASKS: dict[str, tuple[Task, str, float]] = {
    "steps-latent": (latent.task(3), "accuracy", 1e-3),
    "steps-path": (decisions.TASKS[0], "regret", 1e-1),
}
"""Task, score, and the learning rate that all runs have."""


def run(folder: Path, jobs: int, seeds: int = 3) -> None:
    """Run what is missing of `steps-latent.csv` and `steps-path.csv`."""
    for name, (task, _, rate) in TASKS.items():
        trials = [
            Trial(form, rate, eta, seed) for seed in range(seeds) for form in FORMS for eta in ETAS
        ]
        run_all(task, trials, folder / f"{name}.csv", jobs)
