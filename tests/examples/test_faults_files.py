"""Full disks, folders that cannot be written, files that broke off, settings out of range."""

import errno
import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from examples.data import DataError, text
from examples.data import __main__ as data
from examples.data.download import download
from examples.data.fetch import fetch_ewt
from examples.data.fetch_sst import fetch_sst
from examples.quickstart import __main__ as quick
from examples.semantics_to_sentiment import __main__ as sentiment
from examples.semantics_to_sentiment.config import Config as SentimentConfig
from examples.syntax_to_semantics import __main__ as syntax
from examples.syntax_to_semantics.config import Config, make_config
from examples.training import analysis, runs
from examples.training.checkpoints import WholeFiles
from examples.training.settings import ConfigError, read_yaml

from . import test_data_sst
from .test_data_fetch import BODY, DIGEST, Handler, release, server  # noqa: F401  (fixtures)

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

SIZES = {"word_size": 6, "tag_size": 4, "lemma_size": 0, "hidden": 4, "mlp": 4, "layers": 1}
DATA = ["--data_options.trees=[6, 3, 3]", "--data_options.graphs=[6, 3, 3]"]
SETTINGS = [*(f"--{k}={v}" for k, v in SIZES.items()), *DATA, "--method=none", "--epochs=1"]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
READ_ONLY = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
CONFIGS = [Config, SentimentConfig]


def train(folder: Path) -> int:
    options = ["--accelerator=cpu", "--tensorboard=false", "--quiet", "--json"]
    return syntax.main(["train", *SETTINGS, *options, f"--output={folder}"])


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> Path:
    """A run that has ended; a test that spoils it works on a copy."""
    folder = tmp_path_factory.mktemp("run") / "ended"
    assert train(folder) == 0
    return folder


@pytest.fixture
def folder(ended, tmp_path) -> Path:
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", str(ended), str(copy)], check=True)
    return copy


def fails(main, arguments: list, capsys) -> str:
    """The one sentence, or two, that a command ends with."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert "Traceback" not in errors
    return errors


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@contextmanager
def refused(monkeypatch, error: OSError, name: str = ""):
    """Files that are put in place of others, with this in their name, are refused."""
    real = os.replace

    def replace(source, target):
        if name in str(target):
            raise OSError(error.errno, error.strerror, str(source))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(text.os, "replace", replace)
        yield


# ---------------------------------------------------------------------- disks


@pytest.mark.parametrize("error", [FULL, READ_ONLY])
def test_what_was_there_stays_if_it_cannot_be_replaced(error, tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("good")
    with (
        refused(monkeypatch, error),
        pytest.raises(OSError, match=error.strerror) as caught,
        text.output(path) as file,
    ):
        file.write("new")
    assert caught.value.filename == str(path)  # not the temporary one
    assert contents(tmp_path) == {"file.txt": b"good"}


def test_an_error_about_another_file_names_that_one(tmp_path):
    with (
        pytest.raises(FileNotFoundError) as caught,
        text.output(tmp_path / "out"),
        (tmp_path / "in").open(),
    ):
        pass
    assert caught.value.filename == str(tmp_path / "in") or (
        caught.value.filename == tmp_path / "in"
    )


@pytest.mark.parametrize("error", [FULL, READ_ONLY])
@pytest.mark.parametrize("name", ["config.yaml", "best.ckpt", "last.ckpt", "result.json"])
def test_training_says_what_it_cannot_write_and_goes_on_later(
    name, error, ended, tmp_path, monkeypatch, capsys
):
    with refused(monkeypatch, error, name):
        said = fails(lambda _: train(tmp_path / "run"), [], capsys)
    assert f"{tmp_path / 'run' / name}: {error.strerror}." in said
    assert not list(tmp_path.rglob(".*"))  # nothing that is half written
    assert train(tmp_path / "run") == 0
    one, other = (runs.read_result(f / "result.json") for f in (ended, tmp_path / "run"))
    assert one["test"] == other["test"]


def test_a_checkpoint_on_a_full_disk_leaves_the_older_one(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"good")

    def full(*_):
        raise FULL

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        WholeFiles().save_checkpoint({"state_dict": {}}, path)
    assert caught.value.filename == str(path)
    assert contents(tmp_path) == {"last.ckpt": b"good"}


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    said = fails(lambda _: train(tmp_path / "file" / "run"), [], capsys)
    assert f"{tmp_path / 'file' / 'run'}" in said
    said = fails(quick.main, ["--output", tmp_path / "file" / "x", "--limit", 2], capsys)
    assert f"{tmp_path / 'file' / 'x'}" in said


@pytest.mark.parametrize("error", [FULL, READ_ONLY])
def test_predictions_that_cannot_be_written(error, ended, tmp_path, monkeypatch, capsys):
    (tmp_path / "new.conllu").write_text("1\tBark\tbark\tVERB\tVB\t_\t0\troot\t_\t_\n\n")
    (tmp_path / "new-parsed.sdp").write_text("good")
    before = contents(tmp_path)
    with refused(monkeypatch, error):
        said = fails(syntax.main, ["predict", ended, tmp_path / "new.conllu"], capsys)
    assert error.strerror in said
    assert contents(tmp_path) == before


def test_an_analysis_that_cannot_be_written_leaves_the_older_one(tmp_path, monkeypatch):
    (tmp_path / "analysis.json").write_text("good")
    (tmp_path / "picture.svg").write_text("good")
    before = contents(tmp_path)
    with refused(monkeypatch, FULL), pytest.raises(OSError, match="No space left"):
        analysis.write({}, tmp_path)

    def full(self, *_, **__):
        raise FULL

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space left"):
        analysis.write_pictures({"picture": Figure()}, tmp_path)
    assert contents(tmp_path) == before


def test_quickstart_keeps_older_results_on_a_full_disk(tmp_path, monkeypatch, capsys):
    for name in ("quickstart.csv", "quickstart.md", "quickstart.png"):
        (tmp_path / name).write_text("good")
    before = contents(tmp_path)
    line = ["--output", tmp_path, "--limit", 4, "--epochs", 1, "--methods", "all"]
    monkeypatch.setattr(quick, "Progress", Silent)
    with refused(monkeypatch, FULL):
        assert "quickstart.csv: No space left" in fails(quick.main, line, capsys)
    assert contents(tmp_path) == before


class Silent:
    """No progress bar."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def add_task(self, *_, **__):
        return 0

    start_task = advance = add_task


