"""What can be set, and its values in the paper."""

import json
import types
import typing
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from examples.data.text import output
from examples.parsing.encoder import Sizes
from examples.parsing.layers import ACTIVATIONS

from .methods import SURROGATE, find_method
from .methods import ConfigError as ConfigError


@dataclass(frozen=True)
class Config:
    """Everything a run depends on; the defaults are the config `paper`.

    They are the defaults of the published code, except for what mini-batches change. The code
    takes one sentence per step, on which DyNet's Adam, clipping and decay act. Here a batch holds
    up to `batch_size` sentences of about the same length; losses are summed over its sentences, so
    that SPIGOT takes the step of each sentence that it would take alone; the gradient is divided
    by their number before it is clipped. So there are fewer, less noisy steps in an epoch.

    Args:
        method: A name in `METHODS`, or `surrogate:NAME` for any surrogate of the library.
        data: "toy", "ewt" or "sdp".
        data_options: Options of `examples.data.load_corpus`; `--set data.max_words=60`.
        treebank: Share of the training trees that is used; 0 is purely latent syntax.
        graphbank: Share of the training graphs that is used.
        seed: Of the parameters, the order of the batches and dropout.
        word_size: Of the embeddings of words.
        lemma_size: Of lemmas.
        tag_size: Of parts of speech.
        layers: LSTM layers of each of the two encoders.
        hidden: Of their LSTMs, per direction.
        mlp: Of the perceptrons that score.
        word_dropout: a in the chance a / (a + count) to read a word as unknown.
        dropout: Elsewhere; none in the published code.
        activation: Of the layers that score, above the first layer of pairs: "tanh", or
            "leaky_relu", which learns faster.
        embedding_norm: Of the rows of the embeddings at the start.
        vectors: A file of word vectors in GloVe's format to start from.
        epochs: At most.
        patience: Epochs without a better development score before training stops.
        batch_size: Sentences per step; 1 in the published code.
        pairs: Pairs of words per step at most, which bounds memory.
        learning_rate: Of Adam.
        halve_every: Epochs after which the learning rate is halved, again and again; 0: never.
        weight_decay: Share of each weight that a step takes away, as DyNet counts it (not times the
            learning rate). Embeddings do not decay: in mini-batches most of their rows are absent.
        clip: Norm of the gradient at most.
        eta: T of SPIGOT's step, `NormClip(T)`, for each sentence.
        temperature: Divides the scores where SPIGOT starts from the projection or the marginals.
        pretrain: Whether the syntactic parser is trained alone before the joint training, as that
            of a pipeline is.
        warmup: Epochs in which the semantic loss does not reach the syntactic parser.
        syntax_cost: Hamming cost of a wrong head in the hinge loss.
        false_positive: Cost of a labelled arc too much.
        false_negative: Cost of a labelled arc too few.
        single_root: Whether trees have one word under the root.
        relaxation: What SPIGOT projects onto; see `optlayers.DependencyTrees`.
        surrogate_options: Options of the surrogate of `surrogate:NAME`; `--set surrogate.lam=10`.
        prune: Arcs that a first model finds less probable than this are not scored; 0: all are.
            The published code has 1e-4.
    """

    method: str = "spigot"
    data: str = "toy"
    data_options: dict[str, Any] = field(default_factory=dict)
    treebank: float = 1.0
    graphbank: float = 1.0
    seed: int = 0
    word_size: int = 100
    lemma_size: int = 50
    tag_size: int = 50
    layers: int = 2
    hidden: int = 200
    mlp: int = 100
    word_dropout: float = 0.25
    dropout: float = 0.0
    activation: str = "tanh"
    embedding_norm: float = 1.0
    vectors: str | None = None
    epochs: int = 30
    patience: int = 5
    batch_size: int = 16
    pairs: int = 60_000
    learning_rate: float = 1e-3
    halve_every: int = 5
    weight_decay: float = 1e-6
    clip: float = 1.0
    eta: float = 1.0
    temperature: float = 1.0
    pretrain: bool = False
    warmup: int = 0
    syntax_cost: float = 0.5
    false_positive: float = 0.4
    false_negative: float = 0.6
    single_root: bool = True
    relaxation: str = "head-selection"
    surrogate_options: dict[str, Any] = field(default_factory=dict)
    prune: float = 0.0

    def __post_init__(self):
        method = find_method(self.method)
        if self.method.startswith(SURROGATE) and method.surrogate is not None:
            method.surrogate(self)  # what is wrong with its options is said now
        elif self.surrogate_options:
            raise ConfigError(
                f"`surrogate_options` are those of a method {SURROGATE}NAME. Got {self.method!r}."
            )
        for name in ("treebank", "graphbank"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"`{name}` is a share from 0 to 1. Got {getattr(self, name)}.")
        if self.activation not in ACTIVATIONS:
            raise ConfigError(
                f"`activation` is one of {', '.join(ACTIVATIONS)}. Got {self.activation!r}."
            )
        if self.pretrain and not (method.syntax and method.semantics):
            raise ConfigError(f"`pretrain` is for methods with both parsers. Got {self.method!r}.")
        if self.treebank == 0 and (method.pretrained or self.pretrain):
            raise ConfigError(
                f"{self.method!r} trains its parser on trees first. Got treebank=0; give it some, "
                "or choose a method that learns latent syntax, without `pretrain`."
            )
        if self.prune > 0 and method.multitask:
            raise ConfigError(
                f"`prune` is for one formalism, and {self.method!r} parses several. Set prune=0."
            )
        if self.prune >= 1:
            raise ConfigError(f"`prune` is a probability under 1. Got {self.prune}.")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive. Got {getattr(self, name)}.")
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, int | float) and value < 0:
                raise ConfigError(f"`{setting.name}` must not be negative. Got {value}.")

    @property
    def sizes(self) -> Sizes:
        """Sizes of each of the two parsers."""
        return Sizes(
            self.word_size,
            self.lemma_size,
            self.tag_size,
            self.layers,
            self.hidden,
            self.mlp,
            self.word_dropout,
            self.dropout,
            self.activation,
            self.embedding_norm,
        )

    def save(self, path: str | Path) -> None:
        """Writes JSON."""
        with output(path) as file:
            file.write(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Config":
        """Reads what `save` wrote."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise ConfigError(f"{path}: not JSON: {error}.") from None
        return override(cls(), values)


GROUPS = ("data", "surrogate")
POSITIVE = (
    "word_size layers hidden mlp embedding_norm epochs patience batch_size pairs learning_rate "
    "clip eta temperature"
).split()
CONFIGS = {
    "paper": Config(),
    # For the generated corpus: its words are few, so vectors and layers may be small.
    "small": Config(
        word_size=50,
        lemma_size=0,
        tag_size=16,
        layers=1,
        hidden=64,
        mlp=64,
        epochs=25,
        patience=8,
        learning_rate=3e-3,
        halve_every=8,
    ),
    # For open data without pretrained vectors, in minutes on a processor. With small embeddings and
    # tanh the semantic parser gives no arc at all for thousands of steps: of 10,000 labelled arcs
    # of a sentence five are right, and the hinge loss pushes all scores down together.
    "ewt": Config(
        data="ewt",
        layers=1,
        hidden=100,
        activation="leaky_relu",
        embedding_norm=6.0,
        epochs=8,
        patience=8,
        learning_rate=2e-3,
        halve_every=3,
    ),
}


def make_config(name: str, **settings: Any) -> Config:
    """A config by name, with other values for some settings."""
    if name not in CONFIGS:
        raise ConfigError(f"There is no config {name!r}. Choose one of {', '.join(CONFIGS)}.")
    return override(CONFIGS[name], settings)


def override(config: Config, settings: dict[str, Any]) -> Config:
    """The config with some settings changed, their types checked.

    Raises:
        ConfigError: If there is no such setting, or a value has another type.
    """
    kinds = {setting.name: setting.type for setting in fields(Config)}
    for name, value in settings.items():
        if name not in kinds:
            near = get_close_matches(name, kinds, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Settings: {', '.join(kinds)}."
            raise ConfigError(f"There is no setting {name!r}. {hint}")
        settings = settings | {name: _typed(name, value, kinds[name])}
    return replace(config, **settings)


def read_settings(assignments: Iterable[str]) -> dict[str, Any]:
    """Settings from `name=value` on the command line.

    `data.name=value` is an option of the data, `surrogate.name=value` one of the surrogate.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name:
            raise ConfigError(f"Settings are given as name=value. Got {assignment!r}.")
        try:
            value = json.loads(text)
        except ValueError:
            value = {"True": True, "False": False, "None": None}.get(text, text)
        group, dot, option = name.partition(".")
        if dot and group in GROUPS:
            found.setdefault(f"{group}_options", {})[option] = value
        else:
            found[name] = value
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
