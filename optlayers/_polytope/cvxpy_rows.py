"""Rows of cvxpy constraints, as affine functions of the parameters that they contain.

cvxpy itself replaces atoms that linear programs can express (abs, norm1, norm_inf, max, min, pos,
sum_largest, ...) by auxiliary variables, and writes what is left as one sparse tensor,
coefficients by parameters; this file puts that into the layout of `Polytope`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import PolytopeError
from .arguments import as_host_tensor

_SIGNS = {"nonneg": 1, "pos": 1, "nonpos": -1, "neg": -1}


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


@dataclass(frozen=True, eq=False)
class Side:
    """Rows and right-hand sides of one kind: constants, and what each parameter entry adds.

    Attributes:
        A: `(m, num_vars)`.
        b: `(m,)`.
        of_b: `(m, P)`, over all parameter entries.
        at: `(K,)` place in the flattened `(m, num_vars)`, of coefficients that parameters add to.
        entry: `(K,)`, which parameter entry adds to it.
        weight: `(K,)`, how many times.
    """

    A: sp.csr_array
    b: np.ndarray
    of_b: sp.csr_array
    at: np.ndarray
    entry: np.ndarray
    weight: np.ndarray

    def used(self, what: str) -> np.ndarray:
        """Return the parameter entries that occur in `A` or in `b`."""
        return np.unique(self.entry) if what == "A" else np.unique(self.of_b.indices)

    def rows(self, values: Tensor) -> Any:
        """Return `(..., m, num_vars)` at parameters `(..., P)`; sparse where they have none."""
        if not len(self.entry):
            return self.A
        flat = torch.from_numpy(self.A.toarray().ravel()).to(values.device)
        flat = flat.expand(*values.shape[:-1], -1).clone()
        at, entry, weight = (
            torch.from_numpy(v).to(values.device) for v in (self.at, self.entry, self.weight)
        )
        added = values.index_select(-1, entry) * weight
        return flat.index_add(-1, at, added).reshape(*values.shape[:-1], *self.A.shape)

    def right(self, values: Tensor) -> Tensor:
        """Return `(..., m)`."""
        b = torch.from_numpy(self.b)
        if not self.of_b.nnz:
            return b
        own = self.of_b.tocoo()
        row, entry = (torch.from_numpy(v.astype(np.int64)).to(values.device) for v in own.coords)
        added = values.index_select(-1, entry) * torch.from_numpy(own.data).to(values.device)
        b = b.to(values.device).expand(*values.shape[:-1], -1).clone()
        return b.index_add(-1, row, added)


class CvxpyRows:
    """Constraints of cvxpy as the arguments of a polytope.

    Attributes:
        variables: Those of z, in order.
        others: The auxiliary ones that the user named; atoms add more behind them.
        parameters: All that occur.
    """

    def __init__(self, z: Any, constraints: Any = None):
        variables, constraints = _asked(z, constraints)
        program = _program(constraints)
        listed = {v.id for v in variables}
        others = [v for c in constraints for v in c.variables() if v.id not in listed]
        others = list({v.id: v for v in others}.values())
        for v in others:
            if v.attributes["boolean"] or v.attributes["integer"]:
                raise PolytopeError(
                    f"Auxiliary variable {v.name()} is boolean or integer, and only z can be "
                    "integral. Declare it without that attribute, or make it part of z."
                )
        bounds = [_attributes(v) for v in [*variables, *others]]
        self.variables = tuple(_named(v) for v in variables)
        self.others = tuple(_named(v) for v in others)
        self.parameters = tuple(_parameter(p) for p in program.parameters)
        self.integral = [
            np.full(v.size, bool(v.attributes["boolean"] or v.attributes["integer"]))
            for v in variables
        ]
        self.sides, extra = _sides(program, [*self.variables, *self.others], self.parameters)
        free = np.full(extra, np.inf)
        self.lower = np.concatenate([*(low for low, _ in bounds), -free])
        self.upper = np.concatenate([*(high for _, high in bounds), free])

    @property
    def n(self) -> int:
        """Number of variables z."""
        return sum(v.size for v in self.variables)

    @property
    def open(self) -> list[str]:
        """Names of the parameters without a value."""
        return [p.of.name for p in self.parameters if p.value is None]

    def arguments(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the arguments of `Polytope` with the parameters bound, by name or by object.

        Raises:
            PolytopeError: If one is unknown, missing, or has another shape or sign.
        """
        values = self._values(given)
        fields: dict[str, Any] = {}
        for name, right, side in zip(("A", "A_eq"), ("b", "b_eq"), self.sides, strict=True):
            fields[name] = side.rows(self._entries(values, side.used("A")))
            fields[right] = side.right(self._entries(values, side.used("b")))
        mask = np.concatenate(self.integral)
        if not (mask == mask[0]).all():
            raise PolytopeError(
                "Some variables of z are boolean or integer and others are not: "
                f"{', '.join(v.name for v in self.variables)}. Say `integral=False` to decide all "
                "of them as the relaxation does, or `integral=True` for integers everywhere."
            )
        integral = bool(mask[0])
        num_aux = len(self.lower) - self.n
        bounds = {"lower": self.lower, "upper": self.upper}
        shape = self.variables[0].shape if len(self.variables) == 1 else ()
        fields["shape"] = shape if len(shape) > 1 else None
        return fields | bounds | {"num_aux": num_aux, "integral": integral}

    def _values(self, given: Mapping[Any, Any]) -> list[Tensor]:
        """Return the value of every parameter."""
        found: dict[int, Any] = {}
        for key, value in given.items():
            matches = [p for p in self.parameters if _names(key, p.of)]
            if len(matches) != 1:
                names = ", ".join(p.of.name for p in self.parameters) or "none"
                raise PolytopeError(
                    f"`bind` takes the parameters of the constraints, {names}. Got {key}."
                )
            found[matches[0].of.number] = value
        unset = [p.of for p in self.parameters if p.value is None]
        missing = [of.name for of in unset if of.number not in found]
        if missing:
            raise PolytopeError(
                f"`bind` needs values for {', '.join(missing)} too: the parameters have none of "
                "their own."
            )
        return [_value(p, found.get(p.of.number, p.value)) for p in self.parameters]

    def _entries(self, values: list[Tensor], used: np.ndarray) -> Tensor:
        """Return `(..., P)`: batched by those parameters alone of which an entry is used."""
        parts, start = [], 0
        for p, value in zip(self.parameters, values, strict=True):
            stop = start + p.of.size
            needed = bool(((used >= start) & (used < stop)).any())
            # cvxpy flattens by columns (F order).
            dims = [-1 - k for k in range(len(p.of.shape))]
            lead = value.ndim - len(dims)
            flat = value.permute(*range(lead), *dims).flatten(lead) if dims else value[..., None]
            parts.append(flat if needed else flat.detach().new_zeros(p.of.size))
            start = stop
        if not parts:
            return torch.zeros(0, dtype=torch.float64)
        device = next((p.device for p in parts if p.device.type != "cpu"), parts[0].device)
        batch = _common([p.shape[:-1] for p in parts])
        return torch.cat([p.to(device).expand(*batch, -1) for p in parts], -1)

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the part of every variable, `(..., *shape)`, of points or scores `(..., n)`."""
        sizes = [v.size for v in self.variables]
        parts = z.split(sizes, -1)
        return tuple(
            part.reshape(*z.shape[:-1], *v.shape)
            for part, v in zip(parts, self.variables, strict=True)
        )

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return `(..., n)` of one tensor `(..., *shape)` for every variable."""
        if len(parts) != len(self.variables):
            raise PolytopeError(
                f"`join` takes one tensor for each of {', '.join(v.name for v in self.variables)}. "
                f"Got {len(parts)}."
            )
        flat = []
        for part, v in zip(parts, self.variables, strict=True):
            lead = part.ndim - len(v.shape)
            if lead < 0 or tuple(part.shape[lead:]) != v.shape:
                raise PolytopeError(
                    f"{v.name} must have shape (..., {', '.join(map(str, v.shape))}). "
                    f"Got {tuple(part.shape)}."
                )
            flat.append(part.reshape(*part.shape[:lead], v.size))
        batch = _common([f.shape[:-1] for f in flat])
        return torch.cat([f.expand(*batch, -1) for f in flat], -1)


