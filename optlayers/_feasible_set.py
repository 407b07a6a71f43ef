"""Polytopes as feasible sets, and the door where they become such."""

from typing import Any

import torch
from torch import Tensor

from . import _factored
from ._abstract_set import AbstractFeasibleSet, is_built_in
from ._autograd import known
from ._by_plan import admitted, by_plan, lowest, ready_for
from ._calls import decision
from ._checks import floats, untraced
from ._decoders import DECODERS
from ._errors import InputError
from ._kernels.arrays import usual
from ._plan.compile import ready
from ._plan.failures import Report
from ._polytope.polytope import Polytope
from ._projections import PROJECTIONS

_DECODERS_AS_BUILT = DECODERS.version


class PolytopeSet(AbstractFeasibleSet):
    """A polytope as a feasible set: decodes and projects by its plans, and is its relaxation."""

    def __init__(self, polytope: Polytope):
        self.polytope = polytope

    def __repr__(self) -> str:
        return repr(self.polytope)

    @property
    def relaxation(self) -> Polytope:
        """The polytope itself."""
        return self.polytope

    def fields_with_graph(self) -> tuple[str, ...]:
        """Return those that the polytope was declared with."""
        return self.polytope.fields_with_graph

    def own_decoder(self) -> Any:
        """Return the decoder that a user registered, if there is one."""
        if DECODERS.version == _DECODERS_AS_BUILT:
            return None
        own = [m for m in DECODERS if not is_built_in(m)]
        return own[0] if own else None  # not `next`, which torch 2.6 cannot trace

    @property
    def decides_integers(self) -> bool:
        """Whether the polytope is declared so, for all variables."""
        return self.polytope.integral is True

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return `x` with the batch of the polytope, in the dtype that plans compute in."""
        return admitted(self.polytope, x, name)

    def least_parts(self, like: Tensor, decides: bool) -> Tensor:
        """Return the lower bounds; of a decision of integers, rounded up."""
        if 0 in like.shape[:-1]:
            return like.new_zeros(())
        return lowest(self.polytope, DECODERS if decides else PROJECTIONS, like)

    def decode(self, scores: Tensor) -> Tensor:
        """Return the best vertex, or integral point, for every instance; raise if one has none."""
        return decision(self, scores, "raise", "raise")[0]

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode by the plan of decoders; NaN where `report` is told of a failure."""
        return by_plan(self.polytope, DECODERS, self.admit(scores, "scores"), report)

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project by the plan of projections; NaN where `report` is told of a failure."""
        return by_plan(self.polytope, PROJECTIONS, self.admit(y, "y"), report)

    def at_once(self, x: Tensor, decides: bool, report: Report) -> Tensor | None:
        """Return closed forms of usual numbers."""
        polytope = self.polytope
        if x.ndim == 0 or x.shape[-1] != polytope.n or polytope.batch_shape:
            return None
        if polytope.rows_require_grad:
            return None
        attached = not decides and torch.is_grad_enabled()
        if attached and polytope.requires_grad:
            return None
        found = ready(polytope, DECODERS if decides else PROJECTIONS, x.device, x.dtype)
        only = found.plan.only
        if only is None or found.bad is not None:
            return None
        flat = x.detach() if x.requires_grad else x
        if flat.ndim != 2 or not flat.is_contiguous():
            flat = flat.reshape(-1, x.shape[-1]).contiguous()
        if only.prompt and not usual(flat, flat):
            return None
        answer = only.forward if only.cheap or only.prompt else only.at_once
        part = flat.view(len(flat), only.block.count, only.block.size)
        z = answer(part, found.limits[0], report)
        if z is None or report.failures:
            return None
        z = z.view_as(flat)
        if not usual(flat, z):
            return None
        if attached and x.requires_grad:
            z = known(x.reshape(flat.shape), z, found)
        return z if x.ndim == 2 else z.view(x.shape)

    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor | None:
        """Decode some instances alone, if all have the same constraints."""
        if self.polytope.batch_shape:
            return None
        inner = Report()
        z = self.decode_instances(scores, inner)
        for i, failure in inner.failures.items():
            report.add(int(rows[i]), failure)
        return z

    def prepare(self, like: Tensor, decides: bool) -> None:
        """Compile the plan, and what it needs on that device and in that dtype."""
        table, batch = DECODERS if decides else PROJECTIONS, self.polytope.batch_shape
        dtype = like.dtype if like.dtype == torch.float64 else torch.float32
        if not batch:
            ready(self.polytope, table, like.device, dtype)
        elif 0 not in batch:
            shape = like.new_empty(0, dtype=dtype).expand(*batch, 0)
            ready_for(self.polytope, table, shape)

    def log_partition(self, scores: Tensor) -> Tensor:
        """Return the sum of a product of choices; other polytopes have none."""
        return _factored.log_partition(self.polytope, self._in_batch(scores))

    def marginals(self, scores: Tensor) -> Tensor:
        """Return the marginals of a product of choices; other polytopes have none."""
        return _factored.marginals(self.polytope, self._in_batch(scores))

    def entropy(self, scores: Tensor) -> Tensor:
        """Return the entropy of a product of choices; other polytopes have none."""
        return _factored.entropy(self.polytope, self._in_batch(scores))

    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return samples of a product of choices; other polytopes have none."""
        return _factored.sample(self.polytope, self._in_batch(scores).detach(), generator)

    def reading(self, x: Any) -> AbstractFeasibleSet:
        """Return the set of arrays, if `x` holds such."""
        if len(self.polytope.shape) == 1 or not isinstance(x, Tensor):
            return self
        return ArraySet(self) if self.polytope.is_array(x.shape) else self

    def _in_batch(self, scores: Tensor) -> Tensor:
        untraced("scores")
        return self.admit(floats(scores, "scores"), "scores").to(scores.dtype)


