"""Run every benchmark and write docs/results/projections.md and .csv: `make bench`.

python -m tests.benchmarks.report [pytest arguments]
"""

import csv
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .cases import CASES, FOLDER
from .page import PAGE

RESULTS = Path("docs/results")
RAW = FOLDER / "raw.json"
SIZES = (300, 600, 1200, 2400)  # arcs
TITLES = {
    "project": "Projection",
    "layer": "StructuredArgmax, forward and SPIGOT backward",
    "decode": "Decoding",
}
COLUMNS = ("case", "group", "label", "threads", "median_s", "min_s", "spread", "rounds", "error")
COLUMNS = (*COLUMNS, "scale", "note")


def main(arguments: list[str]) -> None:
    """Measure, then write."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    FOLDER.mkdir(parents=True, exist_ok=True)
    options = ["-q", "tests/benchmarks", "--benchmark-only", f"--benchmark-json={RAW}"]
    options += ["--benchmark-columns=min,median,rounds", "--benchmark-sort=name"]
    code = subprocess.call([sys.executable, "-m", "pytest", *options, *arguments])
    if code:
        sys.exit(code)
    fresh = {
        "header": _header(),
        "compile": [_fresh("compile") for _ in range(3)],
        "copy": [_fresh("copy")["gb_per_s"] for _ in range(3)],
        "memory": [
            {"arcs": arcs, "dtype": d, **_fresh("memory", str(arcs), d)}
            for d in ("float32", "float64")
            for arcs in SIZES
        ],
    }
    (FOLDER / "fresh.json").write_text(json.dumps(fresh))
    write()


def write() -> None:
    """The page and the CSV, from what was measured last."""
    rows = [_row(b) for b in json.loads(RAW.read_text())["benchmarks"]]
    fresh = json.loads((FOLDER / "fresh.json").read_text())
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "projections.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _plain(v) for k, v in r.items()} for r in rows)
    page = PAGE.format(
        **fresh["header"],
        copy_speed=max(fresh["copy"]),
        targets=_targets(rows, fresh),
        tables="\n".join(_tables(rows)).strip(),
        failures=_failures(),
        bandwidth=_bandwidth(rows, fresh),
        memory=_memory(fresh["memory"]),
        compilation=_compilation(fresh["compile"]),
        noise=_noise(rows),
    )
    (RESULTS / "projections.md").write_text(page)
    print(f"Wrote {RESULTS / 'projections.md'} and .csv")


def _fresh(*arguments: str) -> Any:
    command = [sys.executable, "-m", "tests.benchmarks.fresh", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _row(benchmark: dict[str, Any]) -> dict[str, Any]:
    stats, info = benchmark["stats"], benchmark["extra_info"]
    times = {f"{k}_s": info["scale"] * stats[k] for k in ("median", "min")}
    spread = (stats["q3"] - stats["q1"]) / stats["median"]
    return {**info, **times, "spread": spread, "rounds": stats["rounds"]}


def _plain(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _find(rows: list[dict], case: str, label: str, threads: int = 1, group="project") -> Any:
    wanted = (case, group, label, threads)
    found = [r for r in rows if (r["case"], r["group"], r["label"], r["threads"]) == wanted]
    return found[0] if found else None


def _best(rows: list[dict], case: str, start: str) -> Any:
    """The fastest form of a peer."""
    found = [r for r in rows if r["case"] == case and r["label"].startswith(start)]
    return min((r for r in found if r["group"] == "project"), key=lambda r: r["median_s"])


# ---------------------------------------------------------------------- parts of the page


def _header() -> dict[str, str]:
    names = "numpy scipy numba torch osqp cvxpy cvxpylayers entmax highspy pytest-benchmark"
    peers = Path("tests/benchmarks/peers.txt").read_text().splitlines()
    pins = [p for p in peers if p.split("==")[0] in ("numpy", "torch", "qpth", "jax", "jaxopt")]
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "versions": ", ".join(f"{n} {version(n)}" for n in names.split()),
        "peer_versions": ", ".join(p.replace("==", " ") for p in pins),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "cores": str(os.cpu_count()),
        "load": ", ".join(f"{v:.1f}" for v in os.getloadavg()),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "")


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _tables(rows: list[dict]) -> list[str]:
    lines = []
    for case, about in CASES.items():
        for group, title in TITLES.items():
            some = [r for r in rows if (r["case"], r["group"]) == (case, group)]
            if not some:
                continue
            base = _find(rows, case, "optlayers float64", group=group) or _find(
                rows, case, "optlayers", group=group
            )
            lines += [f"### {title}: {case}", "", f"{about.text}.", ""]
            lines += ["| method | threads | median | min | times ours | max error | rounds | |"]
            lines += ["|---|---|---|---|---|---|---|---|"]
            lines += [_line(r, base) for r in sorted(some, key=lambda r: r["median_s"])] + [""]
    return lines


def _line(r: dict, base: dict) -> str:
    error = "" if r["error"] is None else f"{r['error']:.1e}"
    note = r["note"]
    if r["scale"] != 1:
        note += f"; 1/{r['scale']:g} of the batch timed, time multiplied"
    cells = (r["label"], r["threads"], _time(r["median_s"]), _time(r["min_s"]))
    ratio = r["median_s"] / base["median_s"]
    return "| " + " | ".join(map(str, (*cells, f"{ratio:.3g}", error, r["rounds"], note))) + " |"


def _targets(rows: list[dict], fresh: dict) -> str:
    head, label = (_find(rows, c, "optlayers float64") for c in ("head_selection", "label_sum"))
    wanted = [
        (
            "head_selection against the OSQP warm loop",
            head,
            _best(rows, "head_selection", "OSQP"),
            100,
        ),
        (
            "head_selection against cvxpylayers",
            head,
            _best(rows, "head_selection", "cvxpylayers"),
            1000,
        ),
        (
            "head_selection against entmax, float64",
            head,
            _find(rows, "head_selection", "entmax float64"),
            1,
        ),
        (
            "head_selection against entmax, float32",
            _find(rows, "head_selection", "optlayers float32"),
            _find(rows, "head_selection", "entmax float32"),
            1,
        ),
        ("label_sum against the OSQP loop", label, _best(rows, "label_sum", "OSQP"), 100),
    ]
    lines = ["| target | wanted | measured (medians) | (minima) | |", "|---|---|---|---|---|"]
    for text, own, peer, factor in wanted:
        ratio, least = (peer[k] / own[k] for k in ("median_s", "min_s"))
        name = f"{text} ({peer['label']}, error {peer['error']:.1e}; ours {own['error']:.1e})"
        state = "reached" if min(ratio, least) >= factor else "**not reached**"
        lines.append(f"| {name} | {factor}x | {ratio:.3g}x | {least:.3g}x | {state} |")
    return "\n".join(lines + _other_targets(fresh))


def _other_targets(fresh: dict) -> list[str]:
    compiled = [
        max(sum(run[name][k] for k in ("declare", "compile")) for run in fresh["compile"])
        for name in fresh["compile"][0]
    ]
    growth = [m["growth"] / m["input"] for m in fresh["memory"]]
    lines = []
    state = "reached" if max(compiled) < 2 else "**not reached**"
    times = ", ".join(_time(c) for c in compiled)
    lines.append(
        f"| compiling head_selection(60), label_sum(60·59, 58) | 2 s | {times} | | {state} |"
    )
    state = "reached" if max(growth) < 1.5 else "**not reached**"
    span = f"{min(growth):.2f} to {max(growth):.2f} of the input"
    lines.append(f"| memory of label_sum beyond its input | linear | {span} | | {state} |")
    return lines


def _failures() -> str:
    text = (FOLDER / "failures.jsonl").read_text().splitlines()
    failures = [json.loads(line) for line in text]
    if not failures:
        return "Every method listed in `tests/benchmarks/test_methods.py` ran."
    return "\n".join(f"- {f['label']} on {f['case']}: `{f['error'][:300]}`" for f in failures)


def _bandwidth(rows: list[dict], fresh: dict) -> str:
    columns = "case tensor copy projection ratio GB/s".split()
    columns += ["ratio with 2 threads", "limit of main memory"]
    lines = ["| " + " | ".join(columns) + " |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for case in ("head_selection", "label_sum"):
        for dtype, width in (("float64", 8), ("float32", 4)):
            copy, own = (_find(rows, case, f"{m} {dtype}") for m in ("copy", "optlayers"))
            two = _find(rows, case, f"optlayers {dtype}", 2)
            size = CASES[case].batch * CASES[case].make().n * width
            limit = 2 * size / 1e9 / max(fresh["copy"])
            speed = 2 * size / 1e9 / own["min_s"]
            ratio, half = (own["min_s"] / copy["min_s"], two["min_s"] / copy["min_s"])
            lines.append(
                f"| {case} {dtype} | {size / 2**20:.2f} MiB | {_time(copy['min_s'])} | "
                f"{_time(own['min_s'])} | {ratio:.1f} | {speed:.2g} | {half:.1f} | {_time(limit)} |"
            )
    return "\n".join(lines)


def _memory(found: list[dict]) -> str:
    lines = [
        "| arcs | dtype | input, MiB | growth of the peak, MiB | ratio |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {m['arcs']} | {m['dtype']} | {m['input']:.1f} | {m['growth']:.1f} | "
        f"{m['growth'] / m['input']:.2f} |"
        for m in found
    ]
    return "\n".join(lines)


def _compilation(found: list[dict]) -> str:
    keys = ("declare", "compile", "first call", "again")
    lines = [
        "| polytope | declare | both plans | first projection | declare, plan, project again |"
    ]
    lines += ["|---|---|---|---|---|"]
    for name in found[0]:
        times = [statistics.median(run[name][k] for run in found) for k in keys]
        lines.append(f"| {name} | " + " | ".join(_time(t) for t in times) + " |")
    return "\n".join(lines)


def _noise(rows: list[dict]) -> str:
    parts = []
    for case in CASES:
        for dtype in ("float64", "float32"):
            pair = [_find(rows, case, f"{m} {dtype}") for m in ("optlayers", "optlayers again")]
            median, least = (pair[1][k] / pair[0][k] for k in ("median_s", "min_s"))
            parts.append(f"{case} {dtype}: median {median:.2f}, min {least:.2f}")
    return "; ".join(parts)


if __name__ == "__main__":
    write() if sys.argv[1:] == ["--only-write"] else main(sys.argv[1:])
