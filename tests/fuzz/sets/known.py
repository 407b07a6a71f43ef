"""A set whose structures are all listed, and a case of it: scores, and parts that are masked."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

import optlayers as ol

COUNT = 3  # instances of every batch


@dataclass(frozen=True)
class Known:
    """A feasible set of which everything is known.

    Attributes:
        asked: The set as the library has it; its batch, if it has one, is of `COUNT` instances.
        structures: Those of each instance, `(K, *event)`.
        relaxed: The points whose hull the relaxation of each instance is; None: by rows.
        rows: The relaxation of each instance in rows; None where there are none.
        sums: Whether sums over structures exist.
        samples: Whether, with sums, exact samples do.
        refuses_sums: Whether sums may be refused by name, as of some graphs with dead ends.
        least: The least value of a part, which a mask leaves it.
        costs: Whether scores must be negative.
        ill_conditioned: Whether digits beyond the accuracy decide which rows are active, and so
            what the derivative is.
        accuracy: Of a projection, as residuals are measured.
    """

    asked: Any
    structures: Sequence[np.ndarray]
    relaxed: Sequence[np.ndarray] | None = None
    rows: Sequence[ol.Polytope] | None = None
    sums: bool = False
    samples: bool = True
    refuses_sums: bool = False
    least: Any = 0.0
    costs: bool = False
    accuracy: float = 1e-8
    ill_conditioned: bool = False

    @property
    def event(self) -> tuple[int, ...]:
        """Shape of one structure."""
        return self.structures[0].shape[1:]


def by_rows(polytope: ol.Polytope, structures: Any = None, hull: bool = False, **more) -> Known:
    """A polytope, its integral points enumerated unless they are given, once or per instance.

    Args:
        polytope: With a batch of `COUNT` instances, or none.
        structures: One array for all instances, or one each.
        hull: Whether rows are known to have no other vertices.
        more: Other fields.
    """
    single = [polytope.instance((i,)) for i in range(COUNT)] if polytope.batch_shape else [polytope]
    from .enumeration import integral_points

    if structures is None:
        structures = [integral_points(P) for P in single]
    found = structures if isinstance(structures, list) else [structures]
    found, rows = (v * COUNT if len(v) == 1 else v for v in (found, single))
    more.setdefault("least", rows[0].lower[: polytope.n].numpy())
    return Known(polytope, found, found if hull else None, rows, **more)


@dataclass(frozen=True)
class SetCase:
    """Scores, and points to project, for every instance of a set, and which parts are masked.

    Attributes:
        name: How to make it again.
        known: The set.
        scores: `(COUNT, *event)`, without masks.
        masked: Booleans likewise.
        seed: For what a judge draws.
    """

    name: str
    known: Known
    scores: Tensor
    masked: Tensor
    seed: int

    @property
    def family(self) -> str:
        """The first part of the name."""
        return self.name.split(":")[0]

    def asked(self, mask: float, dtype: torch.dtype = torch.float64) -> Tensor:
        """The scores with a number at masked parts; a mask of `finfo.min` is that of the dtype."""
        mask = max(mask, torch.finfo(dtype).min) if np.isfinite(mask) else mask
        x = self.scores.to(dtype)
        return torch.where(self.masked, torch.tensor(mask, dtype=dtype), x)

    @cached_property
    def _arrays(self) -> list[np.ndarray]:
        return [*self.known.structures, self.scores.numpy(), self.masked.numpy().astype(float)]

    def digest(self) -> str:
        """A short hash of structures, scores and masks."""
        hashed = hashlib.blake2b(digest_size=4)
        for array in self._arrays:
            hashed.update(f"{array.shape}".encode())
            hashed.update(",".join(f"{v:.5e}" for v in array.ravel() + 0.0).encode())
        return hashed.hexdigest()

    def __str__(self) -> str:
        counts = ", ".join(str(len(s)) for s in self.known.structures)
        return f"{self.known.asked!r}, structures {counts}, masked {self.masked.sum().item()}"


def set_case(name: str, known: Known, rng: Generator, seed: int) -> SetCase:
    """Scores of some size, and masks: none in the first instance, few or many in the others."""
    shape = (COUNT, *known.event)
    style = rng.choice(["normal", "grid", "large", "small"], p=[0.5, 0.3, 0.1, 0.1])
    scores = rng.standard_normal(shape)
    if style == "grid":
        scores = rng.integers(-3, 4, shape) / 2
    scores = scores * {"large": 30.0, "small": 1e-3}.get(str(style), 1.0)
    if known.costs:
        scores = -0.5 - np.abs(scores)
    rates = np.array([0.0, rng.choice([0.1, 0.3]), rng.choice([0.1, 0.3, 0.6, 1.0])])
    masked = rng.random(shape) < rates.reshape(COUNT, *[1] * len(known.event))
    return SetCase(name, known, torch.from_numpy(scores), torch.from_numpy(masked), seed)
