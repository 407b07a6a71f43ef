"""The runs behind the tables: every method with several seeds, from one parser for each seed."""

from collections.abc import Iterator
from functools import partial
from itertools import product

import pandas as pd

from examples.training.experiments import Experiment, Pipeline, Run
from examples.training.report import Table

from .config import make_config, parser_config
from .methods import METHODS, find_method

PIPELINE = Pipeline(
    package="examples.semantics_to_sentiment",
    metric="accuracy",
    bank="reviews",
    banks=("reviews", "graphs"),
    titles={name: method.title for name, method in METHODS.items()},
)


def by_seed(experiment: Experiment) -> Iterator[Run]:
    """All runs."""
    for seed, name in product(range(experiment.seeds), experiment.methods):
        config = make_config(experiment.config, **experiment.settings_of(name), seed=seed)
        parser = parser_config(config) if find_method(config.method).parser else None
        yield Run({"method": name, "seed": seed}, config, parser, (seed,))


def one_table(rows: pd.DataFrame) -> Iterator[Table]:
    """All rows."""
    yield Table("Accuracy, and the parser's scores on graphs", rows)


SST = ("bilstm", "pipeline", "straight-through", "spigot", "spigot-projection")
STEPS = {
    f"{method}, eta={eta:g}": {"method": method, "eta": eta}
    for method in ("straight-through-clipped", "spigot", "spigot-projection")
    for eta in (0.02, 5 / 32)
}
on = partial(Experiment, pipeline=PIPELINE, seeds=5, plan=by_seed, tables=one_table)
EXPERIMENTS = {
    "toy": on(
        title="Semantics to sentiment on generated reviews",
        config="small",
        methods=("bilstm", "pipeline", "straight-through", *STEPS),
        columns={"accuracy": "accuracy", "LF": "LF", "reviews_LF": "LF, reviews"},
        compared=("bilstm", "pipeline", "straight-through", "spigot-projection, eta=0.15625"),
        variants=STEPS,
    ),
    "sst": on(
        title="Semantics to sentiment on the Stanford Sentiment Treebank",
        config="sst",
        methods=SST,
        columns={"accuracy": "accuracy", "LF": "LF", "UF": "UF"},
        compared=SST,
    ),
}
