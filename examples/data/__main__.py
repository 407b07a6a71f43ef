"""python -m examples.data fetch ewt: brings the open data that the pipelines use."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from .download import Progress
from .fetch import default_folder, fetch_ewt
from .sentence import DataError


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        with Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as bars:
            fetch_ewt(options.to, say=bars.print, progress=reporter(bars))
        print(
            "English-EWT and PropBank are under CC BY-SA 4.0: keep their names with what you share."
        )
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues.", file=sys.stderr)
        return 130
    return 0


def reporter(bars: Bars) -> Callable[[str], Progress]:
    """Gives each file a progress bar, from its first byte on."""

    def start(name: str) -> Progress:
        tasks: list[TaskID] = []

        def report(done: int, total: int | None) -> None:
            if not tasks:
                tasks.append(bars.add_task(name))
            bars.update(tasks[0], completed=done, total=total)

        return report

    return start


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser("python -m examples.data", description=__doc__)
    commands = result.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser(
        "fetch",
        help="download and convert a corpus",
        description="Download a corpus and convert it; what is there already is not fetched again.",
    )
    fetch.add_argument("corpus", choices=["ewt"], help="UD English-EWT and PropBank graphs on it")
    fetch.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        default=default_folder(),
        help="the data folder (%(default)s, where the examples look for it by themselves)",
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
