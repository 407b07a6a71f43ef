"""The runs behind the tables: every method with several seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

from examples.data import Sentence
from examples.training.experiments import Experiment, Outcome

from .config import Config, make_config
from .methods import METHODS
from .run import load_data, load_model, parse
from .train import monitor

REGIMES = {
    "joint": "Treebank share {share:g}: trees supervise the syntactic parser, and graphs teach it "
    "too (except in the pipeline)",
    "latent": "Treebank share 0: purely latent syntax, only graphs teach the syntactic parser",
}


@dataclass(frozen=True, kw_only=True)
class SyntaxExperiment(Experiment):
    """Runs that differ in method, share of the treebank, and seed.

    Args:
        shares: Of the treebank.
    """

    PACKAGE = "examples.syntax_to_semantics"
    METRIC = "LF"
    TITLES = MappingProxyType({name: method.title for name, method in METHODS.items()})

    shares: tuple[float, ...] = (1.0,)

    def plan(self) -> Iterator[tuple[str, str, Config]]:
        """All runs that make sense."""
        for seed, share, name in product(range(self.seeds), self.shares, self.methods):
            settings = self.settings_of(name)
            method = METHODS[settings["method"]]
            if (share == 0 and method.pretrained) or (share < 1 and not method.syntax):
                continue  # no trees to train on, or none wanted
            settings |= {"treebank": share, "seed": seed}
            yield f"{name}-{share:g}-{seed}", name, make_config(self.config, **settings)

    def monitor(self, config: Config) -> str:
        """The score that decides which epoch is best."""
        return monitor(config)

    def key(self, outcome: Outcome) -> dict[str, Any]:
        """Method, share and seed."""
        config = outcome.config
        return {"method": outcome.name, "treebank": config.treebank, "seed": config.seed}

    def sections(self, ended: Sequence[Outcome]) -> list[tuple[str, list[Outcome]]]:
        """A table for each share."""
        found = []
        for share in self.shares:
            if runs := [o for o in ended if o.config.treebank == share]:
                found.append((REGIMES["joint" if share else "latent"].format(share=share), runs))
        return found

    def sentences(self, config: Config) -> dict[str, dict[str, list[Sentence]]]:
        """Both banks; of the treebank the share that is used."""
        corpus = load_data(config)
        return {f"trees (share {config.treebank:g})": corpus.trees, "graphs": corpus.graphs}

    def outputs(
        self, ended: Sequence[Outcome], part: str = "test"
    ) -> tuple[list[Sentence], dict[str, list[list[Sentence]]]]:
        """Gold graphs, and what each compared method gave, by seed, with the largest treebank."""
        share = max(self.shares)
        chosen = [o for o in ended if o.config.treebank == share and o.name in self.compared]
        gold = load_data(chosen[0].config).graphs[part]
        systems: dict[str, list[list[Sentence]]] = {}
        for outcome in chosen:
            parsed = parse(load_model(outcome.folder), gold)
            systems.setdefault(outcome.name, []).append(parsed)
        return gold, systems


TREES = {"LF": "LF", "UF": "UF", "graphs_UAS": "UAS"}
ALL = (
    "none",
    "pipeline",
    "attention",
    "straight-through",
    "straight-through-clipped",
    "spigot",
    "spigot-projection",
    "spigot-marginals",
)
SPIGOTS = {
    f"{method}, {', '.join(f'{name}={value:g}' for name, value in settings.items())}": {
        "method": method,
        **settings,
    }
    for method in ("spigot", "spigot-projection", "spigot-marginals")
    for settings in ({"eta": 0.25}, {"eta": 1.0}, {"eta": 4.0}, {"eta": 1.0, "warmup": 5})
}
EWT_SPIGOTS = {
    "spigot, pretrain": {"method": "spigot", "pretrain": True},
    "spigot, warmup=3": {"method": "spigot", "warmup": 3},
    "spigot, eta=0.25": {"method": "spigot", "eta": 0.25},
    "spigot-projection, pretrain": {"method": "spigot-projection", "pretrain": True},
}
EXPERIMENTS = {
    "toy": SyntaxExperiment(
        title="Syntax to semantics on the generated corpus",
        config="small",
        methods=(*ALL, "freda"),
        shares=(1.0, 0.1, 0.0),
        seeds=5,
        columns=TREES | {"graphs_UAS_ambiguous": "UAS, ambiguous words"},
    ),
    "ewt": SyntaxExperiment(
        title="Syntax to semantics on UD English EWT and PropBank",
        config="ewt",
        methods=ALL,
        seeds=3,
        columns=TREES | {"LP": "LP", "LR": "LR"},
        settings={"data_options": {"max_words": 30}, "graphbank": 0.5},
        compared=ALL,
    ),
    "ewt-spigot": SyntaxExperiment(
        title="What SPIGOT's settings do, on EWT",
        config="ewt",
        methods=tuple(EWT_SPIGOTS),
        seeds=1,
        columns=TREES | {"LP": "LP", "LR": "LR"},
        settings={"data_options": {"max_words": 30}, "graphbank": 0.5},
        variants=EWT_SPIGOTS,
    ),
    "toy-spigot": SyntaxExperiment(
        title="What SPIGOT's settings do, on the generated corpus",
        config="small",
        methods=tuple(SPIGOTS),
        seeds=3,
        columns=TREES | {"graphs_UAS_ambiguous": "UAS, ambiguous words"},
        variants=SPIGOTS,
    ),
}
