"""Training that is killed, resumed, logged, stopped, and done by several processes."""

import json
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import optlayers as ol
from examples.data import Corpus
from examples.data.toy import generate
from examples.parsing.batches import Batches, collate
from examples.syntax_to_semantics import run as run_module
from examples.syntax_to_semantics.config import Config, make_config
from examples.syntax_to_semantics.model import JointParser
from examples.syntax_to_semantics.run import make_model
from examples.syntax_to_semantics.train import train
from examples.training.callbacks import WholeFiles
from examples.training.processes import no_loss
from examples.training.settings import ConfigError, override

from . import running
from .running import KilledError, assert_same, finish, kill_after, result, start, table

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

TINY = make_config(
    "small",
    word_size=8,
    tag_size=4,
    hidden=6,
    mlp=6,
    batch_size=5,
    epochs=3,
    patience=99,
    data_options={"trees": [11, 5, 4], "graphs": [13, 7, 4]},
)
STEPS = 6  # batches of 5, 5, 1 trees and of 5, 5, 3 graphs


command = partial(running.command, "syntax_to_semantics")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return generate(0, trees=(11, 5, 4), graphs=(13, 7, 4))


def run(folder: Path, config: Config = TINY, **options):
    return train(config, folder, accelerator="cpu", quiet=True, **options)


# ---------------------------------------------------------------------- killed


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pipeline"])
def test_killed_twice_equals_uninterrupted(method, tmp_path):
    config = override(TINY, {"method": method, "epochs": 40, "dropout": 0.1})
    run(tmp_path / "whole", config, save_every=4)
    args = command(tmp_path / "killed", config, "--save-every", "4", "--no-tensorboard")
    first = "parser/last.ckpt" if method == "pipeline" else "last.ckpt"
    for checkpoint in (first, "last.ckpt"):
        kill_after(start(*args), tmp_path / "killed" / checkpoint)
    assert not (tmp_path / "killed" / "result.json").exists()
    assert json.loads(finish(start(*args)))["test"] == result(tmp_path / "whole")["test"]
    assert_same(tmp_path / "whole", tmp_path / "killed")
    if method == "pipeline":
        assert_same(tmp_path / "whole" / "parser", tmp_path / "killed" / "parser")


@pytest.mark.parametrize("method", ["spigot", "pipeline"])
def test_killed_at_every_kind_of_write_equals_uninterrupted(method, tmp_path, monkeypatch):
    """The k-th attempt is killed when it has written k files and half of another."""
    config = override(TINY, {"method": method})
    run(tmp_path / "whole", config, save_every=4)
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
                run(tmp_path / "killed", config, save_every=4)
            except KilledError:
                continue
    assert attempts > 5
    assert_same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("save_every", [1, 2, STEPS])
def test_killed_in_a_validation_equals_uninterrupted(save_every, tmp_path, monkeypatch):
    """Also when a checkpoint was due after the last step of the epoch."""
    run(tmp_path / "whole", save_every=save_every)
    step = JointParser.validation_step

    def killed(self, batch, *rest):
        if self.current_epoch == 1:
            raise KilledError
        return step(self, batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(JointParser, "validation_step", killed)
        with pytest.raises(KilledError):
            run(tmp_path / "killed", save_every=save_every)
    run(tmp_path / "killed", save_every=save_every)
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_a_run_of_other_data_is_not_resumed(tmp_path, corpus, monkeypatch):
    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "weights", killed)
        with pytest.raises(KilledError):
            run(tmp_path, corpus=corpus)
    other = generate(1, trees=(11, 5, 4), graphs=(13, 7, 4))
    with pytest.raises(
        ConfigError, match=r"vocabulary\.json is the vocabulary of other data.*--out"
    ):
        run(tmp_path, corpus=other)


