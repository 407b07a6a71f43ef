"""Training that is killed, resumed, stopped and logged."""

import json
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from examples.data import Corpus
from examples.data.toy import generate
from examples.syntax_to_semantics import run as run_module
from examples.syntax_to_semantics.config import Config, make_config
from examples.syntax_to_semantics.model import JointParser
from examples.syntax_to_semantics.train import train
from examples.training.runs import history
from examples.training.settings import ConfigError

from . import running
from .running import KilledError, assert_same, finish, kill_after, result, start, table

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

SETTINGS = {
    "word_size": 8,
    "tag_size": 4,
    "hidden": 6,
    "mlp": 6,
    "batch_size": 5,
    "epochs": 3,
    "patience": 99,
    "data_options": {"trees": [11, 5, 4], "graphs": [13, 7, 4]},
}
STEPS = 6  # batches of 5, 5, 1 trees and of 5, 5, 3 graphs
command = partial(running.command, "syntax_to_semantics")


def config_of(**settings) -> Config:
    return make_config("small", **SETTINGS | settings)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return generate(0, trees=(11, 5, 4), graphs=(13, 7, 4))


def run(folder: Path, config: Config | None = None, **options):
    return train(config or config_of(), folder, accelerator="cpu", quiet=True, **options)


def interrupt(monkeypatch, where, name: str, when, folder: Path, config: Config | None = None):
    """Runs until a method is called for which `when` of its arguments holds."""
    known = getattr(where, name)

    def killed(*args, **options):
        if when(*args):
            raise KilledError
        return known(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, killed)
        with pytest.raises(KilledError):
            run(folder, config)


# ---------------------------------------------------------------------- killed


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pipeline"])
def test_killed_twice_equals_uninterrupted(method, tmp_path):
    config = config_of(method=method, epochs=16, dropout=0.1)
    run(tmp_path / "whole", config)
    args = command(tmp_path / "killed", config, "--tensorboard", "false")
    first = "parser/last.ckpt" if method == "pipeline" else "last.ckpt"
    for checkpoint in (first, "last.ckpt"):
        kill_after(start(*args), tmp_path / "killed" / checkpoint)
    assert not (tmp_path / "killed" / "result.json").exists()
    assert json.loads(finish(start(*args)))["test"] == result(tmp_path / "whole")["test"]
    assert_same(tmp_path / "whole", tmp_path / "killed")
    if method == "pipeline":
        assert_same(tmp_path / "whole" / "parser", tmp_path / "killed" / "parser")


@pytest.mark.parametrize("method", ["spigot"])
def test_killed_at_every_kind_of_write_equals_uninterrupted(method, tmp_path, monkeypatch):
    """The k-th attempt is killed when it has written k files and half of another."""
    config = config_of(method=method)
    run(tmp_path / "whole", config)
    replace, allowed = os.replace, 0

    def killed(source, target):
        nonlocal allowed
        if allowed == 0:
            Path(source).write_bytes(Path(source).read_bytes()[:100])
            raise KilledError
        allowed -= 1
        replace(source, target)

    attempts = 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        while not (tmp_path / "killed" / "result.json").exists():
            allowed, attempts = attempts, attempts + 1
            try:
                run(tmp_path / "killed", config)
            except KilledError:
                continue
    assert attempts > 4
    assert_same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("name", ["training_step", "validation_step", "on_validation_epoch_end"])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_killed_within_an_epoch_equals_uninterrupted(name, epoch, tmp_path, monkeypatch):
    run(tmp_path / "whole", config_of(dropout=0.1))
    when, config = (lambda model, *_: model.current_epoch == epoch), config_of(dropout=0.1)
    interrupt(monkeypatch, JointParser, name, when, tmp_path / "killed", config)
    torch.manual_seed(99)
    run(tmp_path / "killed", config)
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_a_run_of_other_data_is_not_resumed(tmp_path, corpus, monkeypatch):
    interrupt(monkeypatch, run_module, "weights", lambda *_: True, tmp_path)
    other = generate(1, trees=(11, 5, 4), graphs=(13, 7, 4))
    with pytest.raises(
        ConfigError, match=r"vocabulary\.json is the vocabulary of other data.*--out"
    ):
        run(tmp_path, corpus=other)


