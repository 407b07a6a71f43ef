"""Run the suite, the fuzz and the rows of the benchmarks on CUDA, in less than nine minutes.

python -m tests.gpu [--only-write] [--output FOLDER]

Writes docs/results/gpu.md and gpu.csv. The exit status is 0 if all is well, 1 if a step failed, and
2 where there is no CUDA: the page then says that nothing was measured, unless it has figures of
an earlier run, which stay.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from .page import write
from .steps import FOLDER, header, plan, run

NO_CUDA = (
    "No CUDA here: torch {version} finds no GPU, so nothing was run and nothing was measured. On a "
    "machine with one, `make gpu PY=python3` needs torch 2.6 or newer and what pyproject.toml "
    "lists, and installs nothing."
)


def main(arguments: list[str] | None = None) -> int:
    """Run all steps, then write."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--only-write", action="store_true", help="from what was measured last")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder")
    options = parser.parse_args(arguments)
    record = FOLDER / "found.json"
    if not options.only_write and not torch.cuda.is_available():
        print(NO_CUDA.format(version=torch.__version__), file=sys.stderr)
        write(None, options.output)
        return 2
    if not options.only_write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        found = {"header": header(), "steps": run(plan())}
        record.write_text(json.dumps(found), encoding="utf-8")
    found = json.loads(record.read_text(encoding="utf-8"))
    write(found, options.output)
    return int(any(step["code"] for step in found["steps"]))


if __name__ == "__main__":
    sys.exit(main())
