"""The runs behind the tables: every method with several seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from examples.data import Sentence
from examples.training.experiments import Experiment, Outcome, Section
from examples.training.settings import ConfigError

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

    def sections(self, ended: Sequence[Outcome]) -> list[Section]:
        """A table for each share."""
        found = []
        for share in self.shares:
            if runs := [o for o in ended if o.config.treebank == share]:
                heading = REGIMES["joint" if share else "latent"].format(share=share)
                found.append(Section(heading, runs))
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


FREDA3 = "FREDA3 (not built here)"
TABLE_1 = {
    ("dm", "test"): {
        "UF": {"pipeline": 91.8, "attention": 91.6, "straight-through": 92.0, "spigot": 92.4},
        "LF": {
            "none": 89.4,
            FREDA3: 90.4,
            "pipeline": 90.8,
            "attention": 90.6,
            "straight-through": 91.1,
            "spigot": 91.6,
        },
    },
    ("psd", "test"): {
        "UF": {"pipeline": 88.4, "attention": 87.9, "straight-through": 88.9, "spigot": 88.6},
        "LF": {
            "none": 77.6,
            FREDA3: 78.5,
            "pipeline": 78.1,
            "attention": 78.1,
            "straight-through": 78.9,
            "spigot": 78.9,
        },
    },
    ("dm", "ood"): {
        "UF": {"pipeline": 87.4, "attention": 87.3, "straight-through": 87.7, "spigot": 87.9},
        "LF": {
            "none": 84.5,
            FREDA3: 85.3,
            "pipeline": 85.8,
            "attention": 85.6,
            "straight-through": 86.4,
            "spigot": 86.7,
        },
    },
    ("psd", "ood"): {
        "UF": {"pipeline": 85.5, "attention": 84.9, "straight-through": 85.8, "spigot": 85.5},
        "LF": {
            "none": 75.3,
            FREDA3: 76.4,
            "pipeline": 75.6,
            "attention": 75.9,
            "straight-through": 76.6,
            "spigot": 77.1,
        },
    },
}
"""Table 1 of the paper, by formalism and part; it has no UF of the parsers without syntax."""

DOMAINS = {"test": "in domain", "ood": "out of domain"}


@dataclass(frozen=True, kw_only=True)
class SdpExperiment(SyntaxExperiment):
    """The paper's Table 1: two formalisms, in and out of domain, on data with a licence.

    The folder `data` has `en.id.dm.sdp`, `en.ood.dm.sdp`, `en.id.psd.sdp` and `en.ood.psd.sdp` of
    SemEval 2015, the Stanford dependencies of the Penn treebank in `trees/`, and, if there is one,
    GloVe's `vectors.txt`. Of the paper's six systems FREDA3 is missing: it scores parts across
    three formalisms.
    """

    TITLES = MappingProxyType({**SyntaxExperiment.TITLES, "none": "no syntax (NeurboParser)"})

    formalisms: tuple[str, ...] = ("dm", "psd")

    @property
    def tops(self) -> bool:
        """They count."""
        return True

    def plan(self) -> Iterator[tuple[str, str, Config]]:
        """All runs.

        Raises:
            ConfigError: If no folder is given.
        """
        if self.data is None:
            raise ConfigError(
                "This experiment is on data with a licence. Name the folder that has it: --data "
                "DIR, with en.id.dm.sdp, en.ood.dm.sdp, en.id.psd.sdp, en.ood.psd.sdp and trees/."
            )
        vectors = self.data / "vectors.txt"
        given: dict[str, Any] = {"vectors": str(vectors)} if vectors.is_file() else {}
        for seed, formalism, name in product(range(self.seeds), self.formalisms, self.methods):
            settings = given | self.settings_of(name)
            options = settings.pop("data_options", {}) | {
                "graphs": str(self.data / f"en.id.{formalism}.sdp"),
                "ood": str(self.data / f"en.ood.{formalism}.sdp"),
                "trees": str(self.data / "trees"),
            }
            settings |= {"data": "sdp", "data_options": options, "seed": seed}
            yield f"{formalism}-{name}-{seed}", name, make_config(self.config, **settings)

    def key(self, outcome: Outcome) -> dict[str, Any]:
        """Formalism, method and seed."""
        return {
            "formalism": formalism_of(outcome),
            "method": outcome.name,
            "seed": outcome.config.seed,
        }

    def sections(self, ended: Sequence[Outcome]) -> list[Section]:
        """A table for each formalism and domain."""
        found = []
        for formalism, part in product(self.formalisms, DOMAINS):
            runs = [o for o in ended if formalism_of(o) == formalism]
            if runs:
                heading = f"{formalism.upper()}, {DOMAINS[part]}"
                table = TABLE_1[formalism, part]
                source = "Peng, Thomson and Smith (2018), Table 1"
                found.append(Section(heading, runs, part, table, source))
        return found


def formalism_of(outcome: Outcome) -> str:
    """The formalism of a run's graphs."""
    return Path(outcome.config.data_options["graphs"]).name.split(".")[2]


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
    "sdp": SdpExperiment(
        title="Syntax to semantics on DM and PSD",
        config="paper",
        methods=("none", "pipeline", "attention", "straight-through", "spigot"),
        seeds=1,
        columns={"UF": "UF", "LF": "LF", "UAS": "UAS, treebank"},
    ),
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
