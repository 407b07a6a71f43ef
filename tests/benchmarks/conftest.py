"""Worker processes, and a clock that runs while they work."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .cases import FOLDER, write_inputs

PEERS = Path(".venv-peers/bin/python")


class Clock:
    """Seconds measured inside the workers: pipes and start-up do not count."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self) -> float:
        """The clock that pytest-benchmark reads before and after each round."""
        return self.seconds


CLOCK = Clock()


class Worker:
    """One method in its own process."""

    def __init__(self, python: str, module: str, method: str, case: str, threads: int, options):
        self.answer = FOLDER / "answer.npz"
        command = [python, "-m", "tests.benchmarks.worker", module, method, case, str(threads)]
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads))
        environment["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
        command += [str(self.answer), *(f"{k}={v}" for k, v in options.items())]
        with (FOLDER / "stderr.txt").open("a") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        self.ready = self._listen()

    def _listen(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended without a word"}

    def round(self) -> None:
        """Run once, and let the clock advance by what it took."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        CLOCK.seconds += self._listen()["seconds"]

    def found(self) -> dict[str, np.ndarray]:
        """What the method returned."""
        return dict(np.load(self.answer))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


@pytest.fixture(scope="session", autouse=True)
def inputs() -> None:
    """The same saved inputs for every method."""
    write_inputs()
    (FOLDER / "failures.jsonl").write_text("")


@pytest.fixture
def start() -> Iterator[Any]:
    """Start a worker; it is ended with the test."""
    workers = []

    def begin(module: str, method: str, case: str, threads: int, options: dict, peers: bool):
        python = str(PEERS) if peers else sys.executable
        if peers and not PEERS.exists():
            return None, f"{PEERS} does not exist: `make bench` makes it from peers.txt"
        workers.append(Worker(python, module, method, case, threads, options))
        return workers[-1], workers[-1].ready.get("error")

    yield begin
    for worker in workers:
        worker.close()
