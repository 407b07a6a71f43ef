"""What can be set, and its values in the paper."""

from dataclasses import dataclass
from typing import Any, ClassVar

from examples.parsing.encoder import Sizes
from examples.parsing.layers import ACTIVATIONS
from examples.training.settings import ConfigError, TrainingConfig, named
from examples.training.surrogates import check_surrogate

from .methods import find_method


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Everything a run depends on; the defaults are the config `paper`.

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
        dropout: Elsewhere; none in the published code.
        activation: Of the layers that score, above the first layer of pairs: "tanh", or
            "leaky_relu", which learns faster.
        embedding_norm: Of the rows of the embeddings at the start.
        pretrain: Whether the syntactic parser is trained alone before the joint training, as that
            of a pipeline is.
        syntax_cost: Hamming cost of a wrong head in the hinge loss.
        false_positive: Cost of a labelled arc too much.
        false_negative: Cost of a labelled arc too few.
        single_root: Whether trees have one word under the root.
        relaxation: What SPIGOT projects onto; see `optlayers.DependencyTrees`.
        prune: Arcs that a first model finds less probable than this are not scored; 0: all are.
            The published code has 1e-4.
    """

    POSITIVE: ClassVar[tuple[str, ...]] = (
        *TrainingConfig.POSITIVE,
        *("word_size", "layers", "hidden", "mlp", "embedding_norm"),
    )

    treebank: float = 1.0
    graphbank: float = 1.0
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
    pretrain: bool = False
    syntax_cost: float = 0.5
    false_positive: float = 0.4
    false_negative: float = 0.6
    single_root: bool = True
    relaxation: str = "head-selection"
    prune: float = 0.0

    def __post_init__(self):
        method = find_method(self.method)
        check_surrogate(self)
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
        super().__post_init__()

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
    return named(CONFIGS, name, settings)
