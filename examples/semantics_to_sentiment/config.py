"""What can be set, and its values in the paper."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from examples.parsing.encoder import Sizes
from examples.syntax_to_semantics.config import CONFIGS as PARSER_CONFIGS
from examples.syntax_to_semantics.config import Config as ParserConfig
from examples.syntax_to_semantics.config import make_config as make_parser_config
from examples.training.runs import CONFIG
from examples.training.settings import ConfigError, TrainingConfig, grouped, named
from examples.training.surrogates import check_surrogate

from .methods import find_method

Projection = Literal["exact", "sequential"]


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Everything a run depends on; the defaults are the config `paper`.

    They are the defaults of the published code as far as they are known; the size of the embeddings
    of roles and the number of epochs are ours. `data` is "toy" or "sst", with the options of
    `examples.data.load_reviews`. Other fields: `TrainingConfig`.

    Args:
        parser: A config of the first pipeline for the semantic parser, which is trained before all
            else on the graphs that this config names; or the folder of such a run (`--method
            none`), whose parser is taken.
        parser_options: Settings that differ from it; `--set parser.data=ewt parser.epochs=4`.
        reviewbank: Share of the training reviews that is used.
        graph_share: Share of the training graphs that an epoch of the joint training sees.
        word_size: Of the classifier's embeddings of words.
        layers: LSTM layers of the classifier.
        hidden: Of its LSTM, per direction.
        role_size: Of the embeddings of roles, the labels of the graphs.
        mlp: Of the perceptron.
        word_dropout: a in the chance a / (a + count) to read a word as unknown.
        dropout: Of the embeddings, of what the LSTM gives, and of what the perceptron reads.
        embedding_norm: Of the rows of the embeddings at the start.
        projection: Of Eq. 6's polytope: "exact", or "sequential", the rule of the published code.
    """

    POSITIVE: ClassVar[tuple[str, ...]] = (
        *TrainingConfig.POSITIVE,
        *("word_size", "layers", "hidden", "role_size", "mlp", "embedding_norm"),
    )

    batch_size: int = 32
    eta: float = 5 / 32
    parser: str = "paper"
    parser_options: dict[str, Any] = field(default_factory=dict)
    reviewbank: float = 1.0
    graph_share: float = 0.2
    word_size: int = 300
    layers: int = 1
    hidden: int = 150
    role_size: int = 50
    mlp: int = 100
    word_dropout: float = 0.5
    dropout: float = 0.2
    embedding_norm: float = 1.0
    projection: str = "sequential"

    def __post_init__(self):
        find_method(self.method)
        check_surrogate(self)
        for name in ("reviewbank", "graph_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"`{name}` is a share from 0 to 1. Got {getattr(self, name)}.")
        if self.projection not in get_args(Projection):
            raise ConfigError(
                f"`projection` is one of {', '.join(get_args(Projection))}. "
                f"Got {self.projection!r}."
            )
        super().__post_init__()
        if find_method(self.method).parser and not self.parser_is_trained:
            parser_config(self)  # what is wrong with its settings is said now

    @property
    def parser_is_trained(self) -> bool:
        """Whether `parser` is the folder of a run, not a config."""
        return self.parser not in PARSER_CONFIGS

    @property
    def sizes(self) -> Sizes:
        """Sizes of the classifier."""
        return Sizes(
            word=self.word_size,
            lemma=0,
            tag=0,
            layers=self.layers,
            hidden=self.hidden,
            mlp=self.mlp,
            word_dropout=self.word_dropout,
            dropout=self.dropout,
            activation="relu",
            embedding_norm=self.embedding_norm,
        )


def parser_config(config: Config) -> ParserConfig:
    """The config of the parser, of the first pipeline.

    Raises:
        ConfigError: If there is no such config or run, or it has no parser that will do.
    """
    if not config.parser_is_trained:
        settings = grouped(config.parser_options, ParserConfig)
        if settings.get("method", "none") != "none":
            raise ConfigError(
                f"`parser` is one without syntax (method 'none'). Got {settings['method']!r}."
            )
        try:
            return make_parser_config(
                config.parser, **{"seed": config.seed} | settings | {"method": "none"}
            )
        except ConfigError as error:
            raise ConfigError(f"`parser`: {error}") from None
    if config.parser_options:
        raise ConfigError(
            f"`parser_options` are for a parser that is trained here; {config.parser} is trained."
        )
    path = Path(config.parser) / CONFIG
    if not path.is_file():
        raise ConfigError(
            f"`parser` is one of {', '.join(PARSER_CONFIGS)}, or the folder of a run of the first "
            f"pipeline. Got {config.parser!r}, which has no {CONFIG}."
        )
    found = ParserConfig.load(path)
    if found.method != "none":
        raise ConfigError(
            f"{config.parser} was trained by {found.method!r}. Wanted a semantic parser without "
            "syntax: python -m examples.syntax_to_semantics train --method none."
        )
    return found


CONFIGS = {
    # Pruned, as in the published code: SPIGOT at the vertex can only raise the scores of arcs that
    # are not there, so it matters which may be there at all.
    "paper": Config(parser_options={"prune": 1e-4}),
    # For generated reviews: their words are few, so vectors and layers may be small. With 300 of
    # the 1,000 graphs the parser knows about half of the words that decide; with all, nearly all.
    "small": Config(
        parser="small",
        parser_options={"data": "toy", "data_options": {"graphs": [300, 200, 400]}},
        word_size=50,
        hidden=50,
        role_size=20,
        mlp=50,
        epochs=20,
        patience=20,
        learning_rate=3e-3,
        halve_every=8,
        eta=0.02,
        warmup=8,  # the gradient of a classifier that knows nothing yet ruins the parser
        projection="exact",
    ),
    # For open data without pretrained vectors, in minutes on a processor. The treebank has neither
    # parts of speech nor lemmas, so the parser does without. With larger steps of SPIGOT (5/32) the
    # parser loses half of its LF on PropBank within two epochs; with this one it loses little.
    "sst": Config(
        data="sst",
        parser="ewt",
        parser_options={
            "data": "ewt",
            "tag_size": 0,
            "lemma_size": 0,
            "data_options": {"max_words": 40},
            "epochs": 16,
            "patience": 16,
            "halve_every": 6,
            "prune": 1e-4,
        },
        word_size=100,
        hidden=100,
        dropout=0.5,
        epochs=6,
        patience=6,
        halve_every=3,
        eta=0.02,
        projection="exact",
    ),
}


def make_config(name: str, **settings: Any) -> Config:
    """A config by name, with other values for some settings."""
    return named(CONFIGS, name, settings)
