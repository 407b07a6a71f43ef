"""The derivative of `project` against central differences, away from kinks."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

import optlayers as ol

from .draft import Draft
from .generate import Case
from .judge import Failure

STEP = 1e-4  # relative to max(1, |y|)
ACCURACY = 1e-2  # of a difference quotient, relative to the direction: 1e-6 max(1, |y|) over a step
_ILL_CONDITIONED = ("thin_cone", "scaled_columns")
_ACTIVE = 1e-10  # slack, relative to max(1, |y|), up to which a row or bound is active


@dataclass
class Slopes:
    """What was compared, what was skipped, and what differs."""

    compared: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)


def slopes(case: Case) -> Slopes:
    """Compare J d of one random d per point with differences of the projection.

    J is symmetric, so that the vector-Jacobian product with d is J d. Nothing is said where a kink
    lies within the step: where the differences to both sides disagree, and where a row or bound
    that is not active is nearer than the step (rows with auxiliary variables aside). Cases without
    a point have no derivative; cases whose projection fails are not judged here. Families of nearly
    parallel rows are left out: which of those rows are active is decided by digits beyond the 1e-8
    to which the derivative looks.
    """
    found = Slopes()
    if case.name.split(":")[0] in _ILL_CONDITIONED or case.empty().any():
        return found
    y, scale = case.y, case.y.abs().amax(-1, keepdim=True).clamp(min=1.0)
    d = torch.from_numpy(np.random.default_rng(len(y[0])).standard_normal(y.shape))
    h = STEP * scale
    try:
        left, middle, right = (ol.project(case.polytope, y + k * h * d) for k in (-1.0, 0.0, 1.0))
        product = _product(case.polytope, y, d)
    except (ol.OptLayersError, NotImplementedError):
        found.skipped += len(y)
        return found
    ahead, behind, central = (right - middle) / h, (middle - left) / h, (right - left) / (2 * h)
    size = d.norm(dim=-1)
    smooth = (ahead - behind).norm(dim=-1) <= ACCURACY * size
    off = (product - central).norm(dim=-1) / size
    for i in range(len(y)):
        reach = 2 * float(h[i] * size[i])
        slack = _slacks(case.instance(i), middle[i].numpy())
        if not smooth[i] or ((slack > _ACTIVE * float(scale[i])) & (slack < reach)).any():
            found.skipped += 1
            continue
        found.compared += 1
        if not off[i] <= 3 * ACCURACY:
            detail = f"J d differs from differences by {float(off[i]):.1e} |d|"
            found.failures.append(Failure("derivative", i, detail))
    return found


def _slacks(draft: Draft, z: np.ndarray) -> np.ndarray:
    """How far the point is from every inequality row and every bound."""
    own = len(z)
    chosen = draft.A[:, :own].any(1) & ~draft.A[:, own:].any(1)
    A, b = draft.A[chosen, :own], draft.b[chosen]
    rows = (b - A @ z) / np.linalg.norm(A, axis=1)
    return np.concatenate([rows, z - draft.lower[:own], draft.upper[:own] - z])


def _product(polytope: ol.Polytope, y: Tensor, d: Tensor) -> Tensor:
    y = y.clone().requires_grad_()
    (product,) = torch.autograd.grad(ol.project(polytope, y), y, d)
    return product
