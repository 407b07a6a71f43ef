"""Steps of joint training, method by method: sentences per second, and where the time goes.

    OPTLAYERS_DATA=DIR python -m tests.benchmarks.pipeline [syntax] [--config paper] [--batches 60]
    OPTLAYERS_DATA=DIR python -m tests.benchmarks.pipeline sentiment [--parser FOLDER]

All methods take turns on the same batches of real sentences (at most 40 words), so that what else
the machine does hits all alike. A step is forward, backward, clipping and Adam. Writes
docs/results/pipeline-speed.md and .csv, or sentiment-speed.md and .csv.
"""

import argparse
import functools
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from examples.data import Corpus, Sentence
from examples.parsing.batches import Batch, Batches, collate
from examples.training.module import JointModule

from .pipeline_cases import LONGEST, PIPELINES, Models, Pipeline
from .pipeline_page import Rows, write

RESULTS = Path("docs/results")
WARM_UP = 5


class Clock:
    """Seconds spent in some functions, by name; calls within calls count once.

    Args:
        device: Where they compute; on a GPU, what was started before is not counted.
    """

    def __init__(self, device: str):
        self.seconds: dict[str, float] = defaultdict(float)
        self.device, self._running = device, False

    def now(self) -> float:
        """The time when all that was started is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Replaces a method by one that is timed."""
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._running:
                return inner(*args, **kwargs)
            self._running, start = True, self.now()
            try:
                return inner(*args, **kwargs)
            finally:
                self._running = False
                self.seconds[part] += self.now() - start

        setattr(owner, name, timed)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", nargs="?", choices=PIPELINES, default="syntax")
    parser.add_argument("--config", default="paper")
    parser.add_argument("--parser", help="folder of a trained one, for sentiment (untrained)")
    parser.add_argument("--batches", type=int, default=60, help="of each kind")
    parser.add_argument(
        "--repeats", type=int, default=1, help="steps per batch; the fastest counts"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder (%(default)s)")
    options = parser.parse_args()
    if options.parser and options.pipeline != "sentiment":
        parser.error("--parser is for sentiment: both parsers of `syntax` are measured untrained.")
    if min(options.batches - 1, options.repeats) < 1:
        parser.error("Wanted two --batches or more, and one of --repeats or more.")
    torch.set_num_threads(options.threads)
    pipeline, clock = PIPELINES[options.pipeline], Clock(options.device)
    for watched in pipeline.watched:
        clock.watch(*watched)
    rows = measure(pipeline, *pipeline.models(options), options, clock)
    write(pipeline, rows, options)


def measure(
    pipeline: Pipeline, models: Models, corpus: Corpus, options: argparse.Namespace, clock: Clock
) -> Rows:
    """A row for each method, kind of batch, and batch: the fastest of its steps."""
    rows = []
    steps = {
        name: stepper(model.to(options.device), pipeline.fixed, clock)
        for name, model in models.items()
    }
    for kind in pipeline.kinds:
        used = {
            name: model
            for name, model in models.items()
            if kind in pipeline.banks(model.config, corpus, "train")
        }
        for number, sentences in enumerate(drawn(models["spigot"], corpus, kind, options.batches)):
            for name, model in used.items():
                batch = collate(sentences, model.vocabulary, kind).to(options.device)
                found = [steps[name](batch) for _ in range(options.repeats)]
                fastest = min(found, key=lambda seconds: seconds["seconds"])
                if number < WARM_UP:
                    continue
                row = {"method": name, "kind": kind, "batch": number, "sentences": len(batch)}
                row |= {"words": int(batch.lengths.sum()), "seconds": fastest.pop("seconds")}
                row |= {part: fastest.get(part, 0.0) for part in pipeline.parts}
                rows.append(row | {"arcs": arcs(model, batch)})
    return rows


def drawn(model: JointModule[Any], corpus: Corpus, kind: str, count: int) -> list[list[Sentence]]:
    """The sentences of the first batches of a kind, and before them those to warm up with."""
    bank = [s for s in getattr(corpus, kind)["train"] if len(s) <= LONGEST]
    config = model.config
    batches = Batches({kind: bank}, model.vocabulary, config.batch_size, 0, pairs=config.pairs)
    return [batch.sentences for _, batch in zip(range(WARM_UP + count), batches, strict=False)]


def arcs(model: JointModule[Any], batch: Batch) -> int | None:
    """How many the graphs have that the model gives to the sentences."""
    if batch.kind == "trees":
        return None
    model.eval()
    found = [sentence.arcs for sentence in model.parse(batch)]
    model.train()
    return None if found[0] is None else sum(len(own or ()) for own in found)


def stepper(
    model: JointModule[Any], fixed: bool, clock: Clock
) -> Callable[[Batch], dict[str, float]]:
    """A training step, which returns its seconds and those of its parts.

    Args:
        model: The model.
        fixed: Whether the learning rate is zero.
        clock: Of its parts.
    """
    optimizer = model.configure_optimizers()
    if fixed:
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    model.train()

    def step(batch: Batch) -> dict[str, float]:
        clock.seconds = defaultdict(float)
        start = clock.now()
        optimizer.zero_grad()
        (model.loss(batch) / len(batch)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), model.config.clip)
        optimizer.step()
        return {"seconds": clock.now() - start, **clock.seconds}

    return step


if __name__ == "__main__":
    main()
