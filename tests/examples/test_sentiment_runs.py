"""Runs of the second pipeline that are killed."""

import json
from dataclasses import replace
from functools import partial

import pytest

from . import running
from .running import assert_same, finish, kill_after, result, start
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
    config = replace(TINY, **settings, parser_options=options)
    run(tmp_path / "whole", config)
    args = command(tmp_path / "killed", config, "--tensorboard", "false")
    for checkpoint in ("parser/last.ckpt", "last.ckpt"):
        kill_after(start(*args), tmp_path / "killed" / checkpoint)
    assert not (tmp_path / "killed" / "result.json").exists()
    assert json.loads(finish(start(*args)))["test"] == result(tmp_path / "whole")["test"]
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert_same(tmp_path / "whole" / "parser", tmp_path / "killed" / "parser")
