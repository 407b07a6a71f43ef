"""The inputs that every method gets, and references that share no code with what is timed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

import optlayers as ol
from optlayers._judge.references import exact_projection

FOLDER = Path(".cache/benchmarks")
WORDS, LABELS = 25, 58
ARCS = WORDS * (WORDS - 1)


@dataclass(frozen=True)
class Case:
    """A polytope, how many instances, and the size of one block of it."""

    text: str
    make: Callable[[], Any]
    batch: int
    block: int  # variables per block; the whole polytope if it does not separate
    scale: float = 3.0


CASES = {
    "head_selection": Case(
        f"32 sentences of {WORDS} words: 800 simplices of {WORDS + 1}",
        lambda: ol.product(*[ol.simplex(WORDS + 1)] * WORDS),
        32,
        WORDS + 1,
    ),
    "label_sum": Case(
        f"32 sentences, {ARCS} arcs with {LABELS} labels: 19,200 blocks of {LABELS + 1}",
        lambda: ol.label_sum(ARCS, LABELS),
        32,
        LABELS + 1,
        1.0,
    ),
    "spans": Case(
        "64 sentences of 40 words, at most 8 words in 3 spans: 80 variables, 42 rows, 1 block",
        lambda: ol.spans(40, 8, 3),
        64,
        40,
        1.0,
    ),
}


def write_inputs() -> None:
    """Save the points, the rows, and the reference of every case."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for seed, (name, case) in enumerate(CASES.items()):
        polytope, rng = case.make(), np.random.default_rng(seed)
        shape = (case.batch, polytope.n)
        # float32 numbers in float64, so that both precisions have the same right answer
        y, grad = (
            (case.scale * rng.standard_normal(shape)).astype(np.float32).astype(np.float64)
            for _ in range(2)
        )
        rows = sp.csr_matrix(sp.vstack([polytope.A, polytope.A_eq]))
        b, b_eq = polytope.b.numpy(), polytope.b_eq.numpy()
        np.savez(
            FOLDER / f"{name}.npz",
            y=y,
            grad=grad,
            data=rows.data,
            indices=rows.indices,
            indptr=rows.indptr,
            low=np.concatenate([np.full(len(b), -np.inf), b_eq]),
            high=np.concatenate([b, b_eq]),
            lower=polytope.lower.numpy(),
            upper=polytope.upper.numpy(),
            block=case.block,
        )
        np.save(FOLDER / f"{name}_reference.npy", reference(name, y))
        if name == "spans":
            np.save(FOLDER / f"{name}_best.npy", _best_spans(polytope, y))
        else:
            masked = np.where(_fixed(polytope, case), -np.inf, y.reshape(len(y), -1, case.block))
            np.save(FOLDER / f"{name}_best.npy", masked.max(-1).sum(-1))


def reference(name: str, y: np.ndarray) -> np.ndarray:
    """The projection: sorted in extended precision, or by an interior-point solver."""
    case, polytope = CASES[name], CASES[name].make()
    if name == "spans":
        return exact_projection(polytope, torch.from_numpy(y), "cvxpy").numpy()
    points = y.reshape(len(y), -1, case.block).astype(np.longdouble)
    if name == "label_sum":  # sum of labels = arc is a simplex in (1 - arc, labels)
        points[..., 0] = 1 - points[..., 0]
    z = _simplex(np.where(_fixed(polytope, case), -np.inf, points))
    if name == "label_sum":
        z[..., 0] = 1 - z[..., 0]
    return z.reshape(y.shape).astype(np.float64)


def _best_spans(polytope: Any, y: np.ndarray) -> np.ndarray:
    """The best scores, by the integer program as scipy states it."""
    width = polytope.num_vars
    integral = (np.arange(width) < polytope.n).astype(int)
    rows = LinearConstraint(polytope.A, -np.inf, polytope.b.numpy())
    padded = np.pad(y, ((0, 0), (0, width - y.shape[1])))
    return np.array(
        [-milp(-s, integrality=integral, bounds=Bounds(0, 1), constraints=rows).fun for s in padded]
    )


def _fixed(polytope: Any, case: Case) -> np.ndarray:
    return (polytope.upper == polytope.lower).numpy().reshape(-1, case.block)


def _simplex(points: np.ndarray) -> np.ndarray:
    """Held, Wolfe and Crowder (1974)."""
    ordered = -np.sort(-points, axis=-1)
    k = np.arange(1, points.shape[-1] + 1)
    tau = (np.where(np.isfinite(ordered), ordered, 0).cumsum(-1) - 1) / k
    support = (ordered > tau).sum(-1, keepdims=True)
    return np.maximum(points - np.take_along_axis(tau, support - 1, -1), 0)


def error_of(name: str, found: dict[str, np.ndarray]) -> float:
    """The largest error of what a worker returned.

    Projections and gradients: the largest entry of the difference from the reference. Decisions:
    the largest difference in score from the best there is.
    """
    inputs = np.load(FOLDER / f"{name}.npz")
    if "decision" in found:
        best = np.load(FOLDER / f"{name}_best.npy")
        return float(np.abs((found["decision"] * inputs["y"]).sum(-1) - best).max())
    if "gradient" in found:
        z_hat = found["z_hat"].astype(np.float64)
        right = z_hat - reference(name, z_hat - inputs["grad"])
        return float(np.abs(found["gradient"] - right).max())
    right = np.load(FOLDER / f"{name}_reference.npy")
    return float(np.abs(found["z"] - right[: len(found["z"])]).max())
