"""The runs behind the tables: every method with several seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from examples.data import Sentence
from examples.syntax_to_semantics.experiment import SyntaxExperiment
from examples.training.experiments import Experiment, Outcome, Section, run_all
from examples.training.runs import take_run
from examples.training.settings import ConfigError

from .config import Config, make_config, parser_config
from .methods import METHODS, find_method
from .run import PARSER, load_data, load_model, parse
from .train import MONITOR


@dataclass(frozen=True, kw_only=True)
class SentimentExperiment(Experiment):
    """Runs that differ in method and seed; those of a seed start from the same trained parser."""

    PACKAGE = "examples.semantics_to_sentiment"
    METRIC = "accuracy"
    TITLES = MappingProxyType({name: method.title for name, method in METHODS.items()})

    def plan(self) -> Iterator[tuple[str, str, Config]]:
        """All runs."""
        for seed, name in product(range(self.seeds), self.methods):
            settings = self.settings_of(name) | {"seed": seed}
            yield f"{name}-{seed}", name, make_config(self.config, **settings)

    def prepare(self, output: Path, processes: int) -> None:
        """Trains the parser of each seed, and gives it to the runs that read it.

        Raises:
            ConfigError: If a parser cannot be trained.
        """
        plan = [(folder, c) for folder, _, c in self.plan() if find_method(c.method).parser]
        parsers = {f"{PARSER}-{c.seed}": parser_config(c) for _, c in plan}
        if failed := run_all(SyntaxExperiment.PACKAGE, parsers, output, processes):
            raise ConfigError(f"No parser: {failed}.")
        for folder, config in plan:
            take_run(output / f"{PARSER}-{config.seed}", output / folder / PARSER)

    def monitor(self, config: Config) -> str:
        """The score that decides which epoch is best."""
        return MONITOR

    def key(self, outcome: Outcome) -> dict[str, Any]:
        """Method and seed."""
        return {"method": outcome.name, "seed": outcome.config.seed}

    def sections(self, ended: Sequence[Outcome]) -> list[Section]:
        """One table."""
        return [Section("Accuracy, and the parser's scores on graphs", list(ended))]

    def sentences(self, config: Config) -> dict[str, dict[str, list[Sentence]]]:
        """Reviews and graphs, also if the method of the config reads none."""
        corpus = load_data(replace(config, method="pipeline"))
        return {"reviews": corpus.reviews, "graphs": corpus.graphs}

    def outputs(
        self, ended: Sequence[Outcome], part: str = "test"
    ) -> tuple[list[Sentence], dict[str, list[list[Sentence]]]]:
        """Gold sentiments, and what each compared method gave, by seed."""
        chosen = [o for o in ended if o.name in self.compared]
        gold = load_data(chosen[0].config).reviews[part]
        systems: dict[str, list[list[Sentence]]] = {}
        for outcome in chosen:
            found = parse(load_model(outcome.folder), gold)
            systems.setdefault(outcome.name, []).append(found)
        return gold, systems


SST = ("bilstm", "pipeline", "straight-through", "spigot", "spigot-projection")
STEPS = {
    f"{method}, eta={eta:g}": {"method": method, "eta": eta}
    for method in ("straight-through-clipped", "spigot", "spigot-projection")
    for eta in (0.02, 5 / 32)
}
TOY = ("bilstm", "pipeline", "straight-through", *STEPS)
EXPERIMENTS = {
    "toy": SentimentExperiment(
        title="Semantics to sentiment on generated reviews",
        config="small",
        methods=TOY,
        seeds=5,
        columns={"accuracy": "accuracy", "LF": "LF", "reviews_LF": "LF, reviews"},
        compared=("bilstm", "pipeline", "straight-through", "spigot-projection, eta=0.15625"),
        variants=STEPS,
    ),
    "sst": SentimentExperiment(
        title="Semantics to sentiment on the Stanford Sentiment Treebank",
        config="sst",
        methods=SST,
        seeds=5,
        columns={"accuracy": "accuracy", "LF": "LF", "UF": "UF"},
        compared=SST,
    ),
}
