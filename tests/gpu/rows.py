"""Rows of the pages of benchmarks on a device beside the CPU, and how often the host waits.

python -m tests.gpu.rows --device cuda --seconds 100 --out FILE
"""

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import optlayers as ol

from .. import waits

ROUNDS, FEWEST = 200, 3


class Case(NamedTuple):
    """A set, how many instances, and the page that has it.

    Attributes:
        page: Name of the page in docs/results/.
        name: Of the case, as there.
        make: The set.
        shape: Of the scores.
        verbs: Of `VERBS`, what is timed.
    """

    page: str
    name: str
    make: Callable[[], Any]
    shape: tuple[int, ...]
    verbs: tuple[str, ...] = ("project", "decode", "layer")


def _layer(made: Any, scores: Tensor) -> Tensor:
    leaf = scores.detach().clone().requires_grad_()
    z = ol.structured_argmax(made, leaf, ol.SPIGOT())
    return torch.autograd.grad(z.square().sum(), leaf)[0]


VERBS: dict[str, Callable[[Any, Tensor], Any]] = {
    "project": ol.project,
    "decode": ol.decode,
    "layer": _layer,
    "log_partition": ol.log_partition,
}


def cases() -> Iterator[Case]:
    """Return the cases that pages have, in their sizes."""
    from ..benchmarks import cases as projections
    from ..benchmarks import solvers_cases as solvers

    for name, case in projections.CASES.items():
        yield Case("projections", name, case.make, (case.batch, case.make().n))
    for name, about in solvers.CASES.items():
        if about.gpu:
            size = solvers.polytope_of(name).n
            shape = (about.batch, size)
            yield Case("solvers", name, lambda n=name: solvers.polytope_of(n), shape, ("project",))
    for words in (10, 25, 50):
        for kind in ("projective", "non-projective"):
            name = f"{kind} trees, 32 x {words} words"
            lengths, free = [words] * 32, kind == "projective"
            yield Case(
                "structures",
                name,
                lambda lengths=lengths, free=free: ol.DependencyTrees(lengths, projective=free),
                (32, words + 1, words + 1),
                ("decode", "layer", "log_partition"),
            )
    graphs = ol.SemanticGraphs([10] * 32, labels=58)
    yield Case("structures", "graphs, 32 x 10 words", lambda: graphs, (32, *graphs.event_shape))
    for name, make in (
        ("simplex(64) x 32", lambda: ol.simplex(64)),
        ("cardinality(64, at_most=8) x 32", lambda: ol.cardinality(64, at_most=8)),
    ):
        yield Case("small-calls", name, make, (32, 64))


def timed(case: Case, verb: str, device: str, seconds: float) -> dict[str, Any]:
    """Return one row: seconds of a call until the device is done, or why there is none."""
    row = {"page": case.page, "case": case.name, "verb": verb, "device": device}
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(case.shape, generator=generator).to(device)
    try:
        made, call = case.make(), VERBS[verb]
        for _ in range(2):
            _once(call, made, scores)
        times, end = [], time.monotonic() + seconds
        while len(times) < FEWEST or (time.monotonic() < end and len(times) < ROUNDS):
            times.append(_once(call, made, scores))
    except (ol.OptLayersError, RuntimeError, TypeError, ValueError) as error:
        return row | {"error": f"{type(error).__name__}: {error}"[:300]}
    return row | {"median_s": statistics.median(times), "min_s": min(times), "rounds": len(times)}


def _once(call: Callable[[Any, Tensor], Any], made: Any, scores: Tensor) -> float:
    start = time.perf_counter()
    call(made, scores)
    if scores.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rows(device: str, seconds: float) -> list[dict[str, Any]]:
    """Return a row per case, verb and device, the devices one after the other."""
    every = [(case, verb) for case in cases() for verb in case.verbs]
    devices = ["cpu", *([device] if device != "cpu" else [])]
    each = seconds / (len(every) * len(devices))
    return [timed(case, verb, at, each) for case, verb in every for at in devices]


def waited() -> list[dict[str, Any]]:
    """Return how often CUDA says that the host waited, beside what the table of the docs counts."""
    found, words = [], {"on_nonfinite": "propagate", "on_failure": "nan"}
    for name, make in waits.SETS.items():
        made = make()
        scores = waits.scores_of(made).detach().cuda()
        for verb in ("project", "decode"):
            counts = getattr(waits.waits_of(name), verb)
            if counts >= 0:
                call = partial(getattr(ol, verb), made, scores, **words)
                call()  # compiles, and sends the rows
                row = {"set": name, "verb": verb, "counted": counts, "cuda": synchronised(call)}
                found.append(row)
    return found


def synchronised(call: Callable[[], Any]) -> int:
    """Return how often CUDA says that the host waited for it in a call."""
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return sum("synchronizing" in str(w.message) for w in caught)


def main() -> None:
    """Measure, then write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=100.0, help="of all rows together")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    found: dict[str, Any] = {"rows": rows(options.device, options.seconds), "waits": []}
    if options.device == "cuda":
        found["waits"] = waited()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
