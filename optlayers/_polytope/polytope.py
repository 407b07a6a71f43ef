"""The declaration: a polytope by rows, right-hand sides and bounds, validated once, then frozen."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import InfeasibleError, InputError, PolytopeError, name_of
from .arguments import check_num_aux
from .conflicts import Conflict, find_conflict
from .cvxpy_verbs import ReadFromCvxpy
from .declared import VALUES
from .integrality import alternating, in_words
from .rows import Rows, as_rows, number_of_variables
from .shapes import holds_arrays


class Polytope(ReadFromCvxpy):
    r"""The set of $z$ with $A x \le b,\ A_{eq} x = b_{eq},\ l \le x \le u$, $x = [z; \psi]$.

    **Bounds default to [0, 1]**, because parts of a structure are boolean; pass `lower=-inf,
    upper=inf` for free variables. Names follow `scipy.optimize.linprog`. The last `num_aux`
    columns are auxiliary variables $\psi$: they take part in the rows and are projected out, in
    decoding and in projection alike. `b`, `b_eq`, `lower` and `upper` may carry batch dimensions
    (torch tensors, on any device), one set per instance. `A` and `A_eq` are best shared by a batch,
    because what is compiled from them is kept; where rows differ they may carry batch dimensions
    too, the last ones of the batch, whether or not their zeros are in the same places.

    Arrays and tensors are copied: what happens to them later changes nothing. An `nn.Parameter` (or
    another leaf that requires grad) given as a right-hand side or a bound is read again when it has
    changed, so that the steps of an optimiser take effect; what was computed from one is refused
    once that has changed: declare the polytope anew after each step.

    Args:
        A: Inequality rows, `(m, n + num_aux)`: dense numpy or torch, nested lists, or scipy.sparse;
            or `(..., m, n + num_aux)`, dense. With auxiliary variables they must not require grad.
        b: Right-hand side `(..., m)` of the inequality rows.
        A_eq: Equality rows, `(m_eq, n + num_aux)` or `(..., m_eq, n + num_aux)`, likewise.
        b_eq: Right-hand side `(..., m_eq)` of the equality rows.
        lower: Lower bounds, a number or `(..., n + num_aux)`; `-inf` is allowed.
        upper: Upper bounds, likewise.
        num_aux: How many of the last columns are auxiliary.
        integral: Whether `decode` returns integers in $z$ (a 0/1 structure) or a vertex of the
            relaxation; one boolean for each variable where some are integers and others are not.
            $\psi$ is never required to be integral.
        shape: What a point is an array of, in C order, if it is no vector: `(n, m)` for matrices.
            Every verb then takes `(..., *shape)` as well as `(..., n)` and answers in the same
            shape; see `is_array`.

    Raises:
        PolytopeError: If shapes disagree, an entry is not finite, `num_aux` leaves no variable, or,
            without batch dimensions, if bounds cross or a row without coefficients is violated. In
            one instance of a batch that is a failure of the instance.

    Examples:
        >>> P = Polytope([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], [1.0, 1.0])
        >>> P
        Polytope(n=3, rows=2, integral)
        >>> Polytope([[1.0, 1.0, 0.0]], [1.5], integral=[True, False, False])
        Polytope(n=3, rows=1, 1 of 3 integral)
    """

    def __init__(
        self,
        A: Any = None,
        b: Any = None,
        *,
        A_eq: Any = None,
        b_eq: Any = None,
        lower: Any = 0.0,
        upper: Any = 1.0,
        num_aux: int = 0,
        integral: bool | Sequence[bool] | np.ndarray | Tensor = True,
        shape: Sequence[int] | None = None,
    ):
        rows, rows_eq = as_rows(A, "A"), as_rows(A_eq, "A_eq")
        num_vars = number_of_variables(rows, rows_eq, lower, upper)
        num_aux = check_num_aux(num_aux, num_vars)
        empty = Rows(sp.csr_array((0, num_vars), dtype=np.float64))
        rows, rows_eq = empty if rows is None else rows, empty if rows_eq is None else rows_eq
        self._fill(rows, rows_eq, b, b_eq, lower, upper, num_aux, integral, shape)

    @property
    def rows_shape(self) -> torch.Size:
        """The last dimensions of the batch, those over which rows differ; () where none do."""
        return self.batch_shape[len(self.batch_shape) - len(self.rows_batch) :]

    @property
    def relaxation(self) -> "Polytope":
        """The polytope that the backward pass projects onto: the polytope itself."""
        return self

    def __repr__(self) -> str:
        if "rows" not in self.__dict__:
            return f"Polytope(open: {', '.join(self._read_from_cvxpy('repr').open)})"
        parts = [f"n={self.n}"]
        parts += [f"num_aux={self.num_aux}"] if self.num_aux else []
        parts += [f"rows={self.rows.count}"] if self.rows.count else []
        parts += [f"equalities={self.rows_eq.count}"] if self.rows_eq.count else []
        parts += [f"batch={tuple(self.batch_shape)}"] if self.batch_shape else []
        return f"Polytope({', '.join([*parts, in_words(self.integral)])})"

    # ------------------------------------------------------------------ algebra

    def with_(self, **changes: Any) -> "Polytope":
        """Return the same rows with other `b`, `b_eq`, `lower`, `upper` or `integral`.

        What was compiled from the rows is shared with the parent, so this is cheap enough to do
        once per batch.

        Examples:
            >>> P = Polytope([[1.0, 1.0]], [1.0])
            >>> P.with_(b=torch.tensor([[1.0], [2.0]]))
            Polytope(n=2, rows=1, batch=(2,), integral)
        """
        names = ("b", "b_eq", "lower", "upper", "integral")
        if unknown := sorted(set(changes) - set(names)):
            raise PolytopeError(f"`with_` changes {', '.join(names)}. Got {', '.join(unknown)}.")
        if not (self._graphs or self.rows_require_grad or _requires_grad(changes)):
            return self.with_values(changes)
        kept = [k for k in VALUES if not (k in changes or k in self._graphs)]
        values = {k: v for k, v in self.values.items() if k in kept}
        values |= {k: changes.get(k, self.with_graph(k)) for k in VALUES if k not in kept}
        values["integral"] = changes.get("integral", self.integral)
        rows, fields = (self.rows, self.rows_eq), {"num_aux": self.num_aux, "shape": self.shape}
        return self._made(*rows, digest=self.fingerprint, kept=kept, **fields, **values)

    def _made(self, *rows: Rows, **fields: Any) -> "Polytope":
        """Return a polytope that was read where this one was, from parts that were checked."""
        other = Polytope.of_checked(*rows, **fields)
        if "_cvxpy" in self.__dict__:
            object.__setattr__(other, "_cvxpy", self._cvxpy)
        return other

    def beside(self, *rows: Rows, count: int, **values: Tensor) -> "Polytope":
        """Return `count` instances as one: their rows, `b`, `b_eq`, `lower` and `upper` joined."""
        num_aux, integral = count * self.num_aux, alternating(self.integral, count)
        return self._made(*rows, num_aux=num_aux, integral=integral, instance=True, **values)

    def fix(self, values: Mapping[int, float]) -> "Polytope":
        """Fix variables: `P.fix({3: 1.0})` sets both bounds of variable 3 to 1.

        Raises:
            PolytopeError: If an index is out of range or a value lies outside the bounds.
        """
        if not isinstance(values, Mapping):
            raise PolytopeError(
                "`fix` takes a dict from variable numbers to values, such as {3: 1.0}. "
                f"Got {type(values).__name__}."
            )
        lower, upper = (self.with_graph(k).clone() for k in ("lower", "upper"))
        for index, value in values.items():
            if not -self.num_vars <= index < self.num_vars:
                raise PolytopeError(
                    f"`fix` takes variable numbers below {self.num_vars}. Got {index}."
                )
            if bool(((value < lower[..., index]) | (value > upper[..., index])).any()):
                raise PolytopeError(
                    f"Variable {index} cannot be fixed at {value}: its bounds are "
                    f"[{lower[..., index].max():g}, {upper[..., index].min():g}]."
                )
            lower[..., index] = upper[..., index] = value
        return self.with_(lower=lower, upper=upper)

    def instance(self, index: tuple[int, ...], graph: bool = False) -> "Polytope":
        """Return one instance as a polytope without batch dimensions.

        Args:
            index: Its place in the batch, or in a batch that this one broadcasts to.
            graph: Whether values that were declared with tensors that require grad keep their
                graph; that of rows is left behind.
        """
        if not self.batch_shape:
            return self
        own = index[len(index) - len(self.batch_shape) :]
        own = tuple(k if size > 1 else 0 for k, size in zip(own, self.batch_shape, strict=True))
        given = {k: self.with_graph(k) if graph else getattr(self, k) for k in VALUES}
        values = {k: v.expand(*self.batch_shape, -1)[own] for k, v in given.items()}
        return self._with_rows_of(own, values)

    def of_rows(self, index: tuple[int, ...]) -> "Polytope":
        """Return the instances that have the rows of one of them, as a polytope that shares rows.

        Values that were declared with tensors that require grad keep their graph.

        Args:
            index: A place in the last dimensions of the batch, those of `rows_batch`, or of a batch
                that this one broadcasts to.
        """
        tail, values = self.rows_shape, {}
        index = tuple(k if size > 1 else 0 for k, size in zip(index, tail, strict=True))
        for name in VALUES:
            v = self.with_graph(name)
            lead = v.shape[: max(v.ndim - 1 - len(tail), 0)]
            values[name] = v.expand(*lead, *tail, v.shape[-1])[(..., *index, slice(None))]
        return self._with_rows_of(index, values)

    def _with_rows_of(self, own: tuple[int, ...], values: dict[str, Tensor]) -> "Polytope":
        """Return what has the rows of one instance, and those values."""
        rows, rows_eq, digest = self.rows, self.rows_eq, self.fingerprint
        if self.rows_batch:
            tail = zip(own[len(own) - len(self.rows_batch) :], self.rows_batch, strict=True)
            at = [k if size > 1 else 0 for k, size in tail]
            number = int(np.ravel_multi_index(at, tuple(self.rows_batch)))
            rows, rows_eq, digest = rows.of_instance(number), rows_eq.of_instance(number), None
        return self._made(
            rows,
            rows_eq,
            num_aux=self.num_aux,
            integral=self.integral,
            shape=self.shape,
            digest=digest,
            instance=True,
            **values,
        )

    # ------------------------------------------------------------------ questions

    def is_array(self, shape: Sequence[int]) -> bool:
        """Tell whether tensors of that shape hold arrays of the declared `shape`, not vectors.

        A last dimension of n is a vector, whatever stands before it. Otherwise the last dimensions
        must be those of `shape`. Where both fit, all but the last of them are 1, the numbers are
        the same, and they are taken for vectors; only against batch dimensions of the polytope it
        matters which dimension is of the batch, and then it is refused.

        Raises:
            InputError: If both fit, and the batch of the polytope tells two answers apart.
        """
        return holds_arrays(tuple(shape), self.shape, self.batch_shape)

    def flat(self, x: Tensor) -> Tensor:
        """Return points as vectors `(..., n)`, be they arrays or vectors."""
        return x.flatten(-len(self.shape)) if self.is_array(x.shape) else x

    def check_feasible(self) -> None:
        r"""Return if every instance has a point; otherwise name constraints in conflict.

        Limits that contradict each other by a hair are meant to agree: `project` and `decode` then
        use the nearest ones that do. A hair is $10^{-6}\,(1 + |c|)$ for the limit c of a row or
        variable, rows divided by their largest coefficient; what the variables of the row cannot
        but contribute counts like c.

        Cost: one linear program per instance; more only where one is infeasible.

        Raises:
            InfeasibleError: Naming the instance, an irreducible set of rows and bounds, and by how
                much they miss each other.
        """
        for i, conflict in enumerate(self.conflicts()):
            if conflict is not None:
                index = tuple(int(k) for k in np.unravel_index(i, self.batch_shape))
                where = f"{name_of(index)}: " if index else ""
                raise InfeasibleError(
                    f"{where}No point satisfies all constraints. In conflict: {conflict}."
                )

    def conflicts(self) -> Iterator[Conflict | None]:
        """Yield the constraints in conflict of every instance of the flattened batch, in turn.

        None where the instance has a point.
        """
        count = math.prod(self.batch_shape)
        flat = [
            v.detach().expand(*self.batch_shape, -1).reshape(count, v.shape[-1]).cpu().numpy()
            for v in (self.b, self.b_eq, self.lower, self.upper)
        ]
        of = torch.arange(self.rows_batch.numel(), device="cpu").reshape(self.rows_batch)
        for i, number in enumerate(of.expand(self.batch_shape).flatten().tolist()):
            rows = [self.rows, self.rows_eq]
            if self.rows_batch:
                rows = [r.of_instance(number) for r in rows]
            yield find_conflict(*(r.matrix for r in rows), *(v[i] for v in flat))


def _requires_grad(values: Mapping[str, Any]) -> bool:
    return any(isinstance(v, Tensor) and v.requires_grad for v in values.values())


def as_polytope(given: Any, verb: str) -> Polytope:
    """Return a polytope.

    Args:
        given: By the user.
        verb: What it was given to, for the message.

    Raises:
        InputError: If it is something else, for instance a set that only has a relaxation.
    """
    if isinstance(given, Polytope):
        return given
    found, hint = type(given).__name__, ""
    if hasattr(type(given), "relaxation"):
        hint = f"; `{verb}` its `relaxation`, where it has one"
    elif isinstance(given, type):
        found = f"the class {given.__name__}"
    raise InputError(f"`{verb}` takes a Polytope. Got {found}{hint}.")
