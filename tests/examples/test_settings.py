"""Configs: from files, from the command line, with any surrogate of the library, and refused."""

import inspect
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import optlayers as ol
from examples.data import Corpus
from examples.data.toy import generate
from examples.parsing.batches import collate
from examples.semantics_to_sentiment import __main__ as sentiment
from examples.semantics_to_sentiment.config import Config as SentimentConfig
from examples.syntax_to_semantics import __main__ as syntax
from examples.syntax_to_semantics.__main__ import main
from examples.syntax_to_semantics.config import Config, make_config
from examples.syntax_to_semantics.run import make_model
from examples.training.settings import ConfigError, TrainingConfig, make_surrogate, read_yaml

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

SIZES = {"word_size": 12, "tag_size": 6, "hidden": 10, "mlp": 8, "batch_size": 8, "epochs": 1}
OPTIONS = [f"--{name}={value}" for name, value in SIZES.items()]
DATA = ["--data_options.trees=[8, 4, 4]", "--data_options.graphs=[8, 4, 4]"]
SURROGATES = [
    name
    for name, kind in sorted(vars(ol).items())
    if inspect.isclass(kind)
    and issubclass(kind, ol.AbstractSurrogate)
    and kind is not ol.AbstractSurrogate
    and all(p.default is not p.empty for p in inspect.signature(kind).parameters.values())
]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return generate(0, trees=(16, 4, 4), graphs=(16, 4, 4))


def from_line(*arguments: str, monkeypatch) -> Config:
    """The config of a command line, which is not trained."""
    seen = []

    def train(config, *_, **__):
        seen.append(config)
        return {"dev": {}, "test": {}}

    monkeypatch.setattr("examples.syntax_to_semantics.__main__.train", train)
    assert main(["train", "--quiet", "--json", *arguments]) == 0
    return seen[0]


# ---------------------------------------------------------------------- surrogates


@pytest.mark.parametrize("name", SURROGATES)
def test_two_steps_with_every_surrogate_of_the_library(name, corpus):
    model = make_model(make_config("small", **SIZES, surrogate=name), corpus)
    assert type(model.argmax.surrogate) is getattr(ol, name)
    assert model.syntax is not None
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = [p.detach().clone() for p in model.syntax.parameters()]
    batch = collate(corpus.graphs["train"][:8], model.vocabulary)
    for _ in range(2):
        optimizer.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)
        grads = [p.grad for p in model.syntax.parameters() if p.grad is not None]
        assert all(torch.isfinite(grad).all() for grad in grads)
        assert sum(float(grad.abs().sum()) for grad in grads) > 0
    pairs = zip(before, model.syntax.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate_of_the_library_is_saved_and_read(name, tmp_path):
    config = make_config("small", surrogate=name)
    config.save(tmp_path / "c.yaml")
    again = Config.load(tmp_path / "c.yaml")
    assert type(make_surrogate(again)) is getattr(ol, name)
    assert again == config


def test_options_reach_the_surrogate_from_the_command_line(monkeypatch):
    line = "--surrogate SPIGOT --surrogate.around projection --surrogate.temperature 2"
    step = "--surrogate.eta NormClip --surrogate.eta.T 0.15"
    found = make_surrogate(from_line(*line.split(), *step.split(), monkeypatch=monkeypatch))
    assert isinstance(found, ol.SPIGOT)
    assert (found.around, found.temperature, found.eta) == ("projection", 2, ol.NormClip(0.15))


def test_options_change_the_gradient(corpus):
    grads = []
    for scale in (1, 3):
        torch.manual_seed(0)
        surrogate = {"class_path": "StraightThrough", "init_args": {"scale": scale}}
        model = make_model(make_config("small", **SIZES, surrogate=surrogate), corpus).eval()
        model.loss(collate(corpus.graphs["train"][:4], model.vocabulary)).backward()
        assert model.syntax is not None
        grads.append(model.syntax.score.weight.grad)
    torch.testing.assert_close(3 * grads[0], grads[1])


@pytest.mark.parametrize("method", ["none", "pipeline", "attention"])
def test_a_surrogate_needs_a_structure_to_pass(method):
    with pytest.raises(ConfigError, match=f"pass a structure: .*spigot.*Got '{method}'"):
        make_config("small", method=method, surrogate="SPIGOT")


def test_a_surrogate_that_does_not_exist_is_an_error_of_the_settings():
    with pytest.raises(ConfigError, match="Nothing"):
        replace(make_config("small"), surrogate={"class_path": "Nothing"})


def test_a_surrogate_that_cannot_work_with_trees_says_why(monkeypatch, tmp_path, capsys):
    def picky(self, feasible_set, *_, **__):
        raise ol.InputError(f"It wants a polytope. Got {feasible_set!r}.")

    monkeypatch.setattr(ol.StraightThrough, "backward", picky)
    command = ["train", "--quiet", f"--output={tmp_path}", *OPTIONS, *DATA]
    assert main([*command, "--surrogate", "StraightThrough"]) == 2
    assert "error: It wants a polytope. Got DependencyTrees(" in capsys.readouterr().err


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 3, "eta": 2, "data_options": {"max_words": 9}},
        {"surrogate": {"class_path": "SPIGOT", "init_args": {"eta": {"T": 0.5}, "warn": False}}},
        {"surrogate": "StraightThrough", "vectors": "here.txt"},
    ],
)
def test_settings_are_saved_and_read(settings, tmp_path):
    config = make_config("small", **settings)
    config.save(tmp_path / "c.yaml")
    again = Config.load(tmp_path / "c.yaml")
    assert again == config
    assert config.epochs == settings.get("epochs", 25)


