"""python -m examples.data fetch CORPUS: brings the open data that the pipelines use."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .fetch import NOTICE as EWT_NOTICE
from .fetch import default_folder, fetch_ewt
from .fetch_sst import NOTICE as SST_NOTICE
from .fetch_sst import fetch_sst
from .sentence import DataError
from .text import told


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        fetch, notice = corpora()[options.corpus]
        fetch(options.to)
        print(notice)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {told(error)}", file=sys.stderr)
        return 2
    return 0


def corpora() -> dict[str, tuple[Callable[..., None], str]]:
    """What can be fetched: how, and what to keep in mind."""
    return {"ewt": (fetch_ewt, EWT_NOTICE), "sst": (fetch_sst, SST_NOTICE)}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser("python -m examples.data", description=__doc__)
    commands = result.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser(
        "fetch",
        help="download and convert a corpus",
        description="Download a corpus and convert it; what is there already is not fetched again.",
    )
    fetch.add_argument(
        "corpus",
        choices=list(corpora()),
        help="ewt: UD English-EWT and PropBank graphs on it; sst: the Stanford Sentiment Treebank",
    )
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
