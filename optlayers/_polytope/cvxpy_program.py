"""A program of cvxpy: variables and their attributes, parameters, constraints as a sparse tensor.

cvxpy itself replaces atoms that linear programs can express (abs, norm1, norm_inf, max, min, pos,
sum_largest, ...) by auxiliary variables, and writes what is left as coefficients by parameters.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .._errors import PolytopeError

_SIGNS = {"nonneg": 1, "pos": 1, "nonpos": -1, "neg": -1}
_HALVES = (("nonneg", "pos"), ("nonpos", "neg"))
_UNKNOWN = ("symmetric", "diag", "PSD", "NSD", "hermitian", "complex", "imag", "sparsity")


class Named(NamedTuple):
    """A variable or parameter of cvxpy, without its object."""

    name: str
    number: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class Parameter(NamedTuple):
    """A parameter, what cvxpy knows of its sign, and its value when it was read."""

    of: Named
    sign: int
    value: np.ndarray | None


def asked(z: Any, constraints: Any) -> tuple[list[Any], list[Any]]:
    """Return the variables of z and the constraints, of what a user may hand over."""
    import cvxpy as cp

    if isinstance(z, cp.Problem):
        if constraints is not None:
            raise PolytopeError(
                "`from_cvxpy` takes a Problem alone, or variables and then a Problem or "
                "constraints."
            )
        z, constraints = z.variables(), z
    constraints = constraints.constraints if isinstance(constraints, cp.Problem) else constraints
    if constraints is not None and not isinstance(constraints, Iterable):
        raise PolytopeError(
            "`constraints` must be a list of cvxpy constraints, or a Problem. "
            f"Got {type(constraints).__name__}."
        )
    variables = list(z) if isinstance(z, list | tuple) else [z]
    for v in variables:
        if not isinstance(v, cp.Variable):
            raise PolytopeError(f"`z` must be a cvxpy Variable. Got {type(v).__name__}.")
    if not variables:
        raise PolytopeError("`from_cvxpy` needs at least one variable.")
    if len({v.id for v in variables}) < len(variables):
        raise PolytopeError("Each variable of z must be given once.")
    return variables, list(constraints or [])


def program_of(constraints: list[Any]) -> Any:
    """Return what cvxpy makes of the constraints: A x + b, zero or nonnegative."""
    from cvxpy.constraints.constraint import Constraint

    for c in constraints:
        if not isinstance(c, Constraint) or not c.is_dcp():
            _refuse(c)
        if not c.is_dcp(dpp=True):
            raise PolytopeError(
                "Parameters must enter a constraint by themselves or times variables, not times "
                f"each other: {c}. Give them a new name, or a number instead of one of them."
            )
    shapes, program = _stuffed(constraints)
    if program is None:
        for c in constraints:
            if _stuffed([c])[1] is None:
                _refuse(c)
        raise PolytopeError("The constraints are not linear.")
    return Program(program, shapes)


class Program:
    """The tensor of cvxpy, and the shapes of its constraints, equalities first."""

    def __init__(self, program: Any, shapes: list[tuple[int, ...]]):
        self.shapes = shapes
        self.equal = [type(c).__name__ == "Zero" for c in program.constraints]
        self.columns = {} if not shapes else dict(program.var_id_to_col)
        self.width = program.x.size if shapes else 0
        self.parameters = list(program.parameters) if shapes else []
        self.starts = dict(program.param_id_to_col) if shapes else {}
        self.tensor = sp.coo_array(program.A) if shapes else None


def _refuse(constraint: Any) -> None:
    raise PolytopeError(
        "`from_cvxpy` takes affine equalities and inequalities, and what rows can express: abs, "
        "norm1, norm_inf, max, min, pos, sum_largest where they are convex. "
        f"This constraint is something else: {constraint}"
    )


def _stuffed(constraints: list[Any]) -> tuple[list[tuple[int, ...]], Any]:
    """Return shapes of the rows of cvxpy, equalities first, and its tensor; None: not linear."""
    import cvxpy as cp
    from cvxpy.constraints import Equality, Inequality, NonNeg, NonPos, Zero
    from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing
    from cvxpy.reductions.dcp2cone.dcp2cone import Dcp2Cone

    if not constraints:
        return [], _Nothing()
    problem = cp.Problem(cp.Minimize(0), constraints)
    problem, _ = Dcp2Cone(quad_obj=False).apply(problem)
    kinds = (Equality, Inequality, NonNeg, NonPos, Zero)
    if not all(isinstance(c, kinds) for c in problem.constraints):
        return [], None
    equal = [c for c in problem.constraints if isinstance(c, Equality | Zero)]
    others = [c for c in problem.constraints if not isinstance(c, Equality | Zero)]
    program, _ = ConeMatrixStuffing().apply(problem)
    return [c.expr.shape for c in [*equal, *others]], program


class _Nothing:
    """A stand-in for the program of no constraints, which cvxpy does not make."""

    constraints: tuple[()] = ()


def named(leaf: Any) -> Named:
    return Named(leaf.name(), leaf.id, tuple(leaf.shape))


def parameter_of(leaf: Any) -> Parameter:
    signs = [sign for name, sign in _SIGNS.items() if leaf.attributes.get(name)]
    value = None if leaf.value is None else np.array(leaf.value, dtype=np.float64)
    return Parameter(named(leaf), signs[0] if signs else 0, value)


def attributes_of(variable: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the bounds that the attributes of a variable imply, and what is integer; in C order.

    Raises:
        PolytopeError: If it has an attribute that neither can express.
    """
    lower, upper = np.full(variable.shape, -np.inf), np.full(variable.shape, np.inf)
    attributes = variable.attributes
    unknown = [name for name in _UNKNOWN if attributes.get(name) not in (None, False)]
    if unknown:
        raise PolytopeError(
            f"Variable {variable.name()} has the attribute {unknown[0]!r}, which a polytope cannot "
            "express; state it as affine constraints."
        )
    boolean, integer = (_entries_with(variable, name) for name in ("boolean", "integer"))
    if attributes.get("bounds") is not None:
        lower = np.maximum(lower, attributes["bounds"][0])
        upper = np.minimum(upper, attributes["bounds"][1])
    nonneg, nonpos = (attributes.get(k) or attributes.get(n) for k, n in _HALVES)
    lower = np.where(boolean | bool(nonneg), np.maximum(lower, 0.0), lower)
    upper = np.minimum(np.where(boolean, np.minimum(upper, 1.0), upper), 0.0 if nonpos else np.inf)
    return lower.ravel(), upper.ravel(), (boolean | integer).ravel()


def _entries_with(variable: Any, name: str) -> np.ndarray:
    """Return which entries of a variable are boolean or integer: all, none, or those of a list.

    cvxpy takes a list of positions as numpy does: one tuple for each dimension.
    """
    given = variable.attributes[name]
    found = np.zeros(variable.shape, dtype=bool)
    if isinstance(given, bool | np.bool_):
        found[...] = given
        return found
    try:
        at = np.ravel_multi_index(tuple(given), variable.shape)
    except (TypeError, ValueError):
        raise PolytopeError(
            f"Variable {variable.name()} of shape {variable.shape} has the attribute {name}="
            f"{given!r}, which cvxpy reads as numpy does, one tuple of positions for each "
            "dimension, such as [(0, 2)] for two entries of a vector."
        ) from None
    found.ravel()[at] = True
    return found
