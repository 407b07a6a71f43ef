"""Polytopes in files: arrays in .npz, read without pickle."""

import os
from os import PathLike
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import PolytopeError
from .polytope import Polytope

_VALUES = ("b", "b_eq", "lower", "upper")
_SCALARS = ("num_aux", "integral")
_PARTS = ("data", "indices", "indptr", "shape")


def save(polytope: Polytope, path: str | PathLike[str]) -> None:
    """Write a polytope to a compressed .npz file.

    Rows are stored as the parts of a CSR matrix (`A_data`, `A_indices`, `A_indptr`, `A_shape`, and
    likewise for `A_eq`), the rest under the names of the arguments of `Polytope`.
    """
    arrays: dict[str, Any] = {name: getattr(polytope, name).cpu().numpy() for name in _VALUES}
    arrays |= {name: np.asarray(getattr(polytope, name)) for name in _SCALARS}
    for name in ("A", "A_eq"):
        rows = getattr(polytope, name)
        arrays |= {f"{name}_{part}": np.asarray(getattr(rows, part)) for part in _PARTS}
    with open(path, "wb") as file:  # an open file, so that numpy does not append a suffix
        np.savez_compressed(file, **arrays)


def load(path: str | PathLike[str]) -> Polytope:
    """Read a polytope from an .npz file.

    Arrays are named as the arguments of `Polytope`: `A`, `b`, `A_eq`, `b_eq`, `lower`, `upper`,
    `num_aux`, `integral`, each optional as there. `A` and `A_eq` are dense, or in the parts that
    `save` writes. Nothing is unpickled, so a file from a stranger cannot run code.

    Raises:
        PolytopeError: If the file is not such an .npz or declares no polytope; names the file.
        OSError: If the file cannot be opened.
    """
    if os.path.isdir(path):
        raise PolytopeError(f"{path} does not hold a polytope: it is a directory")
    try:
        with open(path, "rb") as stream:  # numpy would leave a broken archive open
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise PolytopeError("it holds a single array, not an .npz archive")
            arrays = {name: file[name] for name in file.files}
        return Polytope(**_arguments(arrays))
    except OSError:
        raise
    except Exception as error:  # zip, zlib, numpy and scipy raise a dozen kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PolytopeError(f"{path} does not hold a polytope: {reason}") from error


def _arguments(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    known = {*_VALUES, *_SCALARS, "A", "A_eq"}
    known |= {f"{name}_{part}" for name in ("A", "A_eq") for part in _PARTS}
    if unknown := sorted(set(arrays) - known):
        raise PolytopeError(
            f"unknown array {unknown[0]!r}; the names are {', '.join(sorted(known))}"
        )
    result: dict[str, Any] = {name: arrays[name] for name in _VALUES if name in arrays}
    for name in ("A", "A_eq"):
        rows = _rows(arrays, name)
        if rows is not None:
            result[name] = rows
    for name, kind in (("num_aux", int), ("integral", bool)):
        if name in arrays:
            if arrays[name].size != 1:
                raise PolytopeError(f"`{name}` must be one value. Got shape {arrays[name].shape}")
            result[name] = kind(arrays[name].item())
    return result


def _rows(arrays: dict[str, np.ndarray], name: str) -> Any:
    parts = {part: f"{name}_{part}" for part in _PARTS if f"{name}_{part}" in arrays}
    if not parts:
        return arrays.get(name)
    if missing := [part for part in _PARTS if part not in parts]:
        raise PolytopeError(f"`{name}` lacks its part {name}_{missing[0]}")
    if name in arrays:
        raise PolytopeError(f"`{name}` is given twice, dense and in parts")
    data, indices, indptr, shape = (arrays[parts[part]] for part in _PARTS)
    if shape.shape != (2,):
        raise PolytopeError(f"{name}_shape must have two entries. Got shape {shape.shape}")
    rows = sp.csr_array((data, indices, indptr), shape=tuple(int(s) for s in shape))
    rows.check_format(full_check=True)  # indices out of range would be read out of bounds
    return rows
