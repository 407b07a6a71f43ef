"""Time small calls beside what one writes by hand: `make bench-small`.

python -m tests.benchmarks.small [name ...]
"""

# pyright: reportMissingImports=false

import csv
import datetime
import gc
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import optlayers as ol

from .small_page import PAGE

RESULTS = Path("docs/results")
ROUNDS, SECONDS = 20, 0.02  # of which the fastest counts, and CPU time of one, at least


@dataclass(frozen=True)
class Case:
    """Two ways to the same answer.

    Attributes:
        text: What is asked.
        ours: By the library.
        hand: By hand, or by a peer; None where nobody has another way.
        peer: What `hand` is.
        goal: The largest quotient, or with `in_us` the largest time in microseconds.
        in_us: Whether the goal is a time.
        same: Whether both have the same answer, as they should.
    """

    text: str
    ours: Callable[[], Any]
    hand: Callable[[], Any] | None = None
    peer: str = ""
    goal: float = 0.0
    in_us: bool = False
    same: bool = True


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the CPU time of a call: the fastest of several rounds, each of many calls."""
    call()
    start = time.process_time()
    for _ in range(10):
        call()
    count = max(1, int(10 * SECONDS / max(time.process_time() - start, 1e-6)))
    best = float("inf")
    gc.disable()
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(count):
            call()
        best = min(best, (time.process_time() - start) / count)
    gc.enable()
    return best


def backward(layer: Callable[[Tensor], Tensor], scores: Tensor, weights: Tensor) -> Callable:
    """Return a call that decides, and sends a gradient back to the scores."""

    def call() -> Tensor | None:
        leaf = scores.clone().requires_grad_()
        (layer(leaf) * weights).sum().backward()
        return leaf.grad

    return call


def one_hot(scores: Tensor) -> Tensor:
    """Return the argmax."""
    chosen = scores.argmax(-1)
    return torch.nn.functional.one_hot(chosen, scores.shape[-1]).to(scores.dtype)


def straight_through(scores: Tensor) -> Tensor:
    """Return the one-hot argmax, with the gradient of the identity."""
    return one_hot(scores) + scores - scores.detach()


def top(scores: Tensor, k: int) -> Tensor:
    """Return ones at the k largest scores that are positive."""
    values, index = scores.topk(k, -1)
    return torch.zeros_like(scores).scatter(-1, index, (values > 0).to(scores.dtype))


def sparsemax(y: Tensor) -> Tensor:
    """Project onto the simplex by sorting (Held, Wolfe and Crowder, 1974), written by hand."""
    ordered = y.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - 1
    k = torch.arange(1, y.shape[-1] + 1, dtype=y.dtype)
    support = (k * ordered > excess).sum(-1, keepdim=True)
    return (y - excess.gather(-1, support - 1) / support).clamp(min=0)


class HandSPIGOT(torch.autograd.Function):
    """SPIGOT around the projection onto a simplex, written by hand."""

    @staticmethod
    def forward(ctx, scores):  # type: ignore[override]
        ctx.save_for_backward(scores)
        return one_hot(scores)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        (scores,) = ctx.saved_tensors
        base = sparsemax(scores)
        return base - sparsemax(base - grad)


def cases() -> dict[str, Case]:
    """Return what is timed, by name."""
    rng = np.random.default_rng(0)
    small, wide = (
        torch.from_numpy(rng.standard_normal(shape)).float() for shape in ((4, 5), (32, 10))
    )
    weights = torch.from_numpy(rng.standard_normal((4, 5))).float()
    A = rng.standard_normal((10, 20))
    rows = ol.Polytope(A, A @ rng.uniform(0.2, 0.8, 20) + rng.uniform(0, 0.5, 10))
    point = torch.from_numpy(rng.standard_normal((1, 20)))
    simplex, at_most = ol.simplex(5), ol.cardinality(10, at_most=3)
    knapsack = ol.budget(np.linspace(0.5, 1.5, 10), 2.0).with_(integral=False)
    by_hand = backward(straight_through, small, weights)

    def layer(surrogate: Any) -> Callable:
        return backward(ol.StructuredArgmax(simplex, surrogate), small, weights)

    limits = iter(np.linspace(1.0, 3.0, 10_000_000))

    def new_limit() -> Tensor:
        limit = torch.tensor([next(limits)], dtype=torch.float64)
        return ol.project(at_most.with_(b=limit), wide)

    def new_bound() -> Tensor:
        upper = torch.full((10,), next(limits) / 3, dtype=torch.float64)
        return ol.project(at_most.with_(upper=upper), wide)

    def seen_limit() -> Tensor:
        return ol.project(at_most.with_(b=[2.0]), wide)

    st, spigot = ol.StraightThrough(), ol.SPIGOT()
    return {
        "decode-simplex": Case(
            "decode 4 x simplex(5)", lambda: ol.decode(simplex, small),
            lambda: one_hot(small), "argmax, one_hot", 40, True,
        ),
        "decode-cardinality": Case(
            "decode 32 x cardinality(10, at_most=3)", lambda: ol.decode(at_most, wide),
            lambda: top(wide, 3), "topk, scatter", 40, True,
        ),
        "decode-budget": Case(
            "decode the relaxation of 32 x budget(10 weights)", lambda: ol.decode(knapsack, wide),
            None, "", 40, True,
        ),
        "project-simplex": Case(
            "project 4 x simplex(5)", lambda: ol.project(simplex, small),
            lambda: sparsemax(small), "sort, cumsum, gather", 35, True,
        ),
        "project-simplex-entmax": Case(
            "project 4 x simplex(5)", lambda: ol.project(simplex, small),
            entmax_of(small), "entmax.sparsemax", 35, True,
        ),
        "project-cardinality": Case(
            "project 32 x cardinality(10, at_most=3)", lambda: ol.project(at_most, wide)
        ),
        "layer-straight-through": Case(
            "layer on 4 x simplex(5), straight-through, forward and backward",
            layer(st), by_hand, "one_hot(argmax) + s - s.detach()", 2.5,
        ),
        "layer-spigot": Case(
            "layer on 4 x simplex(5), SPIGOT, forward and backward",
            layer(spigot), by_hand, "the same, straight-through", 4.0, same=False,
        ),
        "layer-spigot-by-hand": Case(
            "layer on 4 x simplex(5), SPIGOT, forward and backward",
            layer(spigot), backward(HandSPIGOT.apply, small, weights), "sparsemax by hand, twice",
        ),
        "rows-alone": Case(
            "project one point, 10 dense rows over 20 variables", lambda: ol.project(rows, point),
            daqp_of(rows, point), "daqp.solve", same=False,
        ),
        "make-simplex": Case("make simplex(5)", lambda: ol.simplex(5), None, "", 100, True),
        "make-and-project": Case(
            "make simplex(5) and project 4 points", lambda: ol.project(ol.simplex(5), small)
        ),
        "seen-limit": Case("with_(b=...) of a value seen before, and project 32 points",
            seen_limit, None, "", 200, True),
        "new-limit": Case("with_(b=...) of a new value, and project 32 points",
            new_limit, None, "", 200, True),
        "new-bound": Case("with_(upper=...) of a new value, and project 32 points",
            new_bound, None, "", 200, True),
    }  # fmt: skip


def entmax_of(y: Tensor) -> Callable[[], Tensor] | None:
    """Return a call of the peer, where it is installed."""
    try:
        from entmax import sparsemax as theirs
    except ImportError:
        return None
    return lambda: theirs(y, -1)


def daqp_of(polytope: ol.Polytope, point: Tensor) -> Callable[[], Any] | None:
    """Return a call of the peer, where it is installed."""
    try:
        import daqp
    except ImportError:
        return None
    n, y = polytope.n, point[0].numpy()
    upper = np.concatenate([np.ones(n), polytope.b.numpy()])
    lower = np.concatenate([np.zeros(n), np.full(len(polytope.b), -1e30)])
    sense, rows = np.zeros(len(upper), dtype=np.int32), polytope.A.toarray()
    return lambda: daqp.solve(np.eye(n), -y, rows, upper, lower, sense)


def check(name: str, case: Case) -> None:
    """Refuse to time two ways to different answers."""
    if case.hand is not None and case.same:
        gap = float((case.ours() - case.hand()).abs().max())
        if not gap <= 1e-5:
            sys.exit(f"{name}: the answers differ by {gap:g}")


def measure(names: list[str]) -> list[dict[str, Any]]:
    """Return a row per case."""
    found = []
    for name, case in cases().items():
        if names and name not in names:
            continue
        check(name, case)
        ours = 1e6 * seconds_of(case.ours)
        hand = float("nan") if case.hand is None else 1e6 * seconds_of(case.hand)
        row = {"case": name, "text": case.text, "ours_us": ours, "hand_us": hand}
        row |= {"peer": case.peer, "quotient": ours / hand, "goal": case.goal, "in_us": case.in_us}
        found.append(row)
        print(f"{name:24} {ours:8.1f} us {hand:8.1f} us {ours / hand:6.2f}", flush=True)
    return found


def write(rows: list[dict[str, Any]]) -> None:
    """Write the page and the CSV."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "small-calls.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    packages = ("torch", "numpy", "numba", "entmax", "daqp")
    page = PAGE.format(
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        machine=platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        load=", ".join(f"{v:.1f}" for v in os.getloadavg()),
        python=platform.python_version(),
        versions=", ".join(f"{name} {installed(name)}" for name in packages),
        table="\n".join(map(line, rows)),
    )
    (RESULTS / "small-calls.md").write_text(page, encoding="utf-8")


def installed(name: str) -> str:
    """Return the version of a package, or that it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    known = row["hand_us"] == row["hand_us"]
    reached = row["ours_us"] if row["in_us"] else row["quotient"]
    goal = f"{row['goal']:g} {'us' if row['in_us'] else 'times'}" if row["goal"] else ""
    verdict = f"{goal}: {'reached' if reached <= row['goal'] else '**missed**'}" if goal else ""
    beside = f"{row['hand_us']:.1f}" if known else ""
    times = f"{row['quotient']:.2f}" if known else ""
    return (
        f"| {row['text']} | {row['ours_us']:.1f} | {beside} | {row['peer'] if known else ''} "
        f"| {times} | {verdict} |"
    )


def main(names: list[str]) -> None:
    """Measure; write only if all cases were asked for."""
    torch.set_num_threads(1)
    rows = measure(names)
    if not names:
        write(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
