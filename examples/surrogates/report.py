"""The page of results, from the lines that the runs left."""

from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure

from optlayers import plotting

from . import steps
from .search import TUNING_SEED, Task, choose

HEAD = """\
# Which surrogate wins, and where

`python -m examples.surrogates TASK` for each task, then `python -m examples.surrogates report`

Begun on 2026-11-27, this page made on {today}; Python {python}, torch {torch}, PyEPO {pyepo}; one
thread of a CPU with two cores, shared with other work; runs beside more than that have no time. Raw
numbers: [a line a run](surrogates.csv).

Every method has the same tuning budget, {grid} settings: learning rates by values of the one number
that it has besides (a step, a temperature, a noise, a lambda; a method without one, and under Adam
straight-through, whose scale is divided out, runs each learning rate once). They are chosen on the
development data of a seed that is not reported; then the chosen setting is trained with fresh
seeds, those that all methods have. Mean ± standard deviation over seeds; **bold** is the best mean,
and what lies within two standard errors of the difference, seed by seed. In the pictures a point is
a seed and a bar is a standard deviation to both sides.

{missing}
"""


def write(tasks: list[Task], folder: Path, page: Path) -> None:
    """Write the page and its pictures, of the tasks that have reported runs."""
    ended = [(task, rows) for task in tasks if (rows := ended_runs(task, folder)) is not None]
    grids = {max(len(list(task.grid(name))) for name in task.methods) for task, _ in ended}
    parts = [
        HEAD.format(
            today=date.today().isoformat(),
            python=python_version(),
            torch=torch.__version__,
            pyepo=installed("pyepo"),
            grid=" or ".join(map(str, sorted(grids))),
            missing=what_is_missing(tasks, ended, folder),
        )
    ]
    raw = [rows.assign(task=task.name) for task, rows in ended]
    for task, rows in ended:
        picture = page.with_name(f"surrogates-{task.name}.svg")
        draw_scores(task, rows[rows["seed"] != TUNING_SEED], picture)
        parts += [section(task, rows), f"![{task.title}: scores]({picture.name})\n"]
    for name, (task, score, rate) in steps.TASKS.items():
        path = folder / f"{name}.csv"
        if path.exists():
            rows = pd.read_csv(path)
            raw.append(rows.assign(task=name))
            parts.append(step_sizes(name, task, score, rate, rows, page))
    every = pd.concat(raw)
    every.insert(0, "task", every.pop("task"))
    every.to_csv(page.with_suffix(".csv"), index=False)
    page.write_text("\n".join(parts), encoding="utf-8")


def ended_runs(task: Task, folder: Path) -> pd.DataFrame | None:
    """Return the rows of the grid and of the seeds that every method has; None: there are none."""
    path = folder / f"{task.name}.csv"
    if not path.exists():
        return None
    rows = pd.read_csv(path)
    finals = rows[rows["seed"] != TUNING_SEED]
    methods = finals.groupby("seed")["method"].nunique()
    whole = methods.index[methods == len(task.methods)]
    if not len(whole):
        return None
    return rows[(rows["seed"] == TUNING_SEED) | rows["seed"].isin(whole)]


def installed(name: str) -> str:
    """Return the version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def what_is_missing(tasks: list[Task], ended: list[tuple[Task, Any]], folder: Path) -> str:
    """Say which tasks have no result, and which have fewer seeds than planned."""
    done = {task.name: rows["seed"].nunique() - 1 for task, rows in ended}
    absent = [task.title for task in tasks if task.name not in done]
    absent += [
        f"step sizes ({task.title})"
        for name, (task, _, _) in steps.TASKS.items()
        if not (folder / f"{name}.csv").exists()
    ]
    fewer = [
        f"{task.title} ({done[task.name]} of {task.seeds} seeds)"
        for task in tasks
        if done.get(task.name, task.seeds) < task.seeds
    ]
    words = [f"Not run yet: {', '.join(absent)}."] if absent else []
    words += [f"Not all seeds yet: {', '.join(fewer)}."] if fewer else []
    return "\n".join(words) or "All tasks and seeds ran."


def step_sizes(
    name: str, task: Task, score: str, rate: float, rows: pd.DataFrame, page: Path
) -> str:
    """Draw a score by step size; return the section with the picture."""
    picture = page.with_name(f"surrogates-{name}.svg")
    draw_steps(task, score, rows, picture)
    return (
        f"## Step size: {task.title}\n\nLearning rate {rate:g}; mean and standard deviation over "
        f"{rows['seed'].nunique()} seeds.\n\n"
        f"![{task.scores[score]} by step size]({picture.name})\n"
    )


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
    digits = 1 if abs(mean) >= 1 else 3 if abs(mean) >= 0.1 else 4
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


def save(figure: Figure, path: Path) -> None:
    """Write a picture as SVG alone."""
    for written in plotting.save(figure, path.with_suffix("")):
        if Path(written).suffix != path.suffix:
            Path(written).unlink()
    plt.close(figure)


def draw_scores(task: Task, finals: pd.DataFrame, path: Path) -> None:
    """Draw the first score of every seed, with means and bars of a standard deviation."""
    score = next(iter(task.scores))
    table = summary(task, finals)[score].sort_values("mean", ascending=task.larger_is_better)
    figure, axes = plt.subplots(figsize=(6.4, 0.8 + 0.25 * len(table)))
    for k, (method, (mean, spread)) in enumerate(table.iterrows()):
        values = finals.loc[finals["method"] == method, score]
        axes.barh(k, 2 * spread, left=mean - spread, height=0.6, color="#cfd8e3")
        axes.plot(values, [k] * len(values), "o", color="#355c8c", markersize=3)
        axes.plot([mean, mean], [k - 0.3, k + 0.3], color="black", linewidth=1.5)
    axes.set_yticks(range(len(table)), [task.methods[str(name)] for name in table.index])
    best = table["mean"].max() if task.larger_is_better else table["mean"].min()
    apart = (table["mean"] - best).abs()
    near = table[apart <= 3 * apart.median()] if apart.median() > 0 else table
    low, high = (near["mean"] - near["std"]).min(), (near["mean"] + near["std"]).max()
    margin = 0.05 * (high - low) + 1e-9
    axes.set_xlim(low - margin, high + margin)  # what is far behind would squeeze the others
    axes.set_xlabel(task.scores[score])
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


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
    save(figure, path)
