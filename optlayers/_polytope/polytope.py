"""The declaration: a polytope by rows, right-hand sides and bounds, validated once, then frozen."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import InfeasibleError, InputError, PolytopeError, name_of
from .._kernels.untraced import ordinary
from .arguments import as_rows, as_values, check_bounds, check_empty_rows, read_cvxpy
from .conflicts import Conflict, find_conflict
from .shapes import holds_arrays, read_shape
from .sources import Sources


class Polytope:
    r"""The set of $z$ with $A x \le b,\ A_{eq} x = b_{eq},\ l \le x \le u$, $x = [z; \psi]$.

    **Bounds default to [0, 1]**, because parts of a structure are boolean; pass `lower=-inf,
    upper=inf` for free variables. Names follow `scipy.optimize.linprog`. The last `num_aux`
    columns are auxiliary variables $\psi$: they take part in the rows and are projected out, in
    decoding and in projection alike. `A` and `A_eq` are shared by a batch; `b`, `b_eq`, `lower`
    and `upper` may carry batch dimensions (torch tensors, on any device), one set per instance.

    Arrays and tensors are copied: what happens to them later changes nothing. An `nn.Parameter` (or
    another leaf that requires grad) given as a right-hand side or a bound is read again when it has
    changed, so that the steps of an optimiser take effect; what was computed from one is refused
    once that has changed: declare the polytope anew after each step.

    Args:
        A: Inequality rows, `(m, n + num_aux)`: dense numpy or torch, nested lists, or scipy.sparse.
        b: Right-hand side `(..., m)` of the inequality rows.
        A_eq: Equality rows, `(m_eq, n + num_aux)`.
        b_eq: Right-hand side `(..., m_eq)` of the equality rows.
        lower: Lower bounds, a number or `(..., n + num_aux)`; `-inf` is allowed.
        upper: Upper bounds, likewise.
        num_aux: How many of the last columns are auxiliary.
        integral: Whether `decode` returns integers in $z$ (a 0/1 structure) or a vertex of the
            relaxation. $\psi$ is never required to be integral.
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
    """

    A: sp.csr_array
    A_eq: sp.csr_array
    num_aux: int
    integral: bool
    event_dim: ClassVar[int] = 1  # how many trailing dimensions of scores are one structure

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
        integral: bool = True,
        shape: Sequence[int] | None = None,
    ):
        rows, rows_eq = as_rows(A, "A"), as_rows(A_eq, "A_eq")
        num_vars = _number_of_variables(rows, rows_eq, lower, upper)
        if not isinstance(num_aux, int | np.integer) or not 0 <= num_aux < num_vars:
            raise PolytopeError(
                f"`num_aux` must be an integer from 0 to {num_vars - 1}, one less than the number "
                f"of columns. Got {num_aux!r}."
            )
        empty = sp.csr_array((0, num_vars), dtype=np.float64)
        rows, rows_eq = empty if rows is None else rows, empty if rows_eq is None else rows_eq
        self._fill(rows, rows_eq, b, b_eq, lower, upper, int(num_aux), integral, shape)

    @ordinary
    def _fill(
        self, A, A_eq, b, b_eq, lower, upper, num_aux, integral, shape=None, fingerprint=None,
        instance=False,
    ) -> None:  # fmt: skip
        """Set every field; an instance of a batch is not refused for being empty."""
        sources = Sources({"b": b, "b_eq": b_eq, "lower": lower, "upper": upper})
        m, m_eq, num_vars = A.shape[0], A_eq.shape[0], A.shape[1]
        fields = {
            "A": A,
            "A_eq": A_eq,
            "b": as_values(b, m, "b", "A"),
            "b_eq": as_values(b_eq, m_eq, "b_eq", "A_eq"),
            "lower": as_values(lower, num_vars, "lower"),
            "upper": as_values(upper, num_vars, "upper"),
            "num_aux": num_aux,
            "integral": bool(integral),
            "shape": read_shape(shape, num_vars - num_aux),
            "fingerprint": fingerprint or _fingerprint(A, A_eq, num_aux),
        }
        values = [fields[k] for k in _VALUES]
        # Values stay tensors without a graph, as the host code wants them; the graph of those that
        # require grad is kept beside them, for the derivative of a projection.
        graphs = {k: fields[k] for k in _VALUES if fields[k].requires_grad}
        fields |= {k: v.detach() for k, v in graphs.items()}
        try:
            batch_shape = torch.broadcast_shapes(*(v.shape[:-1] for v in values))
        except torch.OutOfMemoryError:  # it is a RuntimeError too
            raise
        except RuntimeError:
            shapes = {k: tuple(fields[k].shape) for k in _VALUES}
            raise PolytopeError(
                f"The batch dimensions of the right-hand sides and bounds must agree. Got {shapes}."
            ) from None
        if not instance:
            check_bounds(fields["lower"], fields["upper"])
            check_empty_rows(A, fields["b"], A_eq, fields["b_eq"])
        fields |= {"_values": {k: fields.pop(k) for k in _VALUES}, "batch_shape": batch_shape}
        for key, value in (fields | {"_graphs": graphs, "_sources": sources}).items():
            object.__setattr__(self, key, value)

    batch_shape: torch.Size
    shape: tuple[int, ...]  # of one point: `(n,)`, or what it is an array of
    fingerprint: bytes  # of the rows: polytopes with equal rows share what is compiled from them
    _values: dict[str, Tensor]
    _graphs: dict[str, Tensor]
    _sources: Sources

    b = property(lambda self: self._value("b"))
    b_eq = property(lambda self: self._value("b_eq"))
    lower = property(lambda self: self._value("lower"))
    upper = property(lambda self: self._value("upper"))

    def _value(self, name: str) -> Tensor:
        """Return a copy: a plan was compiled from what is kept, so nobody may write on that."""
        self.read_again()
        return self._values[name].clone()

    def read_again(self) -> None:
        """Read the parameters that this polytope was declared with, if they have changed.

        Every verb asks this first, so that steps of an optimiser take effect.

        Raises:
            PolytopeError: If a field was computed from a parameter that has changed since; if a
                parameter has become no right-hand side or bound.
        """
        if changed := self._sources.changed():
            values: dict[str, Any] = self._values | self._graphs | changed
            self._fill(
                self.A,
                self.A_eq,
                num_aux=self.num_aux,
                integral=self.integral,
                shape=self.shape,
                fingerprint=self.fingerprint,
                **values,
            )
            self.__dict__.pop("compiled", None)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(
            f"A Polytope is frozen; `{name}` cannot be set. Use `with_(...)` for other right-hand "
            "sides or bounds."
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A Polytope is frozen; `{name}` cannot be deleted.")

    @property
    def num_vars(self) -> int:
        """Number of columns: variables and auxiliary variables."""
        return self.A.shape[1]

    @property
    def n(self) -> int:
        """Number of variables z, the last dimension of scores and points."""
        return self.num_vars - self.num_aux

    @property
    def relaxation(self) -> "Polytope":
        """The polytope that the backward pass projects onto: the polytope itself."""
        return self

    def __repr__(self) -> str:
        parts = [f"n={self.n}"]
        parts += [f"num_aux={self.num_aux}"] if self.num_aux else []
        parts += [f"rows={self.A.shape[0]}"] if self.A.shape[0] else []
        parts += [f"equalities={self.A_eq.shape[0]}"] if self.A_eq.shape[0] else []
        parts += [f"batch={tuple(self.batch_shape)}"] if self.batch_shape else []
        return f"Polytope({', '.join([*parts, 'integral' if self.integral else 'continuous'])})"

    # ------------------------------------------------------------------ algebra

    def with_(self, **changes: Any) -> "Polytope":
        """The same rows with other `b`, `b_eq`, `lower`, `upper` or `integral`.

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
        values = {name: changes.get(name, self.with_graph(name)) for name in names}
        other = object.__new__(Polytope)
        Polytope._fill(
            other,
            self.A,
            self.A_eq,
            num_aux=self.num_aux,
            shape=self.shape,
            fingerprint=self.fingerprint,
            **values,
        )
        return other

    @property
    def requires_grad(self) -> bool:
        """Whether a right-hand side or a bound was declared with a tensor that requires grad."""
        return bool(self._graphs)

    @property
    def fields_with_graph(self) -> tuple[str, ...]:
        """The right-hand sides and bounds that were declared with tensors that require grad."""
        return tuple(self._graphs)

    def with_graph(self, name: str) -> Any:
        """Return a field; if it was declared with a tensor that requires grad, with its graph.

        `P.b` itself never has one: what looks at constraints runs on the host.
        """
        given = self._sources.given(name)
        return self._graphs.get(name, getattr(self, name)) if given is None else given

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

    @classmethod
    def from_cvxpy(
        cls, z: Any, constraints: Sequence[Any], *, integral: bool | None = None
    ) -> "Polytope":
        """Read a polytope from affine constraints of a cvxpy variable of any shape.

        Scores are `(..., *z.shape)`, or that flattened in C order, as torch flattens. Attributes of
        `z` (`boolean`, `integer`, `nonneg`, `nonpos`, `bounds`) are kept; otherwise there are
        **no** default bounds here. Every other variable in the constraints becomes auxiliary.

        Args:
            z: A `cvxpy.Variable`.
            constraints: cvxpy constraints with affine sides.
            integral: Overrides what the attributes of `z` say.

        Raises:
            PolytopeError: If a constraint is not affine; the constraint is printed.

        Examples:
            >>> import cvxpy as cp
            >>> z = cp.Variable((2, 2), boolean=True)
            >>> Polytope.from_cvxpy(z, [cp.sum(z, axis=0) == 1, cp.trace(z) <= 1])
            Polytope(n=4, rows=1, equalities=2, integral)
        """
        if not isinstance(constraints, Iterable):
            raise PolytopeError(
                "`constraints` must be a list of cvxpy constraints. "
                f"Got {type(constraints).__name__}."
            )
        fields = read_cvxpy(z, list(constraints))
        if integral is not None:
            fields["integral"] = integral
        return cls(**fields)

    def instance(self, index: tuple[int, ...]) -> "Polytope":
        """Return one instance as a polytope without batch dimensions.

        Args:
            index: Its place in the batch, or in a batch that this one broadcasts to.
        """
        if not self.batch_shape:
            return self
        own = index[len(index) - len(self.batch_shape) :]
        own = tuple(k if size > 1 else 0 for k, size in zip(own, self.batch_shape, strict=True))
        values = {k: getattr(self, k).expand(*self.batch_shape, -1)[own] for k in _VALUES}
        other = object.__new__(Polytope)
        Polytope._fill(
            other,
            self.A,
            self.A_eq,
            num_aux=self.num_aux,
            integral=self.integral,
            shape=self.shape,
            fingerprint=self.fingerprint,
            instance=True,
            **values,
        )
        return other

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
        for i in range(count):
            yield find_conflict(self.A, self.A_eq, *(v[i] for v in flat))

    # ------------------------------------------------------------------ copies

    def __copy__(self) -> "Polytope":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Polytope":
        return self  # frozen: a copy could not differ

    def __getstate__(self) -> dict[str, Any]:
        names = ("A", "A_eq", "b", "b_eq", "lower", "upper", "num_aux", "integral", "shape")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._fill(**state)


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


