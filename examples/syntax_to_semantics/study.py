"""When does joint training pay, and with which gradient? Small runs on open and generated data.

Every method has the same grid, and settings are chosen on the development part. The plan, written
before the first run, is in `docs/results/syntax-to-semantics-study.md`.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from examples.training.experiments import Run
from examples.training.study import Study, chosen

from .config import make_config, syntax_config
from .experiment import PIPELINE

SURROGATES = ("straight-through", "spigot", "spigot-projection", "spigot-marginals")
WEIGHTS = (0.1, 1.0, 0.01, 0.3, 0.03)
"""Of the end task, in the order of the runs: a broken-off grid is coarse, not one-sided."""

STARTS = {"scratch": False, "pipeline": True}
"""Where the syntactic parser starts: from nothing, or from the pipeline's."""

SHORT: dict[str, Any] = {"max_words": 20}
REGIMES: dict[str, dict[str, Any]] = {
    "half": {"data_options": SHORT, "treebank": 0.5, "graphbank": 0.5},
    "disjoint": {"data_options": SHORT | {"disjoint": True}},
    "trees-5": {"data_options": SHORT, "treebank": 0.05, "graphbank": 0.5},
    "trees-10": {"data_options": SHORT, "treebank": 0.1, "graphbank": 0.5},
    "trees-25": {"data_options": SHORT, "treebank": 0.25, "graphbank": 0.5},
}
"""Which sentences of EWT are trained on."""

TOYS: dict[str, dict[str, Any]] = {
    f"toy-{trees}": {"data_options": {"trees": [trees, 200, 400], "graphs": [300, 200, 400]}}
    for trees in (150, 600)
}
"""Generated corpora with so few graphs that their labelled F1 is not at its ceiling."""

WEAK = ("trees-10", "trees-25", "trees-5")
SEEDS = (1, 2, 3, 4)


def planned(
    regime: str, method: str, start: str = "", weight: float | None = None, seed: int = 0
) -> Run:
    """A run; methods without a signal of the end task have no start and no weight."""
    key = {"regime": regime, "method": method, "start": start, "weight": weight, "seed": seed}
    joint = {} if weight is None else {"end_task_weight": weight, "pretrain": STARTS[start]}
    name, settings = ("small", TOYS[regime]) if regime in TOYS else ("ewt", REGIMES[regime])
    config = make_config(name, method=method, seed=seed, **settings, **joint)
    if method != "pipeline" and not config.pretrain:
        return Run(key, config)
    return Run(key, config, syntax_config(config), (regime, seed))


def grid(
    regime: str, weights: tuple[float, ...], methods: tuple[str, ...], seed: int = 0
) -> Iterator[Run]:
    """What joint training is held against, and every method with every start and weight."""
    for method in ("none", "pipeline") if regime not in WEAK else ("pipeline",):
        yield planned(regime, method, seed=seed)
    for weight, start, method in product(weights, STARTS, methods):
        yield planned(regime, method, start, weight, seed)


def weak(_: pd.DataFrame) -> Iterator[Run]:
    """Parts of the treebank, where the intermediate parser has most to learn."""
    for regime in WEAK:
        yield from grid(regime, (0.3, 0.03), SURROGATES[:2])


def toy(_: pd.DataFrame) -> Iterator[Run]:
    """Generated corpora, on which what a treebank lacks is in the graphs."""
    for regime in TOYS:
        yield from grid(regime, (0.1, 1.0, 0.01), SURROGATES[:2])


def seeds(rows: pd.DataFrame) -> Iterator[Run]:
    """The chosen setting of every method, with other seeds; the seeds of all before the next."""
    for seed in SEEDS:
        for row in chosen(rows, "dev_LF").itertuples():
            weight = None if pd.isna(row.weight) else float(row.weight)
            start = row.start if weight is not None else ""
            yield planned(row.regime, row.method, start, weight, seed)


STUDY = Study(
    pipeline=PIPELINE,
    baseline="pipeline",
    shown=("test_LF", "test_graphs_UAS"),
    parts={
        "weights": lambda _: grid("half", WEIGHTS, SURROGATES),
        "attention": lambda _: grid("half", WEIGHTS, ("attention",)),
        "disjoint": lambda _: grid("disjoint", (0.3, 0.03), SURROGATES[:2]),
        "weak": weak,
        "toy": toy,
        "seeds": seeds,
    },
    record=Path("docs/results/syntax-to-semantics-study.csv"),
)
