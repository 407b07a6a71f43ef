r"""Polytopes whose auxiliary variables are worth something, and are asked for.

$$ \min_{(z, \psi) \in L} \tfrac12 \|z - y\|^2 - c \cdot \psi, \qquad
   \max_{(z, \psi) \in L,\ z \text{ integral}} s \cdot z + c \cdot \psi $$
"""

import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import _autograd
from ._abstract_set import AbstractFeasibleSet
from ._calls import OnFailure, decision, projection
from ._errors import InputError
from ._feasible_set import PolytopeSet, as_set
from ._nonfinite import OnNonfinite
from ._own_decoders import looks_at
from ._plan.compile import compiled_of, ready, rows_of
from ._plan.failures import Report, TimeLimit, index_of
from ._plan.presolve import reduce_values
from ._polytope.polytope import Polytope, as_polytope
from ._projections.derivative_aux import best_face
from ._projections.scored import SCORED
from ._status import Status
from ._wrapped import limited

_NEAR = 1e-7  # a limit that is missed by less, relative to 1 + |x|, is active
_SURE = 1e-6  # what multipliers may miss, beyond which they say nothing about other choices

Both = tuple[Tensor, Tensor, Status]


def project_with_aux(
    polytope: Any,
    y: Tensor,
    scores_aux: Tensor | None,
    wants_aux: bool,
    on_failure: OnFailure,
    on_nonfinite: OnNonfinite,
    tolerance: float,
) -> Both:
    """Return the point, the auxiliary variables nearest to zero that complete it, and the status.

    Args:
        polytope: With auxiliary variables.
        y: As the user gave it.
        scores_aux: What a unit of each auxiliary variable is worth; None: nothing.
        wants_aux: Whether those of the result are looked at.
        on_failure: Policy.
        on_nonfinite: Policy.
        tolerance: Residual up to which an answer is one.
    """
    asked = _Question(polytope, y, scores_aux, "y")
    onto = ScoredSet(asked.polytope, wants_aux)
    found, status = projection(onto, asked.both, on_failure, on_nonfinite, tolerance)
    return *asked.parts(found), status


def decode_with_aux(
    polytope: Any,
    scores: Tensor,
    scores_aux: Tensor | None,
    on_failure: OnFailure,
    on_nonfinite: OnNonfinite,
    limit: TimeLimit | None,
    check: bool,
) -> Both:
    """Return the best structure, its auxiliary variables, and the status."""
    asked = _Question(polytope, scores, scores_aux, "scores")
    onto = limited(as_set(whole_of(asked.polytope)), limit, check)
    look = looks_at(onto, check)
    found, status = decision(onto, asked.both, on_failure, on_nonfinite, look)
    return *asked.parts(found), status


def whole_of(polytope: Polytope) -> Polytope:
    """Return the polytope whose points are those of another with its auxiliary variables."""
    polytope.read_again()
    found = _wholes.get(polytope)
    if found is None or found[0] is not polytope.values:
        fields: dict[str, Any] = {
            k: polytope.with_graph(k) for k in ("b", "b_eq", "lower", "upper")
        }
        made = Polytope(polytope.rows, A_eq=polytope.rows_eq, integral=polytope.whole, **fields)
        found = _wholes[polytope] = polytope.values, made
    return found[1]


_wholes: "weakref.WeakKeyDictionary[Polytope, tuple[Any, Polytope]]" = weakref.WeakKeyDictionary()


