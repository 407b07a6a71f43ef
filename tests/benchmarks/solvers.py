"""Solvers of projections side by side: `make bench-solvers`.

    python -m tests.benchmarks.solvers [--cases NAME ...] [--methods WORD ...] [--seconds 0.5]
        [--device cpu|cuda] [--output FOLDER] [--name solvers] [--only-write]

Writes solvers.md and .csv. Each method is a process of its own, on the same saved points; those of
a case take turns, so that what else the machine does hits all alike. Nothing is asserted on time.
"""

import argparse
import datetime
import json
import os
import platform
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import optlayers as ol

from .cases import FOLDER
from .report import _processor
from .solvers_cases import (
    CASES,
    WORDS,
    points_of,
    polytope_of,
    residual_of,
    trees,
    write_inputs,
)
from .solvers_methods import Method, methods_for
from .solvers_page import write

PEERS = Path(".venv-peers/bin/python")
GOOD = 1e-6  # certificate residual that everybody has to reach
CALL = 0.4  # seconds: a slower call gets a part of the batch
LIMIT = 12.0  # seconds after which a method is given up
RAW = FOLDER / "solvers.json"


class Worker:
    """One method on one case, in its own process."""

    def __init__(self, method: Method, case: str):
        self.answer = FOLDER / f"{case} {method.key}.npz"
        python = str(PEERS) if method.peers else sys.executable
        command = [python, "-m", "tests.benchmarks.solvers_worker", method.module, method.method]
        self._command = [*command, case, str(method.threads), str(self.answer)]
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
        self._environment = os.environ | dict.fromkeys(names, str(method.threads))
        eigen = str(method.threads > 1).lower()
        self._environment["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={eigen}"
        self.start()

    def start(self) -> None:
        """Begin, or begin again after an end."""
        with (FOLDER / "stderr.txt").open("a") as errors:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self._environment,
            )

    def ask(self, request: Any) -> dict[str, Any]:
        """Send a request and wait for the reply; too late is an error, and the end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"error": "the process has ended"}
        if not select.select([self.process.stdout], [], [], LIMIT)[0]:
            self.process.kill()
            self.process.wait()
            return {"error": f"no answer within {LIMIT:g} s"}
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        return {"error": f"the process ended with {self.process.wait()}"}

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


# ---------------------------------------------------------------------- one case


def measure(case: str, methods: list[Method], seconds: float) -> list[dict[str, Any]]:
    """Prepare every method, then time them in turns."""
    workers = {m.key: Worker(m, case) for m in methods if not m.peers or PEERS.exists()}
    rows: list[dict[str, Any]] = []
    chosen: dict[str, dict[str, str]] = {}
    begun = time.perf_counter()
    for method in methods:
        row = {"case": case, "method": method.label, "threads": method.threads}
        row |= {"device": method.options.get("device", "cpu"), "times": [], "key": method.key}
        if method.key in workers:
            row |= _prepare(workers[method.key], method, case, chosen)
        else:
            row["error"] = f"{PEERS} does not exist: `make bench-solvers` makes it from peers.txt"
        rows.append(row)
        print(f"{time.perf_counter() - begun:.0f} s", case, method.key, _summary(row), flush=True)
    timed = [r for r in rows if "error" not in r]
    for row in _turns(timed, seconds):
        reply = workers[row["key"]].ask("go")
        if "error" in reply:
            row["error"] = reply["error"]
        else:
            row["times"].append(reply["seconds"] * row["scale"])
    for worker in workers.values():
        worker.close()
    print(f"{time.perf_counter() - begun:.0f} s for {case}", flush=True)
    return rows


def _turns(rows: list[dict[str, Any]], seconds: float) -> Iterator[dict[str, Any]]:
    """Each row as often as its rounds fit into the seconds, spread over the whole time."""
    counts = [1 if r["seconds"] > 2 else min(200, max(3, seconds / r["seconds"])) for r in rows]
    most = max(map(int, counts), default=0)
    for turn in range(most):
        for row, count in zip(rows, map(int, counts), strict=True):
            if (turn + 1) * count // most > turn * count // most and "error" not in row:
                yield row


def _prepare(worker: Worker, method: Method, case: str, chosen: dict) -> dict[str, Any]:
    """The fastest of the settings that reach GOOD, each with the loosest tolerance that does."""
    if method.like and method.like not in chosen:
        return {"error": f"not tried: {method.like} has no answer"}
    variants = (chosen[method.like],) if method.like else method.variants
    start = CASES[case].start or method.start
    tried: list[dict[str, Any]] = []
    for variant in variants:
        if tried and method.alike and tried[-1]["residual"] <= GOOD:
            variant = variant | {"eps": tried[-1]["settings"]["eps"]}
        tried += _tighten(worker, method, case, variant, start)
        if "error" in tried[-1]:
            break
    good = [t for t in tried if t["residual"] <= GOOD]
    best = min(good or tried, key=lambda t: (t["residual"] > GOOD, t["seconds"] * t["scale"]))
    if not good:  # the tightest tolerance, and what was wrong with it
        best = tried[-1]
    elif best is not tried[-1]:
        if worker.process.poll() is not None:
            worker.start()
        best |= _fit(worker, best["settings"], best["instances"], best["instances"])
    settings = best.pop("settings")
    best["chosen"] = {k: v for k, v in settings.items() if k not in method.options}
    if good:
        chosen.setdefault(method.label, best["chosen"])
    return best


def _tighten(
    worker: Worker, method: Method, case: str, variant: dict[str, str], instances: int
) -> Iterator[dict[str, Any]]:
    """Tolerance after tolerance, until one is tight enough."""
    ladder: tuple[str | None, ...] = method.ladder or (None,)
    if variant.get("eps") in method.ladder:
        ladder = ladder[ladder.index(variant["eps"]) :]
    residual = np.inf
    for eps in ladder:
        settings = method.options | variant | ({} if eps is None else {"eps": eps})
        found = _fit(worker, settings, instances, CASES[case].batch)
        found["settings"] = settings
        if "error" in found:
            if np.isfinite(residual):
                found["error"] += f" at {settings}; residual {residual:.1e} before"
            yield found | {"residual": np.inf, "seconds": np.inf, "scale": 1.0}
            return
        instances = found["instances"]
        with np.load(worker.answer) as answer:
            residual = found["residual"] = residual_of(case, answer["z"], GOOD)
        yield found
        if residual <= GOOD:
            return


def _fit(worker: Worker, settings: dict[str, str], instances: int, batch: int) -> dict[str, Any]:
    """Prepare a method for as many instances as a call of CALL seconds takes; 0 is all of them."""
    instances = min(instances or batch, batch)
    while True:
        reply = worker.ask(settings | {"instances": str(instances)})
        if "error" in reply or instances == batch or reply["seconds"] > CALL / 2:
            return reply | {"instances": instances}
        fit = instances * CALL / reply["seconds"]
        instances = min(batch, 16 * instances, max(2 * instances, int(fit)))


def _summary(row: dict[str, Any]) -> str:
    if "error" in row:
        return row["error"]
    seconds = row["seconds"] * row["scale"]
    return f"{seconds:.4g} s, residual {row['residual']:.1e}, {row['instances']} {row['note']}"


# ---------------------------------------------------------------------- the whole


def memory(case: str, methods: list[Method], rows: list[dict]) -> list[dict[str, Any]]:
    """Growth of the peak in fresh processes, for 1 and for all instances."""
    found = []
    for method in methods:
        row = next(r for r in rows if (r["case"], r["key"]) == (case, method.key))
        if not method.memory or "error" in row:
            continue
        settings = method.options | row["chosen"]
        about: dict[str, Any] = {"method": method.label}
        for count in (1, CASES[case].batch):
            worker = Worker(method, case)
            reply = worker.ask(settings | {"instances": str(count), "memory": True})
            worker.close()
            about[str(count)] = reply.get("growth")
        found.append(about)
        print(case, "memory", about, flush=True)
    return found


def compile_kernels(case: str) -> None:
    """Once, here: what the workers load is then on disk."""
    torch.set_num_threads(1)
    y = torch.from_numpy(points_of(case)[:1])
    ol.project(polytope_of(case), y)
    if "arborescence" in case:
        ol.project(trees(1, "hull"), y.reshape(1, WORDS + 1, WORDS + 1))


def header() -> dict[str, str]:
    """What the page says of the machine."""
    pins = Path("tests/benchmarks/peers.txt").read_text().splitlines()
    wanted = "numpy torch qpth jax jaxopt proxsuite daqp quadprog piqp clarabel moreau".split()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "versions": ", ".join(_versions("numpy scipy numba torch osqp cvxpy cvxpylayers")),
        "peer_versions": ", ".join(
            p.replace("==", " ") for p in pins if p.split("==")[0] in wanted
        ),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "cores": str(os.cpu_count()),
        "load": ", ".join(f"{v:.1f}" for v in os.getloadavg()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
    }


def _versions(names: str) -> Iterator[str]:
    for name in names.split():
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"no {name}"


def main() -> None:
    """Measure, then write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", help="words in the names of methods (all)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of timing per row")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="if it is there")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder")
    parser.add_argument("--name", default="solvers", help="of the files")
    parser.add_argument("--only-write", action="store_true", help="from what was measured last")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not options.only_write:
        write_inputs(options.cases)
        cuda = options.device == "cuda" and torch.cuda.is_available()
        rows, used = [], {}
        for case in options.cases:
            compile_kernels(case)
            used[case] = methods_for(case, cuda, options.methods)
            rows += measure(case, used[case], options.seconds)
        grown = memory("sparse10k", used["sparse10k"], rows) if "sparse10k" in used else []
        plans = {c: ol.plan(polytope_of(c)).explain() for c in options.cases}
        found = {"rows": rows, "memory": grown, "plans": plans, "header": header(), "cuda": cuda}
        RAW.write_text(json.dumps(found))
    write(json.loads(RAW.read_text()), options.output, options.name)


if __name__ == "__main__":
    main()