def _names(key: Any, of: Named) -> bool:
    """Whether a key is the name of a parameter, or the parameter itself."""
    return key == of.name if isinstance(key, str) else getattr(key, "id", None) == of.number


def _common(shapes: list[torch.Size]) -> torch.Size:
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        found = " and ".join(str(tuple(s)) for s in shapes)
        raise PolytopeError(f"The batch dimensions must agree. Got {found}.") from None


def _value(parameter: Parameter, value: Any) -> Tensor:
    """Return a value `(..., *shape)` in float64, with its graph."""
    name, shape = parameter.of.name, parameter.of.shape
    tensor = as_host_tensor(value).to(torch.float64)
    lead = tensor.ndim - len(shape)
    if lead < 0 or tuple(tensor.shape[lead:]) != shape:
        wanted = ", ".join(["...", *map(str, shape)])
        raise PolytopeError(f"`{name}` must have shape ({wanted}). Got {tuple(tensor.shape)}.")
    if not bool(tensor.isfinite().all()):
        raise PolytopeError(f"`{name}` must be finite.")
    if bool((parameter.sign * tensor.detach() < 0).any()):
        sign = "nonnegative" if parameter.sign > 0 else "nonpositive"
        raise PolytopeError(f"`{name}` was declared {sign}, which the rows rely on.")
    return tensor


