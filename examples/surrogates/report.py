"""The page of results, from the lines that the runs left."""

from datetime import date
from pathlib import Path
from platform import python_version

import matplotlib.pyplot as plt
import pandas as pd
import torch

from optlayers import plotting

from . import steps
from .search import TUNING_SEED, Task, choose

HEAD = """\
# Which surrogate wins, and where

`python -m examples.surrogates TASK` for each task, then `python -m examples.surrogates report`

{today}; Python {python}, torch {torch}; two cores, one thread a run.
Raw numbers, a line a run: {files}.

Every method has the same tuning budget, {grid} settings: learning rates by values of the one number
that it has besides (a step, a temperature, a noise, a lambda; methods without one run the same
settings and gain nothing). They are chosen on the development data of a seed that is not reported;
then the chosen setting is trained with fresh seeds. Mean ± standard deviation over seeds; **bold**
is the best mean, and what lies within two standard errors of the difference, seed by seed.
"""


def write(tasks: list[Task], folder: Path, page: Path) -> None:
    """Write the page and its pictures, of the tasks that have reported runs."""
    ended = []
    for task in tasks:
        path = folder / f"{task.name}.csv"
        if path.exists():
            rows = pd.read_csv(path)
            if (rows["seed"] != TUNING_SEED).any():
                ended.append((task, rows))
    files = [f"[{task.name}](surrogates-{task.name}.csv)" for task, _ in ended]
    grids = {len(list(task.grid(next(iter(task.methods))))) for task, _ in ended}
    parts = [
        HEAD.format(
            today=date.today().isoformat(),
            python=python_version(),
            torch=torch.__version__,
            files=", ".join(files),
            grid=" or ".join(map(str, sorted(grids))),
        )
    ]
    for task, rows in ended:
        rows.to_csv(page.with_name(f"surrogates-{task.name}.csv"), index=False)
        parts.append(section(task, rows))
    for name, (task, score, rate) in steps.TASKS.items():
        path = folder / f"{name}.csv"
        if path.exists():
            rows = pd.read_csv(path)
            rows.to_csv(page.with_name(f"surrogates-{name}.csv"), index=False)
            picture = page.with_name(f"surrogates-{name}.svg")
            draw_steps(task, score, rows, picture)
            parts.append(
                f"## Step size: {task.title}\n\nLearning rate {rate:g}; mean and standard "
                f"deviation over {rows['seed'].nunique()} seeds ([raw](surrogates-{name}.csv)).\n\n"
                f"![{task.scores[score]} by step size]({picture.name})\n"
            )
    page.write_text("\n".join(parts), encoding="utf-8")


def section(task: Task, rows: pd.DataFrame) -> str:
    """Return the heading, the setting and the table of one task."""
    best = choose(task, rows)
    finals = rows[rows["seed"] != TUNING_SEED]
    table = summary(task, finals)
    order = table[(next(iter(task.scores)), "mean")].sort_values(
        ascending=not task.larger_is_better
    )
    lines = [
        f"## {task.title}\n",
        task.setting + f" {finals['seed'].nunique()} seeds.\n",
        "| method | " + " | ".join(task.scores.values()) + " | learning rate | strength |",
        "| --- |" + " ---: |" * (len(task.scores) + 2),
    ]
    top = close(task, finals, str(order.index[0]))
    for method in map(str, order.index):
        cells = []
        for score in task.scores:
            mean, spread = table.loc[method, (score, "mean")], table.loc[method, (score, "std")]
            cells.append(shown(float(mean), float(spread)))
        if method in top:
            cells[0] = f"**{cells[0]}**"
        rate, strength = best[method]
        lines.append(f"| {task.methods[method]} | {' | '.join(cells)} | {rate:g} | {strength:g} |")
    return "\n".join(lines) + "\n"


def summary(task: Task, finals: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation of each score, by method."""
    return finals.groupby("method")[list(task.scores)].agg(["mean", "std"])


def shown(mean: float, spread: float) -> str:
    """Return a mean and its spread with the digits that they have."""
    digits = 1 if abs(mean) >= 1 else 3
    return f"{mean:.{digits}f} ±{spread:.{digits}f}"


def close(task: Task, finals: pd.DataFrame, first: str) -> set[str]:
    """Return the methods that do not differ from the first by two standard errors, itself too.

    Seeds are paired: all methods of a seed have the same data.
    """
    score = next(iter(task.scores))
    by_seed = finals.pivot_table(index="seed", columns="method", values=score)
    found = {first}
    for method in by_seed.columns:
        apart = (by_seed[method] - by_seed[first]).dropna()
        error = apart.std(ddof=1) / len(apart) ** 0.5
        if len(apart) > 1 and abs(apart.mean()) <= 2 * error:
            found.add(str(method))
    return found


def draw_steps(task: Task, score: str, rows: pd.DataFrame, path: Path) -> None:
    """Draw a score against the step size, a curve for each form."""
    figure, axes = plt.subplots(figsize=(6, 3.5))
    curves = {
        task.methods[form]: group.pivot_table(index="seed", columns="strength", values=score)
        for form, group in rows.groupby("method", sort=False)
    }
    plotting.draw_curves(
        {name: table.to_numpy() for name, table in curves.items()},
        axes,
        x=list(steps.ETAS),
        xlabel="step size",
        ylabel=task.scores[score],
    )
    axes.set_xscale("log")
    plotting.save(figure, path)
    plt.close(figure)
