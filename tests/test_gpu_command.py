"""`make gpu`, where there is no GPU: what it would run, the page it writes, what it says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .gpu import __main__ as command
from .gpu import page, rows, steps

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for module in (command, page, steps):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "found")
    (tmp_path / "found").mkdir()
    return tmp_path


@pytest.fixture
def without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_cuda_it_says_so_and_fails(folder, without_cuda, capsys):
    assert command.main(["--output", str(folder)]) == 2
    assert "No CUDA here: torch" in capsys.readouterr().err
    text = (folder / "gpu.md").read_text()
    assert page.NOTHING in text
    assert "| suite |" in text


def test_without_cuda_figures_of_an_earlier_run_stay(folder, without_cuda):
    (folder / "gpu.md").write_text("figures")
    assert command.main(["--output", str(folder)]) == 2
    assert (folder / "gpu.md").read_text() == "figures"


def test_the_steps_fit_in_nine_minutes(monkeypatch):
    monkeypatch.setenv("OPTLAYERS_DATA", "somewhere")
    assert [s.name for s in steps.plan()] == ["warmup", "suite", "fuzz", "rows", "training"]
    assert sum(step.seconds for step in steps.plan()) <= steps.LIMIT
    monkeypatch.delenv("OPTLAYERS_DATA")
    assert [s.name for s in steps.plan()] == ["warmup", "suite", "fuzz", "rows"]


def test_the_suite_has_every_file_that_asks_for_a_device():
    (suite,) = [step for step in steps.plan() if step.name == "suite"]
    asking = {"tests/test_cuda.py", "tests/test_devices.py", "tests/test_projections.py"}
    assert asking <= set(suite.command)


@pytest.mark.parametrize("tests", ["tests/test_cuda.py"])
def test_the_suite_runs_with_its_own_settings(tests):
    (suite,) = [step for step in steps.plan() if step.name == "suite"]
    options = [word for word in suite.command if not word.endswith(".py")]
    done = subprocess.run(
        [sys.executable, *options, "--collect-only", tests],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "test_answers_on_cuda_are_those_of_the_host" in done.stdout, done.stdout + done.stderr


def test_what_fails_or_takes_too_long_keeps_nothing_from_running(capsys):
    some = [
        steps.Step("fails", "a step", ["-c", "print('text'); raise SystemExit(3)"], 60),
        steps.Step("late", "a step", ["-c", "import time; time.sleep(600)"], 0.5),
        steps.Step("passes", "a step", ["-c", "print('fine')"], 60),
    ]
    found = steps.run(some)
    assert [step["code"] for step in found] == [3, 124, 0]
    assert [step["tail"].strip() for step in found] == ["text", "", "fine"]
    assert [steps.outcome(step["code"]) for step in found] == [
        "failed (exit status 3)",
        "ran out of its time",
        "passed",
    ]


def result(name: str, code: int = 0) -> dict:
    tail = "== 3 passed, 1 skipped =="
    return {"name": name, "text": "text", "command": "c", "code": code, "seconds": 2, "tail": tail}


def test_the_page_has_what_was_found(folder):
    case = {"page": "solvers", "case": "birkhoff", "verb": "project"}
    times = {"median_s": 0.02, "min_s": 0.01, "rounds": 3}
    found = {
        "rows": [
            case | times | {"device": "cpu"},
            case | times | {"device": "cuda", "median_s": 0.004},
            case | {"verb": "decode", "device": "cpu", "error": "RuntimeError: a | b"},
        ],
        "waits": [{"set": "box", "verb": "project", "counted": 0, "cuda": 1}],
    }
    (folder / "found" / "rows.json").write_text(json.dumps(found))
    failures = {"name": [{"kind": "wrong"}]}
    fuzz = {"rows": [{"cases": 7}], "failures": failures}
    (folder / "found" / "fuzz.json").write_text(json.dumps(fuzz))
    page.write({"header": steps.header(), "steps": [result("suite"), result("fuzz", 1)]}, folder)
    text = (folder / "gpu.md").read_text()
    for line in (
        "**Not everything passed: ['fuzz'].**",
        "| suite | text | passed | 2 | 3 passed, 1 skipped |",
        "7 cases, 1 failed.",
        "| [solvers](solvers.md) | birkhoff | project | 20 ms | 4 ms | 5 |",
        "| [solvers](solvers.md) | birkhoff | decode | RuntimeError: a / b |  |  |",
        "| box | project | 0 | 1 |",
    ):
        assert line in text
    assert len((folder / "gpu.csv").read_text().splitlines()) == 4


def test_only_writing_needs_no_cuda(folder, without_cuda):
    found = {"header": steps.header(), "steps": [result("suite")]}
    (folder / "found" / "found.json").write_text(json.dumps(found))
    assert command.main(["--only-write", "--output", str(folder)]) == 0
    assert "Every step passed." in (folder / "gpu.md").read_text()


@pytest.mark.parametrize("page_name", ["projections", "solvers", "structures", "small-calls"])
def test_every_page_of_benchmarks_has_rows_on_the_cpu(page_name, monkeypatch):
    """The smallest case of each; the sizes of others need a GPU to be quick."""
    monkeypatch.setattr(rows, "FEWEST", 1)
    some = [case for case in rows.cases() if case.page == page_name]
    case = min(some, key=lambda c: c.shape[0] * c.shape[-1])
    found = rows.timed(case, case.verbs[0], "cpu", 0)
    assert found["median_s"] > 0
    assert (ROOT / "docs" / "results" / f"{page_name}.md").exists()


def test_a_case_that_cannot_run_is_a_row_that_says_why():
    case = rows.Case("solvers", "wrong", lambda: rows.ol.simplex(3), (2, 4))
    assert rows.timed(case, "project", "cpu", 0)["error"].startswith("InputError")