def test_a_killed_run_may_be_renamed(tmp_path, monkeypatch):
    """It knows its best epoch, here the first, and what is no better."""
    values = [0.6, 0.5, 0.55]
    monkeypatch.setattr(
        JointParser,
        "on_validation_epoch_end",
        lambda self: self.log("dev/LF", values[self.current_epoch]),
    )
    step = JointParser.training_step

    def killed(self, *args):
        if self.current_epoch == 2:
            raise KilledError
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(JointParser, "training_step", killed)
        with pytest.raises(KilledError):
            run(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    run(tmp_path / "new")
    assert torch.load(tmp_path / "new" / "best.ckpt", weights_only=True)["epoch"] == 0
    assert not (tmp_path / "old").exists()


# ---------------------------------------------------------------------- stopped


@pytest.mark.parametrize("epoch", [2, 3, None])
def test_early_stopping_is_remembered(epoch, tmp_path, monkeypatch):
    """Killed in an epoch, or between the last one and the scores of the run."""
    config = override(TINY, {"patience": 2, "epochs": 9})
    values = [0.5, 0.6, 0.6, 0.6, 0.9]

    def score(self):
        self.log("dev/LF", values[self.current_epoch])

    monkeypatch.setattr(JointParser, "on_validation_epoch_end", score)
    step = JointParser.training_step

    def killed(*args, **_):
        if epoch is None or args[0].current_epoch == epoch:
            raise KilledError
        return step(*args)

    with monkeypatch.context() as patch:
        where = (run_module, "weights") if epoch is None else (JointParser, "training_step")
        patch.setattr(*where, killed)
        with pytest.raises(KilledError):
            run(tmp_path, config)
    run(tmp_path, config)
    assert [float(row["dev/LF"]) for row in table(tmp_path)] == values[:4]
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 1


# ---------------------------------------------------------------------- logged


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_has_each_step_once(tmp_path, monkeypatch):
    """Also those of epochs that were done twice."""
    save = WholeFiles.save_checkpoint

    def killed(self, checkpoint, path, **rest):
        if checkpoint["epoch"] == 1 and Path(path).name == "last.ckpt":
            raise KilledError
        save(self, checkpoint, path, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(WholeFiles, "save_checkpoint", killed)
        with pytest.raises(KilledError):
            run(tmp_path, tensorboard=True)
    assert [step for step, _ in points(tmp_path, "dev/LF")] == [STEPS, 2 * STEPS]
    run(tmp_path, tensorboard=True)
    for name in ("dev/LF", "train/graphs_loss"):
        expected = [(int(row["step"]), float(row[name])) for row in table(tmp_path)]
        found = points(tmp_path, name)
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [v for _, v in found] == pytest.approx([v for _, v in expected])
    assert len(expected) == TINY.epochs
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_seconds_of_an_epoch_that_was_broken_off_are_no_nonsense(tmp_path, monkeypatch):
    step = JointParser.training_step

    def killed(self, *args):
        if self.global_step == 3:
            raise KilledError
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(JointParser, "training_step", killed)
        with pytest.raises(KilledError):
            run(tmp_path, save_every=1)
    run(tmp_path, save_every=1)
    assert len(table(tmp_path)) == TINY.epochs  # which looks at the seconds


def test_bfloat16_is_for_layers_and_not_for_scores(tmp_path, monkeypatch, corpus):
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
        scores, rest = score_graphs(self, *args)
        seen["scores"].add(scores.dtype)
        return scores, rest

    def scored(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(JointParser, "score_trees", trees)
        patch.setattr(JointParser, "score_graphs", graphs)
        patch.setattr(run_module, "weights", scored)  # in float32
        with pytest.raises(KilledError):
            run(tmp_path, override(TINY, {"epochs": 1}), precision="bf16-mixed")
    assert seen == {"layers": {torch.bfloat16}, "scores": {torch.float32}}
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert {value.dtype for value in saved.values()} == {torch.float32}


@pytest.mark.parametrize(
    "options", [{"accelerator": "abacus"}, {"devices": 0}, {"precision": "7-true"}]
)
def test_what_lightning_refuses_is_an_error_of_the_settings(options, tmp_path):
    with pytest.raises(ConfigError, match="Lightning cannot train like this: "):
        train(TINY, tmp_path, quiet=True, **{"accelerator": "cpu", **options})


# ---------------------------------------------------------------------- several processes


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spigot"])
def test_two_processes_equal_one(method, tmp_path):
    """Where no random numbers are drawn. Batches of one sentence leave one process without any."""
    config = override(TINY, {"method": method, "word_dropout": 0.0})
    run(tmp_path / "one", config)
    out = finish(start(*command(tmp_path / "two", config, "--devices", "2")))
    one, two = table(tmp_path / "one"), table(tmp_path / "two")
    assert len(one) == len(two) == config.epochs
    for row, other in zip(one, two, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            exact = name.startswith("dev/") or name in ("epoch", "step")
            assert float(other[name]) == pytest.approx(float(value), rel=0 if exact else 1e-5)
    assert json.loads(out) == {part: result(tmp_path / "two")[part] for part in ("dev", "test")}
    assert result(tmp_path / "two") == result(tmp_path / "one")


@pytest.mark.slow
def test_two_killed_processes_equal_two_uninterrupted(tmp_path):
    """Each draws numbers of its own, and goes on drawing where it was."""
    config = override(TINY, {"epochs": 30, "dropout": 0.2})
    options = ("--devices", "2", "--save-every", "4", "--no-tensorboard")
    finish(start(*command(tmp_path / "whole", config, *options)))
    args = command(tmp_path / "killed", config, *options)
    kill_after(start(*args), tmp_path / "killed" / "last.ckpt")
    finish(start(*args))
    assert_same(tmp_path / "whole", tmp_path / "killed")
    saved = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)["random_states"]
    assert not torch.equal(saved[0]["torch"], saved[1]["torch"])


class Restless(ol.StraightThrough):
    """Gives gradients even where it gets none."""

    def backward(self, feasible_set, scores, z_hat, grad, on_failure="raise"):
        return super().backward(feasible_set, scores, z_hat, torch.ones_like(grad), on_failure)


@pytest.mark.parametrize("method", ["spigot", "pipeline", "none"])
@pytest.mark.parametrize("kind", ["trees", "graphs"])
def test_an_idle_process_has_gradients_of_zero_where_others_have_some(method, kind, corpus):
    if (method, kind) in (("none", "trees"), ("pipeline", "trees")):
        return  # not trained on these
    model = make_model(override(TINY, {"method": method}), corpus)
    model.argmax = ol.StructuredArgmax(surrogate=Restless())
    batch = collate(getattr(corpus, kind)["train"][:1], model.vocabulary, kind)
    model.loss(batch).backward()
    expected = {name for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    loss = no_loss(model, batch)
    assert float(loss.detach()) == 0
    loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(grads) == expected
    assert not any(grad.any() for grad in grads.values())


def test_an_empty_part_is_an_idle_batch(corpus):
    model = make_model(TINY, corpus)
    banks = {"trees": corpus.trees["train"]}  # 11 sentences: 5, 5, 1
    for rank in range(3):
        dealt = list(Batches(banks, model.vocabulary, 5, None, rank=rank, world=3))
        assert [batch.idle for batch in dealt] == [False, False, rank > 0]
        assert [len(batch) for batch in dealt] == [2, 2, 1] if rank < 2 else [1, 1, 1]
        assert [batch.total for batch in dealt] == [5, 5, 1]


def test_an_idle_batch_counts_for_nothing(corpus):
    model = make_model(TINY, corpus)
    batch = collate(corpus.trees["train"][:1], model.vocabulary, "trees", total=1, idle=True)
    assert float(model.training_step(batch, 0).detach()) == 0
    assert model.totals["trees"] == (0.0, 0)
    model.on_validation_epoch_start()
    model.validation_step(batch)
    assert model.scores(model.parsed) == {}
