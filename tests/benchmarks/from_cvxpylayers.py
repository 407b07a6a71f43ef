"""The tasks of the page *From cvxpylayers*, timed: `python -m tests.benchmarks.from_cvxpylayers`.

CPU time of one thread, the least of some repetitions, both sides in one process and in turns. Needs
cvxpylayers beside optlayers.
"""

# pyright: reportMissingImports=false

import platform
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

import optlayers as ol

_ROUNDS, _OURS = 4, 10  # repetitions of a peer, and of ours for each of them
# SCS, their default: Clarabel is a little faster there and stops at 1e-5, see the page.
_SOLVER: dict[str, Any] = {"eps": 1e-10, "max_iters": 100_000}

Task = tuple[str, Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]


def tensors(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(goal: Any, rules: list[Any], parameters: list[Any], z: Any) -> Callable[..., Tensor]:
    """Return a layer of cvxpylayers as a function."""
    from cvxpylayers.torch import CvxpyLayer

    made = CvxpyLayer(cp.Problem(cp.Minimize(goal), rules), parameters=parameters, variables=[z])
    return lambda *given: made(*given, solver_args=_SOLVER)[0]


def simplex(batch: int = 64, n: int = 60) -> Task:
    """Return a projection onto a simplex."""
    z, y = cp.Variable(n), cp.Parameter(n)
    theirs = layer(0.5 * cp.sum_squares(z) - y @ z, [cp.sum(z) == 1, z >= 0], [y], z)
    P = ol.simplex(n)
    return "simplex", theirs, lambda y: ol.project(P, y), [tensors(batch, n)]


def rows(batch: int = 64, n: int = 40, m: int = 20) -> Task:
    """Return a projection onto dense rows, whose right-hand sides are learned."""
    A = tensors(m, n, seed=1).numpy()
    z, y, b = cp.Variable(n), cp.Parameter(n), cp.Parameter(m)
    rules = [A @ z <= b, z >= -1, z <= 1]
    theirs = layer(0.5 * cp.sum_squares(z) - y @ z, rules, [y, b], z)
    P = ol.Polytope.from_cvxpy(z, [A @ z <= (cap := cp.Parameter(m, name="cap")), z >= -1, z <= 1])
    given = [2 * tensors(batch, n, seed=2), 0.5 + tensors(batch, m, seed=3).abs()]
    return "dense rows, b learned", theirs, lambda y, b: ol.project(P.bind({cap: b}), y), given


def portfolio(batch: int = 64, n: int = 60) -> Task:
    """Return a portfolio with a limit on its turnover: auxiliary variables."""
    z, y, old = cp.Variable(n), cp.Parameter(n), cp.Parameter(n, name="old")
    rules = [cp.sum(z) == 1, z >= 0, z <= 0.1, cp.norm1(z - old) <= 0.4]
    theirs = layer(0.5 * cp.sum_squares(z) - y @ z, rules, [y, old], z)
    P = ol.Polytope.from_cvxpy(z, rules)
    before = torch.softmax(0.3 * tensors(batch, n, seed=5), -1).clamp(max=0.1)
    before = before / before.sum(-1, keepdim=True)
    given = [0.05 * tensors(batch, n, seed=4), before]
    return "portfolio, turnover", theirs, lambda y, old: ol.project(P.bind(old=old), y), given


def prices(batch: int = 64, n: int = 30) -> Task:
    """Return a portfolio whose turnover costs what a price says: scored auxiliary variables."""
    z, y, price = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    moved, old = cp.Variable(n), np.full(n, 1 / n)
    rules = [cp.sum(z) == 1, z >= 0, z <= 0.2, moved >= z - old, moved >= old - z, moved <= 1]
    goal = 0.5 * cp.sum_squares(z) - y @ z + price * cp.sum(moved)
    theirs = layer(goal, rules, [y, price], z)
    P = ol.Polytope.from_cvxpy(z, rules)

    def ours(y: Tensor, price: Tensor) -> Tensor:
        return ol.project(P, y, scores_aux=-price[:, None].expand(-1, n))

    given = [0.1 * tensors(batch, n, seed=6), 0.01 + 0.02 * tensors(batch, seed=7).abs()]
    return "portfolio, price of turnover", theirs, ours, given


def covariance(batch: int = 64, n: int = 30) -> Task:
    """Return a mean-variance portfolio with a full covariance: a projection in other variables."""
    factors = tensors(n, n, seed=8)
    sigma = factors @ factors.T / n + 0.1 * torch.eye(n)
    root = torch.linalg.cholesky(sigma)
    back = torch.linalg.inv(root).T  # z = back @ u
    z, mu = cp.Variable(n), cp.Parameter(n)
    rules = [cp.sum(z) == 1, z >= 0]
    theirs = layer(0.5 * cp.sum_squares(root.T.numpy() @ z) - mu @ z, rules, [mu], z)
    free: dict[str, Any] = {"lower": -np.inf, "upper": np.inf, "integral": False}
    P = ol.Polytope(-back, torch.zeros(n), A_eq=back.sum(0)[None], b_eq=[1.0], **free)

    def ours(mu: Tensor) -> Tensor:
        return ol.project(P, mu @ back) @ back.T

    return "mean and variance", theirs, ours, [tensors(batch, n, seed=9)]


def timed(function: Callable[..., Tensor], given: list[Tensor]) -> tuple[float, float, Tensor]:
    """Return seconds forward and backward, and the answer."""
    inputs = [v.clone().requires_grad_() for v in given]
    start = time.process_time()
    z = function(*inputs)
    middle = time.process_time()
    z.square().sum().backward()
    return middle - start, time.process_time() - middle, z.detach()


def measure(task: Task) -> str:
    """Return a row of the table."""
    name, theirs, ours, given = task
    timed(ours, given)
    timed(theirs, [v[:1] for v in given])
    best = {"theirs": [np.inf, np.inf], "ours": [np.inf, np.inf]}
    found = {}
    for _ in range(_ROUNDS):
        for who, function, times in (("theirs", theirs, 1), ("ours", ours, _OURS)):
            for _ in range(times):
                *seconds, found[who] = timed(function, given)
                best[who] = list(np.minimum(best[who], seconds))
    apart = float((found["theirs"] - found["ours"]).abs().max())
    cells = [f"{1e3 * v:.1f}" for who in ("theirs", "ours") for v in best[who]]
    ratios = [f"{a / b:.1f}" for a, b in zip(best["theirs"], best["ours"], strict=True)]
    return f"| {name} | {' | '.join(cells)} | {' and '.join(ratios)} | {apart:.0e} |"


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "cvxpy", "cvxpylayers"))
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}, {versions}")
    columns = ["task", "cvxpylayers forward", "backward", "optlayers forward", "backward"]
    print(f"| {' | '.join([*columns, 'times', 'apart'])} |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for make in (simplex, rows, portfolio, prices, covariance):
        print(measure(make()), flush=True)


if __name__ == "__main__":
    main()
