"""The joint parser: every method takes steps, and gradients go where the method says."""

import pytest
import torch

import optlayers as ol
from examples.data import load_corpus
from examples.parsing.batches import collate
from examples.syntax_to_semantics.__main__ import main
from examples.syntax_to_semantics.config import ConfigError, make_config
from examples.syntax_to_semantics.methods import METHODS
from examples.syntax_to_semantics.run import load_model, make_model

CORPUS = load_corpus("toy", trees=(12, 4, 4), graphs=(12, 4, 4))


def model_of(method: str):
    return make_model(make_config("small", method=method), CORPUS)


def batch_of(model, kind: str):
    sentences = (CORPUS.trees if kind == "trees" else CORPUS.graphs)["train"][:6]
    return collate(sentences, model.vocabulary, kind)


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_of_every_method(method):
    model = model_of(method)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-3)
    kinds = [k for k, used in (("trees", model.syntax), ("graphs", model.semantics)) if used]
    if METHODS[method].pretrained:
        kinds.remove("trees")  # it comes frozen
    before = [p.detach().clone() for p in model.parameters()]
    for kind in kinds:
        for _ in range(2):
            loss = model.loss(batch_of(model, kind))
            assert loss.isfinite()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert any(moved)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("none", "syntax")])
def test_whether_graphs_teach_the_syntactic_parser(method):
    model = model_of(method)
    model.loss(batch_of(model, "graphs")).backward()
    grads = [p.grad for p in model.syntax.parameters() if p.grad is not None]
    reached = any(bool((g != 0).any()) for g in grads)
    assert reached == (method != "pipeline")
    assert all(g.isfinite().all() for g in grads)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's, on newer torch
def test_one_epoch_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--method", "spigot", "--output", "run"]
    for setting in ("epochs=1", "data.trees=[12,4,4]", "data.graphs=[12,4,4]"):
        arguments += ["--set", setting]
    assert not main(arguments)
    capsys.readouterr()
    model = load_model("run")
    assert model.config.method == "spigot"
    torch.load("run/best.ckpt", weights_only=True)  # no pickles
    parsed = model.parse(batch_of(model, "graphs"))
    lengths = [len(s) for s in parsed]
    trees = ol.DependencyTrees(lengths)
    heads = torch.zeros(len(parsed), trees.size, dtype=torch.long)
    for row, sentence in zip(heads, parsed, strict=True):
        row[: len(sentence)] = torch.tensor(sentence.heads)
    assert trees.contains(trees.from_heads(heads)).all()


def test_settings_that_do_not_exist():
    with pytest.raises(ConfigError, match="colour"):
        make_config("small", colour="red")