# ---------------------------------------------------------------------- what cvxpy says


def _asked(z: Any, constraints: Any) -> tuple[list[Any], list[Any]]:
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


def _program(constraints: list[Any]) -> Any:
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
    return _Program(program, shapes)


class _Program:
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
    """What cvxpy would make of no constraints."""

    constraints: tuple[()] = ()


# ---------------------------------------------------------------------- in the layout of a polytope


def _named(leaf: Any) -> Named:
    return Named(leaf.name(), leaf.id, tuple(leaf.shape))


def _parameter(leaf: Any) -> Parameter:
    signs = [sign for name, sign in _SIGNS.items() if leaf.attributes.get(name)]
    value = None if leaf.value is None else np.array(leaf.value, dtype=np.float64)
    return Parameter(_named(leaf), signs[0] if signs else 0, value)


def _in_c_order(shape: tuple[int, ...]) -> np.ndarray:
    """Return the place by rows (C order) of each entry that cvxpy counts by columns (F order)."""
    by_columns = np.arange(math.prod(shape)).reshape(shape, order="F").ravel(order="C")
    place = np.empty_like(by_columns)
    place[by_columns] = np.arange(len(place))
    return place


def _sides(
    program: _Program, variables: list[Named], parameters: tuple[Parameter, ...]
) -> tuple[tuple[Side, Side], int]:
    """Return inequalities and equalities, and the number of variables that atoms added."""
    column, extra = _columns(program, variables)
    width = sum(v.size for v in variables) + extra
    if program.tensor is None:
        nowhere = np.zeros(0, dtype=np.int64)
        none = _side(0, width, 0, nowhere, nowhere, nowhere, np.zeros(0))
        return (none, none), 0
    total = program.tensor.shape[0] // (program.width + 1)
    place, entry = program.tensor.coords
    at, of = place % total, place // total
    row, equal = _rows(program)
    count = int((~equal).sum())
    # The column behind all variables holds what is constant in them.
    own = np.append(column, width)[of]
    sign = np.where(own == width, -1.0, 1.0) * np.where(equal[at], 1.0, -1.0)
    size = sum(p.of.size for p in parameters)
    rows = _Sparse(
        np.where(equal, count + row, row)[at],
        own,
        _entries(program, parameters)[entry],
        program.tensor.data * sign,
        (count, int(equal.sum()), width, extra, size),
    )
    rows = _without_defined(rows)
    return rows.sides(), rows.shape[3]


class _Sparse(NamedTuple):
    """Entries of rows: coefficients, and what is right of them in the column behind all variables.

    Attributes:
        row: Inequalities, then equalities.
        column: Variables, those that cvxpy added last.
        parameter: Number of a parameter entry; -1 where there is none.
        value: What it is, or how many times the parameter.
        shape: Numbers of inequalities, equalities, variables, added ones, parameter entries.
    """

    row: np.ndarray
    column: np.ndarray
    parameter: np.ndarray
    value: np.ndarray
    shape: tuple[int, int, int, int, int]

    def sides(self) -> tuple[Side, Side]:
        """Return the inequalities and the equalities."""
        count, count_eq, width, _, size = self.shape
        equal = self.row >= count
        parts = (self.row - count * equal, self.column, self.parameter, self.value)
        return (
            _side(count, width, size, *(v[~equal] for v in parts)),
            _side(count_eq, width, size, *(v[equal] for v in parts)),
        )


