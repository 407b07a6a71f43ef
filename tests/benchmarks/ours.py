"""Our side of the comparison, and the bounds that the machine sets."""

from typing import Any

import numpy as np
import torch

import optlayers as ol
from optlayers._decoders import MILP
from optlayers._plan.compile import compile_plan, limits_of
from optlayers._plan.failures import Report
from optlayers._plan.maps import Table

from .cases import CASES
from .subject import Subject


def _tensor(inputs: dict[str, np.ndarray], name: str, dtype: str) -> torch.Tensor:
    return torch.from_numpy(inputs[name]).to(getattr(torch, dtype))


def project(case: str, inputs: Any, threads: int, dtype: str = "float64") -> Subject:
    """`ol.project`."""
    torch.set_num_threads(threads)
    polytope, y = CASES[case].make(), _tensor(inputs, "y", dtype)
    return Subject(lambda: ol.project(polytope, y), lambda z: {"z": z.double().numpy()})


def layer(case: str, inputs: Any, threads: int, dtype: str = "float64") -> Subject:
    """`StructuredArgmax` with SPIGOT: decode forward, project backward."""
    torch.set_num_threads(threads)
    argmax = ol.StructuredArgmax(CASES[case].make(), ol.SPIGOT(warn=False, around="vertex"))
    scores = _tensor(inputs, "y", dtype).requires_grad_()
    grad = _tensor(inputs, "grad", dtype)

    def run() -> torch.Tensor:
        scores.grad = None
        z_hat = argmax(scores)
        z_hat.backward(grad)
        return z_hat.detach()

    def result(z_hat: torch.Tensor) -> dict[str, np.ndarray]:
        assert scores.grad is not None
        return {"z_hat": z_hat.numpy(), "gradient": scores.grad.double().numpy()}

    return Subject(run, result)


def decode(case: str, inputs: Any, threads: int, dtype: str = "float64") -> Subject:
    """`ol.decode`."""
    torch.set_num_threads(threads)
    polytope, scores = CASES[case].make(), _tensor(inputs, "y", dtype)
    return Subject(lambda: ol.decode(polytope, scores), lambda z: {"decision": z.double().numpy()})


def decode_by_highs(case: str, inputs: Any, threads: int) -> Subject:
    """Our persistent HiGHS model, for a polytope that has something better."""
    torch.set_num_threads(threads)
    polytope, scores = CASES[case].make(), torch.from_numpy(inputs["y"])
    plan = compile_plan(polytope, Table("decoder", MILP))
    limits = limits_of(polytope, plan, scores.device, scores.dtype)
    return Subject(
        lambda: plan.forward(scores, limits, Report()), lambda z: {"decision": z.numpy()}
    )


def torch_argmax(case: str, inputs: Any, threads: int) -> Subject:
    """What a head argmax costs when written by hand: mask, argmax, scatter."""
    torch.set_num_threads(threads)
    block = int(inputs["block"])
    scores = torch.from_numpy(inputs["y"]).reshape(len(inputs["y"]), -1, block)
    fixed = torch.from_numpy(inputs["upper"] == inputs["lower"]).reshape(-1, block)

    def run() -> torch.Tensor:
        best = scores.masked_fill(fixed, -torch.inf).argmax(-1, keepdim=True)
        return torch.zeros_like(scores).scatter_(-1, best, 1.0)

    return Subject(run, lambda z: {"decision": z.flatten(1).numpy()})


def copy(case: str, inputs: Any, threads: int, dtype: str = "float64") -> Subject:
    """Read the tensor once and write it once: no projection can be faster."""
    torch.set_num_threads(threads)
    y = _tensor(inputs, "y", dtype)
    target = torch.empty_like(y)
    return Subject(lambda: target.copy_(y), lambda _: {})
