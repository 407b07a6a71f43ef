"""What a user declares: the table and the picture of the comparison of solvers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .report import _time
from .solvers_cases import CASES
from .solvers_methods import ALONE, METHODS, OURS

SMALL = 20  # variables up to which twice the speed of the fastest peer is wanted
NAMES = list(dict.fromkeys(m.label for m in METHODS if m.declared))
Row = dict[str, Any]


def _times(rows: list[Row], case: str) -> dict[str, float]:
    """Seconds for an instance by method, of those that reach the accuracy."""
    some = [r for r in rows if r["case"] == case and r["good"] and r["threads"] == 1]
    batch = CASES[case].batch
    return {r["method"]: r["median_s"] / batch for r in some if r["method"] in NAMES}


def declared_table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the table, a row per case."""
    yield "| n x m, batch | " + " | ".join(NAMES) + " | fastest peer | times ours | | one by one |"
    yield "|" + "---|" * (len(NAMES) + 5)
    for case, about in CASES.items():
        found = _times(rows, case)
        if about.declared is None or OURS not in found:
            continue
        peers = {k: v for k, v in found.items() if k not in (OURS, ALONE)}
        if not peers:
            continue
        n, m = about.declared
        peer, seconds = min(peers.items(), key=lambda kv: kv[1])
        ratio, wanted = seconds / found[OURS], 2 if n <= SMALL else 1
        state = f"{wanted}x: " + ("reached" if ratio >= wanted else "**not reached**")
        cells = [_time(found[k]) if k in found else "" for k in NAMES]
        alone = f"{seconds / found[ALONE]:.2g}" if ALONE in found else ""
        cells = [f"{n} x {m}, {about.batch}", *cells, peer, f"{ratio:.3g}", state, alone]
        yield "| " + " | ".join(cells) + " |"


def draw(rows: list[Row], path: Path) -> None:
    """Draw time for an instance against the number of variables."""
    figure = Figure(figsize=(8.5, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("rows: half as many as variables", "rows: twice as many")
    for axes, many, title in zip(panels, (False, True), titles, strict=True):
        for number, name in enumerate(NAMES):
            points = sorted(_sweep(rows, name, many))
            bold = {"linewidth": 2.5 if name == OURS else 1.2}
            bold |= {"color": "black"} if name in (OURS, ALONE) else {}
            if points:
                marker = "oosv^D*P"[number % 8]
                axes.loglog(*zip(*points, strict=True), marker=marker, ms=4, label=name, **bold)
        axes.set(xlabel="variables n", title=title)
        axes.grid(visible=True, which="major", alpha=0.3)
    panels[0].set_ylabel("microseconds an instance")
    panels[0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def _sweep(rows: list[Row], name: str, many: bool) -> Iterator[tuple[int, float]]:
    """Yield size and microseconds of one method, where it has an answer."""
    for case, about in CASES.items():
        if about.declared is None:
            continue
        n, m = about.declared
        found = _times(rows, case)
        if name in found and (m > n) == many:
            yield n, 1e6 * found[name]
