"""What can be set, and its values in the paper."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from examples.parsing.encoder import Sizes
from examples.syntax_to_semantics.config import Config as ParserConfig
from examples.training.runs import CONFIG
from examples.training.settings import ConfigError, TrainingConfig
from examples.training.surrogates import make_layer

from .methods import find_method


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Everything a run depends on; the defaults are the config `paper`, see `configs/`.

    `data` is "toy" or "sst", with the options of
    `examples.data.load_reviews`. Other fields: `TrainingConfig`.

    Args:
        parser: A config of the first pipeline for the semantic parser, which is trained before all
            else on the graphs that this config names; or the folder of such a run (`--method
            none`), whose parser is taken.
        parser_options: Settings that differ from a config; `--parser_options.epochs 4`.
        graphs: Data that the parser is trained on, instead of that of its config.
        reviewbank: Share of the training reviews that is used.
        graph_share: Share of the training graphs that an epoch of the joint training sees.
        word_size: Of the classifier's embeddings of words.
        lemma_size: Of lemmas; 0 for none.
        tag_size: Of parts of speech; 0 for none.
        constant_vectors: Whether pretrained vectors of words stay as they are.
        layers: LSTM layers of the classifier.
        hidden: Of its LSTM, per direction.
        role_size: Of the embeddings of roles, the labels of the graphs.
        combined: Of the layer that a word, its heads and its roles go through; 0: as wide as what
            the LSTM gives.
        mlp: Of the perceptron.
        mlp_layers: Of its hidden layers; the output is one more.
        word_dropout: a in the chance a / (a + count) to read a word as unknown.
        input_dropout: Dropout of the embeddings.
        dropout: Elsewhere.
        dropout_of: "features": of what the combined and the hidden layers give; "inputs": of the
            embeddings, of what the LSTM gives, and of what the perceptron reads.
        embedding_norm: Of the rows of the embeddings at the start.
        projection: Of Eq. 6's polytope: "exact", or "sequential", the rule of the published code.
    """

    CONFIGS: ClassVar[Path] = Path(__file__).with_name("configs")
    epochs: int = 100
    patience: int = 100
    batch_size: int = 32
    clip: float = 5 / 32  # 5, DyNet's default, of the sum over 32 sentences
    eta: float = 5 / 32
    parser: str = "paper"
    parser_options: dict[str, Any] = field(default_factory=dict)
    graphs: str | None = None
    reviewbank: float = 1.0
    graph_share: float = 0.2
    word_size: int = 300
    lemma_size: int = 50
    tag_size: int = 50
    constant_vectors: bool = True
    layers: int = 1
    hidden: int = 150
    role_size: int = 100
    combined: int = 100
    mlp: int = 100
    mlp_layers: int = 1
    word_dropout: float = 0.0
    input_dropout: float = 0.5
    dropout: float = 0.2
    dropout_of: Literal["features", "inputs"] = "features"
    embedding_norm: float = 1.0
    projection: Literal["exact", "sequential"] = "sequential"

    def __post_init__(self):
        make_layer(self, find_method(self.method).surrogate)
        super().__post_init__()
        if find_method(self.method).parser and not self.parser_is_trained:
            parser_config(self)  # what is wrong with its settings is said now

    @property
    def parser_is_trained(self) -> bool:
        """Whether `parser` is the folder of a run, not a config."""
        return not (ParserConfig.CONFIGS / f"{self.parser}.yaml").is_file()

    @property
    def sizes(self) -> Sizes:
        """Sizes of the classifier."""
        return Sizes.of(
            self,
            dropped="apart",
            dropout=self.dropout if self.dropout_of == "inputs" else 0.0,
            activation="relu",
            separate=False,  # the same, with the one layer of the paper
        )


def parser_config(config: Config) -> ParserConfig:
    """The config of the parser, of the first pipeline.

    Raises:
        ConfigError: If there is no such config or run, or it has no parser that will do.
    """
    if not config.parser_is_trained:
        settings = dict(config.parser_options)
        if config.graphs is not None:
            settings |= {"data": config.graphs, "data_options": {}}
        if settings.get("method", "none") != "none":
            raise ConfigError(
                f"`parser` is one without syntax (method 'none'). Got {settings['method']!r}."
            )
        try:
            return ParserConfig.named(
                config.parser, **{"seed": config.seed} | settings | {"method": "none"}
            )
        except ConfigError as error:
            raise ConfigError(f"`parser`: {error}") from None
    path = Path(config.parser) / CONFIG
    if not path.is_file():
        names = sorted(file.stem for file in ParserConfig.CONFIGS.glob("*.yaml"))
        raise ConfigError(
            f"`parser` is one of {', '.join(names)}, or the folder of a run of the first "
            f"pipeline. Got {config.parser!r}, which has no {CONFIG}."
        )
    found = ParserConfig.load(path)
    if found.method != "none":
        raise ConfigError(
            f"{config.parser} was trained by {found.method!r}. Wanted a semantic parser without "
            "syntax: python -m examples.syntax_to_semantics train --method none."
        )
    return found


def make_config(name: str, **settings: Any) -> Config:
    """A config by name, with other values for some settings."""
    return Config.named(name, **settings)
