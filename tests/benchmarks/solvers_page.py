"""Writes the page and the CSV of the comparison of solvers."""

import csv
import statistics
from pathlib import Path
from typing import Any

from .report import _time
from .solvers_cases import CASES
from .solvers_declared import declared_table, draw
from .solvers_methods import LOOP, OURS
from .solvers_text import PAGE

GOOD = 1e-6
BIG = 64  # batch from which the factor over the best peer is demanded
COLUMNS = (
    "case method threads device batch instances median_s min_s rounds residual judged note error"
)
Row = dict[str, Any]


def write(found: dict[str, Any], output: Path, name: str) -> None:
    """The page and the CSV, from what was measured."""
    rows: list[Row] = found["rows"]
    for row in rows:
        times, batch = row["times"], CASES[row["case"]].batch
        row["median_s"] = statistics.median(times) if times else None
        row["min_s"], row["rounds"] = (min(times), len(times)) if times else (None, 0)
        row["batch"] = batch
        row["judged"] = min(row.get("instances", 0), CASES[row["case"]].judged)
        row["good"] = bool(times) and row.get("residual", 1.0) <= GOOD
    output.mkdir(parents=True, exist_ok=True)
    with (output / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(
            file, COLUMNS.split(), extrasaction="ignore", lineterminator="\n", restval=""
        )
        writer.writeheader()
        for row in rows:
            cells: dict[Any, Any] = {
                k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()
            }
            writer.writerow(cells)
    cases = [c for c in CASES if any(r["case"] == c for r in rows)]
    page = PAGE.format(
        **found["header"],
        name=name,
        declared="\n".join(declared_table(rows)),
        targets="\n".join(_targets(found, [c for c in cases if not CASES[c].declared])),
        tables="\n".join(line for c in cases for line in _table(rows, c, found["plans"])).strip(),
        memory="\n".join(_memory(found)),
        failures="\n".join(_failures(rows)),
    )
    (output / f"{name}.md").write_text(page)
    draw(rows, output / f"{name}-sizes.svg")
    print(f"Wrote {output / name}.md, .csv and -sizes.svg")


def _of(rows: list[Row], case: str, label: str = "", device: str = "cpu") -> list[Row]:
    """The rows of a case that have a time and the accuracy, those of a method if it is named."""
    return [
        r
        for r in rows
        if r["case"] == case and r["good"] and r["device"] == device and label in ("", r["method"])
    ]


def _best(rows: list[Row]) -> Any:
    return min(rows, key=lambda r: r["median_s"], default=None)


def _peers(rows: list[Row], case: str, device: str = "cpu") -> list[Row]:
    return [r for r in _of(rows, case, device=device) if not r["method"].startswith(OURS)]


# ---------------------------------------------------------------------- targets


def _targets(found: dict[str, Any], cases: list[str]) -> list[str]:
    rows = found["rows"]
    lines = ["| target | wanted | measured (medians) | (minima) | |", "|---|---|---|---|---|"]
    for case in cases:
        own = _best(_of(rows, case, OURS))
        if CASES[case].batch >= BIG:
            peer = _best(_peers(rows, case))
            lines.append(_compare(f"{case} x {CASES[case].batch}, best peer", own, peer, 2))
    for case in cases:
        pair = [[r for r in _of(rows, case, m) if r["threads"] == 1] for m in (OURS, LOOP)]
        text = f"{case} x {CASES[case].batch}, OSQP loop, one thread"
        lines.append(_compare(text, _best(pair[0]), _best(pair[1]), 1))
    for case in cases:
        if not CASES[case].gpu:
            continue
        text = f"{case} on a GPU, OSQP loop"
        if not found["cuda"]:
            lines.append(f"| {text} | 50x | no GPU in this run | | not measured |")
            continue
        own, loop = _best(_of(rows, case, OURS, "cuda")), _best(_of(rows, case, LOOP))
        lines.append(_compare(text, own, loop, 50))
    return lines


def _compare(text: str, own: Row | None, peer: Row | None, factor: float) -> str:
    if own is None or peer is None:
        who = "ours" if own is None else "the peer"
        return f"| {text} | {factor}x | {who} has no time at this accuracy | | not measured |"
    ratio, least = (peer[k] / own[k] for k in ("median_s", "min_s"))
    worst = min(ratio, least)
    state = "reached" if worst >= factor else f"**not reached**: {worst / factor:.2g} of it"
    named = f"{text}: {_name(peer)}; ours {_name(own)}"
    return f"| {named} | {factor}x | {ratio:.3g}x | {least:.3g}x | {state} |"


def _name(row: Row) -> str:
    threads = f"{row['threads']} thread{'s' * (row['threads'] > 1)}"
    return f"{row['method']}, {threads if row['device'] == 'cpu' else 'GPU'}"


# ---------------------------------------------------------------------- tables


def _table(rows: list[Row], case: str, plans: dict[str, str]) -> list[str]:
    about = CASES[case]
    own = _best(_of(rows, case, OURS))
    some = [r for r in rows if r["case"] == case and r["median_s"] is not None]
    chosen = "; ".join(s.strip() for s in plans[case].splitlines()[1:] if "->" in s)
    lines = [
        f"### {case} x {about.batch}",
        "",
        f"{about.text}. The plan of `ol.project`: {chosen}.",
        "",
    ]
    columns = "method threads device median min times_ours residual rounds".split()
    lines += ["| " + " | ".join(c.replace("_", " ") for c in columns) + " | |"]
    lines += ["|" + "---|" * (len(columns) + 1)]
    for row in sorted(some, key=lambda r: r["median_s"]):
        ratio = f"{row['median_s'] / own['median_s']:.3g}" if own else ""
        residual = f"{row['residual']:.1e}"
        note = row["note"]
        if not row["good"]:
            residual = f"**{residual}**"
            note += "; misses 1e-6: does not count"
        if row["scale"] != 1:
            note += f"; {row['instances']} instances timed, time multiplied by {row['scale']:.3g}"
        cells = (row["method"], row["threads"], row["device"])
        cells += (_time(row["median_s"]), _time(row["min_s"]), ratio, residual, row["rounds"])
        lines.append("| " + " | ".join(map(str, (*cells, note.strip("; ")))) + " |")
    return [*lines, ""]


def _memory(found: dict[str, Any]) -> list[str]:
    if not found["memory"]:
        return ["Not measured in this run."]
    batch = CASES["sparse10k"].batch
    lines = [
        "| method | first instance, MiB | all, MiB | a further one, MiB | time per instance |",
        "|---|---|---|---|---|",
    ]
    for about in found["memory"]:
        row = _best(
            [r for r in _of(found["rows"], "sparse10k", about["method"]) if r["threads"] == 1]
        )
        one, all_ = about["1"], about[str(batch)]
        cells = ["failed"] * 3
        if one is not None and all_ is not None:
            cells = [f"{v:.1f}" for v in (one, all_, (all_ - one) / (batch - 1))]
        time = _time(row["median_s"] / batch) if row else ""
        lines.append("| " + " | ".join([about["method"], *cells, time]) + " |")
    return lines


def _failures(rows: list[Row]) -> list[str]:
    lines = [
        f"- {r['method']}, {r['threads']} threads, on {r['case']}: `{r['error'][:300]}`"
        for r in rows
        if r.get("error")
    ]
    return lines or ["Everything that was tried ran."]
