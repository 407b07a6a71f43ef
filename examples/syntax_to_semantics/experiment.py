"""The runs behind the tables: every method with several seeds, Table 1 of the paper among them."""

from collections.abc import Iterator
from functools import partial
from io import StringIO
from itertools import product
from typing import Any

import pandas as pd

from examples.training.experiments import Experiment, Pipeline, Run
from examples.training.report import Table
from examples.training.settings import ConfigError

from .config import make_config
from .methods import METHODS

PIPELINE = Pipeline(
    package="examples.syntax_to_semantics",
    metric="LF",
    bank="graphs",
    banks=("trees", "graphs"),
    titles={name: method.title for name, method in METHODS.items()},
)
REGIMES = {
    "joint": "Treebank share {share:g}: trees supervise the syntactic parser, and graphs teach it "
    "too (except in the pipeline)",
    "latent": "Treebank share 0: purely latent syntax, only graphs teach the syntactic parser",
}


def by_share(experiment: Experiment, shares: tuple[float, ...] = (1.0,)) -> Iterator[Run]:
    """All runs that make sense, with these shares of the treebank."""
    for seed, share, name in product(range(experiment.seeds), shares, experiment.methods):
        settings = experiment.settings_of(name)
        method = METHODS[settings["method"]]
        if (share == 0 and method.pretrained) or (share < 1 and not method.syntax):
            continue  # no trees to train on, or none wanted
        key = {"method": name, "treebank": f"{share:g}", "seed": seed}
        config = make_config(experiment.config, **settings, treebank=share, seed=seed)
        yield Run(key, config)


def tables_by_share(rows: pd.DataFrame) -> Iterator[Table]:
    """A table for each share."""
    for share, own in rows.groupby("treebank", sort=False):
        regime = "joint" if float(str(share)) else "latent"
        yield Table(REGIMES[regime].format(share=float(str(share))), own)


# ---------------------------------------------------------------------- the paper's Table 1

FREDA3 = "FREDA3 (not built here)"
TABLE_1 = pd.read_csv(
    StringIO(f"""\
method           , dm  , dm  , psd , psd , dm  , dm  , psd , psd
part             , test, test, test, test, ood , ood , ood , ood
score            , UF  , LF  , UF  , LF  , UF  , LF  , UF  , LF
none             ,     , 89.4,     , 77.6,     , 84.5,     , 75.3
{FREDA3}         ,     , 90.4,     , 78.5,     , 85.3,     , 76.4
pipeline         , 91.8, 90.8, 88.4, 78.1, 87.4, 85.8, 85.5, 75.6
attention        , 91.6, 90.6, 87.9, 78.1, 87.3, 85.6, 84.9, 75.9
straight-through , 92.0, 91.1, 88.9, 78.9, 87.7, 86.4, 85.8, 76.6
spigot           , 92.4, 91.6, 88.6, 78.9, 87.9, 86.7, 85.5, 77.1
"""),
    sep=r"\s*,\s*",
    engine="python",
    header=[0, 1, 2],
    index_col=0,
)
"""By formalism, part and score; it has no UF of the parsers without syntax."""

DOMAINS = {"test": "in domain", "ood": "out of domain"}


def licensed(experiment: Experiment, formalisms: tuple[str, ...] = ("dm", "psd")) -> Iterator[Run]:
    """The runs of Table 1: two formalisms, in and out of domain, on data with a licence.

    The folder `data` has `en.id.dm.sdp`, `en.ood.dm.sdp`, `en.id.psd.sdp` and `en.ood.psd.sdp` of
    SemEval 2015, the Stanford dependencies of the Penn treebank in `trees/`, and, if there is one,
    GloVe's `vectors.txt`. Of the paper's six systems FREDA3 is missing: it scores parts across
    three formalisms.

    Raises:
        ConfigError: If no folder is given.
    """
    folder = experiment.data
    if folder is None:
        raise ConfigError(
            "This experiment is on data with a licence. Name the folder that has it: --data "
            "DIR, with en.id.dm.sdp, en.ood.dm.sdp, en.id.psd.sdp, en.ood.psd.sdp and trees/."
        )
    vectors = folder / "vectors.txt"
    given: dict[str, Any] = {"vectors": str(vectors)} if vectors.is_file() else {}
    for seed, formalism, name in product(range(experiment.seeds), formalisms, experiment.methods):
        settings = given | experiment.settings_of(name)
        settings["data_options"] = settings.get("data_options", {}) | {
            "graphs": str(folder / f"en.id.{formalism}.sdp"),
            "ood": str(folder / f"en.ood.{formalism}.sdp"),
            "trees": str(folder / "trees"),
        }
        key = {"formalism": formalism, "method": name, "seed": seed}
        yield Run(key, make_config(experiment.config, **settings, data="sdp", seed=seed))


def tables_beside_the_paper(rows: pd.DataFrame) -> Iterator[Table]:
    """A table for each formalism and domain."""
    for formalism, own in rows.groupby("formalism", sort=False):
        for part, domain in DOMAINS.items():
            quoted = {s: TABLE_1[formalism, part, s].dropna().to_dict() for s in ("UF", "LF")}
            heading = f"{str(formalism).upper()}, {domain}"
            yield Table(heading, own, part, quoted, "Peng, Thomson and Smith (2018), Table 1")


# ---------------------------------------------------------------------- all experiments

LABELLED = {"LF": "LF", "UF": "UF", "graphs_UAS": "UAS"}
AMBIGUOUS = LABELLED | {"graphs_UAS_ambiguous": "UAS, ambiguous words"}
PRECISION = LABELLED | {"LP": "LP", "LR": "LR"}
ALL = tuple(n for n in METHODS if n not in ("shared", "freda", "syntax", "pruner"))
EWT: dict[str, Any] = {"data_options": {"max_words": 30}, "graphbank": 0.5}
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
by_share_of = partial(Experiment, pipeline=PIPELINE, plan=by_share, tables=tables_by_share)
EXPERIMENTS = {
    "sdp": Experiment(
        pipeline=PIPELINE,
        title="Syntax to semantics on DM and PSD",
        config="paper",
        methods=("none", "pipeline", "attention", "straight-through", "spigot"),
        seeds=1,
        columns={"UF": "UF", "LF": "LF", "UAS": "UAS, treebank"},
        plan=licensed,
        tables=tables_beside_the_paper,
    ),
    "toy": by_share_of(
        title="Syntax to semantics on the generated corpus",
        config="small",
        methods=(*ALL, "freda"),
        seeds=5,
        columns=AMBIGUOUS,
        plan=partial(by_share, shares=(1.0, 0.1, 0.0)),
    ),
    "ewt": by_share_of(
        title="Syntax to semantics on UD English EWT and PropBank",
        config="ewt",
        methods=ALL,
        seeds=3,
        columns=PRECISION,
        settings=EWT,
        compared=ALL,
    ),
    "ewt-spigot": by_share_of(
        title="What SPIGOT's settings do, on EWT",
        config="ewt",
        methods=tuple(EWT_SPIGOTS),
        seeds=1,
        columns=PRECISION,
        settings=EWT,
        variants=EWT_SPIGOTS,
    ),
    "toy-spigot": by_share_of(
        title="What SPIGOT's settings do, on the generated corpus",
        config="small",
        methods=tuple(SPIGOTS),
        seeds=3,
        columns=AMBIGUOUS,
        variants=SPIGOTS,
    ),
}
