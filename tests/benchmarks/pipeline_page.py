"""The page of `pipeline`: a row for each method, and the raw numbers."""

import argparse
import csv
import datetime
import json
import platform
import textwrap
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import torch

from examples.training.runs import RESULT

from .pipeline_cases import LONGEST, Pipeline

NUMBERS = ("config", "batches", "repeats", "threads", "device")
Rows = list[dict[str, Any]]


def summary(pipeline: Pipeline, rows: Rows) -> list[dict[str, str]]:
    """A row for each method."""
    last = pipeline.kinds[-1]
    base = {r["batch"]: r for r in rows if (r["method"], r["kind"]) == ("straight-through", last)}
    found = []
    for name, title in pipeline.titles.items():
        line = {"method": title}
        own = {
            k: [r for r in rows if (r["method"], r["kind"]) == (name, k)] for k in pipeline.kinds
        }
        for kind, steps in own.items():
            line[f"{kind}/s"] = "-"
            if steps:
                rate = sum(r["sentences"] for r in steps) / sum(r["seconds"] for r in steps)
                line[f"{kind}/s"] = f"{rate:.0f}"
        steps = own[last]
        seconds = sum(r["seconds"] for r in steps)
        shares = {part: sum(r[part] for r in steps) / seconds for part in pipeline.parts}
        shares["rest"] = 1 - sum(shares.values())
        line |= {part: f"{100 * share:.1f} %" for part, share in shares.items()}
        given = [r["arcs"] / r["sentences"] for r in steps if r["arcs"] is not None]
        line["arcs"] = f"{mean(given):.1f}" if given else "-"
        ratios = [r["seconds"] / base[r["batch"]]["seconds"] for r in steps]
        low, _, high = quantiles(ratios, n=4)
        line["step / straight-through"] = f"{median(ratios):.3f} ({low:.3f} to {high:.3f})"
        found.append(line)
    return found


def write(pipeline: Pipeline, rows: Rows, options: argparse.Namespace) -> None:
    """The page and the raw numbers."""
    stem = pipeline.stem + ("-cuda" if options.device == "cuda" else "")
    lines = summary(pipeline, rows)
    text = "\n".join(
        [
            f"# {pipeline.title}",
            "",
            f"`{command(options)}`",
            "",
            wrapped(heading(pipeline, rows, options)),
            "",
            f"| {' | '.join(lines[0])} |",
            f"| --- | {' | '.join('---:' for _ in list(lines[0])[1:])} |",
            *(f"| {' | '.join(line.values())} |" for line in lines),
            "",
            wrapped(f"{pipeline.reading} Raw numbers: `{stem}.csv`."),
            "",
        ]
    )
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{stem}.md").write_text(text, encoding="utf-8")
    with (options.output / f"{stem}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )
    print(text)


def wrapped(text: str) -> str:
    """A paragraph in lines."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def command(options: argparse.Namespace) -> str:
    """What was run, but for where the parser lies."""
    parser = " --parser FOLDER" if options.parser else ""
    numbers = (f"--{name} {getattr(options, name)}" for name in NUMBERS)
    return f"python -m tests.benchmarks.pipeline {options.pipeline}{parser} {' '.join(numbers)}"


def heading(pipeline: Pipeline, rows: Rows, options: argparse.Namespace) -> str:
    """When, where and on what it was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
    device = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    of_each = []
    for kind in pipeline.kinds:
        own = {r["batch"]: r for r in rows if r["kind"] == kind}.values()
        words = sum(r["words"] for r in own) / sum(r["sentences"] for r in own)
        of_each.append(f"{len(own)} of {kind} ({words:.1f} words on average)")
    sentences = [
        f"{datetime.date.today()}; {versions}, Python {platform.python_version()}; {device}, "
        f"{options.threads} torch thread(s). Config `{options.config}`, batches of up to "
        f"{max(r['sentences'] for r in rows)} sentences of at most {LONGEST} words:",
        f"{' and '.join(of_each)}; all methods take turns on the same batches.",
        "A step is forward, backward, clipping and Adam.",
    ]
    if options.repeats > 1:
        sentences.append(f"Of {options.repeats} steps on a batch the fastest counts.")
    if pipeline.fixed:
        sentences.append("The learning rate is zero, so that all methods read the same graphs.")
    return " ".join([*sentences, parser(pipeline, options)])


def parser(pipeline: Pipeline, options: argparse.Namespace) -> str:
    """How the parser was trained."""
    if options.parser:
        scores = json.loads((Path(options.parser) / RESULT).read_text(encoding="utf-8"))["dev"]
        return (
            "The parser is trained (`python -m examples.syntax_to_semantics train --method none`): "
            f"its labelled F1 on the development part is {100 * scores['LF']:.1f} %."
        )
    if pipeline.fixed:
        return (
            "The parser is untrained and nothing is pruned, so that its graphs have far more arcs "
            "than those of a trained one: this is a hard case for decoding and projecting. "
            "`--parser FOLDER` takes a trained one."
        )
    return "The models learn from the start."
