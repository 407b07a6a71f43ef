"""Trees and graphs against their peers: `make bench-structures`.

python -m tests.benchmarks.structures [--only-write]

Writes docs/results/structures.md and .csv. Each library runs in a process of its own, on the same
saved inputs; nothing is asserted on time.
"""

import csv
import datetime
import json
import os
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from .report import _header, _time
from .structures_cases import FOLDER, GRAPHS, PEAKED, TREES, write_inputs
from .structures_page import PAGE

PEERS = Path(".venv-parsers/bin/python")
PINS = Path("tests/benchmarks/parsers.txt")
RESULTS = Path("docs/results")
SECONDS = 0.5  # of timing per row, at least 3 rounds
TASKS = {
    "projective argmax": "Projective trees (Eisner)",
    "argmax": "All trees (Chu-Liu/Edmonds)",
    "projective marginals": "Marginals of projective trees (inside-outside)",
    "marginals": "Marginals of all trees (matrix-tree)",
    "projective attention": "Structured attention, projective: marginals and their backward pass",
    "attention": "Structured attention, all trees: marginals and their backward pass",
    "projective SPIGOT": "A layer over projective trees: argmax forward, SPIGOT backward",
    "projective SPIGOT, hull": "A layer over projective trees, SPIGOT projected onto their hull",
    "SPIGOT, hull": "A layer over all trees, SPIGOT projected onto their hull",
    "semantic argmax": "Semantic graphs, 58 labels, 50 of them deterministic",
    "semantic SPIGOT": "A layer over semantic graphs: argmax forward, SPIGOT (Eq. 6) backward",
}
OURS = "optlayers"


def main() -> None:
    """Measure, then write."""
    write_inputs([*TREES, *PEAKED, *GRAPHS])
    tree_tasks = [t for t in TASKS if not t.startswith("semantic")]
    both = [t for t in tree_tasks if "SPIGOT" not in t]
    peaked = [(t, c) for t in ("projective marginals", "marginals") for c in PEAKED]
    pairs = {
        OURS: [(t, c) for t in tree_tasks for c in (TREES[:3] if "hull" in t else TREES)]
        + peaked
        + [(t, c) for t in TASKS if t.startswith("semantic") for c in GRAPHS],
        "supar": [(t, c) for t in both for c in TREES] + peaked,
        # 256 projective trees over 100 words took more memory than the 24 GB of the machine.
        "torch-struct": [(t, c) for t in both for c in (TREES if t[0] != "p" else TREES[:-1])]
        + peaked,
        "HiGHS": [("semantic argmax", c) for c in GRAPHS],
    }
    rows: list[dict[str, Any]] = []
    for threads in (1, 2):
        for library, wanted in pairs.items():
            if threads == 2 and library != OURS:
                small = (f"trees-{n}-32" for n in (25, 100))
                wanted = [("projective argmax", c) for c in small if library == "supar"]
            rows += _serve(library, threads, wanted)
    rows += [r | {"library": f"{OURS} again"} for r in _serve(OURS, 1, pairs[OURS])]
    found = {"rows": rows, "header": _header(), "pins": _pins()}
    (FOLDER / "raw.json").write_text(json.dumps(found))
    write()


def _serve(library: str, threads: int, wanted: list[tuple[str, str]]) -> list[dict[str, Any]]:
    if not wanted:
        return []
    peers = library in ("supar", "torch-struct")
    if peers and not PEERS.exists():
        error = f"{PEERS} does not exist: `make bench-structures` makes it from {PINS}"
        return [
            {"library": library, "task": t, "case": c, "threads": threads, "error": error}
            for t, c in wanted
        ]
    python = str(PEERS) if peers else sys.executable
    module = "structures_peers" if peers else "structures_ours"
    command = [python, "-m", "tests.benchmarks.structures_worker", module, library]
    command += [str(threads), str(SECONDS), *(f"{t}={c}" for t, c in wanted)]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    with (FOLDER / "stderr.txt").open("a") as errors:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | dict.fromkeys(names, str(threads)),
            check=True,
        )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for row in rows:
        row["difference"] = None if "error" in row else _difference(row)
        print(*(row[k] for k in ("library", "task", "case", "threads")), _summary(row), flush=True)
    return rows


