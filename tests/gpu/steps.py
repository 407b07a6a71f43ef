"""The steps of `make gpu`: each a process of its own, with the seconds that it may take."""

import datetime
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

FOLDER = Path(".cache/gpu")
LIMIT = 540  # seconds of all steps together
_TESTS = Path(__file__).parent.parent
_KEPT = 3000  # characters of what a step prints, from the end
_JOBS = 8  # processes at most: each has a context of CUDA


class Step(NamedTuple):
    """One command.

    Attributes:
        name: Of the step.
        text: What it is, for the page.
        command: After the interpreter.
        seconds: When it is ended.
    """

    name: str
    text: str
    command: list[str]
    seconds: float


def plan() -> list[Step]:
    """Return the steps; together they may take `LIMIT` seconds."""
    jobs = str(min(_JOBS, os.cpu_count() or 1))
    fuzz = ["-m", "tests.fuzz", "--device", "cuda", "--jobs", jobs, "--minutes", "1.2"]
    rows = ["-m", "tests.gpu.rows", "--device", "cuda", "--seconds", "100"]
    steps = [
        Step("warmup", "compiles the loops of the host", ["-m", "optlayers", "warmup"], 60),
        Step("suite", "every test that asks for a device, on CUDA", _suite(jobs), 170),
        Step(
            "fuzz",
            "hostile polytopes, judged on the host",
            [*fuzz, "--out", str(FOLDER / "fuzz.json")],
            120,
        ),
        Step(
            "rows",
            "rows of the pages of benchmarks, and how often the host waits",
            [*rows, "--out", str(FOLDER / "rows.json")],
            130,
        ),
    ]
    if os.environ.get("OPTLAYERS_DATA"):
        steps.append(
            Step(
                "training",
                "steps of joint training (`pipeline-speed-cuda.md`)",
                ["-m", "tests.benchmarks.pipeline", "--device", "cuda", "--batches", "5"],
                60,
            )
        )
    return steps


def _suite(jobs: str) -> list[str]:
    """Return the command of the tests, with what is installed alone: pytest is enough."""
    files = [str(p.relative_to(_TESTS.parent)) for p in sorted(_TESTS.glob("test_*.py"))]
    files = [f for f in files if "device" in Path(_TESTS.parent, f).read_text(encoding="utf-8")]
    command = ["-m", "pytest", "-q", "-k", "cuda", "-c", "tests/gpu/pytest.ini", "--rootdir", "."]
    if find_spec("xdist"):
        command += ["-n", jobs, "--dist", "loadfile"]
    return [*command, "-p", "no:cacheprovider", *files]


def run(steps: list[Step]) -> list[dict[str, Any]]:
    """Run one after the other; what became of each. A failing one keeps no other from running."""
    found = []
    for step in steps:
        print(f"{step.name}: {step.text} (at most {step.seconds:g} s)", flush=True)
        start = time.monotonic()
        code, out = _output(step)
        seconds = time.monotonic() - start
        print(f"{out[-_KEPT:]}\n{step.name}: {outcome(code)} after {seconds:.0f} s", flush=True)
        found.append(
            {
                "name": step.name,
                "text": step.text,
                "command": " ".join(["python", *step.command]),
                "code": code,
                "seconds": seconds,
                "tail": out[-_KEPT:],
            }
        )
    return found


def _output(step: Step) -> tuple[int, str]:
    """Return the exit status, 124 if time ran out, and what was printed."""
    environment = os.environ | {"OPTLAYERS_PROGRESS": "0"}
    try:
        done = subprocess.run(
            [sys.executable, *step.command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=step.seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return 124, (late.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def outcome(code: int) -> str:
    """Return what an exit status means, in a word or two."""
    return {0: "passed", 124: "ran out of its time"}.get(code, f"failed (exit status {code})")


def header() -> dict[str, str]:
    """Return what the page says of the machine."""
    names = ("torch", "numba", "numpy", "scipy", "osqp", "cvxpy", "clarabel", "highspy")
    cuda = torch.cuda.is_available()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "gpu": torch.cuda.get_device_name() if cuda else "none",
        "cuda": str(torch.version.cuda),
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "versions": ", ".join(_versions(names)),
    }


def _versions(names: tuple[str, ...]) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return found
