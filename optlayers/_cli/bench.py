"""Times deciding, projecting and training through a set, beside exact solvers."""

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._errors import InputError
from .._feasible_set import FeasibleSet, as_set
from .._functional import decode, project
from .._judge.certificate import certify
from .._judge.references import check_installed, solve
from .._layer import structured_argmax
from .._surrogates import SPIGOT, StraightThrough

_SECONDS = 1.0  # for each row of the table
_FEWEST = 3


def bench(feasible_set: FeasibleSet, args: argparse.Namespace) -> dict[str, Any]:
    """Return the rows of a table, and what they were measured with."""
    for name in args.against:
        check_installed(name)
    device = _device(args.device)
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        rows, right = _rows(feasible_set, args, device)
    finally:
        torch.set_num_threads(before)
    return {
        "set": repr(feasible_set),
        "batch": args.batch,
        "dtype": args.dtype,
        "device": str(device),
        "threads": args.threads,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "ok": right,
        "rows": rows,
    }


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"`--device {name}` is not available: {error}") from error
    return device


def _rows(
    feasible_set: FeasibleSet, args, device: torch.device
) -> tuple[list[dict[str, Any]], bool]:
    """Return the table, and whether the projection is right by the measure of `validate`."""
    polytope = feasible_set.relaxation
    event = as_set(feasible_set).event_shape
    shape = (args.batch, *polytope.batch_shape, *event)
    generator = torch.Generator().manual_seed(args.seed)
    y = args.scale * torch.randn(shape, dtype=torch.float64, generator=generator, device="cpu")
    y = y.to(device, getattr(torch, args.dtype))
    grad = torch.randn(shape, dtype=torch.float64, generator=generator, device="cpu").to(y)
    instances = y[(..., *[0] * len(event))].numel()

    def row(task: str, method: str, function: Callable[[], Any], residual=None) -> dict[str, Any]:
        times = _times(function, args.repeats, device)
        return _row(task, method, times, instances, residual)

    def flat(values: Tensor) -> Tensor:
        return values.flatten(-len(event))

    z = project(feasible_set, y)
    judged = certify(polytope, flat(y), flat(z))
    right = judged.holds(max(1e-6, 100 * torch.finfo(y.dtype).eps))
    residual = float(judged.residual.max())
    rows = [
        row("decide", "optlayers", lambda: decode(feasible_set, y)),
        row("project", "optlayers", lambda: project(feasible_set, y), residual),
    ]
    for name in args.against:
        rows.append(_reference(name, polytope, flat(y), rows[1]["median_ms"] / instances))
    for name, surrogate in (
        ("straight-through", StraightThrough()),
        ("SPIGOT (vertex)", SPIGOT(warn=False, around="vertex")),
        ("SPIGOT (projection)", SPIGOT(around="projection")),
    ):
        rows.append(row("train", name, lambda s=surrogate: _step(feasible_set, y, grad, s)))
    return rows, right


def _step(feasible_set: FeasibleSet, y: Tensor, grad: Tensor, surrogate) -> None:
    scores = y.clone().requires_grad_()
    structured_argmax(feasible_set, scores, surrogate).backward(grad)


def _times(function: Callable[[], Any], repeats: int, device: torch.device) -> list[float]:
    """Measure milliseconds of each call; the first, in which code is compiled, is left out."""
    times: list[float] = []

    def call() -> None:
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    call()
    start = time.perf_counter()
    while len(times) < repeats:
        begun = time.perf_counter()
        call()
        now = time.perf_counter()
        times.append(1e3 * (now - begun))
        if now - start > _SECONDS and len(times) >= _FEWEST:
            break
    return times


def _row(task, method, times, instances, residual=None) -> dict[str, Any]:
    median = statistics.median(times)
    return {
        "task": task,
        "method": method,
        "median_ms": median,
        "min_ms": min(times),
        "us_per_instance": 1e3 * median / instances,
        "ratio": None,
        "residual": residual,
        "failed": 0,
        "instances": instances,
        "calls": len(times),
    }


def _reference(name: str, polytope, y: Tensor, ours: float) -> dict[str, Any]:
    """Time a solver, point by point, on as many points as a second allows."""
    points = y.cpu().double()
    flat = points.reshape(-1, polytope.n)
    count = 1 if polytope.batch_shape else min(2, len(flat))
    if not polytope.batch_shape:
        _, ms = solve(name, polytope, flat[:count])
        count = max(count, min(len(flat), int(1e3 * _SECONDS / max(ms, 1e-3))))
        points = flat[:count]
    found, ms = solve(name, polytope, points)
    judged = certify(polytope, points, found)
    instances = points[..., 0].numel()
    met = [value for value in judged.residual.flatten().tolist() if math.isfinite(value)]
    result = _row("project", name, [ms * instances], instances, max(met, default=None))
    result["failed"] = instances - len(met)
    return result | {"ratio": ms / ours, "calls": 1}
