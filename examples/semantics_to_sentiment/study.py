"""Does it help a classifier that its parser hears of it? Small runs on SST and generated reviews.

Every method has the same grid, and settings are chosen on the development part. The plan is at the
end of `docs/results/semantics-to-sentiment-sst.md`.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from examples.training.experiments import Run
from examples.training.study import Study, chosen

from .config import make_config, parser_config
from .experiment import PIPELINE
from .methods import find_method

SURROGATES = ("straight-through", "spigot", "spigot-projection")
SEEDS = (1, 2, 3, 4)
STEP: dict[str, Any] = {"eta": 5 / 32}
"""That of the published code; the weight makes it shorter."""

PARSER = {
    "data": "ewt",
    "data_options": {"max_words": 20},
    "graphbank": 0.5,
    "epochs": 8,
    "patience": 8,
    "halve_every": 3,
    "prune": 1e-4,
}
REGIMES: dict[str, tuple[str, dict[str, Any]]] = {
    "sst": ("sst-tagged", STEP | {"parser_options": PARSER}),
    "toy": ("small", STEP),
}
"""Configs, and what differs from them."""


def planned(regime: str, method: str, weight: float | None = None, seed: int = 0) -> Run:
    """A run; methods without a signal of the end task have no weight."""
    name, settings = REGIMES[regime]
    joint = {} if weight is None else {"end_task_weight": weight}
    config = make_config(name, method=method, seed=seed, **settings, **joint)
    key = {"regime": regime, "method": method, "weight": weight, "seed": seed}
    if not find_method(method).parser:
        return Run(key, config)
    return Run(key, config, parser_config(config), (regime, seed))


def grid(regime: str, weights: tuple[float, ...], seed: int = 0) -> Iterator[Run]:
    """What joint training is held against, and every method with every weight."""
    for method in ("bilstm", "pipeline"):
        yield planned(regime, method, seed=seed)
    for weight, method in product(weights, SURROGATES):
        yield planned(regime, method, weight, seed)


def toy(_: pd.DataFrame) -> Iterator[Run]:
    """All seeds of all settings: whether a run finds something depends on the seed."""
    for seed in (0, *SEEDS):
        yield from grid("toy", (0.1, 1.0, 0.01), seed)


def seeds(rows: pd.DataFrame) -> Iterator[Run]:
    """On SST the chosen setting of every method, with other seeds."""
    best = chosen(rows[rows["regime"] == "sst"] if len(rows) else rows, "dev_accuracy")
    for seed in SEEDS:
        for row in best.itertuples():
            weight = None if pd.isna(row.weight) else float(row.weight)
            yield planned("sst", row.method, weight, seed)


STUDY = Study(
    pipeline=PIPELINE,
    baseline="pipeline",
    shown=("test_accuracy", "test_LF"),
    parts={"sst": lambda _: grid("sst", (0.1, 1.0, 0.01)), "seeds": seeds, "toy": toy},
    record=Path("docs/results/semantics-to-sentiment-study.csv"),
)
