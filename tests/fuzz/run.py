"""Judges many cases in several processes, and what comes of it as a table and a file."""

import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress
from rich.table import Table

from .generate import FAMILIES
from .judge import FINE, Failure, Verdict
from .verdict import verdict_of_name

_CHUNK = 50  # cases per task: small enough for a smooth progress bar
_CAPTION = (
    "worst, >1e-9: KKT residuals; refused: rightly, as there is no point; vague: of these, without "
    "saying so; Clarabel: points compared with it; worse: of these, the less accurate; "
    "slopes: derivatives compared; kinks: skipped; failed: cases; silent: of these, those with a "
    "wrong answer that says nothing; seconds: of answering"
)
LOUD = ("unsolved", "called empty", "raises", "exception")  # failures that the caller is told of
_DECADES = tuple(10.0**k for k in range(-13, -5))
_COUNTS = ("points", "refused", "vague", "compared", "reference_worse", "slopes", "kinks")
_COUNTS += ("seconds",)


@dataclass
class Row:
    """Sums over the cases of one family."""

    family: str
    cases: int = 0
    points: int = 0
    worst: float = 0.0
    above: int = 0  # residuals above 1e-9
    refused: int = 0
    vague: int = 0
    compared: int = 0
    reference_worse: int = 0
    slopes: int = 0  # derivatives compared
    kinks: int = 0  # derivatives not compared: the two sides disagree
    failed: int = 0  # cases
    silent: int = 0  # of these, those with a wrong answer that says nothing
    seconds: float = 0.0

    def add(self, verdict: Verdict) -> None:
        """One more case."""
        self.cases += 1
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(verdict, name))
        self.worst = max(self.worst, *verdict.residuals, 0.0)
        self.above += sum(r > FINE for r in verdict.residuals)
        self.failed += bool(verdict.failures)
        self.silent += any(f.kind not in LOUD for f in verdict.failures)


@dataclass
class Summary:
    """Everything found in a run."""

    rows: dict[str, Row] = field(default_factory=dict)
    failures: dict[str, list[Failure]] = field(default_factory=dict)  # by the name of the case
    residuals: Counter[str] = field(default_factory=Counter)  # how many above each power of ten

    def add(self, verdict: Verdict) -> None:
        """One more case."""
        family = verdict.name.split(":")[0]
        self.rows.setdefault(family, Row(family)).add(verdict)
        if verdict.failures:
            self.failures[verdict.name] = verdict.failures
        for bound in _DECADES:
            self.residuals[f"{bound:.0e}"] += sum(r > bound for r in verdict.residuals)

    @property
    def kinds(self) -> Counter[tuple[str, str]]:
        """Number of failing cases by family and kind."""
        return Counter(
            pair
            for name, failures in self.failures.items()
            for pair in {(name.split(":")[0], f.kind) for f in failures}
        )

    def total(self) -> Row:
        """All families together."""
        total = Row("all")
        for row in self.rows.values():
            for name, value in asdict(row).items():
                if name not in ("family", "worst"):
                    setattr(total, name, getattr(total, name) + value)
            total.worst = max(total.worst, row.worst)
        return total

    def ordered(self) -> list[Row]:
        """Sums by family, in the order of the generator."""
        return [self.rows[name] for name in FAMILIES if name in self.rows]

    def table(self) -> Table:
        """One line per family, in the order of the generator, and one for all."""
        table = Table(title="Projections onto hostile polytopes", caption=_CAPTION)
        titles = "family cases points worst >1e-9 refused vague Clarabel worse slopes kinks"
        for title in f"{titles} failed silent seconds".split():
            table.add_column(title, justify="left" if title == "family" else "right")
        order = self.ordered()
        for row in [*order, self.total()]:
            values = asdict(row).items()
            formats = {"worst": ".1e", "seconds": ".1f"}
            table.add_row(
                *(format(value, formats.get(name, "")) for name, value in values),
                style="red" if row.failed else None,
                end_section=row is order[-1],
            )
        return table

    def write(self, path: Path, **about) -> None:
        """The same numbers and all failures, as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        found = about | {
            "rows": [asdict(row) for row in [*self.rows.values(), self.total()]],
            "residuals above": dict(self.residuals),
            "failures": {k: [asdict(f) for f in v] for k, v in self.failures.items()},
        }
        path.write_text(json.dumps(found, indent=1, default=_plain))


def _plain(value: Any) -> Any:
    """Numbers of numpy as numbers, anything else as text."""
    return float(value) if isinstance(value, np.number) else str(value)


def _judge_names(names: list[str], device: str) -> list[Verdict]:
    return [verdict_of_name(name, device) for name in names]


def _start_worker() -> None:
    import torch

    torch.set_num_threads(1)


def run(names: list[str], jobs: int, device: str = "cpu", minutes: float = np.inf) -> Summary:
    """Judge the cases of all names, or as many of the first as the minutes allow."""
    summary, end = Summary(), time.monotonic() + 60 * minutes
    with Progress(transient=True) as progress:
        task = progress.add_task("cases", total=len(names))
        for verdicts in _results(names, jobs, device):
            for verdict in verdicts:
                summary.add(verdict)
            progress.advance(task, len(verdicts))
            failed = len(summary.failures)
            progress.update(task, description=f"cases, {failed} failed" if failed else "cases")
            if time.monotonic() > end:
                break
    return summary


def _results(names: list[str], jobs: int, device: str) -> Iterator[list[Verdict]]:
    chunks = [names[k : k + _CHUNK] for k in range(0, len(names), _CHUNK)]
    if jobs == 1:
        for chunk in chunks:
            yield _judge_names(chunk, device)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the workers when they start
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        try:
            yield from pool.map(_judge_names, chunks, [device] * len(chunks))
        finally:
            pool.shutdown(cancel_futures=True)
