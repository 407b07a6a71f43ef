"""The protocol: the same grid for every method, chosen on development data, then fresh seeds."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed

TUNING_SEED = 1000
"""Data and parameters of the runs that settings are chosen by; no reported run has it."""


@dataclass(frozen=True, order=True)
class Trial:
    """One run.

    Args:
        method: Its name.
        learning_rate: Of Adam.
        strength: The one number that the method has besides: a step, a temperature, a noise.
        seed: Of data, parameters and noise.
    """

    method: str
    learning_rate: float
    strength: float
    seed: int


@dataclass(frozen=True)
class Task:
    """What is trained, how it is scored, and what is tried.

    Args:
        name: In commands, and of its CSV.
        title: A heading.
        train: One run: scores by name, among them `dev`, by which settings are chosen.
        methods: Their titles.
        learning_rates: The first half of the grid.
        strengths: The second half: of each method, or of all others under "".
        scale_free: Methods whose strength changes nothing, since they have none or Adam divides it
            out: one strength stands for all.
        larger_is_better: Of `dev`.
        seeds: How many runs are reported.
        scores: What the table shows, and its titles; the first decides.
        setting: The task in words and numbers, for the page.
    """

    name: str
    title: str
    train: Callable[[Trial], dict[str, float]]
    methods: Mapping[str, str]
    learning_rates: tuple[float, ...]
    strengths: Mapping[str, tuple[float, ...]]
    scores: Mapping[str, str]
    setting: str
    larger_is_better: bool = True
    seeds: int = 5
    scale_free: frozenset[str] = frozenset()

    def grid(self, method: str, seed: int = TUNING_SEED) -> Iterator[Trial]:
        """Yield the settings of one method: as many as of any other, but for repetitions."""
        strengths = self.strengths.get(method, self.strengths[""])
        if method in self.scale_free:
            strengths = strengths[:1]
        for rate, strength in itertools.product(self.learning_rates, strengths):
            yield Trial(method, rate, strength, seed)


COLUMNS = [each.name for each in fields(Trial)]


def study(
    task: Task,
    folder: Path,
    jobs: int = 1,
    methods: list[str] | None = None,
    seeds: int | None = None,
) -> None:
    """Run what is missing in `folder`: first the grid, then the chosen settings with all seeds.

    A line is written when a run ends; what was interrupted goes on from the lines that are there.
    Fewer seeds than the task has can be followed by more.
    """
    chosen = [name for name in task.methods if methods is None or name in methods]
    path = folder / f"{task.name}.csv"
    run_all(task, [trial for name in chosen for trial in task.grid(name)], path, jobs)
    best = choose(task, pd.read_csv(path))
    finals = [
        Trial(name, *best[name], seed) for seed in range(seeds or task.seeds) for name in chosen
    ]  # whole seeds first
    run_all(task, finals, path, jobs)


def choose(task: Task, rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return learning rate and strength by method: the best on the development data.

    The first of equally good ones, in the order of the grid. A run that diverged (NaN) never wins.
    """
    rows = rows[(rows["seed"] == TUNING_SEED) & rows["dev"].notna()]
    best = {}
    for method, group in rows.groupby("method", sort=False):
        place = group["dev"].idxmax() if task.larger_is_better else group["dev"].idxmin()
        best[str(method)] = (
            float(rows.loc[place, "learning_rate"]),
            float(rows.loc[place, "strength"]),
        )
    return best


def run_all(task: Task, trials: list[Trial], path: Path, jobs: int) -> None:
    """Run the trials that `path` has no line of."""
    done = set()
    if path.exists():
        rows = pd.read_csv(path, usecols=COLUMNS)
        done = {Trial(**row) for row in rows.to_dict("records")}  # type: ignore[arg-type]
    missing = [trial for trial in trials if trial not in done]
    work = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for row in work(delayed(one)(task, trial) for trial in missing):
        append(path, row)
        print(" ".join(f"{name}={value}" for name, value in row.items()), flush=True)


def one(task: Task, trial: Trial) -> dict[str, Any]:
    """Train once; the row of the run."""
    scores = {name: float(f"{value:.6g}") for name, value in task.train(trial).items()}
    return asdict(trial) | scores


def append(path: Path, row: dict[str, Any]) -> None:
    """Add a line, with a head if it is the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line, new = pd.DataFrame([row]), not path.exists()
    if not new:  # a column by its name, wherever the file has it
        line = line.reindex(columns=pd.read_csv(path, nrows=0).columns)
    line.to_csv(path, mode="a", header=new, index=False)
