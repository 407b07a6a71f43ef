"""The verbs of polytopes that were read from cvxpy."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self

import numpy as np
from torch import Tensor

from .._errors import PolytopeError
from .cvxpy_rows import CvxpyRows
from .declared import Declared
from .integrality import read_integral


class ReadFromCvxpy(Declared):
    """A declaration that may have been read from cvxpy, and whose parameters may be open."""

    @classmethod
    def from_cvxpy(
        cls,
        z: Any,
        constraints: Any = None,
        *,
        integral: bool | Sequence[bool] | np.ndarray | Tensor | None = None,
    ) -> Self:
        """Read a polytope from constraints of cvxpy.

        Scores are `(..., *z.shape)`, or that flattened in C order, as torch flattens; of several
        variables, one behind the other: `split` and `join` go there and back. Attributes of `z`
        (`boolean`, `integer`, `nonneg`, `nonpos`, `bounds`) are kept, and where only some variables
        are boolean or integer only those are integers; otherwise there are **no** default bounds.
        Every other variable in the constraints becomes auxiliary, and atoms that rows can express,
        where they are convex (abs, norm1, norm_inf, max, min, pos, sum_largest), add auxiliary
        variables of their own.

        A `cvxpy.Parameter` without a value stays open: nothing can be asked before `bind` has given
        it one. One with a value has that value, until `bind` gives it another.

        Args:
            z: A `cvxpy.Variable`, a list of them, or a `cvxpy.Problem`: all its variables.
            constraints: cvxpy constraints, or a `cvxpy.Problem`, whose constraints count; its
                objective does not.
            integral: Overrides what the attributes of `z` say: True, False, or one boolean for each
                entry of z.

        Raises:
            PolytopeError: If rows cannot express a constraint, or parameters are multiplied with
                each other; the constraint is printed.

        Examples:
            >>> import cvxpy as cp
            >>> from optlayers import Polytope
            >>> import torch
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
            shape = rows.variables[0].shape if len(rows.variables) == 1 else (rows.n,)
            rows.integral = read_integral(integral, rows.n, shape)
        object.__setattr__(other, "_cvxpy", rows)
        return other if rows.open else other.bind()

    def bind(self, values: Mapping[Any, Any] | None = None, **named: Any) -> Self:
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
        other = type(self)(**fields)
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
        if rows is not None and "rows" not in self.__dict__ and not name.startswith("__"):
            names = ", ".join(rows.open)
            raise PolytopeError(
                f"Nothing is known of a polytope whose parameters are open. Bind {names} first: "
                f"`P.bind({rows.open[0]}=...)`."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