# ---------------------------------------------------------------------- files that broke off


@pytest.mark.parametrize("size", [0, 100, 5000])
@pytest.mark.parametrize("command", ["evaluate", "predict", "analyse"])
def test_a_best_checkpoint_that_broke_off(command, size, folder, tmp_path, capsys):
    path = folder / "best.ckpt"
    os.truncate(path, size)
    (tmp_path / "new.conllu").write_text("1\tBark\tbark\tVERB\tVB\t_\t0\troot\t_\t_\n\n")
    more = {"evaluate": [], "predict": [tmp_path / "new.conllu"], "analyse": [folder]}[command]
    said = fails(syntax.main, [command, folder, *more], capsys)
    assert f"{path}: no complete checkpoint: " in said


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_last_checkpoint_that_broke_off(size, folder, capsys):
    (folder / "result.json").unlink()
    os.truncate(folder / "last.ckpt", size)
    before = contents(folder)
    said = fails(lambda _: train(folder), [], capsys)
    assert f"{folder / 'last.ckpt'}: no complete checkpoint: " in said
    assert contents(folder) == before


def test_something_else_than_a_checkpoint(folder, capsys):
    torch.save({"other": 1}, folder / "best.ckpt")
    assert "it has no state_dict" in fails(syntax.main, ["evaluate", folder], capsys)
    torch.save({"state_dict": {}}, folder / "best.ckpt")
    said = fails(syntax.main, ["evaluate", folder], capsys)
    assert "is not of the model of config.yaml and vocabulary.json: Missing key" in said


@pytest.mark.parametrize("size", [0, 1, 40])
def test_a_result_that_broke_off_is_computed_anew(size, ended, tmp_path, capsys):
    folder = tmp_path / "run"  # no copy: checkpoints know their folder
    assert train(folder) == 0
    path = folder / "result.json"
    os.truncate(path, size)
    said = fails(lambda _: train(folder), [], capsys)
    assert f"{path}: no complete result: " in said
    path.unlink()  # as it says
    assert train(folder) == 0
    one, other = (runs.read_result(f / "result.json") for f in (ended, folder))
    assert one["test"] == other["test"]


def test_a_config_that_broke_off_is_no_other_config(folder, capsys):
    path = folder / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))  # as YAML it is complete
    said = fails(syntax.main, ["evaluate", folder], capsys)
    assert f"{path} lacks prune, prune_epochs: it is not complete" in said
    with pytest.raises(ConfigError, match=r"lacks prune, prune_epochs"):
        runs.ended(folder, make_config("small"))


@pytest.mark.parametrize("content", ["- a\n", "text\n", "3\n"])
def test_yaml_that_is_no_settings(content, tmp_path):
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"c\.yaml: wanted names and values of settings"):
        read_yaml(tmp_path / "c.yaml")


def test_a_log_that_broke_off_counts_as_far_as_it_goes(tmp_path):
    log = tmp_path / "logs" / "version_0" / "metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("dev/LF,epoch,step\n0.5,0,1\n0.6,1,2\n0.7,2")  # epoch 2 of, say, 23
    assert list(runs.history(tmp_path)["epoch"]) == [1, 2]


def test_logs_that_are_gone(tmp_path):
    with pytest.raises(DataError, match=r"logs has no log\. Delete .* and train again"):
        runs.history(tmp_path)


