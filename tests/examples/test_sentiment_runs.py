"""Runs of the second pipeline that are killed, and that several processes do."""

import json
from functools import partial

import pytest

from examples.training.settings import override

from . import running
from .running import assert_same, finish, kill_after, result, start, table
from .test_semantics_to_sentiment import TINY, run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.slow,
]

command = partial(running.command, "semantics_to_sentiment")


@pytest.mark.parametrize("method", ["spigot-projection"])
def test_killed_twice_equals_uninterrupted(method, tmp_path):
    """Once while the parser is trained, once in the joint training."""
    settings = {"method": method, "epochs": 40, "patience": 99, "dropout": 0.1}
    options = TINY.parser_options | {"epochs": 40, "patience": 99}
    config = override(TINY, settings | {"parser_options": options})
    run(tmp_path / "whole", config, save_every=4)
    args = command(tmp_path / "killed", config, "--save-every", "4", "--no-tensorboard")
    for checkpoint in ("parser/last.ckpt", "last.ckpt"):
        kill_after(start(*args), tmp_path / "killed" / checkpoint)
    assert not (tmp_path / "killed" / "result.json").exists()
    assert json.loads(finish(start(*args)))["test"] == result(tmp_path / "whole")["test"]
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert_same(tmp_path / "whole" / "parser", tmp_path / "killed" / "parser")


def test_two_processes_equal_one(tmp_path):
    """Where no random numbers are drawn. Batches of one review leave one process without any."""
    settings = {"word_dropout": 0.0, "dropout": 0.0}
    options = TINY.parser_options | {"word_dropout": 0.0}
    reviews = {"reviews": [11, 6, 6]}
    config = override(
        TINY, settings | {"method": "spigot", "parser_options": options, "data_options": reviews}
    )
    run(tmp_path / "one", config)
    finish(start(*command(tmp_path / "two", config, "--devices", "2")))
    one, two = table(tmp_path / "one"), table(tmp_path / "two")
    assert len(one) == len(two) == config.epochs
    # Adam's first steps make much of rounding where gradients are next to nothing: of the hundred
    # arcs that this parser gives, a few differ.
    near = {"train/reviews_loss": {"rel": 1e-5}, "train/graphs_loss": {"rel": 1e-3}}
    for row, other in zip(one, two, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            assert float(other[name]) == pytest.approx(
                float(value), **near.get(name, {"abs": 1e-3})
            )
    first, second = (result(tmp_path / name)["test"] for name in ("one", "two"))
    assert second == pytest.approx(first, abs=1e-3)
