"""Derivatives of `project` against differences: in the point, in right-hand sides and bounds."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

import optlayers as ol

from .draft import BATCHABLE, Draft
from .generate import Case
from .judge import Failure

STEP = 1e-4  # relative to max(1, |y|)
ACCURACY = 1e-2  # of a difference quotient, relative to the direction: 1e-6 max(1, |y|) over a step
NUDGE = 1e-5  # of a right-hand side or bound
_ILL_CONDITIONED = ("thin_cone", "scaled_columns")
AT_VERTICES = ("vertices",)  # families judged by derivatives in limits, every case
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


def slopes_of_limits(case: Case) -> Slopes:
    """Compare the derivatives in each right-hand side and bound with differences to both sides.

    They are compared where both sides have a point and agree, as they do at most vertices. Nothing
    is said of the others.
    The step is 1e-5, whatever y is: limits are of the size of the set.
    """
    found, rng = Slopes(), np.random.default_rng(len(case.y[0]))
    if case.empty().any() or case.draft.values:
        return found
    names = [k for k in BATCHABLE if getattr(case.draft, k).size]
    for i, y in enumerate(case.y):
        g = torch.from_numpy(rng.standard_normal(y.shape))
        inputs = [getattr(case.polytope, k).clone().requires_grad_() for k in names]
        z = ol.project(case.polytope.with_(**dict(zip(names, inputs, strict=True))), y)
        products = torch.autograd.grad((z * g).sum(), inputs, allow_unused=True)
        for name, product in zip(names, products, strict=True):
            ahead, behind = (_moved(case, name, y, z.detach(), h) for h in (NUDGE, -NUDGE))
            slope = torch.zeros(len(ahead)) if product is None else product
            smooth = (ahead - behind).norm(dim=-1) <= ACCURACY  # never where a side has no point
            # Equal rows: of several that are moved to their middle, each has half; all have one.
            both = _moved(case, name, y, z.detach(), NUDGE, smooth)
            smooth &= ~((ahead[smooth].sum(0) - both).norm() > ACCURACY * (1 + smooth.sum()))
            wrong = smooth & ~((slope - ahead @ g).abs() <= 2 * ACCURACY * (1 + float(g.norm())))
            found.compared += int(smooth.sum())
            found.skipped += int((~smooth).sum())
            for j in wrong.nonzero()[:, 0].tolist():
                both = f"both sides {float(ahead[j] @ g):.3g}"
                detail = f"{name}[{j}] gets {float(slope[j]):.3g}, {both}"
                found.failures.append(Failure("derivative", i, detail))
    return found


def _moved(case: Case, name: str, y: Tensor, z: Tensor, step: float, along=None) -> Tensor:
    """Difference quotients of z in each entry of one of the limits; NaN where there is none.

    With `along`, a mask of entries, the one of all of them at once.
    """
    value = getattr(case.polytope, name)
    if along is not None:
        moved = {name: value + step * along.to(value.dtype)}
        return (ol.project(case.polytope.with_(**moved), y, on_failure="nan") - z) / step
    moved = value + step * torch.eye(len(value), dtype=value.dtype)
    limits = {"lower": case.polytope.lower, "upper": case.polytope.upper, name: moved}
    crossed = (limits["lower"] > limits["upper"]).any(-1) | ~value.isfinite()
    moved = torch.where(crossed[:, None], value, moved)
    other = ol.project(case.polytope.with_(**{name: moved}), y, on_failure="nan")
    return torch.where(crossed[:, None], torch.nan, (other - z) / step)


def _product(polytope: ol.Polytope, y: Tensor, d: Tensor) -> Tensor:
    y = y.clone().requires_grad_()
    (product,) = torch.autograd.grad(ol.project(polytope, y), y, d)
    return product
