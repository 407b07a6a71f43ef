"""python -m examples.quickstart: compare ways to learn which few words decide a review."""

import argparse
import json
import os
import random
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.data import DataError
from examples.data.alone import alone
from examples.data.text import NO_MEMORY, is_lack_of_memory, output, told

from . import corpus, picture, report, sst
from .data import Splits
from .train import METHODS, TREEBANK, TREEBANK_LEARNING_RATES, Run, Settings, fit

LARGEST_SEED = 2**32 - 1  # that NumPy takes
MOST_THREADS = 1024
DEFAULT_METHOD = "spigot-projection"
WHY = (
    "SPIGOT around the projection is the default because it was measured best: on the Stanford "
    "Sentiment Treebank (3 seeds) it reaches 78.1 ±0.4 %, SPIGOT around the vertex 75.5 ±0.6, "
    "straight-through 67.6 ±4.1 (docs/results/quickstart-sst.md)."
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the comparison; returns the exit status."""
    options = checked(parser(), arguments)
    try:
        return quickstart(options, sys.argv[1:] if arguments is None else arguments)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {told(error)}", file=sys.stderr)
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        print(f"error: {NO_MEMORY}", file=sys.stderr)
    return 2


def checked(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """The options; a seed that is too large for torch or NumPy is a usage error."""
    options = parser.parse_args(arguments)
    if (last := options.seed + options.seeds - 1) > LARGEST_SEED:
        parser.error(f"seeds are at most {LARGEST_SEED}. Got {last}.")
    return options


def quickstart(options: argparse.Namespace, arguments: list[str]) -> int:
    """Compares, shows and saves; returns the exit status."""
    if options.threads or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(options.threads or 1)
    splits = sst.load(options.data) if options.data else corpus.generate(options.seed)
    if options.limit:
        splits = Splits(*(part[: options.limit] for part in splits))
    title = "Stanford Sentiment Treebank" if options.data else "Generated reviews"
    with alone(options.output):
        # What cannot be written is known before the training.
        with TemporaryFile(dir=options.output):
            pass
        return _compared(splits, title, options, arguments)


def _compared(splits: Splits, title: str, options: argparse.Namespace, arguments: list[str]) -> int:
    runs = compare(splits, options)
    shown = next((run for run in runs if run.method == DEFAULT_METHOD), runs[0])
    sample = random.Random(options.seed).sample(splits.test, min(3, len(splits.test)))
    chosen = report.examples(shown, sample, options.share, options.device)
    image = options.output / "quickstart.png"
    picture.draw(runs, chosen, title, image)
    command = shlex.join(["python", "-m", "examples.quickstart", *arguments])
    with output(options.output / "quickstart.md") as file:
        file.write(report.markdown(runs, title, command))
    if options.json:
        print(json.dumps([run.row() for run in runs], indent=1))
        return 0
    console = Console()
    console.print(report.table(runs, title))
    console.print(f"\nThree test reviews, words chosen by {METHODS[shown.method].title}:")
    for example in chosen:
        console.print(report.coloured(example), highlight=False)
    console.print(f"\n{WHY}" if shown.method == DEFAULT_METHOD else "", highlight=False)
    console.print(f"Picture: {image}", highlight=False, soft_wrap=True)
    return 0


def compare(splits: Splits, options: argparse.Namespace) -> list[Run]:
    """Trains every method with every seed under a progress bar; saves each run when it is done."""
    preset = dict(TREEBANK) if options.data else {}
    if options.epochs:
        preset["epochs"] = options.epochs
    settings = Settings(
        eta=options.eta,
        temperature=options.temperature,
        share=options.share,
        spans=options.spans,
        device=options.device,
        **preset,
    )
    own_rates = TREEBANK_LEARNING_RATES if options.data else {}
    table = options.output / "quickstart.csv"
    steps = settings.epochs * -(-len(splits.train) // settings.batch_size)
    bar = Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    seeds = range(options.seed, options.seed + options.seeds)
    wanted = [(method, seed) for method in options.methods for seed in seeds]
    runs = []
    with bar:
        tasks = [
            bar.add_task(f"{METHODS[method].title}, seed {seed}", total=steps, start=False)
            for method, seed in wanted
        ]
        for (method, seed), task in zip(wanted, tasks, strict=True):
            bar.start_task(task)
            rate = options.learning_rate or own_rates.get(method, settings.learning_rate)
            own = replace(settings, seed=seed, learning_rate=rate)
            run = fit(method, splits, own, lambda t=task: bar.advance(t))
            runs.append(run)
            report.write_csv(runs, table)
    return runs


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser("python -m examples.quickstart", description=__doc__)
    default = Settings()
    add = p.add_argument
    add("--data", type=Path, help="folder with the SST files (default: generated reviews)")
    names = ", ".join(METHODS)
    add("--methods", nargs="+", choices=METHODS, default=[*METHODS], metavar="METHOD", help=names)
    add("--epochs", type=at_least(1), help="(default: 6 for generated reviews, 8 for the SST)")
    add("--eta", type=positive, default=default.eta, help="step size of SPIGOT")
    temperature = "divides the scores in SPIGOT around the projection"
    add("--temperature", type=positive, default=default.temperature, help=temperature)
    add("--learning-rate", type=positive, help="of Adam (default: what suits method and data)")
    add("--share", type=share, default=default.share, help="share of the words to choose at most")
    add("--spans", type=at_least(1), default=default.spans, help="spans to choose at most")
    add("--seed", type=at_least(0), default=0, help="first seed, also of the generated reviews")
    add("--seeds", type=at_least(1), default=1, help="number of seeds")
    add("--limit", type=at_least(1), help="use only the first reviews of each part")
    add("--threads", type=threads, help="torch threads (1, or OMP_NUM_THREADS)")
    add("--device", type=device, default="cpu")
    add("--output", type=Path, default=Path("runs/quickstart"), help="folder for what is saved")
    add("--json", action="store_true", help="print the runs as JSON instead of the report")
    return p


def at_least(smallest: int) -> Callable[[str], int]:
    """An argparse type for integers from `smallest` on."""

    def integer(text: str) -> int:
        if (value := int(text)) < smallest:
            raise argparse.ArgumentTypeError(f"must be at least {smallest}. Got {value}.")
        return value

    return integer


def threads(text: str) -> int:
    """An argparse type for numbers of threads."""
    if (value := at_least(1)(text)) > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_THREADS}. Got {text}.")
    return value


def device(text: str) -> str:
    """An argparse type for devices that are there."""
    try:
        torch.zeros(1, device=text).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(f"{text} is not available: {why}") from None
    return text


def positive(text: str) -> float:
    """An argparse type for positive numbers."""
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number. Got {text}.")
    return value


def share(text: str) -> float:
    """An argparse type for shares."""
    if not 0 < (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1. Got {text}.")
    return value


if __name__ == "__main__":
    sys.exit(main())
