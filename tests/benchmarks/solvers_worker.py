"""One method on one case, in a process of its own, on request.

    python -m tests.benchmarks.solvers_worker MODULE METHOD CASE THREADS ANSWER

A line of JSON in, a line out. Options of the method: prepare it with them, run it, save its answer.
"go": run it again, for its time. "memory" and options: by how much the peak of this process grows
while the method is prepared and run. It runs in `.venv-peers` too, so it imports nothing of ours by
itself.
"""

import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .subject import Subject

SMALL = "sparse-small"  # loads the code before memory is measured


def main() -> None:
    """Serve one method."""
    module, method, case, threads, answer = sys.argv[1:]
    talk = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # solvers that print do not end up in the conversation
    warnings.simplefilter("ignore")  # the peers' own
    make = getattr(importlib.import_module(f"tests.benchmarks.{module}"), method)
    subject = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request == "go":
                assert subject is not None
                reply = {"seconds": subject.seconds()}
            elif request.pop("memory", False):
                reply = _memory(make, case, int(threads), request)
            else:
                subject = None  # the one before goes first
                subject, reply = _prepare(make, case, int(threads), request)
                np.savez(answer, z=subject.result(subject.last)["z"])
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=talk)


def _prepare(make: Callable, case: str, threads: int, options: dict) -> tuple[Subject, dict]:
    inputs = dict(np.load(f".cache/benchmarks/{case}.npz"))
    subject = make(case, inputs, threads=threads, **options)
    subject.seconds()
    reply = {"seconds": subject.seconds(), "note": subject.note, "scale": subject.scale}
    return subject, reply


def _memory(make: Callable, case: str, threads: int, options: dict[str, Any]) -> dict[str, float]:
    _prepare(make, SMALL, threads, options)
    inputs = dict(np.load(f".cache/benchmarks/{case}.npz"))
    resident = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    make(case, inputs, threads=threads, **options).seconds()
    return {"growth": _status("VmHWM") - resident}


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":"))


if __name__ == "__main__":
    main()
