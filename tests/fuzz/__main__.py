"""Fuzz the projections: `python -m tests.fuzz --cases 20000 --seed 0 --jobs 2`.

Exit status 1 if anything failed. A failing case runs again by its name:
`python -m tests.fuzz --case thin_cone:303`.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path

from rich.console import Console

from .generate import FAMILIES, named_case, names
from .page import write_page
from .run import Summary, run
from .seeds import FILE, judge_kept, keep
from .verdict import verdict_of

_SHOWN = 40  # failures printed; the file has all of them


def main() -> int:
    """Read the command line, judge, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="how many polytopes")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--family", default="", choices=["", *FAMILIES], help="only this one")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or tensors (see judge.py)")
    parser.add_argument("--case", help="one case only, by its name as printed")
    parser.add_argument("--out", type=Path, default=Path(".cache/fuzz.json"), help="the summary")
    parser.add_argument("--keep", action="store_true", help="add what fails to seeds.txt")
    parser.add_argument("--page", action="store_true", help="write docs/results/fuzz.md and .csv")
    parser.add_argument("--kept", action="store_true", help="judge and mark seeds.txt")
    args = parser.parse_args()
    if args.case:
        return _one(args.case)
    if args.kept:
        return _kept()
    asked = names(args.cases, args.seed, args.family)
    start = time.perf_counter()
    summary = run(asked, max(1, args.jobs), args.device, args.minutes)
    seconds = time.perf_counter() - start
    _report(summary, seconds, args.out)
    summary.write(args.out, cases=args.cases, seed=args.seed, family=args.family, seconds=seconds)
    if args.page:
        write_page(summary, _words(args), seconds, asked=len(asked))
    if args.keep:
        print(f"{keep(summary.failures)} cases are new in {FILE}.")
    return int(bool(summary.failures))


def _words(args: argparse.Namespace) -> str:
    """The arguments that decide what is judged, as they were given."""
    words = [f"--cases {args.cases}", f"--seed {args.seed}", f"--jobs {args.jobs}"]
    words += [f"--family {args.family}"] if args.family else []
    words += [f"--minutes {args.minutes:g}"] if args.minutes < math.inf else []
    words += [f"--device {args.device}"] if args.device != "cpu" else []
    return " ".join([*words, "--page"])


def _report(summary: Summary, seconds: float, out: Path) -> None:
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(summary.table())
    above = ", ".join(f"{count} above {bound}" for bound, count in summary.residuals.items())
    console.print(f"KKT residuals relative to max(1, |y|): {above}.")
    for name, failures in list(summary.failures.items())[:_SHOWN]:
        first = failures[0]
        console.print(
            f"{name}: {first.kind}, instance {first.instance}: {first.detail[:160]}", markup=False
        )
    for (family, kind), count in summary.kinds.most_common():
        console.print(f"{count} cases of {family}: {kind}")
    if summary.failures:
        name = next(iter(summary.failures))
        console.print(f"One of them again: python -m tests.fuzz --case {name}")
    failed = len(summary.failures)
    judged = summary.total().cases
    console.print(f"{failed} of {judged} cases failed in {seconds:.0f} s; {out} has every number.")


def _kept() -> int:
    """Judge what failed once; the file then says which still do."""
    still_open, mended = judge_kept()
    for kept in still_open:
        print(*kept)
    print(f"{len(still_open)} of {len(still_open) + len(mended)} kept cases fail.")
    return int(bool(still_open))


def _one(name: str) -> int:
    """Judge one case by everything there is, and print what it is and what was found."""
    made = named_case(name)
    verdict = verdict_of(made, compare=True)
    print(f"{made.name}: {made}, digest {made.digest()}")
    print(f"residuals {verdict.residuals}, refused {verdict.refused}, {verdict.seconds:.2f} s")
    print(f"derivatives: {verdict.slopes} compared, {verdict.kinks} skipped")
    for failure in verdict.failures:
        print(f"{failure.kind}, instance {failure.instance}: {failure.detail}")
    return int(bool(verdict.failures))


if __name__ == "__main__":
    sys.exit(main())