def _without_defined(rows: _Sparse) -> _Sparse:
    """Take out variables that cvxpy has added and equations define, as those of cumsum.

    With E_x x + E_y y = e for as many equations as variables y, y is put into the other rows.
    """
    count, count_eq, width, extra, size = rows.shape
    added = (rows.column >= width - extra) & (rows.column < width)
    chosen = added & (rows.row >= count)
    used, columns = np.unique(rows.row[chosen]), np.unique(rows.column[chosen])
    fixed = not (rows.parameter[added & np.isin(rows.column, columns)] >= 0).any()
    if not len(used) or len(used) != len(columns) or not fixed:
        return rows
    depth = size + 1
    at = (rows.row, rows.column * depth + rows.parameter + 1)
    whole = sp.csr_array((rows.value, at), shape=(count + count_eq, (width + 1) * depth))
    own = sp.csr_array(sp.csc_array(whole)[:, columns * depth])
    inverse = np.linalg.pinv(own[used].toarray())
    if np.abs(inverse @ own[used].toarray() - np.eye(len(used))).max() > 1e-9:
        return rows
    inverse[np.abs(inverse) < 1e-12] = 0.0
    inverse = np.where(np.abs(inverse - inverse.round()) < 1e-12, inverse.round(), inverse)
    kept = np.setdiff1d(np.arange(count + count_eq), used)
    moved = whole[kept] - sp.csr_array(own[kept] @ sp.csr_array(inverse)) @ whole[used]
    moved = sp.coo_array(moved)
    column, parameter = moved.coords[1] // depth, moved.coords[1] % depth - 1
    said = ~np.isin(column, columns) & (moved.data != 0)
    place = np.cumsum(~np.isin(np.arange(width + 1), columns)) - 1
    return _Sparse(
        moved.coords[0][said],
        place[column[said]],
        parameter[said],
        moved.data[said],
        (count, count_eq - len(used), width - len(columns), extra - len(columns), size),
    )


def _columns(program: _Program, variables: list[Named]) -> tuple[np.ndarray, int]:
    """Return our column of each of cvxpy's; those that atoms added come last."""
    column, start = np.full(program.width, -1), 0
    for v in variables:
        if v.number in program.columns:
            first = program.columns[v.number]
            column[first : first + v.size] = start + _in_c_order(v.shape)
        start += v.size
    added = np.flatnonzero(column < 0)
    column[added] = start + np.arange(len(added))
    return column, len(added)


def _rows(program: _Program) -> tuple[np.ndarray, np.ndarray]:
    """Return our row of each of cvxpy's within its kind, and whether it is an equality."""
    row, equal, counts = [], [], {True: 0, False: 0}
    for shape, kind in zip(program.shapes, program.equal, strict=True):
        place = _in_c_order(shape)
        row.append(counts[kind] + place)
        equal.append(np.full(len(place), kind))
        counts[kind] += len(place)
    return np.concatenate(row), np.concatenate(equal)


def _entries(program: _Program, parameters: tuple[Parameter, ...]) -> np.ndarray:
    """Return our number of each parameter entry of cvxpy; -1 for the constants."""
    assert program.tensor is not None
    number, start = np.full(program.tensor.shape[1], -1), 0
    for p in parameters:
        first = program.starts[p.of.number]
        number[first : first + p.of.size] = start + np.arange(p.of.size)
        start += p.of.size
    return number


def _side(count: int, width: int, size: int, row, column, entry, value) -> Side:
    """Sort the entries of one kind: coefficients or right-hand sides, constant or not."""
    constant, right = entry < 0, column == width
    A, b = constant & ~right, constant & right
    of_A, of_b = ~constant & ~right, ~constant & right
    matrix = sp.csr_array((value[A], (row[A], column[A])), shape=(count, width))
    return Side(
        matrix,
        np.bincount(row[b], value[b], minlength=count).astype(np.float64),
        sp.csr_array((value[of_b], (row[of_b], entry[of_b])), shape=(count, size)),
        row[of_A] * width + column[of_A],
        entry[of_A].astype(np.int64),
        value[of_A],
    )


def _attributes(variable: Any) -> tuple[np.ndarray, np.ndarray]:
    """Bounds that the attributes of a cvxpy variable imply, in C order."""
    lower, upper = np.full(variable.shape, -np.inf), np.full(variable.shape, np.inf)
    attributes = variable.attributes
    unknown = [
        name
        for name in ("symmetric", "diag", "PSD", "NSD", "hermitian", "complex", "imag", "sparsity")
        if attributes.get(name) not in (None, False)
    ]
    if unknown or np.ndim(attributes["boolean"]) or isinstance(attributes["boolean"], list):
        raise PolytopeError(
            f"Variable {variable.name()} has the attribute {(unknown or ['boolean'])[0]!r} "
            "(in part), which a polytope cannot express; state it as affine constraints."
        )
    if attributes.get("bounds") is not None:
        lower = np.maximum(lower, attributes["bounds"][0])
        upper = np.minimum(upper, attributes["bounds"][1])
    if attributes["nonneg"] or attributes.get("pos") or attributes["boolean"]:
        lower = np.maximum(lower, 0.0)
    if attributes["nonpos"] or attributes.get("neg"):
        upper = np.minimum(upper, 0.0)
    if attributes["boolean"]:
        upper = np.minimum(upper, 1.0)
    return lower.ravel(), upper.ravel()
