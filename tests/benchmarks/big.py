"""Projections onto large random networks beside Clarabel: `make bench-big`.

python -m tests.benchmarks.big [--sizes 300 1000 3000 10000] [--rounds 3]

Writes docs/results/big.md and .csv. Times are CPU time of the process, which other jobs of the machine lengthen little, with one
thread for both.
"""

# ruff: noqa: E501  (wrapped like the other pages)

import argparse
import csv
import datetime
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

import optlayers as ol

RESULTS = Path("docs/results")
GOAL = 1.5
SIZES = (300, 1000, 3000, 10_000)
KINDS = {"little": 1, "some": 30, "much": 0}  # how far an edge reaches; 0: anywhere
COLUMNS = (
    "nodes",
    "edges",
    "fill",
    "entries",
    "method",
    "clarabel_s",
    "first_s",
    "next_s",
    "error",
)

PAGE = """# Large networks

Written by `make bench-big` (`python -m tests.benchmarks.big`) on {date}; do not edit by hand. All rows with all digits: [big.csv](big.csv).

{versions}; {machine}, {cores} cores, beside other jobs. Seconds are CPU time of the process, one thread each: what else runs makes them somewhat
longer, not what they are compared with. The fastest of {rounds} rounds, in which both take turns; the first call, which plans, is one call.

A flow on a random network: one row per node, one variable in [0, 1] per edge, supplies that a flow has, points from a normal distribution. Edges reach
one node on (little fill), up to 30 nodes on, or anywhere (a factor fills). **Clarabel** is called by itself, with its matrices ready, at its own tolerances
($10^{{-8}}$); what it returns misses the projection by the error of the last column, ours by $10^{{-12}}$ of its size or less. The goal is {goal} times Clarabel at
every size and fill.

| nodes | edges | fill | entries of a factor | who answers | Clarabel, s | next call, s | ratio | first call, s | ratio | Clarabel's error |
|---:|---:|---|---:|---|---:|---:|---:|---:|---:|---:|
{rows}

{verdict}
"""


def network(nodes: int, reach: int, seed: int = 0) -> tuple[sp.csc_matrix, np.ndarray]:
    """Return the rows, twice as many edges as nodes, and supplies that some flow has."""
    generator, edges = np.random.default_rng(seed), 2 * nodes
    tail = generator.integers(0, nodes, edges)
    head = (tail + generator.integers(1, (reach or nodes - 1) + 1, edges)) % nodes
    column = np.arange(edges)
    data = np.r_[np.ones(edges), -np.ones(edges)]
    A = sp.csc_matrix((data, (np.r_[tail, head], np.r_[column, column])), shape=(nodes, edges))
    return A, A @ generator.uniform(0, 1, edges)


def _clarabel(A: sp.csc_matrix, b: np.ndarray, y: np.ndarray) -> Callable[[], np.ndarray]:
    import clarabel

    n, m = A.shape[1], A.shape[0]
    eye = sp.identity(n, format="csc")
    rows = sp.vstack([A, -eye, eye], format="csc")
    sides = np.r_[b, np.zeros(n), np.ones(n)]

    def solve() -> np.ndarray:
        settings: Any = clarabel.DefaultSettings()
        settings.verbose, settings.max_threads = False, 1
        cones: list[Any] = [clarabel.ZeroConeT(m), clarabel.NonnegativeConeT(2 * n)]
        return np.array(clarabel.DefaultSolver(eye, -y, rows, sides, cones, settings).solve().x)

    return solve


def _seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def measure(nodes: int, fill: str, rounds: int) -> dict[str, Any]:
    """Return one row; both are called in turns."""
    A, b = network(nodes, KINDS[fill])
    y = np.random.default_rng(1).normal(size=A.shape[1])
    P = ol.Polytope(A_eq=A, b_eq=b, lower=0.0, upper=1.0)
    peer, point = _clarabel(A, b, y), torch.from_numpy(y)
    first, (z, status) = _seconds(lambda: ol.project(P, point, return_status=True))
    ours, theirs, x = [], [], z.numpy()
    for _ in range(rounds):
        seconds, x = _seconds(peer)
        theirs.append(seconds)
        ours.append(_seconds(lambda: ol.project(P, point))[0])
    largest = max((m for m in ol.plan(P).maps if m.block.num_rows), key=lambda m: m.block.size)
    rows = getattr(largest, "rows", None)
    return {
        "nodes": nodes,
        "edges": A.shape[1],
        "fill": fill,
        "entries": "" if rows is None else rows.entries,
        "method": status.solver[()],
        "clarabel_s": min(theirs),
        "first_s": first,
        "next_s": min(ours),
        "error": float(np.abs(x - z.numpy()).max()),
    }


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    ratios = [row[name] / row["clarabel_s"] for name in ("next_s", "first_s")]
    cells = [row["nodes"], row["edges"], row["fill"], row["entries"], row["method"]]
    cells += [f"{row['clarabel_s']:.3g}", f"{row['next_s']:.3g}", f"{ratios[0]:.2f}"]
    cells += [f"{row['first_s']:.3g}", f"{ratios[1]:.2f}", f"{row['error']:.1e}"]
    return "| " + " | ".join(map(str, cells)) + " |"


def page(rows: list[dict[str, Any]], rounds: int) -> str:
    """Return the text of the page."""
    parts = []
    for name, words in (("next_s", "calls after the first"), ("first_s", "first calls")):
        over = [r for r in rows if r[name] > GOAL * r["clarabel_s"]]
        worst = max(r[name] / r["clarabel_s"] for r in rows)
        state = "reached" if not over else f"**missed** in {len(over)} of {len(rows)} rows"
        parts.append(f"The goal for {words}: {state}; the largest ratio is {worst:.2f}.")
    names = ("torch", "scipy", "numba", "clarabel")
    return PAGE.format(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=", ".join(f"{name} {version(name)}" for name in names),
        machine=platform.machine(),
        cores=os.cpu_count(),
        rounds=rounds,
        goal=GOAL,
        rows="\n".join(line(row) for row in rows),
        verdict=" ".join(parts),
    )


def main() -> None:
    """Measure, then write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="nodes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warm = measure(60, "much", 1)  # loads what is compiled
    print(line(warm))
    rows = []
    for nodes in options.sizes:
        for fill in KINDS:
            rows.append(measure(nodes, fill, options.rounds))
            print(line(rows[-1]), flush=True)
    (options.output / "big.md").write_text(page(rows, options.rounds), encoding="utf-8")
    with (options.output / "big.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
