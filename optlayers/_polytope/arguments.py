"""Reads what a user hands over as rows, values or cvxpy constraints; refuses the rest in words."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import PolytopeError
from .consistency import CONSISTENT, crossing, gap_of_empty


def as_rows(matrix: Any, name: str) -> sp.csr_array | None:
    """A finite float64 CSR copy with sorted indices and no stored zeros; None stays None."""
    if matrix is None:
        return None
    if isinstance(matrix, Tensor):
        if matrix.requires_grad:
            raise PolytopeError(
                f"`{name}` requires a gradient, and rows get none: they are compiled. Detach it, "
                "and train scores, or right-hand sides and bounds of `project`."
            )
        matrix = matrix.detach().to_dense().cpu().numpy()
    _refuse_complex(matrix, name)
    try:
        if not sp.issparse(matrix):
            matrix = np.asarray(matrix, dtype=np.float64)
        if matrix.ndim != 2:
            raise PolytopeError(f"`{name}` must have shape (rows, variables). Got {matrix.shape}.")
        rows = sp.csr_array(matrix, dtype=np.float64, copy=True)
    except (TypeError, ValueError) as error:
        if isinstance(error, PolytopeError):
            raise
        raise PolytopeError(
            f"`{name}` must be a matrix of numbers. Got {type(matrix).__name__}."
        ) from error
    rows.sum_duplicates()
    rows.eliminate_zeros()
    rows.sort_indices()
    if not np.isfinite(rows.data).all():
        at = int(np.flatnonzero(~np.isfinite(rows.data))[0])
        row = int(np.searchsorted(rows.indptr, at, side="right")) - 1
        raise PolytopeError(
            f"`{name}` must be finite. Got {name}[{row}, {rows.indices[at]}] = {rows.data[at]}."
        )
    rows.data.flags.writeable = False
    return rows


def as_host_tensor(values: Any) -> Tensor:
    """A tensor as it is; else a copy on the CPU, whatever the memory of an array looks like.

    Arrays may be views with negative strides, read-only, or of the other byte order, none of which
    torch reads, and the default device may be another one.
    """
    if isinstance(values, Tensor):
        return values
    array = np.array(values, order="C")  # a copy; `ascontiguousarray` would make a number a vector
    return torch.tensor(array.astype(array.dtype.newbyteorder("="), copy=False), device="cpu")


def _refuse_complex(given: Any, name: str) -> None:
    """Converted, they would lose their imaginary part, and only warn."""
    dtype = getattr(given, "dtype", None)
    if isinstance(dtype, torch.dtype):
        found = dtype.is_complex
    elif dtype is not None:
        found = np.issubdtype(dtype, np.complexfloating)
    else:
        try:
            found = np.iscomplexobj(given)
        except ValueError:  # rows of different lengths: of that, others will complain
            found = False
    if found:
        raise PolytopeError(f"`{name}` must be real. Got complex numbers.")


def as_values(values: Any, size: int, name: str, rows: str | None = None) -> Tensor:
    """A float64 tensor `(..., size)`; a number is repeated; device and graph are kept."""
    if values is None:
        if size:
            raise PolytopeError(f"`{rows}` has {size} rows; give `{name}` with {size} entries.")
        return torch.zeros(0, dtype=torch.float64, device="cpu")
    _refuse_complex(values, name)
    if isinstance(values, Tensor):
        tensor = values.to(torch.float64, copy=True)
    else:
        try:
            tensor = torch.tensor(np.array(values, dtype=np.float64, order="C"), device="cpu")
        except (TypeError, ValueError) as error:
            raise PolytopeError(
                f"`{name}` must be numbers. Got {type(values).__name__}."
            ) from error
    if rows is None and tensor.ndim == 0:
        tensor = tensor.expand(size).clone()
    if tensor.ndim == 0 or tensor.shape[-1] != size:
        wanted = f"(..., {size}), one entry per " + (f"row of `{rows}`" if rows else "variable")
        raise PolytopeError(f"`{name}` must have shape {wanted}. Got {tuple(tensor.shape)}.")
    # A bound may be infinite, and the right-hand side of an inequality too: it then says nothing.
    infinite = {"lower": -torch.inf, "upper": torch.inf, "b": torch.inf}.get(name)
    bad = ~tensor.isfinite()
    if infinite is not None:
        bad &= tensor != infinite
    if bool(bad.any()):
        at = tuple(int(i) for i in bad.nonzero()[0])
        also = f" or {infinite}" if infinite is not None else ""
        raise PolytopeError(
            f"`{name}` must be finite{also}. "
            f"Got {name}[{', '.join(map(str, at))}] = {tensor[at]:g}."
        )
    return tensor


def check_bounds(lower: Tensor, upper: Tensor) -> None:
    """Refuse crossed bounds; in one instance of a batch they are a failure of that instance."""
    if lower.ndim > 1 or upper.ndim > 1:
        return
    upper = upper.to(lower.device)
    crossed = crossing(lower, upper) > CONSISTENT
    if bool(crossed.any()):
        at = int(crossed.nonzero()[0])
        raise PolytopeError(
            "`lower` must not exceed `upper`. "
            f"Got lower[{at}] = {lower[at]:g} > upper[{at}] = {upper[at]:g}."
        )


def check_empty_rows(A: sp.csr_array, b: Tensor, A_eq: sp.csr_array, b_eq: Tensor) -> None:
    """Refuse rows without coefficients that no point can satisfy, such as 0 <= -1.

    In one instance of a batch they are a failure of that instance.
    """
    for name, rows, values in (("b", A, b), ("b_eq", A_eq, b_eq)):
        empty = np.flatnonzero(np.diff(rows.indptr) == 0)
        if not len(empty) or values.ndim > 1:
            continue
        of_empty = values[torch.from_numpy(empty).to(values.device)]
        violated = gap_of_empty(of_empty, name == "b_eq") > CONSISTENT
        if bool(violated.any()):
            first = int(violated.nonzero()[0])
            sign = "<=" if name == "b" else "=="
            matrix = "A" if name == "b" else "A_eq"
            raise PolytopeError(
                f"Row {int(empty[first])} of `{matrix}` has no coefficients and asks for 0 {sign} "
                f"{float(of_empty[first]):g}, which nothing satisfies. Drop the row or correct it."
            )


# ---------------------------------------------------------------------- cvxpy


def read_cvxpy(z: Any, constraints: list[Any]) -> dict[str, Any]:
    """The arguments of `Polytope` that say the same as affine cvxpy constraints on `z`."""
    import cvxpy as cp

    if not isinstance(z, cp.Variable):
        raise PolytopeError(f"`z` must be a cvxpy Variable. Got {type(z).__name__}.")
    sides = [_affine_side(c) for c in constraints]
    others = {v.id: v for side, _ in sides for v in side.variables() if v.id != z.id}
    variables = [z, *others.values()]
    blocks: dict[bool, list] = {True: [], False: []}
    values: dict[bool, list] = {True: [], False: []}
    for side, equality in sides:
        coefficients, constant = _coefficients(side, variables)
        blocks[equality].append(coefficients)
        values[equality].append(-constant)
    for v in others.values():
        if v.attributes["boolean"] or v.attributes["integer"]:
            raise PolytopeError(
                f"Auxiliary variable {v.name()} is boolean or integer, and only z can be integral. "
                "Declare it without that attribute, or make it part of z."
            )
    bounds = [_attributes(v) for v in variables]
    width = sum(v.size for v in variables)
    return {
        "A": sp.vstack(blocks[False]) if blocks[False] else sp.csr_array((0, width)),
        "b": np.concatenate(values[False]) if values[False] else np.zeros(0),
        "A_eq": sp.vstack(blocks[True]) if blocks[True] else sp.csr_array((0, width)),
        "b_eq": np.concatenate(values[True]) if values[True] else np.zeros(0),
        "lower": np.concatenate([lower for lower, _ in bounds]),
        "upper": np.concatenate([upper for _, upper in bounds]),
        "num_aux": width - z.size,
        "integral": bool(z.attributes["boolean"] or z.attributes["integer"]),
        "shape": z.shape if len(z.shape) > 1 else None,
    }


def _affine_side(constraint: Any) -> tuple[Any, bool]:
    """Left side minus right side, and whether it must be zero (True) or at most zero (False)."""
    from cvxpy.constraints import Equality, Inequality, NonNeg, NonPos, Zero

    kinds = (Equality, Zero, Inequality, NonPos, NonNeg)
    if not isinstance(constraint, kinds) or not constraint.expr.is_affine():
        raise PolytopeError(
            "`from_cvxpy` takes affine equalities and inequalities only. "
            f"This constraint is something else: {constraint}"
        )
    if missing := [p.name() for p in constraint.expr.parameters() if p.value is None]:
        raise PolytopeError(f"Give the parameters {', '.join(missing)} a value first: {constraint}")
    side = -constraint.expr if isinstance(constraint, NonNeg) else constraint.expr
    return side, isinstance(constraint, Equality | Zero)


def _coefficients(side: Any, variables: list[Any]) -> tuple[sp.csr_array, np.ndarray]:
    """Rows over all variables in C order, and the constant, of an affine expression."""
    import cvxpy as cp

    # cvxpy flattens by columns (F order); torch by rows (C order).
    flat = cp.reshape(side, (side.size,), order="C")
    saved = [v.value for v in variables]
    try:
        for v in variables:
            v.save_value(np.zeros(v.shape))
        constant = np.atleast_1d(np.asarray(flat.value, dtype=np.float64))
        gradient = flat.grad
    finally:
        for v, value in zip(variables, saved, strict=True):
            v.save_value(value)
    columns = []
    for v in variables:
        jacobian = gradient.get(v)
        if jacobian is None:
            columns.append(sp.csr_array((side.size, v.size)))
            continue
        jacobian = sp.csr_array(
            np.reshape(jacobian, (v.size, side.size)) if np.isscalar(jacobian) else jacobian
        )
        order = np.arange(v.size).reshape(v.shape, order="F").ravel(order="C")
        columns.append(jacobian[order].T)
    return sp.csr_array(sp.hstack(columns)), constant


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