# ---------------------------------------------------------------------- downloads


@pytest.mark.parametrize("length", ["many", "", "1.5", "-3"])
def test_a_length_that_is_no_number(length, server, tmp_path, monkeypatch):  # noqa: F811
    real = Handler.send_header

    def send(self, name, value):
        real(self, name, length if name == "Content-Length" else value)

    monkeypatch.setattr(Handler, "send_header", send)
    assert download(server.url("file"), tmp_path / "file", DIGEST)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_full_scratch_disk_leaves_a_good_archive(release, tmp_path, monkeypatch):  # noqa: F811
    real = Path.write_bytes

    def write(self, content):
        if self.suffix == ".gold_skel":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(OSError, match="No space left"):
        fetch_ewt(tmp_path, release, say=lambda _: None)
    archive = tmp_path / "propbank-abc.tar.gz"
    assert archive.is_file()
    monkeypatch.undo()
    fetch_ewt(tmp_path, release, say=lambda _: None)
    assert not archive.exists()


treebank = test_data_sst.treebank


def test_a_full_disk_leaves_the_archive_of_reviews(treebank, tmp_path, monkeypatch):
    def full(*_):
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            fetch_sst(tmp_path, treebank, say=lambda _: None)
    assert (tmp_path / "sst.zip").is_file()
    fetch_sst(tmp_path, treebank, say=lambda _: None)
    assert not (tmp_path / "sst.zip").exists()


@pytest.mark.parametrize("error", [FULL, READ_ONLY, PermissionError("said by a library")])
def test_fetching_where_nothing_can_be_written(error, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(data, "fetch_ewt", refuse)
    said = fails(data.main, ["fetch", "ewt", "--to", tmp_path], capsys)
    assert (error.strerror or str(error)) in said


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dropout", 2.0, "must be from 0 to less than 1. Got 2.0"),
        ("dropout", 1.0, "must be from 0 to less than 1"),
        ("dropout", float("nan"), "must not be negative"),
        ("dropout", -0.1, "must not be negative"),
        ("weight_decay", 1.0, "must be from 0 to less than 1"),
        ("end_task_weight", 1.5, "is a share from 0 to 1"),
        ("end_task_weight", float("nan"), "is a share from 0 to 1"),
        ("learning_rate", float("inf"), "must be finite"),
        ("learning_rate", float("nan"), "must be positive"),
        ("learning_rate", 0.0, "must be positive"),
        ("batch_size", 0, "must be positive"),
        ("epochs", 0, "must be positive"),
        ("word_dropout", float("inf"), "must be finite"),
        ("temperature", float("inf"), "must be finite"),
        ("seed", 2**32, "is at most 4294967295. Got 4294967296"),
        ("seed", -1, "must not be negative"),
    ],
)
def test_settings_out_of_range(kind, name, value, message):
    with pytest.raises(ConfigError, match=f"`{name}` {message}"):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Config, "treebank"),
        (Config, "graphbank"),
        (SentimentConfig, "reviewbank"),
        (SentimentConfig, "graph_share"),
    ],
)
@pytest.mark.parametrize("value", [1.1, -0.1, float("nan")])
def test_shares(kind, name, value):
    with pytest.raises(ConfigError, match=f"`{name}` is a share from 0 to 1. Got {value}"):
        kind(**{name: value})


def test_the_settings_of_a_parser_are_looked_at_too():
    with pytest.raises(ConfigError, match=r"`parser`: `dropout` must be from 0 to less than 1"):
        SentimentConfig(parser_options={"dropout": 2.0})


@pytest.mark.parametrize("main", [syntax.main, sentiment.main])
@pytest.mark.parametrize("option", ["--dropout=2", "--learning_rate=.nan", f"--seed={10**30}"])
def test_commands_refuse_them(main, option, tmp_path, capsys):
    name = option[2:].partition("=")[0]
    assert f"`{name}`" in fails(main, ["train", option, "--output", tmp_path / "run"], capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--seeds", "--processes"])
def test_experiments_refuse_none(option, tmp_path, capsys):
    assert syntax.main(["experiment", "toy", option, "0", "--output", str(tmp_path)]) == 2
    assert "Not of type PositiveInt:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [["--seed", str(2**32)], ["--seed", "-1"], ["--seed", str(2**32 - 1), "--seeds", "2"]],
)
def test_quickstart_refuses_seeds_that_torch_does_not_take(options, capsys):
    with pytest.raises(SystemExit) as caught:
        quick.main(options)
    assert caught.value.code == 2
    assert "Got" in capsys.readouterr().err


def test_the_largest_seed_is_one():
    assert replace(make_config("small"), seed=2**32 - 1).seed == 2**32 - 1
    assert torch.manual_seed(2**32 - 1)
    assert json.dumps(2**32 - 1) == "4294967295"
