"""The interface between a set of structures and the layer, and polytopes behind it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from . import _autograd, _factored
from ._by_plan import by_plan, lowest, ready_for
from ._calls import decision
from ._checks import floats, function, tensor, untraced
from ._decoders import DECODERS
from ._deprecated import warn_deprecated
from ._errors import InputError
from ._plan.compile import ready
from ._plan.failures import Report, TimeLimit
from ._polytope.polytope import Polytope
from ._projections import PROJECTIONS


class AbstractFeasibleSet(ABC):
    r"""A set $Z$ of structures that can be decoded, and a polytope $P \supseteq Z$ to project onto.

    Subclass this when the exact decoder needs more than (A, b) can say: `decode` may be exact on
    $Z$ while the backward pass projects onto the coarser `relaxation`, as in the paper. A
    `Polytope` needs no subclass: it decodes by its plan and is its own relaxation.

    Two methods are all a set needs. The others are abilities that some sets have: sums over all
    structures (`log_partition`, `marginals`), a test of membership (`contains`), a projection
    faster than the plan of `relaxation` (`project_instances`), a decoder that names the instances
    it cannot decode (`decode_instances`), and one of some instances alone (`decode_rows`).
    Whoever overrides one may leave the rest to `super()`.
    """

    event_dim: ClassVar[int] = 1  # how many trailing dimensions of scores are one structure

    @abstractmethod
    def decode(self, scores: Tensor) -> Tensor:
        r"""Return $\arg\max_{z \in Z} z \cdot s$, with the shape, dtype and device of `scores`."""

    @property
    @abstractmethod
    def relaxation(self) -> Polytope:
        """The polytope that the backward pass projects onto, over the flattened structure."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one structure: the last `event_dim` dimensions of scores."""
        return (self.relaxation.n,)

    @property
    def decides_integers(self) -> bool:
        """Whether every decision is integers; structures are."""
        return True

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode, telling `report` which instances of the flattened batch have no answer.

        Those hold NaN in what is returned. What `optlayers.decode` and the layer call. A decoder
        of this kind knows what scores of minus infinity mean; one that is only a `decode` is
        checked afterwards, and structures that contain such a part are none.
        """
        report.lowest = 0.0
        return self.decode(scores)

    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor | None:
        """Decode some instances alone, `(M, *event)`; None: only whole batches.

        `ConvexHull` asks this, because instances are finished at different times.

        Args:
            scores: Those of the instances, `(M, *event)`.
            rows: Their numbers in the flattened batch, `(M,)`, on the CPU.
            batch: The batch that they are a part of.
            report: Of failures, by number in the flattened batch; NaN there.
        """
        return None

    def hull_search(self, batch: torch.Size) -> Callable[..., Any] | None:
        """Return compiled searches of the hull's nearest points; None: by `decode_rows`."""
        return None

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project `(..., *event)` onto the relaxation; here, by its plan.

        Instances of the flattened batch without an answer hold NaN, and `report` is told. Half
        precision may be answered in float32.
        """
        free, onto = self.free_parts(y.device), PolytopeSet(self.relaxation)
        y = y if free is None else torch.where(free, y, 0)
        lead = y.ndim - self.event_dim
        flat = onto.admit(y if self.event_dim == 1 else y.flatten(-self.event_dim), "y")
        report.spread(y.shape[:lead], flat.shape[:-1])
        z = onto.project_instances(flat, report)
        return z.reshape(*z.shape[:-1], *y.shape[lead:])

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return scores or points in the batch of the answer, before anything is asked.

        Args:
            x: As the user gave it.
            name: What messages call it: "scores" or "y".

        Raises:
            InputError: If `x` has not the shape of the set. Here, nothing is looked at.
        """
        return x

    def own_decoder(self) -> Any:
        """Return the class or the function of a user that decides; None: the library does.

        Its first decisions are held to the rows of `relaxation`.
        """
        return None if is_built_in(type(self)) else type(self)

    def fields_with_graph(self) -> tuple[str, ...]:
        """Return which right-hand sides and bounds require a gradient; here, none."""
        return ()

    def reading(self, x: Any) -> "AbstractFeasibleSet":
        """Return the set as scores or points of that shape mean it: vectors, or arrays; here, self.

        Args:
            x: A tensor; anything else is refused later.
        """
        return self

    def time_limit(self) -> TimeLimit | None:
        """Return how long a solver may take for each instance of a call; here, without end."""
        return None

    def prepare(self, like: Tensor, decides: bool) -> None:
        """Compile what a call needs on the device and in the dtype of `like`; here, nothing.

        Args:
            like: On that device, in that dtype.
            decides: Whether the call decodes; else it projects.
        """
        return None  # a set of structures has nothing that depends on the device

    def answer_projection(self, y: Tensor, report: Report) -> Tensor:
        """Return what `project_instances` does, or by the plan of `relaxation` if that is None.

        None was the rule before; it works for this version.
        """
        z = self.project_instances(y, report)
        if z is None:
            old = f"None from `{type(self).__name__}.project_instances`"
            warn_deprecated(old, "`return super().project_instances(y, report)`")
            z = AbstractFeasibleSet.project_instances(self, y, report)
        return z

    def at_once(self, x: Tensor, decides: bool, report: Report) -> Tensor | None:
        """Return decisions or projections where nothing has to be prepared, settled or told.

        Args:
            x: An ordinary tensor of floats in the memory of the CPU; whatever it holds.
            decides: Whether a decision is asked for; else a projection.
            report: Told who answered.

        Returns:
            None where a call has to be prepared after all; here, always.
        """
        return None

    def free_parts(self, device: torch.device) -> Tensor | None:
        """Booleans, true at parts that can be chosen, broadcasting against scores; None: all.

        The others (padding, pruned parts) get no gradient, whatever the surrogate.
        """
        return None

    def least_parts(self, like: Tensor, decides: bool) -> Tensor | float | None:
        """Return the least value of every part, where scores that forbid it leave it; here, 0.

        Args:
            like: Scores or points, in the batch of the answer.
            decides: Whether a decision is asked for; else a projection, onto the relaxation.

        Returns:
            A number, or a tensor that broadcasts against `like`; None if minus infinity is to be
            handed over as it is.
        """
        if decides:
            return 0.0
        flat = like if self.event_dim == 1 else like.flatten(-self.event_dim)
        onto = PolytopeSet(self.relaxation)
        least = onto.least_parts(onto.admit(flat, "y"), False)
        return least.reshape(*least.shape[:-1], *like.shape[like.ndim - self.event_dim :])

    def contains(self, z: Tensor) -> Tensor:
        """Whether each `z` of the batch is a structure of the set: booleans of the batch shape."""
        self._has_no("test of membership")

    def log_partition(self, scores: Tensor) -> Tensor:
        r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, of the batch shape; differentiable."""
        self._has_no("tractable sum over its structures")

    def marginals(self, scores: Tensor) -> Tensor:
        r"""Return $\mathbb{E}[z]$ under $p(z) \propto \exp(z \cdot s)$; differentiable."""
        self._has_no("tractable marginals")

    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw a structure of every instance from $p(z) \propto \exp(z \cdot s)$."""
        self._has_no("exact samples")

    def _has_no(self, ability: str) -> NoReturn:
        raise InputError(f"{self!r} has no {ability}.")