@pytest.mark.parametrize("kind", [Config, SentimentConfig])
def test_named_configs_can_be_read(kind: type[TrainingConfig]):
    names = {path.stem for path in kind.CONFIGS.glob("*.yaml")}
    assert {"paper", "small"} <= names
    for name in names:
        assert kind.named(name)


@pytest.mark.parametrize("kind", [Config, SentimentConfig])
def test_the_defaults_are_the_config_paper(kind: type[TrainingConfig]):
    given = read_yaml(kind.CONFIGS / "paper.yaml")
    assert kind.named("paper") == replace(kind(), **given)
    assert len(given) > 10


def test_a_file_changes_what_it_names_and_the_line_changes_the_file(tmp_path, monkeypatch):
    file = tmp_path / "mine.yaml"
    file.write_text("eta: 1e-2\nhidden: 7\ndata_options: {max_words: 9}\n")
    line = ["--config", "small", "--config", str(file), "--hidden=8", "--data_options.seed=1"]
    found = from_line(*line, monkeypatch=monkeypatch)
    assert (found.eta, found.hidden, found.word_size) == (0.01, 8, 50)
    assert found.data_options == {"max_words": 9, "seed": 1}


def test_without_a_config_the_small_one_is_trained(monkeypatch):
    assert from_line(monkeypatch=monkeypatch) == make_config("small")
    alone = from_line("--config", "paper", monkeypatch=monkeypatch)
    assert alone == make_config("paper")


# ---------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch=3"], "unrecognized arguments: --epoch=3"),
        (["--epochs=many"], '"epochs".*Expected.*int.*many'),
        (["--epochs=1.5"], '"epochs".*1.5'),
        (["--epochs=0"], "`epochs` must be positive. Got 0"),
        (["--patience=true"], '"patience".*True'),
        (["--weight_decay=-1"], "`weight_decay` must not be negative"),
        (["--learning_rate=nan"], '"learning_rate".*nan'),
        (["--activation=swish"], '"activation".*leaky_relu'),
        (["--treebank=2"], "`treebank` is a share from 0 to 1. Got 2.0"),
        (["--method=magic"], "`method` is one of none, pipeline, .*Got 'magic'"),
        (
            ["--method=pipeline", "--treebank=0"],
            "'pipeline' trains its parser on trees first. Got treebank=0",
        ),
        (["--pretrain=true", "--treebank=0"], "'spigot' trains its parser on trees first"),
        (["--pretrain=true", "--method=none"], "`pretrain` is for methods with both parsers"),
        (["--data_options.colour=3"], "Options of the data 'toy': .*colour"),
        (["--config=huge"], "no config 'huge'. Choose one of ewt, paper, "),
        (["--config=gone.yaml"], "gone.yaml"),
        (["--surrogate=StraightTrough"], '"surrogate".*StraightTrough'),
        (["--surrogate=SPIGOT", "--surrogate.temprature=2"], "temprature"),
        (["--surrogate=SPIGOT", "--surrogate.eta=-1"], "`eta` must be positive. Got -1"),
        (["--surrogate=SPIGOT", "--surrogate.around=here"], "around.*here"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_trained(
    arguments, message, tmp_path, capsys
):
    assert main(["train", "--output", str(tmp_path / "run"), *arguments]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert error.startswith("error: ")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(error)


# ---------------------------------------------------------------------- the pages


ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"(?:\$P|\.venv/bin/python -m (examples\.\w+)) +(\w.*)")


def documented(page: str) -> list[tuple[str, list[str]]]:
    """The commands of the pipelines in the blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    own = f"examples.{Path(page).stem.replace('-', '_')}"
    found = [COMMAND.match(line) for block in blocks for line in block.splitlines()]
    lines = [(m[1] or own, shlex.split(m[2], comments=True)) for m in found if m]
    return [line for line in lines if line[0] in PIPELINES and "--help" not in line[1]]


PIPELINES = {"examples.syntax_to_semantics": syntax, "examples.semantics_to_sentiment": sentiment}
PAGES = ["docs/syntax-to-semantics.md", "docs/semantics-to-sentiment.md"]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_can_be_read(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = documented(page)
    assert len(lines) >= 10
    for package, (name, *arguments) in lines:
        PIPELINES[package].commands()[name][0].parse_args(arguments)
