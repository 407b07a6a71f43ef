"""Writes docs/results/gpu.md and gpu.csv."""

import csv
import json
import platform
import textwrap
from datetime import date
from pathlib import Path
from typing import Any

import torch

from .steps import FOLDER, LIMIT, outcome, plan

NOTHING = "No GPU has run this code yet: nothing on this page is measured."
COLUMNS = ("page", "case", "verb", "device", "median_s", "min_s", "rounds", "error")


def write(found: dict[str, Any] | None, folder: Path) -> None:
    """Write the page; without findings, one that says so, unless there is one with figures.

    Args:
        found: What `steps.run` returned, and the header.
        folder: Where to.
    """
    page = folder / "gpu.md"
    if found is None:
        if not page.exists() or NOTHING in page.read_text(encoding="utf-8"):
            page.write_text(_of_nothing(), encoding="utf-8")
            _write_rows([], folder)
        return
    rows = _read("rows.json")
    parts = [_head(found), _steps(found["steps"]), _fuzz(), _times(rows), _waits(rows)]
    page.write_text("\n".join(part for part in parts if part).rstrip() + "\n", encoding="utf-8")
    _write_rows(rows.get("rows", []), folder)


def _write_rows(rows: list[dict[str, Any]], folder: Path) -> None:
    with (folder / "gpu.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read(name: str) -> dict[str, Any]:
    path = FOLDER / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 140) + "\n"


def _of_nothing() -> str:
    lines = "\n".join(f"| {step.name} | {step.text} | {step.seconds:g} s |" for step in plan()[:4])
    return (
        f"# On a GPU\n\n{NOTHING} Last looked for on {date.today().isoformat()}, "
        f"with torch {torch.__version__} and Python {platform.python_version()}.\n\n"
        + _wrapped(
            f"`make gpu` (`python -m tests.gpu`) runs the steps below in less than {LIMIT // 60} "
            "minutes and writes this page. It "
            "installs nothing where it is told which Python to use (`make gpu PY=python3`); where "
            "there is no CUDA it says so, and its exit status is 2."
        )
        + f"\n| step | what it runs | at most |\n|---|---|---|\n{lines}\n\n"
        + _wrapped(
            "What was shown without a GPU: the code that a GPU would run, on tensors that pretend "
            "to be elsewhere, answers as the host does, and waits as rarely as the table of "
            "[Devices](../explanation/devices.md) says."
        )
    )


def _head(found: dict[str, Any]) -> str:
    head = found["header"]
    failed = [step["name"] for step in found["steps"] if step["code"]]
    verdict = "Every step passed." if not failed else f"**Not everything passed: {failed}.**"
    return (
        f"# On a GPU\n\nWritten by `make gpu` on {head['date']}; do not edit by hand. All rows: "
        f"[gpu.csv](gpu.csv). {verdict}\n\n| | |\n|---|---|\n| GPU | {head['gpu']}, CUDA "
        f"{head['cuda']} |\n| host | {head['cores']} cores, Python {head['python']} |\n| versions "
        f"| {head['versions']} |\n"
    )


def _steps(steps: list[dict[str, Any]]) -> str:
    lines = [
        "## Steps",
        "",
        "| step | what | outcome | seconds | last line |",
        "|---|---|---|---|---|",
    ]
    for step in steps:
        last = ([s for s in step["tail"].splitlines() if s.strip()] or [""])[-1].strip("= ")
        last = last.replace("|", "/")[:120]
        cells = (step["name"], step["text"], outcome(step["code"]), f"{step['seconds']:.0f}", last)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _fuzz() -> str:
    found = _read("fuzz.json")
    if not found:
        return ""
    failures = found["failures"]
    total = found["rows"][-1]
    text = f"## Fuzz\n\n{total['cases']} cases, {len(failures)} failed.\n"
    names = [f"- `{name}`: {each[0]['kind']}" for name, each in list(failures.items())[:20]]
    return text + ("\n" + "\n".join(names) + "\n" if names else "")


def _times(found: dict[str, Any]) -> str:
    if not found.get("rows"):
        return ""
    lines = [
        "## Times",
        "",
        "Of one call, until the device is done; medians. The CPU has all cores of the host.",
        "",
        "| page | case | verb | CPU | GPU | CPU / GPU |",
        "|---|---|---|---|---|---|",
    ]
    pairs: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in found["rows"]:
        pairs.setdefault((row["page"], row["case"], row["verb"]), {})[row["device"]] = row
    for (page, case, verb), both in pairs.items():
        cells = [_time(both.get(device)) for device in ("cpu", "cuda")]
        ratio = ""
        if all("median_s" in both.get(device, {}) for device in ("cpu", "cuda")):
            ratio = f"{both['cpu']['median_s'] / both['cuda']['median_s']:.3g}"
        lines.append(
            f"| [{page}]({page}.md) | {case} | {verb} | {cells[0]} | {cells[1]} | {ratio} |"
        )
    return "\n".join(lines) + "\n"


def _time(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return row["error"].replace("|", "/") if "error" in row else f"{1e3 * row['median_s']:.3g} ms"


def _waits(found: dict[str, Any]) -> str:
    if not found.get("waits"):
        return ""
    lines = [
        "## How often the host waits",
        "",
        "What CUDA says (`torch.cuda.set_sync_debug_mode`), beside the table of "
        "[Devices](../explanation/devices.md).",
        "",
        "| set | verb | counted there | said by CUDA |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {w['set']} | {w['verb']} | {w['counted']} | {w['cuda']} |" for w in found["waits"]
    ]
    return "\n".join(lines) + "\n"
