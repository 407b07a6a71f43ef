"""Any feasible set with its own convex hull as relaxation."""

import copy
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..._abstract_set import AbstractFeasibleSet, hull_search_of
from ..._errors import InputError
from ..._feasible_set import FeasibleSet, as_set
from ..._masks import Low
from ..._no_gradient import say_without_gradient
from ..._plan.failures import Report
from ..._polytope.arguments import as_host_tensor
from ..._polytope.polytope import Polytope
from ..masked import PartMask
from .onto_hull import project_onto_face, project_onto_hull
from .project_hull import HullProjection


class ConvexHull(AbstractFeasibleSet):
    r"""A feasible set whose backward pass projects onto its convex hull, by its decoder alone.

    $$ P = \operatorname{conv}(Z), \qquad \Pi_P(y) = \arg\min_{z \in P} \tfrac12 \|z - y\|^2 $$

    The tightest relaxation there is, for any set that decodes exactly: a structured set, one of
    your own that has nothing but `decode`, or a `Polytope` with integers, whose rows may leave
    fractional points in (a budget, a matching with odd cycles). Decoding, membership and sums over
    structures are those of the set. One projection costs one decoding per structure it is made of,
    and some: see `project_hull`; only instances that are not finished are decoded, where the set
    can do that (all sets of this library, and polytopes without batch dimensions).

    There are no rows, so `relaxation` is refused, and with it `validate`. For the few sets whose
    hull has a short list of rows, their own relaxations are it.

    Args:
        feasible_set: What is decoded.
        mask: Booleans in the shape of structures, true at parts that may be chosen, as in every
            set; the others are excluded as by scores of minus infinity.
        max_iter: Most calls of the decoder for one projection.

    Attributes:
        feasible_set: As given.

    Raises:
        InputError: If `feasible_set` is none, or a polytope with `integral=False`: that is its own
            hull.

    References:
        Niculae, Martins, Blondel and Cardie (2018), *SparseMAP: differentiable sparse structured
        inference*.

    Examples:
        >>> import optlayers as ol
        >>> pairs = ol.budget([2.0, 2.0, 2.0], 3.0)  # one of three; its rows allow one and a half
        >>> y = torch.tensor([1.0, 1.0, 0.0])
        >>> ol.project(pairs, y)
        tensor([0.7500, 0.7500, 0.0000])
        >>> ol.project(ol.ConvexHull(pairs), y)
        tensor([0.5000, 0.5000, 0.0000])
        >>> layer = ol.StructuredArgmax(ol.ConvexHull(pairs), ol.SPIGOT())
        >>> layer(torch.tensor([0.3, 0.2, -1.0]))
        tensor([1., 0., 0.])
    """

    def __init__(self, feasible_set: FeasibleSet, *, mask: Any = None, max_iter: int = 1000):
        if not isinstance(feasible_set, Polytope | AbstractFeasibleSet):
            raise InputError(
                "`feasible_set` must be a Polytope or an AbstractFeasibleSet; for a decoder alone "
                f"there is `project_hull`. Got {type(feasible_set).__name__}."
            )
        if isinstance(feasible_set, Polytope) and not feasible_set.integral:
            raise InputError(
                f"{feasible_set!r} is its own convex hull: project onto it directly, or declare it "
                "with integral=True."
            )
        self.feasible_set, self.max_iter = feasible_set, int(max_iter)
        self._hold(as_set(feasible_set))
        self._mask = None if mask is None else self._read_mask(mask)

    def _hold(self, feasible_set: AbstractFeasibleSet) -> None:
        self._set = feasible_set
        self.event_dim = feasible_set.event_dim  # type: ignore[misc]

    def _read_mask(self, mask: Any) -> PartMask:
        found = as_host_tensor(mask)
        if self._set.reading(found) is not self._set:  # the arrays of a polytope
            found = found.flatten(-self._set.reading(found).event_dim)
        return PartMask(found, self.event_shape)

    def reading(self, x: Any) -> "ConvexHull":
        """Return the hull of the arrays of a polytope, if `x` holds such."""
        own = self._set.reading(x)
        if own is self._set:
            return self
        of_arrays = copy.copy(self)
        of_arrays._hold(own)
        if self._mask is not None:
            mask = self._mask.mask
            of_arrays._mask = PartMask(
                mask.reshape(*mask.shape[:-1], *own.event_shape), own.event_shape
            )
        return of_arrays

    def __repr__(self) -> str:
        return f"ConvexHull({self.feasible_set!r})"

    @property
    def relaxation(self) -> NoReturn:  # type: ignore[override]
        """Refused: the hull has no rows that anybody knows."""
        raise InputError(
            f"{self!r} has no rows: it is known by its decoder alone. `optlayers.project` projects "
            "onto it; a coarser polytope with rows is the `relaxation` of its `feasible_set`."
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of a structure of the set."""
        return self._set.event_shape

    def project(self, y: Tensor) -> HullProjection:
        """Return the nearest point with the structures it is made of, their weights and the gap.

        Raises:
            InputError: If `y` has another shape, or an entry that is not finite.
            InfeasibleError: If an instance has no structure.
            SolverFailed: If an instance is not exact after `max_iter` calls of the decoder.
        """
        own = self.reading(y)
        if own is not self:
            return own.project(y)
        report, y = Report(), self._checked(y, "y")
        asked = y if self._mask is None else self._mask.below(y)
        found = project_onto_hull(self, asked, report, self.max_iter, parts=True)
        if self._mask is not None:
            self._mask.refuse(found.z, report)
        report.raise_first(y.shape[: y.ndim - self.event_dim])
        return found

    def fields_with_graph(self) -> tuple[str, ...]:
        """Return those of the set."""
        return self._set.fields_with_graph()

    def answer_projection(self, y: Tensor, report: Report) -> Tensor:
        """Project; say what gets no gradient, because its rows are not known."""
        say_without_gradient(self, "ConvexHull", "it knows its set by the decoder alone", 8)
        return super().answer_projection(y, report)

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project onto the hull; NaN where `report` is told of a failure."""
        return project_onto_hull(self, self._checked(y, "y"), report, self.max_iter).z

    def project_needed(
        self, y: Tensor, low: Low, numbers: list[int], report: Report, first: bool
    ) -> dict[int, Tensor]:
        """Project instances that need masked parts onto the face with the fewest of them."""
        width = self._set.part_width()
        if width is None:
            return {}
        return project_onto_face(self, y, low, numbers, width, report, self.max_iter)

    def part_width(self) -> float | None:
        """Return that of the set."""
        return self._set.part_width()

    # ------------------------------------------------------------------ those of the set

    def decode(self, scores: Tensor) -> Tensor:
        """Return the best structure of the set."""
        return self._set.decode(self.admit(scores, "scores"))

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode; NaN where `report` is told of a failure."""
        return self._set.decode_instances(self._checked(scores, "scores"), report)

    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor | None:
        """Decode some instances of a batch alone, if the set can."""
        return self._set.decode_rows(scores, rows, batch, report)

    def hull_search(self, batch: torch.Size) -> Callable[..., Any] | None:
        """Return that of the set."""
        return hull_search_of(self._set, batch)

    def free_parts(self, device: torch.device) -> Tensor | None:
        """Return the free parts of the set."""
        return self._set.free_parts(device)

    def least_parts(self, like: Tensor, decides: bool) -> Tensor | float | None:
        """Return the least values in structures of the set."""
        return self._set.least_parts(like if decides else like.detach(), True)

    def contains(self, z: Tensor) -> Tensor:
        """Tell whether each `z` is a structure of the set, if it has a test of membership."""
        inside = self._set.contains(z)
        if self._mask is None:
            return inside
        without = (z == 0) | self._mask.among(torch.ones_like(z, dtype=torch.bool))
        return inside & without.flatten(z.ndim - self.event_dim).all(-1)

    def log_partition(self, scores: Tensor) -> Tensor:
        """Return that of the set, if it has one."""
        return self._set.log_partition(self.admit(scores, "scores"))

    def marginals(self, scores: Tensor) -> Tensor:
        """Return those of the set, if it has any."""
        return self._set.marginals(self.admit(scores, "scores"))

    def entropy(self, scores: Tensor) -> Tensor:
        """Return that of the set, if it has one."""
        return self._set.entropy(self.admit(scores, "scores"))

    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return samples of the set, if it has any."""
        return self._set.sample(self.admit(scores, "scores"), generator)

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return `x`, with minus infinity where the mask forbids a part; refuse other shapes."""
        x = self._checked(x, name)
        return x if self._mask is None else self._mask.on(x)

    def _checked(self, x: Tensor, name: str) -> Tensor:
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            found = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"`{name}` must be a tensor of floats. Got {found}.")
        shape = self.event_shape
        batch = getattr(self.feasible_set, "batch_shape", torch.Size())
        batch = batch if self._mask is None else self._mask.joined(batch)
        lead, last = x.shape[: x.ndim - len(shape)], x.shape[x.ndim - len(shape) :]
        if last != shape or not _holds(lead, batch):
            wanted = ", ".join(str(v) for v in (*batch, *shape))
            raise InputError(
                f"`{name}` must have shape (..., {wanted}) for {self!r}. Got {tuple(x.shape)}."
            )
        return x


def _holds(lead: torch.Size, batch: torch.Size) -> bool:
    """Tell whether leading dimensions hold every instance of a batch."""
    try:
        return torch.broadcast_shapes(lead, batch) == lead
    except RuntimeError:
        return False
