"""Runs that are killed, and runs that should be the same."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from examples.training.settings import TrainingConfig

ROOT = Path(__file__).parents[2]


def command(package: str, folder: Path, config: TrainingConfig, *options: str) -> list[str]:
    """The command line that trains; the config goes through a file."""
    source = folder.with_name(f"{folder.name}-settings.yaml")
    config.save(source)
    arguments = ["--config", str(source), "--output", str(folder), "--accelerator", "cpu"]
    module = [sys.executable, "-m", f"examples.{package}", "train"]
    return [*module, *arguments, "--quiet", "--json", *options]


def start(*args: str) -> subprocess.Popen[str]:
    """With as many threads as this process, since sums depend on it."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "MKL_NUM_THREADS": ""}
    return subprocess.Popen(
        args,
        cwd=ROOT,
        env=os.environ | threads,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


def kill_after(process: subprocess.Popen[str], checkpoint: Path) -> None:
    """Kills it at some moment after it wrote that file (again)."""

    def written() -> int:
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

    before = written()
    while written() == before and process.poll() is None:
        time.sleep(0.01)
    delay = random.SystemRandom().uniform(0, 0.5)
    time.sleep(delay)
    assert process.poll() is None, f"ended before it was killed, {process.communicate()}"
    print(f"{checkpoint.name} and {delay:.3f} s")  # shown if the test fails
    process.send_signal(signal.SIGKILL)
    process.communicate()


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def result(folder: Path) -> dict:
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    del found["seconds"]
    return found


def tensors(value, path: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by their place in it, but those of Lightning's callbacks."""
    if path == "/callbacks":
        return {}
    if isinstance(value, torch.Tensor):
        return {path: value}
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list | tuple) else items
    return {k: v for key, part in items for k, v in tensors(part, f"{path}/{key}").items()}


def assert_same(first: Path, second: Path) -> None:
    """Two runs came to the same end, to the last digit."""
    assert result(first) == result(second)
    assert table(first) == table(second)
    one, other = (tensors(torch.load(f / "last.ckpt", weights_only=True)) for f in (first, second))
    assert one.keys() == other.keys()
    unlike = [name for name in one if not torch.equal(one[name], other[name])]
    assert not unlike, unlike
    assert any("/optimizer_states/" in name for name in one)
    assert any("/random_states/" in name for name in one)


class KilledError(BaseException):
    """As abrupt as an exception can be."""
