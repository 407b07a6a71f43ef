"""Our side of the comparison of solvers."""

from collections.abc import Callable
from typing import Any

import torch

import optlayers as ol
from optlayers._plan.compile import compile_plan, limits_of
from optlayers._plan.failures import Report
from optlayers._plan.maps import Table
from optlayers._projections import QP

from .solvers_cases import WORDS, polytope_of, trees
from .subject import Subject


def _points(inputs: Any, instances: str) -> torch.Tensor:
    return torch.from_numpy(inputs["y"][: int(instances) or None])


def _subject(run: Callable[[], torch.Tensor], inputs: Any, y: torch.Tensor, note="") -> Subject:
    scale = len(inputs["y"]) / len(y)
    return Subject(run, lambda z: {"z": z.reshape(len(y), -1).cpu().numpy()}, note, scale)


def project(
    case: str, inputs: Any, threads: int, instances: str = "0", device: str = "cpu"
) -> Subject:
    """`ol.project`, until the device is done."""
    torch.set_num_threads(threads)
    polytope, y = polytope_of(case), _points(inputs, instances).to(device)

    def run() -> torch.Tensor:
        z = ol.project(polytope, y)
        if device == "cuda":
            torch.cuda.synchronize()
        return z

    return _subject(run, inputs, y)


def one_by_one(case: str, inputs: Any, threads: int, instances: str = "0") -> Subject:
    """`ol.project` of one point after the other."""
    torch.set_num_threads(threads)
    polytope, y = polytope_of(case), _points(inputs, instances)

    def run() -> torch.Tensor:
        return torch.cat([ol.project(polytope, point) for point in y.split(1)])

    return _subject(run, inputs, y)


def by_osqp(case: str, inputs: Any, threads: int, instances: str = "0") -> Subject:
    """OSQP through this library: cold starts, each answer accepted by its residual."""
    torch.set_num_threads(threads)
    polytope, y = polytope_of(case), _points(inputs, instances)
    plan = compile_plan(polytope, Table("by OSQP", QP))
    limits = limits_of(polytope, plan, y.device, y.dtype)
    return _subject(lambda: plan.forward(y, limits, Report()), inputs, y)


def structured(
    case: str, inputs: Any, threads: int, relaxation: str, instances: str = "0"
) -> Subject:
    """`ol.project` of the structured set whose relaxation the polytope is."""
    torch.set_num_threads(threads)
    y = _points(inputs, instances)
    scores = y.reshape(-1, WORDS + 1, WORDS + 1)
    return _subject(lambda: ol.project(trees(len(y), relaxation), scores), inputs, y)