@pytest.mark.parametrize("epoch", [2, 3, None])
def test_early_stopping_is_remembered(epoch, tmp_path, monkeypatch):
    """Killed in an epoch, or between the last one and the scores of the run."""
    values = [0.5, 0.6, 0.6, 0.6, 0.9]

    def score(self):
        self.log("dev/LF", values[self.current_epoch])

    monkeypatch.setattr(JointParser, "on_validation_epoch_end", score)
    config = config_of(patience=2, epochs=9)
    if epoch is None:
        interrupt(monkeypatch, run_module, "weights", lambda *_: True, tmp_path, config)
    else:
        when = lambda model, *_: model.current_epoch == epoch  # noqa: E731
        interrupt(monkeypatch, JointParser, "training_step", when, tmp_path, config)
    run(tmp_path, config)
    found = [float(row["dev/LF"]) for row in table(tmp_path)]
    assert found == pytest.approx(values[:4])
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 1


def test_a_run_that_was_moved_goes_on_and_keeps_its_best_score(tmp_path, monkeypatch):
    values = [0.5, 0.9, 0.6]  # the best epoch is before the run is killed and moved

    def score(self):
        self.log("dev/LF", values[self.current_epoch])

    monkeypatch.setattr(JointParser, "on_validation_epoch_end", score)
    run(tmp_path / "whole")
    when = lambda model, *_: model.current_epoch == 2  # noqa: E731
    interrupt(monkeypatch, JointParser, "training_step", when, tmp_path / "before")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "before").rename(tmp_path / "elsewhere" / "after")
    run(tmp_path / "elsewhere" / "after")
    assert_same(tmp_path / "whole", tmp_path / "elsewhere" / "after")
    best = torch.load(tmp_path / "elsewhere" / "after" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 1
    assert not (tmp_path / "before").exists()


# ---------------------------------------------------------------------- logged


def test_an_epoch_that_was_broken_off_counts_when_it_ended(tmp_path):
    logs = {"version_0": "epoch,x\n0,1.0\n1,2.0\n", "version_2": "epoch,x\n1,2.5\n"}
    logs["version_10"] = "epoch,x\n1,3.0\n2,4.0\n"
    for name, text in logs.items():
        (tmp_path / "logs" / name).mkdir(parents=True)
        (tmp_path / "logs" / name / "metrics.csv").write_text(text)
    found = history(tmp_path)
    assert found.to_dict("list") == {"epoch": [1, 2, 3], "x": [1.0, 3.0, 4.0]}


def test_tensorboard_has_the_same_figures(tmp_path):
    run(tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for name in ("dev/LF", "train/graphs_loss"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(int(row["step"]), float(row[name])) for row in table(tmp_path)]
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [v for _, v in found] == pytest.approx([v for _, v in expected])
    assert len(table(tmp_path)) == SETTINGS["epochs"]


def test_what_the_end_task_does_to_the_parser_is_logged(tmp_path):
    run(tmp_path / "joint")
    run(tmp_path / "none", config_of(method="none"))
    names = ("train/end_task_norm", "train/tree_scores_deviation")
    for row in table(tmp_path / "joint"):
        assert all(float(row[name]) > 0 for name in names)
    assert not set(names) & set(table(tmp_path / "none")[0])


def test_bfloat16_is_for_layers_and_not_for_scores(tmp_path, monkeypatch):
    seen: dict[str, set[torch.dtype]] = {"layers": set(), "scores": set()}
    score_trees, score_graphs = JointParser.score_trees, JointParser.score_graphs

    def trees(self, batch):
        self.syntax.pairs.left.register_forward_hook(
            lambda _, __, out: seen["layers"].add(out.dtype)
        )
        scores = score_trees(self, batch)
        seen["scores"].add(scores.dtype)
        return scores

    def graphs(self, *args):
        scores = score_graphs(self, *args)
        seen["scores"].add(scores.parts.dtype)
        return scores

    def scored(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(JointParser, "score_trees", trees)
        patch.setattr(JointParser, "score_graphs", graphs)
        patch.setattr(run_module, "weights", scored)  # in float32
        with pytest.raises(KilledError):
            run(tmp_path, config_of(epochs=1), precision="bf16-mixed")
    assert seen == {"layers": {torch.bfloat16}, "scores": {torch.float32}}
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert {value.dtype for value in saved.values()} == {torch.float32}


@pytest.mark.parametrize(
    "options", [{"accelerator": "abacus"}, {"devices": 0}, {"precision": "7-true"}]
)
def test_what_lightning_refuses_is_an_error_of_the_settings(options, tmp_path):
    with pytest.raises(ConfigError, match="Lightning cannot train like this: "):
        train(config_of(), tmp_path, quiet=True, **{"accelerator": "cpu", **options})