_DECODERS_AS_BUILT = DECODERS.version


def is_built_in(kind: type) -> bool:
    """Tell whether a class is one of the library's."""
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


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
        polytope = self.polytope
        if not x.dtype.is_floating_point:
            raise InputError(f"`{name}` must be a tensor of floats. Got {x.dtype}.")
        if x.ndim == 0 or x.shape[-1] != polytope.n:
            raise InputError(
                f"`{name}` must have shape (..., {polytope.n}), one entry per variable of the "
                f"polytope{_or_arrays(polytope)}. Got {tuple(x.shape)}."
            )
        if polytope.batch_shape:
            x = x.expand(*self._batch(x, name), polytope.n)
        return x if x.dtype in (torch.float32, torch.float64) else x.to(torch.float32)

    def _batch(self, x: Tensor, name: str) -> torch.Size:
        try:
            return torch.broadcast_shapes(x.shape[:-1], self.polytope.batch_shape)
        except torch.OutOfMemoryError:  # it is a RuntimeError too
            raise
        except RuntimeError:
            raise InputError(
                f"The leading dimensions of `{name}`, {tuple(x.shape[:-1])}, do not broadcast "
                f"against the batch of the polytope, {tuple(self.polytope.batch_shape)}."
            ) from None

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
        return _autograd.at_once(found, x, attached and x.requires_grad, report)

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
        if 0 not in self.polytope.batch_shape:
            dtype = like.dtype if like.dtype == torch.float64 else torch.float32
            table, batch = DECODERS if decides else PROJECTIONS, self.polytope.batch_shape
            shape = like.new_empty(0, dtype=dtype).expand(*batch, 0)
            ready_for(self.polytope, table, shape)

    def log_partition(self, scores: Tensor) -> Tensor:
        """Return the sum of a product of choices; other polytopes have none."""
        return _factored.log_partition(self.polytope, self._in_batch(scores))

    def marginals(self, scores: Tensor) -> Tensor:
        """Return the marginals of a product of choices; other polytopes have none."""
        return _factored.marginals(self.polytope, self._in_batch(scores))

    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return samples of a product of choices; other polytopes have none."""
        return _factored.sample(self.polytope, self._in_batch(scores).detach(), generator)

    def reading(self, x: Any) -> AbstractFeasibleSet:
        """Return the set of arrays, if `x` holds such."""
        is_array = isinstance(x, Tensor) and self.polytope.is_array(x.shape)
        return ArraySet(self) if is_array else self

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
        """What a point is an array of."""
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

    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return samples."""
        return self._array(self.vectors.sample(self._flat(scores), generator))


