"""The declaration: a polytope by rows, right-hand sides and bounds, validated once, then frozen."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import InfeasibleError, InputError, PolytopeError, name_of
from .._kernels.untraced import ordinary
from .arguments import as_values, check_bounds, check_empty_rows
from .conflicts import Conflict, find_conflict
from .cvxpy_rows import CvxpyRows
from .rows import Rows, as_rows, fingerprint, join, number_of_variables
from .shapes import holds_arrays, read_shape
from .sources import Sources

_VALUES = ("b", "b_eq", "lower", "upper")


class Polytope:
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
    num_vars: int  # columns: variables and auxiliary variables
    n: int  # variables z, the last dimension of scores and points
    num_aux: int
    integral: bool
    requires_grad: bool  # whether a value was declared with a tensor that requires grad
    rows_require_grad: bool  # whether `A` or `A_eq` was
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
        num_vars = number_of_variables(rows, rows_eq, lower, upper)
        if not isinstance(num_aux, int | np.integer) or not 0 <= num_aux < num_vars:
            raise PolytopeError(
                f"`num_aux` must be an integer from 0 to {num_vars - 1}, one less than the number "
                f"of columns. Got {num_aux!r}."
            )
        empty = Rows(sp.csr_array((0, num_vars), dtype=np.float64))
        rows, rows_eq = empty if rows is None else rows, empty if rows_eq is None else rows_eq
        self._fill(rows, rows_eq, b, b_eq, lower, upper, int(num_aux), integral, shape)

    @ordinary
    def _fill(
        self,
        A: Rows,
        A_eq: Rows,
        b,
        b_eq,
        lower,
        upper,
        num_aux,
        integral,
        shape=None,
        digest: bytes | None = None,
        instance: bool = False,
        kept: Sequence[str] = (),
    ) -> None:
        """Set every field.

        Args:
            A: Inequality rows, checked, as `A_eq` is.
            A_eq: Equality rows.
            b: As the user gave it, as the next three.
            b_eq: Right-hand side of the equality rows.
            lower: Lower bounds.
            upper: Upper bounds.
            num_aux: Checked.
            integral: As given.
            shape: Of z, if it has several dimensions.
            digest: Fingerprint of the rows, if it is known.
            instance: An instance of a batch is not refused for being empty.
            kept: Which of the values are those of another polytope with these rows. Nothing is
                asked of them.
        """
        values = {"b": b, "b_eq": b_eq, "lower": lower, "upper": upper}
        sources = Sources(values | {"A": A.source, "A_eq": A_eq.source})
        A, A_eq, rows_batch = join(A, A_eq)
        _refuse_gradients_beside_auxiliaries(A, A_eq, num_aux)
        num_vars = A.matrix.shape[1]
        sizes = (A.count, A_eq.count, num_vars, num_vars)
        for (name, given), size in zip(values.items(), sizes, strict=True):
            if name not in kept:
                rows = {"b": "A", "b_eq": "A_eq"}.get(name)
                values[name] = as_values(given, size, name, rows)
        # Values stay tensors without a graph, as the host code wants them; the graph of those that
        # require grad is kept beside them, for the derivative of a projection.
        graphs = {k: v for k, v in values.items() if v.requires_grad}
        values |= {k: v.detach() for k, v in graphs.items()}
        batch_shape = _batch_of(values, rows_batch)
        if not (instance or ("lower" in kept and "upper" in kept)):
            check_bounds(values["lower"], values["upper"])
        if not (instance or rows_batch or ("b" in kept and "b_eq" in kept)):
            check_empty_rows(A.matrix, values["b"], A_eq.matrix, values["b_eq"])
        fields = {
            "A": A.matrix,
            "A_eq": A_eq.matrix,
            "rows": A,
            "rows_eq": A_eq,
            "rows_batch": rows_batch,
            "num_vars": num_vars,
            "n": num_vars - num_aux,
            "num_aux": num_aux,
            "integral": _for_all(integral),
            "shape": read_shape(shape, num_vars - num_aux),
            "requires_grad": bool(graphs),
            "rows_require_grad": A.source is not None or A_eq.source is not None,
            "fingerprint": digest or fingerprint(A, A_eq, num_aux),
            "batch_shape": batch_shape,
            "_values": values,
            "_graphs": graphs,
            "_sources": sources,
        }
        for key, value in fields.items():
            object.__setattr__(self, key, value)

    batch_shape: torch.Size
    shape: tuple[int, ...]  # of one point: `(n,)`, or what it is an array of
    rows: Rows  # what `A` holds, and how it was declared
    rows_eq: Rows
    rows_batch: torch.Size  # batch dimensions of the rows; () where all instances share them
    fingerprint: bytes  # of the rows: polytopes with equal rows share what is compiled from them
    _values: dict[str, Tensor]
    _graphs: dict[str, Tensor]
    _sources: Sources

    b = property(lambda self: self._value("b"))
    b_eq = property(lambda self: self._value("b_eq"))
    lower = property(lambda self: self._value("lower"))
    upper = property(lambda self: self._value("upper"))

    @property
    def values(self) -> dict[str, Tensor]:
        """The right-hand sides and bounds themselves, for those who do not write on them."""
        self.read_again()
        return self._values

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
            rows = {"A": self.rows, "A_eq": self.rows_eq}
            same = not set(rows) & set(changed)
            for name in set(rows) & set(changed):
                rows[name] = as_rows(values.pop(name), name)  # type: ignore[assignment]
            self._fill(
                *rows.values(),
                num_aux=self.num_aux,
                integral=self.integral,
                shape=self.shape,
                digest=self.fingerprint if same else None,
                **values,
            )
            self.__dict__.pop("compiled", None)
            self.__dict__.pop("joint", None)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(
            f"A Polytope is frozen; `{name}` cannot be set. Use `with_(...)` for other right-hand "
            "sides or bounds."
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A Polytope is frozen; `{name}` cannot be deleted.")

    @property
    def rows_shape(self) -> torch.Size:
        """The last dimensions of the batch, those over which rows differ; () where none do."""
        return self.batch_shape[len(self.batch_shape) - len(self.rows_batch) :]

    @property
    def relaxation(self) -> "Polytope":
        """The polytope that the backward pass projects onto: the polytope itself."""
        return self

    def __repr__(self) -> str:
        if "A" not in self.__dict__:
            return f"Polytope(open: {', '.join(self._read_from_cvxpy('repr').open)})"
        parts = [f"n={self.n}"]
        parts += [f"num_aux={self.num_aux}"] if self.num_aux else []
        parts += [f"rows={self.rows.count}"] if self.rows.count else []
        parts += [f"equalities={self.rows_eq.count}"] if self.rows_eq.count else []
        parts += [f"batch={tuple(self.batch_shape)}"] if self.batch_shape else []
        return f"Polytope({', '.join([*parts, 'integral' if self.integral else 'continuous'])})"

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
        kept = [k for k in _VALUES if not (k in changes or k in self._graphs)]
        values = {k: v for k, v in self.values.items() if k in kept}
        values |= {k: changes.get(k, self.with_graph(k)) for k in _VALUES if k not in kept}
        values["integral"] = changes.get("integral", self.integral)
        rows, fields = (self.rows, self.rows_eq), {"num_aux": self.num_aux, "shape": self.shape}
        return self._made(*rows, digest=self.fingerprint, kept=kept, **fields, **values)

    def _made(self, *rows: Rows, **fields: Any) -> "Polytope":
        """Return a polytope that was read where this one was, from parts that were checked."""
        other = object.__new__(Polytope)
        Polytope._fill(other, rows[0], rows[1], **fields)
        if "_cvxpy" in self.__dict__:
            object.__setattr__(other, "_cvxpy", self._cvxpy)
        return other

    def beside(self, *rows: Rows, count: int, **values: Tensor) -> "Polytope":
        """Return `count` instances as one: their rows, `b`, `b_eq`, `lower` and `upper` joined."""
        num_aux, integral = count * self.num_aux, self.integral
        return self._made(*rows, num_aux=num_aux, integral=integral, instance=True, **values)

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
        cls, z: Any, constraints: Any = None, *, integral: bool | None = None
    ) -> "Polytope":
        """Read a polytope from constraints of cvxpy.

        Scores are `(..., *z.shape)`, or that flattened in C order, as torch flattens; of several
        variables, one behind the other: `split` and `join` go there and back. Attributes of `z`
        (`boolean`, `integer`, `nonneg`, `nonpos`, `bounds`) are kept; otherwise there are **no**
        default bounds here. Every other variable in the constraints becomes auxiliary, and atoms
        that rows can express, where they are convex (abs, norm1, norm_inf, max, min, pos,
        sum_largest), add auxiliary variables of their own.

        A `cvxpy.Parameter` without a value stays open: nothing can be asked before `bind` has given
        it one. One with a value has that value, until `bind` gives it another.

        Args:
            z: A `cvxpy.Variable`, a list of them, or a `cvxpy.Problem`: all its variables.
            constraints: cvxpy constraints, or a `cvxpy.Problem`, whose constraints count; its
                objective does not.
            integral: Overrides what the attributes of `z` say.

        Raises:
            PolytopeError: If rows cannot express a constraint, or parameters are multiplied with
                each other; the constraint is printed.

        Examples:
            >>> import cvxpy as cp
            >>> z = cp.Variable((2, 2), boolean=True)
            >>> Polytope.from_cvxpy(z, [cp.sum(z, axis=0) == 1, cp.trace(z) <= 1])
            Polytope(n=4, rows=1, equalities=2, integral)
            >>> P = Polytope.from_cvxpy(z, [cp.sum(z) <= cp.Parameter(name="cap")])
            >>> P
            Polytope(open: cap)
            >>> P.bind(cap=torch.tensor([1.0, 3.0]))
            Polytope(n=4, rows=1, batch=(2,), integral)
        """
        rows, other = CvxpyRows(z, constraints), object.__new__(cls)
        if integral is not None:
            rows.integral = [np.full_like(mask, integral) for mask in rows.integral]
        object.__setattr__(other, "_cvxpy", rows)
        return other if rows.open else other.bind()

    def bind(self, values: Mapping[Any, Any] | None = None, **named: Any) -> "Polytope":
        """Return a polytope from cvxpy with values for its parameters.

        Values have the shape of the parameter, or batch dimensions before it, and may require grad.
        Where parameters are factors of variables the rows depend on them: a batch of values makes a
        batch of rows.

        Args:
            values: Parameter, or its name, -> value.
            **named: Name -> value.

        Raises:
            PolytopeError: If a parameter is unknown or still open, or a value does not fit it.
        """
        rows = self._read_from_cvxpy("bind")
        fields = rows.arguments({**(values or {}), **named})
        other = Polytope(**fields)
        object.__setattr__(other, "_cvxpy", rows)
        return other

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor `(..., *shape)` for each variable of cvxpy, of points `(..., n)`."""
        return self._read_from_cvxpy("split").split(self.flat(z))

    def join(self, *parts: Tensor) -> Tensor:
        """Return points or scores `(..., n)` of a tensor for each variable of cvxpy."""
        return self._read_from_cvxpy("join").join(parts)

    def _read_from_cvxpy(self, verb: str) -> CvxpyRows:
        rows = self.__dict__.get("_cvxpy")
        if rows is None:
            raise PolytopeError(f"`{verb}` is for polytopes that `from_cvxpy` has read.")
        return rows

    def __getattr__(self, name: str) -> NoReturn:
        rows = self.__dict__.get("_cvxpy")
        if rows is not None and "A" not in self.__dict__ and not name.startswith("__"):
            names = ", ".join(rows.open)
            raise PolytopeError(
                f"Nothing is known of a polytope whose parameters are open. Bind {names} first: "
                f"`P.bind({rows.open[0]}=...)`."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

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
        given = {k: self.with_graph(k) if graph else getattr(self, k) for k in _VALUES}
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
        for name in _VALUES:
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

    # ------------------------------------------------------------------ copies

    def __copy__(self) -> "Polytope":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Polytope":
        return self  # frozen: a copy could not differ

    def __getstate__(self) -> dict[str, Any]:
        if "A" not in self.__dict__:
            return {"_cvxpy": self.__dict__["_cvxpy"]}
        names = ("A", "A_eq", "b", "b_eq", "lower", "upper", "num_aux", "integral", "shape")
        state = {name: getattr(self, name) for name in names} | {"rows_batch": self.rows_batch}
        return state | {"_cvxpy": self.__dict__.get("_cvxpy")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if (cvxpy := state.pop("_cvxpy", None)) is not None:
            object.__setattr__(self, "_cvxpy", cvxpy)
        if not state:
            return
        batch = state.pop("rows_batch", torch.Size())
        rows = {name: Rows(state.pop(name), batch) for name in ("A", "A_eq")}
        self._fill(**rows, **state)


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


def _for_all(integral: Any) -> bool:
    if not isinstance(integral, bool | np.bool_):
        raise PolytopeError(
            "`integral` must be True or False, for all variables: whether decisions are integers. "
            f"Got {integral!r}. A set with both kinds is a product of two where no row "
            "joins them; auxiliary variables may always be fractional."
        )
    return bool(integral)


def _refuse_gradients_beside_auxiliaries(A: Rows, A_eq: Rows, num_aux: int) -> None:
    if num_aux and (A.source is not None or A_eq.source is not None):
        name = "A_eq" if A.source is None else "A"
        raise PolytopeError(
            f"`{name}` requires a gradient, and rows with auxiliary variables get none: the "
            "point may jump where their coefficients change. Detach it, or write the set "
            "without `num_aux`."
        )


def _batch_of(values: Mapping[str, Tensor], rows_batch: torch.Size) -> torch.Size:
    """Return the shape that the batches of all values broadcast to, and that of the rows."""
    if not rows_batch and all(v.ndim == 1 for v in values.values()):  # torch takes long to say so
        return torch.Size()
    try:
        return torch.broadcast_shapes(rows_batch, *(v.shape[:-1] for v in values.values()))
    except torch.OutOfMemoryError:  # it is a RuntimeError too
        raise
    except RuntimeError:
        shapes = {k: tuple(v.shape) for k, v in values.items()}
        shapes |= {"batch of the rows": tuple(rows_batch)} if rows_batch else {}
        raise PolytopeError(
            f"The batch dimensions of the right-hand sides and bounds must agree. Got {shapes}."
        ) from None
