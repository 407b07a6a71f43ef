"""Writes docs/results/fuzz.md and .csv from a run; every figure of the page comes from it.

Last time's figures are those of the committed `fuzz.csv`, whose first line says which run it was.
"""

import csv
import datetime
import io
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from .generate import FAMILIES, SETS
from .run import LOUD, Row, Summary
from .seeds import kept_cases

RESULTS = Path("docs/results")
_SENTENCE = 20  # failing cases that the page names
_TITLES = ("family", "cases", "before", "points", "worst residual", "refused", "before", "failed")
_TITLES += ("before", "silent", "compared with Clarabel", "slopes compared")


class Before(NamedTuple):
    """The committed figures of last time.

    Attributes:
        about: When, and by which command; empty if it does not say.
        rows: Family -> column -> figure.
    """

    about: str
    rows: dict[str, dict[str, str]]


def write_page(
    summary: Summary, words: str, seconds: float, folder: Path = RESULTS, asked: int = 0
) -> None:
    """Write both files.

    Args:
        summary: What was found.
        words: The arguments of the command.
        seconds: How long it took.
        folder: Where to.
        asked: How many cases were asked for; 0: those that were judged.
    """
    before = read_before(_committed(folder / "fuzz.csv"))
    about = f'{datetime.date.today().isoformat()}, `make fuzz ARGS="{words}"`'
    (folder / "fuzz.csv").write_text(_as_csv(summary, about))
    (folder / "fuzz.md").write_text(page(summary, before, about, seconds, asked))
    print(f"Wrote {folder / 'fuzz.md'} and .csv")


def _committed(file: Path) -> str:
    """The text of a file as it was committed; as it is where there is no commit of it."""
    shown = subprocess.run(
        ["git", "show", f"HEAD:./{file}"], capture_output=True, text=True, check=False
    )
    if shown.returncode == 0 and not file.is_absolute():
        return shown.stdout
    return file.read_text() if file.exists() else ""


def read_before(text: str) -> Before:
    """Read a CSV file that `write_page` wrote, or one of before without its first line."""
    lines = text.splitlines()
    about = lines.pop(0).removeprefix("# ") if lines and lines[0].startswith("#") else ""
    return Before(about, {row["family"]: row for row in csv.DictReader(lines)})


def _as_csv(summary: Summary, about: str) -> str:
    out = io.StringIO()
    out.write(f"# {about}\n")
    writer = csv.DictWriter(out, list(asdict(Row(""))), lineterminator="\n")
    writer.writeheader()
    for row in [*summary.ordered(), summary.total()]:
        values = asdict(row) | {"worst": f"{row.worst:.3g}", "seconds": f"{row.seconds:.3g}"}
        writer.writerow(values)
    return out.getvalue()


def page(summary: Summary, before: Before, about: str, seconds: float, asked: int = 0) -> str:
    """Return the page."""
    total = summary.total()
    stopped = f" of {asked:,} that were asked for, the first that the time allowed,"
    stopped = stopped if asked > total.cases else ""
    date, _, command = about.partition(", ")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy"))
    return "\n".join(
        [
            "# Hostile polytopes",
            "",
            command,
            "",
            f"{date}; {versions}, Python {platform.python_version()}; {platform.machine()}; "
            f"{seconds / 60:.0f} minutes.",
            "",
            f"{total.cases:,} cases{stopped} of {len(summary.rows)} families, "
            f"{total.points:,} questions. {_about_families(summary)}",
            "",
            _verdict(summary, total),
            "",
            *_named(summary),
            *_open(summary),
            _before(before),
            "",
            *_table(summary, before),
            "",
            "Worst residual: the largest KKT residual of a projection, relative to the size of "
            "the point. Refused: instances that were refused rightly, because they have no "
            "answer. Failed: cases with anything wrong. Silent: of these, those in which "
            "something was wrong and nothing said so. Columns *before* are last time's. "
            "Raw numbers: `fuzz.csv`.",
            "",
        ]
    )


def _about_families(summary: Summary) -> str:
    listed = sum(name in SETS for name in summary.rows)
    return (
        f"{len(summary.rows) - listed} families are made of rows: every projection is certified "
        "by code that did not compute it, a tenth is compared with Clarabel, derivatives with "
        f"differences, and sets that are empty must be refused by name. {listed} families are "
        "named sets with all their structures listed, asked with masks of minus infinity, of -1e9 "
        "and of the lowest float: decisions, projections, sums, marginals, samples and the "
        "gradients of layers are held to the list."
    )


def _verdict(summary: Summary, total: Row) -> str:
    if not total.failed:
        return "**No case failed: no answer was wrong, and nothing was refused that has one.**"
    loud = total.failed - total.silent
    return (
        f"**{total.failed:,} of {total.cases:,} cases failed: {total.silent:,} silently, "
        f"{loud:,} with an error or a refusal.**"
    )


def _named(summary: Summary) -> list[str]:
    """Name the failing cases, the silent ones first."""
    if not summary.failures:
        return []
    order = sorted(summary.failures, key=lambda name: (_is_loud(summary, name), name))
    lines = []
    for name in order[:_SENTENCE]:
        first = summary.failures[name][0]
        words = first.detail.split("\n")[0].replace("|", "&#124;")[:90]
        lines.append(f"- `{name}`: {first.kind}: {words}")
    more = len(order) - _SENTENCE
    lines += [f"- and {more:,} more."] if more > 0 else []
    return [*lines, ""]


def _is_loud(summary: Summary, name: str) -> bool:
    return all(f.kind in LOUD for f in summary.failures[name])


def _open(summary: Summary) -> list[str]:
    """List earlier cases that are marked as open and are not among those of this run."""
    kept = [k for k in kept_cases() if k.is_open and k.name not in summary.failures]
    if not kept:
        return []
    lines = [f"- `{k.name}`: {k.was.removeprefix('open: ').replace('|', '&#124;')}" for k in kept]
    return ["Earlier cases that are open (`tests/fuzz/seeds.txt`):", "", *lines, ""]


def _before(before: Before) -> str:
    if "all" not in before.rows:
        return "There is no earlier run to compare with."
    last = before.rows["all"]
    silent = f", {int(last['silent']):,} of them silently" if "silent" in last else ""
    return (
        f"Before ({before.about or 'date unknown'}): {int(last['failed']):,} of "
        f"{int(last['cases']):,} cases failed{silent}."
    )


def _table(summary: Summary, before: Before) -> list[str]:
    lines = ["| " + " | ".join(_TITLES) + " |", "| --- |" + " ---: |" * (len(_TITLES) - 1)]
    gone = [name for name in before.rows if name not in summary.rows and name != "all"]
    for row in [*summary.ordered(), summary.total()]:
        last = before.rows.get(row.family, {})
        cells: list[Any] = [row.family.replace("_", " "), row.cases, last.get("cases", "")]
        cells += [row.points, f"{row.worst:.1e}", row.refused, last.get("refused", "")]
        cells += [row.failed, last.get("failed", ""), row.silent, row.compared, row.slopes]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    if gone and len(summary.rows) == len(FAMILIES):
        lines += ["", "No longer there: " + ", ".join(gone) + "."]
    return lines
