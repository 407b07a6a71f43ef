"""Configs: dataclasses that jsonargparse reads, from YAML and from the command line."""

import math
from argparse import ArgumentError
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import yaml
from jsonargparse import ArgumentParser, Namespace

import optlayers as ol
from examples.data.text import output

LARGEST_SEED = 2**32 - 1  # that NumPy takes


POSITIVE = frozenset(
    "epochs patience batch_size pairs learning_rate clip eta temperature word_size layers "
    "hidden mlp embedding_norm syntax_layers role_size".split()
)
"""Settings whose values have to be positive; none may be negative."""

BELOW_ONE = frozenset(("weight_decay", "dropout", "input_dropout", "prune"))
SHARES = frozenset(("end_task_weight", "treebank", "graphbank", "reviewbank", "graph_share"))
UNBOUNDED = frozenset(("clip", "eta"))
"""Bounds, which may be infinite."""


class ConfigError(ValueError):
    """A setting that does not exist or has an impossible value."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What the configs of both pipelines have in common, with the defaults of the published code.

    Except for what mini-batches change: losses are summed over the sentences of a batch, so that a
    surrogate takes the step of each sentence that it would take alone; the gradient is divided by
    their number before it is clipped.

    Args:
        method: A name in the pipeline's `METHODS`.
        surrogate: How gradients pass the structure, instead of the way of the method: the class of
            a surrogate and what it is made with, as jsonargparse has them.
        data: Name of the corpus.
        data_options: Options of its loader, such as `max_words: 60`.
        seed: Of the parameters, the order of the batches and dropout.
        vectors: A file of word vectors in GloVe's format to start from.
        epochs: At most.
        patience: Epochs without a better development score before training stops.
        batch_size: Sentences per step.
        pairs: Pairs of words per step at most, which bounds memory.
        learning_rate: Of Adam.
        halve_every: Epochs after which the learning rate is halved, again and again; 0: never.
        weight_decay: Share of each weight that a step takes away, as DyNet counts it (not times the
            learning rate). Embeddings do not decay: in mini-batches most of their rows are absent.
        clip: Norm of the gradient of each model at most.
        end_task_weight: Of the end task's gradient in the intermediate model: of two losses that
            are interpolated (section 2.3 of the paper). It shortens the clip of that gradient too.
            1 in the published code; 0: the model does not hear of the end task.
        warmup: Epochs in which the intermediate model does not hear of the end task.
        eta: T of SPIGOT's step, `NormClip(T)`, for each sentence.
        temperature: Divides the scores where SPIGOT starts from the projection or the marginals.
    """

    CONFIGS: ClassVar[Path]
    """The folder of the configs that have a name."""

    method: str = "spigot"
    surrogate: dict[str, Any] | None = None
    data: str = "toy"
    data_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    vectors: str | None = None
    epochs: int = 30
    patience: int = 5
    batch_size: int = 16
    pairs: int = 60_000
    learning_rate: float = 1e-3
    halve_every: int = 5
    weight_decay: float = 1e-6
    clip: float = 1.0
    end_task_weight: float = 1.0
    warmup: int = 0
    eta: float = 1.0
    temperature: float = 1.0

    def __post_init__(self):
        for setting in fields(self):
            name, value = setting.name, getattr(self, setting.name)
            if not isinstance(value, int | float):
                continue
            rules = (
                (name in POSITIVE and not value > 0, "must be positive"),
                (name in SHARES and not 0 <= value <= 1, "is a share from 0 to 1"),
                (not value >= 0, "must not be negative"),
                (name in BELOW_ONE and not value < 1, "must be from 0 to less than 1"),
                (value == math.inf and name not in UNBOUNDED, "must be finite"),
                (value > LARGEST_SEED and value < math.inf, f"is at most {LARGEST_SEED}"),
            )
            for broken, wanted in rules:
                if broken:
                    raise ConfigError(f"`{name}` {wanted}. Got {value}.")

    def save(self, path: str | Path) -> None:
        """Writes YAML."""
        with output(path) as file:
            yaml.safe_dump(asdict(self), file, sort_keys=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            ConfigError: If it is something else, or a part of it: what is missing would be read as
                a default, and make another model.
        """
        settings = read_yaml(path)
        if missing := [f.name for f in fields(cls) if f.name not in settings]:
            raise ConfigError(
                f"{path} lacks {', '.join(missing)}: it is not complete, or of an older version. "
                "Add what the run was trained with."
            )
        return cls.of(settings)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The config of some settings, the others as in the paper; types are checked."""
        try:
            return cls.read(parser_of(cls).parse_object(dict(settings)))
        except ArgumentError as error:
            raise ConfigError(str(error)) from None

    @classmethod
    def read(cls, parsed: Namespace) -> Self:
        """The config of what a parser has read, perhaps among other options."""
        values = parsed.as_dict()
        return cls(**{setting.name: values[setting.name] for setting in fields(cls)})

    @classmethod
    def named(cls, name: str, **settings: Any) -> Self:
        """A config by name, with other values for some settings."""
        return cls.of(read_yaml(named_file(cls, name)) | settings)


C = TypeVar("C", bound=TrainingConfig)


@cache
def parser_of(kind: type[TrainingConfig]) -> ArgumentParser:
    """A parser of the settings of a kind of config."""
    parser = make_parser()
    add_settings(parser, kind)
    return parser


def add_settings(parser: ArgumentParser, kind: type[TrainingConfig]) -> None:
    """Makes an option of every setting."""
    parser.add_class_arguments(kind, skip={"surrogate"})
    what = "how gradients pass the structure, instead of the way of the method"
    parser.add_argument("--surrogate", type=ol.AbstractSurrogate | None, help=what)


def make_surrogate(config: TrainingConfig) -> ol.AbstractSurrogate | None:
    """The surrogate of a config, if it has one."""
    if config.surrogate is None:
        return None
    parser = parser_of(type(config))
    try:
        parsed = parser.parse_object({"surrogate": config.surrogate})
        return parser.instantiate(parsed).surrogate
    except (ArgumentError, ValueError) as error:  # the second is the surrogate's
        raise ConfigError(str(error)) from None


def make_parser(description: str | None = None, **options: Any) -> ArgumentParser:
    """A parser of settings or of a command line, whose errors are raised."""
    return ArgumentParser(
        exit_on_error=False, allow_abbrev=False, description=description, **options
    )


def named_file(kind: type[TrainingConfig], name: str) -> Path:
    """The file of the config of that name.

    Raises:
        ConfigError: If there is none.
    """
    path = kind.CONFIGS / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in kind.CONFIGS.glob("*.yaml")))
        raise ConfigError(f"There is no config {name!r}. Choose one of {names}.")
    return path


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings of a file."""
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}.") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: wanted names and values of settings, found {settings!r}.")
    return settings
