"""One method in a process of its own: prepare, warm up, save the answer, then time on request.

    python -m tests.benchmarks.worker OURS|PEERS METHOD CASE THREADS ANSWER [key=value ...]

It speaks JSON, a line each, and runs in `.venv-peers` too, so it imports nothing of ours by itself.
"""

import importlib
import json
import os
import sys
import traceback

import numpy as np


def main() -> None:
    """Serve one method."""
    module, method, case, threads, answer, *options = sys.argv[1:]
    talk = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # solvers that print do not end up in the conversation
    try:
        inputs = dict(np.load(f".cache/benchmarks/{case}.npz"))
        make = getattr(importlib.import_module(f"tests.benchmarks.{module}"), method)
        subject = make(case, inputs, threads=int(threads), **dict(o.split("=", 1) for o in options))
        first = subject.seconds()
        seconds = subject.seconds() if first < 2 else first
        np.savez(answer, **subject.result(subject.last))
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=talk)
        return
    note = {"first": first, "seconds": seconds, "note": subject.note, "scale": subject.scale}
    print(json.dumps(note), file=talk)
    for _ in sys.stdin:
        print(json.dumps({"seconds": subject.seconds()}), file=talk)


if __name__ == "__main__":
    main()
