"""What can be set, and its values in the paper."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from examples.parsing.encoder import Sizes
from examples.training.settings import ConfigError, TrainingConfig
from examples.training.surrogates import make_layer

from .methods import find_method


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Everything a run depends on; the defaults are the config `paper`, see `configs/`.

    They are the defaults of the published code, which takes one sentence per step, on which DyNet's
    Adam, clipping and decay act. Here a batch holds up to `batch_size` sentences of about the same
    length, so there are fewer, less noisy steps in an epoch. `data` is "toy", "ewt" or "sdp", with
    the options of `examples.data.load_corpus`. Other fields: `TrainingConfig`.

    Args:
        treebank: Share of the training trees that is used; 0 is purely latent syntax.
        graphbank: Share of the training graphs that is used.
        word_size: Of the embeddings of words.
        lemma_size: Of lemmas.
        tag_size: Of parts of speech.
        layers: LSTM layers of each of the two encoders.
        hidden: Of their LSTMs, per direction.
        mlp: Of the perceptrons that score.
        word_dropout: a in the chance a / (a + count) to read a word as unknown.
        dropped: What a dropped word takes along; see `examples.parsing.encoder.Sizes`.
        dropout: Elsewhere; none in the published code.
        activation: Of the layers that score, above the first layer of pairs: "tanh", or
            "leaky_relu", which learns faster.
        embedding_norm: Of the rows of the embeddings at the start.
        separate: Whether each direction has its own LSTM of all layers, joined at the top.
        syntax_layers: Of the perceptron that scores arcs of trees.
        pretrain: Whether the syntactic parser is trained alone before the joint training, as that
            of a pipeline is.
        syntax_cost: Hamming cost of a wrong head in the hinge loss.
        false_positive: Cost of a labelled arc too much.
        false_negative: Cost of a labelled arc too few.
        tops: Whether the tops of graphs are parsed and count, as arcs from the root, as in the
            shared tasks. Those of PropBank's and of generated graphs are a convention of ours.
        single_root: Whether trees have one word under the root.
        relaxation: What SPIGOT projects onto; see `optlayers.DependencyTrees`.
        prune: Arcs that a first model finds less probable than this are not scored; 0: all are.
            The published code has 1e-4.
        prune_epochs: Of that model, at most.
    """

    CONFIGS: ClassVar[Path] = Path(__file__).with_name("configs")
    epochs: int = 100
    patience: int = 100
    halve_every: int = 10
    treebank: float = 1.0
    graphbank: float = 1.0
    word_size: int = 100
    lemma_size: int = 50
    tag_size: int = 50
    layers: int = 2
    hidden: int = 200
    mlp: int = 100
    word_dropout: float = 0.25
    dropped: Literal["paper", "apart"] = "paper"
    dropout: float = 0.0
    activation: Literal["tanh", "leaky_relu", "relu"] = "tanh"
    embedding_norm: float = 1.0
    separate: bool = True
    syntax_layers: int = 2
    pretrain: bool = False
    syntax_cost: float = 0.5
    false_positive: float = 0.4
    false_negative: float = 0.6
    tops: bool = True
    single_root: bool = True
    relaxation: str = "head-selection"
    prune: float = 1e-4
    prune_epochs: int = 3

    def __post_init__(self):
        method = find_method(self.method)
        make_layer(self, method.surrogate)
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
        super().__post_init__()

    @property
    def sizes(self) -> Sizes:
        """Sizes of each of the two parsers."""
        return Sizes.of(self)


def make_config(name: str, **settings: Any) -> Config:
    """A config by name, with other values for some settings."""
    return Config.named(name, **settings)


def syntax_config(config: Config) -> Config:
    """The config of the run in which the syntactic parser of a config is trained by itself.

    What is set about the end task makes no difference to it, so one such run serves many configs.
    """
    defaults = {"pretrain": False, "surrogate": None, "end_task_weight": 1.0, "warmup": 0}
    return replace(config, method="syntax", eta=1.0, temperature=1.0, **defaults)
