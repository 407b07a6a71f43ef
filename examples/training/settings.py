"""Configs: their fields, their types, and other values for them."""

import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from examples.data.text import output

OPTIONS = "_options"
"""How the names of fields end that are groups of options."""


class ConfigError(ValueError):
    """A setting that does not exist or has an impossible value."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What the configs of both pipelines have in common, with the defaults of the published code.

    Except for what mini-batches change: losses are summed over the sentences of a batch, so that a
    surrogate takes the step of each sentence that it would take alone; the gradient is divided by
    their number before it is clipped.

    Args:
        method: A name in the pipeline's `METHODS`, or `surrogate:NAME` for any surrogate of the
            library.
        data: Name of the corpus.
        data_options: Options of its loader; `--set data.max_words=60`.
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
        surrogate_options: Options of the surrogate of `surrogate:NAME`; `--set surrogate.lam=10`.
    """

    POSITIVE: ClassVar[tuple[str, ...]] = (
        *("epochs", "patience", "batch_size", "pairs", "learning_rate", "clip", "eta"),
        "temperature",
    )
    """Fields whose values have to be positive; none may be negative."""

    method: str = "spigot"
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
    surrogate_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for name in self.POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive. Got {getattr(self, name)}.")
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, int | float) and value < 0:
                raise ConfigError(f"`{setting.name}` must not be negative. Got {value}.")

    def save(self, path: str | Path) -> None:
        """Writes JSON."""
        with output(path) as file:
            file.write(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what `save` wrote."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise ConfigError(f"{path}: not JSON: {error}.") from None
        return override(cls(), values)


C = TypeVar("C", bound=TrainingConfig)


def named(configs: Mapping[str, C], name: str, settings: dict[str, Any]) -> C:
    """A config by name, with other values for some settings; see `merged`."""
    if name not in configs:
        raise ConfigError(f"There is no config {name!r}. Choose one of {', '.join(configs)}.")
    own = {setting.name: getattr(configs[name], setting.name) for setting in fields(configs[name])}
    blank = {key: {} for key in own if key.endswith(OPTIONS)}
    return override(configs[name], blank | merged(own, settings))


def override(config: C, settings: dict[str, Any]) -> C:
    """The config with some settings changed, their types checked.

    Raises:
        ConfigError: If there is no such setting, or a value has another type.
    """
    kinds = {setting.name: setting.type for setting in fields(config)}
    for name, value in settings.items():
        if name not in kinds:
            near = get_close_matches(name, kinds, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Settings: {', '.join(kinds)}."
            raise ConfigError(f"There is no setting {name!r}. {hint}")
        settings = settings | {name: _typed(name, value, kinds[name])}
    return replace(config, **settings)


def read_settings(assignments: Iterable[str], kind: type[TrainingConfig]) -> dict[str, Any]:
    """Settings of a kind of config from `name=value` on the command line.

    `data.name=value` is an option of the data, `surrogate.name=value` one of the surrogate.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name:
            raise ConfigError(f"Settings are given as name=value. Got {assignment!r}.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = {"True": True, "False": False, "None": None}.get(text, text)
    return grouped(found, kind)


def grouped(values: Mapping[str, Any], kind: type[TrainingConfig]) -> dict[str, Any]:
    """The settings, those of the form `group.option` put together: `data.max_words` and the like.

    Args:
        values: Settings by name.
        kind: The config they are for; its groups are the fields that end in `_options`.
    """
    groups = {setting.name for setting in fields(kind) if setting.name.endswith(OPTIONS)}
    settings: dict[str, Any] = {}
    for key, value in values.items():
        group, dot, option = key.partition(".")
        if dot and group + OPTIONS in groups:
            options = settings.setdefault(group + OPTIONS, {})
            if isinstance(options, dict):  # else its type is what is wrong
                options[option] = value
        elif isinstance(value, dict) and isinstance(settings.get(key), dict):
            settings[key] |= value
        else:
            settings[key] = dict(value) if isinstance(value, dict) else value
    return settings


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of which the second override the first; groups of options are merged.

    Options are added to those that are there, unless what they are for is another: with a new
    `data`, `data_options` are those of the second alone.
    """
    kept = {
        key: value
        for key, value in first.items()
        if (of := key.removesuffix(OPTIONS)) == key or second.get(of) in (None, first.get(of))
    }
    found = dict(kept)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(kept.get(key), dict)
        found[key] = merged(kept[key], value) if both else value
    return found


def _typed(name: str, value: Any, kind: Any) -> Any:
    """The value as the type of its setting; an int will do for a float."""
    union = isinstance(kind, types.UnionType)
    wanted = tuple(typing.get_origin(k) or k for k in (typing.get_args(kind) if union else (kind,)))
    if float in wanted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        names = " or ".join(k.__name__.replace("NoneType", "None") for k in wanted)
        raise ConfigError(f"`{name}` must be {names}. Got {value!r}.")
    return value