def _summary(row: dict[str, Any]) -> str:
    return row.get("error") or f"{_time(statistics.median(row['times']))} {row['difference']}"


def _difference(row: dict[str, Any]) -> float | None:
    """From our answer: in score for structures, the largest entry for marginals and gradients."""
    case, task = row["case"], row["task"]
    ours, found = (
        np.load(FOLDER / f"{library} {task} {case}.npz") for library in (OURS, row["library"])
    )
    if "heads" in found:
        scores = np.load(FOLDER / f"{case}.npz")["scores"].astype(np.float64)
        values = [_value(scores, a["heads"]) for a in (ours, found)]
        return float(np.abs(values[0] - values[1]).max())
    keys = list(found)
    if not keys:
        return None
    part = len(found[keys[0]])
    return float(np.abs(ours[keys[0]][:part].astype(np.float64) - found[keys[0]]).max())


def _value(scores: np.ndarray, heads: np.ndarray) -> np.ndarray:
    words = np.arange(1, scores.shape[-1])
    return np.take_along_axis(scores[:, :, words], heads[:, None, :], 1)[:, 0].sum(-1)


def _pins() -> str:
    lines = PINS.read_text().splitlines()
    return ", ".join(
        p.replace("==", " ")
        for p in lines
        if p.split("==")[0] in ("torch", "supar", "torch-struct")
    )


# ---------------------------------------------------------------------- the page