_VALUES = ("b", "b_eq", "lower", "upper")


def _fingerprint(A: sp.csr_array, A_eq: sp.csr_array, num_aux: int) -> bytes:
    digest = hashlib.blake2b(f"{A.shape} {A_eq.shape} {num_aux}".encode(), digest_size=16)
    for rows in (A, A_eq):
        for part in (rows.indptr, rows.indices, rows.data):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.digest()


def _number_of_variables(A, A_eq, lower, upper) -> int:
    """From the rows, else from the bounds; all of them must agree."""
    widths = {}
    for name, matrix in (("A", A), ("A_eq", A_eq)):
        if matrix is not None:
            widths[name] = matrix.shape[1]
    for name, bound in (("lower", lower), ("upper", upper)):
        if np.ndim(bound) > 0:
            widths[name] = int(np.shape(bound)[-1])
    if not widths:
        raise PolytopeError(
            "A polytope needs rows `A` or `A_eq`, or bounds with one entry per variable."
        )
    if len(set(widths.values())) > 1 or 0 in widths.values():
        found = ", ".join(f"`{name}` has {width}" for name, width in widths.items())
        raise PolytopeError(
            f"Rows and bounds must have the same number of columns, at least 1. Got: {found}."
        )
    return next(iter(widths.values()))
