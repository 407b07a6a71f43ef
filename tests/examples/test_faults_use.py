"""Two runs in one folder, parts and data that are not there, more than a machine has."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from examples.data import DataError, text
from examples.data.alone import alone
from examples.data.toy import generate
from examples.parsing.vectors import read_vectors
from examples.quickstart import __main__ as quick
from examples.syntax_to_semantics import __main__ as syntax
from examples.training.study import append, read_record

from .test_faults_files import SETTINGS, fails

# torch 2.13 deprecates what Lightning 2.6 calls when it looks for batches in containers.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

QUICK = ["--seeds=1", "--epochs=1", "--limit=3", "--methods=random"]
TRAIN = ["train", *SETTINGS, "--accelerator=cpu", "--tensorboard=false", "--quiet"]


# ---------------------------------------------------------------------- one folder for one


@pytest.mark.parametrize(("main", "arguments"), [(syntax.main, TRAIN), (quick.main, QUICK)])
def test_two_runs_in_one_folder(main, arguments, tmp_path, capsys):
    with alone(tmp_path / "run"):
        said = fails(main, [*arguments, f"--output={tmp_path / 'run'}"], capsys)
    assert "is in use: another process writes to it. Wait" in said
    assert not any((tmp_path / "run").iterdir())


def test_a_folder_is_free_again_whatever_ended_its_owner(tmp_path):
    with pytest.raises(KeyError), alone(tmp_path):
        raise KeyError
    with alone(tmp_path):
        pass
    code = """
import sys, time
from examples.data.alone import alone
with alone(sys.argv[1]):
    print("mine", flush=True)
    time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"mine\n"
    with pytest.raises(DataError, match="is in use"), alone(tmp_path):
        pass
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    with alone(tmp_path):
        pass


def test_a_disk_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone(tmp_path), alone(tmp_path):
        pass


def test_parts_of_a_study_that_run_at_once_lose_no_row(tmp_path):
    record = tmp_path / "record.csv"  # locks keep threads apart as they keep processes

    def add(name):
        for k in range(10):
            append(record, pd.DataFrame([{"run": f"{name}-{k}", "score": k}]))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, "abc"))
    assert set(read_record(record)["run"]) == {f"{name}-{k}" for name in "abc" for k in range(10)}


# ---------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("graphs=[0,0,0]", "There are no training sentences"),
        ("graphs=[6,0,0]", "There are no development sentences"),
        ("graphs=[6,3]", "`graphs` must be three numbers of sentences: train, dev, test"),
        ("trees=[-3,3,3]", "`trees` must be three numbers of sentences"),
        ("trees=[1.5,3,3]", "`trees` must be three numbers of sentences"),
        ("trees=null", "`trees` must be three numbers of sentences"),
        ("max_words=0", "There are no training sentences"),
    ],
)
def test_data_of_no_size(option, message, tmp_path, capsys):
    arguments = [*TRAIN, f"--output={tmp_path / 'run'}", f"--data_options.{option}"]
    assert message in fails(syntax.main, arguments, capsys)


def test_parts_are_those_of_the_corpus(tmp_path, capsys):
    assert syntax.main([*TRAIN, f"--output={tmp_path / 'run'}"]) == 0
    said = fails(syntax.main, ["evaluate", tmp_path / "run", "--part=tst"], capsys)
    assert "There is no part 'tst'. Wanted one of train, dev, test." in said


def test_files_without_sentences_have_no_scores(tmp_path, capsys):
    path = tmp_path / "none.conllu"
    path.write_text("")
    assert "have no sentences" in fails(syntax.main, ["evaluate", path, path], capsys)


def test_generated_corpora_may_lack_parts():
    assert not generate(0, trees=(2, 0, 0), graphs=(0, 0, 1)).trees["dev"]


# ---------------------------------------------------------------------- more than there is


def test_more_than_the_memory(tmp_path, capsys, monkeypatch):
    def too_much(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] can't allocate memory: 24 TB")

    monkeypatch.setattr("examples.syntax_to_semantics.train.make_model", too_much)
    said = fails(syntax.main, [*TRAIN, f"--output={tmp_path / 'run'}"], capsys)
    assert "The memory does not suffice. Choose a smaller model" in said


def test_sizes_that_no_machine_counts_to(tmp_path, capsys):
    arguments = [*TRAIN, f"--output={tmp_path / 'run'}", f"--hidden={10**30}"]
    assert "`hidden` is at most 4294967295" in fails(syntax.main, arguments, capsys)


def test_other_errors_are_no_lack_of_memory():
    assert not text.is_lack_of_memory(RuntimeError("shapes do not agree"))
    assert text.is_lack_of_memory(MemoryError())
    assert text.is_lack_of_memory(RuntimeError("CUDA out of memory. Tried to allocate"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "foo"], "foo is not available"),
        (["--device", "meta"], "meta is not available"),
        (["--threads", "99999999999"], "must be at most 1024"),
    ],
)
def test_quickstart_refuses_what_the_machine_has_not(options, message, capsys):
    with pytest.raises(SystemExit) as caught:
        quick.main(options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# ---------------------------------------------------------------------- vectors


def test_vectors_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"\xef\xbb\xbfcat 1 2\ndog 3 4")
    assert {k: v.tolist() for k, v in read_vectors(path, {"cat", "dog"}, 2).items()} == {
        "cat": [1, 2],
        "dog": [3, 4],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat 1 2\nd\xf6g 3 4\n", r"vectors\.txt:2: byte 2 of the line \(0xf6\) is not UTF-8"),
        ("cat 1 2\n".encode("utf-16"), r"vectors\.txt:1: the file is UTF-16"),
        (None, r"vectors\.txt cannot be read: Is a directory"),
    ],
)
def test_vectors_that_are_no_text(content, message, tmp_path):
    path = tmp_path / "vectors.txt"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_vectors(path, {"cat"}, 2)
