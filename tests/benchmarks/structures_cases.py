"""Inputs for the comparison of trees and graphs; imports neither us nor the peers."""

from pathlib import Path

import numpy as np

FOLDER = Path(".cache/benchmarks/structures")
LABELS, DETERMINISTIC = 58, 50
TREES = [f"trees-{n}-{batch}" for batch in (32, 256) for n in (10, 25, 50, 100)]
PEAKED = ["peaked-50-32"]  # scores of standard deviation 10
GRAPHS = ["graphs-10-32", "graphs-25-32"]


def write_inputs(names: list[str]) -> None:
    """Normal scores in float32, the same for every method."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names:
        kind, n, batch = name.split("-")
        words, count = int(n), int(batch)
        rng = np.random.default_rng([words, count])
        shape = (count, words + 1, words + 1)
        if kind == "graphs":
            shape = (count, words + words * words * (1 + LABELS))
        scores, weight = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
        scores *= 10 if kind == "peaked" else 1
        np.savez(FOLDER / f"{name}.npz", scores=scores, weight=weight, words=words)
