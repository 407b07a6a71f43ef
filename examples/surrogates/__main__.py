"""python -m examples.surrogates: tune and train every method on a task, or write the page."""

import sys
from pathlib import Path

from jsonargparse import ArgumentParser

from examples.data import DataError

from . import decisions, latent, listops, permutations, report, steps
from .search import Task, study

TASKS: dict[str, Task] = {
    task.name: task
    for task in [
        latent.task(3),
        latent.task(10),
        *decisions.TASKS,
        listops.TASK,
        *permutations.TASKS,
    ]
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = ArgumentParser(prog="python -m examples.surrogates", description=__doc__)
    parser.add_argument("task", choices=[*TASKS, "steps", "report"], help="what to run")
    parser.add_argument("--out", type=Path, default=Path("runs/surrogates"), help="folder of CSV")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--methods", nargs="+", help="some of the methods only")
    parser.add_argument("--seeds", type=int, help="reported ones, at first; the task's if omitted")
    parser.add_argument(
        "--page",
        type=Path,
        default=Path("docs/results/surrogates.md"),
        help="what `report` writes, with CSV and pictures beside it",
    )
    options = parser.parse_args(arguments)
    try:
        if options.task == "report":
            report.write(list(TASKS.values()), options.out, options.page)
        elif options.task == "steps":
            steps.run(options.out, options.jobs)
        else:
            run(TASKS[options.task], options, parser)
    except (DataError, ModuleNotFoundError) as error:
        hint = f" {decisions.PEERS}" if isinstance(error, ModuleNotFoundError) else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        return 2
    return 0


def run(task: Task, options, parser: ArgumentParser) -> None:
    """Tune and train, after a look at the names."""
    unknown = set(options.methods or ()) - set(task.methods)
    if unknown:
        known = ", ".join(task.methods)
        parser.error(f"unknown methods: {', '.join(sorted(unknown))}. Known: {known}.")
    study(task, options.out, options.jobs, options.methods, options.seeds)


if __name__ == "__main__":
    sys.exit(main())