class ArraySet(AbstractFeasibleSet):
    """A polytope whose points come as the arrays that they are, `(..., *shape)`."""

    def __init__(self, vectors: PolytopeSet):
        self.vectors = vectors
        self.event_dim = len(vectors.polytope.shape)  # type: ignore[misc]

    def __repr__(self) -> str:
        return repr(self.vectors)

    @property
    def relaxation(self) -> Polytope:
        """The polytope itself, over vectors."""
        return self.vectors.polytope

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of a point as an array."""
        return self.relaxation.shape

    @property
    def decides_integers(self) -> bool:
        """Whether the polytope is declared so."""
        return self.vectors.decides_integers

    def _flat(self, x: Tensor) -> Tensor:
        return x.flatten(-self.event_dim)

    def _array(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], *self.event_shape)

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return arrays in the batch of the polytope."""
        return self._array(self.vectors.admit(self._flat(x), name))

    def decode(self, scores: Tensor) -> Tensor:
        """Return the best vertex, or integral point, for every instance."""
        return self._array(self.vectors.decode(self._flat(scores)))

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode by the plan of decoders."""
        return self._array(self.vectors.decode_instances(self._flat(scores), report))

    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor | None:
        """Decode some instances alone, if all have the same constraints."""
        z = self.vectors.decode_rows(self._flat(scores), rows, batch, report)
        return None if z is None else self._array(z)

    def at_once(self, x: Tensor, decides: bool, report: Report) -> Tensor | None:
        """Return closed forms of usual numbers."""
        z = self.vectors.at_once(self._flat(x), decides, report)
        return None if z is None else self._array(z)

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project by the plan of projections."""
        return self._array(self.vectors.project_instances(self._flat(y), report))

    def least_parts(self, like: Tensor, decides: bool) -> Tensor:
        """Return the lower bounds; of a decision of integers, rounded up."""
        least = self.vectors.least_parts(self._flat(like), decides)
        return self._array(least) if least.ndim else least

    def prepare(self, like: Tensor, decides: bool) -> None:
        """Compile the plan."""
        self.vectors.prepare(like, decides)

    def log_partition(self, scores: Tensor) -> Tensor:
        """Return the sum over structures, of the batch shape."""
        return self.vectors.log_partition(self._flat(scores))

    def marginals(self, scores: Tensor) -> Tensor:
        """Return the marginals."""
        return self._array(self.vectors.marginals(self._flat(scores)))

    def entropy(self, scores: Tensor) -> Tensor:
        """Return the entropy, of the batch shape."""
        return self.vectors.entropy(self._flat(scores))

    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return samples."""
        return self._array(self.vectors.sample(self._flat(scores), generator))


FeasibleSet = Polytope | AbstractFeasibleSet


def as_set(feasible_set: FeasibleSet, x: Any = None) -> AbstractFeasibleSet:
    """Return a feasible set as the library handles it: the only place that asks which kind it is.

    Args:
        feasible_set: What a user gives.
        x: Scores or points that it will be asked about, whose shape says whether they are arrays.

    Raises:
        InputError: If it is none; if arrays and vectors cannot be told apart.
    """
    if isinstance(feasible_set, Polytope):
        return PolytopeSet(feasible_set).reading(x)
    if isinstance(feasible_set, AbstractFeasibleSet):
        return feasible_set.reading(x)
    found, hint = type(feasible_set).__name__, ""
    if isinstance(feasible_set, type):
        found = f"the class {feasible_set.__name__}"
        hint = ": make one" if issubclass(feasible_set, Polytope | AbstractFeasibleSet) else ""
    raise InputError(f"Expected a Polytope or a structured set. Got {found}{hint}.")
