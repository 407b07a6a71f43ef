"""One library in a process of its own: every task on every case it is given, timed.

    python -m tests.benchmarks.structures_worker MODULE LIBRARY THREADS SECONDS TASK=CASE ...

Prints a line of JSON per task and case. Runs in the peers' environment too.
"""

import importlib
import json
import os
import sys
import traceback
import warnings

import numpy as np
import torch

from .structures_cases import FOLDER


def main() -> None:
    """Serve one library."""
    module, library, threads, seconds, *wanted = sys.argv[1:]
    talk = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # the peers' own
    torch.set_num_threads(int(threads))
    methods = importlib.import_module(f"tests.benchmarks.{module}").METHODS[library]
    for pair in wanted:
        task, case = pair.split("=")
        about = {"library": library, "task": task, "case": case, "threads": int(threads)}
        try:
            found = _measure(methods[task], library, task, case, float(seconds))
        except Exception as error:
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(about | found), file=talk)


def _measure(make, library: str, task: str, case: str, budget: float) -> dict:
    subject = make(dict(np.load(FOLDER / f"{case}.npz")))
    first = subject.seconds()
    answer = FOLDER / f"{library} {task} {case}.npz"
    np.savez(answer, **subject.result(subject.last))
    if first > 5 * budget:
        return {"times": [first * subject.scale], "scale": subject.scale}
    second = subject.seconds()
    rounds = min(300, max(3, int(budget / second)))
    times = [subject.seconds() * subject.scale for _ in range(rounds)]
    return {"times": times, "scale": subject.scale}


if __name__ == "__main__":
    main()