class _Question:
    """Points or scores with what auxiliary variables are worth behind, in one batch."""

    def __init__(self, polytope: Any, x: Any, scores_aux: Any, name: str):
        verb = "project" if name == "y" else "decode"
        polytope = as_polytope(polytope, f"{verb}` with `scores_aux` or `return_aux")
        if not isinstance(x, Tensor) or not x.is_floating_point():
            found = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"`{name}` must be a tensor of floats. Got {found}.")
        self.polytope = polytope
        self.shape = polytope.shape if polytope.is_array(x.shape) else (polytope.n,)
        flat = PolytopeSet(polytope).admit(polytope.flat(x), name)
        c = self._read(scores_aux, flat)
        try:
            batch = torch.broadcast_shapes(flat.shape[:-1], c.shape[:-1])
        except RuntimeError:
            raise InputError(
                f"The leading dimensions of `{name}`, {tuple(flat.shape[:-1])}, do not broadcast "
                f"against those of `scores_aux`, {tuple(c.shape[:-1])}."
            ) from None
        self.both = torch.cat([flat.expand(*batch, -1), c.expand(*batch, -1)], -1).to(x.dtype)

    def _read(self, given: Any, like: Tensor) -> Tensor:
        count = self.polytope.num_aux
        if given is None:
            return like.new_zeros(count)
        if not isinstance(given, Tensor) or not given.is_floating_point():
            found = given.dtype if isinstance(given, Tensor) else type(given).__name__
            raise InputError(f"`scores_aux` must be a tensor of floats. Got {found}.")
        if given.ndim == 0 or given.shape[-1] != count:
            raise InputError(
                f"`scores_aux` must have shape (..., {count}), one entry per auxiliary variable. "
                f"Got {tuple(given.shape)}."
            )
        return given.to(like)

    def parts(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """Return points in the shape in which they were given, and auxiliary variables."""
        z, psi = found.split([self.polytope.n, self.polytope.num_aux], -1)
        return z.reshape(*z.shape[:-1], *self.shape), psi


class ScoredSet(AbstractFeasibleSet):
    """A polytope to project `(y, c)` onto: z and its auxiliary variables come back.

    Args:
        polytope: With auxiliary variables.
        wants_aux: Whether those are looked at: one more projection, and multipliers.
    """

    def __init__(self, polytope: Polytope, wants_aux: bool):
        self.polytope, self.wants_aux = polytope, wants_aux

    def __repr__(self) -> str:
        return repr(self.polytope)

    @property
    def relaxation(self) -> Polytope:
        """The points with their auxiliary variables."""
        return whole_of(self.polytope)

    def decode(self, scores: Tensor) -> Tensor:
        """Return the best point with its auxiliary variables."""
        return decision(as_set(self.relaxation), scores, "raise", "raise")[0]

    def fields_with_graph(self) -> tuple[str, ...]:
        """Return those of the polytope."""
        return self.polytope.fields_with_graph

    def least_parts(self, like: Tensor, decides: bool) -> Tensor:
        """Return the lower bounds; scores of auxiliary variables forbid nothing."""
        n = self.polytope.n
        own = PolytopeSet(self.polytope).least_parts(like[..., :n], False)
        own = own.expand(*like.shape[:-1], n)
        return torch.cat([own, torch.full_like(like[..., n:], -torch.inf)], -1)

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project; instances one by one where their rows differ."""
        batch, width = y.shape[:-1], self.polytope.num_vars
        if 0 in batch:
            return y.clone()
        if not self.polytope.rows_batch:
            return self._project(self.polytope, batch, y.reshape(-1, width), report).reshape(
                y.shape
            )
        answers = []
        for i, point in enumerate(y.reshape(-1, width)):
            single = report.another()
            alone = self.polytope.instance(index_of(i, batch), graph=True)
            answers.append(self._project(alone, torch.Size([1]), point[None], single)[0])
            for failure in single.failures.values():
                report.add(i, failure)
            if (worst := single.worst(0)) is not None:
                report.answers[i] = worst
        return torch.stack(answers).reshape(y.shape)

    def _project(self, polytope: Polytope, batch: torch.Size, y: Tensor, report: Report) -> Tensor:
        found = ready(polytope, SCORED, y.device, torch.float64)
        found = found.of_batch(polytope.batch_shape, batch)
        report.polytope = polytope
        wide = _autograd.project(found, polytope, batch, y.double(), report, twice=False)
        z, psi = wide[:, : polytope.n], wide[:, polytope.n :].detach()
        if self.wants_aux:
            fine = [i for i in range(len(y)) if i not in report.failures]
            psi = _nearest_aux(polytope, batch, y.detach().double(), z, psi, fine)
        return torch.cat([z, psi], 1).to(y.dtype)


def _nearest_aux(
    polytope: Polytope, batch: torch.Size, y: Tensor, z: Tensor, psi: Tensor, fine: list[int]
) -> Tensor:
    """Return the auxiliary variables nearest to zero of all that are worth as much.

    With z given, what holds them is rows over them alone; what has a multiplier holds in all of the
    best ones, so that they are a polytope, onto which zero is projected. Differentiable in z and in
    what the polytope was declared with. Where multipliers are not found it is `psi` as it is.
    """
    n, at = polytope.n, torch.tensor(fine, device=z.device, dtype=torch.long)
    if not fine:
        return psi
    reduction = rows_of(polytope).reduction
    sides = _sides(polytope, batch, polytope.requires_grad)
    sides = [v if len(v) == 1 else v[at] for v in sides]
    sides = [v.expand(len(fine), -1).to(z.device) for v in sides]
    R = torch.from_numpy(reduction.R.toarray()).to(z)
    own = z[at]
    points = torch.cat([own.detach(), psi[at]], 1)
    held, sure = _held(polytope, y[at], points, sides)
    low, high, lower, upper = (
        torch.where(h, other, v) for h, other, v in zip(held, _others(sides), sides, strict=True)
    )
    left = own @ R[:, :n].T
    R = np.ascontiguousarray(reduction.R.toarray()[:, n:])
    inner = Polytope(
        np.concatenate([R, -R]),
        torch.cat([high - left, left - low], 1),
        lower=lower[:, n:],
        upper=upper[:, n:],
        integral=False,
    )
    zero = torch.zeros_like(psi[at])
    found, status = projection(PolytopeSet(inner), zero, "nan", "propagate")
    lost = ~(status.ok.to(sure.device) & sure)
    found = torch.where(lost[:, None], psi[at], found)
    return psi.index_copy(0, at, found)


def _others(sides: list[Tensor]) -> tuple[Tensor, ...]:
    low, high, lower, upper = sides
    return high, low, upper, lower


def _sides(polytope: Polytope, batch: torch.Size, graph: bool) -> list[Tensor]:
    """Return the limits of the reduced rows and of all variables, `(N or 1, ...)`."""
    own = compiled_of(polytope).values
    if graph:
        own = reduce_values(polytope, rows_of(polytope).reduction, True)
    count = polytope.batch_shape.numel()
    of = torch.arange(count).reshape(polytope.batch_shape).expand(batch).reshape(-1)
    parts = (own.row_lower, own.row_upper, own.lower, own.upper)
    return [v if len(v) == 1 else v[of.to(v.device)] for v in parts]


def _mark(masks: list[np.ndarray], i: int, places, before, after) -> None:
    """Mark the sides of instance i that are others than before."""
    for mask, place, was, now in zip(masks, places, before, after, strict=True):
        mask[i, place] = now != was


def _held(
    polytope: Polytope, y: Tensor, x: Tensor, sides: list[Tensor]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return which sides hold in all that is worth most, component by component; who is sure.

    A lower side that is named is to be moved to the upper one, and so on.
    """
    plan = ready(polytope, SCORED, x.device, torch.float64).plan
    masks = [np.zeros(v.shape, dtype=bool) for v in sides]
    sure = np.ones(len(x), dtype=bool)
    points, pulls = x.cpu().numpy(), y.cpu().numpy().copy()
    pulls[:, : polytope.n] -= points[:, : polytope.n]
    values = [v.detach().cpu().numpy() for v in sides]
    for block in (m.block for m in plan.maps if m.block.is_aux.any()):
        for rows, index in zip(block.rows, block.index, strict=True):
            places = (rows, rows, index, index)
            for i in range(len(x)):
                own = tuple(v[i, p] for v, p in zip(values, places, strict=True))
                face = best_face(block, points[i, index], pulls[i, index], *own, near=_NEAR)
                sure[i] &= face.miss <= _SURE
                _mark(masks, i, places, own, face.limits)
    moved = tuple(torch.from_numpy(m).to(x.device) for m in masks)
    return moved, torch.from_numpy(sure).to(x.device)


def chosen(z: Tensor, psi: Tensor | None, status: Status | None) -> Any:
    """Return what was asked for, alone or as a tuple."""
    found = [v for v in (z, psi, status) if v is not None]
    return found[0] if len(found) == 1 else tuple(found)
