"""Reads what a user hands over as rows, values or cvxpy constraints; refuses the rest in words."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import PolytopeError
from .consistency import CONSISTENT, crossing, gap_of_empty


def as_host_tensor(values: Any) -> Tensor:
    """Return a tensor as it is; else a copy on the CPU, whatever the memory of an array looks like.

    Arrays may be views with negative strides, read-only, or of the other byte order, none of which
    torch reads, and the default device may be another one.
    """
    if isinstance(values, Tensor):
        return values
    array = np.array(values, order="C")  # a copy; `ascontiguousarray` would make a number a vector
    return torch.tensor(array.astype(array.dtype.newbyteorder("="), copy=False), device="cpu")


def refuse_complex(given: Any, name: str) -> None:
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


def check_num_aux(num_aux: Any, num_vars: int) -> int:
    """Return the number of auxiliary variables, which leaves at least one other."""
    whole = isinstance(num_aux, int | np.integer) and not isinstance(num_aux, bool)
    if not whole or not 0 <= num_aux < num_vars:
        raise PolytopeError(
            f"`num_aux` must be an integer from 0 to {num_vars - 1}, one less than the number "
            f"of columns. Got {num_aux!r}."
        )
    return int(num_aux)


def as_values(values: Any, size: int, name: str, rows: str | None = None) -> Tensor:
    """Return a float64 tensor `(..., size)`; a number is repeated; device and graph are kept."""
    if values is None:
        if size:
            raise PolytopeError(f"`{rows}` has {size} rows; give `{name}` with {size} entries.")
        return torch.zeros(0, dtype=torch.float64, device="cpu")
    refuse_complex(values, name)
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
    finite = tensor.isfinite()
    if bool(finite.all()):
        return tensor
    bad = ~finite
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
        if not len(values) or values.ndim > 1:
            continue
        empty = np.flatnonzero(np.diff(rows.indptr) == 0)
        if not len(empty):
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
