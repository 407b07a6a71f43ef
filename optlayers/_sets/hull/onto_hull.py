"""The convex hull of any set with a decoder: what its instances are asked, and when."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..._abstract_set import AbstractFeasibleSet, hull_search_of
from ..._masks import Low
from ..._needed import Levels, levels_of
from ..._plan.failures import Report
from .active_sets import SparseSets
from .project_hull import Ask, HullProjection, hull_instances

_LOOSE = 1e6  # how far apart levels are, in units of what comes after, if weights are any numbers
_MOST = 1e9  # of what comes after, beside which scores keep their digits
_SAME = 1e-12  # of what structures of a face have of its weights, relative


def project_onto_hull(
    feasible_set: AbstractFeasibleSet,
    y: Tensor,
    report: Report,
    max_iter: int = 1000,
    parts: bool = False,
) -> HullProjection:
    """Run `project_hull` with the decoder of a set; instances without an answer hold NaN.

    Parts that cannot be chosen are zero in every structure, so nothing is asked about them: they
    may hold anything, and get no gradient. Half precision is computed in float32. Without `parts`
    there are no weights and structures.
    """
    event_dim, dtype = feasible_set.event_dim, y.dtype
    batch = y.shape[: y.ndim - event_dim]
    free = feasible_set.free_parts(y.device)
    y = y if dtype in (torch.float32, torch.float64) else y.float()
    y = y if free is None else torch.where(free, y, 0)
    own = Report(tolerance=report.tolerance)
    ask = _asks(feasible_set, batch, own)
    begin = hull_search_of(feasible_set, batch) or SparseSets
    found = hull_instances(ask, y, event_dim, own, max_iter, begin, parts)
    z = found.z
    report.residuals += own.residuals
    if own.failures:
        for i, failure in sorted(own.failures.items()):
            report.add(i, failure)
        fine = torch.ones(batch.numel(), dtype=torch.bool, device="cpu")
        fine[list(own.failures)] = False
        fine = fine.to(z.device).reshape(*batch, *[1] * event_dim)
        z = torch.where(fine, z, torch.nan)
    return found._replace(z=z.to(dtype))


def project_onto_face(
    feasible_set: AbstractFeasibleSet,
    y: Tensor,
    low: Low,
    numbers: list[int],
    width: float,
    report: Report,
    max_iter: int = 1000,
) -> dict[int, Tensor]:
    r"""Project points with entries far beyond the others onto the face that these choose.

    Such entries are -M w with a large M. Structures are integers: where those of w are 0 and 1 (or
    -1), one that is not the best for w is worse by one at least. With K in place of M, above what
    the other scores of two structures can differ in, the decoder returns the best of the best for
    w. These span the face, and if M is K or more, the projection onto the hull lies in it: nothing
    is rounded as if it were as large as M. Where w is anything, K is larger, and every structure is
    held to being as good for w as the first.

    Args:
        feasible_set: Whose structures are integers.
        y: `(..., *event)`, with masks or huge entries.
        low: Its masked parts.
        numbers: Of the instances.
        width: By how much a part of two structures can differ.
        report: Told who answered.
        max_iter: Most calls of the decoder.

    Returns:
        Those with entries that are far enough, and an exact answer.
    """
    event_dim, free = feasible_set.event_dim, feasible_set.free_parts(y.device)
    y = y if free is None else torch.where(free, y, 0)
    flat = y.reshape(low.parts.shape).double()
    host = flat.detach().cpu().numpy()
    faces = {i: _Face.of(levels_of(host[i], low, i), width) for i in numbers}
    chosen = [(i, face) for i, face in faces.items() if face is not None]
    if not chosen:
        return {}
    batch, event = y.shape[: y.ndim - event_dim], y.shape[y.ndim - event_dim :]
    own = flat[[i for i, _ in chosen]]
    own = torch.where(own > -torch.inf, own, 0)
    rest = torch.from_numpy(np.array([face.y for _, face in chosen])).to(own)
    asked = (rest + (own - own.detach())).reshape(-1, *event)
    inner, at = (
        Report(tolerance=report.tolerance),
        torch.tensor([i for i, _ in chosen], device="cpu"),
    )
    every = _asks(feasible_set, batch, inner.another())

    def ask(scores: Tensor, rows: Tensor) -> Tensor:
        offsets = np.array([chosen[k][1].offsets for k in rows.tolist()])
        far = torch.from_numpy(offsets).to(scores).reshape(scores.shape)
        found = every(scores - far, at[rows])
        for k, z in zip(rows.tolist(), found.detach().double().cpu().numpy(), strict=True):
            chosen[k][1].look(z.ravel())
        return found

    z, answers = hull_instances(ask, asked, event_dim, inner, max_iter, SparseSets, False).z, {}
    for k, (i, face) in enumerate(chosen):
        if k not in inner.failures and face.fine:
            answers[i] = z[k].to(y.dtype)
            report.answers[i] = inner.worst(k) or ("hull", 0.0)
    return answers


@dataclass
class _Face:
    """A face of a hull, by scores that its structures have most of.

    Attributes:
        y: What is projected onto it.
        weights: `(levels, n)`, of which all its structures have the same.
        offsets: `(n,)`, taken off the scores of a decoder for one of its structures.
        values: What the first structure has of each level.
        fine: Whether all others have the same.
    """

    y: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    values: np.ndarray | None = None
    fine: bool = True

    @classmethod
    def of(cls, found: Levels, width: float) -> "_Face | None":
        """Return the face; None where entries may not be far enough for it."""
        n, offsets = len(found.y), np.zeros_like(found.y)
        others = given = 4 * (float(np.abs(found.y).sum()) + n * (1 + width)) * width + 1
        for weights, size in zip(found.weights[::-1], found.sizes[::-1], strict=True):
            sizes = np.abs(weights[weights != 0])
            if not float(sizes.min()) * float(size) >= 2 * given or others > _MOST:
                return None
            far = (2 if np.ptp(sizes) == 0 else _LOOSE) * others
            offsets += far * weights / sizes.max()
            others += far * n * width
            given += float(size) * n * width
        return cls(found.y, found.weights, offsets)

    def look(self, z: np.ndarray) -> None:
        """Hold a structure to the first."""
        values = self.weights @ z
        first = values if self.values is None else self.values
        self.values = first
        apart = np.abs(values - first).max(initial=0.0)
        self.fine = self.fine and bool(apart <= _SAME * (1 + np.abs(z).sum()))


def _asks(feasible_set: AbstractFeasibleSet, batch: torch.Size, report: Report) -> Ask:
    """Ask for the open instances alone where the set can, else all, with zeros at the others."""

    def ask(scores: Tensor, rows: Tensor) -> Tensor:
        found = feasible_set.decode_rows(scores, rows, batch, report)
        if found is not None:
            return found
        at = rows.to(scores.device)
        asked = scores.new_zeros(batch.numel(), *scores.shape[1:])
        asked[at] = scores
        of_all = Report()
        asked = asked.reshape(*batch, *scores.shape[1:])
        found = feasible_set.decode_instances(asked, of_all)
        for i in set(of_all.failures) & set(rows.tolist()):
            report.add(i, of_all.failures[i])
        if found.shape != asked.shape:
            return found
        return found.reshape(batch.numel(), *scores.shape[1:])[at]

    return ask
