"""Declarations: rows, right-hand sides and bounds, checked once, then frozen."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import PolytopeError
from .._kernels.untraced import ordinary
from .arguments import as_values, check_bounds, check_empty_rows
from .integrality import Integral, read_integral, whole_variables
from .rows import Rows, as_rows, fingerprint, join
from .shapes import read_shape
from .sources import Sources

VALUES = ("b", "b_eq", "lower", "upper")


class Declared:
    """The fields of a polytope: filled by whoever checked the rows, read by everybody."""

    num_vars: int  # columns: variables and auxiliary variables
    n: int  # variables z, the last dimension of scores and points
    num_aux: int
    integral: Integral
    requires_grad: bool  # whether a value was declared with a tensor that requires grad
    rows_require_grad: bool  # whether `A` or `A_eq` was
    event_dim: ClassVar[int] = 1  # how many trailing dimensions of scores are one structure
    batch_shape: torch.Size
    shape: tuple[int, ...]  # of one point: `(n,)`, or what it is an array of
    rows: Rows  # what `A` holds, and how it was declared
    rows_eq: Rows
    rows_batch: torch.Size  # batch dimensions of the rows; () where all instances share them
    fingerprint: bytes  # of the rows: polytopes with equal rows share what is compiled from them
    _values: dict[str, Tensor]
    _graphs: dict[str, Tensor]
    _sources: Sources

    @classmethod
    def of_checked(cls, *rows: Rows, **fields: Any) -> Self:
        """Return a declaration of parts that were checked; the arguments are those of `_fill`."""
        other = object.__new__(cls)
        other._fill(rows[0], rows[1], **fields)
        return other

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
        num_vars, n = A.matrix.shape[1], A.matrix.shape[1] - num_aux
        sizes = (A.count, A_eq.count, num_vars, num_vars)
        for (name, given), size in zip(values.items(), sizes, strict=True):
            if name not in kept:
                rows = {"b": "A", "b_eq": "A_eq"}.get(name)
                values[name] = as_values(given, size, name, rows)
        # The host code wants values without a graph; that is kept beside them, for derivatives.
        graphs = {k: v for k, v in values.items() if v.requires_grad}
        values |= {k: v.detach() for k, v in graphs.items()}
        batch_shape = _batch_of(values, rows_batch)
        if not (instance or ("lower" in kept and "upper" in kept)):
            check_bounds(values["lower"], values["upper"])
        if not (instance or rows_batch or ("b" in kept and "b_eq" in kept)):
            check_empty_rows(A.matrix, values["b"], A_eq.matrix, values["b_eq"])
        own_shape = read_shape(shape, n)
        fields = {
            "rows": A,
            "rows_eq": A_eq,
            "rows_batch": rows_batch,
            "num_vars": num_vars,
            "n": n,
            "num_aux": num_aux,
            "integral": read_integral(integral, n, own_shape),
            "shape": own_shape,
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
        for rows in (A, A_eq):
            rows.freeze()

    @ordinary
    def with_values(self, changes: Mapping[str, Any]) -> Self:
        """Return this declaration with other values or integrality, none of which has a graph.

        Only what is new is checked; the result is that of `_fill`.
        """
        values = dict(self._values)
        for name in VALUES:
            if name in changes:
                rows = {"b": "A", "b_eq": "A_eq"}.get(name)
                size = {"b": self.rows.count, "b_eq": self.rows_eq.count}.get(name, self.num_vars)
                values[name] = as_values(changes[name], size, name, rows)
        if "lower" in changes or "upper" in changes:
            check_bounds(values["lower"], values["upper"])
        if not self.rows_batch and ("b" in changes or "b_eq" in changes):
            matrices = self.rows.matrix, self.rows_eq.matrix
            check_empty_rows(matrices[0], values["b"], matrices[1], values["b_eq"])
        other = object.__new__(type(self))
        fields = {k: v for k, v in self.__dict__.items() if k not in ("compiled", "joint")}
        fields |= {"_values": values, "batch_shape": _batch_of(values, self.rows_batch)}
        if "integral" in changes:
            fields["integral"] = read_integral(changes["integral"], self.n, self.shape)
        vars(other).update(fields)
        return other

    @property
    def A(self) -> sp.csr_array:  # noqa: N802  (capitals are matrices)
        """Inequality rows, of every instance below those of the one before; to be read."""
        return copy(self.rows.matrix)  # of the object: the numbers are shared, and frozen

    @property
    def A_eq(self) -> sp.csr_array:  # noqa: N802
        """Equality rows, likewise."""
        return copy(self.rows_eq.matrix)

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
    def whole(self) -> np.ndarray:
        """Which variables are integers, `(num_vars,)`; auxiliary ones never are."""
        return whole_variables(self.integral, self.n, self.num_aux).copy()

    @property
    def fields_with_graph(self) -> tuple[str, ...]:
        """Names of values and rows that were declared with tensors that require grad."""
        rows = {"A": self.rows, "A_eq": self.rows_eq}
        own = tuple(name for name, of in rows.items() if of.source is not None)
        return (*own, *self._graphs)

    def with_graph(self, name: str) -> Any:
        """Return a field; if it was declared with a tensor that requires grad, with its graph.

        `P.b` itself never has one: what looks at constraints runs on the host.
        """
        given = self._sources.given(name)
        return self._graphs.get(name, getattr(self, name)) if given is None else given

    # ------------------------------------------------------------------ copies

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # frozen: a copy could not differ

    def __getstate__(self) -> dict[str, Any]:
        if "rows" not in self.__dict__:
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
