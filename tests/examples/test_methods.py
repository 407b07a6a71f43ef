"""Any surrogate of the library as a method, with its options."""

import json

import pytest
import torch

import optlayers as ol
from examples.data import Corpus
from examples.data.toy import generate
from examples.parsing.batches import collate
from examples.syntax_to_semantics.__main__ import main
from examples.syntax_to_semantics.config import Config, make_config
from examples.syntax_to_semantics.methods import METHODS, find_method
from examples.syntax_to_semantics.run import make_model
from examples.training.settings import ConfigError, read_settings
from examples.training.surrogates import find_surrogate, surrogates

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

SIZES = {"word_size": 12, "tag_size": 6, "hidden": 10, "mlp": 8, "batch_size": 8, "epochs": 1}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return generate(0, trees=(16, 4, 4), graphs=(16, 4, 4))


def config_of(*settings: str) -> Config:
    return make_config("small", **SIZES, **read_settings(settings, Config))


@pytest.mark.parametrize("name", sorted(surrogates()))
def test_two_steps_with_every_surrogate_of_the_library(name, corpus):
    model = make_model(config_of(f"method=surrogate:{name}"), corpus)
    assert type(model.argmax.surrogate) is surrogates()[name]
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


def test_the_library_is_what_is_offered():
    found = surrogates()
    assert {"SPIGOT", "StraightThrough"} <= set(found)
    assert "AbstractSurrogate" not in found


@pytest.mark.parametrize("name", ["StraightThrough", "straight-through", "straight_through"])
def test_names_are_spelled_as_classes_or_with_hyphens(name):
    assert find_surrogate(name) is ol.StraightThrough
    method = find_method(f"surrogate:{name}")
    assert (method.title, method.syntax, method.semantics) == ("StraightThrough", True, True)


def test_other_methods_are_what_they_were():
    assert all(find_method(name) is METHODS[name] for name in METHODS)


def test_options_reach_the_surrogate(corpus):
    settings = ["method=surrogate:spigot", "surrogate.around=projection", "surrogate.temperature=2"]
    config = config_of(*settings, "surrogate.eta=NormClip(0.5)", "surrogate.warn=false")
    surrogate = make_model(config, corpus).argmax.surrogate
    assert isinstance(surrogate, ol.SPIGOT)
    assert (surrogate.around, surrogate.temperature) == ("projection", 2)
    assert (surrogate.eta, surrogate.warn) == (ol.NormClip(0.5), False)


def test_options_change_the_gradient(corpus):
    grads = []
    for scale in (1, 3):
        torch.manual_seed(0)
        settings = ["method=surrogate:StraightThrough", f"surrogate.scale={scale}"]
        model = make_model(config_of(*settings), corpus).eval()
        model.loss(collate(corpus.graphs["train"][:4], model.vocabulary)).backward()
        assert model.syntax is not None
        grads.append(model.syntax.score.weight.grad)
    torch.testing.assert_close(3 * grads[0], grads[1])


def test_settings_are_saved_and_older_files_still_load(tmp_path):
    config = config_of("method=surrogate:spigot", "surrogate.eta=2")
    config.save(tmp_path / "c.json")
    assert Config.load(tmp_path / "c.json") == config
    values = json.loads((tmp_path / "c.json").read_text())
    for new in ("surrogate_options", "prune"):
        del values[new]
    values["method"] = "pipeline"
    (tmp_path / "old.json").write_text(json.dumps(values))
    assert Config.load(tmp_path / "old.json") == config_of("method=pipeline")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["method=surrogate:straight-trough"],
            "no surrogate 'straight-trough'. Did you mean 'StraightThrough'.*Surrogates:.* SPIGOT",
        ),
        (["method=surrogate:"], r"no surrogate ''\. Surrogates: "),
        (
            ["method=surrogates:x"],
            "`method` is one of none, .*, surrogate:NAME. Got 'surrogates:x'",
        ),
        (
            ["method=surrogate:spigot", "surrogate.temprature=2"],
            "SPIGOT has no option 'temprature'. Did you mean 'temperature'.*Options: eta, around",
        ),
        (["method=surrogate:spigot", "surrogate.eta=-1"], "`eta` must be positive. Got -1"),
        (
            ["method=surrogate:spigot", "surrogate.temperature=hot"],
            "Options of the surrogate SPIGOT",
        ),
        (["method=spigot", "surrogate.eta=1"], "those of a method surrogate:NAME. Got 'spigot'"),
        (["surrogat.eta=1"], "no setting 'surrogat.eta'"),
    ],
)
def test_wrong_surrogates_are_refused_before_anything_is_trained(
    settings, message, tmp_path, capsys
):
    assert main(["train", "--output", str(tmp_path / "run"), "--set", *settings]) == 2
    error = capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(error)


def test_a_surrogate_that_cannot_work_with_trees_says_why(monkeypatch, tmp_path, capsys):
    class Picky(ol.StraightThrough):
        def backward(self, feasible_set, *_, **__):
            raise ol.InputError(f"Picky wants a polytope. Got {feasible_set!r}.")

    monkeypatch.setattr(ol, "Picky", Picky, raising=False)
    sizes = [f"{name}={value}" for name, value in SIZES.items()]
    data = ["data.trees=[8,4,4]", "data.graphs=[8,4,4]", "method=surrogate:picky"]
    command = ["train", "--quiet", "--output", str(tmp_path), "--set", *sizes, *data]
    assert main(command) == 2
    assert "error: Picky wants a polytope. Got DependencyTrees(" in capsys.readouterr().err
