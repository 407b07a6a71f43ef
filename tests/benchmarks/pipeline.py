"""Steps of joint training, method by method: sentences per second, and where the time goes.

    OPTLAYERS_DATA=DIR python -m tests.benchmarks.pipeline [--config paper] [--batches 60]

All methods take turns on the same batches of real sentences (at most 40 words), so that what else
the machine does hits all alike. A step is forward, backward, clipping and Adam. Writes
docs/results/pipeline-speed.md and .csv.
"""

import argparse
import csv
import datetime
import functools
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

import optlayers as ol
from examples.data import Corpus
from examples.parsing.batches import Batch, Batches
from examples.syntax_to_semantics.config import make_config
from examples.syntax_to_semantics.experiment import ALL
from examples.syntax_to_semantics.methods import METHODS
from examples.syntax_to_semantics.model import JointParser
from examples.syntax_to_semantics.run import load_data, make_model

RESULTS = Path("docs/results")
LONGEST, WARM_UP = 40, 5
KINDS = ("trees", "graphs")
PARTS = ("decoding", "surrogate", "marginals")


class Clock:
    """Seconds spent in some functions of the library, by name; calls within calls count once."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self._running = False

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Replaces a method by one that is timed."""
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._running:
                return inner(*args, **kwargs)
            self._running, start = True, time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self._running = False
                self.seconds[part] += time.perf_counter() - start

        setattr(owner, name, timed)

    def take(self) -> dict[str, float]:
        """The seconds since the last call."""
        found, self.seconds = dict(self.seconds), defaultdict(float)
        return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="paper")
    parser.add_argument("--batches", type=int, default=60, help="of each kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = Clock()
    for kind in (ol.DependencyTrees, ol.SemanticGraphs):
        clock.watch(kind, "decode_instances", "decoding")
    for kind in (ol.SPIGOT, ol.StraightThrough):
        clock.watch(kind, "backward", "surrogate")
    clock.watch(ol.DependencyTrees, "marginals", "marginals")
    settings = {"data": "ewt", "data_options": {"max_words": LONGEST}}
    corpus = load_data(make_config(options.config, method="spigot", **settings))
    models = {
        name: make_model(make_config(options.config, method=name, **settings), corpus)
        for name in ALL
    }
    rows = measure(models, corpus, options, clock)
    write(rows, options)


def measure(
    models: dict[str, JointParser], corpus: Corpus, options: argparse.Namespace, clock: Clock
) -> list[dict[str, Any]]:
    """A row for each method, kind of batch, and batch."""
    steps = {name: stepper(model.to(options.device)) for name, model in models.items()}
    model = next(iter(models.values()))
    rows = []
    for kind in KINDS:
        bank = {kind: getattr(corpus, kind)["train"]}
        batches = Batches(
            bank, model.vocabulary, model.config.batch_size, 0, pairs=model.config.pairs
        )
        wanted = WARM_UP + options.batches
        for number, batch in zip(range(wanted), batches, strict=False):
            placed = batch.to(options.device)
            for name, step in steps.items():
                if not used(models[name], kind):
                    continue
                clock.take()
                seconds = step(placed)
                if number >= WARM_UP:
                    row = {"method": name, "kind": kind, "batch": number, "sentences": len(batch)}
                    words = int(batch.lengths.sum())
                    parts = {part: clock.seconds.get(part, 0.0) for part in PARTS}
                    rows.append({**row, "words": words, "seconds": seconds, **parts})
    return rows


def used(model: JointParser, kind: str) -> bool:
    """Whether the method trains on batches of that kind."""
    return kind == "graphs" or (model.method.syntax and not model.method.pretrained)


def stepper(model: JointParser) -> Callable[[Batch], float]:
    """A training step; returns its seconds."""
    optimizer = model.configure_optimizers()
    model.train()

    def step(batch: Batch) -> float:
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        optimizer.zero_grad()
        (model.loss(batch) / len(batch)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), model.config.clip)
        optimizer.step()
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return step


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each method."""
    by_batch = {(r["method"], r["kind"], r["batch"]): r for r in rows}
    found = []
    for name in ALL:
        line: dict[str, Any] = {"method": METHODS[name].title}
        for kind in KINDS:
            own = [r for r in rows if r["method"] == name and r["kind"] == kind]
            seconds = sum(r["seconds"] for r in own)
            line[f"{kind}/s"] = f"{sum(r['sentences'] for r in own) / seconds:.0f}" if own else "-"
        own = [r for r in rows if r["method"] == name and r["kind"] == "graphs"]
        seconds = sum(r["seconds"] for r in own)
        for part in PARTS:
            line[part] = f"{100 * sum(r[part] for r in own) / seconds:.1f} %"
        ratios = [
            r["seconds"] / by_batch["straight-through", "graphs", r["batch"]]["seconds"]
            for r in own
        ]
        line["step / straight-through"] = f"{median(ratios):.3f}"
        found.append(line)
    return found


def write(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """The page and the raw numbers."""
    lines = summary(rows)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
    device = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    graphs = [r for r in rows if r["kind"] == "graphs" and r["method"] == "none"]
    length = sum(r["words"] for r in graphs) / sum(r["sentences"] for r in graphs)
    text = f"""# Speed of joint training

`python -m tests.benchmarks.pipeline --config {options.config} --batches {options.batches}
--threads {options.threads} --device {options.device}`

{datetime.date.today()}; {versions}, Python {platform.python_version()}; {device},
{options.threads} torch thread(s). Config `{options.config}`, batches of up to 16 sentences of EWT
({length:.1f} words on average, at most {LONGEST}), {options.batches} batches of trees and
as many of graphs; all methods take turns on the same batches. A step is forward, backward,
clipping and Adam.

| {" | ".join(lines[0])} |
| --- | {" | ".join("---:" for _ in list(lines[0])[1:])} |
"""
    text += "\n".join(f"| {' | '.join(line.values())} |" for line in lines)
    text += """

`trees/s`, `graphs/s`: sentences per second in batches of that kind (those without syntax and the
pipeline train on graphs alone). *Decoding*: the argmax of the tree and the cost-augmented argmax of
the graph; *surrogate*: the backward pass of the layer, projections included; *marginals*: their
forward pass. Shares of the time of steps on graphs, where the layer is. The last column is the
median over batches of the ratio of a step on graphs to that of straight-through on the same batch.
Raw numbers: `pipeline-speed.csv`.
"""
    name = "pipeline-speed" + ("-cuda" if options.device == "cuda" else "")
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )
    print(text)


if __name__ == "__main__":
    main()
