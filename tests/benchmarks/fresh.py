"""Measurements that need a fresh process: compilation, peak memory, the machine's copy speed.

    python -m tests.benchmarks.fresh compile|memory|copy [arcs dtype]

Prints one line of JSON.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import optlayers as ol

MIB = 1024.0**2


def compilation() -> dict[str, Any]:
    """Seconds to declare, to compile both plans, and to find them again."""
    found = {}
    cases = {
        "head_selection(60)": lambda: ol.head_selection(60),
        "label_sum(60*59, 58)": lambda: ol.label_sum(60 * 59, 58),
    }
    for name, make in cases.items():
        times = [time.perf_counter()]
        polytope = make()
        times.append(time.perf_counter())
        ol.plan(polytope)
        ol.plan(polytope, "decoder")
        times.append(time.perf_counter())
        y = torch.zeros(1, polytope.n)
        ol.project(polytope, y)
        times.append(time.perf_counter())
        ol.plan(make())
        ol.project(make(), y)
        times.append(time.perf_counter())
        keys = ("declare", "compile", "first call", "again")
        found[name] = dict(zip(keys, (b - a for a, b in pairwise(times)), strict=True))
    return found


def memory(arcs: int, dtype: str) -> dict[str, Any]:
    """Growth of the peak resident set in one projection of label_sum(arcs, 58) x 32, in MiB."""
    torch.set_num_threads(1)
    polytope = ol.label_sum(arcs, 58)
    # Compiled, and the kernel loaded, by another batch: what is left is what a call takes.
    ol.project(polytope, torch.randn(1, polytope.n, dtype=getattr(torch, dtype)))
    y = torch.randn(32, polytope.n, dtype=getattr(torch, dtype))
    resident = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    ol.project(polytope, y)
    return {"input": y.nbytes / MIB, "growth": _status("VmHWM") - resident}


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":"))


def copy_speed() -> dict[str, Any]:
    """GB/s read plus written by a copy that no cache of one core holds, best of 10."""
    torch.set_num_threads(1)
    x = torch.ones(64 * 2**20, dtype=torch.float32)
    target, times = torch.empty_like(x), []
    for _ in range(11):
        start = time.perf_counter()
        target.copy_(x)
        times.append(time.perf_counter() - start)
    return {"gb_per_s": 2 * x.nbytes / 1e9 / min(times[1:])}


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    if kind == "memory":
        print(json.dumps(memory(int(rest[0]), rest[1])))
    else:
        print(json.dumps({"compile": compilation, "copy": copy_speed}[kind]()))