def write() -> None:
    """The page and the CSV, from what was measured last."""
    found = json.loads((FOLDER / "raw.json").read_text())
    rows = found["rows"]
    for row in rows:
        times = row.get("times")
        row["median_s"] = statistics.median(times) if times else None
        row["min_s"], row["rounds"] = (min(times), len(times)) if times else (None, 0)
    columns = "library task case threads median_s min_s rounds scale difference error".split()
    with (RESULTS / "structures.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cells = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(cells)
    header = found["header"] | {"peer_versions": found["pins"]}
    page = PAGE.format(
        **header,
        targets=_targets(rows),
        tables="\n".join(line for task in TASKS for line in _table(rows, task)).strip(),
        peaked=_peaked(rows),
        matrix_tree=_matrix_tree(rows),
        failures=_failures(rows),
        noise=_noise(rows),
        today=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        numba=version("numba"),
    )
    (RESULTS / "structures.md").write_text(page)
    print(f"Wrote {RESULTS / 'structures.md'} and .csv")


def _find(rows: list[dict], library: str, task: str, case: str, threads: int = 1) -> Any:
    wanted = (library, task, case, threads)
    found = [r for r in rows if (r["library"], r["task"], r["case"], r["threads"]) == wanted]
    return found[0] if found and found[0]["median_s"] else None


def _cell(row: Any, own: Any = None) -> str:
    if row is None:
        return ""
    text = f"{_time(row['median_s'])} / {_time(row['min_s'])}"
    if own is not None:
        text += f" ({row['median_s'] / own['median_s']:.3g}x)"
    return text


def _table(rows: list[dict], task: str) -> list[str]:
    peers = [p for p in ("supar", "torch-struct", "HiGHS") if _any(rows, p, task)]
    columns = ["words", "batch", "optlayers", "2 threads", *peers]
    columns += [f"{p}, difference" for p in peers]
    lines = [f"### {TASKS[task]}", "", "| " + " | ".join(columns) + " |"]
    lines += ["|" + "---|" * len(columns)]
    for case in [*TREES, *GRAPHS]:
        own, two = _find(rows, OURS, task, case), _find(rows, OURS, task, case, 2)
        if own is None:
            continue
        found = [_find(rows, p, task, case) for p in peers]
        differences = [f"{r['difference']:.0e}" if r else "" for r in found]
        cells = [*case.split("-")[1:], _cell(own), _cell(two), *(_cell(r, own) for r in found)]
        lines.append("| " + " | ".join([*cells, *differences]) + " |")
    return [*lines, ""]


def _any(rows: list[dict], library: str, task: str) -> bool:
    return any(_find(rows, library, task, c) for c in [*TREES, *GRAPHS])


def _targets(rows: list[dict]) -> str:
    case, task = "trees-25-32", "projective argmax"
    own, own2 = (_find(rows, OURS, task, case, k) for k in (1, 2))
    peers = [_find(rows, "supar", task, case, k) for k in (1, 2)]
    graph = [_find(rows, OURS, "semantic argmax", "graphs-25-32", k) for k in (1, 2)]
    lines = ["| target | wanted | measured (medians) | (minima) | |", "|---|---|---|---|---|"]
    best = {k: min(r[k] for r in peers if r) for k in ("median_s", "min_s")} if any(peers) else None
    if best:
        ratio, least = (best[k] / own[k] for k in ("median_s", "min_s"))
        state = "reached" if min(ratio, least) >= 50 else "**not reached**"
        text = "Eisner, 25 words, batch 32, one thread, against supar with the better of 1 and 2"
        lines.append(f"| {text} | 50x | {ratio:.3g}x | {least:.3g}x | {state} |")
    for text, pair, limit in (
        ("the same, time", (own, own2), 1e-3),
        ("semantic argmax, 25 words, 58 labels, batch 32", graph, 20e-3),
    ):
        for row in pair:
            state = "reached" if row["median_s"] < limit else "**not reached**"
            times = f"{_time(row['median_s'])} | {_time(row['min_s'])}"
            name = f"{text}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
            lines.append(f"| {name} | {_time(limit)} | {times} | {state} |")
    return "\n".join(lines)


def _matrix_tree(rows: list[dict]) -> str:
    """Say by how much the time of torch-struct differs from ours, one thread on both sides."""
    said = []
    for task, text in (("marginals", "marginals"), ("attention", "with their backward pass")):
        pairs = [[_find(rows, k, task, c) for k in (OURS, "torch-struct")] for c in TREES]
        ratios = [theirs["median_s"] / own["median_s"] for own, theirs in pairs if own and theirs]
        if ratios:
            said.append(f"{min(ratios):.2g} to {max(ratios):.2g} ({text})")
    return f"torch-struct takes {', '.join(said)} times as long as ours." if said else ""


def _peaked(rows: list[dict]) -> str:
    lines = ["| task | library | largest difference from ours | time |", "|---|---|---|---|"]
    for task in ("projective marginals", "marginals"):
        for library in ("supar", "torch-struct"):
            row = _find(rows, library, task, PEAKED[0])
            if row:
                lines.append(
                    f"| {TASKS[task]} | {library} | {row['difference']:.1e} | {_cell(row)} |"
                )
    return "\n".join(lines)


def _failures(rows: list[dict]) -> str:
    found = {(r["library"], r["task"]): r["error"] for r in rows if r.get("error")}
    if not found:
        return "Everything that was tried ran."
    return "\n".join(f"- {lib}, {task}: `{error[:300]}`" for (lib, task), error in found.items())


def _noise(rows: list[dict]) -> str:
    ratios = []
    for row in rows:
        if row["library"] == f"{OURS} again":
            first = _find(rows, OURS, row["task"], row["case"])
            ratios.append((row["median_s"] / first["median_s"], row["min_s"] / first["min_s"]))
    medians, minima = (sorted(r) for r in zip(*ratios, strict=True))
    return (
        f"medians {medians[0]:.2f} to {medians[-1]:.2f} (half of them below "
        f"{statistics.median(medians):.2f}), minima {minima[0]:.2f} to {minima[-1]:.2f}"
    )


if __name__ == "__main__":
    write() if sys.argv[1:] == ["--only-write"] else main()