class DecodedBy(AbstractFeasibleSet):
    """A feasible set whose structures are found by a callable of the user."""

    def __init__(self, feasible_set: AbstractFeasibleSet, decoder: Callable[[Tensor], Tensor]):
        function(decoder, "decoder", "from scores to structures")
        self.feasible_set, self.decoder = feasible_set, decoder
        self.event_dim = feasible_set.event_dim  # type: ignore[misc]

    def fields_with_graph(self) -> tuple[str, ...]:
        """Return those of the set."""
        return self.feasible_set.fields_with_graph()

    def own_decoder(self) -> Any:
        """Return the callable."""
        return self.decoder

    @property
    def relaxation(self) -> Polytope:
        """The relaxation of the set."""
        return self.feasible_set.relaxation

    def decode(self, scores: Tensor) -> Tensor:
        """Return what the callable returns."""
        return tensor(self.decoder(scores), "decoder(scores)")

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Return what the callable returns; it knows what minus infinity means."""
        return self.decode(scores)

    def admit(self, x: Tensor, name: str) -> Tensor:
        """Return what the set makes of scores or points."""
        return self.feasible_set.admit(x, name)

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project as the set does."""
        return self.feasible_set.answer_projection(y, report)

    def least_parts(self, like: Tensor, decides: bool) -> Tensor | float | None:
        """Return those of the set, but leave minus infinity in scores to the callable."""
        return None if decides else self.feasible_set.least_parts(like, False)

    def marginals(self, scores: Tensor) -> Tensor:
        """Return the marginals of the set."""
        return self.feasible_set.marginals(scores)

    def free_parts(self, device: torch.device) -> Tensor | None:
        """Return the free parts of the set."""
        return self.feasible_set.free_parts(device)


def _or_arrays(polytope: Polytope) -> str:
    """Say which arrays would do as well."""
    sizes = ", ".join(map(str, polytope.shape))
    return f", or (..., {sizes})" if len(polytope.shape) > 1 else ""


FeasibleSet = Polytope | AbstractFeasibleSet


def hull_search_of(
    feasible_set: AbstractFeasibleSet, batch: torch.Size
) -> Callable[..., Any] | None:
    """Return the hull search of a set; none if a subclass decodes otherwise than it would."""
    for kind in type(feasible_set).__mro__:
        if "hull_search" in vars(kind):
            return feasible_set.hull_search(batch)
        if "decode_rows" in vars(kind):
            break
    return None


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
